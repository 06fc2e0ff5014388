//! Any Electrum servers, asked the same as `examples/loopback`, in turn. `make bench-peers HOSTS="host:port ..."`;
//! docs/performance.md tells what can be set.
//!
//! The table goes to standard output, every single measurement to `target/bench/peers.jsonl`.

mod arguments;
mod figures;
mod load;
mod meter;
mod questions;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rig::node::{self, Node};
use rig::process::Process;
use rig::rpc::Rpc;
use rig::shape::Shape;
use rig::socks::Line;
use rig::{ports, programs, server};
use serde_json::json;

use arguments::Arguments;
use figures::{Cpu, Figures};
use load::Load;
use meter::Meter;
use questions::Questions;

/// A million transactions take 4 s.
const INDEXED: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(100);
/// So that a history of any length is an answer.
const REPLY_BYTES_MAX: &str = "100000000";

/// A server that is measured.
struct Contestant {
    address: String,
    meter: Option<Meter>,
}

/// The node whose chain all of them serve.
struct Chain {
    dir: PathBuf,
    rpc: Rpc,
    meter: Option<Meter>,
    /// If it was started here.
    _node: Option<Node>,
}

fn main() -> Result<()> {
    let arguments = Arguments::read(std::env::args().skip(1))?;
    let chain = Chain::open(&arguments)?;
    let mut questions = Questions::of_chain(&chain.rpc)?;
    if let Some(file) = &arguments.scripts {
        questions = questions.with_scripts_of(file)?;
    }
    let folder = tempfile::tempdir()?;
    let port = ports::free()?;
    let _loopback = start_loopback(&chain, folder.path().into(), port)?;
    let mut contestants = vec![Contestant::at(format!("127.0.0.1:{port}"))];
    contestants.extend(arguments.peers.iter().cloned().map(Contestant::at));
    let names = contestants.iter().skip(1).map(|peer| peer.address.clone());
    let names = std::iter::once("examples/loopback".to_owned()).chain(names);
    let mut figures = Figures::begin(&arguments.json, names.collect())?;
    println!(
        "Load average at the beginning: {}",
        rig::figures::load_average()?
    );
    for round in 0..arguments.rounds {
        run_round(
            round,
            &arguments,
            &chain,
            &questions,
            &contestants,
            &mut figures,
        )?;
    }
    println!(
        "Load average at the end: {}\n",
        rig::figures::load_average()?
    );
    print!("{}", figures.table());
    Ok(())
}

/// Every case once with every server, another one first in each round.
fn run_round(
    round: usize,
    arguments: &Arguments,
    chain: &Chain,
    questions: &Questions,
    contestants: &[Contestant],
    figures: &mut Figures,
) -> Result<()> {
    eprintln!("bench-peers: round {} of {}", round + 1, arguments.rounds);
    let (clients, unanswered, time) = (arguments.clients, arguments.unanswered, arguments.time);
    let loads = [
        (
            "one after the other, ms".to_owned(),
            Load {
                clients: 1,
                unanswered: 1,
                time,
            },
        ),
        (
            format!("{clients} x {unanswered} unanswered, a second"),
            Load {
                clients,
                unanswered,
                time,
            },
        ),
    ];
    for &method in &arguments.methods {
        let requests = questions.requests(method);
        for (name, load) in &loads {
            for turn in 0..contestants.len() {
                let number = (round + turn) % contestants.len();
                let contestant = &contestants[number];
                let before = [contestant.cpu_seconds()?, chain.cpu_seconds()?];
                let outcome = load.drive(&contestant.address, &requests)?;
                let cpu = Cpu {
                    server: difference(contestant.cpu_seconds()?, before[0]),
                    node: difference(chain.cpu_seconds()?, before[1]),
                };
                figures.add(
                    &format!("{}, {name}", method.label()),
                    number,
                    &outcome,
                    cpu,
                )?;
            }
        }
    }
    Ok(())
}

impl Contestant {
    fn at(address: String) -> Self {
        let (host, port) = address.rsplit_once(':').unwrap_or_default();
        let is_local = matches!(host, "127.0.0.1" | "localhost" | "[::1]");
        let port = port.parse().ok().filter(|_| is_local);
        Self {
            meter: port.and_then(Meter::of_port),
            address,
        }
    }

    fn cpu_seconds(&self) -> Result<Option<f64>> {
        self.meter.as_ref().map(Meter::cpu_seconds).transpose()
    }
}

impl Chain {
    /// The node that the arguments name, or a new one with a small chain.
    fn open(arguments: &Arguments) -> Result<Self> {
        let Some((dir, port)) = arguments.node_dir.clone().zip(arguments.node_rpc) else {
            let node = Node::start_funded(&node::Options::default())?;
            Shape::new(1).build(&node)?;
            return Ok(Self {
                dir: node.data_dir().to_owned(),
                rpc: Rpc::new(node.rpc_port(), node.cookie().clone()),
                meter: Meter::of_port(node.rpc_port()),
                _node: Some(node),
            });
        };
        Ok(Self {
            rpc: Rpc::new(port, dir.join("regtest/.cookie")),
            meter: Meter::of_port(port),
            dir,
            _node: None,
        })
    }

    fn cpu_seconds(&self) -> Result<Option<f64>> {
        self.meter.as_ref().map(Meter::cpu_seconds).transpose()
    }
}

/// Starts it with an empty index, and returns when it answers questions about scripts.
fn start_loopback(chain: &Chain, data_dir: PathBuf, port: u16) -> Result<Process> {
    let mut command = server::bare(programs::example("loopback")?);
    command
        .args(["--network", "regtest", "--reply-bytes-max", REPLY_BYTES_MAX])
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .args(["--node-rpc", &format!("127.0.0.1:{}", chain.rpc.port())])
        .arg("--node-cookie")
        .arg(chain.rpc.cookie())
        .arg("--node-dir")
        .arg(&chain.dir)
        .arg("--data-dir")
        .arg(data_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut process = Process::start("examples/loopback", &mut command)?;
    let deadline = Instant::now() + INDEXED;
    while !is_ready(port).unwrap_or(false) {
        ensure!(process.ended()?.is_none(), "examples/loopback has ended");
        ensure!(Instant::now() < deadline, "no index after {INDEXED:?}");
        std::thread::sleep(POLL);
    }
    Ok(process)
}

fn is_ready(port: u16) -> Result<bool> {
    let mut line = Line::new(std::net::TcpStream::connect(("127.0.0.1", port))?);
    let reply = line.request("mempool.get_fee_histogram", json!([]))?;
    Ok(reply["error"].is_null())
}

fn difference(after: Option<f64>, before: Option<f64>) -> Option<f64> {
    after.zip(before).map(|(after, before)| after - before)
}
