//! One delivery of one transaction, until it is done or has failed, peer after peer.
//!
//! Nothing here knows what the node has seen.

use std::time::Instant;

use rand::rngs::StdRng;

use super::conversation::DeliveryEnd;
use super::peer::{Peer, PeerNetwork};
use super::timing::Timing;
use crate::chain::Height;
use crate::limits;

/// How a delivery went, and how far its peer was behind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    /// How it ended.
    pub(super) end: DeliveryEnd,
    /// What the peer said of itself, if it came to that.
    pub(super) peer_height: Option<i32>,
    /// Our own tip.
    pub(super) tip: Height,
}

/// A delivery that is not over.
pub(super) struct Slot {
    /// Its own source, so that no other slot's draws change what it does.
    pub(super) random: StdRng,
    /// Where its peers are drawn from first.
    pub(super) network: PeerNetwork,
    pub(super) state: State,
    /// Counts dials, so that a late report is not taken for a newer one.
    pub(super) attempt: u32,
    /// Dials that disclosed nothing.
    in_vain: u32,
    /// Replacements of peers that were told.
    replacements: u32,
    is_height_replaced: bool,
}

/// What a slot does.
pub(super) enum State {
    /// It dials from then on.
    Scheduled(Instant),
    /// It has been given a peer.
    Running(Peer),
}

/// What becomes of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It goes on.
    Again,
    /// It is over.
    Over,
}

impl Slot {
    pub(super) fn new(random: StdRng, network: PeerNetwork, start: Instant) -> Self {
        Self {
            random,
            network,
            state: State::Scheduled(start),
            attempt: 0,
            in_vain: 0,
            replacements: 0,
            is_height_replaced: false,
        }
    }

    /// When it dials; `None` while it does.
    pub(super) fn scheduled(&self) -> Option<Instant> {
        match self.state {
            State::Scheduled(at) => Some(at),
            State::Running(_) => None,
        }
    }

    /// A peer was drawn for it, which is dialled now.
    pub(super) fn run(&mut self, peer: Peer) {
        self.attempt = self.attempt.saturating_add(1);
        self.state = State::Running(peer);
    }

    /// There was nobody to be drawn; counts as a dial, so that a slot ends without peers as well.
    pub(super) fn without_peer(&mut self, timing: &Timing, now: Instant) -> Next {
        self.after_in_vain(now + timing.no_peer)
    }

    /// What follows from the end of its delivery.
    pub(super) fn ended(&mut self, report: Report, timing: &Timing, now: Instant) -> Next {
        match report.end {
            DeliveryEnd::Ponged | DeliveryEnd::NoGetdata => {
                // Such a peer asks for nothing, or drops what it gets: it is still syncing.
                if report.is_far_behind() && !self.is_height_replaced {
                    self.is_height_replaced = true;
                    self.after_disclosure(timing, now)
                } else {
                    Next::Over
                }
            }
            DeliveryEnd::Closed { announced: true }
            | DeliveryEnd::Violation { announced: true } => {
                if self.replacements >= limits::REPLACEMENTS_MAX {
                    return Next::Over;
                }
                self.replacements += 1;
                self.after_disclosure(timing, now)
            }
            DeliveryEnd::NoRelay
            | DeliveryEnd::DialFailed
            | DeliveryEnd::HandshakeTimedOut
            | DeliveryEnd::Closed { announced: false }
            | DeliveryEnd::Violation { announced: false } => self.after_in_vain(now),
        }
    }

    fn after_disclosure(&mut self, timing: &Timing, now: Instant) -> Next {
        let wait = timing.replacement.draw(&mut self.random);
        self.state = State::Scheduled(now + wait);
        Next::Again
    }

    fn after_in_vain(&mut self, again: Instant) -> Next {
        self.in_vain += 1;
        if self.in_vain >= limits::DIALS_IN_VAIN_MAX {
            return Next::Over;
        }
        self.state = State::Scheduled(again);
        Next::Again
    }
}

