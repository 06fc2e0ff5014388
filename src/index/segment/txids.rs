//! Segments of txids, where transactions cannot be read from the node's files: 32 bytes each, by number.

use std::ops::RangeInclusive;

use bitcoin::Txid;
use bitcoin::hashes::Hash as _;

use super::blobs::{BlobKey, BlobWriter, DAMAGED, FRAME_BYTES, Segment};
use super::store::Store;
use super::{Kind, SegmentFile};
use crate::chain::{Height, TxNum};
use crate::index::error::Error;
use crate::index::schema::TXID_BYTES;
use crate::limits;

/// Writes a segment of txids.
pub(in crate::index) struct TxidSegmentBuilder<'a> {
    blobs: BlobWriter<'a>,
    blob: Vec<u8>,
    first: u64,
    entries: u64,
}

impl<'a> TxidSegmentBuilder<'a> {
    /// Begins a segment; `first` is the number of the first transaction in these heights.
    pub(in crate::index) fn create(
        store: &'a dyn Store,
        heights: RangeInclusive<Height>,
        first: TxNum,
    ) -> Result<Self, Error> {
        Ok(Self {
            blobs: BlobWriter::numbered(store, Kind::Txids, heights, first)?,
            blob: Vec::new(),
            first: u64::from(first.0),
            entries: 0,
        })
    }

    /// Adds the next transactions: their txids, 32 bytes each.
    pub(in crate::index) fn push(&mut self, txids: &[[u8; TXID_BYTES]]) -> Result<(), Error> {
        for txid in txids {
            if self.blob.len() + TXID_BYTES + FRAME_BYTES > limits::SEGMENT_BLOB_BYTES {
                self.flush()?;
            }
            self.blob.extend_from_slice(txid);
            self.entries += 1;
        }
        Ok(())
    }

    /// Completes the segment; it counts once the manifest names it.
    pub(in crate::index) fn finish(mut self) -> Result<SegmentFile, Error> {
        self.flush()?;
        self.blobs.finish(self.entries)
    }

    fn flush(&mut self) -> Result<(), Error> {
        let first = self.first;
        let count = u64::try_from(self.blob.len() / TXID_BYTES).map_err(|_overflow| DAMAGED)?;
        self.first += count;
        self.blobs.push_gathered(first, &mut self.blob)
    }
}

/// Adds the txids of ascending numbers, all of which the segment has.
pub(in crate::index) fn find(
    segment: &Segment,
    numbers: &[TxNum],
    found: &mut Vec<Txid>,
) -> Result<(), Error> {
    segment.of_numbers(numbers, |key, blob, rest| {
        let (txids, _) = blob.as_chunks::<TXID_BYTES>();
        let before = found.len();
        found.extend(rest.iter().map_while(|number| {
            let index = u64::from(number.0).checked_sub(key.first)?;
            let txid = txids.get(usize::try_from(index).ok()?)?;
            Some(Txid::from_byte_array(*txid))
        }));
        Ok(found.len() - before)
    })
}

/// Visits all txids in their order, some at a time; `first` is the number of the first.
pub(in crate::index) fn each(
    segment: &Segment,
    first: TxNum,
    mut visit: impl FnMut(&[[u8; TXID_BYTES]]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut walk = segment.walk(BlobKey::of(first.0.into())..=BlobKey::of(u64::MAX))?;
    while let Some(()) = walk.next(|_, blob| visit(blob.as_chunks().0))? {}
    Ok(())
}
