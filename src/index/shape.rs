//! How large the parts of an index are, and which of them are merged when.

use std::ops::RangeInclusive;

use crate::chain::Height;
use crate::limits;

/// Sizes; tests make them tiny.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Blocks that keep their delta rows at least.
    pub delta_blocks: u32,
    /// Blocks in the smallest segment.
    pub segment_blocks: u32,
    /// How many neighbouring segments of one size become one; at least 2.
    pub ratio: usize,
    /// Sizes below the base.
    pub levels: u32,
    /// The base has two to the power of this many shards; at most 8.
    pub shard_bits: u8,
    /// Whether an update waits for the merges that follow from it.
    pub merges_at_once: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            delta_blocks: limits::DELTA_BLOCKS_MIN,
            segment_blocks: limits::SEGMENT_BLOCKS,
            ratio: limits::MERGE_RATIO,
            levels: limits::SEGMENT_LEVELS,
            shard_bits: limits::BASE_SHARD_BITS,
            merges_at_once: false,
        }
    }
}

impl Shape {
    /// The level of a range: 1 for the smallest, above `levels` for the base.
    fn level(&self, heights: &RangeInclusive<Height>) -> u32 {
        let count = u64::from(heights.end().0.saturating_sub(heights.start().0)) + 1;
        let ratio = u64::try_from(self.ratio).unwrap_or(u64::MAX);
        let mut most = u64::from(self.segment_blocks);
        let mut level = 1;
        while level <= self.levels && count > most {
            most = most.saturating_mul(ratio);
            level += 1;
        }
        level
    }

    /// Into how many shards a segment of these heights is cut, as bits.
    pub(super) fn shard_bits(&self, heights: &RangeInclusive<Height>) -> u8 {
        if self.level(heights) > self.levels {
            self.shard_bits
        } else {
            0
        }
    }

    /// The heights to merge next, out of neighbouring ranges: several of the base, or enough of one level. The base
    /// takes in what becomes as large as the largest level could not be.
    pub(super) fn next_merge(
        &self,
        ranges: &[RangeInclusive<Height>],
    ) -> Option<RangeInclusive<Height>> {
        let levels: Vec<u32> = ranges.iter().map(|range| self.level(range)).collect();
        let base = levels
            .iter()
            .take_while(|level| **level > self.levels)
            .count();
        let joined = |from: usize, count: usize| {
            let first = ranges.get(from)?.start();
            let last = ranges.get(from.checked_add(count)?.checked_sub(1)?)?.end();
            Some(*first..=*last)
        };
        if base > 1 {
            return joined(0, base);
        }
        (1..=self.levels).find_map(|level| {
            let mut windows = levels.windows(self.ratio);
            let from = windows.position(|window| window.iter().all(|found| *found == level))?;
            if level == self.levels && from == base {
                joined(0, base.checked_add(self.ratio)?)
            } else {
                joined(from, self.ratio)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        delta_blocks: 5,
        segment_blocks: 2,
        ratio: 2,
        levels: 2,
        shard_bits: 1,
        merges_at_once: true,
    };

    /// What becomes of ranges of so many blocks when all merges are made.
    fn settled(counts: &[u32]) -> Vec<u32> {
        let mut ranges = Vec::new();
        let mut next = 0;
        for count in counts {
            ranges.push(Height(next)..=Height(next + count - 1));
            next += count;
        }
        while let Some(merge) = SHAPE.next_merge(&ranges) {
            let before = ranges.len();
            let at = ranges
                .iter()
                .position(|range| range.start() == merge.start());
            ranges.retain(|range| !merge.contains(range.start()));
            ranges.insert(at.unwrap(), merge);
            assert!(ranges.len() < before);
        }
        let count = |range: &RangeInclusive<Height>| range.end().0 - range.start().0 + 1;
        ranges.iter().map(count).collect()
    }

    #[test]
    fn merges_keep_few_segments() {
        assert_eq!(settled(&[2]), [2]);
        assert_eq!(settled(&[2, 2]), [4]);
        assert_eq!(settled(&[2, 2, 2]), [4, 2]);
        assert_eq!(settled(&[4, 2, 2]), [8]);
        assert_eq!(settled(&[8, 2]), [8, 2]);
        assert_eq!(settled(&[8, 4, 2]), [8, 4, 2]);
        assert_eq!(settled(&[8, 4, 2, 2]), [16]);
        assert_eq!(settled(&[100, 50, 4]), [150, 4]);
        let product = Shape::default();
        assert_eq!(product.shard_bits(&(Height(0)..=Height(9215))), 0);
        assert_eq!(product.shard_bits(&(Height(0)..=Height(9216))), 6);
    }
}
