//! A script's history and its digest, the status.

use bitcoin::Txid;
use bitcoin::hashes::{Hash as _, HashEngine as _, sha256};
use bitcoin::hex::DisplayHex as _;

use super::Height;

/// Where a transaction of a history stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryHeight {
    /// In the block of this height.
    Confirmed(Height),
    /// In the mempool, all its inputs confirmed; shown as 0.
    Unconfirmed,
    /// In the mempool, with an input that is itself unconfirmed; shown as -1.
    UnconfirmedParents,
}

impl EntryHeight {
    /// The number the protocol shows for it.
    pub fn to_wire(self) -> i64 {
        match self {
            Self::Confirmed(height) => i64::from(height.0),
            Self::Unconfirmed => 0,
            Self::UnconfirmedParents => -1,
        }
    }
}

/// One transaction of a script's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The transaction.
    pub txid: Txid,
    /// Where it stands.
    pub height: EntryHeight,
}

/// Digest of a script's history (protocol basics, "Status").
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StatusHash([u8; 32]);

impl StatusHash {
    /// The digest of a history in the protocol's order; `None` for an empty one.
    pub fn of(history: impl IntoIterator<Item = HistoryEntry>) -> Option<Self> {
        let mut engine = sha256::Hash::engine();
        let mut empty = true;
        for entry in history {
            empty = false;
            engine.input(format!("{}:{}:", entry.txid, entry.height.to_wire()).as_bytes());
        }
        (!empty).then(|| Self(sha256::Hash::from_engine(engine).to_byte_array()))
    }

    /// The protocol's form: 64 lower-case hexadecimal digits.
    pub fn to_wire(&self) -> String {
        self.0.to_lower_hex_string()
    }
}

impl std::fmt::Debug for StatusHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[scrubbed]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_history_has_no_status() {
        assert_eq!(StatusHash::of([]), None);
    }
}
