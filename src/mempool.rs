//! What is unconfirmed, by script, in memory.
//!
//! A [`Mempool`] is one moment of the node's mempool and never changes; the next moment shares with it whatever is the
//! same. Whether a transaction has unconfirmed parents is found out when asked, so a parent that is mined needs no
//! change here, only a mention among the changed scripts. Outputs that begin with OP_RETURN are not kept.
//!
//! It is what a node with a smaller mempool would have: of each transaction that is there all unconfirmed parents are
//! there too, and when all together take more than `MEMPOOL_BYTES_MAX`, those stay that pay best.

mod budget;
mod fee_rates;
mod part;
mod poll;
mod recent;
mod shards;
mod source;
mod take_in;
#[cfg(test)]
mod tests;
mod transaction;

use std::sync::Arc;

use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, OutPoint, Txid};

use crate::chain::{EntryHeight, HistoryEntry};
use crate::index::ScriptPrefix;
use fee_rates::FeeRates;
use recent::Recent;
use shards::Shards;
use transaction::{Funding, ScriptUse, Spender, Spending, UnconfirmedTransaction};

pub use part::{MempoolGap, MempoolPart};
pub use poll::Error;
pub(crate) use poll::Poller;
pub use recent::RecentTransaction;
pub(crate) use source::MempoolSource;

/// The node's mempool at one moment; immutable, and a clone is cheap.
#[derive(Clone, Default)]
pub struct Mempool {
    transactions: Shards<Arc<UnconfirmedTransaction>>,
    scripts: Shards<ScriptUse>,
    spenders: Shards<Spender>,
    fee_rates: FeeRates,
    recent: Recent,
    /// What all of it takes.
    bytes: usize,
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
        let transactions = self.of_script(prefix);
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

    /// Where the transaction stands that makes this output; `None` if the mempool does not have it.
    pub fn funder(&self, outpoint: &OutPoint) -> Option<EntryHeight> {
        let transaction = self.transactions.get(&outpoint.txid)?;
        transaction.output(outpoint.vout)?;
        Some(self.height(transaction))
    }

    /// The mempool transaction that spends this output.
    pub fn spender(&self, outpoint: &OutPoint) -> Option<HistoryEntry> {
        let transaction = &self.spenders.get(outpoint)?.transaction;
        Some(HistoryEntry {
            txid: transaction.txid,
            height: self.height(transaction),
        })
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

    /// Those that came last, the newest first.
    pub fn recent(&self) -> Vec<RecentTransaction> {
        self.recent.newest_first()
    }

    /// Memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn txids(&self) -> impl Iterator<Item = &Txid> {
        self.transactions
            .iter()
            .map(|transaction| &transaction.txid)
    }

    fn of_script(&self, prefix: ScriptPrefix) -> &[Arc<UnconfirmedTransaction>] {
        let script = self.scripts.get(&prefix);
        script.map_or(&[][..], ScriptUse::transactions)
    }

    /// What an output of a mempool transaction holds, and whose it is.
    fn output(&self, outpoint: &OutPoint) -> Option<&Funding> {
        self.transactions.get(&outpoint.txid)?.output(outpoint.vout)
    }

    /// Adds a transaction and appends to `changed` the scripts whose history differs by it.
    fn insert(&mut self, transaction: UnconfirmedTransaction, changed: &mut Vec<ScriptPrefix>) {
        let transaction = Arc::new(transaction);
        self.mention(&transaction, changed);
        for prefix in transaction.prefixes() {
            match self.scripts.get_mut(&prefix) {
                Some(script) => script.add(&transaction),
                None => self.scripts.insert(ScriptUse::new(prefix, &transaction)),
            }
        }
        for spender in transaction.spenders() {
            self.spenders.insert(spender);
        }
        self.fee_rates.add(transaction.fee, transaction.vsize);
        self.recent.came(&transaction);
        self.bytes = self.bytes.saturating_add(transaction.bytes());
        self.transactions.insert(transaction);
    }

    /// Takes a transaction out and appends to `changed` the scripts whose history differs by it.
    fn remove(&mut self, txid: &Txid, changed: &mut Vec<ScriptPrefix>) {
        let Some(transaction) = self.transactions.remove(txid) else {
            return;
        };
        self.mention(&transaction, changed);
        for prefix in transaction.prefixes() {
            let script = self.scripts.get_mut(&prefix);
            if script.is_some_and(|script| script.remove(&transaction)) {
                self.scripts.remove(&prefix);
            }
        }
        for spending in &transaction.inputs {
            self.spenders.remove(&spending.outpoint);
        }
        self.fee_rates.subtract(transaction.fee, transaction.vsize);
        self.recent.left(txid);
        self.bytes = self.bytes.saturating_sub(transaction.bytes());
    }

    /// The scripts of a transaction that comes or goes, and those of its children: their height changes with it.
    fn mention(&self, transaction: &UnconfirmedTransaction, changed: &mut Vec<ScriptPrefix>) {
        changed.extend(transaction.prefixes());
        for child in self.children(transaction) {
            changed.extend(child.prefixes());
        }
    }

    fn children(
        &self,
        transaction: &UnconfirmedTransaction,
    ) -> impl Iterator<Item = &UnconfirmedTransaction> {
        let txid = transaction.txid;
        let outpoints = transaction
            .outputs
            .iter()
            .map(move |funding| OutPoint::new(txid, funding.vout));
        outpoints.filter_map(|outpoint| Some(&*self.spenders.get(&outpoint)?.transaction))
    }

    fn in_order(&self, prefix: ScriptPrefix) -> Vec<(EntryHeight, &UnconfirmedTransaction)> {
        let mut transactions: Vec<_> = self
            .of_script(prefix)
            .iter()
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

/// In satoshi; the sum of all amounts ever is below 2^51.
fn sum(amounts: impl Iterator<Item = Amount>) -> i64 {
    amounts.fold(0, |sum, amount| {
        sum.saturating_add_unsigned(amount.to_sat())
    })
}
