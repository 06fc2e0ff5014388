//! Whether a transaction may leave: decoded, judged by the node, queued. Nothing here sends anything.

use std::sync::Arc;

use bitcoin::consensus::encode;
use bitcoin::{Transaction, Txid};
use zeroize::Zeroizing;

use super::dispatcher::Dispatcher;
use super::package::{Lot, PackageVerdict, package};
use super::refusal::Verdict;
use super::transaction::QueuedTransaction;
use super::{PackageMember, PackageRefusal, Quota, Refusal, Taken, TakenPackage};
use crate::limits;
use crate::node::{self, ChainState, FeeRate, Judge, Judgement, Surroundings};
use crate::redact::RawTransaction;

/// What is asked of the node for the sake of transactions that leave. Blocking.
pub(super) trait NodeQuestions: Send + Sync {
    /// See [`Judge::test`].
    fn test(&self, transaction: &[u8], fee_rate_max: FeeRate) -> Result<Judgement, node::Error>;
    /// See [`Judge::test_together`].
    fn test_together(
        &self,
        transactions: &[&[u8]],
        fee_rate_max: FeeRate,
    ) -> Result<Vec<Option<Judgement>>, node::Error>;
    /// See [`Judge::in_mempool`].
    fn in_mempool(&self, txids: &[Txid]) -> Result<Vec<bool>, node::Error>;
    /// See [`Judge::chain_state`].
    fn chain_state(&self) -> Result<ChainState, node::Error>;
    /// See [`Judge::surroundings`].
    fn surroundings(&self) -> Result<Surroundings, node::Error>;
}

/// The way of a transaction from a session into the queue.
pub(super) struct Admission {
    node: Arc<dyn NodeQuestions>,
    fee_rate_max: FeeRate,
    dispatcher: Dispatcher,
}

impl Admission {
    pub(super) fn new(
        node: Arc<dyn NodeQuestions>,
        fee_rate_max: FeeRate,
        dispatcher: Dispatcher,
    ) -> Self {
        Self {
            node,
            fee_rate_max,
            dispatcher,
        }
    }

    /// The queue behind it.
    pub(super) fn dispatcher(&self) -> &Dispatcher {
        &self.dispatcher
    }

    /// Takes a transaction, if it is one that the node would take; see [`super::Broadcaster::take`].
    ///
    /// For one that is on its way or that the network has, nothing is started: to announce it again would tell
    /// another peer of it.
    pub(super) fn take(&self, raw: &RawTransaction, quota: &Quota) -> Result<Taken, Refusal> {
        let transaction = decoded(raw)?;
        let txid = transaction.compute_txid();
        let known = Taken {
            txid,
            settled: None,
        };
        if self.dispatcher.holds(&txid) {
            return Ok(known);
        }
        let judgement = self.node.test(raw.expose(), self.fee_rate_max);
        let refusal = match judgement.map_err(|_silent| Refusal::NotReady)? {
            Judgement::Acceptable => None,
            Judgement::Rejected(reason) => match Verdict::of(&reason) {
                Verdict::Known => return Ok(known),
                Verdict::Refused(refusal) => Some(refusal),
            },
        };
        // Before the verdict is told: a node that is fetching the chain refuses what is good.
        self.dispatcher
            .readiness()
            .map_err(|_hindrance| Refusal::NotReady)?;
        let queued = queued(&transaction, raw);
        let queued = match refusal {
            None => queued,
            Some(Refusal::MissingInputs) => self.with_parents_on_their_way(queued)?,
            Some(refusal) => return Err(refusal),
        };
        Ok(Taken {
            txid,
            settled: self.dispatcher.admit(queued, quota)?,
        })
    }

    /// Takes parents and their child, if the node would take them all; see [`super::Broadcaster::take_package`].
    pub(super) fn take_package(
        &self,
        raw: &[RawTransaction],
        quota: &Quota,
    ) -> Result<TakenPackage, PackageRefusal> {
        let package = package(raw)?;
        let told = |verdict: &PackageVerdict| TakenPackage {
            members: package
                .iter()
                .zip(&verdict.0)
                .map(|(transaction, lot)| PackageMember::new(transaction, lot.refusal()))
                .collect(),
            settled: None,
        };
        let is_on_its_way = package
            .last()
            .is_some_and(|child| self.dispatcher.holds(&child.compute_txid()));
        if is_on_its_way {
            return Ok(told(&PackageVerdict(vec![Lot::Known; package.len()])));
        }
        let not_ready = PackageRefusal::NotTaken(Refusal::NotReady);
        let members: Vec<&[u8]> = raw.iter().map(|raw| raw.expose().as_slice()).collect();
        let verdict = PackageVerdict::ask(&*self.node, &members, self.fee_rate_max)
            .map_err(|_silent| not_ready)?;
        if verdict.is_known() {
            return Ok(told(&verdict));
        }
        // Before the verdict is told, as for one transaction.
        self.dispatcher
            .readiness()
            .map_err(|_hindrance| not_ready)?;
        let mut taken = told(&verdict);
        if let Some(refusal) = verdict.refusal() {
            blame(&mut taken.members, refusal);
            return Ok(taken);
        }
        let new = package.iter().zip(raw).zip(&verdict.0);
        let new = new.filter(|(_, lot)| **lot == Lot::Acceptable);
        let mut new: Vec<QueuedTransaction> = new
            .map(|((transaction, raw), _)| queued(transaction, raw))
            .collect();
        let Some(child) = new.pop() else {
            return Ok(taken);
        };
        let child = child.with_parents(new.into_iter().map(Arc::new).collect());
        let settled = self.dispatcher.admit(child, quota);
        taken.settled = settled.map_err(PackageRefusal::NotTaken)?;
        Ok(taken)
    }

