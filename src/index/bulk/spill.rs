//! Files in which what belongs together is collected before it is sorted: one for each part of the key space.
//!
//! Several threads write, each from buffers of its own; a file is a row of chunks, each with its length before it. Files
//! are opened for each chunk, because there may be more of them than a process may have open. Nothing here outlasts the
//! sync: a new one begins with an empty directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::index::codec::Reader;
use crate::index::error::{self, Error};
use crate::limits;

const WRITE: &str = "write to the working space of the index";
const READ: &str = "read from the working space of the index";
pub(super) const DAMAGED: Error = Error::Damaged { attempt: READ };

/// Bytes of the length before a chunk.
const LENGTH_BYTES: usize = 4;

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

/// A new file of ours, to append to and to read.
pub(super) fn create(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    options.open(path).map_err(error::io(WRITE))
}

/// The files.
pub(super) struct Spill {
    dir: PathBuf,
    name: &'static str,
    /// Bytes in each.
    parts: Vec<Mutex<u64>>,
}

impl Spill {
    pub(super) fn new(dir: &Path, name: &'static str, parts: usize) -> Self {
        Self {
            dir: dir.to_owned(),
            name,
            parts: (0..parts).map(|_| Mutex::new(0)).collect(),
        }
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

    /// What one file holds; it is removed.
    pub(super) fn take(&self, part: usize) -> Result<Vec<u8>, Error> {
        let path = self.path(part);
        match fs::read(&path) {
            Ok(bytes) => {
                let expected = self.parts.get(part).map(|length| *lock(length));
                if u64::try_from(bytes.len()).ok() != expected {
                    return Err(DAMAGED);
                }
                fs::remove_file(&path).map_err(error::io(READ))?;
                Ok(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error::io(READ)(error)),
        }
    }

    fn append(&self, part: usize, chunk: &mut Chunk) -> Result<(), Error> {
        let Some(length) = chunk.bytes.len().checked_sub(LENGTH_BYTES) else {
            return Ok(());
        };
        let length = u32::try_from(length).map_err(|_overflow| DAMAGED)?;
        if let Some(place) = chunk.bytes.first_chunk_mut() {
            *place = length.to_le_bytes();
        }
        // Two halves of chunks must not meet.
        let mut written = lock(self.parts.get(part).ok_or(DAMAGED)?);
        create(&self.path(part))?
            .write_all(&chunk.bytes)
            .map_err(error::io(WRITE))?;
        let count = u64::try_from(chunk.bytes.len()).map_err(|_overflow| DAMAGED)?;
        *written = written.saturating_add(count);
        chunk.bytes.clear();
        chunk.before = 0;
        Ok(())
    }

    fn path(&self, part: usize) -> PathBuf {
        self.dir.join(format!("{}-{part:04}", self.name))
    }
}

/// One thread's buffers.
pub(super) struct SpillWriter<'a> {
    spill: &'a Spill,
    chunks: Vec<Chunk>,
}

/// What goes to one file at a time.
#[derive(Default)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    /// The last number in it, from which the next one counts.
    pub(super) before: u32,
}

impl SpillWriter<'_> {
    /// Appends what `put` writes, at most `bytes_max` long, to a file.
    pub(super) fn push(
        &mut self,
        part: usize,
        bytes_max: usize,
        put: impl FnOnce(&mut Chunk) -> Option<()>,
    ) -> Result<(), Error> {
        let chunk = self.chunks.get_mut(part).ok_or(DAMAGED)?;
        if chunk.bytes.len() + bytes_max > limits::SPILL_CHUNK_BYTES {
            self.spill.append(part, chunk)?;
        }
        if chunk.bytes.is_empty() {
            chunk.bytes.reserve_exact(limits::SPILL_CHUNK_BYTES);
            chunk.bytes.extend_from_slice(&[0; LENGTH_BYTES]);
        }
        put(chunk).ok_or(DAMAGED)
    }

    /// Writes what is left.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        for (part, chunk) in self.chunks.iter_mut().enumerate() {
            self.spill.append(part, chunk)?;
        }
        Ok(())
    }
}

/// Reads every chunk of a file.
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

fn lock(length: &Mutex<u64>) -> std::sync::MutexGuard<'_, u64> {
    length.lock().unwrap_or_else(PoisonError::into_inner)
}
