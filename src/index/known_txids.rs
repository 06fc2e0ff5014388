//! Txids that one who asks was told before, so that they need not be read again for its next question.
//!
//! They belong to whoever made the list, and are shared with nobody.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bitcoin::Txid;

use super::blocks::Blocks;
use crate::chain::{ChainTip, TxNum};
use crate::limits;

/// At most [`limits::MEMO_TXIDS_MAX`] of them, all of one chain: after a reorg a number may be another transaction's.
#[derive(Default)]
pub struct KnownTxids(Mutex<Known>);

#[derive(Default)]
struct Known {
    by_number: HashMap<TxNum, Txid>,
    /// The last block of the chain in which they have these numbers.
    tip: Option<ChainTip>,
}

impl KnownTxids {
    /// Forgets everything.
    pub fn clear(&self) {
        *self.lock() = Known::default();
    }

    /// Whether there is nothing to forget.
    pub fn is_empty(&self) -> bool {
        self.lock().by_number.is_empty()
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        // A table has a power of two of places, an eighth of which stays free, and a byte more for each.
        match self.lock().by_number.capacity() {
            0 => 0,
            room => (room * 8 / 7).next_power_of_two() * (size_of::<(TxNum, Txid)>() + 1),
        }
    }

    /// The txids of these numbers in this chain, as far as they are known.
    pub(super) fn recall(&self, blocks: &Blocks, numbers: &[TxNum]) -> Vec<Option<Txid>> {
        let known = self.lock();
        let by_number = known.is_of(blocks).then_some(&known.by_number);
        let recalled = numbers.iter().map(|number| by_number?.get(number).copied());
        recalled.collect()
    }

    /// Keeps the txids of these numbers in this chain, unless they are too many. What does not fit beside them, or is
    /// of another chain, is forgotten.
    pub(super) fn learn(&self, blocks: &Blocks, numbers: &[TxNum], txids: &[Txid]) {
        if numbers.is_empty() || numbers.len() > limits::MEMO_TXIDS_MAX {
            return;
        }
        let mut known = self.lock();
        let together = known.by_number.len().saturating_add(numbers.len());
        if !known.is_of(blocks) || together > limits::MEMO_TXIDS_MAX {
            known.by_number.clear();
        }
        let told = numbers.iter().copied().zip(txids.iter().copied());
        known.by_number.extend(told);
        known.tip = blocks.chain_tip();
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Whether the numbers are those of this chain too. One that ends below the last block they are of is not told
    /// from another.
    fn is_of(&self, blocks: &Blocks) -> bool {
        self.tip.is_some_and(|tip| blocks.has(tip))
    }
}
