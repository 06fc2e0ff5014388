//! The confirmed part of the chain, by script hash, in redb.
//!
//! One writer appends and drops blocks; each update is one commit, after which a new [`Snapshot`] is there to be
//! read. The index is a function of the active chain alone, apart from the keys of the installation. A block leaves
//! two rows in `main.redb`: its header with a [`Commitment`], and a delta row with its txids and everything it does to
//! scripts. Delta rows are also kept in memory, where sorted runs lead into them.
//!
//! No lookup is made while writing: a spending is recorded by what the node's undo data says of the output (script,
//! height) and by a tag of its outpoint, and meets its funding when a script is read.

mod background;
mod blocks;
pub mod bulk;
mod canonical;
mod check;
mod codec;
mod commitment;
mod delta_layer;
mod digest;
mod error;
mod event;
mod groups;
mod health;
mod in_files;
mod install;
mod keys;
mod known_txids;
mod layer;
mod merge;
mod merger;
mod newest;
mod open;
mod parse;
mod recent;
mod row;
mod schema;
mod segment;
mod segments;
mod shape;
mod siphash;
mod snapshot;
mod upkeep;
mod writer;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bitcoin::{Amount, BlockHash, OutPoint, Transaction, Txid};
use redb::Database;

pub use check::{Checked, Extent};
pub use commitment::Commitment;
pub use digest::Digests;
pub use error::{BlockFault, BlockFilesFault, Error};
pub use health::Health;
pub use keys::Keys;
pub use known_txids::KnownTxids;
pub use layer::Effort;
pub use shape::Shape;
pub use snapshot::{Proven, Snapshot};

use crate::chain::{BlockPlace, EntryHeight, Height, HistoryEntry, Network, RawBlock};
use crate::limits;
use background::Background;
use blocks::Blocks;
use keys::KeyedHash;
use merger::Merging;
use newest::NewestPlaces;
use recent::Recent;
use schema::Tables;
use segment::SegmentId;
use segment::cache::CacheBudget;
use segment::store::{Directory, Store};
use segments::Segments;
use snapshot::Parts;

/// First 64 bits of a keyed hash of the script hash: the key of a script inside this installation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScriptPrefix(pub u64);

/// A confirmed transaction of a script.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ConfirmedEntry {
    /// The transaction.
    pub txid: Txid,
    /// Height of its block.
    pub height: Height,
}

impl From<ConfirmedEntry> for HistoryEntry {
    fn from(entry: ConfirmedEntry) -> Self {
        Self {
            txid: entry.txid,
            height: EntryHeight::Confirmed(entry.height),
        }
    }
}

/// A confirmed output that no block spends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ConfirmedUnspent {
    /// The output.
    pub outpoint: OutPoint,
    /// Height of the block that created it.
    pub height: Height,
    /// What it holds.
    pub amount: Amount,
}

/// Whose an output is and what it holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FundedOutput {
    /// The script it pays to.
    pub prefix: ScriptPrefix,
    /// What it holds.
    pub amount: Amount,
}

/// Gives whole transactions of the chain, where the index itself has too little of them.
pub trait TransactionReader {
    /// The transactions in these blocks of the chain; `None` for one that cannot be had now.
    fn transactions(&self, wanted: &[(Txid, BlockHash)]) -> Vec<Option<Transaction>>;
}

/// The node's block files, for transactions of which the index knows the place.
pub trait BlockFiles: Send + Sync {
    /// Opens a file; it is closed again after a question, so that nothing tells what was asked.
    fn open(&self, file: u32) -> io::Result<Box<dyn OpenBlockFile>>;

    /// Where these blocks lie, as far as they are in the newest files, of which so many are looked through at most.
    fn places(&self, blocks: &[BlockHash], files_max: u32) -> Vec<Option<BlockPlace>>;
}

/// One of the node's block files.
pub trait OpenBlockFile {
    /// Fills `bytes` from this place on, as they were before the node obfuscated them.
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
}

