//! When things happen: every duration of a broadcast, and the draws made of them.

use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::limits;

/// The durations that one broadcaster keeps to.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Before a transaction's first slot: uniform from zero to this.
    pub start_max: Duration,
    /// From one slot's start to the next one's.
    pub stagger: Exponential,
    /// Before a peer is replaced that was told of the transaction.
    pub replacement: Between,
    /// Until a slot looks again for a peer when there was none.
    pub no_peer: Duration,
    /// Between two looks at a transaction that was not seen.
    pub stale_check: Between,
    /// As long without a receipt a transaction is not stale.
    pub stale_unreceived: Duration,
    /// As long after the last receipt a transaction is not stale.
    pub stale_received: Duration,
    /// Between two looks once the first attempts were in vain.
    pub back_off: Between,
    /// Between two looks once the transaction is stalled.
    pub stalled_check: Duration,
    /// From admission to giving up.
    pub give_up: Duration,
    /// As long without a receipt nobody is alarmed.
    pub alarm: Duration,
    /// As long after a delivery its peer gets no other transaction.
    pub peer_used: Duration,
    /// As long after a failed dial its peer is not dialled.
    pub peer_rest: Duration,
    /// To a connection with an onion peer.
    pub dial_onion_max: Duration,
    /// To a connection through an exit.
    pub dial_exit_max: Duration,
    /// From the connection to the announcement.
    pub handshake_max: Duration,
    /// From the connection to its end.
    pub connection_max: Duration,
    /// As long without being asked for anything, a package has been asked for as far as it will be.
    pub package_quiet: Duration,
}

/// A duration anywhere between two, each as likely as another.
#[derive(Clone, Copy, Debug)]
pub struct Between(pub(crate) Duration, pub(crate) Duration);

/// A duration as between events that know nothing of each other.
#[derive(Clone, Copy, Debug)]
pub struct Exponential {
    /// The mean before the cut.
    pub mean: Duration,
    /// What is longer becomes this.
    pub max: Duration,
}

impl Timing {
    /// Those of the product.
    pub fn standard() -> Self {
        Self {
            start_max: limits::SLOT_START_MAX,
            stagger: Exponential {
                mean: limits::SLOT_STAGGER_MEAN,
                max: limits::SLOT_STAGGER_MAX,
            },
            replacement: Between(limits::REPLACEMENT_MIN, limits::REPLACEMENT_MAX),
            no_peer: limits::NO_PEER_PAUSE,
            stale_check: Between(limits::STALE_CHECK_MIN, limits::STALE_CHECK_MAX),
            stale_unreceived: limits::STALE_UNRECEIVED,
            stale_received: limits::STALE_RECEIVED,
            back_off: Between(limits::BACK_OFF_MIN, limits::BACK_OFF_MAX),
            stalled_check: limits::STALLED_CHECK,
            give_up: limits::JOB_AGE_MAX,
            alarm: limits::BROADCAST_ALARM,
            peer_used: limits::PEER_USED,
            peer_rest: limits::PEER_REST,
            dial_onion_max: limits::DIAL_ONION_MAX,
            dial_exit_max: limits::DIAL_EXIT_MAX,
            handshake_max: limits::PEER_HANDSHAKE_MAX,
            connection_max: limits::PEER_CONNECTION_MAX,
            package_quiet: limits::PACKAGE_QUIET,
        }
    }

    /// When each of the first slots starts, by their random sources. None waits for another's result.
    pub(super) fn starts<'a>(
        &self,
        now: Instant,
        slots: impl IntoIterator<Item = &'a mut StdRng>,
    ) -> Vec<Instant> {
        let mut before: Option<Instant> = None;
        let mut starts = Vec::new();
        for random in slots {
            let start = match before {
                None => now + Between(Duration::ZERO, self.start_max).draw(random),
                Some(before) => before + self.stagger.draw(random),
            };
            starts.push(start);
            before = Some(start);
        }
        starts
    }
}

impl Between {
    /// One of them.
    pub(super) fn draw(self, random: &mut StdRng) -> Duration {
        let Self(from, to) = self;
        from + to.saturating_sub(from).mul_f64(random.random::<f64>())
    }
}

