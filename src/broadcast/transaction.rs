//! A transaction on its way out, in memory that is wiped.

use std::fmt;
use std::sync::Arc;

use bitcoin::{OutPoint, Transaction, Txid};
use zeroize::Zeroizing;

/// A transaction that waits for its deliveries.
pub struct QueuedTransaction {
    /// What peers are told of.
    pub(super) txid: Txid,
    /// What it spends.
    pub(super) inputs: Vec<OutPoint>,
    /// The whole of it, witness included, as consensus encodes it.
    pub(super) raw: Zeroizing<Vec<u8>>,
    /// What it spends from and peers may not have: served beside it, never announced. They have no parents here.
    pub(super) parents: Vec<Arc<Self>>,
}

impl QueuedTransaction {
    /// Of a transaction and the bytes it was decoded from.
    pub fn new(transaction: &Transaction, raw: Zeroizing<Vec<u8>>) -> Self {
        Self {
            txid: transaction.compute_txid(),
            inputs: transaction
                .input
                .iter()
                .map(|input| input.previous_output)
                .collect(),
            raw,
            parents: Vec::new(),
        }
    }

    /// The same, with transactions that are served beside it.
    pub fn with_parents(self, parents: Vec<Arc<Self>>) -> Self {
        Self { parents, ..self }
    }

    /// What is served: its parents, and itself behind them.
    pub(super) fn members(&self) -> impl Iterator<Item = &Self> {
        let parents = self.parents.iter().map(Arc::as_ref);
        parents.chain([self])
    }
}

impl fmt::Debug for QueuedTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[scrubbed]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::consensus::encode;
    use bitcoin::{TxIn, absolute, transaction};
    use zeroize::ZeroizeOnDrop;

    static_assertions::assert_not_impl_any!(QueuedTransaction: fmt::Display, Clone, serde::Serialize);

    fn assert_wiped<T: ZeroizeOnDrop>(_memory: &T) {}

    #[test]
    fn it_keeps_its_names_and_shows_nothing() {
        let transaction = Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::ZERO,
            input: vec![TxIn::default()],
            output: Vec::new(),
        };
        let raw = Zeroizing::new(encode::serialize(&transaction));
        let queued = QueuedTransaction::new(&transaction, raw);
        assert_eq!(queued.txid, transaction.compute_txid());
        assert_eq!(queued.inputs, [OutPoint::null()]);
        assert_wiped(&queued.raw);
        assert_eq!(format!("{queued:?} {queued:#?}"), "[scrubbed] [scrubbed]");
    }
}
