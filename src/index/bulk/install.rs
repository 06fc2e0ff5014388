//! A bulk in the index: begun above its segments, and made to count.

use std::path::Path;
use std::sync::Arc;

use super::{Built, Bulk, BulkShape, Ground, PlannedBlock};
use crate::chain::{Height, TxNum};
use crate::index::Index;
use crate::index::commitment::Commitment;
use crate::index::error::Error;

impl Index {
    /// The lowest block that a bulk can begin with: the one above all segments.
    pub fn bulk_from(&self) -> Height {
        Height(self.segments.count())
    }

    /// Begins a bulk of these blocks, of which there is at least one; `dir` is its working space, which is emptied.
    /// The index stays as it is until what the bulk builds is installed.
    pub fn bulk(
        &self,
        dir: &Path,
        blocks: Vec<PlannedBlock>,
        shape: BulkShape,
    ) -> Result<Bulk, Error> {
        let from = self.bulk_from();
        let ground = match from.0.checked_sub(1) {
            Some(below) => {
                let row = self.snapshot.header_row(Height(below))?;
                let row = row.ok_or(Error::KeepAboveTip(Height(below)))?;
                Ground {
                    from,
                    hash: row.hash,
                    commitment: row.commitment,
                    first: row.block().end().ok_or(Error::Incomplete)?,
                }
            }
            None => Ground {
                from,
                hash: bitcoin::hashes::Hash::all_zeros(),
                commitment: Commitment::START,
                first: TxNum(0),
            },
        };
        let store = Arc::clone(&self.store);
        let bulk = Bulk::new(self.keyed, store, dir, ground, blocks, shape)?;
        Ok(bulk.above(&self.segments))
    }

    /// Puts what a bulk built in the place of everything above the segments.
    ///
    /// The scripts that this changes are too many to be named.
    pub fn take_in(&mut self, built: Built) -> Result<(), Error> {
        let from = built.heights.start().0;
        if self.snapshot.tip().is_some_and(|tip| tip.height.0 >= from) {
            self.update_raw(from.checked_sub(1).map(Height), &[])?;
        }
        self.install(|visit| built.each_header(visit), &built.segments)?;
        built.clear()
    }
}
