//! The commitment of a block: one hash that two installations share exactly when they index the same.

use bitcoin::BlockHash;
use bitcoin::hashes::{Hash as _, HashEngine as _, sha256};

/// `H_i = sha256(H_{i-1} || hash of block i || sha256(canonical touches))`; below the genesis block it is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commitment(pub [u8; 32]);

impl Commitment {
    /// What stands below the genesis block.
    pub(super) const START: Self = Self([0; 32]);

    /// What stands above a block, from its hash and that of its canonical touches.
    pub(super) fn followed_by_hash(self, hash: &BlockHash, touches: &[u8; 32]) -> Self {
        let mut engine = sha256::Hash::engine();
        engine.input(&self.0);
        engine.input(hash.as_byte_array());
        engine.input(touches);
        Self(sha256::Hash::from_engine(engine).to_byte_array())
    }
}
