//! What is kept of each block until the end: its header, the hash of its touches, and where its transactions stand.
//!
//! ```text
//! record = header (80), hash of the touches (32), varint transactions, varint length of each,
//!          varint file + 1 and varint offset of the first one (0 where they have no place),
//!          txids (32 each) if they are wanted, otherwise Merkle nodes (32 each)
//! ```
//!
//! Each thread writes a file of its own, in the order in which blocks come to it.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::spill::{self, DAMAGED};
use crate::chain::Height;
use crate::chain::merkle::GROUP_LEAVES;
use crate::chain::sha256::Messages;
use crate::index::codec::{self, Reader};
use crate::index::error::{self, Error};

const WRITE: &str = "write to the working space of the index";
const READ: &str = "read from the working space of the index";

const HASH_BYTES: usize = 32;
/// The touches of so many blocks are hashed together, unless the first has more bytes of them than the ordinary block
/// of a few thousand.
const BLOCKS_AT_ONCE: usize = 2;
const TOUCHES_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Where the first transaction of a block stands in the node's files: number of the file, and the place in it.
pub(super) type FirstPlace = Option<(u32, u64)>;

/// One thread's file.
pub(super) struct RecordWriter {
    file: BufWriter<File>,
    length: u64,
    heights: Vec<(Height, u64)>,
    /// Records whose touches are not hashed yet.
    waiting: Vec<u8>,
    /// Where in these the hashes go.
    places: Vec<usize>,
    touches: Messages,
    hashes: Vec<[u8; 32]>,
}

/// What was kept of the transactions of a block.
pub(super) struct Record {
    /// Bytes of each transaction.
    pub(super) lengths: Vec<u32>,
    pub(super) first: FirstPlace,
    /// Of the transactions where they are wanted; otherwise the Merkle nodes above groups of them.
    pub(super) hashes: Vec<[u8; 32]>,
}

impl RecordWriter {
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        Ok(Self {
            file: BufWriter::with_capacity(256 * 1024, spill::create(path)?),
            length: 0,
            heights: Vec::new(),
            waiting: Vec::new(),
            places: Vec::new(),
            touches: Messages::default(),
            hashes: Vec::new(),
        })
    }

    /// What is to be hashed: the canonical touches of the next block are to be added before it.
    pub(super) fn touches(&mut self) -> &mut Messages {
        &mut self.touches
    }

    pub(super) fn push(
        &mut self,
        height: Height,
        header: &[u8],
        lengths: &[u32],
        first: FirstPlace,
        hashes: &[[u8; 32]],
    ) -> Result<(), Error> {
        let buffer = &mut self.waiting;
        let begin = u64::try_from(buffer.len()).map_err(|_overflow| DAMAGED)?;
        self.heights
            .push((height, self.length.saturating_add(begin)));
        buffer.extend_from_slice(header);
        self.places.push(buffer.len());
        buffer.extend_from_slice(&[0; HASH_BYTES]);
        let count = u64::try_from(lengths.len()).map_err(|_overflow| DAMAGED)?;
        codec::put_varint(buffer, count);
        for length in lengths {
            codec::put_varint(buffer, u64::from(*length));
        }
        match first {
            Some((file, offset)) => {
                codec::put_varint(buffer, u64::from(file) + 1);
                codec::put_varint(buffer, offset);
            }
            None => buffer.push(0),
        }
        buffer.extend_from_slice(hashes.as_flattened());
        if self.hash_enough() {
            self.write()?;
        }
        Ok(())
    }

    /// Hashes the touches that wait, if they are of enough blocks.
    pub(super) fn hash_enough(&mut self) -> bool {
        let are_enough =
            self.touches.len() >= BLOCKS_AT_ONCE || self.touches.bytes() > TOUCHES_BYTES_MAX;
        if are_enough {
            self.hash();
        }
        are_enough
    }

    fn hash(&mut self) {
        self.hashes.clear();
        self.touches.hash(&mut self.hashes);
    }

    /// Writes the records that wait, whose touches are hashed.
    fn write(&mut self) -> Result<(), Error> {
        if self.hashes.len() != self.places.len() {
            return Err(DAMAGED);
        }
        for (at, hash) in self.places.drain(..).zip(&self.hashes) {
            let place = self.waiting.get_mut(at..at + HASH_BYTES);
            place.ok_or(DAMAGED)?.copy_from_slice(hash);
        }
        self.file
            .write_all(&self.waiting)
            .map_err(error::io(WRITE))?;
        let written = u64::try_from(self.waiting.len()).map_err(|_overflow| DAMAGED)?;
        self.length = self.length.saturating_add(written);
        self.waiting.clear();
        Ok(())
    }

    /// Completes the file.
    pub(super) fn finish(mut self) -> Result<RecordFile, Error> {
        self.hash();
        self.write()?;
        let file = self.file.into_inner();
        Ok(RecordFile {
            file: file.map_err(|failed| error::io(WRITE)(failed.into_error()))?,
            heights: self.heights,
            length: self.length,
        })
    }
}

