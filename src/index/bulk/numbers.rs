//! The numbers of transactions in a range of heights, both ways.

use std::ops::Range;

use crate::chain::{Height, TxNum};

/// Which numbers the blocks of a range of heights have.
pub(super) struct Numbers {
    from: Height,
    /// The first of each block, and the one after the last.
    firsts: Vec<u32>,
}

impl Numbers {
    /// Gives numbers from `first` on to blocks with so many transactions; `None` when there are not enough numbers.
    pub(super) fn new(
        from: Height,
        first: TxNum,
        transactions: impl Iterator<Item = u32>,
    ) -> Option<Self> {
        let mut next = first.0;
        let mut firsts = vec![next];
        for count in transactions {
            next = next.checked_add(count)?;
            firsts.push(next);
        }
        Some(Self { from, firsts })
    }

    /// Those of a block; `None` for one outside the range.
    pub(super) fn of(&self, height: Height) -> Option<Range<u32>> {
        let index = usize::try_from(height.0.checked_sub(self.from.0)?).ok()?;
        Some(*self.firsts.get(index)?..*self.firsts.get(index.checked_add(1)?)?)
    }

    /// In which block a number is.
    pub(super) fn height(&self, number: TxNum) -> Option<Height> {
        let after = self.firsts.partition_point(|first| *first <= number.0);
        let is_inside = after < self.firsts.len();
        let index = u32::try_from(after.checked_sub(1)?).ok()?;
        is_inside.then(|| self.from.0.checked_add(index).map(Height))?
    }

    /// Whether a height is below the range.
    pub(super) fn is_below(&self, height: Height) -> bool {
        height < self.from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_to_heights_and_back() {
        let numbers = Numbers::new(Height(7), TxNum(100), [1, 3, 2].into_iter()).unwrap();
        assert_eq!(numbers.of(Height(8)), Some(101..104));
        assert_eq!(numbers.of(Height(6)), None);
        assert_eq!(numbers.of(Height(10)), None);
        let heights: Vec<_> = (99..107)
            .map(|number| numbers.height(TxNum(number)))
            .collect();
        let seven = Height(7);
        let (eight, nine) = (Height(8), Height(9));
        assert_eq!(
            heights,
            [
                None,
                Some(seven),
                Some(eight),
                Some(eight),
                Some(eight),
                Some(nine),
                Some(nine),
                None
            ]
        );
        assert!(Numbers::new(seven, TxNum(u32::MAX), [1].into_iter()).is_none());
    }
}
