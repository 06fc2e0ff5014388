//! What it costs that every write is filled to one of a few sizes: a wallet loads its history over an in-memory
//! stream, asking in several ways. The table goes to standard output.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measuring program ends with a panic where a figure is missing"
)]

mod chain;
#[path = "../../tests/all/padding/recording.rs"]
mod recording;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use claustrum::broadcast::NotReady;
use claustrum::chain::Network;
use claustrum::electrum::{self, Identity};
use claustrum::index::Index;
use claustrum::limits;
use claustrum::mempool::Mempool;
use claustrum::query::{Readiness, View};
use claustrum::session::{ReadPool, Services, serve};
use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use recording::{Record, Recording};

const ROUNDS: usize = 5;
/// What a transport holds between the two sides.
const STREAM_BYTES: usize = 64 * 1024;

/// How a wallet asks.
struct Style {
    name: &'static str,
    /// Requests in a batch; 0 for single ones.
    batch: usize,
    /// Lines that it leaves unanswered.
    unanswered: usize,
}

const STYLES: [Style; 5] = [
    Style {
        name: "one after the other",
        batch: 0,
        unanswered: 1,
    },
    Style {
        name: "100 unanswered",
        batch: 0,
        unanswered: 100,
    },
    Style {
        name: "batches of 45",
        batch: 45,
        unanswered: 1,
    },
    Style {
        name: "batches of 100",
        batch: 100,
        unanswered: 1,
    },
    Style {
        name: "batches of 200",
        batch: 200,
        unanswered: 1,
    },
];

fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut index = Index::open(dir.path(), Network::Regtest)?;
    let (node, txids) = chain::build(&mut index)?;
    let mut phases = Vec::new();
    for method in ["subscribe", "get_history"] {
        let method = format!("blockchain.scripthash.{method}");
        let hashes = chain::script_hashes();
        phases.push(hashes.iter().map(|hash| request(&method, hash)).collect());
    }
    let transactions = txids.iter().map(ToString::to_string);
    let transactions = transactions.map(|txid| request("blockchain.transaction.get", &txid));
    phases.push(transactions.collect());
    let view = View {
        version: 1,
        snapshot: index.snapshot(),
        mempool: Arc::new(Mempool::default()),
        readiness: Readiness::Ready,
        changes: Vec::new(),
    };
    let (_views, seen) = watch::channel(Some(Arc::new(view)));
    let services = Arc::new(Services::new(
        seen,
        Arc::new(node),
        Arc::new(NotReady),
        ReadPool::new(2),
        Identity::of(Network::Regtest),
        limits::REPLY_BYTES_MAX,
    ));
    println!(
        "Load average: {}",
        std::fs::read_to_string("/proc/loadavg")?.trim()
    );
    println!(
        "\n| {} scripts, {} transactions | writes | MB of answers | MB filled | more | cells of {} bytes, more | CPU \
         of all, ms | of filling, ms |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        chain::SCRIPTS,
        txids.len(),
        limits::CELL_BYTES
    );
    let runtime = tokio::runtime::Runtime::new()?;
    for style in &STYLES {
        println!("{}", runtime.block_on(measure(style, &phases, &services))?);
    }
    Ok(())
}

