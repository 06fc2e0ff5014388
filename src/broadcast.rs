//! How a transaction leaves.
//!
//! What a client is told is one of the fixed texts of [`Refusal`]; the node's own words never reach it.

mod conversation;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the dispatcher comes with the next step")
)]
mod job;
mod peer;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the dispatcher comes with the next step")
)]
mod pool;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the dispatcher comes with the next step")
)]
mod queue;
mod refusal;
mod slot;
mod timing;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the admission comes with the next step")
)]
mod transaction;
mod wire;

use bitcoin::consensus::encode;
use bitcoin::{Transaction, Txid};

pub use conversation::{Conversation, DeliveryEnd, Progress};
pub use peer::{Host, Peer, PeerAddress, PeerFault, PeerNetwork, Transport};
pub use pool::Networks;
pub use queue::Alarm;
pub use refusal::Refusal;
pub use timing::{Between, Exponential, Timing};
pub use transaction::QueuedTransaction;

use crate::limits;
use crate::node::{SendError, Sender};
use crate::redact::RawTransaction;
use refusal::Verdict;

/// Hands a transaction on. Blocking.
pub trait Broadcaster: Send + Sync {
    /// Takes a transaction; the txid when it is on its way, or was known before.
    fn broadcast(&self, transaction: &RawTransaction) -> Result<Txid, Refusal>;
}

/// Takes nothing: the broadcaster while there is no private way out. There is no other way to fall back to.
pub struct NotReady;

impl Broadcaster for NotReady {
    fn broadcast(&self, transaction: &RawTransaction) -> Result<Txid, Refusal> {
        decoded(transaction)?;
        Err(Refusal::NotReady)
    }
}

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
    fn broadcast(&self, transaction: &RawTransaction) -> Result<Txid, Refusal> {
        let txid = decoded(transaction)?;
        match self.sender.send(transaction) {
            // A transaction that is in the mempool already is announced again, and the node says nothing of it.
            Ok(()) => Ok(txid),
            Err(SendError::Rejected(reason)) => match Verdict::of(&reason) {
                Verdict::Known => Ok(txid),
                Verdict::Refused(refusal) => Err(refusal),
            },
            Err(SendError::Node(_)) => Err(Refusal::NotReady),
        }
    }
}

/// The txid of what is exactly one transaction, and not too large for any node to relay.
fn decoded(raw: &RawTransaction) -> Result<Txid, Refusal> {
    let transaction: Transaction =
        encode::deserialize(raw.expose()).map_err(|_content| Refusal::NotATransaction)?;
    if transaction.weight().to_wu() > limits::TRANSACTION_WEIGHT_MAX {
        return Err(Refusal::TooLarge);
    }
    Ok(transaction.compute_txid())
}

#[cfg(test)]
mod tests {
    use super::*;
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
        NotReady.broadcast(&RawTransaction::new(bytes)).err()
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
