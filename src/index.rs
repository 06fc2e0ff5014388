//! The confirmed part of the chain, by script hash, in redb.
//!
//! One writer appends and drops blocks; each update is one commit, after which a new [`Snapshot`] is there to be
//! read. The index is a function of the active chain alone, apart from the keys of the installation. A block leaves
//! three rows in `main.redb`: its header with a [`Commitment`], its txids, and a delta row with everything it does
//! to scripts. Delta rows are also kept in memory, where sorted runs lead into them.
//!
//! No lookup is made while writing: a spending is recorded by what the node's undo data says of the output (script,
//! height) and by a tag of its outpoint, and meets its funding when a script is read.

mod blocks;
mod codec;
mod commitment;
mod delta_layer;
mod digest;
mod error;
mod keys;
mod layer;
mod merge;
mod open;
mod recent;
mod row;
mod schema;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "what writes and reads it follows")
)]
mod segment;
mod snapshot;
mod touch;
mod writer;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use bitcoin::{Amount, BlockHash, OutPoint, Transaction, Txid};
use redb::Database;

pub use commitment::Commitment;
pub use digest::Digests;
pub use error::{BlockFault, Error};
pub use keys::Keys;
pub use snapshot::Snapshot;

use crate::chain::{ConnectedBlock, Height, Network};
use keys::KeyedHash;
use recent::Recent;
use schema::Tables;

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

/// Gives whole transactions, to tell apart outputs that are equal in script, height, vout and tag.
pub trait TransactionReader {
    /// The transaction in this block of the chain; `None` when it cannot be had now.
    fn transaction(&self, txid: &Txid, block: &BlockHash) -> Option<Transaction>;
}

/// What tests set and the product never does.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Options {
    /// Keys for an index about to be created, instead of random ones; with equal keys digests can be compared.
    pub keys: Option<Keys>,
    /// Bits of an outpoint tag; fewer than 32 make tags collide.
    pub tag_bits: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keys: None,
            tag_bits: u32::BITS,
        }
    }
}

/// The one writer of an index.
pub struct Index {
    network: Network,
    keyed: KeyedHash,
    recent: Recent,
    snapshot: Arc<Snapshot>,
    /// Set while what the file holds is not known to be what the snapshot says.
    failed: bool,
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
            Self::from_database(database, Some(lock), network, options)
        })
    }

    fn from_database(
        database: Database,
        lock: Option<File>,
        network: Network,
        options: &Options,
    ) -> Result<Self, Error> {
        let tables = Tables::open(&database)?;
        let identity = open::identity(&tables, network)?;
        let keyed = KeyedHash::new(identity.keys, options.tag_bits);
        let (blocks, recent) = open::load(&tables, &identity)?;
        Ok(Self {
            network,
            keyed,
            snapshot: Arc::new(Snapshot::new(keyed, blocks, recent.clone(), tables)),
            recent,
            failed: false,
            database,
            _lock: lock,
        })
    }

    /// The state after the last commit.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot)
    }

    /// Drops the blocks above `keep` (all of them for `None`) and appends `connect`, in one commit.
    ///
    /// Returns the sorted prefixes of the scripts touched by either, after the commit. Blocks that do not fit are
    /// refused without any change ([`Error::Block`], [`Error::TooLong`]). After a failed write every update fails
    /// ([`Error::Failed`]): what reached the disk is known only when the index is opened again.
    pub fn update(
        &mut self,
        keep: Option<Height>,
        connect: &[ConnectedBlock],
    ) -> Result<Vec<ScriptPrefix>, Error> {
        if self.failed {
            return Err(Error::Failed);
        }
        let plan = writer::plan(&self.snapshot, self.network, &self.keyed, keep, connect)?;
        if plan.is_empty(self.snapshot.tip()) {
            return Ok(Vec::new());
        }
        let (blocks, recent, touched) = plan.apply(&self.snapshot, &self.recent)?;
        self.failed = true;
        let tables = error::guarded("write the index", || {
            plan.commit(&self.database)?;
            Tables::open(&self.database)
        })?;
        self.snapshot = Arc::new(Snapshot::new(self.keyed, blocks, recent.clone(), tables));
        self.recent = recent;
        self.failed = false;
        Ok(touched)
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
