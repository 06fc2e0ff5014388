//! Blocks from a source that does not tell where what they spend was created lead to the same index.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bitcoin::BlockHash;
use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode;
use proptest::prelude::*;

use super::bulk::{planned, told};
use super::chain::{self, Chain, Payment};
use super::{error_of, in_memory, model};
use crate::chain::{ConnectedBlock, Height, RawBlock, SpentList};
use crate::index::bulk::{BulkShape, Totals};
use crate::index::error::{BlockFault, Error};
use crate::index::layer::ScriptEntry;
use crate::index::merge::ScriptSource as _;
use crate::index::{Extent, Index, ScriptPrefix};

const SHAPE: BulkShape = BulkShape {
    partition_bits: 8,
    shard_bits: 1,
    txids: true,
};

/// What a node makes of a block that it is asked for again.
type Give<'a> = dyn Fn(&ConnectedBlock) -> Option<ConnectedBlock> + Sync + 'a;

/// As a source gives them that leaves heights out.
fn without_heights(connected: &ConnectedBlock) -> SpentList {
    let mut list = SpentList::default();
    for outputs in &connected.spent {
        list.begin_transaction(outputs.len());
        for output in outputs {
            list.push_without_height(output.amount, output.script.as_bytes());
        }
    }
    list
}

/// Takes in the next of the blocks, so many, those that `lacks` names without heights; how often one was asked for again.
fn take_in(
    index: &mut Index,
    blocks: &[ConnectedBlock],
    lacks: impl Fn(usize) -> bool,
    again: impl Fn(&ConnectedBlock) -> Option<ConnectedBlock> + Sync,
) -> Result<(Totals, u32), Error> {
    let dir = tempfile::tempdir().unwrap();
    let bulk = Arc::new(index.bulk(dir.path(), planned(blocks), SHAPE)?);
    let mut worker = bulk.worker()?;
    for (at, connected) in blocks.iter().enumerate().rev() {
        let bytes = &encode::serialize(&connected.block);
        let spent = &if lacks(at) {
            without_heights(connected)
        } else {
            super::bulk::packed(connected)
        };
        let height = bulk.claim(&connected.block.block_hash()).unwrap();
        worker.add(height, None, RawBlock { bytes, spent })?;
    }
    let asked = AtomicU32::new(0);
    let ask = |hash: &BlockHash| {
        asked.fetch_add(1, Ordering::Relaxed);
        let mut blocks = blocks.iter();
        let found = blocks.find(|connected| connected.block.block_hash() == *hash);
        found.and_then(&again).ok_or(Error::Stopped)
    };
    let built = bulk.build_asking(vec![worker.finish()?], 2, &ask)?;
    let totals = *built.totals();
    index.take_in(built)?;
    Ok((totals, asked.into_inner()))
}

fn give(connected: &ConnectedBlock) -> Option<ConnectedBlock> {
    Some(connected.clone())
}

/// Everything that segments say, before what they say of one script is joined.
fn said(index: &Index) -> Vec<(ScriptPrefix, impl PartialEq + std::fmt::Debug + use<>)> {
    let snapshot = index.snapshot();
    let mut scripts = snapshot.scripts().unwrap();
    let mut said = Vec::new();
    let mut entry = ScriptEntry::default();
    while let Some(prefix) = scripts.next(&mut entry).unwrap() {
        said.push((prefix, told(&std::mem::take(&mut entry))));
    }
    said
}

/// Takes a chain in by several bulks, with and without heights, and compares; how often a block was asked for again.
fn assert_placed(
    chain: &Chain,
    tag_bits: u32,
    ends: &[usize],
    lacks: impl Fn(usize) -> bool,
) -> u32 {
    let (mut with, mut without) = (in_memory(tag_bits), in_memory(tag_bits));
    let mut asked = 0;
    let mut from = 0;
    for end in ends.iter().copied().chain([chain.blocks.len()]) {
        let blocks = &chain.blocks[from..end];
        if blocks.is_empty() {
            continue;
        }
        let expected = take_in(&mut with, blocks, |_| false, |_| None).unwrap();
        let found = take_in(&mut without, blocks, |at| lacks(from + at), give).unwrap();
        assert_eq!(expected, (found.0, 0));
        asked += found.1;
        from = end;
    }
    let (with_heights, without_heights) = (said(&with), said(&without));
    assert!(
        with_heights
            .iter()
            .map(|said| said.0)
            .eq(without_heights.iter().map(|said| said.0))
    );
    for (one, other) in with_heights.iter().zip(&without_heights) {
        assert_eq!(one.1, other.1);
    }
    let mut by_tip = in_memory(tag_bits);
    by_tip.update(None, &chain.blocks).unwrap();
    assert_eq!(without.digest().unwrap(), by_tip.digest().unwrap());
    without.check(Extent::Full).unwrap();
    model::assert_scripts_equal(&without, chain);
    asked
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_spent_is_found_without_its_height(
        blocks in prop::collection::vec(prop::collection::vec(model::payment(), 0..6), 1..20),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        lacking in prop_oneof![Just(u32::MAX), any::<u32>()],
        tag_bits in prop_oneof![Just(32_u32), Just(4), Just(1), Just(0)],
    ) {
        let mut chain = Chain::new();
        for payments in &blocks {
            chain.mine(payments);
        }
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(chain.blocks.len() + 1)).collect();
        ends.sort_unstable();
        assert_placed(&chain, tag_bits, &ends, |at| lacking >> (at % 32) & 1 == 1);
    }
}