/// What tests set and the product never does.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Options {
    /// Keys for an index about to be created, instead of random ones; with equal keys digests can be compared.
    pub keys: Option<Keys>,
    /// Bits of an outpoint tag; fewer than 32 make tags collide.
    pub tag_bits: u32,
    /// How large its parts are.
    pub shape: Shape,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keys: None,
            tag_bits: u32::BITS,
            shape: Shape::default(),
        }
    }
}

/// Scripts that an update changed.
pub enum Touched {
    /// These, sorted.
    Scripts(Vec<ScriptPrefix>),
    /// More than the index can name.
    Everything,
}

/// The one writer of an index.
pub struct Index {
    network: Network,
    keyed: KeyedHash,
    shape: Shape,
    recent: Recent,
    newest: NewestPlaces,
    segments: Arc<Segments>,
    snapshot: Arc<Snapshot>,
    /// Set while what the files hold is not known to be what the snapshot says.
    failed: bool,
    merging: Option<Merging>,
    scrubbing: Option<Background<()>>,
    /// When all segments were looked at last, or the index was opened.
    scrubbed: Instant,
    store: Arc<dyn Store>,
    budget: Arc<CacheBudget>,
    health: Health,
    files: Option<Arc<dyn BlockFiles>>,
    database: Database,
    /// Keeps other instances out; released after the database is closed.
    _lock: Option<File>,
}

impl Index {
    /// Opens the index in this directory, or creates both.
    pub fn open(dir: &Path, network: Network) -> Result<Self, Error> {
        Self::open_with(dir, network, &Options::default())
    }

    /// As [`Index::open`], for tests.
    #[doc(hidden)]
    pub fn open_with(dir: &Path, network: Network, options: &Options) -> Result<Self, Error> {
        error::guarded("open the index", || {
            let (database, lock) = open::database(dir, network, options)?;
            let store = Arc::new(Directory::open(dir.join(open::SEGMENTS))?);
            Self::from_database(database, store, Some(lock), network, options)
        })
    }

    fn from_database(
        database: Database,
        store: Arc<dyn Store>,
        lock: Option<File>,
        network: Network,
        options: &Options,
    ) -> Result<Self, Error> {
        let budget = CacheBudget::new(limits::SEGMENT_READ_CACHE_BYTES);
        let tables = open::tables(&database)?;
        let identity = open::identity(&tables, network)?;
        let keyed = KeyedHash::new(identity.keys, options.tag_bits);
        let (blocks, segments, recent) = open::load(&tables, &identity, &keyed, &*store, &budget)?;
        let segments = Arc::new(segments);
        let health = Health::default();
        let parts = Parts {
            blocks,
            segments: Arc::clone(&segments),
            recent: recent.clone(),
            newest: NewestPlaces::default(),
            tables,
        };
        let snapshot = Snapshot::new(network, keyed, health.clone(), parts);
        Ok(Self {
            network,
            keyed,
            shape: options.shape,
            recent,
            newest: NewestPlaces::default(),
            segments,
            snapshot: Arc::new(snapshot),
            failed: false,
            merging: None,
            scrubbing: None,
            scrubbed: Instant::now(),
            store,
            budget,
            health,
            files: None,
            database,
            _lock: lock,
        })
    }

    /// Reads transactions, of which it knows the place, from these files from now on. Some are read at once, so that
    /// files of another synchronisation of the node are refused.
    pub fn read_from(&mut self, files: Arc<dyn BlockFiles>) -> Result<(), Error> {
        self.files = Some(files);
        self.renew_files()?;
        self.compare_with_files()
    }

    fn renew_files(&mut self) -> Result<(), Error> {
        let open = self.segments.all().map(Arc::clone).collect();
        let blocks = self.snapshot.blocks().clone();
        let tables = error::guarded("open the index", || Tables::open(&self.database))?;
        self.segments = Arc::new(Segments::assemble(
            open,
            blocks.clone(),
            self.files.clone(),
        )?);
        self.newest = NewestPlaces::default();
        self.find_newest(&blocks, limits::NEWEST_FILES_MAX);
        self.renew(blocks, tables);
        Ok(())
    }

