//! How long the follower pauses.

use std::time::Duration;

use crate::limits;

/// Pauses between attempts to reach the node: they double, and half of each is left to chance.
pub(super) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            next: limits::NODE_RETRY_MIN,
        }
    }
}

impl Backoff {
    /// The next pause; `chance` is any number, evenly drawn.
    pub(super) fn next(&mut self, chance: u32) -> Duration {
        let half = self.next / 2;
        self.next = self.next.saturating_mul(2).min(limits::NODE_RETRY_MAX);
        half.saturating_add(half.mul_f64(f64::from(chance) / f64::from(u32::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_vary_by_half() {
        let mut shortest = Backoff::default();
        let mut longest = Backoff::default();
        let pauses: Vec<_> = (0..9)
            .map(|_| {
                (
                    shortest.next(0).as_millis(),
                    longest.next(u32::MAX).as_millis(),
                )
            })
            .collect();
        assert_eq!(pauses[..3], [(250, 500), (500, 1000), (1000, 2000)]);
        assert_eq!(pauses[8], (15_000, 30_000));
    }
}
