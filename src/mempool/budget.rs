//! What stays when all of it takes too much memory.

use std::collections::HashSet;
use std::sync::Arc;

use bitcoin::Txid;

use super::{Mempool, UnconfirmedTransaction};
use crate::index::ScriptPrefix;

impl Mempool {
    /// What has to leave so that the rest takes at most so many bytes: the best paying stay, each with all parents.
    pub(super) fn paying_least(&self, bytes: usize) -> Vec<Txid> {
        let mut by_rate: Vec<&Arc<UnconfirmedTransaction>> = self.transactions.iter().collect();
        by_rate.sort_unstable_by_key(|transaction| {
            // Two that pay the same are told apart in the same way each time.
            (std::cmp::Reverse(transaction.fee_rate()), transaction.txid)
        });
        let mut room = bytes;
        let mut kept: HashSet<Txid> = HashSet::new();
        for best in by_rate {
            let family = self.family(best, &kept);
            let taken = family.iter().map(|relative| relative.bytes()).sum();
            let Some(left) = room.checked_sub(taken) else {
                break;
            };
            room = left;
            kept.extend(family.iter().map(|relative| relative.txid));
        }
        let leaves = self.txids().filter(|txid| !kept.contains(*txid));
        leaves.copied().collect()
    }

    /// A transaction with all its parents and theirs, but for those that are `kept` already.
    fn family<'a>(
        &'a self,
        transaction: &'a Arc<UnconfirmedTransaction>,
        kept: &HashSet<Txid>,
    ) -> Vec<&'a Arc<UnconfirmedTransaction>> {
        let mut seen = HashSet::new();
        let mut family = Vec::new();
        let mut next = vec![transaction];
        while let Some(relative) = next.pop() {
            if kept.contains(&relative.txid) || !seen.insert(relative.txid) {
                continue;
            }
            let spent = relative.inputs.iter();
            next.extend(
                spent.filter_map(|spending| self.transactions.get(&spending.outpoint.txid)),
            );
            family.push(relative);
        }
        family
    }

    /// Transactions that spend an output of one of these.
    pub(super) fn spending_of(&self, is_one: impl Fn(&Txid) -> bool) -> Vec<Txid> {
        let spends = |transaction: &&Arc<UnconfirmedTransaction>| {
            let mut inputs = transaction.inputs.iter();
            inputs.any(|spending| is_one(&spending.outpoint.txid))
        };
        let found = self.transactions.iter().filter(spends);
        found.map(|transaction| transaction.txid).collect()
    }

    /// Takes out transactions, and whatever spends them; gives all that left.
    pub(super) fn remove_with_children(
        &mut self,
        txids: Vec<Txid>,
        changed: &mut Vec<ScriptPrefix>,
    ) -> Vec<Txid> {
        let mut next = txids;
        let mut removed = Vec::new();
        while let Some(txid) = next.pop() {
            if let Some(transaction) = self.transactions.get(&txid) {
                next.extend(self.children(transaction).map(|child| child.txid));
                self.remove(&txid, changed);
                removed.push(txid);
            }
        }
        removed
    }
}
