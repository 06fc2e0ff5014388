//! A transaction leaves by the operator's node.

use bitcoin::{Transaction, Wtxid};

use super::admission::decoded;
use super::package::package;
use super::refusal::Verdict;
use super::{Broadcaster, PackageMember, PackageRefusal, Quota, Refusal, Taken, TakenPackage};
use crate::node::{SendError, Sender};
use crate::redact::RawTransaction;

/// Hands transactions to the operator's node, which announces them under its own address.
pub struct OwnNode {
    sender: Sender,
}

impl OwnNode {
    /// Sends through this node.
    pub fn new(sender: Sender) -> Self {
        Self { sender }
    }
}

impl Broadcaster for OwnNode {
    /// Nothing is queued, so the quota is not touched.
    fn take(&self, transaction: &RawTransaction, _quota: &Quota) -> Result<Taken, Refusal> {
        let taken = Taken {
            txid: decoded(transaction)?.compute_txid(),
            settled: None,
        };
        match self.sender.send(transaction) {
            // A transaction that is in the mempool already is announced again, and the node says nothing of it.
            Ok(()) => Ok(taken),
            Err(SendError::Rejected(reason)) => match Verdict::of(&reason) {
                Verdict::Known => Ok(taken),
                Verdict::Refused(refusal) => Err(refusal),
            },
            Err(SendError::Node(_)) => Err(Refusal::NotReady),
        }
    }

    /// The node may take parents and refuse their child.
    fn take_package(
        &self,
        transactions: &[RawTransaction],
        _quota: &Quota,
    ) -> Result<TakenPackage, PackageRefusal> {
        let package = package(transactions)?;
        let wtxids: Vec<Wtxid> = package.iter().map(Transaction::compute_wtxid).collect();
        let reasons = self.sender.send_package(transactions, &wtxids);
        let reasons = reasons.map_err(|_silent| PackageRefusal::NotTaken(Refusal::NotReady))?;
        Ok(TakenPackage {
            members: package
                .iter()
                .zip(&reasons)
                .map(|(transaction, reason)| {
                    let verdict = reason.as_ref().map(Verdict::of);
                    PackageMember::new(transaction, verdict.and_then(Verdict::refusal))
                })
                .collect(),
            settled: None,
        })
    }
}
