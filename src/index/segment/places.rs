//! Segments of places: where in the node's block files each transaction stands, by number.
//!
//! ```text
//! blob   = count of groups (2, big-endian), for each where it ends (2, big-endian, from the first on) and how many
//!          transactions there are up to there (2, big-endian), groups
//! group  = varint file, varint offset of its first transaction, group as in `groups`
//! ```
//!
//! A group has transactions of one block only, so they stand next to each other.

use std::ops::RangeInclusive;

use super::blobs::{BlobKey, BlobWriter, DAMAGED, FRAME_BYTES, Segment};
use super::store::Store;
use super::{Kind, SegmentFile};
use crate::chain::{Height, TxNum};
use crate::index::codec::{self, Reader};
use crate::index::error::Error;
use crate::index::groups::{self, Group, Lengths, NODE_BYTES};
use crate::limits;

/// Bytes for each group before the first of them.
const ENTRY_BYTES: usize = 4;

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
    /// After its last byte.
    pub(in crate::index) fn end(&self) -> Option<u64> {
        self.offset.checked_add(u64::from(self.length))
    }
}

/// Writes a segment of places.
pub(in crate::index) struct PlaceSegmentBuilder<'a> {
    blobs: BlobWriter<'a>,
    /// Groups of the blob in the making.
    packed: Vec<u8>,
    /// Where each of them ends, and how many transactions there are up to there.
    ends: Vec<(u16, u16)>,
    group: Vec<u8>,
    /// Number of the first transaction in the blob.
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
            packed: Vec::new(),
            ends: Vec::new(),
            group: Vec::new(),
            first: u64::from(first.0),
            next: u64::from(first.0),
            entries: 0,
        })
    }

    /// Adds the transactions of the next block, the first of which stands at this offset of a file.
    pub(in crate::index) fn push_block(
        &mut self,
        file: u32,
        mut offset: u64,
        lengths: &[u32],
        nodes: &[[u8; NODE_BYTES]],
    ) -> Result<(), Error> {
        for group in groups::of_block(lengths, nodes) {
            self.push_group(file, offset, group)?;
            let length: u64 = group.lengths.iter().map(|length| u64::from(*length)).sum();
            offset = offset.saturating_add(length);
        }
        Ok(())
    }

    /// Adds the next group.
    pub(in crate::index) fn push_group(
        &mut self,
        file: u32,
        offset: u64,
        group: Group<'_>,
    ) -> Result<(), Error> {
        self.group.clear();
        codec::put_varint(&mut self.group, u64::from(file));
        codec::put_varint(&mut self.group, offset);
        groups::put(&mut self.group, group);
        let directory = 2 + ENTRY_BYTES * (self.ends.len() + 1);
        let length = FRAME_BYTES + directory + self.packed.len() + self.group.len();
        if length > limits::SEGMENT_BLOB_BYTES {
            self.flush()?;
        }
        self.packed.extend_from_slice(&self.group);
        let count = u64::try_from(group.lengths.len()).map_err(|_overflow| DAMAGED)?;
        self.next += count;
        self.entries += count;
        let end = u16::try_from(self.packed.len()).map_err(|_overflow| DAMAGED)?;
        let count = u16::try_from(self.next - self.first).map_err(|_overflow| DAMAGED)?;
        self.ends.push((end, count));
        Ok(())
    }

    /// Completes the segment; it counts once the manifest names it.
    pub(in crate::index) fn finish(mut self) -> Result<SegmentFile, Error> {
        self.flush()?;
        self.blobs.finish(self.entries)
    }

    fn flush(&mut self) -> Result<(), Error> {
        let count = u16::try_from(self.ends.len()).map_err(|_overflow| DAMAGED)?;
        let mut blob = Vec::new();
        if count > 0 {
            blob.extend(count.to_be_bytes());
        }
        for (end, transactions) in self.ends.drain(..) {
            blob.extend(end.to_be_bytes());
            blob.extend(transactions.to_be_bytes());
        }
        blob.append(&mut self.packed);
        let first = self.first;
        self.first = self.next;
        self.blobs.push_gathered(first, &mut blob)
    }
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

/// Adds the Merkle nodes above the groups that begin with these ascending numbers.
pub(in crate::index) fn nodes(
    segment: &Segment,
    firsts: &[TxNum],
    found: &mut Vec<[u8; NODE_BYTES]>,
) -> Result<(), Error> {
    segment.of_numbers(firsts, |key, blob, rest| {
        let groups = Groups::open(blob).ok_or(DAMAGED)?;
        let before = found.len();
        for first in rest {
            let index = key.index_of(*first).ok_or(DAMAGED)?;
            let Some(group) = groups.holding(index) else {
                // It is in a later blob.
                break;
            };
            let node = group.bytes.last_chunk();
            let node = node.filter(|_| group.first == index).ok_or(DAMAGED)?;
            found.push(*node);
        }
        Ok(found.len() - before)
    })
}

