//! A long run: blocks, payments, reorgs, wallets that come and go, bad clients, a node that restarts, a server that is
//! killed, and in the end an oracle that is asked about every script. `make soak` runs it for SOAK_MINUTES (10).
//!
//! The server is killed about once a minute in the first half; the second half shows whether its memory grows.

mod chain;
mod clients;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rig::node::Node;
use rig::oracle::{self, Script};
use rig::server::{Claustrum, Options};
use rig::socks::Line;
use rig::tor_network::TorNetwork;
use serde_json::{Value, json};

use chain::Chain;
use clients::{Clients, answers};

const MINUTES: f64 = 10.0;
const WALLETS: usize = 4;
const ATTACKERS: usize = 2;
const STEP: Duration = Duration::from_millis(400);
const KILL: Duration = Duration::from_secs(60);
const RESTART_NODE: Duration = Duration::from_secs(100);
const SAMPLE: Duration = Duration::from_secs(5);
/// After its start the server's memory grows to what it needs.
const WARM: Duration = Duration::from_secs(60);
/// For the last blocks and payments to arrive.
const SETTLED: Duration = Duration::from_secs(60);
/// Scripts asked about in one batch.
const SCRIPTS_PER_BATCH: usize = 50;

fn main() -> Result<()> {
    let minutes = std::env::var("SOAK_MINUTES").map_or(Ok(MINUTES), |text| text.parse())?;
    let length = Duration::from_secs_f64(minutes * 60.0);
    let mut chain = Chain::start()?;
    let network = TorNetwork::start()?;
    let mut claustrum = Claustrum::start(&chain.node, &network, &Options::default())?;
    let onion_address = claustrum.onion_address()?.to_owned();
    let clients = Clients::new(onion_address, chain.watched()?);
    // A Tor client of their own for each, as wallets have: one remembers what another has not tried.
    let wallets: Vec<_> = (0..WALLETS)
        .map(|_| network.add_client())
        .collect::<Result<_>>()?;
    let socks_port = network.socks_port();
    println!("soak: everything runs; {minutes} minutes begin");
    let mut memory = Memory::default();
    std::thread::scope(|scope| {
        let clients = &clients;
        for (number, tor) in wallets.iter().enumerate() {
            scope.spawn(move || clients.visit(&format!("wallet-{number}"), tor.socks_port()));
        }
        for number in 0..ATTACKERS {
            scope.spawn(move || clients.attack(&format!("attacker-{number}"), socks_port));
        }
        let outcome = run(&mut chain, &mut claustrum, clients, length, &mut memory);
        // In any case, or the scope would never end.
        clients.ended.store(true, Ordering::Relaxed);
        outcome
    })?;
    println!("soak: {}", chain.told);
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "soak: {} visits, {} notifications, {} visits cut short, {} attacks",
        read(&clients.visits),
        read(&clients.notifications),
        read(&clients.broken),
        read(&clients.attacks)
    );
    println!("soak: {}", clients.tell_returns());
    println!("soak: {}", memory.tell());
    let compared = compare(&chain.node, &clients, socks_port);
    println!(
        "{}",
        String::from_utf8_lossy(&claustrum.run("status")?.stdout)
    );
    println!("soak: {} scripts are as the oracle says", compared?);
    let log = claustrum.stderr();
    ensure!(!log.contains("panic at"), "the server panicked: {log}");
    ensure!(
        read(&clients.contradictions) == 0,
        "a status that is not its history's"
    );
    ensure!(read(&clients.visits) > 0, "no visit came to its end");
    ensure!(
        claustrum.stop()?.success(),
        "the server did not end in order"
    );
    Ok(())
}

fn run(
    chain: &mut Chain,
    claustrum: &mut Claustrum,
    clients: &Clients,
    length: Duration,
    memory: &mut Memory,
) -> Result<()> {
    let begun = Instant::now();
    let (mut killed, mut restarted, mut sampled) = (begun, begun, begun);
    while begun.elapsed() < length {
        chain.step()?;
        if killed.elapsed() > KILL && begun.elapsed() < length / 2 {
            claustrum.kill()?;
            claustrum.launch_again()?;
            killed = Instant::now();
            clients.await_somebody();
            chain.told.kills += 1;
        }
        if restarted.elapsed() > RESTART_NODE {
            chain.restart_node()?;
            restarted = Instant::now();
        }
        if sampled.elapsed() > SAMPLE {
            let bytes = claustrum.process().anonymous_bytes()?;
            memory.add(clients.served(), bytes);
            sampled = Instant::now();
        }
        std::thread::sleep(STEP);
    }
    Ok(())
}

