//! Digests of what an index holds, to compare two that have the same keys.

use bitcoin::hashes::{Hash as _, HashEngine as _, sha256};

use super::ScriptPrefix;
use super::commitment::Commitment;
use super::error::Error;
use super::layer::ScriptEntry;
use super::merge::{FingerprintSource as _, ScriptSource as _};
use super::snapshot::Snapshot;
use crate::chain::ChainTip;

/// What an index holds, in a few hashes. They do not depend on how it is laid out in files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// The last block; `None` while the index is empty.
    pub tip: Option<ChainTip>,
    /// The commitment of the last block; the same in every installation.
    pub commitment: Option<Commitment>,
    /// Name of each table and the SHA-256 of what it says, in the order of its keys; they depend on the keys of the
    /// installation.
    pub tables: Vec<(&'static str, [u8; 32])>,
}

pub(super) fn of(snapshot: &Snapshot) -> Result<Vec<(&'static str, [u8; 32])>, Error> {
    Ok(vec![
        ("headers", headers(snapshot)?),
        ("scripts", scripts(snapshot)?),
        ("fingerprints", fingerprints(snapshot)?),
    ])
}

/// Over height (4 bytes; all numbers are big-endian) and row of each block.
fn headers(snapshot: &Snapshot) -> Result<[u8; 32], Error> {
    let mut engine = sha256::Hash::engine();
    snapshot.header_rows(|height, row| {
        engine.input(&height.0.to_be_bytes());
        engine.input(row);
    })?;
    Ok(sha256::Hash::from_engine(engine).to_byte_array())
}

/// Over prefix (8), the numbers of its transactions (4 each, with their count before them), its unspent outputs
/// (number 4, vout 4, satoshi 8, tag 4), and what spends those that only transactions tell apart (height 4, vout 4,
/// tag 4, number 4).
fn scripts(snapshot: &Snapshot) -> Result<[u8; 32], Error> {
    let mut engine = sha256::Hash::engine();
    let mut scripts = snapshot.scripts()?;
    let mut entry = ScriptEntry::default();
    while let Some(prefix) = scripts.next(&mut entry)? {
        entry.settle(|_| true)?;
        add_script(&mut engine, prefix, &entry);
        entry.clear();
    }
    Ok(sha256::Hash::from_engine(engine).to_byte_array())
}

fn add_script(engine: &mut sha256::HashEngine, prefix: ScriptPrefix, entry: &ScriptEntry) {
    engine.input(&prefix.0.to_be_bytes());
    let counts = [
        entry.touches.len(),
        entry.fundings.len(),
        entry.spendings.len(),
    ];
    for count in counts {
        engine.input(&u64::try_from(count).unwrap_or(u64::MAX).to_be_bytes());
    }
    for number in &entry.touches {
        engine.input(&number.0.to_be_bytes());
    }
    for funding in &entry.fundings {
        engine.input(&funding.number.0.to_be_bytes());
        engine.input(&funding.vout.to_be_bytes());
        engine.input(&funding.amount.to_sat().to_be_bytes());
        engine.input(&funding.tag.0.to_be_bytes());
    }
    for spending in &entry.spendings {
        engine.input(&spending.height.0.to_be_bytes());
        engine.input(&spending.vout.to_be_bytes());
        engine.input(&spending.tag.0.to_be_bytes());
        engine.input(&spending.spender.0.to_be_bytes());
    }
}

/// Over the first 40 bits of each fingerprint (8) and the number of the transaction (4).
fn fingerprints(snapshot: &Snapshot) -> Result<[u8; 32], Error> {
    let mut engine = sha256::Hash::engine();
    let mut fingerprints = snapshot.fingerprints()?;
    while let Some((fingerprint, number)) = fingerprints.next()? {
        engine.input(&fingerprint.0.to_be_bytes());
        engine.input(&number.0.to_be_bytes());
    }
    Ok(sha256::Hash::from_engine(engine).to_byte_array())
}