/// Only the coinbases of blocks 2 and 3 pay to one script, so that with tags of no bits the two are equal but for their
/// heights; later blocks spend so many of them.
fn twins(spent: u8) -> Chain {
    let mut chain = Chain::new();
    let mine = |chain: &mut Chain, to: u8, payments: &[Payment]| {
        let mut coinbase = chain::coinbase(to.into());
        coinbase.lock_time = LockTime::from_consensus(chain.height().unwrap().0);
        coinbase.output[0].script_pubkey = chain::script(to);
        chain.mine_with(coinbase, payments);
    };
    for to in [20, 9, 9] {
        mine(&mut chain, to, &[]);
    }
    for n in 0..spent {
        let unspent = chain.spendable();
        let mut outputs = unspent.iter();
        let twin = outputs.position(|output| output.1.script == chain::script(9));
        let payment = Payment {
            spend: vec![twin.unwrap()],
            pay: vec![(50 + n, 7)],
        };
        mine(&mut chain, 30 + n, &[payment]);
    }
    mine(&mut chain, 40, &[]);
    chain
}

#[test]
fn a_block_is_asked_for_again_only_where_nothing_else_tells_which_output_is_spent() {
    let asked =
        |spent, tag_bits, ends: &[usize]| assert_placed(&twins(spent), tag_bits, ends, |_| true);
    assert_eq!(asked(0, 0, &[]), 0, "nothing of the two is spent");
    assert_eq!(asked(1, 32, &[]), 0, "whole tags differ");
    assert_eq!(asked(1, 0, &[]), 1);
    assert_eq!(asked(2, 0, &[]), 0, "both are");
    // Both below, one on each side, and the second spending in a bulk of its own.
    assert_eq!(asked(1, 0, &[4]), 1);
    assert_eq!(asked(2, 0, &[4]), 2);
    assert_eq!(asked(1, 0, &[3]), 1);
    assert_eq!(asked(2, 0, &[4, 5]), 1, "the other one is left");
    assert_eq!(asked(2, 32, &[3, 4, 5]), 0);
}

#[test]
fn a_repeated_coinbase_that_is_spent_is_asked_for() {
    let mut chain = Chain::new();
    let repeated = chain::coinbase(u32::MAX);
    chain.mine_with(repeated.clone(), &[]);
    chain.mine_with(repeated, &[]);
    chain.mine(&[Payment {
        spend: vec![0],
        pay: vec![(3, 7)],
    }]);
    let (mut with, mut without) = (in_memory(32), in_memory(32));
    take_in(&mut with, &chain.blocks, |_| false, |_| None).unwrap();
    let (_, asked) = take_in(&mut without, &chain.blocks, |_| true, give).unwrap();
    assert_eq!(asked, 1);
    assert_eq!(with.digest().unwrap(), without.digest().unwrap());
}

#[test]
fn an_answer_that_does_not_fit_ends_the_bulk_and_changes_nothing() {
    let chain = twins(1);
    let mut index = in_memory(0);
    let mut refused = |again: &Give<'_>| {
        let outcome = take_in(&mut index, &chain.blocks, |_| true, again);
        assert_eq!(index.snapshot().tip(), None);
        error_of(outcome)
    };
    assert!(matches!(refused(&|_| None), Error::Stopped));
    let another = |_: &ConnectedBlock| Some(chain.blocks[2].clone());
    let nothing_spent = |connected: &ConnectedBlock| {
        let mut connected = connected.clone();
        connected.spent.clear();
        Some(connected)
    };
    let other_script = |connected: &ConnectedBlock| {
        let mut connected = connected.clone();
        connected.spent[0][0].script = chain::script(4);
        Some(connected)
    };
    let other_transactions = |connected: &ConnectedBlock| {
        let mut connected = connected.clone();
        connected.block.txdata[0].version.0 += 1;
        Some(connected)
    };
    let unfit: [&Give<'_>; 4] = [&another, &nothing_spent, &other_script, &other_transactions];
    for again in unfit {
        let fault = BlockFault::SpentOutputs;
        assert!(matches!(refused(again), Error::Block { fault: found, .. } if found == fault));
    }
    let other_height = |connected: &ConnectedBlock| {
        let mut connected = connected.clone();
        connected.spent[0][0].height.0 -= 1;
        Some(connected)
    };
    assert!(matches!(refused(&other_height), Error::Damaged { .. }));
    take_in(&mut index, &chain.blocks, |_| true, give).unwrap();
}

#[test]
fn a_block_without_heights_is_none_for_the_tip() {
    let chain = twins(1);
    let mut index = in_memory(32);
    index.update(None, &chain.blocks[..4]).unwrap();
    let connected = &chain.blocks[4];
    let bytes = &encode::serialize(&connected.block);
    let mut refused = |spent: &SpentList| {
        let outcome = index.update_raw(Some(Height(3)), &[RawBlock { bytes, spent }]);
        outcome.err()
    };
    let fault = refused(&without_heights(connected)).unwrap();
    assert!(matches!(
        fault,
        Error::Block {
            fault: BlockFault::SpentOutputs,
            ..
        }
    ));
    assert!(refused(&super::bulk::packed(connected)).is_none());
}
