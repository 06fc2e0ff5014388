//! What is unconfirmed, by script, in memory.
//!
//! A [`Mempool`] is one moment of the node's mempool and never changes; the next moment shares with it whatever is the
//! same. Whether a transaction has unconfirmed parents is found out when asked, so a parent that is mined needs no
//! change here, only a mention among the changed scripts. Outputs that begin with OP_RETURN are not kept.

mod fee_rates;
mod poll;
mod shards;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, OutPoint, Txid};

use crate::chain::EntryHeight;
use crate::index::ScriptPrefix;
use fee_rates::FeeRates;
use shards::Shards;

pub use poll::Error;
pub(crate) use poll::{MempoolSource, Poller};

/// The node's mempool at one moment; immutable, and a clone is cheap.
#[derive(Clone, Default)]
pub struct Mempool {
    transactions: Shards<Txid, Arc<UnconfirmedTransaction>>,
    /// Who funds or spends a script, each once.
    scripts: Shards<ScriptPrefix, Vec<Arc<UnconfirmedTransaction>>>,
    spenders: Shards<OutPoint, Arc<UnconfirmedTransaction>>,
    fee_rates: FeeRates,
}

/// An unconfirmed transaction of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnconfirmedEntry {
    /// The transaction.
    pub txid: Txid,
    /// `Unconfirmed` or `UnconfirmedParents`.
    pub height: EntryHeight,
    /// What its inputs hold more than its outputs.
    pub fee: Amount,
}

/// An unconfirmed output that nothing in the mempool spends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnconfirmedUnspent {
    /// The output.
    pub outpoint: OutPoint,
    /// What it holds.
    pub amount: Amount,
}

impl Mempool {
    /// Transactions of a script in the order of protocol 1.6: those of height 0 by displayed txid, then those of -1.
    pub fn history(&self, prefix: ScriptPrefix) -> Vec<UnconfirmedEntry> {
        self.in_order(prefix)
            .into_iter()
            .map(|(height, transaction)| UnconfirmedEntry {
                txid: transaction.txid,
                height,
                fee: transaction.fee,
            })
            .collect()
    }

    /// Unspent unconfirmed outputs of a script, in the order of `history`, then by their index.
    pub fn unspent(&self, prefix: ScriptPrefix) -> Vec<UnconfirmedUnspent> {
        self.in_order(prefix)
            .into_iter()
            .flat_map(|(_height, transaction)| {
                let of_script = |funding: &&Funding| funding.prefix == prefix;
                transaction.outputs.iter().filter(of_script).map(|funding| {
                    let outpoint = OutPoint::new(transaction.txid, funding.vout);
                    let amount = funding.amount;
                    UnconfirmedUnspent { outpoint, amount }
                })
            })
            .filter(|unspent| !self.spends(&unspent.outpoint))
            .collect()
    }

    /// What the mempool adds to (or takes from) the confirmed balance, in satoshi.
    pub fn balance(&self, prefix: ScriptPrefix) -> i64 {
        let transactions = self.scripts.get(&prefix).map_or(&[][..], Vec::as_slice);
        let funded = transactions
            .iter()
            .flat_map(|transaction| &transaction.outputs)
            .filter(|funding| funding.prefix == prefix)
            .map(|funding| funding.amount);
        let spent = transactions
            .iter()
            .flat_map(|transaction| &transaction.inputs)
            .filter(|spending| spending.prefix == prefix)
            .map(|spending| spending.amount);
        sum(funded).saturating_sub(sum(spent))
    }

    /// Whether a mempool transaction spends this output.
    pub fn spends(&self, outpoint: &OutPoint) -> bool {
        self.spenders.get(outpoint).is_some()
    }

    /// Whether this transaction is in the mempool.
    pub fn contains(&self, txid: &Txid) -> bool {
        self.transactions.get(txid).is_some()
    }

    /// Number of transactions.
    pub fn len(&self) -> usize {
        self.transactions.len()
    }

    /// Whether there is no transaction.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `[fee rate in sat/vB, virtual bytes]`, strictly decreasing in fee rate (protocol, `mempool.get_fee_histogram`).
    pub fn fee_histogram(&self) -> Vec<(f64, u64)> {
        self.fee_rates.histogram()
    }

    fn txids(&self) -> impl Iterator<Item = &Txid> {
        self.transactions.keys()
    }

