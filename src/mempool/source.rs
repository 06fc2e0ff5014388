//! What mempool transactions are made of: the node's lists, and the index for what they spend.

use bitcoin::{BlockHash, OutPoint, Transaction, Txid};

use crate::chain::ScriptHash;
use crate::index::{self, FundedOutput, ScriptPrefix, Snapshot, TransactionReader};
use crate::node::{self, Node};

/// Where mempool transactions come from.
pub(crate) trait MempoolSource {
    /// All txids, in an order in which parents tend to stand before their children.
    fn mempool_txids(&self) -> Result<Vec<Txid>, node::Error>;
    /// Transactions; `None` for those that have left the mempool.
    fn mempool_transactions(&self, txids: &[Txid])
    -> Result<Vec<Option<Transaction>>, node::Error>;
    /// Transactions in blocks of the chain; `None` for those that the node does not find there.
    fn block_transactions(
        &self,
        wanted: &[(Txid, BlockHash)],
    ) -> Result<Vec<Option<Transaction>>, node::Error>;
}

impl MempoolSource for Node {
    fn mempool_txids(&self) -> Result<Vec<Txid>, node::Error> {
        Self::mempool_txids(self)
    }

    fn mempool_transactions(
        &self,
        txids: &[Txid],
    ) -> Result<Vec<Option<Transaction>>, node::Error> {
        Self::mempool_transactions(self, txids)
    }

    fn block_transactions(
        &self,
        wanted: &[(Txid, BlockHash)],
    ) -> Result<Vec<Option<Transaction>>, node::Error> {
        Self::block_transactions(self, wanted)
    }
}

/// Where confirmed outputs are looked up.
pub(crate) trait OutputSource {
    /// The key of a script in this installation.
    fn prefix(&self, script_hash: &ScriptHash) -> ScriptPrefix;
    /// Outputs by outpoint; `None` for those not in the chain, or in a transaction that `reader` was asked for and did
    /// not give.
    fn outputs(
        &self,
        outpoints: &[OutPoint],
        reader: &dyn TransactionReader,
    ) -> Result<Vec<Option<FundedOutput>>, index::Error>;
}

impl OutputSource for Snapshot {
    fn prefix(&self, script_hash: &ScriptHash) -> ScriptPrefix {
        Self::prefix(self, script_hash)
    }

    fn outputs(
        &self,
        outpoints: &[OutPoint],
        reader: &dyn TransactionReader,
    ) -> Result<Vec<Option<FundedOutput>>, index::Error> {
        Self::outputs(self, outpoints, reader)
    }
}
