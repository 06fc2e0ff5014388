//! The one door to the operator's Bitcoin Core.
//!
//! Everything here blocks. The RPC crate is a transport only: answers are read into types of our own, and neither
//! its errors nor any text of the node leave this module.

mod accept;
mod answers;
mod auth;
mod blocks;
mod checks;
mod error;
mod fees;
mod files;
mod judge;
mod permits;
mod rest;
mod rpc;
mod send;
#[cfg(test)]
mod tests;
mod transport;

use std::net::SocketAddr;

use bitcoin::block::Header;
use bitcoin::consensus::encode;
use bitcoin::hex::FromHex as _;
use bitcoin::{BlockHash, Transaction, Txid};
use serde_json::json;

pub use accept::Acceptance;
pub use auth::NodeAuth;
pub use checks::{ChainState, REQUIRED_VERSION};
pub use error::{Error, Trouble};
pub use fees::{FeeMode, FeeRate, MempoolFees};
pub use files::{BlockBuffer, BlockFile, BlockFileBytes, BlockFiles, FilesError, FoundBlock};
pub use judge::{Judge, Judgement, Surroundings};
pub use rest::{RestBuffer, RestError, decode_spent};
pub use rpc::{Call, Method};
pub use send::{RejectReason, SendError, Sender};

use crate::chain::{Height, Network};
use crate::limits;
use answers::NewBlock;
use rest::Rest;
use rpc::Lane;

/// Where the node is, and what it should be.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// Its RPC address. Not a name: to ask for one is to tell the network whom we talk to.
    pub address: SocketAddr,
    /// How we prove who we are.
    pub auth: NodeAuth,
    /// The network it must be on.
    pub network: Network,
}

/// The node, for everything that only asks.
///
/// There is a lane for each purpose: following the chain, waiting for a block, and clients' questions; and another way
/// for many blocks.
pub struct Node {
    network: Network,
    follow: Lane,
    tip: Lane,
    clients: Lane,
    rest: Rest,
}

impl Node {
    /// Connects to nothing yet.
    pub fn new(settings: &NodeSettings) -> Self {
        let wait = limits::TIP_WAIT_MAX.saturating_add(limits::NODE_CALL_MAX);
        Self {
            network: settings.network,
            follow: Lane::new(
                settings,
                limits::NODE_BLOCKS_CALL_MAX,
                limits::NODE_BULK_CALLS_MAX,
            ),
            tip: Lane::new(settings, wait, 1),
            clients: Lane::new(
                settings,
                limits::NODE_CALL_MAX,
                limits::NODE_CLIENT_CALLS_MAX,
            ),
            rest: Rest::new(settings),
        }
    }

    /// The network it must be on.
    pub fn network(&self) -> Network {
        self.network
    }

    /// Hashes of the active chain at these heights; `None` above its tip.
    pub fn block_hashes(&self, heights: &[Height]) -> Result<Vec<Option<BlockHash>>, Error> {
        let mut hashes = Vec::with_capacity(heights.len());
        for part in heights.chunks(limits::NODE_BATCH_ITEMS_MAX) {
            let arguments: Vec<_> = part.iter().map(|height| vec![json!(height.0)]).collect();
            let found: Vec<Option<BlockHash>> =
                self.follow.batch(Method::GetBlockHash, &arguments)?;
            hashes.extend(found);
        }
        Ok(hashes)
    }

    /// Headers of these blocks, whose proof of work was checked; `None` for a block that the node does not have.
    pub fn headers(&self, hashes: &[BlockHash]) -> Result<Vec<Option<Header>>, Error> {
        let arguments: Vec<_> = hashes
            .iter()
            .map(|hash| vec![json!(hash), json!(false)])
            .collect();
        let method = Method::GetBlockHeader;
        let answers: Vec<Option<String>> = self.follow.batch(method, &arguments)?;
        let garbled = || Error::Garbled {
            call: method.into(),
        };
        hashes
            .iter()
            .zip(answers)
            .map(|(hash, answer)| {
                let Some(hex) = answer else { return Ok(None) };
                let bytes = Vec::from_hex(&hex).map_err(|_content| garbled())?;
                let header: Header = encode::deserialize(&bytes).map_err(|_content| garbled())?;
                let proven = header
                    .validate_pow(header.target())
                    .is_ok_and(|proven| proven == *hash);
                proven.then_some(Some(header)).ok_or_else(garbled)
            })
            .collect()
    }

