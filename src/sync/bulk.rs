//! Taking in most of the chain at once, when the index is far behind.

mod feed;
mod node_feed;
#[cfg(test)]
mod tests;

use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use bitcoin::BlockHash;

use super::speed::Stretch;
use super::{ChainSource, Error};
use crate::chain::{BlockPlace, Height, Network};
use crate::error;
use crate::index::bulk::{self, Built, BulkProgress, BulkShape, PlannedBlock};
use crate::index::{self, Index, OpenBlockFile};
use crate::limits;
use crate::node::{BlockFileBytes, BlockFiles, FilesError, RestBuffer, RestError, Trouble};
use crate::query::Speed;
use node_feed::NodeFeed;

/// How much a bulk sync may take of the machine, and where blocks may lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkSettings {
    /// The node's `blocks` directory, if there may be one on this machine.
    pub block_files: Option<PathBuf>,
    /// Whether the node may be asked by REST, if it serves that.
    pub rest: bool,
    /// Threads.
    pub jobs: NonZeroUsize,
    /// Bytes of memory.
    pub memory_bytes: usize,
    /// Fewer blocks than this are taken in one by one.
    pub blocks_min: u32,
    /// Blocks at the tip that are taken in one by one.
    pub distance: u32,
    /// Where the working space lies, on the disk of the index; it is emptied.
    pub working_dir: PathBuf,
}

/// Takes in blocks in bulk.
pub(super) struct BulkSync {
    settings: BulkSettings,
    network: Network,
    stop: Arc<AtomicBool>,
    /// Set once the block files turned out not to serve.
    without_files: bool,
    /// Free bytes of the disk of a directory; a test has its own.
    free_space: fn(&Path) -> Result<u64, index::Error>,
}

/// How a bulk is getting on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stand {
    /// The blocks below the bulk, and of its own as many as its work is done.
    pub(super) indexed: u32,
    /// How fast it goes, once that can be told.
    pub(super) speed: Option<Speed>,
    /// What keeps the node from answering, while the bulk waits for it.
    pub(super) waits_for: Option<Trouble>,
}

/// What the blocks of one bulk come from.
enum Source<'a> {
    Files(&'a BlockFiles),
    Node(NodeFeed<'a>),
}

impl Source<'_> {
    fn waits_for(&self) -> Option<Trouble> {
        match self {
            Source::Files(_) => None,
            Source::Node(feed) => feed.trouble(),
        }
    }
}

impl BulkSync {
    pub(super) fn new(settings: BulkSettings, network: Network, stop: Arc<AtomicBool>) -> Self {
        Self {
            settings,
            network,
            stop,
            without_files: false,
            free_space: bulk::free_space,
        }
    }

    /// The last block to take in by bulk, when the index is so far behind that it pays.
    ///
    /// Both chains have the block `keep`; a bulk begins above the segments, which hold no block that is not in both.
    pub(super) fn target(
        &self,
        index: &Index,
        keep: Option<Height>,
        node_tip: Height,
    ) -> Option<Height> {
        let from = index.bulk_from();
        let above_keep = keep.map_or(0, |keep| keep.0.saturating_add(1));
        let last = node_tip.0.checked_sub(self.settings.distance)?;
        let many = last.checked_sub(above_keep)? >= self.settings.blocks_min;
        (many && from.0 <= above_keep).then_some(Height(last))
    }

    /// The node's block files, if they can be read here; says in the log which source it is and why.
    pub(super) fn files(&mut self) -> Option<BlockFiles> {
        let dir = self.settings.block_files.as_ref()?;
        if self.without_files {
            return None;
        }
        match BlockFiles::open(dir, self.network) {
            Ok(files) => Some(files),
            Err(reason) => {
                self.go_without_files(&reason);
                None
            }
        }
    }

    pub(super) fn go_without_files(&mut self, reason: &FilesError) {
        self.without_files = true;
        tracing::warn!(
            "blocks are asked of the node itself, which takes longer than reading its files: failed to {}",
            error::report(reason)
        );
    }

    /// Takes away what a killed bulk left behind, and lets the index read transactions from the node's files, if that is
    /// possible.
    pub(super) fn prepare(&self, index: &mut Index) -> Result<(), index::Error> {
        bulk::clear(&self.settings.working_dir)?;
        self.lend_files(index)
    }