    /// What an output of a mempool transaction holds, and whose it is.
    fn output(&self, outpoint: &OutPoint) -> Option<&Funding> {
        let outputs = &self.transactions.get(&outpoint.txid)?.outputs;
        let position = outputs.binary_search_by_key(&outpoint.vout, |funding| funding.vout);
        outputs.get(position.ok()?)
    }

    /// Adds a transaction and appends to `changed` the scripts whose history differs by it.
    fn insert(&mut self, transaction: UnconfirmedTransaction, changed: &mut Vec<ScriptPrefix>) {
        let transaction = Arc::new(transaction);
        self.mention(&transaction, changed);
        for prefix in transaction.prefixes() {
            self.scripts.update(prefix, |present| {
                let mut transactions = present.unwrap_or_default();
                transactions.push(Arc::clone(&transaction));
                Some(transactions)
            });
        }
        for spending in &transaction.inputs {
            self.spenders
                .insert(spending.outpoint, Arc::clone(&transaction));
        }
        self.fee_rates.add(transaction.fee, transaction.vsize);
        self.transactions.insert(transaction.txid, transaction);
    }

    /// Takes a transaction out and appends to `changed` the scripts whose history differs by it.
    fn remove(&mut self, txid: &Txid, changed: &mut Vec<ScriptPrefix>) {
        let Some(transaction) = self.transactions.remove(txid) else {
            return;
        };
        self.mention(&transaction, changed);
        for prefix in transaction.prefixes() {
            self.scripts.update(prefix, |present| {
                let mut transactions = present?;
                transactions.retain(|other| other.txid != *txid);
                (!transactions.is_empty()).then_some(transactions)
            });
        }
        for spending in &transaction.inputs {
            self.spenders.remove(&spending.outpoint);
        }
        self.fee_rates.subtract(transaction.fee, transaction.vsize);
    }

    /// The scripts of a transaction that comes or goes, and those of its children: their height changes with it.
    fn mention(&self, transaction: &UnconfirmedTransaction, changed: &mut Vec<ScriptPrefix>) {
        changed.extend(transaction.prefixes());
        for funding in &transaction.outputs {
            let outpoint = OutPoint::new(transaction.txid, funding.vout);
            if let Some(child) = self.spenders.get(&outpoint) {
                changed.extend(child.prefixes());
            }
        }
    }

    fn in_order(&self, prefix: ScriptPrefix) -> Vec<(EntryHeight, &UnconfirmedTransaction)> {
        let mut transactions: Vec<_> = self
            .scripts
            .get(&prefix)
            .into_iter()
            .flatten()
            .map(|transaction| (self.height(transaction), &**transaction))
            .collect();
        // `Unconfirmed` is before `UnconfirmedParents`, and a txid is displayed from its last byte on.
        transactions.sort_by_cached_key(|(height, transaction)| {
            let mut displayed = transaction.txid.to_byte_array();
            displayed.reverse();
            (*height, displayed)
        });
        transactions
    }

    fn height(&self, transaction: &UnconfirmedTransaction) -> EntryHeight {
        let unconfirmed = |spending: &Spending| self.contains(&spending.outpoint.txid);
        if transaction.inputs.iter().any(unconfirmed) {
            EntryHeight::UnconfirmedParents
        } else {
            EntryHeight::Unconfirmed
        }
    }
}

/// What is kept of a transaction.
struct UnconfirmedTransaction {
    txid: Txid,
    fee: Amount,
    vsize: u64,
    inputs: Box<[Spending]>,
    /// By rising `vout`; those that are not indexed are missing.
    outputs: Box<[Funding]>,
}

/// An input: what it spends, and whose that was.
struct Spending {
    outpoint: OutPoint,
    prefix: ScriptPrefix,
    amount: Amount,
}

/// An output: whose it is.
struct Funding {
    vout: u32,
    prefix: ScriptPrefix,
    amount: Amount,
}

impl UnconfirmedTransaction {
    /// The scripts it funds or spends, each once.
    fn prefixes(&self) -> Vec<ScriptPrefix> {
        let spent = self.inputs.iter().map(|spending| spending.prefix);
        let funded = self.outputs.iter().map(|funding| funding.prefix);
        let mut prefixes: Vec<_> = spent.chain(funded).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        prefixes
    }
}

/// In satoshi; the sum of all amounts ever is below 2^51.
fn sum(amounts: impl Iterator<Item = Amount>) -> i64 {
    amounts.fold(0, |sum, amount| {
        sum.saturating_add_unsigned(amount.to_sat())
    })
}
