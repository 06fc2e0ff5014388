//! Segments of places: where in the node's block files each transaction stands, by number.
//!
//! ```text
//! blob   = count of groups (2, big-endian), where each group ends (2, big-endian, from the first on), groups
//! group  = up to 64 transactions: varint file, varint offset, varint (least length), entries
//! entry  = varint (length - least + 1), for a transaction that begins where the one before it ends
//!        | 0, varint file, varint offset, varint (length - least), for any other
//! ```
//!
//! The first transaction of a group begins at its file and offset.

use std::ops::RangeInclusive;

use super::blobs::{BlobKey, BlobWriter, DAMAGED, FRAME_BYTES, Segment};
use super::store::Store;
use super::{Kind, SegmentFile};
use crate::chain::{Height, TxNum};
use crate::index::codec::{self, Reader};
use crate::index::error::Error;
use crate::limits;

/// Transactions in a group, which is read whole.
const GROUP: usize = 64;

/// Where a transaction stands, witness included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::index) struct Place {
    /// Number of the block file.
    pub(in crate::index) file: u32,
    /// First byte in it.
    pub(in crate::index) offset: u64,
    /// How many bytes.
    pub(in crate::index) length: u32,
}

impl Place {
    fn end(&self) -> Option<u64> {
        self.offset.checked_add(u64::from(self.length))
    }

    /// Whether the other begins where this one ends.
    pub(in crate::index) fn is_followed_by(&self, next: &Self) -> bool {
        self.file == next.file && self.end() == Some(next.offset)
    }
}

/// Writes a segment of places.
pub(in crate::index) struct PlaceSegmentBuilder<'a> {
    blobs: BlobWriter<'a>,
    group: Vec<Place>,
    /// Groups of the blob in the making.
    packed: Vec<u8>,
    ends: Vec<u16>,
    first: u64,
    next: u64,
    entries: u64,
}

impl<'a> PlaceSegmentBuilder<'a> {
    /// Begins a segment; `first` is the number of the first transaction in these heights.
    pub(in crate::index) fn create(
        store: &'a dyn Store,
        heights: RangeInclusive<Height>,
        first: TxNum,
    ) -> Result<Self, Error> {
        Ok(Self {
            blobs: BlobWriter::numbered(store, Kind::Places, heights, first)?,
            group: Vec::with_capacity(GROUP),
            packed: Vec::new(),
            ends: Vec::new(),
            first: u64::from(first.0),
            next: u64::from(first.0),
            entries: 0,
        })
    }

    /// Adds the next transaction.
    pub(in crate::index) fn push(&mut self, place: Place) -> Result<(), Error> {
        self.group.push(place);
        self.entries += 1;
        if self.group.len() == GROUP {
            self.close_group()?;
        }
        Ok(())
    }

    /// Completes the segment; it counts once the manifest names it.
    pub(in crate::index) fn finish(mut self) -> Result<SegmentFile, Error> {
        self.close_group()?;
        self.flush()?;
        self.blobs.finish(self.entries)
    }

    fn close_group(&mut self) -> Result<(), Error> {
        if self.group.is_empty() {
            return Ok(());
        }
        let packed = pack(&self.group).ok_or(DAMAGED)?;
        let length = FRAME_BYTES + 2 + 2 * (self.ends.len() + 1) + self.packed.len() + packed.len();
        if length > limits::SEGMENT_BLOB_BYTES {
            self.flush()?;
        }
        self.packed.extend_from_slice(&packed);
        let end = u16::try_from(self.packed.len()).map_err(|_overflow| DAMAGED)?;
        self.ends.push(end);
        self.next += u64::try_from(self.group.len()).map_err(|_overflow| DAMAGED)?;
        self.group.clear();
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.ends.is_empty() {
            return Ok(());
        }
        let count = u16::try_from(self.ends.len()).map_err(|_overflow| DAMAGED)?;
        let mut blob = count.to_be_bytes().to_vec();
        blob.extend(self.ends.drain(..).flat_map(u16::to_be_bytes));
        blob.append(&mut self.packed);
        let key = BlobKey::of(self.first);
        self.first = self.next;
        self.blobs.push(key, blob)
    }
}

