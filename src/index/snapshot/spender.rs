//! Which transaction consumes an output.

use bitcoin::consensus::encode;
use bitcoin::{OutPoint, Transaction};

use super::super::error::Error;
use super::super::layer::{Effort, Wanted};
use super::super::{ConfirmedEntry, TransactionReader};
use super::{DAMAGED_NUMBERS, Snapshot, UNMATCHED, read_transactions};
use crate::chain::{BlockPosition, TxNum};
use crate::limits;

impl Snapshot {
    /// The confirmed transaction that spends an output; `None` while there is none, and for outputs that are not in the
    /// chain or not indexed. The index does not know it, so the later transactions of the script are read until one
    /// does, at most [`limits::SPENDER_SEARCH_MAX`]; those that the node's files do not give come from `reader`.
    pub fn spender(
        &self,
        outpoint: &OutPoint,
        reader: &dyn TransactionReader,
    ) -> Result<Option<ConfirmedEntry>, Error> {
        self.spender_within(limits::SPENDER_SEARCH_MAX, outpoint, reader)
    }

    /// The same, reading at most so many transactions.
    pub(in crate::index) fn spender_within(
        &self,
        search_max: usize,
        outpoint: &OutPoint,
        reader: &dyn TransactionReader,
    ) -> Result<Option<ConfirmedEntry>, Error> {
        let Some((funding, _)) = self.number(&outpoint.txid)? else {
            return Ok(None);
        };
        let output = self.outputs(&[*outpoint], reader)?.pop().flatten();
        let Some(output) = output else {
            return Ok(None);
        };
        let unspent = self.unspent_fundings(output.prefix, Effort::Any, reader)?;
        let is_it = |(number, vout): (TxNum, u32)| (number, vout) == (funding, outpoint.vout);
        if unspent
            .iter()
            .any(|unspent| is_it((unspent.number, unspent.vout)))
        {
            return Ok(None);
        }
        let touches = self
            .entry(output.prefix, Wanted::Touches, Effort::Any)?
            .touches;
        let later = touches.partition_point(|number| *number <= funding);
        for (searched, number) in touches.into_iter().skip(later).enumerate() {
            if searched == search_max {
                return Err(Error::TooMuch);
            }
            let position = self.blocks.position(number).ok_or(DAMAGED_NUMBERS)?;
            let transaction = self.whole(number, position, reader)?;
            let mut inputs = transaction.input.iter();
            if inputs.any(|input| input.previous_output == *outpoint) {
                return Ok(Some(ConfirmedEntry {
                    txid: transaction.compute_txid(),
                    height: position.height,
                }));
            }
        }
        Err(UNMATCHED)
    }

    fn whole(
        &self,
        number: TxNum,
        position: BlockPosition,
        reader: &dyn TransactionReader,
    ) -> Result<Transaction, Error> {
        let txid = self.txid_at(position)?;
        let own = if position.height.0 < self.segments.count() {
            self.segments.transaction(position.height, number)?
        } else {
            self.newest_transaction(&txid, position)?
        };
        if let Some(own) = own.and_then(|bytes| encode::deserialize(&bytes).ok()) {
            return Ok(own);
        }
        let block = self.blocks.get(position.height).ok_or(DAMAGED_NUMBERS)?;
        let read = read_transactions(reader, &[(txid, block.hash)]);
        let read = read.into_iter().next().flatten();
        read.ok_or(Error::TransactionUnavailable)
    }
}
