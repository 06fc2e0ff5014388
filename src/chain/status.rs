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
#[derive(Clone, Copy, PartialEq, Eq)]
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
        let mut hasher = StatusHasher::default();
        for entry in history {
            hasher.push(&entry);
        }
        hasher.finish()
    }

    /// The protocol's form: 64 lower-case hexadecimal digits.
    pub fn to_wire(&self) -> String {
        self.0.to_lower_hex_string()
    }
}

/// A status in the making; what was hashed so far is 32 bytes, however long the history.
#[derive(Clone, Default)]
pub struct StatusHasher {
    engine: sha256::HashEngine,
    entries: usize,
}

impl StatusHasher {
    /// Adds the next transaction.
    pub fn push(&mut self, entry: &HistoryEntry) {
        self.entries = self.entries.saturating_add(1);
        self.engine.input(&displayed(&entry.txid));
        self.engine
            .input(format!(":{}:", entry.height.to_wire()).as_bytes());
    }

    /// How many were added.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// The digest; `None` of nothing.
    pub fn finish(self) -> Option<StatusHash> {
        let hash = sha256::Hash::from_engine(self.engine).to_byte_array();
        (self.entries > 0).then_some(StatusHash(hash))
    }
}

/// The digits of a txid as people write it, last byte first; by hand, because long histories have many.
fn displayed(txid: &Txid) -> [u8; 64] {
    let digit = |value: u8| {
        if value < 10 {
            b'0' + value
        } else {
            b'a' + value - 10
        }
    };
    let mut digits = [0; 64];
    let (pairs, _) = digits.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(txid.to_byte_array().into_iter().rev()) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
    digits
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

    #[test]
    fn the_example_of_the_protocol_documents() {
        use EntryHeight::{Confirmed, Unconfirmed, UnconfirmedParents};
        let history = [
            (
                "a6c9c361bd0bc536d6a22648efbf8f9b200e425ef6c3a7a9669dc444c532a347",
                Confirmed(Height(2472)),
            ),
            (
                "9c42f84b2fcdaff676ba25d9d4941741cc0d1a01cce0c23fdc4c0b2afa38431c",
                Confirmed(Height(2473)),
            ),
            (
                "770f2d4371b3fabb902dd9a103e2dd005fcd3971181078fca4a2a1d6ff127b30",
                Confirmed(Height(2473)),
            ),
            (
                "80b19848aed792565ab7c5a79b7c2a00fbf985741579396ebe0ab6098e607311",
                Unconfirmed,
            ),
            (
                "e02a1dadfa83b996b24175df807b271ea5d02937ef5b35c195fac1e1bdc3198f",
                Unconfirmed,
            ),
            (
                "bb4c8ab438c13b89ca80d1d5bee25b0b6b7f55673f4d801998ba97db161d9e85",
                UnconfirmedParents,
            ),
        ];
        let entries = history.map(|(txid, height)| HistoryEntry {
            txid: txid.parse().unwrap(),
            height,
        });
        assert_eq!(
            StatusHash::of(entries).unwrap().to_wire(),
            "78e96c6562cafa71c115503b9411fdfdc595a45031e2ab76ff75162fe1b0590d"
        );
    }
}
