//! What of a chain is stored under a key of this installation, so that nobody can aim a collision at it.

use bitcoin::hashes::Hash as _;
use bitcoin::{OutPoint, Txid};

use super::ScriptPrefix;
use super::siphash::{Message, siphash};
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
        let message = Message::of_hash(script_hash.as_bytes());
        let [prefix] = siphash([&self.keys.script], [message]);
        ScriptPrefix(prefix)
    }

    pub(super) fn fingerprint(&self, txid: &Txid) -> TxFingerprint {
        let message = Message::of_hash(txid.as_byte_array());
        let [fingerprint] = siphash([&self.keys.txid], [message]);
        TxFingerprint(fingerprint)
    }

    pub(super) fn tag(&self, outpoint: &OutPoint) -> OutPointTag {
        let [hash] = siphash([&self.keys.outpoint], [message(outpoint)]);
        self.low(hash)
    }

    /// What a script does to an output, both at once because a block does it thousands of times.
    pub(super) fn prefix_and_tag(
        &self,
        script_hash: &[u8; 32],
        outpoint: &OutPoint,
    ) -> (ScriptPrefix, OutPointTag) {
        let keys = [&self.keys.script, &self.keys.outpoint];
        let messages = [Message::of_hash(script_hash), message(outpoint)];
        let [prefix, hash] = siphash(keys, messages);
        (ScriptPrefix(prefix), self.low(hash))
    }

    /// The end of the hash of an outpoint.
    fn low(&self, hash: u64) -> OutPointTag {
        let [_, _, _, _, low @ ..] = hash.to_be_bytes();
        OutPointTag(u32::from_be_bytes(low) & self.tag_mask)
    }
}

fn message(outpoint: &OutPoint) -> Message<'_> {
    Message::of_hash_and_number(outpoint.txid.as_byte_array(), outpoint.vout)
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
        let keyed = KeyedHash::new(keys, 32);
        let script_hash = ScriptHash::from_bytes([9; 32]);
        assert!(
            keyed.prefix_and_tag(script_hash.as_bytes(), &outpoint)
                == (keyed.prefix(&script_hash), whole)
        );
    }
}