    fn lend_files(&self, index: &mut Index) -> Result<(), index::Error> {
        let dir = self.settings.block_files.as_ref();
        match dir.map(|dir| BlockFiles::open(dir, self.network)) {
            Some(Ok(files)) => index.read_from(Arc::new(files)),
            // Whether that matters is seen when blocks are wanted of them.
            Some(Err(_)) | None => Ok(()),
        }
    }

    /// Takes in the blocks up to `last`, or as many as fit into memory and disk at a time. `told` hears how it gets on.
    pub(super) fn step(
        &mut self,
        source: &(dyn ChainSource + Send + Sync),
        index: &mut Index,
        last: Height,
        mut told: impl FnMut(Stand),
    ) -> Result<(), Error> {
        let room = (self.free_space)(&self.settings.working_dir).map_err(Error::Index)?;
        let files = self.files();
        let readers = self.readers(files.is_some());
        let epoch = self.plan(source, index.bulk_from(), last, room, readers)?;
        let by_files = files.map(|files| {
            tracing::info!(
                blocks = epoch.blocks.len(),
                "reading blocks from the node's block files"
            );
            self.take_in(&Source::Files(&files), index, &epoch, &mut told)
        });
        let built = match by_files {
            Some(Ok(built)) => {
                self.lend_files(index).map_err(Error::Index)?;
                built
            }
            Some(Err(Failure::Stopped)) => return Err(Error::Index(index::Error::Stopped)),
            Some(Err(Failure::Here(error))) => return Err(error),
            Some(Err(Failure::Files(reason))) => {
                self.go_without_files(&reason);
                self.by_node(source, index, &epoch, &mut told)?
            }
            None => self.by_node(source, index, &epoch, &mut told)?,
        };
        index.take_in(built).map_err(Error::Index)?;
        if index.bulk_from() > last {
            index.merge_all().map_err(Error::Index)?;
        }
        Ok(())
    }

    /// The node has work for more threads than we may have, because they wait for it most of the time.
    fn readers(&self, by_files: bool) -> NonZeroUsize {
        let calls = NonZeroUsize::new(limits::NODE_BULK_CALLS_MAX);
        let jobs = self.settings.jobs;
        calls
            .filter(|_| !by_files)
            .map_or(jobs, |calls| calls.max(jobs))
    }

    /// Whether the node gives the blocks of an epoch by REST; says it in the log.
    fn serves_rest(
        &self,
        source: &(dyn ChainSource + Send + Sync),
        epoch: &Epoch,
    ) -> Result<bool, Error> {
        let Some(block) = epoch.blocks.last().filter(|_| self.settings.rest) else {
            return Ok(false);
        };
        let blocks = epoch.blocks.len();
        match source.rest_block(&block.hash, &mut RestBuffer::default()) {
            Ok(()) => {
                tracing::info!(blocks, "asking the node for blocks by REST");
                Ok(true)
            }
            Err(RestError::Node(error)) => Err(Error::Node(error)),
            Err(reason) => {
                node_feed::go_without_rest(&reason);
                Ok(false)
            }
        }
    }

    fn by_node(
        &self,
        source: &(dyn ChainSource + Send + Sync),
        index: &Index,
        epoch: &Epoch,
        told: &mut impl FnMut(Stand),
    ) -> Result<Built, Error> {
        let feed = NodeFeed::new(source, self.serves_rest(source, epoch)?);
        self.take_in(&Source::Node(feed), index, epoch, told)
            .map_err(|failure| match failure {
                Failure::Here(error) => error,
                Failure::Stopped | Failure::Files(_) => Error::Index(index::Error::Stopped),
            })
    }

