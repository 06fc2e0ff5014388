//! Rounds from a fake node over a fake chain.

mod budget;
mod memory;
mod naive;
mod world;

use std::time::Instant;

use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, Txid};

use super::source::OutputSource as _;
use super::{Mempool, Poller, UnconfirmedEntry};
use crate::chain::{EntryHeight, ScriptHash};
use crate::limits;
use world::{World, output, pay, tip};

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
    let mut poller = Poller::default();
    assert_eq!(world.round(&mut poller), [1, 2, 3]);

    let of_parent = entry(&parent, EntryHeight::Unconfirmed, 100);
    let of_child = entry(&child, EntryHeight::UnconfirmedParents, 100);
    assert_eq!(poller.mempool().history(world.of(1)), [of_parent]);
    assert_eq!(poller.mempool().history(world.of(2)), [of_parent, of_child]);
    assert_eq!(poller.mempool().history(world.of(3)), [of_child]);
    assert_eq!(poller.mempool().history(world.of(4)), []);
    let balances = [1, 2, 3, 4].map(|owner| poller.mempool().balance(world.of(owner)));
    assert_eq!(balances, [-700, 0, 500, 0]);
    let unspent = |owner| -> Vec<_> {
        let of_owner = poller.mempool().unspent(world.of(owner)).into_iter();
        of_owner
            .map(|unspent| (unspent.outpoint, unspent.amount.to_sat()))
            .collect()
    };
    assert_eq!(unspent(1), [(output(&parent, 1), 300)]);
    assert_eq!(unspent(2), []);
    assert_eq!(unspent(3), [(output(&child, 0), 500)]);
    assert!(poller.mempool().spends(&coin) && poller.mempool().spends(&output(&parent, 0)));
    assert!(!poller.mempool().spends(&output(&parent, 1)));
    assert_eq!(poller.mempool().len(), 2);
    assert_eq!(world.round(&mut poller), [0; 0]);
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
    let mut poller = Poller::default();
    world.round(&mut poller);
    let told: Vec<_> = poller
        .mempool()
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
    let mut poller = Poller::default();
    world.round(&mut poller);
    let before = poller.mempool().clone();

    world.confirm(output(&parent, 0), 2, 900);
    world.set(&[&child]);
    assert_eq!(world.round(&mut poller), [1, 2, 3]);
    let height = |mempool: &Mempool| mempool.history(world.of(3))[0].height;
    assert_eq!(height(poller.mempool()), EntryHeight::Unconfirmed);
    assert_eq!(height(&before), EntryHeight::UnconfirmedParents);
    assert_eq!(poller.mempool().balance(world.of(2)), -900);

    world.set(&[&parent, &child]);
    assert_eq!(world.round(&mut poller), [1, 2, 3]);
    assert_eq!(height(poller.mempool()), EntryHeight::UnconfirmedParents);
}

#[test]
fn a_replacement_leaves_no_trace_of_what_it_replaced() {
    let world = World::default();
    let coin = world.coin(1, 1, 1000);
    let first = pay(&[coin], &[(2, 900)]);
    let second = pay(&[coin], &[(3, 800)]);
    world.set(&[&first]);
    let mut poller = Poller::default();
    world.round(&mut poller);
    world.set(&[&second]);
    assert_eq!(world.round(&mut poller), [1, 2, 3]);
    assert_eq!(poller.mempool().history(world.of(2)), []);
    assert_eq!(
        poller.mempool().history(world.of(1))[0].txid,
        second.compute_txid()
    );
    assert!(poller.mempool().spends(&coin) && !poller.mempool().contains(&first.compute_txid()));
    world.set(&[]);
    assert_eq!(world.round(&mut poller), [1, 3]);
    assert!(poller.mempool().is_empty() && !poller.mempool().spends(&coin));
    assert_eq!(poller.mempool().balance(world.of(1)), 0);
    assert_eq!(poller.mempool().fee_histogram(), []);
}

#[test]
fn data_outputs_are_not_kept_and_do_not_shift_the_others() {
    let world = World::default();
    let mut payment = pay(&[world.coin(1, 1, 1000)], &[(2, 0), (2, 700)]);
    let data = ScriptBuf::from(vec![0x6a, 1, 2]);
    payment.output[0].script_pubkey = data.clone();
    world.set(&[&payment]);
    let mut poller = Poller::default();
    assert_eq!(world.round(&mut poller), [1, 2]);
    assert_eq!(
        poller.mempool().unspent(world.of(2))[0].outpoint,
        output(&payment, 1)
    );
    assert_eq!(poller.mempool().history(world.of(2))[0].fee.to_sat(), 300);
    let data = world.prefix(&ScriptHash::of(&data));
    assert_eq!(poller.mempool().history(data), []);
}

