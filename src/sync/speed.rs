//! How fast an index is being built.

use std::time::{Duration, Instant};

use crate::query::Speed;

/// Before this time a speed says little of what follows.
const SETTLED: Duration = Duration::from_secs(10);

/// Work of one kind, measured from its beginning.
pub(super) struct Stretch {
    begun: Instant,
    /// Blocks indexed then.
    blocks: u32,
}

impl Stretch {
    /// Begins now, with so many blocks indexed.
    pub(super) fn begin(blocks: u32) -> Self {
        Self {
            begun: Instant::now(),
            blocks,
        }
    }

    /// With so many blocks indexed now, `done` of the work is done and `rest` is left; both in one measure that costs
    /// time evenly.
    pub(super) fn speed(&self, indexed: u32, done: u64, rest: u64) -> Option<Speed> {
        let blocks = indexed.saturating_sub(self.blocks);
        speed(self.begun.elapsed(), blocks, done, rest)
    }

    /// Where blocks are taken in one by one, each counts the same.
    pub(super) fn speed_by_blocks(&self, indexed: u32, target: u32) -> Option<Speed> {
        let done = indexed.saturating_sub(self.blocks);
        let rest = target.saturating_sub(indexed);
        self.speed(indexed, done.into(), rest.into())
    }
}

fn speed(spent: Duration, blocks: u32, done: u64, rest: u64) -> Option<Speed> {
    if spent < SETTLED {
        return None;
    }
    let seconds = spent.as_secs();
    let per_minute = u64::from(blocks).saturating_mul(60).checked_div(seconds)?;
    let left = u128::from(seconds)
        .saturating_mul(rest.into())
        .checked_div(done.into())?;
    Some(Speed {
        blocks_per_minute: u32::try_from(per_minute).unwrap_or(u32::MAX),
        minutes_left: u32::try_from(left.div_ceil(60)).unwrap_or(u32::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_told_once_there_is_one() {
        let after = |seconds, done| speed(Duration::from_secs(seconds), 300, done, 700);
        assert_eq!(after(9, 300), None);
        assert_eq!(after(100, 0), None);
        let told = after(600, 300).unwrap();
        assert_eq!((told.blocks_per_minute, told.minutes_left), (30, 24));
        let end = speed(Duration::MAX, u32::MAX, 1, u64::MAX).unwrap();
        assert_eq!(end.minutes_left, u32::MAX);
        assert_eq!(after(600, u64::MAX).unwrap().minutes_left, 0);
    }

    #[test]
    fn blocks_below_the_beginning_do_not_count() {
        let stretch = Stretch {
            begun: Instant::now().checked_sub(Duration::from_secs(60)).unwrap(),
            blocks: 1000,
        };
        let told = stretch.speed_by_blocks(1600, 2200).unwrap();
        assert_eq!(told.minutes_left, 1);
        assert!((590..=600).contains(&told.blocks_per_minute));
    }
}
