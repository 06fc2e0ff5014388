//! Many blocks at a time, in any order, straight into segments.
//!
//! The hashes and transaction counts of all blocks are known before the first is read, so every transaction has its
//! number at once and threads can take blocks as they come. What a block does to scripts is scattered over partitions
//! by the first bits of the prefix; then each of them is sorted in memory, which lets the creation and the consumption of
//! an output meet, and what is left goes into segments, written once and in order. Nothing is looked up, unless blocks come
//! from a source that does not tell where what they spend was created.
//!
//! A bulk is whole or not at all: only [`Index::install`](super::Index::install) makes what it built count.

mod build;
mod install;
mod numbers;
mod partition;
mod placing;
mod records;
mod spill;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bitcoin::BlockHash;
use bitcoin::hashes::Hash as _;

pub use build::{Built, Totals};
pub use placing::Again;

use super::commitment::Commitment;
use super::error::{BlockFault, Error};
use super::event::{self, EVENT_BYTES_MAX};
use super::keys::KeyedHash;
use super::parse::{Parsed, Standing};
use super::segment::store::Store;
use super::segments::Segments;
use crate::chain::{BlockPlace, Height, RawBlock, TxNum};
use numbers::Numbers;
use records::{RecordFile, RecordWriter};
use spill::{DAMAGED, Spill, SpillWriter};

/// Parts of the fingerprints: one for each first byte.
const FINGERPRINT_PARTS: usize = 256;
/// Bytes of a fingerprint in its file, the first left out, and of the longest step of a number.
const FINGERPRINT_BYTES_MAX: usize = 4 + 5;

/// A block that a bulk is to take in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedBlock {
    /// Its hash.
    pub hash: BlockHash,
    /// How many transactions it has.
    pub transactions: u32,
}

/// What a bulk stands on.
#[derive(Clone, Copy)]
pub(super) struct Ground {
    /// Height of the first block of the bulk.
    pub(super) from: Height,
    /// Hash of the block below; zero below the genesis block.
    pub(super) hash: BlockHash,
    /// Commitment of the block below.
    pub(super) commitment: Commitment,
    /// Number of the first transaction.
    pub(super) first: TxNum,
}

/// How a bulk divides its work.
#[derive(Clone, Copy, Debug)]
pub struct BulkShape {
    /// `2^partition_bits` partitions, each of which one thread sorts in memory; 8 to 12.
    pub partition_bits: u32,
    /// `2^shard_bits` segments of each kind; at most as many as partitions.
    pub shard_bits: u8,
    /// Whether txids are stored; otherwise places, by which transactions can be read from the node's files.
    pub txids: bool,
}

/// The work, shared by all threads.
pub struct Bulk {
    keyed: KeyedHash,
    store: Arc<dyn Store>,
    dir: PathBuf,
    ground: Ground,
    /// What the index has below the ground, if it has anything.
    below: Option<Arc<Segments>>,
    blocks: Vec<PlannedBlock>,
    numbers: Numbers,
    /// First bytes of each hash, sorted, and which block it is.
    by_hash: Vec<(u64, u32)>,
    claimed: Vec<AtomicBool>,
    shape: BulkShape,
    events: Spill,
    fingerprints: Spill,
    workers: AtomicUsize,
    /// Whether a block came of which it is not known where all it spends was created.
    lacks_heights: AtomicBool,
    stopped: AtomicBool,
    progress: Counters,
}

#[derive(Default)]
struct Counters {
    blocks: AtomicU64,
    transactions: AtomicU64,
    events: AtomicU64,
    parts: AtomicU64,
}

/// How far a bulk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkProgress {
    /// Blocks taken in.
    pub blocks: u64,
    /// Transactions of these.
    pub transactions: u64,
    /// Partitions sorted.
    pub parts: u64,
    /// Partitions in all.
    pub parts_total: u64,
}