#[test]
fn a_transaction_without_its_previous_outputs_waits_whole() {
    let world = World::default();
    let parent = pay(&[world.coin(1, 1, 1000)], &[(2, 900)]);
    let child = pay(&[output(&parent, 0), world.coin(2, 3, 50)], &[(4, 800)]);
    let mut poller = Poller::default();
    world.set(&[&child]);
    // The parent is gone when it is fetched.
    world.listed.borrow_mut().push(parent.compute_txid());
    assert_eq!(world.round(&mut poller), [0; 0]);
    assert!(
        poller.mempool().is_empty() && !poller.mempool().spends(&child.input[1].previous_output)
    );
    // The child is listed before its parent, and fetched after it.
    world.set(&[&child, &parent]);
    assert_eq!(world.round(&mut poller), [1, 2, 3, 4]);
    assert_eq!(poller.mempool().history(world.of(3))[0].fee.to_sat(), 150);
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
    let now = Instant::now();
    let mut poller = Poller::default();
    assert!(poller.round(&world, &world, tip(0), now).unwrap().is_zero());
    assert!(poller.part().loading && poller.mempool().is_empty());
    assert_eq!(world.fetched.get(), limits::MEMPOOL_FETCH_MAX);
    assert_eq!(world.largest_batch.get(), limits::MEMPOOL_BATCH_MAX);
    // The next round needs no list.
    assert!(!poller.round(&world, &world, tip(0), now).unwrap().is_zero());
    assert_eq!(world.lists.get(), 1);
    assert!(poller.mempool().contains(&payment.compute_txid()));
    assert!(!poller.part().loading);

    // What is new is fetched before what was tried in vain.
    let second = pay(&[world.coin(2, 1, 1000)], &[(2, 900)]);
    let listed: Vec<_> = listed.into_iter().chain([&second]).collect();
    world.set(&listed);
    poller.list_again();
    assert!(poller.round(&world, &world, tip(0), now).unwrap().is_zero());
    assert!(poller.mempool().contains(&second.compute_txid()));
}

#[test]
fn another_tip_or_the_time_makes_the_node_list_again() {
    let world = World::default();
    let mut now = Instant::now();
    let mut poller = Poller::default();
    let pause = poller.round(&world, &world, tip(0), now).unwrap();
    let bounds = limits::MEMPOOL_INTERVAL_MIN..=limits::MEMPOOL_INTERVAL_MAX;
    assert!(bounds.contains(&pause));
    poller.round(&world, &world, tip(0), now).unwrap();
    assert_eq!(world.lists.get(), 1);
    poller.round(&world, &world, tip(1), now).unwrap();
    assert_eq!(world.lists.get(), 2);
    now += limits::MEMPOOL_INTERVAL_MAX;
    poller.round(&world, &world, tip(1), now).unwrap();
    assert_eq!(world.lists.get(), 3);
}

#[test]
fn what_spends_an_unconfirmed_output_again_waits_for_its_parent() {
    let world = World::default();
    let parent = pay(&[world.coin(1, 1, 1000)], &[(2, 900)]);
    let child = pay(&[output(&parent, 0)], &[(3, 800)]);
    let grandchild = pay(&[output(&child, 0)], &[(4, 700)]);
    world.confirm(output(&parent, 0), 2, 900);
    world.set(&[&child, &grandchild]);
    let mut poller = Poller::default();
    world.round(&mut poller);
    // The parent's block is taken back, and the node no longer gives the parent when it is asked for it.
    world.confirmed.borrow_mut().remove(&output(&parent, 0));
    world.listed.borrow_mut().push(parent.compute_txid());
    poller.chain_went_back();
    assert_eq!(world.round(&mut poller), [2, 3, 4]);
    assert!(poller.mempool().is_empty());
    world.set(&[&parent, &child, &grandchild]);
    assert_eq!(world.round(&mut poller), [1, 2, 3, 4]);
    let heights = [2, 3, 4].map(|owner| poller.mempool().history(world.of(owner))[0].height);
    assert_eq!(heights[0], EntryHeight::Unconfirmed);
    assert_eq!(heights[1..], [EntryHeight::UnconfirmedParents; 2]);
}
