//! What came to a history since a block, and what was there at that block, are the whole.

use proptest::prelude::*;

use super::chain::{self, Chain};
use super::in_memory_with;
use super::layout::{follow, options_with, small_shape};
use super::model::{Step, advance, payment};
use crate::chain::{ChainTip, ScriptHash};
use crate::index::{ConfirmedEntry, Effort, Index};

const SCRIPTS: std::ops::Range<u8> = 1..7;

fn history(index: &Index, script: u8) -> Vec<ConfirmedEntry> {
    let snapshot = index.snapshot();
    let prefix = snapshot.prefix(&ScriptHash::of(&chain::script(script)));
    snapshot.history(prefix, Effort::Any, None).unwrap()
}

fn newer(index: &Index, script: u8, block: ChainTip) -> Option<Vec<ConfirmedEntry>> {
    let snapshot = index.snapshot();
    let prefix = snapshot.prefix(&ScriptHash::of(&chain::script(script)));
    snapshot.history_above(prefix, block, None).unwrap()
}

fn step() -> impl Strategy<Value = Step> {
    let block = prop::collection::vec(payment(), 0..4);
    let drops = prop_oneof![3 => Just(0_usize), 2 => 1..5_usize];
    (drops, prop::collection::vec(block, 0..5))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn the_older_part_and_the_newer_are_the_whole(
        steps in prop::collection::vec(step(), 1..12),
        shape in small_shape(),
    ) {
        let mut index = in_memory_with(&options_with(32, shape));
        let mut chain = Chain::new();
        index.update(None, &chain.blocks).unwrap();
        let mut known: Vec<(ChainTip, Vec<Vec<ConfirmedEntry>>)> = Vec::new();
        for step in &steps {
            let tip = index.snapshot().tip().unwrap();
            known.push((tip, SCRIPTS.map(|script| history(&index, script)).collect()));
            let (kept, _) = advance(&mut chain, step);
            follow(&mut index, &chain, kept);
            for (tip, histories) in &known {
                let height = usize::try_from(tip.height.0).unwrap();
                let block = chain.blocks.get(height).map(|block| block.block.block_hash());
                let is_there = block == Some(tip.hash);
                let told = is_there && tip.height.0 + 1 >= index.segments.count();
                for (script, older) in SCRIPTS.zip(histories) {
                    let newer = newer(&index, script, *tip);
                    prop_assert_eq!(newer.is_some(), told);
                    if let Some(newer) = newer {
                        let whole = [older.as_slice(), &newer].concat();
                        prop_assert!(whole == history(&index, script));
                    }
                }
            }
        }
    }
}

#[test]
fn a_transaction_that_comes_again_is_not_told_as_new() {
    let mut index = super::in_memory(32);
    let mut chain = Chain::new();
    let repeated = chain::coinbase(77);
    chain.mine_with(repeated.clone(), &[]);
    chain.mine(&[]);
    index.update(None, &chain.blocks).unwrap();
    let block = index.snapshot().tip().unwrap();
    assert_eq!(newer(&index, 1, block).map(|newer| newer.len()), Some(0));
    let known = chain.blocks.len();
    let keep = chain.height();
    chain.mine_with(repeated, &[]);
    index.update(keep, &chain.blocks[known..]).unwrap();
    assert!(newer(&index, 1, block).is_none());
}
