//! What somebody sees who counts bytes: whatever is asked and told, each flush of a session has one of a few sizes.

mod recording;
mod ticks;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use claustrum::query::{CatchUp, Changes, Readiness};
use claustrum::session::{EndReason, Services};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use tokio::time::Instant;

use crate::client::{Client, nothing_indexed, unfilled};
use crate::fixture::{Fixture, script_hash};
use recording::{Record, Recording};

const WALLETS: usize = 50;
/// Scripts of the chain, and those that one payment gives so many outputs.
const SCRIPTS: u8 = 40;
const MANY_OUTPUTS: [(u8, usize); 2] = [(38, 450), (39, 2_000)];
/// Holds all that is asked and answered at a time.
const STREAM_BYTES: usize = 8 << 20;
/// Lines that are answered with errors.
const FAULTS: [&str; 6] = [
    "this is no request",
    "[]",
    r#"{"id":1,"method":"no.method"}"#,
    r#"{"id":"two","method":"blockchain.block.header","params":["x"]}"#,
    r#"{"id":3,"method":"blockchain.block.header","params":[4000000]}"#,
    r#"[{"id":4,"method":"no.method"},7,{"id":5,"method":"server.ping"}]"#,
];

/// How a wallet asks, and what it meets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wallet {
    scripts: BTreeSet<u8>,
    /// Requests in a batch; none of them in one for 0.
    batch: usize,
    /// Lines that are sent before their answers are waited for.
    together: usize,
    faults: bool,
    meets: Meets,
    /// The most that the transport takes at a time.
    taken: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Meets {
    /// A block comes that pays to it.
    Block,
    NothingIndexed,
    CatchingUp,
    SilentNode,
}

fn wallets() -> impl Strategy<Value = Wallet> {
    let scripts = prop::collection::btree_set(0..SCRIPTS, 1..25);
    let batch = prop::sample::select(vec![0, 0, 1, 5, 45, 200]);
    let meets = prop_oneof![
        5 => Just(Meets::Block),
        1 => Just(Meets::NothingIndexed),
        1 => Just(Meets::CatchingUp),
        1 => Just(Meets::SilentNode),
    ];
    let taken = prop::sample::select(vec![usize::MAX, usize::MAX, 7_000, 498, 100]);
    (scripts, batch, 1..60_usize, any::<bool>(), meets, taken).prop_map(
        |(scripts, batch, together, faults, meets, taken)| Wallet {
            scripts,
            batch,
            together,
            faults,
            meets,
            taken,
        },
    )
}

