//! Segments of fingerprints: the numbers of the transactions whose txid has one, by its first 40 bits.
//!
//! ```text
//! blob = for each: varint (first 40 bits - those before it, or those of the key), number (4, big-endian)
//! ```
//!
//! One transaction in a thousand shares its 40 bits with another on a chain of a billion; whoever asks compares txids.

use std::ops::RangeInclusive;

use super::blobs::{BlobKey, BlobWriter, DAMAGED, FRAME_BYTES, Segment, Walk};
use super::store::Store;
use super::{Kind, SegmentFile, Shard, Spec};
use crate::chain::{Height, TxNum};
use crate::index::codec::{self, Reader};
use crate::index::error::Error;
use crate::index::keys::TxFingerprint;
use crate::index::merge::FingerprintSource;
use crate::limits;

/// Bits at the end of a fingerprint that are not stored.
const DROPPED_BITS: u32 = 24;
/// Bytes of the longest step and a number.
const ENTRY_BYTES_MAX: usize = 6 + 4;

/// The part of a fingerprint that a segment keeps.
pub(in crate::index) fn kept(fingerprint: TxFingerprint) -> TxFingerprint {
    TxFingerprint(fingerprint.0 >> DROPPED_BITS << DROPPED_BITS)
}

/// Writes a segment of fingerprints.
pub(in crate::index) struct FingerprintSegmentBuilder<'a> {
    blobs: BlobWriter<'a>,
    blob: Vec<u8>,
    first: u64,
    last: u64,
    entries: u64,
}

impl<'a> FingerprintSegmentBuilder<'a> {
    /// Begins a segment of the fingerprints of one shard.
    pub(in crate::index) fn create(
        store: &'a dyn Store,
        heights: RangeInclusive<Height>,
        shard: Shard,
    ) -> Result<Self, Error> {
        let kind = Kind::Fingerprints;
        let spec = Spec {
            kind,
            heights,
            shard,
        };
        Ok(Self {
            blobs: BlobWriter::create(store, spec, *shard.keys().start())?,
            blob: Vec::new(),
            first: 0,
            last: 0,
            entries: 0,
        })
    }

    /// Adds a transaction; the first 40 bits ascend, and with equal ones the numbers.
    pub(in crate::index) fn push(
        &mut self,
        fingerprint: TxFingerprint,
        number: TxNum,
    ) -> Result<(), Error> {
        let fingerprint = kept(fingerprint).0;
        let is_full = self.blob.len() + ENTRY_BYTES_MAX + FRAME_BYTES > limits::SEGMENT_BLOB_BYTES;
        // Equal ones stay together, so that one blob has all of them.
        if is_full && fingerprint != self.last {
            self.flush()?;
        }
        if self.blob.is_empty() {
            self.first = fingerprint;
            self.last = fingerprint;
        }
        let step = fingerprint.checked_sub(self.last).ok_or(DAMAGED)?;
        codec::put_varint(&mut self.blob, step >> DROPPED_BITS);
        self.blob.extend_from_slice(&number.0.to_be_bytes());
        self.last = fingerprint;
        self.entries += 1;
        Ok(())
    }

    /// Completes the segment; it counts once the manifest names it.
    pub(in crate::index) fn finish(mut self) -> Result<SegmentFile, Error> {
        self.flush()?;
        self.blobs.finish(self.entries)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.blobs.push_gathered(self.first, &mut self.blob)
    }
}

/// Adds the numbers of the transactions with the first 40 bits of this fingerprint.
pub(in crate::index) fn find(
    segment: &Segment,
    wanted: TxFingerprint,
    found: &mut Vec<TxNum>,
) -> Result<(), Error> {
    let wanted = kept(wanted);
    segment.at(BlobKey::of(wanted.0), |key, blob| {
        let mut reader = Reader::new(blob);
        let mut fingerprint = key.first;
        while !reader.is_empty() {
            let number = next(&mut reader, &mut fingerprint).ok_or(DAMAGED)?;
            if fingerprint > wanted.0 {
                break;
            }
            if fingerprint == wanted.0 {
                found.push(number);
            }
        }
        Ok(())
    })
}

fn next(reader: &mut Reader<'_>, fingerprint: &mut u64) -> Option<TxNum> {
    let step = reader.varint()?.checked_mul(1 << DROPPED_BITS)?;
    *fingerprint = fingerprint.checked_add(step)?;
    Some(TxNum(u32::from_be_bytes(reader.array()?)))
}

/// The fingerprints of a segment one after the other.
pub(in crate::index) struct FingerprintWalk<'a> {
    walk: Walk<'a>,
    range: RangeInclusive<u64>,
    blob: Vec<u8>,
    at: usize,
    fingerprint: u64,
}

impl<'a> FingerprintWalk<'a> {
    /// Those in a range.
    pub(in crate::index) fn over(
        segment: &'a Segment,
        range: RangeInclusive<u64>,
    ) -> Result<Self, Error> {
        let start = segment.at(BlobKey::of(*range.start()), |key, _| Ok(key))?;
        let end = BlobKey::behind(*range.end());
        Ok(Self {
            walk: segment.walk(start..=end)?,
            range,
            blob: Vec::new(),
            at: 0,
            fingerprint: 0,
        })
    }

    fn load(&mut self) -> Result<bool, Error> {
        let buffer = &mut self.blob;
        buffer.clear();
        let key = self.walk.next(|key, blob| {
            buffer.extend_from_slice(blob);
            Ok(key)
        })?;
        self.at = 0;
        self.fingerprint = key.map_or(0, |key| key.first);
        Ok(key.is_some())
    }
}

impl FingerprintSource for FingerprintWalk<'_> {
    fn next(&mut self) -> Result<Option<(TxFingerprint, TxNum)>, Error> {
        loop {
            if self.at == self.blob.len() {
                if self.load()? {
                    continue;
                }
                return Ok(None);
            }
            let rest = self.blob.get(self.at..).unwrap_or_default();
            let mut reader = Reader::new(rest);
            let number = next(&mut reader, &mut self.fingerprint).ok_or(DAMAGED)?;
            self.at = self.blob.len() - reader.remaining();
            if self.range.contains(&self.fingerprint) {
                return Ok(Some((TxFingerprint(self.fingerprint), number)));
            }
        }
    }
}
