//! From the numbers by which scripts know their transactions to txids and heights.

use bitcoin::Txid;

use super::super::error::Error;
use super::super::known_txids::KnownTxids;
use super::{DAMAGED_NUMBERS, Snapshot};
use crate::chain::{BlockPosition, TxNum};
use crate::limits;

/// A transaction and where it stands.
pub(super) struct Located {
    pub(super) number: TxNum,
    pub(super) position: BlockPosition,
    pub(super) txid: Txid,
}

impl Snapshot {
    /// Txids and places of ascending numbers; what is not known is read, and known from then on. Of a coinbase that was
    /// mined twice (BIP 30) only the later is told: it is the one that the node knows, and a history names a
    /// transaction once.
    pub(super) fn locate(
        &self,
        numbers: &[TxNum],
        known: Option<&KnownTxids>,
    ) -> Result<Vec<Located>, Error> {
        let mut positions = Vec::with_capacity(numbers.len());
        for number in numbers {
            positions.push(self.blocks.position(*number).ok_or(DAMAGED_NUMBERS)?);
        }
        let txids = match known.filter(|_| numbers.len() <= limits::MEMO_TXIDS_MAX) {
            Some(known) => self.recall_or_read(numbers, &positions, known)?,
            None => self.read_txids(numbers, &positions)?,
        };
        let mut located = Vec::with_capacity(numbers.len());
        for ((number, position), txid) in numbers.iter().zip(positions).zip(txids) {
            let is_last = !self.is_repeatable(position)
                || self.number(&txid)?.is_some_and(|(last, _)| last == *number);
            if is_last {
                located.push(Located {
                    number: *number,
                    position,
                    txid,
                });
            }
        }
        Ok(located)
    }

    /// Whether it may come again: any transaction but a coinbase spends an output that is gone.
    pub(super) fn is_repeatable(&self, position: BlockPosition) -> bool {
        position.index == 0 && position.height < self.network.distinct_coinbases_from()
    }

    fn recall_or_read(
        &self,
        numbers: &[TxNum],
        positions: &[BlockPosition],
        known: &KnownTxids,
    ) -> Result<Vec<Txid>, Error> {
        let recalled = known.recall(&self.blocks, numbers);
        let unknown = numbers.iter().zip(positions).zip(&recalled);
        let unknown = unknown.filter(|(_, recalled)| recalled.is_none());
        let (numbers, positions): (Vec<TxNum>, Vec<BlockPosition>) = unknown
            .map(|((number, position), _)| (*number, *position))
            .unzip();
        let read = self.read_txids(&numbers, &positions)?;
        known.learn(&self.blocks, &numbers, &read);
        let mut read = read.into_iter();
        let txids = recalled
            .into_iter()
            .map(|recalled| recalled.or_else(|| read.next()));
        txids.collect::<Option<_>>().ok_or(DAMAGED_NUMBERS)
    }

    fn read_txids(
        &self,
        numbers: &[TxNum],
        positions: &[BlockPosition],
    ) -> Result<Vec<Txid>, Error> {
        let mut txids = Vec::with_capacity(numbers.len());
        let is_old = |position: &BlockPosition| position.height.0 < self.segments.count();
        let old = positions.partition_point(is_old);
        let (old_numbers, _) = numbers.split_at_checked(old).ok_or(DAMAGED_NUMBERS)?;
        self.segments.txids(old_numbers, &mut txids)?;
        let new = positions.get(old..).unwrap_or_default();
        for block in new.chunk_by(|a, b| a.height == b.height) {
            if let Some(height) = block.first().map(|position| position.height) {
                let indexes: Vec<u32> = block.iter().map(|position| position.index).collect();
                self.delta.txids(height, &indexes, &mut txids)?;
            }
        }
        Ok(txids)
    }
}
