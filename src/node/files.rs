//! The node's own block files: `blk*.dat` with the blocks as they came in, `rev*.dat` with what they spend.
//!
//! They are read beside the running node and never written. Nothing in them says which blocks are of the best chain,
//! so a caller asks for blocks by hash. The undo data of a block lies in the `rev` file with the number of its `blk`
//! file, in any order; its checksum, which covers the hash of the block below, tells whose it is.

mod error;
mod numbers;
mod obfuscated;
mod records;
#[cfg(test)]
mod tests;
mod undo;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bitcoin::BlockHash;
use bitcoin::block::Header;
use bitcoin::consensus::encode;
use bitcoin::hashes::{Hash as _, HashEngine as _, sha256d};

pub use error::FilesError;

use crate::chain::reader::Reader;
use crate::chain::{BlockPlace, Network, PackedBlock, RawBlock, SpentList};
use crate::limits;
use obfuscated::{ObfuscatedFile, ObfuscationKey};
use records::{Record, Records};

/// Bytes of the checksum behind the undo data of a block.
const CHECKSUM_BYTES: usize = 32;
const FIRST: u32 = 0;

/// The directory with the block files of one network.
pub struct BlockFiles {
    dir: PathBuf,
    key: ObfuscationKey,
    magic: [u8; 4],
}

/// A block in a file, without its transactions.
#[derive(Clone, Copy, Debug)]
pub struct FoundBlock {
    /// Where it is.
    pub place: BlockPlace,
    /// Its hash.
    pub hash: BlockHash,
    /// The block below.
    pub previous: BlockHash,
    /// How many transactions it has, as it says.
    pub transactions: u64,
}

/// Memory for one block and what it spends, for use again and again.
#[derive(Default)]
pub struct BlockBuffer {
    bytes: Vec<u8>,
    /// How much of `bytes` is of the block.
    length: usize,
    undo: Vec<u8>,
    spent: SpentList,
}

impl BlockBuffer {
    /// Gives away what was read last.
    pub fn take(&mut self) -> PackedBlock {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.truncate(std::mem::take(&mut self.length));
        let spent = std::mem::take(&mut self.spent);
        PackedBlock { bytes, spent }
    }

    /// What was read last.
    pub fn block(&self) -> RawBlock<'_> {
        RawBlock {
            bytes: self.bytes.get(..self.length).unwrap_or_default(),
            spent: &self.spent,
        }
    }
}

/// An open file of blocks, without regard to where they begin.
pub struct BlockFileBytes(ObfuscatedFile);

impl BlockFileBytes {
    /// Fills `bytes` from this place on.
    pub fn fill(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_exact(offset, bytes)
    }
}

impl BlockFiles {
    /// Finds the files in the `blocks` directory of the node, and the genesis block in the first of them.
    pub fn open(dir: &Path, network: Network) -> Result<Self, FilesError> {
        let key_path = dir.join("xor.dat");
        let key = ObfuscationKey::read(&key_path);
        let key = key.map_err(|error| FilesError::of(&key_path, error))?;
        let first = dir.join(name("blk", FIRST));
        let mut head = [0; 8 + 80];
        ObfuscatedFile::open(&first, key)
            .and_then(|file| file.read(0, &mut head))
            .map_err(|error| FilesError::of(&first, error))?;
        let mut reader = Reader::new(&head);
        // A test network of one's own has a magic of its own, so it is read and not known.
        let magic = reader.array().unwrap_or_default();
        let header = reader.take(4).and_then(|_length| reader.take(80));
        let header: Option<Header> = header.and_then(|bytes| encode::deserialize(bytes).ok());
        if header.map(|header| header.block_hash()) != Some(network.genesis_hash()) {
            return Err(FilesError::OtherChain {
                path: first,
                network,
            });
        }
        Ok(Self {
            dir: dir.to_owned(),
            key,
            magic,
        })
    }

    /// Whether there is a file of this number; the numbers have no gaps.
    pub fn has(&self, number: u32) -> Result<bool, FilesError> {
        let path = self.path("blk", number);
        let there = path.try_exists();
        there.map_err(|error| FilesError::of(&path, error))
    }