    /// A transaction whose inputs the node does not know, with those that are on their way and that it spends from, if
    /// the node would take them all.
    fn with_parents_on_their_way(
        &self,
        child: QueuedTransaction,
    ) -> Result<QueuedTransaction, Refusal> {
        let parents = self.dispatcher.parents_of(&child.inputs);
        if parents.is_empty() || parents.len() >= limits::PACKAGE_MAX {
            return Err(Refusal::MissingInputs);
        }
        let raw = parents.iter().map(|parent| parent.raw.as_slice());
        let members: Vec<&[u8]> = raw.chain([child.raw.as_slice()]).collect();
        let verdict = PackageVerdict::ask(&*self.node, &members, self.fee_rate_max)
            .map_err(|_silent| Refusal::NotReady)?;
        if let Some(refusal) = verdict.refusal() {
            return Err(refusal);
        }
        let new = parents.into_iter().zip(&verdict.0);
        let new = new.filter(|(_, lot)| **lot == Lot::Acceptable);
        Ok(child.with_parents(new.map(|(parent, _)| parent).collect()))
    }
}

fn queued(transaction: &Transaction, raw: &RawTransaction) -> QueuedTransaction {
    QueuedTransaction::new(transaction, Zeroizing::new(raw.expose().clone()))
}

/// Nothing of a package is taken: if nobody is refused, the child is.
fn blame(members: &mut [PackageMember], refusal: Refusal) {
    let nobody = members.iter().all(|member| member.refusal.is_none());
    if let Some(child) = members.last_mut().filter(|_| nobody) {
        child.refusal = Some(refusal);
    }
}

/// What is exactly one transaction, and not too large for any node to relay.
pub(super) fn decoded(raw: &RawTransaction) -> Result<Transaction, Refusal> {
    let transaction: Transaction =
        encode::deserialize(raw.expose()).map_err(|_content| Refusal::NotATransaction)?;
    if transaction.weight().to_wu() > limits::TRANSACTION_WEIGHT_MAX {
        return Err(Refusal::TooLarge);
    }
    Ok(transaction)
}

impl NodeQuestions for Judge {
    fn test(&self, transaction: &[u8], fee_rate_max: FeeRate) -> Result<Judgement, node::Error> {
        Self::test(self, transaction, fee_rate_max)
    }

    fn test_together(
        &self,
        transactions: &[&[u8]],
        fee_rate_max: FeeRate,
    ) -> Result<Vec<Option<Judgement>>, node::Error> {
        Self::test_together(self, transactions, fee_rate_max)
    }

    fn in_mempool(&self, txids: &[Txid]) -> Result<Vec<bool>, node::Error> {
        Self::in_mempool(self, txids)
    }

    fn chain_state(&self) -> Result<ChainState, node::Error> {
        Self::chain_state(self)
    }

    fn surroundings(&self) -> Result<Surroundings, node::Error> {
        Self::surroundings(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broadcast::{Broadcaster as _, NotReady};
    use bitcoin::hashes::Hash as _;
    use bitcoin::{Amount, ScriptBuf, Sequence, TxIn, TxOut, absolute, transaction};

    fn paying(outputs: usize) -> Transaction {
        let output = TxOut {
            value: Amount::from_sat(1000),
            script_pubkey: ScriptBuf::from(vec![0x51; 91]),
        };
        Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::ZERO,
            input: vec![TxIn {
                previous_output: bitcoin::OutPoint::new(Txid::from_byte_array([7; 32]), 0),
                sequence: Sequence::MAX,
                ..TxIn::default()
            }],
            output: vec![output; outputs],
        }
    }

    fn refused(bytes: Vec<u8>) -> Option<Refusal> {
        let raw = RawTransaction::new(bytes);
        NotReady.take(&raw, &Quota::new()).err()
    }

    #[test]
    fn only_exactly_one_transaction_of_bounded_weight_is_looked_at() {
        let good = encode::serialize(&paying(1));
        assert_eq!(refused(good.clone()), Some(Refusal::NotReady));
        let trailing = [good.as_slice(), &[0]].concat();
        assert_eq!(refused(trailing), Some(Refusal::NotATransaction));
        let cut = good[..good.len() - 1].to_vec();
        assert_eq!(refused(cut), Some(Refusal::NotATransaction));
        assert_eq!(refused(Vec::new()), Some(Refusal::NotATransaction));
        // 51 bytes around outputs of 100 bytes each, and four units of weight for a byte.
        let largest = paying(999);
        assert!(largest.weight().to_wu() <= limits::TRANSACTION_WEIGHT_MAX);
        assert_eq!(
            refused(encode::serialize(&largest)),
            Some(Refusal::NotReady)
        );
        assert_eq!(
            refused(encode::serialize(&paying(1000))),
            Some(Refusal::TooLarge)
        );
    }
}
