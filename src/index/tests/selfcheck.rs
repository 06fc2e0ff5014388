//! What an index finds out about itself.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use bitcoin::Amount;
use bitcoin::hashes::Hash as _;

use super::chain::{Chain, Payment};
use super::layout::{SMALL, grow, options_with};
use super::{directory, error_of, in_memory_with};
use crate::chain::{Height, Network};
use crate::error::ErrorKind;
use crate::index::{Checked, Extent, Index};
use crate::limits;

#[test]
fn blocks_are_recognised_and_differences_are_damage() {
    let mut chain = Chain::new();
    grow(&mut chain, 20);
    let mut index = in_memory_with(&options_with(32, SMALL));
    index.update(None, &chain.blocks).unwrap();
    index.verify(Height(0), &chain.blocks).unwrap();
    let delta_rows = index.segments.count();
    for height in [5, 20] {
        let at = usize::try_from(height).unwrap();
        let mut paid_otherwise = chain.blocks[at].clone();
        paid_otherwise.spent[0][0].amount += Amount::ONE_SAT;
        let error = error_of(index.verify(Height(height), &[paid_otherwise]));
        assert_eq!(error.kind(), ErrorKind::Corruption);
        let mut spent_elsewhere = chain.blocks[at].clone();
        let spent = &mut spent_elsewhere.spent[0][0].height;
        *spent = Height(spent.0 - 1);
        let outcome = index.verify(Height(height), &[spent_elsewhere]);
        assert_eq!(outcome.is_err(), height >= delta_rows, "{height}");
    }
    // Another block at the height is no damage: the node has gone over to it.
    index.verify(Height(5), &chain.blocks[6..7]).unwrap();
}

#[test]
fn a_check_counts_what_there_is() {
    let mut chain = Chain::new();
    grow(&mut chain, 19);
    let payment = |n| Payment {
        spend: vec![n],
        pay: vec![(2, 7)],
    };
    chain.mine(&[payment(0), payment(1), payment(2)]);
    let mut index = in_memory_with(&options_with(32, SMALL));
    assert_eq!(index.check(Extent::Full).unwrap(), Checked::default());
    index.update(None, &chain.blocks).unwrap();
    let transactions = chain.blocks.iter().map(|block| block.block.txdata.len());
    let transactions = sum(transactions);
    let expected = Checked {
        blocks: 21,
        transactions,
        compared: transactions,
        scripts: chain.histories().len().try_into().unwrap(),
        touches: sum(chain.histories().values().map(Vec::len)),
        unspent: sum(chain.unspent().values().map(Vec::len)),
    };
    assert_eq!(index.check(Extent::Full).unwrap(), expected);
    let sampled = Checked {
        // The genesis block has no transaction beside its coinbase.
        compared: 2 * 20 + 1,
        ..expected
    };
    assert_eq!(index.check(Extent::Sample).unwrap(), sampled);
}

fn sum(counts: impl Iterator<Item = usize>) -> u64 {
    counts.sum::<usize>().try_into().unwrap()
}

#[test]
fn rot_is_found_in_the_background() {
    let dir = directory();
    let options = options_with(32, SMALL);
    let mut chain = Chain::new();
    grow(&mut chain, 20);
    let mut index = Index::open_with(dir.path(), Network::Regtest, &options).unwrap();
    index.update(None, &chain.blocks).unwrap();
    let scrub = |index: &mut Index| {
        index.scrubbed = Instant::now()
            .checked_sub(limits::SCRUB_INTERVAL)
            .unwrap_or_else(Instant::now);
        index.tend().unwrap();
        assert!(index.scrubbing.is_some());
        while index.scrubbing.is_some() {
            thread::sleep(Duration::from_millis(1));
            index.tend().unwrap();
        }
    };
    scrub(&mut index);
    drop(index);
    let txid = chain.blocks[7].block.txdata[0]
        .compute_txid()
        .to_byte_array();
    let mut flipped = 0;
    for entry in fs::read_dir(dir.path().join("segments")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(32).position(|found| *found == txid) {
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            flipped += 1;
        }
    }
    assert_eq!(flipped, 1);
    let mut index = Index::open_with(dir.path(), Network::Regtest, &options).unwrap();
    assert_eq!(index.health().trouble(), None);
    scrub(&mut index);
    let health = index.health();
    let trouble = health.trouble().unwrap();
    assert!(trouble.contains("`claustrum index rebuild`"), "{trouble}");
}
