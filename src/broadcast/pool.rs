//! The peers that a transaction may be given to, and the draw among them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IteratorRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::peer::{Group, Host, Peer, PeerAddress, PeerNetwork};
use super::timing::Timing;
use crate::limits;

/// The networks that peers are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Networks {
    /// Onion peers alone.
    Onion,
    /// Peers through exits alone.
    Exit,
    /// Both.
    Both,
}

impl Networks {
    fn has(self, network: PeerNetwork) -> bool {
        match self {
            Self::Onion => network == PeerNetwork::Onion,
            Self::Exit => network == PeerNetwork::Exit,
            Self::Both => true,
        }
    }
}

/// Who draws.
///
/// How many further slots there are depends on what the node has seen, and nobody may learn from the first slots
/// what it has seen. So each kind has its own half of the candidates, until that half is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotKind {
    /// One of the slots that a transaction has from the start.
    First,
    /// A slot added because the transaction was not seen.
    Further,
}

/// What a slot wants of its peer.
pub(super) struct Wish<'a> {
    pub(super) kind: SlotKind,
    /// Preferred; when nobody is left there, the other one.
    pub(super) network: PeerNetwork,
    /// Groups that the transaction has been to.
    pub(super) but: &'a HashSet<Group>,
}

/// Candidates that could be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usable {
    pub(super) onion: usize,
    pub(super) exit: usize,
}

/// The candidates, and which of them rest. In memory alone.
pub(super) struct PeerPool {
    candidates: Vec<Candidate>,
    /// Said by the operator.
    exclude: HashSet<Host>,
    /// The node's own addresses and ours: what goes there would begin its way through the network at home.
    own: HashSet<Host>,
    used: Duration,
    rest: Duration,
}

struct Candidate {
    peer: Peer,
    half: SlotKind,
    /// Not drawn before.
    free_from: Option<Instant>,
}

impl PeerPool {
    /// Of the peers that are in these networks and not excluded.
    pub(super) fn new(
        peers: Vec<Peer>,
        networks: Networks,
        exclude: Vec<Host>,
        timing: &Timing,
        random: &mut StdRng,
    ) -> Self {
        let mut known = HashSet::new();
        let candidates = peers
            .into_iter()
            .filter(|peer| networks.has(peer.address.network()))
            .filter(|peer| known.insert(peer.address.clone()))
            .take(limits::PEER_CANDIDATES_MAX)
            .map(|peer| Candidate {
                peer,
                half: if random.random() {
                    SlotKind::First
                } else {
                    SlotKind::Further
                },
                free_from: None,
            })
            .collect();
        Self {
            candidates,
            exclude: exclude.into_iter().collect(),
            own: HashSet::new(),
            used: timing.peer_used,
            rest: timing.peer_rest,
        }
    }

    /// The node's own addresses and our own onion addresses, as known now.
    pub(super) fn set_own(&mut self, own: Vec<Host>) {
        self.own = own.into_iter().collect();
    }

    /// Candidates that could be drawn now.
    pub(super) fn usable(&self, now: Instant) -> Usable {
        let count = |network| {
            self.free(now)
                .filter(|candidate| candidate.peer.address.network() == network)
                .count()
        };
        Usable {
            onion: count(PeerNetwork::Onion),
            exit: count(PeerNetwork::Exit),
        }
    }

    /// Whether a transaction taken now would find peers.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        let usable = self.usable(now);
        usable.onion.max(usable.exit) >= limits::PEERS_MIN
    }

    /// Draws a peer, which then gets no other transaction for a long time.
    pub(super) fn draw(
        &mut self,
        wish: &Wish<'_>,
        random: &mut StdRng,
        now: Instant,
    ) -> Option<Peer> {
        let other = match wish.network {
            PeerNetwork::Onion => PeerNetwork::Exit,
            PeerNetwork::Exit => PeerNetwork::Onion,
        };
        // However the search goes, it takes one number of the slot's source.
        let mut choice = StdRng::from_rng(random);
        let address = [wish.network, other]
            .into_iter()
            .flat_map(|network| [(network, true), (network, false)])
            .find_map(|(network, own_half)| {
                self.free(now)
                    .filter(|candidate| {
                        let address = &candidate.peer.address;
                        address.network() == network
                            && (candidate.half == wish.kind) == own_half
                            && !wish.but.contains(&address.group())
                    })
                    .map(|candidate| candidate.peer.address.clone())
                    .choose(&mut choice)
            })?;
        let used = self.used;
        let candidate = self.at(&address)?;
        candidate.free_from = Some(now + used);
        Some(candidate.peer.clone())
    }

    /// Takes a peer back that no connection led to: it learnt nothing, and may be there later.
    pub(super) fn give_back(&mut self, address: &PeerAddress, now: Instant) {
        let rest = self.rest;
        if let Some(candidate) = self.at(address) {
            candidate.free_from = Some(now + rest);
        }
    }

    fn at(&mut self, address: &PeerAddress) -> Option<&mut Candidate> {
        self.candidates
            .iter_mut()
            .find(|candidate| candidate.peer.address == *address)
    }

    fn free(&self, now: Instant) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().filter(move |candidate| {
            let host = candidate.peer.address.host();
            candidate.free_from.is_none_or(|from| from <= now)
                && !self.exclude.contains(&host)
                && !self.own.contains(&host)
        })
    }
}
