//! The node as the one who is asked what the index cannot tell.

use bitcoin::{BlockHash, Txid};

use super::{Acceptance, FeeMode, FeeRate, MempoolFees, NodeReader, NodeSilent};
use crate::node::Node;
use crate::redact::RawTransaction;

impl NodeReader for Node {
    fn raw_transaction(
        &self,
        txid: &Txid,
        block: Option<&BlockHash>,
    ) -> Result<Option<Vec<u8>>, NodeSilent> {
        Self::raw_transaction(self, txid, block).map_err(|_told_by_the_follower| NodeSilent)
    }

    fn estimate_fee(
        &self,
        blocks: u16,
        mode: Option<FeeMode>,
    ) -> Result<Option<FeeRate>, NodeSilent> {
        Self::estimate_fee(self, blocks, mode).map_err(|_told_by_the_follower| NodeSilent)
    }

    fn mempool_fees(&self) -> Result<MempoolFees, NodeSilent> {
        Self::mempool_fees(self).map_err(|_told_by_the_follower| NodeSilent)
    }

    fn test_accept(&self, transactions: &[RawTransaction]) -> Result<Vec<Acceptance>, NodeSilent> {
        Self::test_accept(self, transactions).map_err(|_told_by_the_follower| NodeSilent)
    }
}

/// In the place of a node, where there is none, or waiting for one is too much.
pub struct NobodyToAsk;

impl NodeReader for NobodyToAsk {
    fn raw_transaction(
        &self,
        _: &Txid,
        _: Option<&BlockHash>,
    ) -> Result<Option<Vec<u8>>, NodeSilent> {
        Err(NodeSilent)
    }

    fn estimate_fee(&self, _: u16, _: Option<FeeMode>) -> Result<Option<FeeRate>, NodeSilent> {
        Err(NodeSilent)
    }

    fn mempool_fees(&self) -> Result<MempoolFees, NodeSilent> {
        Err(NodeSilent)
    }

    fn test_accept(&self, _: &[RawTransaction]) -> Result<Vec<Acceptance>, NodeSilent> {
        Err(NodeSilent)
    }
}
