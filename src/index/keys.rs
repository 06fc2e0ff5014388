//! What of a chain is stored under a key of this installation, so that nobody can aim a collision at it.

use bitcoin::hashes::Hash as _;
use bitcoin::{OutPoint, Txid};
use siphasher::sip::SipHasher24;

use super::ScriptPrefix;
use crate::chain::ScriptHash;

/// The three SipHash keys of an installation; drawn when the index is created.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    /// For script hashes.
    pub script: [u8; 16],
    /// For outpoints.
    pub outpoint: [u8; 16],
    /// For txids.
    pub txid: [u8; 16],
}

impl Keys {
    /// Bytes of all three.
    pub(super) const BYTES: usize = 48;

    pub(super) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; Self::BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self::from_bytes(&bytes))
    }

    pub(super) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let mut keys = Self {
            script: [0; 16],
            outpoint: [0; 16],
            txid: [0; 16],
        };
        let parts = [&mut keys.script, &mut keys.outpoint, &mut keys.txid];
        for (part, key) in parts.into_iter().zip(bytes.chunks_exact(16)) {
            part.copy_from_slice(key);
        }
        keys
    }

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let parts = [self.script, self.outpoint, self.txid];
        for (part, key) in bytes.chunks_exact_mut(16).zip(parts) {
            part.copy_from_slice(&key);
        }
        bytes
    }
}

/// 64 keyed bits of a txid.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TxFingerprint(pub(super) u64);

/// 32 keyed bits of an outpoint, by which a spending finds its funding inside one script and block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OutPointTag(pub(super) u32);

/// The three keyed hashes.
#[derive(Clone, Copy)]
pub(super) struct KeyedHash {
    keys: Keys,
    tag_mask: u32,
}

impl KeyedHash {
    /// `tag_bits` below 32 makes tags collide, for tests.
    pub(super) fn new(keys: Keys, tag_bits: u32) -> Self {
        let unused = u32::BITS.saturating_sub(tag_bits);
        Self {
            keys,
            tag_mask: u32::MAX.checked_shr(unused).unwrap_or(0),
        }
    }

    pub(super) fn prefix(&self, script_hash: &ScriptHash) -> ScriptPrefix {
        ScriptPrefix(SipHasher24::new_with_key(&self.keys.script).hash(script_hash.as_bytes()))
    }

    pub(super) fn fingerprint(&self, txid: &Txid) -> TxFingerprint {
        TxFingerprint(SipHasher24::new_with_key(&self.keys.txid).hash(txid.as_byte_array()))
    }

    pub(super) fn tag(&self, outpoint: &OutPoint) -> OutPointTag {
        let mut bytes = [0; 36];
        let (txid, vout) = bytes.split_at_mut(32);
        txid.copy_from_slice(outpoint.txid.as_byte_array());
        vout.copy_from_slice(&outpoint.vout.to_le_bytes());
        let hash = SipHasher24::new_with_key(&self.keys.outpoint).hash(&bytes);
        let [_, _, _, _, low @ ..] = hash.to_be_bytes();
        OutPointTag(u32::from_be_bytes(low) & self.tag_mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_their_bytes_and_tags_their_mask() {
        let keys = Keys::random().unwrap();
        assert!(Keys::from_bytes(&keys.to_bytes()) == keys);
        let outpoint = OutPoint::new(Txid::from_byte_array([7; 32]), 3);
        let whole = KeyedHash::new(keys, 32).tag(&outpoint);
        assert_eq!(
            KeyedHash::new(keys, 4).tag(&outpoint).0,
            whole.0 & 15,
            "a shorter tag is the end of the long one"
        );
    }
}