/// What the server occupied, by the time it has served wallets since its last start.
#[derive(Default)]
struct Memory {
    samples: Vec<(f64, f64)>,
    peak: f64,
}

impl Memory {
    fn add(&mut self, served: Duration, bytes: u64) {
        let (minutes, mebibytes) = (served.as_secs_f64() / 60.0, bytes as f64 / 1_048_576.0);
        // Since the last kill alone.
        self.samples.retain(|(before, _)| *before < minutes);
        if served > WARM {
            self.samples.push((minutes, mebibytes));
        }
        self.peak = self.peak.max(mebibytes);
    }

    /// The peak, and the line through the samples by least squares.
    fn tell(&self) -> String {
        let count = self.samples.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| self.samples.iter().map(of).sum::<f64>() / count;
        let (x, y) = (mean(|sample| sample.0), mean(|sample| sample.1));
        let above = self
            .samples
            .iter()
            .map(|(at, value)| (at - x) * (value - y));
        let below = self.samples.iter().map(|(at, _)| (at - x) * (at - x));
        let slope = above.sum::<f64>() / below.sum::<f64>();
        let Self { samples, peak } = self;
        format!(
            "at most {peak:.1} MiB of its own memory; {y:.1} MiB on average since the last start, {slope:+.2} MiB a \
             minute over {} samples",
            samples.len()
        )
    }
}

/// Holds what the server says about every script against the oracle; how many there are.
fn compare(node: &Node, clients: &Clients, socks_port: u16) -> Result<usize> {
    let deadline = Instant::now() + SETTLED;
    let scripts = oracle::scripts(node)?;
    let scripts: Vec<_> = scripts.iter().collect();
    for attempt in 0.. {
        let ask = || -> Result<Vec<Value>> {
            let mut line = clients.connect(socks_port, &format!("oracle-{attempt}"))?;
            let parts = scripts.chunks(SCRIPTS_PER_BATCH);
            let found = parts
                .map(|part| ask(&mut line, part))
                .collect::<Result<Vec<_>>>()?;
            Ok(found.concat())
        };
        let difference = match ask() {
            Ok(found) => {
                let expected = scripts.iter().flat_map(|(_, script)| told(script));
                let mut pairs = expected.zip(&found);
                match pairs.find(|(expected, found)| expected != *found) {
                    None => return Ok(scripts.len()),
                    Some((expected, found)) => format!("expected {expected}, found {found}"),
                }
            }
            Err(error) => format!("{error:#}"),
        };
        if Instant::now() > deadline {
            bail!("the server differs from the oracle: {difference}");
        }
        std::thread::sleep(STEP);
    }
    unreachable!("an endless range ended")
}

/// History, unspent outputs, balance and status of each.
fn ask(line: &mut Line, scripts: &[(&String, &Script)]) -> Result<Vec<Value>> {
    let methods = ["get_history", "listunspent", "get_balance", "subscribe"];
    let requests = scripts.iter().flat_map(|(hash, _)| {
        methods.map(|method| {
            json!({ "id": method, "method": format!("blockchain.scripthash.{method}"), "params": [hash] })
        })
    });
    let found = answers(line, &requests.collect())?;
    ensure!(
        found.len() == scripts.len() * methods.len(),
        "too few answers"
    );
    Ok(found)
}

/// The same as the oracle says.
fn told(script: &Script) -> [Value; 4] {
    let history = script.history.iter().map(|entry| match entry.fee {
        None => json!({ "tx_hash": entry.txid, "height": entry.height }),
        Some(fee) => json!({ "tx_hash": entry.txid, "height": entry.height, "fee": fee }),
    });
    let unspent = script.unspent.iter().map(|output| {
        json!({ "tx_hash": output.txid, "tx_pos": output.vout, "height": output.height, "value": output.value })
    });
    [
        history.collect(),
        unspent.collect(),
        json!({ "confirmed": script.confirmed, "unconfirmed": script.unconfirmed }),
        json!(script.status),
    ]
}
