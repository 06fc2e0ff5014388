//! How a transaction leaves.
//!
//! What a client is told is one of the fixed texts of [`Refusal`]; the node's own words never reach it.

mod conversation;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the dispatcher comes with the next step")
)]
mod job;
mod own_node;
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
mod quota;
mod refusal;
mod slot;
mod timing;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the admission comes with the next step")
)]
mod transaction;
mod wire;

use std::pin::Pin;

use bitcoin::consensus::encode;
use bitcoin::{Transaction, Txid};

pub use conversation::{Conversation, DeliveryEnd, Progress};
pub use own_node::OwnNode;
pub use peer::{Host, Peer, PeerAddress, PeerFault, PeerNetwork, Transport};
pub use pool::Networks;
pub use queue::Alarm;
pub use quota::Quota;
pub use refusal::Refusal;
pub use timing::{Between, Exponential, Timing};
pub use transaction::QueuedTransaction;

use crate::limits;
use crate::redact::RawTransaction;

/// Takes transactions that are to leave.
pub trait Broadcaster: Send + Sync {
    /// Judges a transaction, and takes it if it is new. Blocking. `quota` is what its session may still queue.
    fn take(&self, transaction: &RawTransaction, quota: &Quota) -> Result<Taken, Refusal>;
}

/// A transaction that was taken: it is on its way, or was known before.
pub struct Taken {
    /// Its id, for the client.
    pub txid: Txid,
    /// What to wait for before the client is answered; `None` for a transaction that was known before.
    pub settled: Option<Settled>,
}

/// Ready when the network has the transaction, or when it is time to answer all the same.
pub type Settled = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes nothing: for sessions without a way out.
pub struct NotReady;

impl Broadcaster for NotReady {
    fn take(&self, transaction: &RawTransaction, _quota: &Quota) -> Result<Taken, Refusal> {
        decoded(transaction)?;
        Err(Refusal::NotReady)
    }
}

/// What is exactly one transaction, and not too large for any node to relay.
fn decoded(raw: &RawTransaction) -> Result<Transaction, Refusal> {
    let transaction: Transaction =
        encode::deserialize(raw.expose()).map_err(|_content| Refusal::NotATransaction)?;
    if transaction.weight().to_wu() > limits::TRANSACTION_WEIGHT_MAX {
        return Err(Refusal::TooLarge);
    }
    Ok(transaction)
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
