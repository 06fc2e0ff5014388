//! Rounds from a fake node over a fake chain.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use bitcoin::hashes::Hash as _;
use bitcoin::{
    Amount, BlockHash, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, absolute,
    transaction,
};

use super::poll::OutputSource;
use super::{Mempool, MempoolSource, Poller, UnconfirmedEntry};
use crate::chain::{EntryHeight, ScriptHash};
use crate::index::{self, FundedOutput, ScriptPrefix, TransactionReader};
use crate::limits;
use crate::node;

/// A node's mempool and a chain beneath it, both set by the test.
#[derive(Default)]
struct World {
    listed: RefCell<Vec<Txid>>,
    mempool: RefCell<HashMap<Txid, Transaction>>,
    confirmed: RefCell<HashMap<OutPoint, FundedOutput>>,
    fetched: Cell<usize>,
    largest_batch: Cell<usize>,
}

impl MempoolSource for World {
    fn mempool_txids(&self) -> Result<Vec<Txid>, node::Error> {
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
    fn coin(&self, number: u8, owner: u8, sat: u64) -> OutPoint {
        let outpoint = OutPoint::new(Txid::from_byte_array([number; 32]), 0);
        self.confirm(outpoint, owner, sat);
        outpoint
    }

    fn confirm(&self, outpoint: OutPoint, owner: u8, sat: u64) {
        let output = FundedOutput {
            prefix: self.of(owner),
            amount: Amount::from_sat(sat),
        };
        self.confirmed.borrow_mut().insert(outpoint, output);
    }

    fn of(&self, owner: u8) -> ScriptPrefix {
        self.prefix(&ScriptHash::of(&script(owner)))
    }

    fn set(&self, transactions: &[&Transaction]) {
        let txids = transactions
            .iter()
            .map(|transaction| transaction.compute_txid());
        *self.listed.borrow_mut() = txids.clone().collect();
        *self.mempool.borrow_mut() = txids.zip(transactions.iter().copied().cloned()).collect();
    }

    /// One round that takes everything in, and the owners among `0..=9` whose history changed.
    fn round(&self, poller: &mut Poller, mempool: &mut Mempool) -> Vec<u8> {
        let round = poller.round(self, self, mempool).unwrap();
        assert!(!round.more);
        assert!(round.changed.is_sorted());
        *mempool = round.mempool;
        let changed = |owner: &u8| round.changed.contains(&self.of(*owner));
        (0..=9).filter(changed).collect()
    }
}

fn script(owner: u8) -> ScriptBuf {
    ScriptBuf::from(vec![0x51, owner])
}

fn pay(from: &[OutPoint], to: &[(u8, u64)]) -> Transaction {
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
            .iter()
            .map(|(owner, sat)| TxOut {
                value: Amount::from_sat(*sat),
                script_pubkey: script(*owner),
            })
            .collect(),
    }
}

fn output(transaction: &Transaction, vout: u32) -> OutPoint {
    OutPoint::new(transaction.compute_txid(), vout)
}

fn entry(transaction: &Transaction, height: EntryHeight, fee: u64) -> UnconfirmedEntry {
    UnconfirmedEntry {
        txid: transaction.compute_txid(),
        height,
        fee: Amount::from_sat(fee),
    }
}

#[test]
fn a_payment_and_its_child_are_seen_by_all_scripts_they_touch() {
    let world = World::default();
    let coin = world.coin(1, 1, 1000);
    let parent = pay(&[coin], &[(2, 600), (1, 300)]);
    let child = pay(&[output(&parent, 0)], &[(3, 500)]);
    world.set(&[&parent, &child]);
    let (mut poller, mut mempool) = (Poller::default(), Mempool::default());
    assert_eq!(world.round(&mut poller, &mut mempool), [1, 2, 3]);

    let of_parent = entry(&parent, EntryHeight::Unconfirmed, 100);
    let of_child = entry(&child, EntryHeight::UnconfirmedParents, 100);
    assert_eq!(mempool.history(world.of(1)), [of_parent]);
    assert_eq!(mempool.history(world.of(2)), [of_parent, of_child]);
    assert_eq!(mempool.history(world.of(3)), [of_child]);
    assert_eq!(mempool.history(world.of(4)), []);
    let balances = [1, 2, 3, 4].map(|owner| mempool.balance(world.of(owner)));
    assert_eq!(balances, [-700, 0, 500, 0]);
    let unspent = |owner| -> Vec<_> {
        let of_owner = mempool.unspent(world.of(owner)).into_iter();
        of_owner
            .map(|unspent| (unspent.outpoint, unspent.amount.to_sat()))
            .collect()
    };
    assert_eq!(unspent(1), [(output(&parent, 1), 300)]);
    assert_eq!(unspent(2), []);
    assert_eq!(unspent(3), [(output(&child, 0), 500)]);
    assert!(mempool.spends(&coin) && mempool.spends(&output(&parent, 0)));
    assert!(!mempool.spends(&output(&parent, 1)));
    assert_eq!(mempool.len(), 2);
    assert_eq!(world.round(&mut poller, &mut mempool), [0; 0]);
    assert_eq!(world.fetched.get(), 2);
}

#[test]
fn history_is_in_the_order_of_the_protocol() {
    let world = World::default();
    let mut transactions = Vec::new();
    for number in 1..=20 {
        let funding = pay(&[world.coin(number, 1, 1000)], &[(2, 900)]);
        let spending = pay(&[output(&funding, 0)], &[(2, 800)]);
        transactions.extend([funding, spending]);
    }
    world.set(&transactions.iter().collect::<Vec<_>>());
    let mut mempool = Mempool::default();
    world.round(&mut Poller::default(), &mut mempool);
    let told: Vec<_> = mempool
        .history(world.of(2))
        .into_iter()
        .map(|entry| (entry.height.to_wire(), entry.txid.to_string()))
        .collect();
    let mut expected = told.clone();
    expected.sort_by_key(|(height, txid)| (-height, txid.clone()));
    assert_eq!(told, expected);
    assert_eq!(told.len(), 40);
    assert_eq!((told[19].0, told[20].0), (0, -1));
}

