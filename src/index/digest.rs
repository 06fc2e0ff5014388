//! Digests of the tables, to compare two indexes that have the same keys.

use bitcoin::hashes::{Hash as _, HashEngine as _, sha256};
use redb::{Database, ReadOnlyTable, Value};

use super::commitment::Commitment;
use super::error::{Error, guarded, store};
use super::schema::Tables;
use crate::chain::ChainTip;

const DIGEST: &str = "compute the digest of the index";

/// What an index holds, in a few hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// The last block; `None` while the index is empty.
    pub tip: Option<ChainTip>,
    /// The commitment of the last block; the same in every installation.
    pub commitment: Option<Commitment>,
    /// Name of each table and the SHA-256 of its rows in the order of their keys; they depend on the keys of the
    /// installation.
    pub tables: Vec<(&'static str, [u8; 32])>,
}

pub(super) fn of(database: &Database) -> Result<Vec<(&'static str, [u8; 32])>, Error> {
    guarded(DIGEST, || {
        let tables = Tables::open(database)?;
        Ok(vec![
            ("headers", table(&tables.headers, |row| row.as_slice())?),
            ("delta", table(&tables.delta, |row| *row)?),
            ("txids", table(&tables.txids, |row| *row)?),
        ])
    })
}

/// SHA-256 over height (4 bytes, big-endian), length (8, big-endian) and bytes of each row.
fn table<V: Value + 'static>(
    table: &ReadOnlyTable<u32, V>,
    bytes: impl for<'a> Fn(&'a V::SelfType<'_>) -> &'a [u8],
) -> Result<[u8; 32], Error> {
    let mut engine = sha256::Hash::engine();
    for row in table.range::<u32>(..).map_err(store(DIGEST))? {
        let (height, row) = row.map_err(store(DIGEST))?;
        let row = row.value();
        let row = bytes(&row);
        let length = u64::try_from(row.len()).unwrap_or(u64::MAX);
        engine.input(&height.value().to_be_bytes());
        engine.input(&length.to_be_bytes());
        engine.input(row);
    }
    Ok(sha256::Hash::from_engine(engine).to_byte_array())
}
