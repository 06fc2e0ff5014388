//! The table of memory in docs/operating.md: its numbers are those of the limits, and its sums are within the bounds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use claustrum::limits;

const MIB: usize = 1 << 20;
/// What the index may take, and the process: usually, and when every client does its worst.
const INDEX_MAX: usize = 400;
const USUAL_MAX: usize = 640;
const MOST_MAX: usize = 900;

/// A usual block of the main network, in the newest of which scripts and transactions are found.
const SCRIPTS: usize = 9_000;
const TRANSACTIONS: usize = 3_100;
const ROW_BYTES: usize = 293_000;
const SCRIPT_SLOT_BYTES: usize = 16;
const TRANSACTION_SLOT_BYTES: usize = 8;
/// The main network's, rounded up.
const BLOCKS: usize = 1_000_000;
const BLOCK_BYTES: usize = 40;
const CIRCUIT_BYTES: usize = 90_000;
/// Clients whose answers wait at one moment, and what waits of those of ordinary wallets in Tor's queues.
const USUALLY_WAITING: usize = 32;
const USUALLY_IN_TOR: usize = 16 * MIB;

/// Usual and most bytes of each part but the program itself, which is measured.
fn parts() -> BTreeMap<&'static str, (usize, usize)> {
    let rows = usize::try_from(limits::DELTA_BLOCKS_MIN + limits::SEGMENT_BLOCKS - 1).unwrap();
    let slots = rows * (SCRIPTS * SCRIPT_SLOT_BYTES + TRANSACTIONS * TRANSACTION_SLOT_BYTES);
    let always = |bytes| (bytes, bytes);
    let sessions = limits::SESSIONS_MAX;
    let mempool = limits::MEMPOOL_BYTES_MAX;
    let connections = limits::FIRST_CONNECTIONS_MAX + limits::FURTHER_CONNECTIONS_MAX;
    let queue = limits::QUEUE_BYTES_MAX;
    BTreeMap::from([
        ("index: pages", always(limits::INDEX_CACHE_BYTES)),
        ("index: newest blocks", always(slots + rows * ROW_BYTES)),
        ("index: joining them", always(slots)),
        ("index: blocks", always(BLOCKS * BLOCK_BYTES)),
        (
            "Tor: circuits",
            always(limits::CIRCUITS_MAX * CIRCUIT_BYTES),
        ),
        ("Tor: queues", (USUALLY_IN_TOR, limits::TOR_MEMORY_MAX)),
        ("mempool", (mempool / 3, mempool)),
        (
            "sessions: lines",
            (
                sessions * limits::READ_BYTES,
                sessions * (limits::LINE_BYTES_FREE + limits::BACKLOG_BYTES_MAX),
            ),
        ),
        (
            "sessions: long lines",
            always(limits::LARGE_LINES_MAX * limits::LINE_BYTES_MAX),
        ),
        (
            "sessions: answers",
            (
                USUALLY_WAITING * limits::OUTBOUND_BYTES_SOFT,
                sessions * limits::OUTBOUND_BYTES_SOFT,
            ),
        ),
        (
            "sessions: large answers",
            always(limits::OUTBOUND_BYTES_MAX),
        ),
        (
            "sessions: answers kept",
            (limits::MEMOS_BYTES_MAX / 2, limits::MEMOS_BYTES_MAX),
        ),
        (
            "transactions on their way",
            (queue, queue + connections * limits::PEER_BYTES_MAX),
        ),
    ])
}

/// Part, bound, usual and most, in MiB.
fn rows(text: &str) -> Vec<(String, String, usize, usize)> {
    let table = text.split_once("## Memory").unwrap().1;
    let table = table.lines().skip_while(|line| !line.starts_with("| ---"));
    let rows = table.skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [part, bound, usual, most] = cells[..] else {
            panic!("{line}");
        };
        let mib = |cell: &str| cell.parse().unwrap();
        (part.to_owned(), bound.to_owned(), mib(usual), mib(most))
    })
    .collect()
}

#[test]
fn what_the_manual_says_of_memory_follows_from_the_limits_and_fits() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/operating.md")).unwrap();
    let unit = fs::read_to_string(root.join("docs/claustrum.service")).unwrap();
    let mut rows = rows(&text);
    let (_, bound, usual, most) = rows.pop().unwrap();
    let mut parts = parts();
    for (part, bound, usual, most) in &rows {
        if let Some(bytes) = parts.remove(part.as_str()) {
            let mib = (bytes.0.div_ceil(MIB), bytes.1.div_ceil(MIB));
            assert_eq!((*usual, *most), mib, "{part}");
        } else {
            assert_eq!(part, "program");
        }
        for name in bound.split('`').skip(1).step_by(2) {
            assert!(
                name.chars().all(|c| c.is_ascii_uppercase() || c == '_'),
                "{name}"
            );
        }
    }
    assert!(parts.is_empty(), "not in the table: {:?}", parts.keys());
    let sum = |number: fn(&(String, String, usize, usize)) -> usize| rows.iter().map(number).sum();
    assert_eq!((usual, most), (sum(|row| row.2), sum(|row| row.3)));
    let index = rows.iter().filter(|row| row.0.starts_with("index"));
    let index: usize = index.map(|row| row.3).sum();
    assert!(index <= INDEX_MAX, "the index takes {index} MiB");
    assert!(usual <= USUAL_MAX, "usually {usual} MiB");
    assert!(most <= MOST_MAX, "at most {most} MiB");
    for (name, mib) in [("MemoryHigh", USUAL_MAX), ("MemoryMax", MOST_MAX)] {
        let line = format!("{name}={mib}M");
        assert!(bound.contains(&line) && unit.contains(&line), "{line}");
    }
}
