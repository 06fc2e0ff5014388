//! What a scenario stands on: a node, and a server that may dial these peers.

use std::time::{Duration, Instant};

use bitcoin::hex::FromHex as _;
use bitcoin::{Transaction, consensus};
use rig::node::{self, Node};
use rig::peer::{Manner, Peer, Visit};
use rig::server::{Claustrum, Options};
use rig::socks::Line;
use rig::tor_network::ONION_PORT;
use serde_json::{Value, json};

use crate::fixture::{self, PATIENCE};

const POLL: Duration = Duration::from_millis(200);
/// Satoshi that somebody is paid.
const AMOUNT: u64 = 70_000;

/// The part of the configuration that a scenario chooses.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) networks: &'static [&'static str],
    pub(super) deliveries: u8,
    /// Seconds that an answer waits for the return.
    pub(super) answer_wait: u8,
    pub(super) peers: Vec<String>,
    pub(super) exclude: Vec<String>,
}

/// A server beside a node that nobody else uses.
pub(super) struct Scene {
    pub(super) node: Node,
    pub(super) server: Claustrum,
}

impl Default for Settings {
    /// Everybody is answered at once, as scenarios look at peers and not at answers.
    fn default() -> Self {
        Self {
            networks: &["onion", "exit"],
            deliveries: 3,
            answer_wait: 0,
            peers: Vec::new(),
            exclude: Vec::new(),
        }
    }
}

impl Settings {
    /// Peers behind exits alone.
    pub(super) fn exits(deliveries: u8, peers: Vec<String>) -> Self {
        Self {
            networks: &["exit"],
            deliveries,
            peers,
            ..Self::default()
        }
    }

    /// Peers that are onion services alone.
    pub(super) fn onions(deliveries: u8, peers: Vec<String>) -> Self {
        Self {
            networks: &["onion"],
            deliveries,
            peers,
            ..Self::default()
        }
    }

    /// As a configuration file.
    pub(super) fn text(&self) -> String {
        let Self {
            networks,
            deliveries,
            answer_wait,
            peers,
            exclude,
        } = self;
        // Lists of strings are written alike in both languages.
        let list = |words: Value| words.to_string();
        format!(
            "[broadcast]\nnetworks = {}\ndeliveries = {deliveries}\nanswer-wait-s = {answer_wait}\n\
             peers = {}\nexclude = {}\n",
            list(json!(networks)),
            list(json!(peers)),
            list(json!(exclude)),
        )
    }
}

impl Scene {
    /// With a node of its own that nobody reaches: what a peer gets, the scenario has to bring there.
    pub(super) fn new(settings: &Settings) -> Self {
        Self::beside(
            Node::start_funded(&node::Options::default()).unwrap(),
            settings,
        )
    }

    pub(super) fn beside(node: Node, settings: &Settings) -> Self {
        let options = Options {
            config: Some(settings.text()),
            ..Options::default()
        };
        Self::with(node, &options)
    }

    /// Returns when transactions are taken.
    pub(super) fn with(node: Node, options: &Options) -> Self {
        let scene = Self::not_ready(node, options);
        scene.wait_until("broadcast tor-peers: ready");
        scene
    }

    /// Returns when the index is built.
    pub(super) fn not_ready(node: Node, options: &Options) -> Self {
        let server = Claustrum::start(&node, fixture::network(), options).unwrap();
        let scene = Self { node, server };
        scene.wait_until("following the node");
        scene
    }

    /// Until `claustrum status` says so.
    pub(super) fn wait_until(&self, words: &str) {
        let mut last = String::new();
        let deadline = Instant::now() + PATIENCE;
        while !last.contains(words) {
            assert!(Instant::now() < deadline, "not `{words}` but: {last}");
            std::thread::sleep(POLL);
            last = fixture::said(&self.server.run("status").unwrap());
        }
    }

    /// A client on a circuit of its own.
    pub(super) fn client(&self) -> Line {
        fixture::client_of(&self.server)
    }

    /// A payment of the node's wallet to itself that the node does not know of yet.
    pub(super) fn payment(&self) -> Payment {
        let there = self.node.new_address().unwrap();
        Payment::new(self.node.pay_unsent(&there, AMOUNT).unwrap())
    }

    /// Has the server take it.
    pub(super) fn send(&self, payment: &Payment) {
        assert_eq!(answer(&mut self.client(), &payment.raw), payment.txid);
    }
}

/// A transaction that nobody has seen.
#[derive(Clone, Debug)]
pub(super) struct Payment {
    /// In hexadecimal.
    pub(super) raw: String,
    pub(super) bytes: Vec<u8>,
    pub(super) txid: String,
}

impl Payment {
    pub(super) fn new(raw: String) -> Self {
        let bytes = Vec::from_hex(&raw).unwrap();
        let transaction: Transaction = consensus::deserialize(&bytes).unwrap();
        Self {
            raw,
            bytes,
            txid: transaction.compute_txid().to_string(),
        }
    }
}

/// Hands a server a transaction: the txid, or the words of its refusal.
pub(super) fn answer(line: &mut Line, raw: &str) -> String {
    let reply = line
        .request("blockchain.transaction.broadcast", json!([raw]))
        .unwrap();
    let error = &reply["error"];
    assert!(error.is_null() || error["code"] == 1, "{reply}");
    let answer = if error.is_null() {
        &reply["result"]
    } else {
        &error["message"]
    };
    answer.as_str().unwrap().to_owned()
}

/// What a wallet shows of a refusal.
pub(super) fn refused(text: &str) -> String {
    format!("the transaction was rejected by network rules.\n\n{text}")
}

/// So many addresses behind the private exits at which whoever listens on this port is reached, no two in one /16.
pub(super) fn behind_exits(port: u16, count: u8) -> Vec<String> {
    (1..=count)
        .map(|number| format!("127.{number}.0.1:{port}"))
        .collect()
}

/// A peer with these manners on its first connections and honest from then on, behind exits at many addresses.
pub(super) fn peer_behind_exits(manners: Vec<Manner>) -> (Peer, Vec<String>) {
    let peer = Peer::start(1, in_turn(manners)).unwrap();
    let addresses = behind_exits(peer.port(), 20);
    (peer, addresses)
}

/// The same as so many onion services.
pub(super) fn peer_behind_onions(services: usize, manners: Vec<Manner>) -> (Peer, Vec<String>) {
    let peer = Peer::start(services, in_turn(manners)).unwrap();
    let names = fixture::network().add_onion_services(peer.ports()).unwrap();
    peer.forget(services).unwrap();
    let addresses = names.iter().map(|name| format!("{name}:{ONION_PORT}"));
    (peer, addresses.collect())
}

/// Peers that speak no BIP 324, as the configuration has them.
pub(super) fn plain(addresses: &[String]) -> Vec<String> {
    addresses
        .iter()
        .map(|address| format!("{address} v1"))
        .collect()
}

fn in_turn(manners: Vec<Manner>) -> impl Fn(usize) -> Manner {
    move |number| manners.get(number).copied().unwrap_or(Manner::Honest)
}

/// Its visits once so many of them were deliveries from beginning to end.
pub(super) fn after_deliveries(peer: &Peer, count: usize) -> Vec<Visit> {
    let whole = |visit: &&Visit| visit.is_delivery() && visit.ended.is_some();
    let enough = |visits: &[Visit]| visits.iter().filter(whole).count() >= count;
    peer.visits_when(PATIENCE, enough).unwrap()
}
