//! A transaction that leaves, and the peers that it is given to, each part of them a canary.

use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::hashes::Hash as _;
use bitcoin::{Address, Network, ScriptBuf, Transaction, WPubkeyHash};
use rig::node::Node;
use rig::peer::{Manner, Moment, Peer, Visit};
use rig::socks::Line;
use rig::tor_network::ONION_PORT;
use serde_json::json;

use super::canary::Canary;
use super::secrets::txid;
use crate::fixture::{self, PATIENCE};

/// What fails first is what there is most to say about.
const MANNERS: [Manner; 5] = [
    Manner::Closes(Moment::Start),
    Manner::NoRelay,
    Manner::Garbles(Moment::Version),
    Manner::Closes(Moment::Version),
    Manner::Floods(Moment::Version),
];
/// In every configuration.
const DELIVERIES: usize = 3;
const AMOUNT: u64 = 40_000;
/// A signature is longer; its first bytes are those of every signature.
const SIGNATURE: std::ops::Range<usize> = 8..40;

/// What is sent, and to whom.
pub(super) struct Departure {
    peer: Peer,
    addresses: Vec<String>,
    canaries: Vec<Canary>,
}

impl Departure {
    /// The peers listen.
    pub(super) fn new() -> Self {
        let peer = Peer::start(2, |number| {
            MANNERS.get(number).copied().unwrap_or(Manner::Honest)
        });
        let peer = peer.unwrap();
        let [exit, onion] = [peer.ports()[0], peer.ports()[1]];
        let name = fixture::network().add_onion_service(onion).unwrap();
        peer.forget(1).unwrap();
        let mut addresses: Vec<_> = (221..=250)
            .map(|number| format!("127.{number}.0.1:{exit}"))
            .collect();
        let mut canaries: Vec<_> = addresses
            .iter()
            .map(|address| Canary::new("address of a peer", address.as_str()))
            .collect();
        let short = name.trim_end_matches(".onion");
        canaries.push(Canary::new("onion address of a peer", short));
        addresses.push(format!("{name}:{ONION_PORT}"));
        Self {
            peer,
            addresses,
            canaries,
        }
    }

    /// For a server that may give it to these peers.
    pub(super) fn config(&self) -> String {
        format!("[broadcast]\npeers = {}\n", json!(self.addresses))
    }

    /// Has the server send a payment, past all that fails, and brings it back.
    pub(super) fn send(&mut self, line: &mut Line, node: &Node) {
        let raw = self.payment(node);
        let method = "blockchain.transaction.broadcast";
        line.call(method, json!([raw])).unwrap();
        let whole = |visits: &[Visit]| {
            let delivered = visits.iter().filter(|visit| visit.is_delivery());
            delivered.filter(|visit| visit.ended.is_some()).count() >= DELIVERIES
        };
        self.peer.visits_when(PATIENCE, whole).unwrap();
        node.send(&raw).unwrap();
        line.call(method, json!([raw])).unwrap();
    }

    /// One that nobody knows of yet.
    fn payment(&mut self, node: &Node) -> String {
        let program = Canary::new("script that is paid", &Canary::random("").bytes[..20]);
        let hash = WPubkeyHash::from_slice(&program.bytes).unwrap();
        let script = ScriptBuf::new_p2wpkh(&hash);
        let there = Address::from_script(&script, Network::Regtest).unwrap();
        let raw = node.pay_unsent(&there.to_string(), AMOUNT).unwrap();
        let transaction: Transaction = deserialize_hex(&raw).unwrap();
        let signature = &transaction.input[0].witness[0][SIGNATURE];
        self.canaries
            .push(Canary::new("signature of a transaction", signature));
        self.canaries.push(txid(
            "txid of a transaction that leaves",
            transaction.compute_txid(),
        ));
        self.canaries.push(program);
        raw
    }

    /// Those that may be nowhere.
    pub(super) fn canaries(&self) -> &[Canary] {
        &self.canaries
    }
}