impl Bulk {
    /// `dir` is emptied; it is the working space.
    pub(super) fn new(
        keyed: KeyedHash,
        store: Arc<dyn Store>,
        dir: &Path,
        ground: Ground,
        blocks: Vec<PlannedBlock>,
        shape: BulkShape,
    ) -> Result<Self, Error> {
        spill::empty_directory(dir)?;
        let counts = blocks.iter().map(|block| block.transactions);
        let numbers = Numbers::new(ground.from, ground.first, counts).ok_or(Error::Incomplete)?;
        let mut by_hash: Vec<_> = (0..)
            .zip(&blocks)
            .map(|(at, block)| (start(&block.hash), at))
            .collect();
        by_hash.sort_unstable();
        Ok(Self {
            keyed,
            store,
            dir: dir.to_owned(),
            ground,
            below: None,
            numbers,
            by_hash,
            claimed: blocks.iter().map(|_| AtomicBool::new(false)).collect(),
            blocks,
            events: Spill::create(&dir.join("scripts"), 1 << shape.partition_bits)?,
            fingerprints: Spill::create(&dir.join("txids"), FINGERPRINT_PARTS)?,
            shape,
            workers: AtomicUsize::new(0),
            lacks_heights: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            progress: Counters::default(),
        })
    }

    /// The same above these segments, in which outputs are that blocks spend without saying where they were created.
    pub(super) fn above(mut self, segments: &Arc<Segments>) -> Self {
        self.below = (self.ground.from > Height(0)).then(|| Arc::clone(segments));
        self
    }

    /// The blocks wanted, from the lowest up.
    pub fn blocks(&self) -> &[PlannedBlock] {
        &self.blocks
    }

    /// Takes it upon the caller to bring this block in; `None` when it is not wanted or taken already.
    pub fn claim(&self, hash: &BlockHash) -> Option<Height> {
        let start = start(hash);
        let from = self.by_hash.partition_point(|(other, _)| *other < start);
        let candidates = self.by_hash.iter().skip(from);
        let (_, at) = candidates
            .take_while(|(other, _)| *other == start)
            .find(|(_, at)| self.block(*at).is_some_and(|block| block.hash == *hash))?;
        let claimed = self.claimed.get(usize::try_from(*at).ok()?)?;
        (!claimed.swap(true, Ordering::Relaxed))
            .then_some(Height(self.ground.from.0.checked_add(*at)?))
    }

    /// Whether every block was taken in.
    pub fn is_complete(&self) -> bool {
        u64::try_from(self.blocks.len()) == Ok(self.progress.blocks.load(Ordering::Relaxed))
    }

    /// Lets all threads end with [`Error::Stopped`].
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// How far it is.
    pub fn progress(&self) -> BulkProgress {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BulkProgress {
            blocks: now(&self.progress.blocks),
            transactions: now(&self.progress.transactions),
            parts: now(&self.progress.parts),
            parts_total: u64::try_from(self.events.parts()).unwrap_or(u64::MAX),
        }
    }

    /// Makes a thread ready to bring blocks in.
    pub fn worker(&self) -> Result<BulkWorker<'_>, Error> {
        let number = self.workers.fetch_add(1, Ordering::Relaxed);
        Ok(BulkWorker {
            bulk: self,
            parsed: Parsed::default(),
            events: self.events.writer(),
            fingerprints: self.fingerprints.writer(),
            records: RecordWriter::create(&self.dir.join(format!("blocks-{number:04}")))?,
        })
    }

    fn block(&self, at: u32) -> Option<&PlannedBlock> {
        self.blocks.get(usize::try_from(at).ok()?)
    }

    fn lacks_heights(&self) -> bool {
        self.lacks_heights.load(Ordering::Relaxed)
    }

    /// Hash of the block below the one at this index.
    fn below(&self, at: u32) -> Option<BlockHash> {
        match at.checked_sub(1) {
            Some(below) => self.block(below).map(|block| block.hash),
            None => Some(self.ground.hash),
        }
    }

    /// Whether all threads are to end.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn go_on(&self) -> Result<(), Error> {
        if self.is_stopped() {
            Err(Error::Stopped)
        } else {
            Ok(())
        }
    }
}

/// A thread that brings blocks in.
pub struct BulkWorker<'a> {
    bulk: &'a Bulk,
    parsed: Parsed,
    events: SpillWriter<'a>,
    fingerprints: SpillWriter<'a>,
    records: RecordWriter,
}