#[test]
fn a_parent_that_is_mined_or_returns_changes_its_children() {
    let world = World::default();
    let parent = pay(&[world.coin(1, 1, 1000)], &[(2, 900)]);
    let child = pay(&[output(&parent, 0)], &[(3, 800)]);
    world.set(&[&parent, &child]);
    let (mut poller, mut mempool) = (Poller::default(), Mempool::default());
    world.round(&mut poller, &mut mempool);
    let before = mempool.clone();

    world.confirm(output(&parent, 0), 2, 900);
    world.set(&[&child]);
    assert_eq!(world.round(&mut poller, &mut mempool), [1, 2, 3]);
    let height = |mempool: &Mempool| mempool.history(world.of(3))[0].height;
    assert_eq!(height(&mempool), EntryHeight::Unconfirmed);
    assert_eq!(height(&before), EntryHeight::UnconfirmedParents);
    assert_eq!(mempool.balance(world.of(2)), -900);

    world.set(&[&parent, &child]);
    assert_eq!(world.round(&mut poller, &mut mempool), [1, 2, 3]);
    assert_eq!(height(&mempool), EntryHeight::UnconfirmedParents);
}

#[test]
fn a_replacement_leaves_no_trace_of_what_it_replaced() {
    let world = World::default();
    let coin = world.coin(1, 1, 1000);
    let first = pay(&[coin], &[(2, 900)]);
    let second = pay(&[coin], &[(3, 800)]);
    world.set(&[&first]);
    let (mut poller, mut mempool) = (Poller::default(), Mempool::default());
    world.round(&mut poller, &mut mempool);
    world.set(&[&second]);
    assert_eq!(world.round(&mut poller, &mut mempool), [1, 2, 3]);
    assert_eq!(mempool.history(world.of(2)), []);
    assert_eq!(mempool.history(world.of(1))[0].txid, second.compute_txid());
    assert!(mempool.spends(&coin) && !mempool.contains(&first.compute_txid()));
    world.set(&[]);
    assert_eq!(world.round(&mut poller, &mut mempool), [1, 3]);
    assert!(mempool.is_empty() && !mempool.spends(&coin));
    assert_eq!(mempool.balance(world.of(1)), 0);
    assert_eq!(mempool.fee_histogram(), []);
}

#[test]
fn data_outputs_are_not_kept_and_do_not_shift_the_others() {
    let world = World::default();
    let mut payment = pay(&[world.coin(1, 1, 1000)], &[(2, 0), (2, 700)]);
    let data = ScriptBuf::from(vec![0x6a, 1, 2]);
    payment.output[0].script_pubkey = data.clone();
    world.set(&[&payment]);
    let mut mempool = Mempool::default();
    assert_eq!(world.round(&mut Poller::default(), &mut mempool), [1, 2]);
    assert_eq!(
        mempool.unspent(world.of(2))[0].outpoint,
        output(&payment, 1)
    );
    assert_eq!(mempool.history(world.of(2))[0].fee.to_sat(), 300);
    let data = world.prefix(&ScriptHash::of(&data));
    assert_eq!(mempool.history(data), []);
}

#[test]
fn a_transaction_without_its_previous_outputs_waits_whole() {
    let world = World::default();
    let parent = pay(&[world.coin(1, 1, 1000)], &[(2, 900)]);
    let child = pay(&[output(&parent, 0), world.coin(2, 3, 50)], &[(4, 800)]);
    let (mut poller, mut mempool) = (Poller::default(), Mempool::default());
    world.set(&[&child]);
    // The parent is gone when it is fetched.
    world.listed.borrow_mut().push(parent.compute_txid());
    assert_eq!(world.round(&mut poller, &mut mempool), [0; 0]);
    assert!(mempool.is_empty() && !mempool.spends(&child.input[1].previous_output));
    // The child is listed before its parent, and fetched after it.
    world.set(&[&child, &parent]);
    assert_eq!(world.round(&mut poller, &mut mempool), [1, 2, 3, 4]);
    assert_eq!(mempool.history(world.of(3))[0].fee.to_sat(), 150);
}

#[test]
fn a_round_takes_in_so_much_and_the_hopeless_do_not_keep_out_the_others() {
    let world = World::default();
    let orphan = |number: usize| {
        let mut txid = [0xee; 32];
        txid[..8].copy_from_slice(&number.to_be_bytes());
        pay(&[OutPoint::new(Txid::from_byte_array(txid), 0)], &[(1, 1)])
    };
    let orphans: Vec<_> = (0..limits::MEMPOOL_FETCH_MAX).map(orphan).collect();
    let payment = pay(&[world.coin(1, 1, 1000)], &[(2, 900)]);
    let listed: Vec<_> = orphans.iter().chain([&payment]).collect();
    world.set(&listed);
    let mut poller = Poller::default();
    let first = poller.round(&world, &world, &Mempool::default()).unwrap();
    assert!(first.more && first.mempool.is_empty());
    assert_eq!(world.fetched.get(), limits::MEMPOOL_FETCH_MAX);
    assert_eq!(world.largest_batch.get(), limits::MEMPOOL_BATCH_MAX);
    let second = poller.round(&world, &world, &first.mempool).unwrap();
    assert!(!second.more);
    assert!(second.mempool.contains(&payment.compute_txid()));
}
