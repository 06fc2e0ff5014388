//! Tests of the index as a whole.

mod chain;
mod faults;
mod model;
mod power;
mod special;

use bitcoin::{BlockHash, Transaction, Txid};
use redb::Database;
use redb::backends::InMemoryBackend;

use super::{Error, Index, Keys, Options, TransactionReader, open};
use crate::chain::Network;

static_assertions::assert_impl_all!(super::Snapshot: Send, Sync);
static_assertions::assert_impl_all!(Index: Send, Sync);
static_assertions::assert_not_impl_any!(super::ScriptPrefix: std::fmt::Debug);

/// The same keys for every index of these tests.
fn options(tag_bits: u32) -> Options {
    Options {
        keys: Some(Keys::from_bytes(&[42; Keys::BYTES])),
        tag_bits,
    }
}

fn in_memory(tag_bits: u32) -> Index {
    let database = Database::builder()
        .create_with_backend(InMemoryBackend::new())
        .unwrap();
    let options = options(tag_bits);
    open::initialise(&database, Network::Regtest, &options).unwrap();
    Index::from_database(database, None, Network::Regtest, &options).unwrap()
}

/// Gives nothing.
struct NoTransactions;

impl TransactionReader for NoTransactions {
    fn transaction(&self, _txid: &Txid, _block: &BlockHash) -> Option<Transaction> {
        None
    }
}

/// The error of something whose success cannot be printed.
fn error_of<T>(result: Result<T, Error>) -> Error {
    match result {
        Ok(_) => panic!("this was to fail"),
        Err(error) => error,
    }
}
