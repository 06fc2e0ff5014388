//! Figures of the mempool: what a large one costs this server and the node, to take in and to follow. Part of `make
//! bench`; alone it is `cargo bench --no-default-features --bench mempool`, with another number of transactions behind
//! it if wanted.
//!
//! `examples/loopback` in a release build runs beside a node on regtest; processor time is that of the two processes.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a measuring program prints what it measured, and ends with a panic where a figure is missing"
)]

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rig::crowd::{self, Crowd};
use rig::node::{Node, Options};
use rig::server::{self, Loopback};
use rig::socks::Line;
use serde_json::{Value, json};

const TRANSACTIONS: usize = 100_000;
/// Coins for each transaction: a quarter has two inputs, a fifth spends what another one made.
const COINS_PER_CENT: usize = 120;
/// How long it is followed, with and without anything new.
const FOLLOWED: Duration = Duration::from_secs(60);
/// New transactions each second.
const PER_SECOND: u32 = 10;
const LISTINGS: u32 = 20;
const LOADED: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(100);

fn main() -> Result<()> {
    let words = std::env::args().skip(1);
    let count = words.filter_map(|word| word.parse().ok()).next();
    let count = count.unwrap_or(TRANSACTIONS);
    let mut bench = Bench::begin(count)?;
    bench.fill(count)?;
    bench.load()?;
    bench.list()?;
    bench.follow(0)?;
    bench.follow(PER_SECOND)
}

struct Bench {
    node: Node,
    server: Loopback,
    crowd: Crowd,
    /// Memory of the server without a mempool, in bytes.
    empty: u64,
}

/// Processor time of both.
struct Spent {
    ours: Duration,
    node: Duration,
    elapsed: Duration,
}

impl Bench {
    fn begin(count: usize) -> Result<Self> {
        say("mining coins");
        let node = Node::start(&Options {
            // On regtest a node looks through its whole mempool at each change.
            extra: vec!["-checkmempool=0".into(), "-checkblockindex=0".into()],
            ..Options::default()
        })?;
        let spares = 2 * usize::try_from(PER_SECOND)? * usize::try_from(FOLLOWED.as_secs())?;
        let crowd = Crowd::start(&node, count * COINS_PER_CENT / 100 + spares)?;
        let mut server = Loopback::start(&node, &server::Options::default())?;
        ready(&server)?;
        thread::sleep(Duration::from_secs(3));
        let empty = server.process().anonymous_bytes()?;
        println!("| | this server | the node | |\n| --- | ---: | ---: | --- |");
        Ok(Self {
            node,
            server,
            crowd,
            empty,
        })
    }

    /// Fills the node's mempool while nobody looks.
    fn fill(&mut self, count: usize) -> Result<()> {
        self.server.stop()?;
        say("filling the node's mempool");
        let payments = self.crowd.payments(count)?;
        let begun = Instant::now();
        crowd::send(&self.node, &payments)?;
        say(&format!("filled in {:.0?}", begun.elapsed()));
        let info = self.node.rpc("getmempoolinfo", json!([]))?;
        ensure!(info["size"] == count, "the node took {}", info["size"]);
        row(
            "transactions, bytes of the node's memory",
            &count.to_string(),
            &info["usage"].to_string(),
            "",
        );
        Ok(())
    }

