//! A long run: blocks, payments, reorgs, wallets that come and go, bad clients, a node that restarts, a server that is
//! killed, and in the end an oracle that is asked about every script. `make soak` runs it for SOAK_MINUTES (10).
//!
//! The server is killed about once a minute in the first half; the second half shows whether its memory grows.

mod clients;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rig::node::{self, Node};
use rig::oracle::{self, Script};
use rig::reorganise::{Fate, reorganise};
use rig::server::{Claustrum, Options};
use rig::shape::Shape;
use rig::socks::Line;
use rig::tor_network::TorNetwork;
use serde_json::{Value, json};

use clients::{Clients, answers};

const MINUTES: f64 = 10.0;
const ADDRESSES: usize = 40;
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
    let clients = chain.clients(&network, &claustrum)?;
    println!("soak: everything runs; {minutes} minutes begin");
    let mut memory = Memory::default();
    std::thread::scope(|scope| {
        let clients = &clients;
        for number in 0..WALLETS {
            scope.spawn(move || clients.visit(&format!("wallet-{number}")));
        }
        for number in 0..ATTACKERS {
            scope.spawn(move || clients.attack(&format!("attacker-{number}")));
        }
        let outcome = run(&mut chain, &mut claustrum, &network, length, &mut memory);
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
    println!("soak: {}", memory.tell());
    println!(
        "soak: {} scripts are as the oracle says",
        compare(&chain.node, &clients)?
    );
    println!(
        "{}",
        String::from_utf8_lossy(&claustrum.run("status")?.stdout)
    );
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
    network: &TorNetwork,
    length: Duration,
    memory: &mut Memory,
) -> Result<()> {
    let begun = Instant::now();
    let (mut killed, mut restarted, mut sampled) = (begun, begun, begun);
    while begun.elapsed() < length {
        chain.step()?;
        if killed.elapsed() > KILL && begun.elapsed() < length / 2 {
            claustrum.kill()?;
            claustrum.start_again(network)?;
            killed = Instant::now();
            chain.told.kills += 1;
        }
        if restarted.elapsed() > RESTART_NODE {
            chain.restart_node()?;
            restarted = Instant::now();
        }
        if sampled.elapsed() > SAMPLE {
            let bytes = claustrum.process().anonymous_bytes()?;
            memory.add(killed.elapsed(), bytes);
            sampled = Instant::now();
        }
        std::thread::sleep(STEP);
    }
    Ok(())
}

/// The node, and what happens to it.
struct Chain {
    node: Node,
    shape: Shape,
    addresses: Vec<String>,
    random: u64,
    told: Told,
}

/// How often what happened.
#[derive(Default)]
struct Told {
    blocks: u32,
    payments: u32,
    reorgs: u32,
    kills: u32,
    restarts: u32,
    refused: u32,
}

impl Chain {
    fn start() -> Result<Self> {
        let node = Node::start_funded(&node::Options::default())?;
        let mut shape = Shape::new(1);
        shape.grow(&node, node::MATURITY + 20)?;
        let addresses = (0..ADDRESSES).map(|_| node.new_address());
        Ok(Self {
            addresses: addresses.collect::<Result<_>>()?,
            node,
            shape,
            random: 1,
            told: Told::default(),
        })
    }

    fn clients(&self, network: &TorNetwork, claustrum: &Claustrum) -> Result<Clients> {
        let hash = |address: &String| oracle::script_hash(&self.node.script(address)?);
        Ok(Clients {
            socks_port: network.socks_port(),
            onion_address: claustrum.onion_address()?.to_owned(),
            watched: self.addresses.iter().map(hash).collect::<Result<_>>()?,
            ended: false.into(),
            visits: 0.into(),
            notifications: 0.into(),
            broken: 0.into(),
            contradictions: 0.into(),
            attacks: 0.into(),
        })
    }

    /// One thing of what happens on a chain. What the node refuses, for want of coins or by its policy, is counted.
    fn step(&mut self) -> Result<()> {
        let outcome = match self.below(40) {
            0..20 => self.pay(),
            20..30 => self.node.mine(1).map(|_| self.told.blocks += 1),
            30..34 => self.grow(),
            34..38 => self.shape.send_unconfirmed(&self.node, 5).map(drop),
            38 => self.reorganise(6),
            _ => self.reorganise(30),
        };
        self.told.refused += u32::from(outcome.is_err());
        // That it refuses everything would be another matter.
        self.node.height().map(drop)
    }

    fn pay(&mut self) -> Result<()> {
        let address = self.addresses[self.below(ADDRESSES)].clone();
        let satoshi = 10_000 + self.below(1_000_000) as u64;
        let txid = self.node.pay(&address, satoshi)?;
        if self.below(4) == 0 {
            let other = self.addresses[self.below(ADDRESSES)].clone();
            self.node.redirect(&txid, &other, satoshi)?;
        }
        self.told.payments += 1;
        Ok(())
    }

    fn grow(&mut self) -> Result<()> {
        self.shape.forget_lost(&self.node)?;
        self.shape.grow(&self.node, 2)?;
        self.told.blocks += 2;
        Ok(())
    }

    fn reorganise(&mut self, deepest: usize) -> Result<()> {
        let depth = 1 + u32::try_from(self.below(deepest))?;
        let fate = [Fate::Moved, Fate::Unconfirmed, Fate::Replaced][self.below(3)];
        reorganise(&self.node, depth, depth + 1, fate)?;
        self.told.reorgs += 1;
        self.shape.forget_lost(&self.node)
    }

    /// In order, or with what it has not written lost.
    fn restart_node(&mut self) -> Result<()> {
        if self.told.restarts % 2 == 1 {
            self.node.kill()?;
        }
        self.node.restart()?;
        self.told.restarts += 1;
        self.shape.forget_lost(&self.node)
    }

    /// A number below `limit` (a linear congruential generator's upper half).
    fn below(&mut self, limit: usize) -> usize {
        let next = self.random.wrapping_mul(6_364_136_223_846_793_005);
        self.random = next.wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize % limit
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} blocks, {} payments, {} reorgs, {} refused by the node; node restarted {} times, server killed {} times",
            self.blocks, self.payments, self.reorgs, self.refused, self.restarts, self.kills
        )
    }
}

/// What the server occupied, by the time since its start.
#[derive(Default)]
struct Memory {
    samples: Vec<(f64, f64)>,
    peak: f64,
}

impl Memory {
    fn add(&mut self, running: Duration, bytes: u64) {
        let (minutes, mebibytes) = (running.as_secs_f64() / 60.0, bytes as f64 / 1_048_576.0);
        // Since the last kill alone.
        self.samples.retain(|(before, _)| *before < minutes);
        if running > WARM {
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
fn compare(node: &Node, clients: &Clients) -> Result<usize> {
    let deadline = Instant::now() + SETTLED;
    let scripts = oracle::scripts(node)?;
    let scripts: Vec<_> = scripts.iter().collect();
    for attempt in 0.. {
        let ask = || -> Result<Vec<Value>> {
            let mut line = clients.connect(&format!("oracle-{attempt}"))?;
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
