//! Transactions that leave, by each way there is: how soon the first peer has one, how soon the own node, and what is
//! left of twenty of them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rig::figures::number;
use rig::node::{self, Node};
use rig::peer::{Manner, Peer, Visit};
use rig::ports;
use rig::server::{Claustrum, Options};
use rig::tor_network::{CircuitWatch, Circuits, ONION_PORT, TorNetwork};
use serde_json::json;

use crate::contest::{mebibytes, say};
use crate::figures::Figures;

/// Of each way, one after the other.
const TRANSACTIONS: usize = 7;
/// Onion services of the peer for each, as none gets two of them and some must be left.
const SERVICES: usize = 3;
/// What is left of so many is looked at, to so many peers each.
const MANY: usize = 20;
const DELIVERIES: usize = 3;
/// Until a random delay, an announcement and the ways between three nodes are over.
const PATIENCE: Duration = Duration::from_secs(240);
/// Until nothing moves any more.
const REST: Duration = Duration::from_secs(6);
const POLL: Duration = Duration::from_millis(20);
const AMOUNT: u64 = 50_000;
/// Blocks after which there is a coin for each transaction.
const BLOCKS: u32 = 160;

/// The ways, as the settings have them.
const WAYS: [(&str, &str, &str); 3] = [
    ("onion peer, v2", "onion", ""),
    ("onion peer, v1", "onion", " v1"),
    ("peer behind an exit, v2", "exit", ""),
];

/// Adds all figures.
pub(crate) fn measure(figures: &mut Figures) -> Result<()> {
    let network = TorNetwork::start()?;
    for way in WAYS {
        deliveries(figures, &network, way)?;
    }
    remains(figures, &network)
}

/// A peer, and two steps from it the own node: whatever leaves comes back by a node between them.
fn deliveries(
    figures: &mut Figures,
    network: &TorNetwork,
    (name, networks, suffix): (&str, &str, &str),
) -> Result<()> {
    say(&format!("transactions by {name}"));
    let listening = node::Options {
        peers: true,
        ..node::Options::default()
    };
    let own = Node::start(&listening)?;
    own.mine(BLOCKS)?;
    let more_ports = (0..TRANSACTIONS * SERVICES).map(|_| Ok(ports::free()?));
    let more_ports = more_ports.collect::<Result<Vec<u16>>>()?;
    let bind = |port: &u16| format!("-bind=0.0.0.0:{port}");
    let peer = Node::start(&node::Options {
        extra: more_ports.iter().map(bind).collect(),
        ..listening.clone()
    })?;
    let between = Node::start(&listening)?;
    between.join(&own)?;
    between.join(&peer)?;
    let port = peer.peer_port()?;
    let peers: Vec<String> = if networks == "exit" {
        (1..=100)
            .map(|number| format!("127.{number}.0.1:{port}"))
            .collect()
    } else {
        let services = network.add_onion_services(&more_ports)?;
        let address = |name: &String| format!("{name}:{ONION_PORT}{suffix}");
        services.iter().map(address).collect()
    };
    let text = json!(peers);
    let config = format!(
        "[broadcast]\nnetworks = [\"{networks}\"]\ndeliveries = 2\nanswer-wait-s = 0\npeers = {text}\n"
    );
    let claustrum = start(&own, network, config)?;
    let (mut there, mut back) = (Vec::new(), Vec::new());
    for _ in 0..TRANSACTIONS {
        let started = Instant::now();
        let txid = send(&own, &claustrum, network)?;
        there.push(until(started, || peer.has(&txid))?);
        back.push(until(started, || own.has(&txid))?);
    }
    figures.spread(&format!("{name}: until the peer has it"), "s", &there)?;
    figures.spread(&format!("{name}: until the own node has it"), "s", &back)
}

