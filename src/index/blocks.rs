//! Hash and first transaction number of every block, in memory; a copy shares all but the last few.

use std::sync::{Arc, OnceLock};

use bitcoin::BlockHash;
use bitcoin::hashes::Hash as _;

use crate::chain::merkle::MerkleBranch;
use crate::chain::{BlockPosition, ChainTip, Height, TxNum};

/// Levels of the tree over the hashes of a full piece.
const CHUNK_DEPTH: u32 = 10;

/// Blocks in a shared piece: a copy of the list costs one pointer for each, a new block a copy of the last.
const CHUNK_BLOCKS: usize = 1 << CHUNK_DEPTH;

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
    chunks: Vec<Arc<Chunk>>,
}

/// Consecutive blocks.
#[derive(Clone, Default)]
struct Chunk {
    blocks: Vec<Block>,
    /// Root of the tree over the hashes of a full piece, once it was asked for: the same for every question.
    root: OnceLock<[u8; 32]>,
}

impl Chunk {
    /// The blocks, to be changed.
    fn change(&mut self) -> &mut Vec<Block> {
        self.root = OnceLock::new();
        &mut self.blocks
    }

    /// The branch of one hash in the tree over the first `count`, as the last part of a larger tree.
    fn branch(&self, index: usize, count: usize) -> Option<MerkleBranch> {
        let hashes = self.blocks.iter().take(count);
        let leaves = hashes.map(|block| block.hash.to_byte_array()).collect();
        MerkleBranch::of_part(leaves, index, CHUNK_DEPTH)
    }

    /// The root over the first `count`.
    fn root(&self, count: usize) -> Option<[u8; 32]> {
        if count < CHUNK_BLOCKS {
            return Some(self.branch(0, count)?.root);
        }
        if let Some(root) = self.root.get() {
            return Some(*root);
        }
        let root = self.branch(0, count)?.root;
        Some(*self.root.get_or_init(|| root))
    }
}

impl Blocks {
    pub(super) fn push(&mut self, block: Block) {
        match self.chunks.last_mut() {
            Some(last) if last.blocks.len() < CHUNK_BLOCKS => {
                Arc::make_mut(last).change().push(block);
            }
            _ => self.chunks.push(Arc::new(Chunk {
                blocks: vec![block],
                root: OnceLock::new(),
            })),
        }
    }

    /// Drops the blocks above `keep`.
    pub(super) fn truncate(&mut self, keep: Option<Height>) {
        let count = keep.map_or(0, |height| index(height).saturating_add(1));
        self.chunks.truncate(count.div_ceil(CHUNK_BLOCKS));
        let below_last = self.chunks.len().saturating_sub(1) * CHUNK_BLOCKS;
        if let Some(last) = self.chunks.last_mut() {
            Arc::make_mut(last).change().truncate(count - below_last);
        }
    }

    pub(super) fn get(&self, height: Height) -> Option<&Block> {
        let index = index(height);
        let chunk = self.chunks.get(index / CHUNK_BLOCKS)?;
        chunk.blocks.get(index % CHUNK_BLOCKS)
    }

    /// The branch of one block's hash in the tree over all of them up to `checkpoint` (protocol methods,
    /// `blockchain.block.header`); `None` when there are not so many, or the block is above it.
    pub(super) fn branch(&self, height: Height, checkpoint: Height) -> Option<MerkleBranch> {
        self.get(checkpoint)?;
        let count = index(checkpoint).checked_add(1)?;
        let at = Some(index(height)).filter(|at| *at < count)?;
        let inside = |chunk: usize| CHUNK_BLOCKS.min(count - chunk * CHUNK_BLOCKS);
        let parts = self.chunks.iter().take(count.div_ceil(CHUNK_BLOCKS));
        let chunk = self.chunks.get(at / CHUNK_BLOCKS)?;
        if parts.len() == 1 {
            let hashes = chunk.blocks.iter().take(count);
            return MerkleBranch::of(hashes.map(|block| block.hash.to_byte_array()).collect(), at);
        }
        let mut lower = chunk.branch(at % CHUNK_BLOCKS, inside(at / CHUNK_BLOCKS))?;
        let roots = parts.enumerate().map(|(n, part)| part.root(inside(n)));
        let upper = MerkleBranch::of(roots.collect::<Option<_>>()?, at / CHUNK_BLOCKS)?;
        lower.siblings.extend(upper.siblings);
        Some(MerkleBranch {
            siblings: lower.siblings,
            root: upper.root,
        })
    }

    pub(super) fn tip(&self) -> Option<(Height, &Block)> {
        let last = self.chunks.last()?;
        let count = (self.chunks.len() - 1) * CHUNK_BLOCKS + last.blocks.len();
        let height = u32::try_from(count.checked_sub(1)?).ok()?;
        Some((Height(height), last.blocks.last()?))
    }

    /// Height and hash of the last one.
    pub(super) fn chain_tip(&self) -> Option<ChainTip> {
        let (height, block) = self.tip()?;
        Some(ChainTip {
            height,
            hash: block.hash,
        })
    }

    /// Whether this block is among them.
    pub(super) fn has(&self, block: ChainTip) -> bool {
        let here = self.get(block.height);
        here.is_some_and(|here| here.hash == block.hash)
    }

    /// Where the transaction of this number stands.
    pub(super) fn position(&self, number: TxNum) -> Option<BlockPosition> {
        let starts_below = |block: &Block| block.first <= number;
        let chunks = self
            .chunks
            .partition_point(|chunk| chunk.blocks.first().is_some_and(starts_below));
        let chunk_index = chunks.checked_sub(1)?;
        let chunk = &self.chunks.get(chunk_index)?.blocks;
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
    fn branches_are_those_of_one_tree_over_all_hashes() {
        let blocks = chain(4 * 1024 + 3);
        let hashes: Vec<[u8; 32]> = (0..4 * 1024 + 3)
            .map(|height| blocks.get(Height(height)).unwrap().hash.to_byte_array())
            .collect();
        for checkpoint in [
            0, 1, 700, 1023, 1024, 1025, 2047, 2048, 3100, 4095, 4096, 4098,
        ] {
            for height in [0, 1, 699, 1023, 1024, 2047, 3000, 4096, 4097, 4098] {
                let tree = hashes[..=index(Height(checkpoint))].to_vec();
                assert_eq!(
                    blocks.branch(Height(height), Height(checkpoint)),
                    MerkleBranch::of(tree, index(Height(height))),
                    "{height} of {checkpoint}"
                );
            }
        }
        assert!(blocks.branch(Height(0), Height(4 * 1024 + 3)).is_none());
    }

    #[test]
    fn a_root_is_not_kept_when_its_blocks_change() {
        let mut blocks = chain(2048);
        let before = blocks.branch(Height(0), Height(2047)).unwrap();
        blocks.truncate(Some(Height(1500)));
        for height in 1501..2048 {
            blocks.push(Block {
                hash: BlockHash::from_byte_array([9; 32]),
                first: TxNum(height * 3),
                transactions: 3,
            });
        }
        let after = blocks.branch(Height(0), Height(2047)).unwrap();
        assert!(before.root != after.root);
    }

    #[test]
    fn a_copy_does_not_see_what_follows() {
        let mut blocks = chain(1500);
        let before = blocks.clone();
        blocks.truncate(Some(Height(1200)));
        assert_eq!(before.tip().unwrap().0, Height(1499));
    }
}
