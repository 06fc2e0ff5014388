//! However an index is laid out in delta rows and segments, it says the same.

use std::fs;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use redb::ReadableTable as _;

use super::chain::{self, Chain, Payment};
use super::model::{
    Step, advance, assert_chain_equal, assert_outputs_equal, assert_scripts_equal, height, payment,
};
use super::{directory, in_memory, in_memory_with, options};

use crate::chain::{ConnectedBlock, Network};
use crate::index::schema::Tables;
use crate::index::segment::cache;
use crate::index::{Extent, Index, Options, Shape, Touched, segments};
use crate::limits;

pub(super) fn small_shape() -> impl Strategy<Value = Shape> {
    (
        0..5_u32,
        1..4_u32,
        2..4_usize,
        1..4_u32,
        0..4_u8,
        any::<bool>(),
    )
        .prop_map(
            |(delta_blocks, segment_blocks, ratio, levels, shard_bits, merges_at_once)| Shape {
                delta_blocks,
                segment_blocks,
                ratio,
                levels,
                shard_bits,
                merges_at_once,
            },
        )
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let block = prop::collection::vec(payment(), 0..4);
    let drops = prop_oneof![5 => Just(0_usize), 2 => 1..5_usize, 3 => 5..40_usize];
    (drops, prop::collection::vec(block, 0..12))
}

pub(super) fn options_with(tag_bits: u32, shape: Shape) -> Options {
    Options {
        shape,
        ..options(tag_bits)
    }
}

/// Brings the index to a chain of which it has the first `kept` blocks.
pub(super) fn follow(index: &mut Index, chain: &Chain, kept: usize) {
    let keep = index.keepable(height(kept));
    assert!(keep <= height(kept));
    let count = keep.map_or(0, |keep| keep.0 + 1);
    let cut = count < index.segments.count();
    let known = usize::try_from(count).unwrap();
    let touched = index.update(keep, &chain.blocks[known..]).unwrap();
    assert_eq!(cut, matches!(touched, Touched::Everything));
}

pub(super) fn assert_equal(index: &Index, chain: &Chain) {
    assert_scripts_equal(index, chain);
    assert_chain_equal(index, chain);
    assert_outputs_equal(index, chain);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_shape_says_what_the_chain_says(
        steps in prop::collection::vec(step(), 1..8),
        shape in small_shape(),
        tag_bits in prop::sample::select(vec![0, 1, 4, 32]),
    ) {
        let mut index = in_memory_with(&options_with(tag_bits, shape));
        let mut chain = Chain::new();
        chain.blocks.clear();
        for step in &steps {
            let before = index.snapshot();
            let digest_before = index.digest().unwrap();
            let (kept, _) = advance(&mut chain, step);
            follow(&mut index, &chain, kept);
            prop_assert_eq!(before.tip(), digest_before.tip);
            assert_equal(&index, &chain);
        }
        let mut fresh = in_memory(tag_bits);
        fresh.update(None, &chain.blocks).unwrap();
        prop_assert_eq!(index.digest().unwrap(), fresh.digest().unwrap());
    }
}

/// Small enough for every kind of merge within a few dozen blocks.
pub(super) const SMALL: Shape = Shape {
    delta_blocks: 4,
    segment_blocks: 2,
    ratio: 2,
    levels: 2,
    shard_bits: 2,
    merges_at_once: true,
};

pub(super) fn grow(chain: &mut Chain, count: usize) {
    for n in 0..count {
        chain.mine(&[Payment {
            spend: vec![n, n / 2],
            pay: vec![(2, 7), (3, 8), (4, 9)],
        }]);
    }
}

/// A block of so many payments.
pub(super) fn crowd(chain: &mut Chain, count: usize) {
    let coins = Payment {
        spend: vec![0],
        pay: vec![(5, 10); count + 2],
    };
    chain.mine(&[coins]);
    let payment = |n| Payment {
        spend: vec![n],
        pay: vec![(6, 9)],
    };
    chain.mine(&(0..count).map(payment).collect::<Vec<_>>());
}

#[test]
fn rows_of_several_pieces_come_back_whole_and_leave_none_behind() {
    let dir = directory();
    let options = options_with(32, SMALL);
    let open = || Index::open_with(dir.path(), Network::Regtest, &options).unwrap();
    let lasts = |index: &Index| {
        let delta = Tables::open(&index.database).unwrap().delta;
        let keys = delta.iter().unwrap().map(|row| row.unwrap().0.value());
        keys.filter(|(_, piece)| *piece > 0).count()
    };
    let mut chain = Chain::new();
    grow(&mut chain, 3);
    let below = chain.blocks.len();
    crowd(&mut chain, 200);
    let mut index = open();
    follow(&mut index, &chain, 0);
    assert!(lasts(&index) > 0, "no row is long");
    drop(index);
    let mut index = open();
    assert_scripts_equal(&index, &chain);
    assert_chain_equal(&index, &chain);
    // They go in a reorg, come again, and go when they become segments.
    index.update(height(below), &[]).unwrap();
    drop(index);
    let mut index = open();
    assert_eq!(lasts(&index), 0);
    follow(&mut index, &chain, below);
    for _ in 0..9 {
        let known = chain.blocks.len();
        grow(&mut chain, 1);
        follow(&mut index, &chain, known);
        drop(index);
        index = open();
    }
    assert_eq!(lasts(&index), 0);
    assert_scripts_equal(&index, &chain);
    assert_chain_equal(&index, &chain);
}