impl Exponential {
    /// One of them, by inversion.
    pub(super) fn draw(self, random: &mut StdRng) -> Duration {
        // The number is in [0, 1), so that the logarithm is finite: at most 37 times the mean.
        let means = -(1.0 - random.random::<f64>()).ln();
        self.mean.mul_f64(means.max(0.0)).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    const DRAWS: usize = 20_000;

    /// Seconds of many draws in order, and their mean.
    fn drawn(mut draw: impl FnMut(&mut StdRng) -> Duration) -> (Vec<f64>, f64) {
        let mut random = StdRng::seed_from_u64(9);
        let mut all: Vec<f64> = (0..DRAWS)
            .map(|_| draw(&mut random).as_secs_f64())
            .collect();
        all.sort_by(f64::total_cmp);
        let count = f64::from(u32::try_from(DRAWS).unwrap());
        let mean = all.iter().sum::<f64>() / count;
        (all, mean)
    }

    /// The largest distance between what was drawn and a distribution function (Kolmogorov and Smirnov).
    fn distance(sorted: &[f64], function: impl Fn(f64) -> f64) -> f64 {
        let count = f64::from(u32::try_from(sorted.len()).unwrap());
        let mut below = 0.0;
        let mut largest: f64 = 0.0;
        for value in sorted {
            let expected = function(*value);
            largest = largest.max((expected - below / count).abs());
            below += 1.0;
            largest = largest.max((expected - below / count).abs());
        }
        largest
    }

    /// Exceeded by one in a thousand sets of draws.
    fn allowed() -> f64 {
        1.95 / f64::from(u32::try_from(DRAWS).unwrap()).sqrt()
    }

    #[test]
    fn a_uniform_wait_is_uniform() {
        let timing = Timing::standard();
        for (between, from, to) in [
            (Between(Duration::ZERO, timing.start_max), 0.0, 3.0),
            (timing.replacement, 5.0, 30.0),
            (timing.stale_check, 120.0, 180.0),
            (timing.back_off, 600.0, 900.0),
        ] {
            let (sorted, _) = drawn(|random| between.draw(random));
            assert!(sorted[0] >= from && sorted[DRAWS - 1] < to);
            let far = distance(&sorted, |value| (value - from) / (to - from));
            assert!(far < allowed(), "{far} from uniform in {from}..{to}");
        }
    }

    #[test]
    fn the_stagger_is_exponential_up_to_its_cut() {
        let stagger = Timing::standard().stagger;
        let (sorted, mean) = drawn(|random| stagger.draw(random));
        let below: Vec<f64> = sorted.iter().copied().filter(|wait| *wait < 20.0).collect();
        let share = 1.0 - (-4.0_f64).exp();
        let far = distance(&below, |value| (1.0 - (-value / 5.0).exp()) / share);
        assert!(far < allowed() * 1.05, "{far} from exponential");
        // 5 s less what the cut takes, e^-4 of it.
        assert!((mean - 4.908).abs() < 0.1, "mean {mean}");
        let cut = sorted.len() - below.len();
        assert!((280..460).contains(&cut), "{cut} of {DRAWS} were cut");
        assert!(sorted.iter().all(|wait| *wait <= 20.0));
    }

    #[test]
    fn slots_start_one_after_another() {
        let timing = Timing::standard();
        let now = Instant::now();
        let mut firsts = Vec::new();
        let mut gaps = Vec::new();
        for seed in 0..2_000 {
            let mut seeds = StdRng::seed_from_u64(seed);
            let mut slots: Vec<StdRng> = (0..3).map(|_| StdRng::from_rng(&mut seeds)).collect();
            let starts = timing.starts(now, &mut slots);
            firsts.push((starts[0] - now).as_secs_f64());
            gaps.extend(starts.windows(2).map(|two| (two[1] - two[0]).as_secs_f64()));
        }
        let mean =
            |all: &[f64]| all.iter().sum::<f64>() / f64::from(u32::try_from(all.len()).unwrap());
        assert!((mean(&firsts) - 1.5).abs() < 0.1, "first {}", mean(&firsts));
        assert!((mean(&gaps) - 4.908).abs() < 0.25, "gaps {}", mean(&gaps));
        assert!(firsts.iter().all(|wait| *wait < 3.0));
    }
}