impl Report {
    /// A peer that names a height below zero is at the beginning.
    fn is_far_behind(self) -> bool {
        self.peer_height.is_some_and(|height| {
            let height = u32::try_from(height).unwrap_or(0);
            self.tip.0.saturating_sub(height) > limits::PEER_BEHIND_MAX
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use std::time::Duration;

    const TIP: Height = Height(1_000);

    struct Bench {
        slot: Slot,
        timing: Timing,
        now: Instant,
    }

    fn bench() -> Bench {
        let now = Instant::now();
        let random = StdRng::seed_from_u64(5);
        let mut slot = Slot::new(random, PeerNetwork::Onion, now);
        slot.run("1.2.3.4:5".parse().unwrap());
        let timing = Timing::standard();
        Bench { slot, timing, now }
    }

    impl Bench {
        /// Ends the delivery, and says after how many seconds the slot goes on; `None` if it does not.
        fn end_at(&mut self, end: DeliveryEnd, peer_height: Option<i32>) -> Option<f64> {
            let tip = TIP;
            let report = Report {
                end,
                peer_height,
                tip,
            };
            match self.slot.ended(report, &self.timing, self.now) {
                Next::Over => None,
                Next::Again => {
                    let at = self.slot.scheduled().unwrap();
                    self.slot.run("1.2.3.4:5".parse().unwrap());
                    Some((at - self.now).as_secs_f64())
                }
            }
        }

        fn end(&mut self, end: DeliveryEnd) -> Option<f64> {
            self.end_at(end, None)
        }
    }

    const TOLD: [DeliveryEnd; 2] = [
        DeliveryEnd::Closed { announced: true },
        DeliveryEnd::Violation { announced: true },
    ];
    const IN_VAIN: [DeliveryEnd; 5] = [
        DeliveryEnd::NoRelay,
        DeliveryEnd::DialFailed,
        DeliveryEnd::HandshakeTimedOut,
        DeliveryEnd::Closed { announced: false },
        DeliveryEnd::Violation { announced: false },
    ];

    #[test]
    fn a_peer_that_has_it_or_keeps_silent_is_the_last() {
        assert_eq!(bench().end(DeliveryEnd::Ponged), None);
        assert_eq!(bench().end(DeliveryEnd::NoGetdata), None);
    }

    #[test]
    fn a_peer_that_learnt_nothing_is_followed_at_once_by_another_eleven_times() {
        for end in IN_VAIN {
            let mut bench = bench();
            for dial in 1..12 {
                assert_eq!(bench.end(end), Some(0.0), "{end:?} after dial {dial}");
            }
            assert_eq!(bench.end(end), None, "{end:?}");
        }
    }

    #[test]
    fn a_peer_that_was_told_is_followed_later_by_another_twice() {
        for end in TOLD {
            let mut bench = bench();
            for _ in 0..2 {
                let wait = bench.end(end).unwrap();
                assert!((5.0..30.0).contains(&wait), "{end:?}: {wait}");
            }
            assert_eq!(bench.end(end), None, "{end:?}");
        }
    }

    #[test]
    fn both_kinds_are_counted_apart() {
        let mut bench = bench();
        for end in [IN_VAIN[0], TOLD[0], IN_VAIN[1], TOLD[1], IN_VAIN[2]] {
            assert!(bench.end(end).is_some(), "{end:?}");
        }
        assert_eq!(bench.end(TOLD[0]), None);
    }

    #[test]
    fn a_peer_far_behind_is_followed_by_one_other() {
        for end in [DeliveryEnd::Ponged, DeliveryEnd::NoGetdata] {
            for (height, is_behind) in [
                (855, true),
                (856, false),
                (1_001, false),
                (0, true),
                (-1, true),
            ] {
                let mut bench = bench();
                let wait = bench.end_at(end, Some(height));
                assert_eq!(wait.is_some(), is_behind, "{end:?} at {height}");
                if let Some(wait) = wait {
                    assert!((5.0..30.0).contains(&wait), "{end:?}: {wait}");
                    assert_eq!(bench.end_at(end, Some(height)), None, "{end:?} at {height}");
                }
            }
        }
    }

    #[test]
    fn a_slot_ends_without_peers_as_well() {
        let mut bench = bench();
        for _ in 1..12 {
            assert_eq!(
                bench.slot.without_peer(&bench.timing, bench.now),
                Next::Again
            );
            let wait = bench.slot.scheduled().unwrap() - bench.now;
            assert_eq!(wait, Duration::from_secs(60));
        }
        assert_eq!(
            bench.slot.without_peer(&bench.timing, bench.now),
            Next::Over
        );
    }
}
