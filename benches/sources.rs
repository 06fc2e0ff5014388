//! How fast a node gives its blocks, and how fast an index is built of them: by REST, as JSON, and from its files.
//!
//! ```sh
//! cargo bench --no-default-features --bench sources -- HOST:PORT COOKIE PID [rest-blocks] [json-blocks]
//! ```
//!
//! `PID` is the node's; its files lie beside the cookie. Rounds alternate between a client that throws every answer away
//! and an index.

#![expect(
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "a measuring program prints, and is the client it measures with"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bitcoin::BlockHash;
use bitcoincore_rpc::jsonrpc::base64;
use claustrum::chain::{Height, Network};
use claustrum::index::Index;
use claustrum::limits;
use claustrum::node::{Node, NodeAuth, NodeSettings, RestBuffer};
use claustrum::query::{Readiness, View};
use claustrum::sync::{BulkSettings, Follower};

const ROUNDS: usize = 3;
const CONNECTIONS: usize = 4;
const HEADERS: usize = 2_000;
/// The kernel counts CPU time in these.
const TICKS_PER_SECOND: f64 = 100.0;

/// The node, and as much of its chain as is measured.
struct Subject {
    settings: NodeSettings,
    /// The node's folder for the network.
    dir: PathBuf,
    cookie: String,
    process: String,
    hashes: Vec<BlockHash>,
    /// Of each block.
    transactions: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Files,
    Rest,
    Json,
}

/// What one run took.
struct Taken {
    seconds: f64,
    node_cpu: f64,
    own_cpu: f64,
    bytes: usize,
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let words: Vec<&str> = words
        .into_iter()
        .filter(|word| *word != "--bench")
        .collect();
    let [address, cookie, process, counts @ ..] = words.as_slice() else {
        anyhow::bail!("HOST:PORT COOKIE PID [rest-blocks] [json-blocks]");
    };
    let counts: Vec<u32> = counts
        .iter()
        .map(|count| count.parse())
        .collect::<Result<_, _>>()?;
    let mut counts = counts.into_iter();
    for source in [Source::Rest, Source::Json] {
        let subject = Subject::meet(address, cookie, process, counts.next())?;
        let name = match source {
            Source::Json => "JSON",
            Source::Rest | Source::Files => "REST",
        };
        let transactions: u32 = subject.transactions.iter().sum();
        println!(
            "{name}: {} blocks, {transactions} transactions",
            subject.hashes.len()
        );
        for _ in 0..ROUNDS {
            let thrown_away = subject.throw_away(source)?;
            subject.tell("thrown away", &thrown_away);
            let bytes = thrown_away.bytes;
            if source == Source::Rest {
                subject.tell("our client", &subject.fetch(bytes)?);
                subject.tell("index, files", &subject.index(Source::Files, bytes)?);
            }
            subject.tell("index", &subject.index(source, bytes)?);
        }
    }
    Ok(())
}

impl Subject {
    fn meet(address: &str, cookie: &str, process: &str, blocks: Option<u32>) -> Result<Self> {
        let settings = NodeSettings {
            address: address.parse()?,
            auth: NodeAuth::cookie_file(cookie.into()),
            network: Network::Regtest,
        };
        let node = Node::new(&settings);
        let tip = node.chain_state()?.tip.height.0;
        let last = blocks.map_or(tip, |blocks| blocks.saturating_sub(1).min(tip));
        let heights: Vec<_> = (0..=last).map(Height).collect();
        let hashes: Option<Vec<_>> = node.block_hashes(&heights)?.into_iter().collect();
        let hashes = hashes.context("the chain moved")?;
        let mut transactions = Vec::new();
        for part in hashes.chunks(HEADERS) {
            let counts: Option<Vec<_>> = node.transaction_counts(part)?.into_iter().collect();
            transactions.extend(counts.context("the chain moved")?);
        }
        Ok(Self {
            settings,
            dir: Path::new(cookie).parent().context("a folder")?.to_owned(),
            cookie: base64::encode(std::fs::read_to_string(cookie)?.trim()),
            process: process.to_owned(),
            hashes,
            transactions,
        })
    }

    fn tell(&self, what: &str, taken: &Taken) {
        let transactions: f64 = self.transactions.iter().copied().map(f64::from).sum();
        let each = |seconds: f64| seconds / transactions * 1e6;
        let megabytes = f64::from(u32::try_from(taken.bytes / 1_000).unwrap_or(u32::MAX)) / 1e3;
        println!(
            "{what:>12}: {:6.2} s, {:8.0} tx/s, {:6.1} MB/s; CPU us/tx: node {:6.2}, own {:6.2}",
            taken.seconds,
            transactions / taken.seconds,
            megabytes / taken.seconds,
            each(taken.node_cpu),
            each(taken.own_cpu),
        );
    }

    fn timed(&self, work: impl FnOnce() -> Result<usize>) -> Result<Taken> {
        let (node, own) = (cpu_seconds(&self.process)?, cpu_seconds("self")?);
        let begun = Instant::now();
        let bytes = work()?;
        Ok(Taken {
            seconds: begun.elapsed().as_secs_f64(),
            node_cpu: cpu_seconds(&self.process)? - node,
            own_cpu: cpu_seconds("self")? - own,
            bytes,
        })
    }