impl Wallet {
    fn lines(&self) -> Vec<String> {
        let request = |method: &str, params: String| {
            format!(r#"{{"id":7,"method":"{method}","params":[{params}]}}"#)
        };
        let mut requests = vec![
            request("server.version", r#""wallet","1.4""#.to_owned()),
            request("server.features", String::new()),
            request("server.banner", String::new()),
            request("blockchain.headers.subscribe", String::new()),
            request("blockchain.block.headers", "0,20".to_owned()),
            request("blockchain.estimatefee", "2".to_owned()),
        ];
        for script in &self.scripts {
            for method in ["subscribe", "get_history", "listunspent", "get_balance"] {
                let method = format!("blockchain.scripthash.{method}");
                requests.push(request(&method, format!("\"{}\"", script_hash(*script))));
            }
        }
        let mut lines = match self.batch {
            0 => requests,
            members => requests
                .chunks(members)
                .map(|members| format!("[{}]", members.join(",")))
                .collect(),
        };
        if self.faults {
            lines.extend(FAULTS.map(str::to_owned));
        }
        lines
    }

    /// Visits a server; what left it with each flush, in the parts that the transport took.
    async fn visit(&self, fixture: &mut Fixture, services: &Arc<Services>) -> Vec<Vec<Vec<u8>>> {
        fixture.publish(self.readiness(), Changes::default());
        let services = match self.meets {
            Meets::NothingIndexed => &nothing_indexed(),
            Meets::Block | Meets::CatchingUp | Meets::SilentNode => services,
        };
        let record = Record::default();
        let mut client = Client::connect_by(services, STREAM_BYTES, |stream| Recording {
            stream,
            taken: self.taken,
            record: record.clone(),
        });
        for lines in self.lines().chunks(self.together) {
            client.send((lines.join("\n") + "\n").as_bytes()).await;
            for _ in lines {
                assert!(client.line().await.is_some(), "{self:?}");
            }
        }
        if self.meets == Meets::Block {
            fixture.mine(*self.scripts.first().unwrap(), &[]);
            for _ in ["the tip", "the script"] {
                let told = client.line().await.unwrap();
                assert!(told.contains("\"method\""), "{told}");
            }
        }
        client.finish_sending().await;
        assert_eq!(client.line().await, None);
        assert_eq!(client.ended().await, EndReason::ClientLeft);
        record.take()
    }

    fn readiness(&self) -> Readiness {
        match self.meets {
            Meets::Block | Meets::NothingIndexed => Readiness::Ready,
            Meets::CatchingUp => Readiness::CatchingUp(CatchUp::default()),
            Meets::SilentNode => Readiness::Stale,
        }
    }
}

/// The sizes that are promised, in order.
fn sizes() -> impl Iterator<Item = usize> {
    let doubled = (0..8).map(|power| 488 << power);
    doubled.chain((7..16).flat_map(|power| [5, 6, 7, 8].map(|n| (488 << power) / 4 * n)))
}

/// What is wrong with a flush of these bytes.
fn fault(flushed: &[u8]) -> Result<(), String> {
    let text = String::from_utf8(flushed.to_vec()).map_err(|error| error.to_string())?;
    let lines = text.strip_suffix('\n').ok_or("no whole lines")?;
    let (before, last) = lines.rsplit_once('\n').unwrap_or(("", lines));
    if let Some(line) = before.lines().find(|line| unfilled(line) != *line) {
        return Err(format!("not the last: {line}"));
    }
    let _json: serde_json::Value = serde_json::from_str(last).map_err(|error| error.to_string())?;
    let told = flushed.len() - (last.len() - unfilled(last).len());
    let size = sizes().find(|size| told <= *size);
    if size != Some(flushed.len()) {
        return Err(format!("{told} bytes left as {}: {last}", flushed.len()));
    }
    Ok(())
}

fn chain() -> Fixture {
    let mut fixture = Fixture::new();
    for (script, outputs) in MANY_OUTPUTS {
        let coin = fixture.mine(0, &[])[0];
        let pay = vec![(script, 1_000); outputs];
        fixture.mine(1, &[(coin, &pay)]);
    }
    for block in 0..3 * SCRIPTS {
        fixture.mine(block % SCRIPTS % 11, &[]);
    }
    fixture
}

#[tokio::test]
async fn everything_that_leaves_has_one_of_a_few_sizes() {
    let mut fixture = chain();
    let services = fixture.services();
    let mut runner = TestRunner::deterministic();
    let mut visited = BTreeSet::new();
    let mut seen = BTreeMap::<usize, usize>::new();
    let mut kinds = [("result", 0), ("error", 0), ("method", 0)];
    while visited.len() < WALLETS {
        let wallet = wallets().new_tree(&mut runner).unwrap().current();
        for parts in wallet.visit(&mut fixture, &services).await {
            let flushed = parts.concat();
            fault(&flushed).unwrap_or_else(|fault| panic!("{fault}; {wallet:?}"));
            assert!(parts.len() == 1 || wallet.taken < usize::MAX, "{wallet:?}");
            *seen.entry(flushed.len()).or_default() += 1;
            let last = String::from_utf8_lossy(&flushed).into_owned();
            let last = last.lines().last().unwrap_or_default();
            for (kind, count) in &mut kinds {
                *count += usize::from(last.contains(&format!("\"{kind}\":")));
            }
        }
        visited.insert(wallet);
    }
    // The test would say nothing if wallets met little: each kind of line was the last of a write, and most sizes
    // up to the first beyond 64 KiB were there.
    assert!(kinds.iter().all(|(_, count)| *count >= 20), "{kinds:?}");
    let small = sizes()
        .take(9)
        .filter(|size| seen.contains_key(size))
        .count();
    assert!(
        small >= 8 && seen.keys().any(|size| *size > 64 << 10),
        "{seen:?}"
    );
}

#[test]
fn what_is_not_filled_is_found() {
    let line = |bytes: usize| format!("{{{}}}\n", " ".repeat(bytes - 3));
    assert_eq!(fault(line(488).as_bytes()), Ok(()));
    for bytes in [3, 487, 489, 976] {
        fault(line(bytes).as_bytes()).unwrap_err();
    }
    let first_is_filled = format!("{}{{}}\n", line(485));
    fault(first_is_filled.as_bytes()).unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn what_leaves_waits_for_nothing_more() {
    let mut client = Client::connect(&nothing_indexed());
    let begun = Instant::now();
    for _ in 0..100 {
        client.ask(r#"{"id":1,"method":"server.ping"}"#).await;
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
}