/// Memory and circuits around many transactions at once, to peers that take all of them.
fn remains(figures: &mut Figures, network: &TorNetwork) -> Result<()> {
    say(&format!("{MANY} transactions at once"));
    // At the own node's height, else each delivery is followed by another one.
    let height = i32::try_from(BLOCKS)?;
    let peer = Peer::start(1 + MANY, move |_| Manner::Height(height))?;
    let (exit, onions) = peer.ports().split_first().context("a peer without ports")?;
    let services = network.add_onion_services(onions)?;
    peer.forget(onions.len())?;
    let mut watches = vec![network.watch_exits(*exit)?];
    for service in &services {
        watches.push(network.watch_onion_service(service)?);
    }
    let exits = (1..=200).map(|number| format!("127.{number}.0.1:{exit}"));
    let services = services.iter().map(|name| format!("{name}:{ONION_PORT}"));
    let peers: Vec<String> = exits.chain(services).collect();
    let own = Node::start(&node::Options::default())?;
    own.mine(BLOCKS)?;
    let config = format!("[broadcast]\nanswer-wait-s = 0\npeers = {}\n", json!(peers));
    let mut claustrum = start(&own, network, config)?;
    std::thread::sleep(REST);
    let before = claustrum.process().anonymous_bytes()?;
    let started = Instant::now();
    for _ in 0..MANY {
        send(&own, &claustrum, network)?;
    }
    let mut most = before;
    let mut open = 0;
    until(started, || {
        most = most.max(claustrum.process().anonymous_bytes()?);
        open = open.max(circuits(&watches, |counted| counted.open)?);
        let visits = peer.visits();
        let delivered = visits.iter().filter(|visit| visit.is_delivery());
        let ended = delivered.filter(|visit: &&Visit| visit.ended.is_some());
        Ok(ended.count() >= MANY * DELIVERIES)
    })?;
    let took = started.elapsed().as_secs_f64();
    std::thread::sleep(REST);
    let after = claustrum.process().anonymous_bytes()?;
    let used = circuits(&watches, |counted| counted.used)?;
    let left = circuits(&watches, |counted| counted.open)?;
    ensure!(
        used >= MANY * DELIVERIES,
        "circuits that nobody counted: {used}"
    );
    let name = format!("{MANY} transactions at once");
    let mut one = |what: &str, value: f64, unit: &str| {
        let value = format!("{}{unit}", number(value));
        figures.words(&format!("{name}: {what}"), &value, "")
    };
    one("until all are delivered", took, " s")?;
    one(
        "memory before, without pages of files",
        mebibytes(before)?,
        " MiB",
    )?;
    one("the most meanwhile", mebibytes(most)?, " MiB")?;
    one("six seconds after", mebibytes(after)?, " MiB")?;
    let name = format!("{name}: circuits used, the most at once, left open");
    figures.words(&name, &format!("{used}, {open}, {left}"), "")
}

fn start(own: &Node, network: &TorNetwork, config: String) -> Result<Claustrum> {
    let options = Options {
        config: Some(config),
        ..Options::default()
    };
    let claustrum = Claustrum::start(own, network, &options)?;
    until(Instant::now(), || {
        let said = claustrum.run("status")?.stdout;
        Ok(String::from_utf8_lossy(&said).contains("broadcast tor-peers: ready"))
    })?;
    Ok(claustrum)
}

/// Hands over a payment that the node's wallet made; its txid.
fn send(own: &Node, claustrum: &Claustrum, network: &TorNetwork) -> Result<String> {
    let raw = own.pay_unsent(&own.new_address()?, AMOUNT)?;
    // A session may send few in ten minutes, so each is another one's.
    let mut line = claustrum.connect(network, "sender")?;
    let txid = line.call("blockchain.transaction.broadcast", json!([raw]))?;
    Ok(txid.as_str().context("no txid")?.to_owned())
}

/// Seconds from the start until it holds.
fn until(started: Instant, mut holds: impl FnMut() -> Result<bool>) -> Result<f64> {
    while !holds()? {
        ensure!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}");
        std::thread::sleep(POLL);
    }
    Ok(started.elapsed().as_secs_f64())
}

fn circuits(watches: &[CircuitWatch], which: impl Fn(&Circuits) -> usize) -> Result<usize> {
    watches.iter().map(|watch| Ok(which(&watch.count()?))).sum()
}