fn pack(group: &[Place]) -> Option<Vec<u8>> {
    let least = group.iter().map(|place| place.length).min()?;
    let first = group.first()?;
    let mut out = Vec::new();
    codec::put_varint(&mut out, u64::from(first.file));
    codec::put_varint(&mut out, first.offset);
    codec::put_varint(&mut out, u64::from(least));
    let mut expected = (first.file, first.offset);
    for place in group {
        let length = u64::from(place.length - least);
        if expected == (place.file, place.offset) {
            codec::put_varint(&mut out, length + 1);
        } else {
            out.push(0);
            codec::put_varint(&mut out, u64::from(place.file));
            codec::put_varint(&mut out, place.offset);
            codec::put_varint(&mut out, length);
        }
        expected = (place.file, place.end()?);
    }
    Some(out)
}

/// Adds where the transactions of ascending numbers stand, all of which the segment has; each blob is read once.
pub(in crate::index) fn find(
    segment: &Segment,
    numbers: &[TxNum],
    found: &mut Vec<Place>,
) -> Result<(), Error> {
    segment.of_numbers(numbers, |key, blob, rest| {
        let before = found.len();
        unpack(key, blob, rest, found).ok_or(DAMAGED)?;
        Ok(found.len() - before)
    })
}

/// Adds the places of those of the numbers, from the first on, that a blob has.
fn unpack(key: BlobKey, blob: &[u8], numbers: &[TxNum], found: &mut Vec<Place>) -> Option<()> {
    let mut reader = Reader::new(blob);
    let count = usize::from(u16::from_be_bytes(reader.array()?));
    let (ends, _) = reader.take(count.checked_mul(2)?)?.as_chunks::<2>();
    let end = |group: usize| {
        let end = ends.get(group);
        end.map(|end| usize::from(u16::from_be_bytes(*end)))
    };
    let groups = reader.take(reader.remaining())?;
    let mut open: Option<(usize, Group<'_>)> = None;
    for number in numbers {
        let index = usize::try_from(u64::from(number.0).checked_sub(key.first)?).ok()?;
        let wanted = index / GROUP;
        let Some(to) = end(wanted) else {
            // It is in a later blob.
            return Some(());
        };
        let group = match &mut open {
            Some((number, group)) if *number == wanted => group,
            open => {
                let from = match wanted.checked_sub(1) {
                    Some(before) => end(before)?,
                    None => 0,
                };
                let group = Group::begin(groups.get(from..to)?)?;
                &mut open.insert((wanted, group)).1
            }
        };
        found.push(group.at(index % GROUP)?);
    }
    Some(())
}

/// A group, read as far as was asked for.
struct Group<'a> {
    reader: Reader<'a>,
    least: u64,
    /// Places read so far.
    read: usize,
    last: Place,
}

impl<'a> Group<'a> {
    fn begin(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let last = Place {
            file: reader.varint_u32()?,
            offset: reader.varint()?,
            length: 0,
        };
        Some(Self {
            least: reader.varint()?,
            reader,
            read: 0,
            last,
        })
    }

    /// The place at an index, which is not below the one asked for before.
    fn at(&mut self, index: usize) -> Option<Place> {
        while self.read <= index {
            let mut file = self.last.file;
            let mut offset = self.last.end()?;
            let length = match self.reader.varint()?.checked_sub(1) {
                Some(length) => length,
                None => {
                    file = self.reader.varint_u32()?;
                    offset = self.reader.varint()?;
                    self.reader.varint()?
                }
            };
            self.last = Place {
                file,
                offset,
                length: u32::try_from(length.checked_add(self.least)?).ok()?,
            };
            self.read += 1;
        }
        Some(self.last)
    }
}