/// Visits all groups in their order, with the file and the offset of each; `first` is the number of the first
/// transaction.
pub(in crate::index) fn each(
    segment: &Segment,
    first: TxNum,
    mut visit: impl FnMut(u32, u64, Group<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut walk = segment.walk(BlobKey::of(first.0.into())..=BlobKey::of(u64::MAX))?;
    let mut lengths = Vec::new();
    let mut read = |_, blob: &[u8]| {
        let groups = Groups::open(blob).ok_or(DAMAGED)?;
        for number in 0..groups.count() {
            let group = groups.get(number).ok_or(DAMAGED)?;
            let (file, offset, node) = group.unpack(&mut lengths).ok_or(DAMAGED)?;
            let group = Group {
                lengths: &lengths,
                node: node.as_ref(),
            };
            visit(file, offset, group)?;
        }
        Ok(())
    };
    while let Some(()) = walk.next(&mut read)? {}
    Ok(())
}

/// Adds the places of those of the numbers, from the first on, that a blob has.
fn unpack(key: BlobKey, blob: &[u8], numbers: &[TxNum], found: &mut Vec<Place>) -> Option<()> {
    let groups = Groups::open(blob)?;
    let mut open: Option<(Packed<'_>, Places<'_>)> = None;
    for number in numbers {
        let index = key.index_of(*number)?;
        if open.as_ref().is_none_or(|(group, _)| index >= group.end) {
            let Some(group) = groups.holding(index) else {
                // It is in a later blob.
                return Some(());
            };
            open = Some((group, Places::of(&group)?));
        }
        let (group, places) = open.as_mut()?;
        found.push(places.at(index.checked_sub(group.first)?)?);
    }
    Some(())
}

/// The groups of a blob.
struct Groups<'a> {
    directory: &'a [[u8; ENTRY_BYTES]],
    bytes: &'a [u8],
}

/// A group of a blob, with the indexes of its transactions in the blob.
#[derive(Clone, Copy)]
struct Packed<'a> {
    first: usize,
    /// After the last one.
    end: usize,
    bytes: &'a [u8],
}

/// A group whose lengths are to be read.
struct Begun<'a> {
    file: u32,
    offset: u64,
    lengths: Lengths<'a>,
}

impl<'a> Groups<'a> {
    fn open(blob: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(blob);
        let count = usize::from(u16::from_be_bytes(reader.array()?));
        let (directory, _) = reader.take(count.checked_mul(ENTRY_BYTES)?)?.as_chunks();
        Some(Self {
            directory,
            bytes: reader.rest(),
        })
    }

    fn count(&self) -> usize {
        self.directory.len()
    }

    /// Where a group ends, and how many transactions there are up to there.
    fn end(&self, group: usize) -> Option<(usize, usize)> {
        let [a, b, c, d] = *self.directory.get(group)?;
        let number = |bytes| usize::from(u16::from_be_bytes(bytes));
        Some((number([a, b]), number([c, d])))
    }

    fn get(&self, group: usize) -> Option<Packed<'a>> {
        let (to, end) = self.end(group)?;
        let (from, first) = match group.checked_sub(1) {
            Some(before) => self.end(before)?,
            None => (0, 0),
        };
        let bytes = self.bytes.get(from..to)?;
        Some(Packed { first, end, bytes })
    }

    /// The group with the transaction at this index of the blob.
    fn holding(&self, index: usize) -> Option<Packed<'a>> {
        let ends_before =
            |[_, _, c, d]: &[u8; ENTRY_BYTES]| usize::from(u16::from_be_bytes([*c, *d])) <= index;
        self.get(self.directory.partition_point(ends_before))
    }
}

impl<'a> Packed<'a> {
    fn begin(&self) -> Option<Begun<'a>> {
        let mut reader = Reader::new(self.bytes);
        Some(Begun {
            file: reader.varint_u32()?,
            offset: reader.varint()?,
            lengths: Lengths::begin(reader)?,
        })
    }

    /// File and offset, and the node if there is one; the lengths are put into the list.
    fn unpack(&self, lengths: &mut Vec<u32>) -> Option<(u32, u64, Option<[u8; NODE_BYTES]>)> {
        let mut begun = self.begin()?;
        lengths.clear();
        for _ in self.first..self.end {
            lengths.push(begun.lengths.next()?);
        }
        let mut rest = begun.lengths.into_rest();
        let node = if rest.is_empty() {
            None
        } else {
            Some(rest.array()?)
        };
        Some((begun.file, begun.offset, node))
    }
}

/// The places of a group, read as far as was asked for.
struct Places<'a> {
    lengths: Lengths<'a>,
    /// Places read so far.
    read: usize,
    last: Place,
}

impl<'a> Places<'a> {
    fn of(group: &Packed<'a>) -> Option<Self> {
        let Begun {
            file,
            offset,
            lengths,
        } = group.begin()?;
        let last = Place {
            file,
            offset,
            length: 0,
        };
        Some(Self {
            lengths,
            read: 0,
            last,
        })
    }

    /// The place at an index, which is not below the one asked for before.
    fn at(&mut self, index: usize) -> Option<Place> {
        while self.read <= index {
            self.last = Place {
                file: self.last.file,
                offset: self.last.end()?,
                length: self.lengths.next()?,
            };
            self.read += 1;
        }
        Some(self.last)
    }
}
