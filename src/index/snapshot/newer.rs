//! What came to a history since a block, so that who knows the rest need not read it again.

use super::super::error::Error;
use super::super::known_txids::KnownTxids;
use super::super::layer::ScriptEntry;
use super::super::{ConfirmedEntry, ScriptPrefix};
use super::locate::Located;
use super::{DAMAGED_NUMBERS, Snapshot};
use crate::chain::ChainTip;

impl Snapshot {
    /// The confirmed transactions of a script in the blocks above this one, in chain order. `None` when they are not
    /// all that is new: the chain no longer has that block, one of them repeats an older one, or it is too long ago.
    pub fn history_above(
        &self,
        prefix: ScriptPrefix,
        block: ChainTip,
        known: Option<&KnownTxids>,
    ) -> Result<Option<Vec<ConfirmedEntry>>, Error> {
        let above = block.height.0.saturating_add(1);
        if !self.blocks.has(block) || above < self.segments.count() {
            return Ok(None);
        }
        let mut entry = ScriptEntry::default();
        self.delta
            .recent
            .script_above(prefix, block.height, &mut entry)?;
        let mut entries = Vec::with_capacity(entry.touches.len());
        for transaction in self.locate(&entry.touches, known)? {
            if self.is_repeatable(transaction.position) && self.is_repeated(&transaction)? {
                return Ok(None);
            }
            entries.push(ConfirmedEntry {
                txid: transaction.txid,
                height: transaction.position.height,
            });
        }
        Ok(Some(entries))
    }

    /// Whether an older block has the same transaction.
    fn is_repeated(&self, transaction: &Located) -> Result<bool, Error> {
        for number in self.candidates(&transaction.txid)? {
            let position = self.blocks.position(number).ok_or(DAMAGED_NUMBERS)?;
            if number < transaction.number && self.txid_at(position)? == transaction.txid {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