    /// The highest number of a file.
    pub fn last(&self) -> Result<u32, FilesError> {
        let failed = |error| FilesError::of(&self.dir, error);
        let mut last = FIRST;
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let found = entry.map_err(failed)?.file_name();
            let digits = found
                .to_str()
                .and_then(|name| name.strip_prefix("blk")?.strip_suffix(".dat"));
            let number = digits.and_then(|digits| digits.parse().ok());
            last = number.map_or(last, |number| last.max(number));
        }
        Ok(last)
    }

    /// Where these blocks lie, as far as they are in the last so many files.
    pub fn find(
        &self,
        blocks: &[BlockHash],
        files_max: u32,
    ) -> Result<Vec<Option<BlockPlace>>, FilesError> {
        let wanted: HashSet<&BlockHash> = blocks.iter().collect();
        let mut places: HashMap<BlockHash, BlockPlace> = HashMap::new();
        let last = self.last()?;
        let lowest = last.saturating_add(1).saturating_sub(files_max);
        for number in (lowest..=last).rev() {
            if places.len() == wanted.len() {
                break;
            }
            let mut file = self.file(number)?;
            // What lies behind the last of them need not be searched.
            while places.len() < wanted.len()
                && let Some(found) = file.next_block()?
            {
                if wanted.contains(&found.hash) {
                    places.insert(found.hash, found.place);
                }
            }
        }
        let found = blocks.iter().map(|hash| places.get(hash).copied());
        Ok(found.collect())
    }

    /// Opens a file to read any part of it.
    pub fn bytes(&self, number: u32) -> io::Result<BlockFileBytes> {
        ObfuscatedFile::open(&self.path("blk", number), self.key).map(BlockFileBytes)
    }

    /// The blocks of one file and what they spend.
    pub fn file(&self, number: u32) -> Result<BlockFile, FilesError> {
        let path = self.path("blk", number);
        let records = ObfuscatedFile::open(&path, self.key)
            .and_then(|file| Records::new(file, self.magic, limits::BLOCK_BYTES, 0))
            .map_err(|error| FilesError::of(&path, error))?;
        Ok(BlockFile {
            number,
            path,
            undo_path: self.path("rev", number),
            key: self.key,
            magic: self.magic,
            records,
            undo: None,
        })
    }

    /// The error of a block that should be in the files and is not, or is not what was written.
    pub fn incomplete(&self) -> FilesError {
        FilesError::Incomplete {
            dir: self.dir.clone(),
        }
    }

    fn path(&self, kind: &str, number: u32) -> PathBuf {
        self.dir.join(name(kind, number))
    }
}

fn name(kind: &str, number: u32) -> String {
    format!("{kind}{number:05}.dat")
}

/// A `blk` file, gone through from its beginning, and its `rev` file.
pub struct BlockFile {
    number: u32,
    path: PathBuf,
    undo_path: PathBuf,
    key: ObfuscationKey,
    magic: [u8; 4],
    records: Records,
    /// Once it was needed.
    undo: Option<Undo>,
}

impl BlockFile {
    /// The next block, in the order in which the node wrote them.
    pub fn next_block(&mut self) -> Result<Option<FoundBlock>, FilesError> {
        let found = self.records.next(header);
        let found = found.map_err(|error| FilesError::of(&self.path, error))?;
        Ok(found.and_then(|(record, (header, hash, transactions))| {
            Some(FoundBlock {
                place: BlockPlace {
                    file: self.number,
                    offset: u32::try_from(record.place).ok()?,
                    length: u32::try_from(record.length).ok()?,
                },
                hash,
                previous: header.prev_blockhash,
                transactions,
            })
        }))
    }

    /// Reads a block of this file and what it spends, once: what a block spends is handed out one time. That the block has this hash is all that is known of it then; that
    /// it was connected follows from its undo data, which a block with a coinbase alone does not need.
    pub fn read(&mut self, found: &FoundBlock, buffer: &mut BlockBuffer) -> Result<(), FilesError> {
        buffer.length = usize::try_from(found.place.length).unwrap_or_default();
        let bytes = part(&mut buffer.bytes, buffer.length);
        let read = self
            .records
            .file
            .read_exact(found.place.offset.into(), bytes);
        read.map_err(|error| FilesError::of(&self.path, error))?;
        buffer.spent.clear();
        if found.transactions <= 1 {
            return Ok(());
        }
        let undo = self
            .take_undo(found, &mut buffer.undo)
            .map_err(|error| FilesError::of(&self.undo_path, error))?;
        undo.and_then(|bytes| undo::decode(bytes, &mut buffer.spent))
            .ok_or_else(|| FilesError::NoUndo {
                path: self.undo_path.clone(),
            })
    }
}