    /// The txids in the mempool, in an order in which parents tend to stand before their children.
    pub fn mempool_txids(&self) -> Result<Vec<Txid>, Error> {
        self.follow.call(Method::GetRawMempool, &[json!(false)])
    }

    /// Transactions of the mempool; `None` for those that have left it.
    pub fn mempool_transactions(&self, txids: &[Txid]) -> Result<Vec<Option<Transaction>>, Error> {
        let wanted: Vec<_> = txids.iter().map(|txid| (*txid, None)).collect();
        self.transactions(&wanted)
    }

    /// Transactions in blocks of the chain; `None` for those that are not there.
    pub fn block_transactions(
        &self,
        wanted: &[(Txid, BlockHash)],
    ) -> Result<Vec<Option<Transaction>>, Error> {
        let wanted = wanted.iter().map(|(txid, block)| (*txid, Some(*block)));
        self.transactions(&wanted.collect::<Vec<_>>())
    }

    fn transactions(
        &self,
        wanted: &[(Txid, Option<BlockHash>)],
    ) -> Result<Vec<Option<Transaction>>, Error> {
        let method = Method::GetRawTransaction;
        let mut transactions = Vec::with_capacity(wanted.len());
        for part in wanted.chunks(limits::MEMPOOL_BATCH_MAX) {
            let arguments: Vec<_> = part
                .iter()
                .map(|(txid, block)| {
                    let mut arguments = vec![json!(txid), json!(false)];
                    arguments.extend(block.map(|hash| json!(hash)));
                    arguments
                })
                .collect();
            let answers: Vec<Option<String>> = self.follow.batch(method, &arguments)?;
            for ((txid, _), answer) in part.iter().zip(answers) {
                transactions.push(match answer {
                    Some(hex) => Some(transaction(&hex, txid).ok_or(Error::Garbled {
                        call: method.into(),
                    })?),
                    None => None,
                });
            }
        }
        Ok(transactions)
    }

    /// A transaction's bytes; without `block` it is looked for in the mempool. `None`: the node does not have it.
    pub fn raw_transaction(
        &self,
        txid: &Txid,
        block: Option<&BlockHash>,
    ) -> Result<Option<Vec<u8>>, Error> {
        let method = Method::GetRawTransaction;
        let mut arguments = vec![json!(txid), json!(false)];
        arguments.extend(block.map(|hash| json!(hash)));
        let found: Option<String> = self.clients.find(method, &arguments)?;
        found
            .map(|hex| {
                Vec::from_hex(&hex).map_err(|_content| Error::Garbled {
                    call: method.into(),
                })
            })
            .transpose()
    }

    /// Waits for a change of the tip, at most [`limits::TIP_WAIT_MAX`]; the tip's hash then.
    pub fn wait_for_block(&self) -> Result<BlockHash, Error> {
        let patience = u64::try_from(limits::TIP_WAIT_MAX.as_millis()).unwrap_or(u64::MAX);
        let answer: NewBlock = self.tip.call(Method::WaitForNewBlock, &[json!(patience)])?;
        Ok(answer.hash)
    }

    /// Ends at once what the chain's follower has under way, and all it would still begin; clients' questions go on.
    pub fn stop_following(&self) {
        self.follow.close();
        self.rest.close();
        self.tip.close();
    }
}

/// The transaction of this txid, decoded.
fn transaction(hex: &str, txid: &Txid) -> Option<Transaction> {
    let bytes = Vec::from_hex(hex).ok()?;
    let transaction: Transaction = encode::deserialize(&bytes).ok()?;
    (transaction.compute_txid() == *txid).then_some(transaction)
}
