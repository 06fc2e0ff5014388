//! The commitment of a block: one hash that two installations share exactly when they index the same.

use std::cmp::Ordering;

use bitcoin::BlockHash;
use bitcoin::hashes::{Hash as _, HashEngine as _, sha256};

use super::touch::{Event, Touch};

/// `H_i = sha256(H_{i-1} || hash of block i || sha256(canonical touches))`; below the genesis block it is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commitment(pub [u8; 32]);

impl Commitment {
    /// What stands below the genesis block.
    pub(super) const START: Self = Self([0; 32]);

    pub(super) fn followed_by(self, hash: &BlockHash, touches: &[Touch]) -> Self {
        let mut engine = sha256::Hash::engine();
        engine.input(&self.0);
        engine.input(hash.as_byte_array());
        engine.input(&canonical_hash(touches));
        Self(sha256::Hash::from_engine(engine).to_byte_array())
    }
}

/// Hash over all touches, 81 bytes each, sorted, independent of any key: script hash, index of the transaction
/// (4 bytes, big-endian), 0 for funding or 1 for spending, txid, vout (4, big-endian), satoshi (8, big-endian).
fn canonical_hash(touches: &[Touch]) -> [u8; 32] {
    let mut sorted: Vec<&Touch> = touches.iter().collect();
    sorted.sort_unstable_by(|a, b| canonical_order(a, b));
    let mut engine = sha256::Hash::engine();
    for touch in sorted {
        engine.input(touch.script_hash.as_bytes());
        engine.input(&touch.transaction.to_be_bytes());
        engine.input(&[kind(touch)]);
        engine.input(touch.outpoint.txid.as_byte_array());
        engine.input(&touch.outpoint.vout.to_be_bytes());
        engine.input(&touch.amount.to_sat().to_be_bytes());
    }
    sha256::Hash::from_engine(engine).to_byte_array()
}

/// The order of the 81 bytes; the amount is left out because the outpoint decides it.
fn canonical_order(a: &Touch, b: &Touch) -> Ordering {
    let key = |touch: &Touch| (touch.transaction, kind(touch));
    a.script_hash
        .as_bytes()
        .cmp(b.script_hash.as_bytes())
        .then_with(|| key(a).cmp(&key(b)))
        .then_with(|| {
            a.outpoint
                .txid
                .as_byte_array()
                .cmp(b.outpoint.txid.as_byte_array())
        })
        .then_with(|| a.outpoint.vout.cmp(&b.outpoint.vout))
}

fn kind(touch: &Touch) -> u8 {
    match touch.event {
        Event::Funding => 0,
        Event::Spending { .. } => 1,
    }
}
