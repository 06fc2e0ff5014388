//! From the node's mempool to the next [`Mempool`].

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use bitcoin::{Amount, BlockHash, OutPoint, Transaction, Txid};

use super::{Funding, Mempool, Spending, UnconfirmedTransaction};
use crate::chain::ScriptHash;
use crate::error::ErrorKind;
use crate::index::{self, FundedOutput, ScriptPrefix, Snapshot, TransactionReader};
use crate::limits;
use crate::node::{self, Node};

/// Why a round could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node did not answer.
    #[error("read the node's mempool")]
    Node(#[source] node::Error),
    /// The index could not be read.
    #[error("look up the outputs that mempool transactions spend")]
    Index(#[source] index::Error),
}

impl Error {
    /// Who has to act.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Node(error) => error.kind(),
            Self::Index(error) => error.kind(),
        }
    }
}

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

/// Goes from one mempool to the next, in rounds of bounded size.
#[derive(Default)]
pub(crate) struct Poller {
    /// Those whose previous outputs were not found in the last round; they wait behind all others.
    deferred: HashSet<Txid>,
}

/// The outcome of one round.
pub(crate) struct Round {
    /// The mempool after it.
    pub(crate) mempool: Mempool,
    /// Scripts whose unconfirmed history may differ, sorted.
    pub(crate) changed: Vec<ScriptPrefix>,
    /// Whether the node has more than this round could take in.
    pub(crate) more: bool,
}

impl Poller {
    /// One round. The caller makes sure that the node's tip is that of `outputs` before and after.
    ///
    /// A transaction is taken in whole or not at all: one with a previous output that neither the chain nor the
    /// mempool has (because its parent came in later than the list was made) is tried again in the next round.
    pub(crate) fn round(
        &mut self,
        source: &dyn MempoolSource,
        outputs: &dyn OutputSource,
        current: &Mempool,
    ) -> Result<Round, Error> {
        let txids = source.mempool_txids().map_err(Error::Node)?;
        let listed: HashSet<&Txid> = txids.iter().collect();
        let mut mempool = current.clone();
        let mut changed = Vec::new();
        for txid in current.txids().filter(|txid| !listed.contains(txid)) {
            mempool.remove(txid, &mut changed);
        }
        let room = limits::MEMPOOL_TRANSACTIONS_MAX.saturating_sub(mempool.len());
        let (deferred, fresh): (Vec<&Txid>, Vec<&Txid>) = txids
            .iter()
            .filter(|txid| !mempool.contains(txid))
            .partition(|txid| self.deferred.contains(*txid));
        let more = fresh.len().min(room) > limits::MEMPOOL_FETCH_MAX;
        let wanted: Vec<Txid> = fresh
            .into_iter()
            .chain(deferred)
            .take(limits::MEMPOOL_FETCH_MAX.min(room))
            .copied()
            .collect();
        let mut pending = Vec::new();
        for part in wanted.chunks(limits::MEMPOOL_BATCH_MAX) {
            let fetched = source.mempool_transactions(part).map_err(Error::Node)?;
            pending.extend(fetched.into_iter().flatten().map(Pending::of));
            let reader = BySource {
                source,
                failure: Cell::new(None),
            };
            take_in(&mut pending, outputs, &reader, &mut mempool, &mut changed)?;
            if let Some(failure) = reader.failure.take() {
                return Err(Error::Node(failure));
            }
            // What is dropped here is fetched again in the next round.
            pending.truncate(limits::MEMPOOL_BATCH_MAX);
        }
        self.deferred = wanted
            .into_iter()
            .filter(|txid| !mempool.contains(txid))
            .collect();
        changed.sort_unstable();
        changed.dedup();
        Ok(Round {
            mempool,
            changed,
            more,
        })
    }
}

/// Reads transactions of the chain from the node, for an index that has no bytes of them.
struct BySource<'a> {
    source: &'a dyn MempoolSource,
    /// Why it could not.
    failure: Cell<Option<node::Error>>,
}

impl TransactionReader for BySource<'_> {
    fn transactions(&self, wanted: &[(Txid, BlockHash)]) -> Vec<Option<Transaction>> {
        self.source
            .block_transactions(wanted)
            .unwrap_or_else(|failure| {
                self.failure.set(Some(failure));
                Vec::new()
            })
    }
}

/// A transaction whose previous outputs are not known yet.
struct Pending {
    txid: Txid,
    transaction: Transaction,
}

impl Pending {
    fn of(transaction: Transaction) -> Self {
        let txid = transaction.compute_txid();
        Self { txid, transaction }
    }

    /// The transaction with what it spends; `None` while that is not all known.
    fn resolved(
        &self,
        confirmed: &HashMap<OutPoint, FundedOutput>,
        outputs: &dyn OutputSource,
        mempool: &Mempool,
    ) -> Option<UnconfirmedTransaction> {
        let spending = |outpoint: OutPoint| {
            let (prefix, amount) = match mempool.output(&outpoint) {
                Some(funding) => (funding.prefix, funding.amount),
                None => confirmed
                    .get(&outpoint)
                    .map(|output| (output.prefix, output.amount))?,
            };
            Some(Spending {
                outpoint,
                prefix,
                amount,
            })
        };
        let inputs: Option<Box<[_]>> = self
            .transaction
            .input
            .iter()
            .map(|input| spending(input.previous_output))
            .collect();
        let inputs = inputs?;
        let funding: Box<[_]> = (0_u32..)
            .zip(&self.transaction.output)
            .filter(|(_vout, output)| !output.script_pubkey.is_op_return())
            .map(|(vout, output)| Funding {
                vout,
                prefix: outputs.prefix(&ScriptHash::of(&output.script_pubkey)),
                amount: output.value,
            })
            .collect();
        let sum = |sum: u64, amount: &Amount| sum.saturating_add(amount.to_sat());
        let spent = inputs.iter().map(|input| &input.amount).fold(0, sum);
        let funded = self.transaction.output.iter().map(|output| &output.value);
        Some(UnconfirmedTransaction {
            txid: self.txid,
            fee: Amount::from_sat(spent.saturating_sub(funded.fold(0, sum))),
            vsize: self.transaction.weight().to_vbytes_ceil(),
            inputs,
            outputs: funding,
        })
    }
}

/// Moves from `pending` into the mempool what can be, parents before children, until nothing more moves.
fn take_in(
    pending: &mut Vec<Pending>,
    outputs: &dyn OutputSource,
    reader: &dyn TransactionReader,
    mempool: &mut Mempool,
    changed: &mut Vec<ScriptPrefix>,
) -> Result<(), Error> {
    let outpoints: Vec<OutPoint> = pending
        .iter()
        .flat_map(|pending| &pending.transaction.input)
        .map(|input| input.previous_output)
        .filter(|outpoint| mempool.output(outpoint).is_none())
        .collect();
    let found = outputs.outputs(&outpoints, reader).map_err(Error::Index)?;
    let confirmed: HashMap<_, _> = outpoints
        .into_iter()
        .zip(found)
        .filter_map(|(outpoint, output)| Some((outpoint, output?)))
        .collect();
    let mut before = usize::MAX;
    while pending.len() < before {
        before = pending.len();
        pending.retain(
            |waiting| match waiting.resolved(&confirmed, outputs, mempool) {
                Some(transaction) => {
                    mempool.insert(transaction, changed);
                    false
                }
                None => true,
            },
        );
    }
    Ok(())
}