#[test]
fn opening_again_finds_every_segment_and_deletes_what_no_manifest_names() {
    let dir = directory();
    let options = options_with(32, SMALL);
    let open = || Index::open_with(dir.path(), Network::Regtest, &options).unwrap();
    let files = || fs::read_dir(dir.path().join("segments")).unwrap().count();
    let mut chain = Chain::new();
    for _ in 0..12 {
        grow(&mut chain, 3);
        let mut index = open();
        let known = index.snapshot().tip().map_or(0, |tip| tip.height.0 + 1);
        follow(&mut index, &chain, usize::try_from(known).unwrap());
        assert_eq!(index.segments.all().count(), files());
        fs::write(dir.path().join("segments/00000000000000ff.segment"), "rest").unwrap();
        fs::write(dir.path().join("segments/notes"), "not ours").unwrap();
        drop(index);
        let index = open();
        fs::remove_file(dir.path().join("segments/notes")).unwrap();
        assert_eq!(index.segments.all().count(), files());
        assert_equal(&index, &chain);
    }
    let index = open();
    let ranges = segments::ranges(&index.segments.scripts, 0);
    let lengths = ranges
        .iter()
        .map(|range| range.end().0 - range.start().0 + 1);
    assert_eq!(lengths.collect::<Vec<_>>(), [32]);
    let mut fresh = in_memory(32);
    fresh.update(None, &chain.blocks).unwrap();
    assert_eq!(index.digest().unwrap(), fresh.digest().unwrap());
}

#[test]
fn a_merge_in_the_background_is_taken_over_when_it_is_done() {
    let mut chain = Chain::new();
    grow(&mut chain, 40);
    let shape = Shape {
        merges_at_once: false,
        ..SMALL
    };
    let mut index = in_memory_with(&options_with(32, shape));
    index.update(None, &chain.blocks).unwrap();
    let digest = index.digest().unwrap();
    while index.merging.is_some() {
        if !index.tend().unwrap() {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(index.digest().unwrap(), digest);
    }
    assert_equal(&index, &chain);
    assert_eq!(segments::ranges(&index.segments.scripts, 0).len(), 2);
    // One that is called off leaves nothing behind.
    grow(&mut chain, 8);
    follow(&mut index, &chain, 41);
    assert!(index.merging.is_some());
    chain.blocks.truncate(3);
    follow(&mut index, &chain, 3);
    assert_equal(&index, &chain);
    assert_eq!(
        index.store.list().unwrap().len(),
        index.segments.all().count()
    );
}

#[test]
fn caches_of_all_files_together_stay_within_their_budget() {
    let mut index = in_memory_with(&options_with(32, SMALL));
    let mut chain = Chain::new();
    grow(&mut chain, 40);
    index.update(None, &chain.blocks).unwrap();
    let least = index.segments.all().count() * cache::SHARE_BYTES_MIN;
    assert_eq!(index.budget.given(), least, "these are small");
    drop(index);
    // The most files there can be: the base, and before a merge of each level all but one of those it takes.
    let levels = usize::try_from(limits::SEGMENT_LEVELS).unwrap() * limits::MERGE_RATIO * 3;
    let files = (2 << limits::BASE_SHARD_BITS) + levels;
    assert!(files * cache::SHARE_BYTES_MIN < limits::SEGMENT_READ_CACHE_BYTES);
    let written = limits::SEGMENT_WRITERS_MAX * limits::SEGMENT_WRITE_CACHE_BYTES;
    let all = limits::INDEX_MAIN_CACHE_BYTES + limits::SEGMENT_READ_CACHE_BYTES + written;
    assert_eq!(all, limits::INDEX_CACHE_BYTES);
}

#[test]
fn the_shape_of_the_product_keeps_288_to_431_delta_rows() {
    let mut blocks = Chain::new().blocks;
    for salt in 1..1010 {
        let below = blocks.last().unwrap().block.block_hash();
        blocks.push(ConnectedBlock {
            block: chain::solved(below, vec![chain::coinbase(salt)]),
            spent: Vec::new(),
        });
    }
    let mut index = in_memory(32);
    let mut known = 0;
    for count in [431, 432, 576, 1010] {
        index.update(height(known), &blocks[known..count]).unwrap();
        known = count;
        while index.merging.is_some() {
            thread::sleep(Duration::from_millis(1));
            index.tend().unwrap();
        }
        let segments = usize::try_from(index.segments.count()).unwrap();
        assert_eq!(
            segments,
            if count < 432 {
                0
            } else {
                (count - 288) / 144 * 144
            }
        );
    }
    let ranges = segments::ranges(&index.segments.scripts, 0);
    let lasts: Vec<u32> = ranges.iter().map(|range| range.end().0 + 1).collect();
    assert_eq!(lasts, [576, 720]);
    let rows_alone = Shape {
        delta_blocks: 2000,
        ..Shape::default()
    };
    let mut rows_alone = in_memory_with(&options_with(32, rows_alone));
    rows_alone.update(None, &blocks).unwrap();
    assert_eq!(index.digest().unwrap(), rows_alone.digest().unwrap());
    index.check(Extent::Full).unwrap();
    // A reorg of 288 costs no segment, one of more than the rows whole segments.
    assert_eq!(index.keepable(height(1010 - 288)), height(1010 - 288));
    assert_eq!(index.keepable(height(719)), height(576));
}
