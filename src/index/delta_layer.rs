//! The newest blocks as a layer: their delta rows in memory.

use bitcoin::{Amount, Txid};

use super::ScriptPrefix;
use super::error::Error;
use super::keys::TxFingerprint;
use super::layer::{Layer, ScriptEntry, Wanted};
use super::recent::Recent;
use super::row::RowEvent;
use crate::chain::{Height, TxNum};

const DAMAGED_TXIDS: Error = Error::Damaged {
    attempt: "read txids from the index",
};

/// The blocks that have a delta row.
pub(super) struct DeltaLayer {
    pub(super) recent: Recent,
}

impl Layer for DeltaLayer {
    fn script(
        &self,
        prefix: ScriptPrefix,
        wanted: Wanted,
        entry: &mut ScriptEntry,
    ) -> Result<(), Error> {
        self.recent.script(prefix, wanted, entry)
    }

    fn candidates(&self, fingerprint: TxFingerprint, found: &mut Vec<TxNum>) -> Result<(), Error> {
        found.extend(self.recent.transactions(fingerprint));
        Ok(())
    }
}

impl DeltaLayer {
    /// Adds the txids of the transactions at these indexes of a block.
    pub(super) fn txids(
        &self,
        height: Height,
        indexes: &[u32],
        found: &mut Vec<Txid>,
    ) -> Result<(), Error> {
        let row = self.recent.row(height).ok_or(DAMAGED_TXIDS)?;
        for index in indexes {
            found.push(row.txid(*index).ok_or(DAMAGED_TXIDS)?);
        }
        Ok(())
    }

    /// Visits every indexed output that a block creates: script, number of the transaction, vout, amount.
    pub(super) fn fundings(
        &self,
        height: Height,
        visit: &mut dyn FnMut(ScriptPrefix, (TxNum, u32), Amount),
    ) -> Result<(), Error> {
        let Some(row) = self.recent.row(height) else {
            return Ok(());
        };
        for script in row.scripts() {
            let (prefix, place) = script?;
            for touch in row.touches(place) {
                let touch = touch?;
                if let RowEvent::Funding { vout, amount } = touch.event {
                    visit(prefix, (row.number(touch.transaction)?, vout), amount);
                }
            }
        }
        Ok(())
    }
}
