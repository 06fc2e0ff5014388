//! The records of a block or undo file: the network's magic, a length (4 bytes, little-endian), and so many bytes.

use std::io;
use std::ops::RangeInclusive;

use super::obfuscated::{self, ObfuscatedFile};
use crate::chain::reader::Reader;

/// Bytes before what a record holds.
const FRAME_BYTES: u64 = 8;
/// What is read together with the frame: a block header, and how many transactions follow.
pub(super) const HEAD_BYTES: usize = 80 + 9;
/// Read at a time where no record begins.
const SEARCH_BYTES: usize = 64 * 1024;

/// A record of a file.
#[derive(Clone, Copy)]
pub(super) struct Record {
    /// Where what it holds begins.
    pub(super) place: u64,
    pub(super) length: u64,
}

/// Goes through the records of a file as it was when it was opened.
pub(super) struct Records {
    pub(super) file: ObfuscatedFile,
    magic: [u8; 4],
    /// How long a record may be.
    lengths: RangeInclusive<u64>,
    /// Bytes after what a record holds.
    trailer: u64,
    place: u64,
    end: u64,
}

impl Records {
    pub(super) fn new(
        file: ObfuscatedFile,
        magic: [u8; 4],
        lengths: RangeInclusive<u64>,
        trailer: u64,
    ) -> io::Result<Self> {
        let end = file.length()?;
        Ok(Self {
            file,
            magic,
            lengths,
            trailer,
            place: 0,
            end,
        })
    }

    /// The next record of which `is_one` likes the first bytes, at most [`HEAD_BYTES`], and these bytes.
    ///
    /// A crash of the node may leave anything between two records, and room for more lies behind the last one, so
    /// where none begins the next one is looked for.
    pub(super) fn next<T>(
        &mut self,
        is_one: impl Fn(&[u8]) -> Option<T>,
    ) -> io::Result<Option<(Record, T)>> {
        loop {
            let mut bytes = [0; HEAD_BYTES + 8];
            let count = self.file.read(self.place, &mut bytes)?;
            let read = bytes.get(..count).unwrap_or_default();
            if let Some(record) = self.record(read) {
                let head = read.get(8..).unwrap_or_default();
                let length = usize::try_from(record.length).unwrap_or(usize::MAX);
                let head = head.get(..length).unwrap_or(head);
                if let Some(found) = is_one(head) {
                    let after = record.place.saturating_add(record.length);
                    self.place = after.saturating_add(self.trailer);
                    return Ok(Some((record, found)));
                }
            }
            match self.search(self.place.saturating_add(1))? {
                Some(place) => self.place = place,
                None => return Ok(None),
            }
        }
    }

    /// The record whose frame this is, if it ends within the file.
    fn record(&self, frame: &[u8]) -> Option<Record> {
        let mut reader = Reader::new(frame);
        if reader.array()? != self.magic {
            return None;
        }
        let record = Record {
            place: self.place.checked_add(FRAME_BYTES)?,
            length: u64::from(u32::from_le_bytes(reader.array()?)),
        };
        let end = record.place.checked_add(record.length)?;
        let ends_inside = end.checked_add(self.trailer)? <= self.end;
        (self.lengths.contains(&record.length) && ends_inside).then_some(record)
    }

    fn find(&self, bytes: &[u8]) -> Option<usize> {
        if obfuscated::is_blank(bytes) {
            return None;
        }
        bytes
            .windows(self.magic.len())
            .position(|window| window == self.magic)
    }

    /// Where the magic stands next.
    fn search(&self, from: u64) -> io::Result<Option<u64>> {
        let mut from = from;
        let mut bytes = vec![0; SEARCH_BYTES];
        loop {
            let count = self.file.read_unless_blank(from, &mut bytes)?;
            let read = bytes.get(..count).unwrap_or_default();
            let found = self.find(read);
            if let Some(found) = found {
                return Ok(Some(from.saturating_add(as_u64(found))));
            }
            if count < SEARCH_BYTES {
                return Ok(None);
            }
            // The magic may begin in the last bytes of this part.
            from = from.saturating_add(as_u64(count.saturating_sub(self.magic.len() - 1)));
        }
    }
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