    /// Looks where the blocks with delta rows lie in the node's files, unless that is known.
    fn find_newest(&mut self, blocks: &Blocks, files_max: u32) {
        let rows = self.recent.rows();
        let hashes = rows.filter_map(|row| blocks.get(row.height).map(|block| block.hash));
        self.newest = self.newest.of(hashes, self.files.as_deref(), files_max);
    }

    fn renew(&mut self, blocks: Blocks, tables: Tables) {
        let parts = Parts {
            blocks,
            segments: Arc::clone(&self.segments),
            recent: self.recent.clone(),
            newest: self.newest.clone(),
            tables,
        };
        let health = self.health.clone();
        self.snapshot = Arc::new(Snapshot::new(self.network, self.keyed, health, parts));
    }

    /// What is found wrong with it from now on.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// The state after the last commit.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot)
    }

    /// The highest block up to `keep` above which blocks can be dropped: below the delta rows only whole segments can
    /// go. `None`: all of them have to.
    pub fn keepable(&self, keep: Option<Height>) -> Option<Height> {
        let count = keep.map_or(0, |height| height.0.saturating_add(1));
        if count >= self.segments.count() {
            return keep;
        }
        let count = self.segments.keepable(count);
        count.checked_sub(1).map(Height)
    }

    /// Drops the blocks above `keep` (all of them for `None`) and appends `connect`, in one commit; then does what has
    /// become due, see [`Index::tend`].
    ///
    /// `keep` is [`keepable`](Index::keepable). Returns the scripts touched by either, after the commit. Blocks that do
    /// not fit are refused without any change ([`Error::Block`]). After a failed write every update fails
    /// ([`Error::Failed`]): what reached the disk is known only when the index is opened again.
    pub fn update_raw(
        &mut self,
        keep: Option<Height>,
        connect: &[RawBlock<'_>],
    ) -> Result<Touched, Error> {
        if self.failed {
            return Err(Error::Failed);
        }
        if let Some(inside) = keep.filter(|_| self.keepable(keep) != keep) {
            return Err(Error::KeepInsideSegment(inside));
        }
        let plan = writer::plan(&self.snapshot, self.network, &self.keyed, keep, connect)?;
        if plan.is_empty(self.snapshot.tip()) {
            return Ok(Touched::Scripts(Vec::new()));
        }
        let (blocks, recent, touched) = plan.apply(&self.snapshot, &self.recent, &self.keyed)?;
        let kept = keep.map_or(0, |height| height.0.saturating_add(1));
        let dropped = self.segments.above(kept);
        if !dropped.is_empty() {
            // What is being merged may go; the next merge is planned anew.
            self.merging = None;
        }
        self.failed = true;
        let tables = error::guarded("write the index", || {
            plan.commit(&self.database, &dropped)?;
            Tables::open(&self.database)
        })?;
        if !dropped.is_empty() {
            self.forget(&dropped, &blocks)?;
        }
        self.recent = recent;
        // Of many that come together, in catching up, the node may have written others since.
        let files_max = match connect {
            [_] => limits::TIP_FILES_MAX,
            _ => limits::NEWEST_FILES_MAX,
        };
        self.find_newest(&blocks, files_max);
        self.renew(blocks, tables);
        self.failed = false;
        self.tend()?;
        Ok(if dropped.is_empty() {
            Touched::Scripts(touched)
        } else {
            Touched::Everything
        })
    }

    /// Closes and deletes segments that the manifest no longer names.
    fn forget(&mut self, dropped: &[SegmentId], blocks: &Blocks) -> Result<(), Error> {
        let all = self.segments.all().map(Arc::clone);
        let kept = all.filter(|segment| !dropped.contains(&segment.file.id));
        self.segments = Arc::new(Segments::assemble(
            kept.collect(),
            blocks.clone(),
            self.files.clone(),
        )?);
        upkeep::remove_orphans(&*self.store, &self.segments)
    }

    /// Digests of what is stored, however it is laid out; reads all of it.
    pub fn digest(&self) -> Result<Digests, Error> {
        let tip = self.snapshot.tip();
        let commitment = match tip {
            Some(tip) => self.snapshot.commitment(tip.height)?,
            None => None,
        };
        Ok(Digests {
            tip,
            commitment,
            tables: digest::of(&self.snapshot)?,
        })
    }
}