impl BulkWorker<'_> {
    /// Takes a block in that was claimed; `place` is where it stands in the node's files, if it does.
    pub fn add(
        &mut self,
        height: Height,
        place: Option<BlockPlace>,
        block: RawBlock<'_>,
    ) -> Result<(), Error> {
        self.bulk.go_on()?;
        self.read(height, block)
            .map_err(|fault| Error::Block { height, fault })?;
        for event in &self.parsed.events {
            let part = event.prefix.0 >> (u64::BITS - self.bulk.shape.partition_bits);
            let part = usize::try_from(part).map_err(|_overflow| DAMAGED)?;
            self.events.push(part, EVENT_BYTES_MAX, |chunk| {
                event.put(&mut chunk.bytes, &mut chunk.before);
            })?;
        }
        if block.spent.lacks_heights() {
            self.bulk.lacks_heights.store(true, Ordering::Relaxed);
        }
        let first = self.bulk.numbers.of(height).ok_or(DAMAGED)?;
        for (number, txid) in first.zip(&self.parsed.txids) {
            let txid = bitcoin::Txid::from_byte_array(*txid);
            let [part, a, b, c, d, ..] = self.bulk.keyed.fingerprint(&txid).0.to_be_bytes();
            self.fingerprints
                .push(part.into(), FINGERPRINT_BYTES_MAX, |chunk| {
                    chunk.bytes.extend_from_slice(&[a, b, c, d]);
                    event::put_step(&mut chunk.bytes, number, &mut chunk.before);
                })?;
        }
        self.record(height, place, block)?;
        self.count();
        Ok(())
    }

    /// Writes what is left in its buffers.
    pub fn finish(self) -> Result<Contribution, Error> {
        self.events.finish()?;
        self.fingerprints.finish()?;
        self.records.finish().map(Contribution)
    }

    /// Takes a block apart, once it is the one that was planned for this height; alone only for measuring.
    #[doc(hidden)]
    pub fn read(&mut self, height: Height, block: RawBlock<'_>) -> Result<(), BlockFault> {
        let at = height.0.checked_sub(self.bulk.ground.from.0);
        let planned = at.and_then(|at| Some((self.bulk.block(at)?, self.bulk.below(at)?)));
        let (planned, below) = planned.ok_or(BlockFault::Predecessor)?;
        let header = block.header().ok_or(BlockFault::Undecodable)?;
        let hash = header
            .validate_pow(header.target())
            .map_err(|_error| BlockFault::ProofOfWork)?;
        if hash != planned.hash || header.prev_blockhash != below {
            return Err(BlockFault::Predecessor);
        }
        let numbers = self.bulk.numbers.of(height).ok_or(BlockFault::TooLarge)?;
        let standing = Standing {
            height,
            first: TxNum(numbers.start),
        };
        self.parsed.read(standing, block, &self.bulk.keyed)?;
        if self.parsed.txids.len() == numbers.len() {
            Ok(())
        } else {
            Err(BlockFault::TransactionCount)
        }
    }

    /// Hashes the touches of the block that was read last, as [`Self::add`] does, with those of the one before; alone
    /// only for measuring.
    #[doc(hidden)]
    pub fn commit(&mut self) {
        self.parsed.put_touches(self.records.touches());
        self.records.hash_enough();
    }

    fn record(
        &mut self,
        height: Height,
        place: Option<BlockPlace>,
        block: RawBlock<'_>,
    ) -> Result<(), Error> {
        self.parsed.put_touches(self.records.touches());
        let lengths = &self.parsed.lengths;
        let of_transactions: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
        let length = u64::try_from(block.bytes.len()).map_err(|_overflow| DAMAGED)?;
        let head = length.checked_sub(of_transactions).ok_or(DAMAGED)?;
        let first = place.map(|place| (place.file, u64::from(place.offset).saturating_add(head)));
        let header = block.bytes.get(..80).ok_or(DAMAGED)?;
        let hashes = if self.bulk.shape.txids {
            &self.parsed.txids
        } else {
            &self.parsed.nodes
        };
        self.records.push(height, header, lengths, first, hashes)
    }

    fn count(&self) {
        let add = |counter: &AtomicU64, count: usize| {
            counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
        };
        let progress = &self.bulk.progress;
        add(&progress.blocks, 1);
        add(&progress.transactions, self.parsed.txids.len());
        add(&progress.events, self.parsed.events.len());
    }
}

/// What one thread brought in.
pub struct Contribution(RecordFile);

/// The bytes of a hash that differ most, as a number.
fn start(hash: &BlockHash) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = hash.to_byte_array();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Takes the working space of a bulk away.
pub fn clear(dir: &Path) -> Result<(), Error> {
    spill::remove_directory(dir)
}

/// Free bytes of the disk on which this directory lies, or is to lie.
pub fn free_space(dir: &Path) -> Result<u64, Error> {
    let there = dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(dir);
    let space = rustix::fs::statvfs(there);
    let space =
        space.map_err(|error| super::error::io("look for room on the disk")(error.into()))?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}
