//! Tests of the index as a whole.

mod bulk;
mod chain;
mod disk;
mod faults;
mod format;
mod installed;
mod known;
mod layout;
mod model;
mod newer;
mod node_files;
mod placing;
mod power;
mod proofs;
mod selfcheck;
mod special;
mod spenders;
mod touch;

use std::sync::Arc;

use bitcoin::{BlockHash, Transaction, Txid};
use redb::Database;
use redb::backends::InMemoryBackend;
use tempfile::TempDir;

use super::segment::tests::Memory;
use super::{Error, Index, Keys, Options, Shape, Touched, TransactionReader, open};
use crate::chain::{ConnectedBlock, Height, Network, PackedBlock, RawBlock};

static_assertions::assert_impl_all!(super::Snapshot: Send, Sync);
static_assertions::assert_impl_all!(Index: Send, Sync);
static_assertions::assert_not_impl_any!(super::ScriptPrefix: std::fmt::Debug);

/// The same keys for every index of these tests.
fn options(tag_bits: u32) -> Options {
    Options {
        keys: Some(Keys::from_bytes(&[42; Keys::BYTES])),
        tag_bits,
        shape: Shape::default(),
    }
}

fn in_memory(tag_bits: u32) -> Index {
    in_memory_with(&options(tag_bits))
}

fn in_memory_with(options: &Options) -> Index {
    let database = Database::builder()
        .create_with_backend(InMemoryBackend::new())
        .unwrap();
    open::initialise(&database, Network::Regtest, options).unwrap();
    let store = Arc::new(Memory::default());
    Index::from_database(database, store, None, Network::Regtest, options).unwrap()
}

impl Index {
    /// As [`Index::update_raw`], for blocks that are decoded already.
    pub(crate) fn update(
        &mut self,
        keep: Option<Height>,
        connect: &[ConnectedBlock],
    ) -> Result<Touched, Error> {
        let packed: Vec<PackedBlock> = connect.iter().map(PackedBlock::from).collect();
        let raw: Vec<RawBlock<'_>> = packed.iter().map(PackedBlock::raw).collect();
        self.update_raw(keep, &raw)
    }
}

/// In memory where the system has such a place: what is tested there outlasts no power loss, and waits for no disk.
fn directory() -> TempDir {
    let in_memory = tempfile::tempdir_in("/dev/shm");
    in_memory.or_else(|_none| tempfile::tempdir()).unwrap()
}

/// Gives nothing.
struct NoTransactions;

impl TransactionReader for NoTransactions {
    fn transactions(&self, _wanted: &[(Txid, BlockHash)]) -> Vec<Option<Transaction>> {
        Vec::new()
    }
}

/// The error of something whose success cannot be printed.
fn error_of<T>(result: Result<T, Error>) -> Error {
    match result {
        Ok(_) => panic!("this was to fail"),
        Err(error) => error,
    }
}
