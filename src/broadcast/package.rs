//! Transactions that are to leave together: parents, then the child that spends from each of them.

mod verdict;

use std::collections::HashSet;

use bitcoin::{Transaction, Txid, Wtxid};

use super::admission::decoded;
use super::{Refusal, Settled};
use crate::limits;
use crate::redact::RawTransaction;

pub(super) use verdict::{Lot, PackageVerdict};

/// A package that was judged.
pub struct TakenPackage {
    /// What was said of each transaction, in their order.
    pub members: Vec<PackageMember>,
    /// What to wait for before the client is answered; `None` when nothing of it is new, or nothing was taken.
    pub settled: Option<Settled>,
}

/// What was said of one transaction of a package.
pub struct PackageMember {
    /// Its id.
    pub txid: Txid,
    /// Its id with witnesses.
    pub wtxid: Wtxid,
    /// Why it was not taken, if it was not.
    pub refusal: Option<Refusal>,
}

/// Why nothing in a package was judged; each is one fixed text for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageRefusal {
    /// There is nothing in it.
    Empty,
    /// See [`limits::PACKAGE_MAX`].
    TooMany,
    /// A transaction stands in it twice.
    Repeated,
    /// It is not some parents and, last, a child that spends from each; or a parent spends from another.
    NotAFamily,
    /// One of its transactions is none, or it cannot be taken now.
    NotTaken(Refusal),
}

impl PackageRefusal {
    /// The fixed text.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Empty => "package-empty: there is no transaction in it",
            Self::TooMany => {
                "package-too-many-transactions: a child and four parents at most are taken together"
            }
            Self::Repeated => "package-contains-duplicates: a transaction stands in it twice",
            Self::NotAFamily => {
                "package-not-child-with-parents: only parents of no others, followed by a child of all, are taken together"
            }
            Self::NotTaken(refusal) => refusal.text(),
        }
    }
}

/// The transactions of what is a package, none of them judged.
pub(super) fn package(raw: &[RawTransaction]) -> Result<Vec<Transaction>, PackageRefusal> {
    if raw.len() > limits::PACKAGE_MAX {
        return Err(PackageRefusal::TooMany);
    }
    let transactions: Vec<Transaction> = raw
        .iter()
        .map(decoded)
        .collect::<Result<_, _>>()
        .map_err(PackageRefusal::NotTaken)?;
    let Some((child, parents)) = transactions.split_last() else {
        return Err(PackageRefusal::Empty);
    };
    let txids: HashSet<Txid> = transactions.iter().map(Transaction::compute_txid).collect();
    if txids.len() < transactions.len() {
        return Err(PackageRefusal::Repeated);
    }
    let is_parent = |parent: &Transaction| {
        let txid = parent.compute_txid();
        spent(child).any(|spent| spent == txid)
            && spent(parent).all(|spent| !txids.contains(&spent))
    };
    if parents.iter().all(is_parent) {
        Ok(transactions)
    } else {
        Err(PackageRefusal::NotAFamily)
    }
}

/// Of which transactions it spends outputs.
fn spent(transaction: &Transaction) -> impl Iterator<Item = Txid> {
    let inputs = transaction.input.iter();
    inputs.map(|input| input.previous_output.txid)
}

impl PackageMember {
    /// Of a transaction that is refused for this, or for nothing.
    pub(super) fn new(transaction: &Transaction, refusal: Option<Refusal>) -> Self {
        Self {
            txid: transaction.compute_txid(),
            wtxid: transaction.compute_wtxid(),
            refusal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::consensus::encode;
    use bitcoin::hashes::Hash as _;
    use bitcoin::{Amount, OutPoint, ScriptBuf, TxIn, TxOut, absolute, transaction};

    fn spending(parents: &[Txid]) -> Transaction {
        let input = |txid: &Txid| TxIn {
            previous_output: OutPoint::new(*txid, 0),
            ..TxIn::default()
        };
        Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::ZERO,
            input: parents.iter().map(input).collect(),
            output: vec![TxOut {
                value: Amount::from_sat(1),
                script_pubkey: ScriptBuf::new(),
            }],
        }
    }

    fn coin(number: u8) -> Txid {
        Txid::from_byte_array([number; 32])
    }

    fn judged(transactions: &[&Transaction]) -> Result<usize, PackageRefusal> {
        let raw: Vec<_> = transactions
            .iter()
            .map(|transaction| RawTransaction::new(encode::serialize(*transaction)))
            .collect();
        package(&raw).map(|transactions| transactions.len())
    }

    #[test]
    fn a_package_is_a_child_behind_its_parents() {
        let parents: Vec<Transaction> = (1..=5).map(|number| spending(&[coin(number)])).collect();
        let txids: Vec<Txid> = parents.iter().map(Transaction::compute_txid).collect();
        let child = spending(&[txids[0], txids[1], coin(9)]);
        assert_eq!(judged(&[&parents[0], &parents[1], &child]), Ok(3));
        // Not all of the parents, and none.
        assert_eq!(judged(&[&parents[1], &child]), Ok(2));
        assert_eq!(judged(&[&child]), Ok(1));

        assert_eq!(judged(&[]), Err(PackageRefusal::Empty));
        let not_a_family = Err(PackageRefusal::NotAFamily);
        assert_eq!(judged(&[&child, &parents[0]]), not_a_family);
        assert_eq!(judged(&[&parents[0], &parents[2], &child]), not_a_family);
        let grandchild = spending(&[child.compute_txid(), txids[0]]);
        assert_eq!(judged(&[&parents[0], &child, &grandchild]), not_a_family);
        let twice = judged(&[&parents[0], &parents[0], &child]);
        assert_eq!(twice, Err(PackageRefusal::Repeated));

        let largest = spending(&txids[..4]);
        let mut family: Vec<&Transaction> = parents[..4].iter().collect();
        family.push(&largest);
        assert_eq!(judged(&family), Ok(limits::PACKAGE_MAX));
        let too_large = spending(&txids);
        let mut family: Vec<&Transaction> = parents.iter().collect();
        family.push(&too_large);
        assert_eq!(judged(&family), Err(PackageRefusal::TooMany));
    }

    #[test]
    fn what_is_no_transaction_is_in_no_package() {
        let raw = [RawTransaction::new(vec![0])];
        let refusal = PackageRefusal::NotTaken(Refusal::NotATransaction);
        assert_eq!(package(&raw).err(), Some(refusal));
    }

    #[test]
    fn texts_are_short_plain_lines() {
        for refusal in [
            PackageRefusal::Empty,
            PackageRefusal::TooMany,
            PackageRefusal::Repeated,
            PackageRefusal::NotAFamily,
        ] {
            let text = refusal.text();
            assert!(text.len() <= 120 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }
}