/// A finished file.
pub(super) struct RecordFile {
    file: File,
    heights: Vec<(Height, u64)>,
    length: u64,
}

/// Where the record of a block is.
#[derive(Clone, Copy)]
struct Slot {
    file: u32,
    begin: u64,
    length: u32,
}

/// The records of all files.
pub(super) struct Records {
    files: Vec<File>,
    /// By height from the lowest on.
    slots: Vec<Slot>,
    wants_txids: bool,
}

impl Records {
    /// `None` when there is not exactly one record for each of `count` blocks from `from` on.
    pub(super) fn new(
        from: Height,
        count: usize,
        wants_txids: bool,
        files: Vec<RecordFile>,
    ) -> Option<Self> {
        let mut slots: Vec<Option<Slot>> = vec![None; count];
        for (number, file) in (0..).zip(&files) {
            let ends = file.heights.iter().skip(1).map(|(_, begin)| *begin);
            let ends = ends.chain([file.length]);
            for ((height, begin), end) in file.heights.iter().zip(ends) {
                let index = usize::try_from(height.0.checked_sub(from.0)?).ok()?;
                let slot = Slot {
                    file: number,
                    begin: *begin,
                    length: u32::try_from(end.checked_sub(*begin)?).ok()?,
                };
                if slots.get_mut(index)?.replace(slot).is_some() {
                    return None;
                }
            }
        }
        Some(Self {
            files: files.into_iter().map(|file| file.file).collect(),
            slots: slots.into_iter().collect::<Option<_>>()?,
            wants_txids,
        })
    }

    /// Reads all of them, from the lowest block up.
    pub(super) fn each(
        &self,
        mut visit: impl FnMut(Record) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut buffer = Vec::new();
        for slot in &self.slots {
            buffer.resize(
                usize::try_from(slot.length).map_err(|_overflow| DAMAGED)?,
                0,
            );
            self.read(slot, &mut buffer)?;
            visit(self.record(&buffer).ok_or(DAMAGED)?)?;
        }
        Ok(())
    }

    /// Reads the header and the hash of the touches of each, from the lowest block up.
    pub(super) fn each_head(
        &self,
        mut visit: impl FnMut([u8; 80], [u8; 32]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for slot in &self.slots {
            let mut head = [0; 80 + 32];
            self.read(slot, &mut head)?;
            let mut reader = Reader::new(&head);
            let header = reader.array().ok_or(DAMAGED)?;
            visit(header, reader.array().ok_or(DAMAGED)?)?;
        }
        Ok(())
    }

    /// Fills a buffer with the beginning of a record.
    fn read(&self, slot: &Slot, buffer: &mut [u8]) -> Result<(), Error> {
        let file = usize::try_from(slot.file).ok();
        let file = file.and_then(|index| self.files.get(index));
        file.ok_or(DAMAGED)?
            .read_exact_at(buffer, slot.begin)
            .map_err(error::io(READ))
    }

    fn record(&self, bytes: &[u8]) -> Option<Record> {
        let mut reader = Reader::new(bytes);
        reader.take(80 + 32)?;
        let count = usize::try_from(reader.varint()?).ok()?;
        let lengths: Option<Vec<u32>> = (0..count).map(|_| reader.varint_u32()).collect();
        let first = match reader.varint_u32()?.checked_sub(1) {
            Some(file) => Some((file, reader.varint()?)),
            None => None,
        };
        let of_each = if self.wants_txids { 1 } else { GROUP_LEAVES };
        let expected = match count.div_ceil(of_each) {
            // A block of one group has no node above it.
            1 if !self.wants_txids => 0,
            expected => expected,
        };
        let (hashes, _) = reader.take(expected.checked_mul(32)?)?.as_chunks::<32>();
        reader.is_empty().then_some(Record {
            lengths: lengths?,
            first,
            hashes: hashes.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::{Hash as _, sha256};

    #[test]
    fn each_block_keeps_the_hash_of_its_own_touches() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = RecordWriter::create(&dir.path().join("blocks")).unwrap();
        let small = |byte: u8| vec![byte; 300];
        // Those after the large one are hashed together, and the last one alone.
        let touches = [vec![1; TOUCHES_BYTES_MAX + 1], small(2), small(3), small(4)];
        for (height, touches) in (0..).map(Height).zip(&touches) {
            writer.touches().push(&[touches]);
            writer.push(height, &[9; 80], &[1], None, &[]).unwrap();
            assert_eq!(writer.waiting.is_empty(), [0, 2].contains(&height.0));
        }
        let file = writer.finish().unwrap();
        let records = Records::new(Height(0), touches.len(), false, vec![file]).unwrap();
        let mut found = Vec::new();
        let take = |_, hash| {
            found.push(hash);
            Ok(())
        };
        records.each_head(take).unwrap();
        let expected = touches
            .iter()
            .map(|one| sha256::Hash::hash(one).to_byte_array());
        assert!(found.into_iter().eq(expected));
    }
}
