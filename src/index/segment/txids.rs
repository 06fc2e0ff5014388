//! Segments of txids, where transactions cannot be read from the node's files: 32 bytes each, by number.

use std::ops::RangeInclusive;

use bitcoin::Txid;
use bitcoin::hashes::Hash as _;

use super::blobs::{BlobKey, BlobWriter, DAMAGED, FRAME_BYTES, Segment};
use super::store::Store;
use super::{Kind, SegmentFile, Shard, Spec};
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
        let spec = Spec {
            kind: Kind::Txids,
            heights,
            shard: Shard::WHOLE,
        };
        Ok(Self {
            blobs: BlobWriter::create(store, spec, u64::from(first.0))?,
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
        if self.blob.is_empty() {
            return Ok(());
        }
        let (first, part) = (self.first, 0);
        let count = u64::try_from(self.blob.len() / TXID_BYTES).map_err(|_overflow| DAMAGED)?;
        self.first += count;
        self.blobs
            .push(BlobKey { first, part }, std::mem::take(&mut self.blob))
    }
}

/// Adds the txids of ascending numbers, all of which the segment has.
pub(in crate::index) fn find(
    segment: &Segment,
    numbers: &[TxNum],
    found: &mut Vec<Txid>,
) -> Result<(), Error> {
    let mut rest = numbers;
    while let Some(wanted) = rest.first() {
        let key = BlobKey {
            first: u64::from(wanted.0),
            part: 0,
        };
        let taken = segment.at(key, |key, blob| {
            let (txids, _) = blob.as_chunks::<TXID_BYTES>();
            let mut taken = 0;
            for number in rest {
                let index = u64::from(number.0).checked_sub(key.first);
                let index = index.and_then(|index| usize::try_from(index).ok());
                let Some(txid) = index.and_then(|index| txids.get(index)) else {
                    break;
                };
                found.push(Txid::from_byte_array(*txid));
                taken += 1;
            }
            Ok(taken)
        })?;
        rest = match taken {
            0 => return Err(DAMAGED),
            taken => rest.get(taken..).unwrap_or_default(),
        };
    }
    Ok(())
}

/// Visits all txids in their order, some at a time; `first` is the number of the first.
pub(in crate::index) fn each(
    segment: &Segment,
    first: TxNum,
    mut visit: impl FnMut(&[[u8; TXID_BYTES]]) -> Result<(), Error>,
) -> Result<(), Error> {
    let key = |first| BlobKey { first, part: 0 };
    let mut walk = segment.walk(key(u64::from(first.0))..=key(u64::MAX))?;
    while let Some(()) = walk.next(|_, blob| visit(blob.as_chunks().0))? {}
    Ok(())
}
