//! The newest blocks as a layer: their delta rows in memory, their txids in `main.redb`.

use std::ops::RangeInclusive;

use bitcoin::Txid;
use bitcoin::hashes::Hash as _;
use redb::ReadOnlyTable;

use super::ScriptPrefix;
use super::error::{Error, guarded, store};
use super::keys::{KeyedHash, TxFingerprint};
use super::layer::{Funding, Layer, ScriptEntry, Spending};
use super::recent::Recent;
use super::row::{Row, RowEvent};
use super::schema::TXID_BYTES;
use crate::chain::{Height, TxNum};

const READ_TXIDS: &str = "read txids from the index";
const DAMAGED_TXIDS: Error = Error::Damaged {
    attempt: READ_TXIDS,
};

/// The blocks that have a delta row; there is at least one.
pub(super) struct DeltaLayer {
    pub(super) heights: RangeInclusive<Height>,
    pub(super) recent: Recent,
    pub(super) txids: ReadOnlyTable<u32, &'static [u8]>,
    pub(super) keyed: KeyedHash,
}

impl Layer for DeltaLayer {
    fn heights(&self) -> RangeInclusive<Height> {
        self.heights.clone()
    }

    fn script(&self, prefix: ScriptPrefix, entry: &mut ScriptEntry) -> Result<(), Error> {
        for (row, place) in self.recent.script(prefix) {
            for touch in row.touches(place) {
                let touch = touch?;
                let number = row.number(touch.transaction)?;
                entry.touch(number);
                match touch.event {
                    RowEvent::Funding { vout, amount, tag } => entry.fundings.push(Funding {
                        height: row.height,
                        number,
                        vout,
                        tag,
                        amount,
                    }),
                    RowEvent::Spending { height, vout, tag } => entry.spendings.push(Spending {
                        height,
                        vout,
                        tag,
                        spender: number,
                    }),
                }
            }
        }
        Ok(())
    }

    fn candidates(&self, fingerprint: TxFingerprint, found: &mut Vec<TxNum>) -> Result<(), Error> {
        found.extend(self.recent.transactions(fingerprint));
        Ok(())
    }

    fn txids(&self, height: Height, indexes: &[u32], found: &mut Vec<Txid>) -> Result<(), Error> {
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

    fn fundings(
        &self,
        height: Height,
        visit: &mut dyn FnMut(ScriptPrefix, &Funding),
    ) -> Result<(), Error> {
        let Some(row) = self.recent.row(height) else {
            return Ok(());
        };
        for script in row.scripts() {
            let (prefix, place) = script?;
            for touch in row.touches(place) {
                let touch = touch?;
                if let RowEvent::Funding { vout, amount, tag } = touch.event {
                    let funding = Funding {
                        height,
                        number: row.number(touch.transaction)?,
                        vout,
                        tag,
                        amount,
                    };
                    visit(prefix, &funding);
                }
            }
        }
        Ok(())
    }
}

impl DeltaLayer {
    /// A stored txid, if it is the one whose fingerprint the row has.
    fn verified(&self, row: &Row, txids: &[[u8; TXID_BYTES]], index: u32) -> Option<Txid> {
        let bytes = txids.get(usize::try_from(index).ok()?)?;
        let txid = Txid::from_byte_array(*bytes);
        (row.fingerprint(index)? == self.keyed.fingerprint(&txid)).then_some(txid)
    }
}