impl BlockFile {
    fn take_undo<'a>(
        &mut self,
        found: &FoundBlock,
        buffer: &'a mut Vec<u8>,
    ) -> io::Result<Option<&'a [u8]>> {
        if self.undo.is_none() {
            let file = ObfuscatedFile::open(&self.undo_path, self.key);
            self.undo = Some(match file {
                Ok(file) => Undo::of(file, self.magic)?,
                // No block of the file was connected as yet.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Undo::default(),
                Err(error) => return Err(error),
            });
        }
        match &mut self.undo {
            Some(undo) => undo.take(found, buffer),
            None => Ok(None),
        }
    }
}

/// Header, hash and number of transactions at the beginning of a block; its proof of work tells it from leftovers.
fn header(head: &[u8]) -> Option<(Header, BlockHash, u64)> {
    let mut reader = Reader::new(head);
    let header: Header = encode::deserialize(reader.take(80)?).ok()?;
    let hash = header.validate_pow(header.target()).ok()?;
    Some((header, hash, reader.compact_size()?))
}

/// Undo data of a file that no block has claimed yet.
#[derive(Default)]
struct Undo {
    file: Option<ObfuscatedFile>,
    /// By the number of transactions, so that few have to be tried.
    unclaimed: HashMap<u64, Unclaimed>,
}

/// Undo data of blocks with one number of transactions, in the order of the file, which is that of the blocks but for
/// some that came out of turn.
#[derive(Default)]
struct Unclaimed {
    records: Vec<Record>,
    /// Behind the one that was claimed last, where the next is likely to be: whoever reads the end of a file alone would
    /// otherwise try all before it for each block.
    next: usize,
}

impl Undo {
    fn of(file: ObfuscatedFile, magic: [u8; 4]) -> io::Result<Self> {
        let trailer = u64::try_from(CHECKSUM_BYTES).unwrap_or_default();
        let mut records = Records::new(file, magic, limits::UNDO_BYTES, trailer)?;
        let mut unclaimed: HashMap<u64, Unclaimed> = HashMap::new();
        let count = |head: &[u8]| Reader::new(head).compact_size();
        while let Some((record, count)) = records.next(count)? {
            unclaimed.entry(count).or_default().records.push(record);
        }
        Ok(Self {
            file: Some(records.file),
            unclaimed,
        })
    }

    /// The undo data of this block, once.
    fn take<'a>(
        &mut self,
        block: &FoundBlock,
        buffer: &'a mut Vec<u8>,
    ) -> io::Result<Option<&'a [u8]>> {
        let count = block.transactions.saturating_sub(1);
        let (Some(file), Some(of_count)) = (&self.file, self.unclaimed.get_mut(&count)) else {
            return Ok(None);
        };
        let Unclaimed { records, next } = of_count;
        let mut claimed = None;
        let in_turn = records.iter().enumerate();
        let in_turn = in_turn.clone().skip(*next).chain(in_turn.take(*next));
        for (index, record) in in_turn {
            let length = usize::try_from(record.length).unwrap_or_default();
            let bytes = part(buffer, length.saturating_add(CHECKSUM_BYTES));
            file.read_exact(record.place, bytes)?;
            if is_undo_of(block, bytes) {
                claimed = Some((index, length));
                break;
            }
        }
        Ok(claimed.and_then(|(index, length)| {
            records.remove(index);
            *next = index;
            buffer.get(..length)
        }))
    }
}

/// Whether the checksum at the end is that of the data and of the block below.
fn is_undo_of(block: &FoundBlock, data_and_checksum: &[u8]) -> bool {
    let Some((data, checksum)) = data_and_checksum.split_last_chunk::<CHECKSUM_BYTES>() else {
        return false;
    };
    let mut engine = sha256d::Hash::engine();
    engine.input(block.previous.as_byte_array());
    engine.input(data);
    sha256d::Hash::from_engine(engine).as_byte_array() == checksum
}

/// So much of a buffer, which grows when it has to.
fn part(buffer: &mut Vec<u8>, length: usize) -> &mut [u8] {
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
    buffer.get_mut(..length).unwrap_or_default()
}