    /// Takes it in from the beginning.
    fn load(&mut self) -> Result<()> {
        say("taking it in");
        let node = self.node.process().cpu_time()?;
        let begun = Instant::now();
        self.server.start_again()?;
        let expected = self.node.rpc("getmempoolinfo", json!([]))?["bytes"].clone();
        let deadline = Instant::now() + LOADED;
        while known_bytes(&mut ready(&self.server)?)? != expected {
            ensure!(
                Instant::now() < deadline,
                "not taken in: {}",
                self.server.stderr()
            );
            thread::sleep(POLL);
        }
        let spent = Spent {
            ours: self.server.process().cpu_time()?,
            node: self.node.process().cpu_time()?.saturating_sub(node),
            elapsed: begun.elapsed(),
        };
        let after = format!("after {:.1} s", spent.elapsed.as_secs_f64());
        row(
            "taken in",
            &seconds(spent.ours),
            &seconds(spent.node),
            &after,
        );
        thread::sleep(Duration::from_secs(3));
        let process = self.server.process();
        let memory = process.anonymous_bytes()?.saturating_sub(self.empty);
        let size = self.node.rpc("getmempoolinfo", json!([]))?["size"].clone();
        let size = size.as_u64().context("no size")?;
        row("memory", &format!("{:.1} MiB", mebibytes(memory)), "", "");
        row(
            "for each transaction",
            &format!("{} bytes", memory / size),
            "",
            "",
        );
        row(
            "most memory ever",
            &format!("{:.1} MiB", mebibytes(process.peak_bytes()?)),
            "",
            "",
        );
        Ok(())
    }

    /// What one list of all transactions costs the node.
    fn list(&mut self) -> Result<()> {
        let before = self.node.process().cpu_time()?;
        for _ in 0..LISTINGS {
            self.node.rpc("getrawmempool", json!([false, true]))?;
        }
        let spent = self.node.process().cpu_time()?.saturating_sub(before);
        row("one list of all", "", &milliseconds(spent / LISTINGS), "");
        Ok(())
    }

    /// Follows while so many come in a second; what they cost the node without us is measured first.
    fn follow(&mut self, per_second: u32) -> Result<()> {
        say(&format!("following {per_second} a second"));
        let alone = if per_second == 0 {
            Spent {
                ours: Duration::ZERO,
                node: Duration::ZERO,
                elapsed: FOLLOWED,
            }
        } else {
            self.server.process().pause();
            let alone = self.run(per_second)?;
            self.server.process().resume();
            thread::sleep(Duration::from_secs(5));
            alone
        };
        let spent = self.run(per_second)?;
        let share = |cpu: Duration| {
            format!(
                "{:.2} %",
                100.0 * cpu.as_secs_f64() / spent.elapsed.as_secs_f64()
            )
        };
        let node = spent.node.saturating_sub(alone.node);
        let what = format!("followed, {per_second} new a second, of a core");
        row(
            &what,
            &share(spent.ours),
            &share(node),
            "the node's more than without us",
        );
        Ok(())
    }

    fn run(&mut self, per_second: u32) -> Result<Spent> {
        let ours = self.server.process().cpu_time()?;
        let node = self.node.process().cpu_time()?;
        let begun = Instant::now();
        for second in 1..=u32::try_from(FOLLOWED.as_secs())? {
            let payments = self.crowd.payments(usize::try_from(per_second)?)?;
            for payment in payments {
                crowd::send(&self.node, &[payment])?;
            }
            let until = Duration::from_secs(second.into());
            thread::sleep(until.saturating_sub(begun.elapsed()));
        }
        Ok(Spent {
            ours: self.server.process().cpu_time()?.saturating_sub(ours),
            node: self.node.process().cpu_time()?.saturating_sub(node),
            elapsed: begun.elapsed(),
        })
    }
}

/// A connection to a server that answers questions about scripts.
fn ready(server: &Loopback) -> Result<Line> {
    let mut line = server.connect()?;
    let ready = line.wait_until_ready(LOADED);
    ready.with_context(|| server.stderr())?;
    Ok(line)
}

/// Virtual bytes of all transactions that the server has.
fn known_bytes(line: &mut Line) -> Result<Value> {
    let histogram = line.call("mempool.get_fee_histogram", json!([]))?;
    let bins = histogram.as_array().context("no histogram")?;
    let bytes: u64 = bins.iter().filter_map(|bin| bin[1].as_u64()).sum();
    Ok(json!(bytes))
}

fn row(what: &str, ours: &str, node: &str, note: &str) {
    println!("| {what} | {ours} | {node} | {note} |");
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn mebibytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) / 1024.0
}

/// What is being measured, for whoever waits.
fn say(what: &str) {
    eprintln!("mempool bench: {what}");
}
