//! One node, one Tor network and one server for all tests that do not change them; started once.

use std::sync::OnceLock;

use rig::node::{self, Node};
use rig::server::{Claustrum, Options};
use rig::tor_network::TorNetwork;

/// A node with a short chain, shared.
pub(crate) fn node() -> &'static Node {
    static NODE: OnceLock<Node> = OnceLock::new();
    NODE.get_or_init(|| Node::start_funded(&node::Options::default()).expect("a node"))
}

/// The private Tor network, shared.
pub(crate) fn network() -> &'static TorNetwork {
    TorNetwork::shared().expect("a Tor network")
}

/// A server beside the shared node, reachable through the shared network.
pub(crate) fn server() -> &'static Claustrum {
    static SERVER: OnceLock<Claustrum> = OnceLock::new();
    SERVER
        .get_or_init(|| Claustrum::start(node(), network(), &Options::default()).expect("a server"))
}
