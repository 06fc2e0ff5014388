//! From a transaction's bytes to what is kept of it: whose the outputs are that it spends and makes.

use std::cell::Cell;
use std::collections::HashMap;

use bitcoin::{Amount, BlockHash, OutPoint, Transaction, Txid};

use super::poll::Error;
use super::source::{MempoolSource, OutputSource};
use super::{Funding, Mempool, Spending, UnconfirmedTransaction};
use crate::chain::ScriptHash;
use crate::index::{FundedOutput, ScriptPrefix, TransactionReader};
use crate::node;

/// Moves from `pending` into the mempool what can be, parents before children, until nothing more moves.
pub(super) fn take_in(
    pending: &mut Vec<Pending>,
    source: &dyn MempoolSource,
    outputs: &dyn OutputSource,
    mempool: &mut Mempool,
    changed: &mut Vec<ScriptPrefix>,
) -> Result<(), Error> {
    let outpoints: Vec<OutPoint> = pending
        .iter()
        .flat_map(|pending| &pending.transaction.input)
        .map(|input| input.previous_output)
        .filter(|outpoint| mempool.output(outpoint).is_none())
        .collect();
    let reader = BySource {
        source,
        failure: Cell::new(None),
    };
    let found = outputs.outputs(&outpoints, &reader).map_err(Error::Index)?;
    if let Some(failure) = reader.failure.take() {
        return Err(Error::Node(failure));
    }
    let found = outpoints.into_iter().zip(found);
    let confirmed: HashMap<_, _> = found
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
pub(super) struct Pending {
    txid: Txid,
    transaction: Transaction,
}

impl Pending {
    pub(super) fn of(transaction: Transaction) -> Self {
        let txid = transaction.compute_txid();
        Self { txid, transaction }
    }

    /// Those whose outputs it spends.
    pub(super) fn parents(&self) -> impl Iterator<Item = Txid> {
        let inputs = self.transaction.input.iter();
        inputs.map(|input| input.previous_output.txid)
    }

    /// Bytes of the transaction.
    pub(super) fn bytes(&self) -> usize {
        self.transaction.total_size()
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
