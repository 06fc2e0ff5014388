//! Files in which what belongs together is collected before it is sorted: one file for all parts of a key space.
//!
//! Several threads write, each from buffers of its own. A part is a row of regions of the file, and a region a row of
//! chunks, each with its length before it: so a part is read in large pieces, and there is one file to make and to open
//! however many parts there are. Nothing here outlasts the sync: a new one begins with an empty directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::index::codec::Reader;
use crate::index::error::{self, Error};
use crate::limits;

const WRITE: &str = "write to the working space of the index";
const READ: &str = "read from the working space of the index";
pub(super) const DAMAGED: Error = Error::Damaged { attempt: READ };

/// Bytes of the length before a chunk.
const LENGTH_BYTES: usize = 4;
/// Bytes of a region; those of the file that no chunk fills take no room on the disk.
const REGION_BYTES: usize = 64 * limits::SPILL_CHUNK_BYTES;

/// Makes a directory of this name, empty.
pub(super) fn empty_directory(path: &Path) -> Result<(), Error> {
    remove_directory(path)?;
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(error::io(WRITE))
}

/// Takes a directory away with what is in it.
pub(super) fn remove_directory(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error::io(WRITE)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A new file of ours, to write and to read.
pub(super) fn create(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    options.open(path).map_err(error::io(WRITE))
}

/// The file, and where its parts are.
pub(super) struct Spill {
    file: File,
    /// Where the next region begins.
    end: AtomicU64,
    parts: Vec<Mutex<Vec<Region>>>,
}

/// A piece of the file in which the chunks of one part stand.
struct Region {
    begin: u64,
    /// Bytes of its chunks.
    length: usize,
}

impl Spill {
    pub(super) fn create(path: &Path, parts: usize) -> Result<Self, Error> {
        Ok(Self {
            file: create(path)?,
            end: AtomicU64::new(0),
            parts: (0..parts).map(|_| Mutex::default()).collect(),
        })
    }

    pub(super) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Buffers for one thread.
    pub(super) fn writer(&self) -> SpillWriter<'_> {
        SpillWriter {
            spill: self,
            chunks: self.parts.iter().map(|_| Chunk::default()).collect(),
        }
    }

    /// Puts the chunks of a part into a buffer.
    pub(super) fn read(&self, part: usize, chunks: &mut Vec<u8>) -> Result<(), Error> {
        chunks.clear();
        for region in lock(self.parts.get(part).ok_or(DAMAGED)?).iter() {
            let from = chunks.len();
            chunks.resize(from + region.length, 0);
            let place = chunks.get_mut(from..).ok_or(DAMAGED)?;
            self.file
                .read_exact_at(place, region.begin)
                .map_err(error::io(READ))?;
        }
        Ok(())
    }

    fn append(&self, part: usize, chunk: &mut Chunk) -> Result<(), Error> {
        let Some(length) = chunk.bytes.len().checked_sub(LENGTH_BYTES) else {
            return Ok(());
        };
        let length = u32::try_from(length).map_err(|_overflow| DAMAGED)?;
        if let Some(place) = chunk.bytes.first_chunk_mut() {
            *place = length.to_le_bytes();
        }
        let at = self.claim(part, chunk.bytes.len())?;
        self.file
            .write_all_at(&chunk.bytes, at)
            .map_err(error::io(WRITE))?;
        chunk.bytes.clear();
        chunk.before = 0;
        Ok(())
    }

    /// Where so many further bytes of a part go.
    fn claim(&self, part: usize, bytes: usize) -> Result<u64, Error> {
        let mut regions = lock(self.parts.get(part).ok_or(DAMAGED)?);
        let fits = |region: &&mut Region| region.length + bytes <= REGION_BYTES;
        if let Some(region) = regions.last_mut().filter(fits) {
            let at = region.begin + u64::try_from(region.length).map_err(|_overflow| DAMAGED)?;
            region.length += bytes;
            return Ok(at);
        }
        let step = u64::try_from(REGION_BYTES).map_err(|_overflow| DAMAGED)?;
        let begin = self.end.fetch_add(step, Ordering::Relaxed);
        regions.push(Region {
            begin,
            length: bytes,
        });
        Ok(begin)
    }
}

/// One thread's buffers.
pub(super) struct SpillWriter<'a> {
    spill: &'a Spill,
    chunks: Vec<Chunk>,
}

/// What goes to one part at a time.
#[derive(Default)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    /// The last number in it, from which the next one counts.
    pub(super) before: u32,
}

impl SpillWriter<'_> {
    /// Appends what `put` writes, at most `bytes_max` long, to a part.
    pub(super) fn push(
        &mut self,
        part: usize,
        bytes_max: usize,
        put: impl FnOnce(&mut Chunk),
    ) -> Result<(), Error> {
        let chunk = self.chunks.get_mut(part).ok_or(DAMAGED)?;
        if chunk.bytes.len() + bytes_max > limits::SPILL_CHUNK_BYTES {
            self.spill.append(part, chunk)?;
        }
        if chunk.bytes.is_empty() {
            chunk.bytes.reserve_exact(limits::SPILL_CHUNK_BYTES);
            chunk.bytes.extend_from_slice(&[0; LENGTH_BYTES]);
        }
        put(chunk);
        Ok(())
    }

    /// Writes what is left.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        for (part, chunk) in self.chunks.iter_mut().enumerate() {
            self.spill.append(part, chunk)?;
        }
        Ok(())
    }
}

/// Reads every chunk of a part.
pub(super) fn each_chunk(
    bytes: &[u8],
    mut read: impl FnMut(Reader<'_>) -> Option<()>,
) -> Result<(), Error> {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let chunk = reader
            .array()
            .and_then(|length| usize::try_from(u32::from_le_bytes(length)).ok())
            .and_then(|length| reader.take(length));
        chunk
            .and_then(|chunk| read(Reader::new(chunk)))
            .ok_or(DAMAGED)?;
    }
    Ok(())
}

fn lock(regions: &Mutex<Vec<Region>>) -> std::sync::MutexGuard<'_, Vec<Region>> {
    regions.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than a region holds, from two threads' buffers, for two parts.
    #[test]
    fn what_is_scattered_over_regions_is_read_again() {
        const PUSHED: u32 = 300_000;
        let dir = tempfile::tempdir().unwrap();
        let spill = Spill::create(&dir.path().join("spill"), 3).unwrap();
        let mut writers = [spill.writer(), spill.writer()];
        for number in 0..PUSHED {
            let writer = &mut writers[usize::from(number % 3 == 0)];
            let part = usize::from(number % 5 == 0);
            let put = |chunk: &mut Chunk| {
                chunk.bytes.extend_from_slice(&number.to_be_bytes());
                chunk.bytes.extend_from_slice(&[7; 8]);
            };
            writer.push(part, 12, put).unwrap();
        }
        for writer in writers {
            writer.finish().unwrap();
        }
        let mut chunks = Vec::new();
        for part in 0..3 {
            spill.read(part, &mut chunks).unwrap();
            let mut numbers = Vec::new();
            each_chunk(&chunks, |mut chunk| {
                while !chunk.is_empty() {
                    numbers.push(u32::from_be_bytes(chunk.array()?));
                    assert_eq!(chunk.take(8)?, [7; 8]);
                }
                Some(())
            })
            .unwrap();
            numbers.sort_unstable();
            let expected = (0..PUSHED).filter(|number| usize::from(number % 5 == 0) == part);
            assert!(numbers.into_iter().eq(expected));
        }
    }
}