    /// Asks for every block over [`CONNECTIONS`] connections and looks at nothing.
    fn throw_away(&self, source: Source) -> Result<Taken> {
        let next = AtomicUsize::new(0);
        let work = || -> Result<usize> {
            let mut line = Line::open(self.settings.address)?;
            let mut bytes = 0;
            while let Some(hash) = self.hashes.get(next.fetch_add(1, Ordering::Relaxed)) {
                for request in self.requests(source, hash) {
                    bytes += line.ask(&request)?;
                }
            }
            Ok(bytes)
        };
        self.timed(|| on_threads(work))
    }

    /// The same by the code that feeds an index, for as many bytes.
    fn fetch(&self, bytes: usize) -> Result<Taken> {
        let next = AtomicUsize::new(0);
        let node = Node::new(&self.settings);
        let work = || -> Result<usize> {
            let mut buffer = RestBuffer::default();
            while let Some(hash) = self.hashes.get(next.fetch_add(1, Ordering::Relaxed)) {
                node.rest_block(hash, &mut buffer)?;
            }
            Ok(0)
        };
        self.timed(|| Ok(on_threads(work)? + bytes))
    }

    fn requests(&self, source: Source, hash: &BlockHash) -> [String; 2] {
        let call = |verbosity| {
            let body = format!(r#"{{"id":1,"method":"getblock","params":["{hash}",{verbosity}]}}"#);
            format!(
                "POST / HTTP/1.1\r\nHost: node\r\nAuthorization: Basic {}\r\nContent-Length: {}\r\n\r\n{body}",
                self.cookie,
                body.len()
            )
        };
        let path = |path| format!("GET /rest/{path}/{hash}.bin HTTP/1.1\r\nHost: node\r\n\r\n");
        match source {
            Source::Json => [0, 3].map(call),
            Source::Rest | Source::Files => ["spenttxouts", "block"].map(path),
        }
    }

    /// Builds an index of these blocks, for which the node gives so many bytes.
    fn index(&self, source: Source, bytes: usize) -> Result<Taken> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench/sources");
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir_all(&dir)?;
        let node = Arc::new(Node::new(&self.settings));
        let last = Height(u32::try_from(self.hashes.len())? - 1);
        let tip = node.chain_state()?.tip.height;
        let files = self.dir.join("blocks");
        let settings = BulkSettings {
            block_files: (source == Source::Files).then_some(files),
            rest: source == Source::Rest,
            jobs: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            memory_bytes: limits::SYNC_MEMORY_BYTES,
            blocks_min: 1,
            distance: tip.0 - last.0,
            working_dir: dir.join("bulk"),
        };
        let index = Index::open(&dir.join("index"), Network::Regtest)?;
        let (built, is_built) = mpsc::sync_channel(1);
        // Reading is the first two thirds of a bulk's progress.
        let read = last.0 / 3 * 2;
        let mut begun = Some(Instant::now());
        let publish = move |view: View| {
            if let Readiness::CatchingUp(catch_up) = view.readiness
                && catch_up.indexed >= read
                && let Some(begun) = begun.take()
            {
                println!(
                    "{:>12}  read after {:.2} s",
                    "",
                    begun.elapsed().as_secs_f64()
                );
            }
            if view.snapshot.tip().is_some_and(|tip| tip.height >= last) {
                let _told_before = built.try_send(());
            }
        };
        let taken = self.timed(|| {
            let follower =
                Follower::launch(&node, index, settings, Box::new(publish), Box::new(drop))?;
            let outcome = is_built.recv_timeout(Duration::from_secs(3600));
            follower.stop();
            outcome.context("the index was not built")?;
            Ok(bytes)
        });
        std::fs::remove_dir_all(&dir)?;
        taken
    }
}

/// Does the same on [`CONNECTIONS`] threads; the sum.
fn on_threads(work: impl Fn() -> Result<usize> + Sync) -> Result<usize> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(&work)).collect();
        let sums = threads.into_iter().map(|thread| match thread.join() {
            Ok(sum) => sum,
            Err(_) => anyhow::bail!("a thread panicked"),
        });
        sums.sum()
    })
}

/// A connection that is kept.
struct Line {
    reader: BufReader<TcpStream>,
    body: Vec<u8>,
}

impl Line {
    fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            reader: BufReader::new(stream),
            body: Vec::new(),
        })
    }

    /// Bytes of the answer.
    fn ask(&mut self, request: &str) -> Result<usize> {
        self.reader.get_mut().write_all(request.as_bytes())?;
        let mut status = String::new();
        self.reader.read_line(&mut status)?;
        ensure!(status.contains(" 200 "), "the node answers {status}");
        let mut length = None;
        loop {
            let mut header = String::new();
            self.reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(": ") else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.parse()?);
            }
        }
        let length: usize = length.context("an answer without a length")?;
        self.body.resize(length, 0);
        self.reader.read_exact(&mut self.body)?;
        Ok(length)
    }
}

/// What a process has used so far.
fn cpu_seconds(process: &str) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("no name of a program")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || -> Result<f64> { Ok(fields.next().context("no time")?.parse()?) };
    Ok((next()? + next()?) / TICKS_PER_SECOND)
}