    /// One epoch: read, sorted and written, but not yet part of the index.
    fn take_in(
        &self,
        source: &Source<'_>,
        index: &Index,
        epoch: &Epoch,
        told: &mut impl FnMut(Stand),
    ) -> Result<Built, Failure> {
        // Where transactions have no place in a file that can be read, their ids have to be stored.
        let txids = matches!(source, Source::Node(_));
        let shape = BulkShape {
            txids,
            ..epoch.shape
        };
        let dir = &self.settings.working_dir;
        let bulk = index.bulk(dir, epoch.blocks.clone(), shape);
        let bulk = Arc::new(bulk.map_err(|error| Failure::Here(Error::Index(error)))?);
        let (jobs, readers) = (self.settings.jobs.get(), epoch.readers.get());
        let stretch = Stretch::begin(epoch.from.0);
        thread::scope(|scope| {
            let (done, outcome) = mpsc::sync_channel(1);
            let of_thread = &bulk;
            let work = move || {
                let read = feed::all(source, of_thread, readers);
                let built = read.and_then(|read| feed::build(source, of_thread, read, jobs));
                // The receiver is there until it has heard this.
                drop(done.send(built));
            };
            let thread = thread::Builder::new().name("bulk-sync".to_owned());
            thread
                .spawn_scoped(scope, work)
                .map_err(|error| Failure::Here(Error::Thread(error)))?;
            let mut full = None;
            loop {
                match outcome.recv_timeout(limits::BULK_WATCH_INTERVAL) {
                    Ok(Err(_)) if self.stop.load(Ordering::Acquire) => {
                        return Err(Failure::Stopped);
                    }
                    Ok(built) => {
                        return built.map_err(|failure| match full.take() {
                            Some(full) => Failure::Here(Error::Index(full)),
                            None => failure,
                        });
                    }
                    Err(RecvTimeoutError::Disconnected) => return Err(Failure::Stopped),
                    Err(RecvTimeoutError::Timeout) => {}
                }
                full = full.or_else(|| self.is_full());
                if full.is_some() || self.stop.load(Ordering::Acquire) {
                    bulk.stop();
                }
                let (indexed, done) = epoch.stand(&bulk.progress());
                let speed = stretch.speed(indexed, done, epoch.rest(done));
                let waits_for = source.waits_for();
                told(Stand {
                    indexed,
                    speed: speed.filter(|_| waits_for.is_none()),
                    waits_for,
                });
            }
        })
    }

    /// The error of a disk on which nothing more may be written.
    fn is_full(&self) -> Option<index::Error> {
        let free = (self.free_space)(&self.settings.working_dir).ok()?;
        let needed = limits::DISK_RESERVE_BYTES;
        (free < needed).then_some(index::Error::NoSpace { needed, free })
    }

    /// The next blocks, as many as fit, with their shape.
    fn plan(
        &self,
        source: &(dyn ChainSource + Send + Sync),
        from: Height,
        last: Height,
        room: u64,
        readers: NonZeroUsize,
    ) -> Result<Epoch, Error> {
        let most = self.transactions_max(room, readers);
        let mut blocks: Vec<PlannedBlock> = Vec::new();
        let mut transactions = 0_u64;
        let mut next = from.0;
        while next <= last.0 && transactions < most {
            let end = next.saturating_add(PLAN_BATCH - 1).min(last.0);
            let heights: Vec<_> = (next..=end).map(Height).collect();
            let hashes = source.block_hashes(&heights).map_err(Error::Node)?;
            let hashes: Option<Vec<_>> = hashes.into_iter().collect();
            let hashes = hashes.ok_or(Error::Moved)?;
            let counts = source.transaction_counts(&hashes).map_err(Error::Node)?;
            for (hash, count) in hashes.into_iter().zip(counts) {
                let count = count.ok_or(Error::Moved)?;
                if transactions >= most {
                    break;
                }
                transactions = transactions.saturating_add(u64::from(count));
                blocks.push(PlannedBlock {
                    hash,
                    transactions: count,
                });
            }
            next = end.saturating_add(1);
        }
        let needed = transactions
            .saturating_mul(SPACE_PER_TRANSACTION)
            .saturating_add(limits::DISK_RESERVE_BYTES);
        if needed > room {
            return Err(Error::Index(index::Error::NoSpace { needed, free: room }));
        }
        Ok(Epoch {
            from,
            shape: self.shape(transactions, readers),
            readers,
            blocks,
            transactions,
            last,
        })
    }

    /// How many transactions one epoch may have, so that a partition fits into the memory of each thread and its
    /// working space on the disk.
    fn transactions_max(&self, room: u64, readers: NonZeroUsize) -> u64 {
        let partitions = 1_u64 << self.partition_bits_max(readers);
        let by_memory = self.memory_per_job().saturating_mul(partitions) / MEMORY_PER_TRANSACTION;
        let by_disk = room.saturating_sub(limits::DISK_RESERVE_BYTES) / SPACE_PER_TRANSACTION;
        // With less room than for a few blocks, planning ends with the refusal that says how much is missing.
        by_memory.min(by_disk.max(u64::from(limits::COMMIT_TRANSACTIONS_MAX)))
    }

