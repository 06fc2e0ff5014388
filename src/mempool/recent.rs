//! The transactions that came last.

use std::collections::VecDeque;

use bitcoin::{Amount, Txid};

use super::transaction::UnconfirmedTransaction;
use crate::limits;

/// A transaction that came last, or nearly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecentTransaction {
    /// The transaction.
    pub txid: Txid,
    /// What its inputs hold more than its outputs.
    pub fee: Amount,
    /// In virtual bytes.
    pub vsize: u64,
}

/// The last [`limits::RECENT_TRANSACTIONS`] that came, without those of them that have left.
#[derive(Clone, Default)]
pub(super) struct Recent(VecDeque<RecentTransaction>);

impl Recent {
    pub(super) fn came(&mut self, transaction: &UnconfirmedTransaction) {
        self.0
            .truncate(limits::RECENT_TRANSACTIONS.saturating_sub(1));
        self.0.push_front(RecentTransaction {
            txid: transaction.txid,
            fee: transaction.fee,
            vsize: transaction.vsize,
        });
    }

    pub(super) fn left(&mut self, txid: &Txid) {
        self.0.retain(|recent| recent.txid != *txid);
    }

    pub(super) fn newest_first(&self) -> Vec<RecentTransaction> {
        self.0.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::Hash as _;

    fn transaction(number: u8) -> UnconfirmedTransaction {
        UnconfirmedTransaction {
            txid: Txid::from_byte_array([number; 32]),
            fee: Amount::from_sat(u64::from(number)),
            vsize: 100,
            inputs: Box::default(),
            outputs: Box::default(),
        }
    }

    #[test]
    fn the_last_ones_are_told_as_long_as_they_are_there() {
        let mut recent = Recent::default();
        for number in 1..=12 {
            recent.came(&transaction(number));
        }
        let fees = |recent: &Recent| -> Vec<u64> {
            let all = recent.newest_first().into_iter();
            all.map(|recent| recent.fee.to_sat()).collect()
        };
        assert_eq!(fees(&recent), [12, 11, 10, 9, 8, 7, 6, 5, 4, 3]);
        recent.left(&transaction(11).txid);
        recent.left(&transaction(1).txid);
        assert_eq!(fees(&recent), [12, 10, 9, 8, 7, 6, 5, 4, 3]);
        recent.came(&transaction(13));
        assert_eq!(fees(&recent), [13, 12, 10, 9, 8, 7, 6, 5, 4, 3]);
    }
}
