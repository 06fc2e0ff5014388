//! The commitment of a block: one hash that two installations share exactly when they index the same.

use bitcoin::BlockHash;
use bitcoin::hashes::{Hash as _, HashEngine as _, sha256};

use super::canonical::{CanonicalRows, CanonicalTouch};
use super::touch::{Event, Touch};

/// `H_i = sha256(H_{i-1} || hash of block i || sha256(canonical touches))`; below the genesis block it is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commitment(pub [u8; 32]);

impl Commitment {
    /// What stands below the genesis block.
    pub(super) const START: Self = Self([0; 32]);

    pub(super) fn followed_by(self, hash: &BlockHash, touches: &[Touch]) -> Self {
        let mut rows = CanonicalRows::default();
        for touch in touches {
            rows.push(&CanonicalTouch {
                script_hash: touch.script_hash.as_bytes(),
                transaction: touch.transaction,
                is_spending: matches!(touch.event, Event::Spending { .. }),
                txid: touch.outpoint.txid.as_byte_array(),
                vout: touch.outpoint.vout,
                amount: touch.amount,
            });
        }
        self.followed_by_hash(hash, &rows.hash())
    }

    /// The same where the hash of the canonical touches is known.
    pub(super) fn followed_by_hash(self, hash: &BlockHash, touches: &[u8; 32]) -> Self {
        let mut engine = sha256::Hash::engine();
        engine.input(&self.0);
        engine.input(hash.as_byte_array());
        engine.input(touches);
        Self(sha256::Hash::from_engine(engine).to_byte_array())
    }
}
