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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn onion(letter: char) -> Peer {
        let host: String = std::iter::repeat_n(letter, 56).collect();
        format!("{host}.onion:8333").parse().unwrap()
    }

    fn exit(text: &str) -> Peer {
        text.parse().unwrap()
    }

    fn onions(letters: &str) -> Vec<Peer> {
        letters.chars().map(onion).collect()
    }

    fn seeded(peers: Vec<Peer>, seed: u64) -> (PeerPool, StdRng) {
        let mut random = StdRng::seed_from_u64(seed);
        let timing = Timing::standard();
        let pool = PeerPool::new(peers, Networks::Both, Vec::new(), &timing, &mut random);
        (pool, random)
    }

    fn drawn(
        pool: &mut PeerPool,
        random: &mut StdRng,
        (kind, network): (SlotKind, PeerNetwork),
        now: Instant,
    ) -> Option<Peer> {
        let but = &HashSet::new();
        pool.draw(&Wish { kind, network, but }, random, now)
    }

    const FIRST: (SlotKind, PeerNetwork) = (SlotKind::First, PeerNetwork::Onion);
    const FURTHER: (SlotKind, PeerNetwork) = (SlotKind::Further, PeerNetwork::Onion);

    /// Everybody who can be drawn.
    fn all(pool: &mut PeerPool, random: &mut StdRng, now: Instant) -> Vec<Peer> {
        std::iter::from_fn(|| drawn(pool, random, FIRST, now))
            .take(100)
            .collect()
    }

    #[test]
    fn nobody_is_drawn_twice_within_a_week() {
        let now = Instant::now();
        let (mut pool, mut random) = seeded(onions("abcdef"), 1);
        let first: HashSet<Peer> = all(&mut pool, &mut random, now).into_iter().collect();
        assert_eq!(first.len(), 6);
        assert!(!pool.is_ready(now));
        let almost = now + Duration::from_secs(7 * 24 * 60 * 60 - 1);
        assert!(all(&mut pool, &mut random, almost).is_empty());
        assert_eq!(all(&mut pool, &mut random, now + 7 * DAY).len(), 6);
    }

    #[test]
    fn who_could_not_be_reached_rests_for_ten_minutes() {
        let now = Instant::now();
        let (mut pool, mut random) = seeded(onions("a"), 1);
        let peer = drawn(&mut pool, &mut random, FIRST, now).unwrap();
        pool.give_back(&peer.address, now);
        let almost = now + Duration::from_secs(599);
        assert!(drawn(&mut pool, &mut random, FIRST, almost).is_none());
        let later = now + Duration::from_secs(600);
        assert!(drawn(&mut pool, &mut random, FIRST, later) == Some(peer));
    }

    #[test]
    fn our_own_addresses_are_never_drawn_also_when_they_are_known_late() {
        let now = Instant::now();
        let own = exit("8.8.4.4:8333");
        let peers = [onions("abc"), vec![own.clone(), exit("9.9.9.9:8333")]].concat();
        for seed in 0..50 {
            let (mut pool, mut random) = seeded(peers.clone(), seed);
            let before = drawn(&mut pool, &mut random, FIRST, now).unwrap();
            // On other ports, and written otherwise: it is the machine that counts.
            let mapped = "::ffff:8.8.4.4".parse::<Host>().unwrap();
            pool.set_own(vec![mapped, onion('b').address.host()]);
            let rest = all(&mut pool, &mut random, now);
            assert!(!rest.contains(&own) && !rest.contains(&onion('b')));
            let counted = if before == onion('b') { 3 } else { 2 };
            assert_eq!(rest.len(), counted);
        }
    }

    #[test]
    fn the_operator_excludes_hosts_and_networks() {
        let now = Instant::now();
        let peers = [onions("abcd"), vec![exit("8.8.4.4:8333")]].concat();
        let mut random = StdRng::seed_from_u64(1);
        let timing = Timing::standard();
        let exclude = vec![onion('d').address.host()];
        for (networks, onion, exit) in [
            (Networks::Both, 3, 1),
            (Networks::Onion, 3, 0),
            (Networks::Exit, 0, 1),
        ] {
            let exclude = exclude.clone();
            let pool = PeerPool::new(peers.clone(), networks, exclude, &timing, &mut random);
            assert_eq!(pool.usable(now), Usable { onion, exit });
            assert_eq!(pool.is_ready(now), onion == 3);
        }
    }

    #[test]
    fn three_of_one_network_make_it_ready() {
        let now = Instant::now();
        let two = [onions("ab"), vec![exit("1.1.1.1:1"), exit("2.2.2.2:1")]].concat();
        assert!(!seeded(two, 1).0.is_ready(now));
        assert!(seeded(onions("abc"), 1).0.is_ready(now));
        assert!(!seeded(onions("aaab"), 1).0.is_ready(now), "one is one");
    }

    #[test]
    fn the_other_network_is_for_when_nobody_is_left() {
        let now = Instant::now();
        let exits = ["1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1"].map(exit).to_vec();
        let (mut pool, mut random) = seeded([onions("abc"), exits].concat(), 1);
        let order = all(&mut pool, &mut random, now);
        let networks = order.iter().map(|peer| peer.address.network());
        let is_exit: Vec<bool> = networks
            .map(|network| network == PeerNetwork::Exit)
            .collect();
        assert_eq!(is_exit, [false, false, false, true, true, true]);
    }

    #[test]
    fn a_group_is_not_visited_twice() {
        let now = Instant::now();
        let (mut pool, mut random) = seeded(vec![exit("1.2.3.4:1"), exit("1.2.9.9:1")], 1);
        let first = drawn(&mut pool, &mut random, FIRST, now).unwrap();
        let but = HashSet::from([first.address.group()]);
        let wish = Wish {
            kind: SlotKind::First,
            network: PeerNetwork::Exit,
            but: &but,
        };
        assert!(pool.draw(&wish, &mut random, now).is_none());
        assert!(drawn(&mut pool, &mut random, FIRST, now).is_some());
    }

    #[test]
    fn further_slots_take_nobody_away_from_first_ones() {
        let now = Instant::now();
        let peers = onions("abcdefghijklmnopqrstuvwxyz");
        for seed in 0..100 {
            let (mut pool, _) = seeded(peers.clone(), seed);
            let slots = || (0..3).map(|slot| StdRng::seed_from_u64(seed ^ (slot << 32)));
            let alone: Vec<_> = slots()
                .map(|mut slot| drawn(&mut pool, &mut slot, FIRST, now))
                .collect();
            let (mut pool, mut random) = seeded(peers.clone(), seed);
            let beside: Vec<_> = slots()
                .map(|mut slot| {
                    drawn(&mut pool, &mut random, FURTHER, now).unwrap();
                    drawn(&mut pool, &mut slot, FIRST, now)
                })
                .collect();
            assert!(alone == beside, "seed {seed}");
        }
    }

    #[test]
    fn everybody_is_as_likely() {
        let now = Instant::now();
        let mut count: HashMap<Peer, u32> = HashMap::new();
        for seed in 0..10_000 {
            let (mut pool, mut random) = seeded(onions("abcdefgh"), seed);
            let kind = if seed % 2 == 0 { FIRST } else { FURTHER };
            let peer = drawn(&mut pool, &mut random, kind, now).unwrap();
            *count.entry(peer).or_default() += 1;
        }
        assert_eq!(count.len(), 8);
        // 1250 each, give or take four standard deviations.
        assert!(count.values().all(|drawn| (1_118..=1_382).contains(drawn)));
    }
}
