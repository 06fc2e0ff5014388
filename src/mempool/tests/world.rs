//! A fake node over a fake chain.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Instant;

use bitcoin::hashes::Hash as _;
use bitcoin::{
    Amount, BlockHash, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, absolute,
    transaction,
};

use crate::chain::ScriptHash;
use crate::index::{self, FundedOutput, ScriptPrefix, TransactionReader};
use crate::mempool::source::OutputSource;
use crate::mempool::{MempoolSource, Poller};
use crate::node;

/// A node's mempool and a chain beneath it, both set by the test.
#[derive(Default)]
pub(super) struct World {
    pub(super) listed: RefCell<Vec<Txid>>,
    mempool: RefCell<HashMap<Txid, Transaction>>,
    pub(super) confirmed: RefCell<HashMap<OutPoint, FundedOutput>>,
    pub(super) fetched: Cell<usize>,
    pub(super) largest_batch: Cell<usize>,
    pub(super) lists: Cell<usize>,
}

impl MempoolSource for World {
    fn mempool_txids(&self) -> Result<Vec<Txid>, node::Error> {
        self.lists.set(self.lists.get() + 1);
        Ok(self.listed.borrow().clone())
    }

    fn mempool_transactions(
        &self,
        txids: &[Txid],
    ) -> Result<Vec<Option<Transaction>>, node::Error> {
        self.fetched.set(self.fetched.get() + txids.len());
        self.largest_batch
            .set(self.largest_batch.get().max(txids.len()));
        let mempool = self.mempool.borrow();
        Ok(txids
            .iter()
            .map(|txid| mempool.get(txid).cloned())
            .collect())
    }

    fn block_transactions(
        &self,
        wanted: &[(Txid, BlockHash)],
    ) -> Result<Vec<Option<Transaction>>, node::Error> {
        Ok(wanted.iter().map(|_| None).collect())
    }
}

impl OutputSource for World {
    fn prefix(&self, script_hash: &ScriptHash) -> ScriptPrefix {
        ScriptPrefix(u64::from_be_bytes(
            script_hash.as_bytes()[..8].try_into().unwrap(),
        ))
    }

    fn outputs(
        &self,
        outpoints: &[OutPoint],
        _reader: &dyn TransactionReader,
    ) -> Result<Vec<Option<FundedOutput>>, index::Error> {
        let confirmed = self.confirmed.borrow();
        Ok(outpoints
            .iter()
            .map(|point| confirmed.get(point).copied())
            .collect())
    }
}

impl World {
    /// A confirmed output of `sat` satoshi of the script `owner`.
    pub(super) fn coin(&self, number: u8, owner: u8, sat: u64) -> OutPoint {
        let outpoint = OutPoint::new(Txid::from_byte_array([number; 32]), 0);
        self.confirm(outpoint, owner, sat);
        outpoint
    }

    pub(super) fn confirm(&self, outpoint: OutPoint, owner: u8, sat: u64) {
        let output = FundedOutput {
            prefix: self.of(owner),
            amount: Amount::from_sat(sat),
        };
        self.confirmed.borrow_mut().insert(outpoint, output);
    }

    pub(super) fn of(&self, owner: u8) -> ScriptPrefix {
        self.prefix(&ScriptHash::of(&script(owner)))
    }

    pub(super) fn set(&self, transactions: &[&Transaction]) {
        let txids = transactions
            .iter()
            .map(|transaction| transaction.compute_txid());
        *self.listed.borrow_mut() = txids.clone().collect();
        *self.mempool.borrow_mut() = txids.zip(transactions.iter().copied().cloned()).collect();
    }

    /// Rounds until everything is taken in, and the owners among `0..=9` whose history changed.
    pub(super) fn round(&self, poller: &mut Poller) -> Vec<u8> {
        poller.list_again();
        let now = Instant::now();
        while poller.round(self, self, tip(0), now).unwrap().is_zero() {}
        let changed = poller.take_changed();
        assert!(changed.is_sorted());
        let changed = |owner: &u8| changed.contains(&self.of(*owner));
        (0..=9).filter(changed).collect()
    }
}

/// A block's hash by number.
pub(super) fn tip(number: u8) -> BlockHash {
    BlockHash::from_byte_array([number; 32])
}

pub(super) fn script(owner: u8) -> ScriptBuf {
    ScriptBuf::from(vec![0x51, owner])
}

pub(super) fn pay(from: &[OutPoint], to: &[(u8, u64)]) -> Transaction {
    let to: Vec<_> = to
        .iter()
        .map(|(owner, sat)| (script(*owner), *sat))
        .collect();
    spend(from, to)
}

/// Pays to scripts by numbers of which there are many.
pub(super) fn pay_scripts(from: &[OutPoint], to: &[(u32, u64)]) -> Transaction {
    let script = |number: u32| ScriptBuf::from(number.to_be_bytes().to_vec());
    let to: Vec<_> = to
        .iter()
        .map(|(number, sat)| (script(*number), *sat))
        .collect();
    spend(from, to)
}

fn spend(from: &[OutPoint], to: Vec<(ScriptBuf, u64)>) -> Transaction {
    Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: from
            .iter()
            .map(|outpoint| TxIn {
                previous_output: *outpoint,
                sequence: Sequence::MAX,
                ..TxIn::default()
            })
            .collect(),
        output: to
            .into_iter()
            .map(|(script_pubkey, sat)| TxOut {
                value: Amount::from_sat(sat),
                script_pubkey,
            })
            .collect(),
    }
}

pub(super) fn output(transaction: &Transaction, vout: u32) -> OutPoint {
    OutPoint::new(transaction.compute_txid(), vout)
}
