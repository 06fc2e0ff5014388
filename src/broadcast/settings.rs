//! How transactions leave, as the operator wants it.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::peer::{Host, Peer};
use super::pool::{Networks, PeerPool};
use super::timing::Timing;
use crate::limits;
use crate::node::FeeRate;

/// By whom a transaction first reaches the network. It is the operator's choice alone: whatever fails, nothing ever
/// changes from one to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By a few peers of the network, over Tor.
    TorPeers,
    /// By the operator's node, under its own address.
    OwnNode,
}

/// The table `[broadcast]`, valid once it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// By whom it leaves.
    pub method: Method,
    /// Where peers are drawn from.
    pub networks: Networks,
    /// Peers that are told of a transaction at first, 2 to 5.
    pub deliveries: u8,
    /// How long a client waits at most for its transaction to come back before it is answered.
    pub answer_wait: Duration,
    /// What pays more is refused as a mistake.
    pub fee_rate_max: FeeRate,
    /// Whom a transaction may be given to.
    pub peers: Vec<Peer>,
    /// Whom it may not be given to.
    pub exclude: Vec<Host>,
}

impl Settings {
    /// Peers that could be given a transaction now by a server that has just started; `own` are hosts that never are.
    pub fn usable_peers(&self, own: Vec<Host>) -> UsablePeers {
        // The source decides nothing that is counted.
        let mut random = StdRng::from_seed([0; 32]);
        let mut pool = PeerPool::new(
            self.peers.clone(),
            self.networks,
            self.exclude.clone(),
            &Timing::standard(),
            &mut random,
        );
        pool.set_own(own);
        let now = Instant::now();
        let usable = pool.usable(now);
        UsablePeers {
            onion: usable.onion,
            exit: usable.exit,
            suffice: pool.is_ready(now),
        }
    }
}

/// Peers that could be given a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsablePeers {
    /// Onion services.
    pub onion: usize,
    /// Reached through exits.
    pub exit: usize,
    /// Whether a transaction would be taken.
    pub suffice: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            method: Method::TorPeers,
            networks: Networks::Both,
            deliveries: limits::DELIVERIES,
            answer_wait: limits::ANSWER_WAIT,
            fee_rate_max: FeeRate(limits::FEE_RATE_MAX),
            peers: Vec::new(),
            exclude: Vec::new(),
        }
    }
}

impl Method {
    /// As it is written in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TorPeers => "tor-peers",
            Self::OwnNode => "own-node",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text is not the name of a [`Method`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write tor-peers or own-node")]
pub struct UnknownMethod;

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, UnknownMethod> {
        [Self::TorPeers, Self::OwnNode]
            .into_iter()
            .find(|method| method.name() == text)
            .ok_or(UnknownMethod)
    }
}