/// A row of the table.
async fn measure(
    style: &Style,
    phases: &[Vec<String>],
    services: &Arc<Services>,
) -> Result<String> {
    let record = Record::default();
    load(style, phases, services, Some(&record)).await?;
    let flushes = record.take().into_iter().map(|parts| parts.concat());
    let flushes: Vec<Vec<u8>> = flushes.filter(|flush| !flush.is_empty()).collect();
    let writes: Vec<Vec<u8>> = flushes
        .iter()
        .map(|flush| unfilled(flush))
        .collect::<Result<_>>()?;
    let is_error = |write: &Vec<u8>| String::from_utf8_lossy(write).contains("\"error\"");
    ensure!(!writes.iter().any(is_error), "an answer is an error");
    let answers: usize = writes.iter().map(Vec::len).sum();
    let filled: usize = writes
        .iter()
        .map(|write| electrum::filled(write.len()))
        .sum();
    ensure!(
        filled == flushes.iter().map(Vec::len).sum::<usize>(),
        "writes are not filled"
    );
    let cells = |bytes: usize| bytes.div_ceil(limits::CELL_BYTES);
    let cells_before: usize = writes.iter().map(|write| cells(write.len())).sum();
    let mut all = Vec::new();
    let mut filling = Vec::new();
    for _ in 0..ROUNDS {
        let begun = cpu_time();
        load(style, phases, services, None).await?;
        all.push(cpu_time().saturating_sub(begun));
        let mut writes = writes.clone();
        let begun = cpu_time();
        writes.iter_mut().for_each(electrum::pad);
        filling.push(cpu_time().saturating_sub(begun));
    }
    Ok(format!(
        "| {} | {} | {} | {} | {} | {} | {} | {} |",
        style.name,
        writes.len(),
        thousandths(answers, 1_000_000)?,
        thousandths(filled, 1_000_000)?,
        percent(filled, answers)?,
        percent(cells(filled), cells_before)?,
        milliseconds(&mut all),
        milliseconds(&mut filling),
    ))
}

/// A flush without the spaces before its last bracket.
fn unfilled(flush: &[u8]) -> Result<Vec<u8>> {
    let (told, end) = flush.split_at(flush.len().checked_sub(2).context("no line")?);
    let last = told.iter().rposition(|byte| *byte != b' ');
    let told = &told[..=last.context("nothing but spaces")?];
    Ok([told, end].concat())
}

/// Asks everything once, a phase after the other.
async fn load(
    style: &Style,
    phases: &[Vec<String>],
    services: &Arc<Services>,
    record: Option<&Record>,
) -> Result<()> {
    let (ours, theirs) = tokio::io::duplex(STREAM_BYTES);
    let cancel = CancellationToken::new();
    let services = Arc::clone(services);
    let session = match record {
        Some(record) => {
            let theirs = Recording {
                stream: theirs,
                taken: usize::MAX,
                record: record.clone(),
            };
            tokio::spawn(serve(theirs, services, cancel))
        }
        None => tokio::spawn(serve(theirs, services, cancel)),
    };
    let (reader, mut writer) = tokio::io::split(ours);
    let mut reader = BufReader::with_capacity(STREAM_BYTES, reader);
    let mut answer = Vec::new();
    for requests in phases {
        let lines: Vec<String> = match style.batch {
            0 => requests.clone(),
            members => requests
                .chunks(members)
                .map(|members| format!("[{}]", members.join(",")))
                .collect(),
        };
        for lines in lines.chunks(style.unanswered) {
            let asked = lines.join("\n") + "\n";
            let (sent, heard) = tokio::join!(writer.write_all(asked.as_bytes()), async {
                for _ in lines {
                    answer.clear();
                    let bytes = reader.read_until(b'\n', &mut answer).await?;
                    ensure!(bytes > 0, "the session ended");
                }
                Ok(())
            });
            sent?;
            heard?;
        }
    }
    drop((reader, writer));
    session.await.context("the session panicked")?;
    Ok(())
}

fn request(method: &str, parameter: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1234,"method":"{method}","params":["{parameter}"]}}"#)
}

/// CPU time of this process.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0)) + Duration::from_nanos(nanos)
}

/// The median.
fn milliseconds(times: &mut [Duration]) -> String {
    times.sort_unstable();
    format!("{:.1}", times[times.len() / 2].as_secs_f64() * 1000.0)
}

fn thousandths(count: usize, unit: u32) -> Result<String> {
    Ok(format!(
        "{:.3}",
        f64::from(u32::try_from(count)?) / f64::from(unit)
    ))
}

fn percent(after: usize, before: usize) -> Result<String> {
    let [after, before] = [u32::try_from(after)?, u32::try_from(before)?].map(f64::from);
    Ok(format!("{:.0} %", (after / before - 1.0) * 100.0))
}
