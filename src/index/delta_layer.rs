//! The newest blocks as a layer: their delta rows in memory, their txids in `main.redb`.

use bitcoin::Txid;
use bitcoin::hashes::Hash as _;
use redb::ReadOnlyTable;

use super::ScriptPrefix;
use super::error::{Error, guarded, store};
use super::keys::{KeyedHash, TxFingerprint};
use super::layer::{Funding, Layer, ScriptEntry, Wanted};
use super::recent::Recent;
use super::row::Row;
use super::schema::TXID_BYTES;
use crate::chain::{Height, TxNum};

const READ_TXIDS: &str = "read txids from the index";
const DAMAGED_TXIDS: Error = Error::Damaged {
    attempt: READ_TXIDS,
};

/// The blocks that have a delta row.
pub(super) struct DeltaLayer {
    pub(super) recent: Recent,
    pub(super) txids: ReadOnlyTable<u32, &'static [u8]>,
    pub(super) keyed: KeyedHash,
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
        guarded(READ_TXIDS, || {
            let stored = self.txids.get(height.0).map_err(store(READ_TXIDS))?;
            let (Some(row), Some(stored)) = (self.recent.row(height), stored) else {
                return Err(DAMAGED_TXIDS);
            };
            let (txids, _) = stored.value().as_chunks::<TXID_BYTES>();
            for index in indexes {
                found.push(self.verified(row, txids, *index).ok_or(DAMAGED_TXIDS)?);
            }
            Ok(())
        })
    }

    /// Visits every indexed output that a block creates.
    pub(super) fn fundings(
        &self,
        height: Height,
        visit: &mut dyn FnMut(ScriptPrefix, &Funding),
    ) -> Result<(), Error> {
        let Some(row) = self.recent.row(height) else {
            return Ok(());
        };
        for script in row.scripts() {
            let (prefix, place) = script?;
            let mut entry = ScriptEntry::default();
            row.add_to(place, &mut entry)?;
            for funding in &entry.fundings {
                visit(prefix, funding);
            }
        }
        Ok(())
    }

    /// A stored txid, if it is the one whose fingerprint the row has.
    fn verified(&self, row: &Row, txids: &[[u8; TXID_BYTES]], index: u32) -> Option<Txid> {
        let bytes = txids.get(usize::try_from(index).ok()?)?;
        let txid = Txid::from_byte_array(*bytes);
        (row.fingerprint(index)? == self.keyed.fingerprint(&txid)).then_some(txid)
    }
}