    fn shape(&self, transactions: u64, readers: NonZeroUsize) -> BulkShape {
        let mut partition_bits = PARTITION_BITS_MIN;
        let fits = |bits: u32| {
            let each = (transactions >> bits).saturating_mul(MEMORY_PER_TRANSACTION);
            each <= self.memory_per_job()
        };
        while partition_bits < self.partition_bits_max(readers) && !fits(partition_bits) {
            partition_bits += 1;
        }
        let shards = transactions / TRANSACTIONS_PER_SHARD;
        let shard_bits = shards.checked_ilog2().unwrap_or(0).min(SHARD_BITS_MAX);
        BulkShape {
            partition_bits,
            shard_bits: u8::try_from(shard_bits).unwrap_or_default(),
            txids: false,
        }
    }

    /// So many partitions that their buffers take a quarter of the memory.
    fn partition_bits_max(&self, readers: NonZeroUsize) -> u32 {
        let buffers = self.settings.memory_bytes / 4 / readers / limits::SPILL_CHUNK_BYTES;
        buffers
            .checked_ilog2()
            .unwrap_or(0)
            .clamp(PARTITION_BITS_MIN, PARTITION_BITS_MAX)
    }

    /// What a thread may use to sort a partition: half of all, without the buffers and the pages of its segment.
    fn memory_per_job(&self) -> u64 {
        let bytes = self.settings.memory_bytes / 2 / self.settings.jobs;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// Headers that are asked for at a time.
const PLAN_BATCH: u32 = 2_000;
/// Partitions are told apart by one byte and a few bits of the next.
const PARTITION_BITS_MIN: u32 = 8;
const PARTITION_BITS_MAX: u32 = 12;
const SHARD_BITS_MAX: u32 = 6;
/// Below it a shard is not worth a file.
const TRANSACTIONS_PER_SHARD: u64 = 250_000;
/// Bytes that the events of a transaction take in memory while they are sorted: about six, 49 bytes each.
const MEMORY_PER_TRANSACTION: u64 = 300;
/// Bytes on the disk for each transaction of an epoch: 110 of working space and 50 in segments.
const SPACE_PER_TRANSACTION: u64 = 160;

/// Blocks taken in by one bulk.
struct Epoch {
    from: Height,
    blocks: Vec<PlannedBlock>,
    /// Of these blocks.
    transactions: u64,
    shape: BulkShape,
    /// Threads that read blocks.
    readers: NonZeroUsize,
    /// The last block of all bulks.
    last: Height,
}

impl Epoch {
    /// Blocks indexed, and transactions of the epoch that are done. Reading is about two thirds of the work on a block.
    fn stand(&self, progress: &BulkProgress) -> (u32, u64) {
        let done = |read: u64, of: u64| {
            let sorted = of.saturating_mul(progress.parts) / progress.parts_total.max(1);
            read.saturating_mul(2).saturating_add(sorted) / 3
        };
        let blocks = done(progress.blocks, self.count());
        let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
        (
            self.from.0.saturating_add(blocks),
            done(progress.transactions, self.transactions),
        )
    }

    /// Transactions that are left when so many of the epoch are done; of the blocks above it is known only how many they
    /// are, so each counts as one of the epoch.
    fn rest(&self, done: u64) -> u64 {
        let count = self.count();
        let all = u64::from(self.last.0.saturating_sub(self.from.0)).saturating_add(1);
        let above = self.transactions.saturating_mul(all.saturating_sub(count)) / count.max(1);
        self.transactions.saturating_sub(done).saturating_add(above)
    }

    fn count(&self) -> u64 {
        u64::try_from(self.blocks.len()).unwrap_or(u64::MAX)
    }
}

/// Why an epoch came to nothing.
enum Failure {
    /// It was told to stop.
    Stopped,
    /// The block files do not serve; another source may.
    Files(FilesError),
    /// Anything else.
    Here(Error),
}

impl index::BlockFiles for BlockFiles {
    fn open(&self, file: u32) -> io::Result<Box<dyn OpenBlockFile>> {
        Ok(Box::new(self.bytes(file)?))
    }

    fn places(&self, blocks: &[BlockHash], files_max: u32) -> Vec<Option<BlockPlace>> {
        // Of a block that is not found the node itself can be asked.
        self.find(blocks, files_max)
            .unwrap_or_else(|_unreadable| vec![None; blocks.len()])
    }
}

impl OpenBlockFile for BlockFileBytes {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.fill(offset, bytes)
    }
}
