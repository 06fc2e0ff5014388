//! What answers are made of.

use bitcoin::{BlockHash, Transaction, Txid, Wtxid};

use crate::chain::{EntryHeight, Height, HistoryEntry, Network, StatusHash};
use crate::mempool::RecentTransaction;
use crate::node::{Acceptance, FeeRate, MempoolFees};

/// An answer, still free of the protocol's shapes. It tells what was asked, so it cannot be printed.
pub enum Answer {
    /// What the node would make of each transaction, in their order.
    AcceptTests(Vec<AcceptTest>),
    /// In satoshi; `unconfirmed` is relative to `confirmed` and may be negative.
    Balance {
        /// Sum of the confirmed unspent outputs.
        confirmed: u64,
        /// What the mempool adds.
        unconfirmed: i64,
    },
    /// `None` when the node cannot tell.
    Fee(Option<FeeRate>),
    /// `(sat/vB, virtual bytes)`, strictly decreasing.
    FeeHistogram(Vec<(f64, u64)>),
    /// One header.
    Header {
        /// Its 80 bytes.
        header: [u8; 80],
        /// Present when a checkpoint was asked for.
        proof: Option<HeaderProof>,
    },
    /// Consecutive headers.
    Headers {
        /// Their bytes, 80 each.
        headers: Vec<u8>,
        /// Of the last one, when a checkpoint was asked for.
        proof: Option<HeaderProof>,
    },
    /// Confirmed rows in chain order, then unconfirmed ones.
    History(Vec<HistoryRow>),
    /// Siblings from the transaction upward, and its index in the block.
    Merkle {
        /// Height of the block.
        height: Height,
        /// Deepest first.
        siblings: Vec<[u8; 32]>,
        /// Index in the block.
        index: u32,
    },
    /// The node's fee limits.
    MempoolFees(MempoolFees),
    /// Where an output stands.
    Outpoint(OutpointStatus),
    /// Those that came last to the mempool, the newest first.
    Recent(Vec<RecentTransaction>),
    /// `None` for a script without history.
    Status(Option<StatusHash>),
    /// The last header.
    Tip {
        /// Its height.
        height: Height,
        /// Its 80 bytes.
        header: [u8; 80],
    },
    /// Its bytes, with witness.
    Transaction(Vec<u8>),
    /// The transaction at a place in a block.
    TransactionAt {
        /// The transaction.
        txid: Txid,
        /// When a proof was asked for, siblings from the transaction upward.
        siblings: Option<Vec<[u8; 32]>>,
    },
    /// Confirmed rows in chain order, then unconfirmed ones.
    Unspent(Vec<UnspentRow>),
    /// In all its parts.
    WholeTransaction(Box<WholeTransaction>),
}

/// What the node would make of a transaction.
pub struct AcceptTest {
    /// Its id.
    pub txid: Txid,
    /// Its id with the witness.
    pub wtxid: Wtxid,
    /// What the node says.
    pub acceptance: Acceptance,
}

/// A header's place in the Merkle tree over all header hashes up to a checkpoint.
pub struct HeaderProof {
    /// Siblings, deepest first.
    pub branch: Vec<[u8; 32]>,
    /// The root.
    pub root: [u8; 32],
}

/// A transaction in all its parts, and where it stands.
pub struct WholeTransaction {
    /// The transaction.
    pub transaction: Transaction,
    /// Its block; `None` while it is unconfirmed.
    pub block: Option<BlockOfTransaction>,
    /// Whose addresses its outputs are shown by.
    pub network: Network,
}

/// The block of a transaction.
pub struct BlockOfTransaction {
    /// Its hash.
    pub hash: BlockHash,
    /// Blocks from it to the tip, itself included.
    pub confirmations: u32,
    /// What its header says, in seconds since 1970.
    pub time: u32,
}

/// Where an output stands.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct OutpointStatus {
    /// Where the transaction stands that makes it; `None` while nobody knows it.
    pub funder: Option<EntryHeight>,
    /// The transaction that spends it.
    pub spender: Option<HistoryEntry>,
}

/// One transaction of a history.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HistoryRow {
    /// The transaction.
    pub txid: Txid,
    /// Where it stands.
    pub height: EntryHeight,
    /// Its fee in satoshi, while it is unconfirmed.
    pub fee: Option<u64>,
}

/// One unspent output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UnspentRow {
    /// The transaction that created it.
    pub txid: Txid,
    /// Its index there.
    pub vout: u32,
    /// Its block; `None` while unconfirmed.
    pub height: Option<Height>,
    /// In satoshi.
    pub value: u64,
}

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Display};

    use super::{AcceptTest, Answer, HistoryRow, OutpointStatus, UnspentRow, WholeTransaction};

    static_assertions::assert_not_impl_any!(AcceptTest: Debug, Display, serde::Serialize);
    static_assertions::assert_not_impl_any!(Answer: Debug, Display, serde::Serialize);
    static_assertions::assert_not_impl_any!(HistoryRow: Debug, Display, serde::Serialize);
    static_assertions::assert_not_impl_any!(OutpointStatus: Debug, Display, serde::Serialize);
    static_assertions::assert_not_impl_any!(UnspentRow: Debug, Display, serde::Serialize);
    static_assertions::assert_not_impl_any!(WholeTransaction: Debug, Display, serde::Serialize);
}
