//! Hash and first transaction number of every block, in memory; a copy shares all but the last few.

use std::sync::Arc;

use bitcoin::BlockHash;

use crate::chain::{BlockPosition, Height, TxNum};

/// Blocks in a shared piece: a copy of the list costs one pointer for each, a new block a copy of the last.
const CHUNK_BLOCKS: usize = 1024;

/// A block as the list knows it.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub(super) hash: BlockHash,
    /// Number of its coinbase.
    pub(super) first: TxNum,
    /// How many transactions it has.
    pub(super) transactions: u32,
}

impl Block {
    /// The number after its last transaction; `None` when the numbers are used up.
    pub(super) fn end(&self) -> Option<TxNum> {
        self.first.0.checked_add(self.transactions).map(TxNum)
    }
}

/// The blocks of the chain from the genesis block up.
#[derive(Clone, Default)]
pub(super) struct Blocks {
    /// All full but the last, none empty.
    chunks: Vec<Arc<Vec<Block>>>,
}

impl Blocks {
    pub(super) fn push(&mut self, block: Block) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK_BLOCKS => Arc::make_mut(last).push(block),
            _ => self.chunks.push(Arc::new(vec![block])),
        }
    }

    /// Drops the blocks above `keep`.
    pub(super) fn truncate(&mut self, keep: Option<Height>) {
        let count = keep.map_or(0, |height| index(height).saturating_add(1));
        self.chunks.truncate(count.div_ceil(CHUNK_BLOCKS));
        let below_last = self.chunks.len().saturating_sub(1) * CHUNK_BLOCKS;
        if let Some(last) = self.chunks.last_mut() {
            Arc::make_mut(last).truncate(count - below_last);
        }
    }

    pub(super) fn get(&self, height: Height) -> Option<&Block> {
        let index = index(height);
        let chunk = self.chunks.get(index / CHUNK_BLOCKS)?;
        chunk.get(index % CHUNK_BLOCKS)
    }

    pub(super) fn tip(&self) -> Option<(Height, &Block)> {
        let last = self.chunks.last()?;
        let count = (self.chunks.len() - 1) * CHUNK_BLOCKS + last.len();
        let height = u32::try_from(count.checked_sub(1)?).ok()?;
        Some((Height(height), last.last()?))
    }

    /// Where the transaction of this number stands.
    pub(super) fn position(&self, number: TxNum) -> Option<BlockPosition> {
        let starts_below = |block: &Block| block.first <= number;
        let chunks = self
            .chunks
            .partition_point(|chunk| chunk.first().is_some_and(starts_below));
        let chunk_index = chunks.checked_sub(1)?;
        let chunk = self.chunks.get(chunk_index)?;
        let inside = chunk.partition_point(starts_below).checked_sub(1)?;
        let block = chunk.get(inside)?;
        let index = number.0.checked_sub(block.first.0)?;
        let height = u32::try_from(chunk_index * CHUNK_BLOCKS + inside).ok()?;
        (index < block.transactions).then_some(BlockPosition {
            height: Height(height),
            index,
        })
    }
}

fn index(height: Height) -> usize {
    usize::try_from(height.0).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::Hash as _;

    fn chain(count: u32) -> Blocks {
        let mut blocks = Blocks::default();
        for height in 0..count {
            blocks.push(Block {
                hash: BlockHash::from_byte_array([u8::try_from(height % 251).unwrap(); 32]),
                first: TxNum(height * 3),
                transactions: 3,
            });
        }
        blocks
    }

    #[test]
    fn blocks_are_found_across_pieces_and_after_truncation() {
        for keep in [0, 1, 1022, 1023, 1024, 1025, 2047, 2048, 2500] {
            let mut blocks = chain(2501);
            blocks.truncate(Some(Height(keep)));
            assert_eq!(blocks.tip().unwrap().0, Height(keep));
            assert!(blocks.get(Height(keep + 1)).is_none());
            for height in [0, keep / 2, keep] {
                assert_eq!(blocks.get(Height(height)).unwrap().first, TxNum(height * 3));
                let position = blocks.position(TxNum(height * 3 + 2)).unwrap();
                assert_eq!((position.height, position.index), (Height(height), 2));
            }
            assert!(blocks.position(TxNum((keep + 1) * 3)).is_none());
        }
        let mut blocks = chain(5);
        blocks.truncate(None);
        assert!(blocks.tip().is_none());
        assert!(Blocks::default().position(TxNum(0)).is_none());
    }

    #[test]
    fn a_copy_does_not_see_what_follows() {
        let mut blocks = chain(1500);
        let before = blocks.clone();
        blocks.truncate(Some(Height(1200)));
        assert_eq!(before.tip().unwrap().0, Height(1499));
    }
}
