//! Transactions by their places in blocks, proofs that they are there, and their bytes, wherever they are kept.

use std::sync::Arc;

use bitcoin::consensus::encode;
use bitcoin::hashes::{Hash as _, sha256d};
use bitcoin::{Txid, consensus};

use super::chain::{Chain, Payment};
use super::installed::install;
use super::layout::options_with;
use super::node_files::Files;
use super::{error_of, in_memory_with};
use crate::chain::{BlockPosition, Height};
use crate::error::ErrorKind;
use crate::index::segment::Kind;
use crate::index::{Extent, Index, Proven, Shape};

/// Transactions of the blocks: less than a group, one, one and a little, several.
const SIZES: [usize; 6] = [1, 2, 64, 65, 128, 130];

const SHAPE: Shape = Shape {
    delta_blocks: 2,
    segment_blocks: 2,
    ratio: 2,
    levels: 3,
    shard_bits: 0,
    merges_at_once: true,
};

/// Where the blocks below the newest two are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Taken in at once: places, or txids.
    Installed(Kind),
    /// One by one, their places known, or not.
    Followed(Kind),
}

fn chain() -> Chain {
    let mut chain = Chain::new();
    // The first block makes coins for all that follow.
    let coins = Payment {
        spend: vec![0],
        pay: vec![(2, 1000); 150],
    };
    chain.mine(&[]);
    chain.mine(&[coins]);
    for size in SIZES {
        let payment = |n| Payment {
            spend: vec![n],
            pay: vec![(3, 7)],
        };
        let payments: Vec<Payment> = (1..size).map(payment).collect();
        chain.mine(&payments);
        assert_eq!(chain.blocks.last().unwrap().block.txdata.len(), size);
    }
    chain
}

fn index(chain: &Chain, way: Way) -> Index {
    let mut index = in_memory_with(&options_with(32, SHAPE));
    let mut files = Files::default();
    match way {
        Way::Installed(kind) => {
            let count = chain.blocks.len() - 1;
            install(&mut index, chain, count, &mut files, kind == Kind::Places);
            let keep = Height(u32::try_from(count - 1).unwrap());
            index.update(Some(keep), &chain.blocks[count..]).unwrap();
        }
        Way::Followed(kind) => {
            if kind == Kind::Places {
                for connected in &chain.blocks {
                    files.add(&connected.block, false);
                }
                index.read_from(Arc::new(files)).unwrap();
            }
            for (below, connected) in (0..).zip(&chain.blocks) {
                let keep = u32::checked_sub(below, 1).map(Height);
                index.update(keep, std::slice::from_ref(connected)).unwrap();
            }
        }
    }
    let (Way::Installed(expected) | Way::Followed(expected)) = way;
    assert!(index.segments.count() > 0);
    for segment in &index.segments.numbered {
        assert_eq!(segment.file.spec.kind, expected, "{way:?}");
    }
    index
}

const WAYS: [Way; 4] = [
    Way::Installed(Kind::Places),
    Way::Installed(Kind::Txids),
    Way::Followed(Kind::Places),
    Way::Followed(Kind::Txids),
];

/// Goes from a transaction to the root as a wallet does.
pub(super) fn climb(proven: &Proven) -> [u8; 32] {
    let mut hash = proven.txid.to_byte_array();
    for (depth, sibling) in proven.branch.siblings.iter().enumerate() {
        let pair = if proven.index >> depth & 1 == 1 {
            [*sibling, hash]
        } else {
            [hash, *sibling]
        };
        hash = sha256d::Hash::hash(&pair.concat()).to_byte_array();
    }
    hash
}

#[test]
fn every_transaction_is_proven_and_read_wherever_it_is_kept() {
    let chain = chain();
    for way in WAYS {
        let index = index(&chain, way);
        index.check(Extent::Full).unwrap();
        let snapshot = index.snapshot();
        for (height, connected) in (0..).map(Height).zip(&chain.blocks) {
            let block = &connected.block;
            let depth = block.txdata.len().next_power_of_two().ilog2();
            for (at, transaction) in (0..).zip(&block.txdata) {
                let txid = transaction.compute_txid();
                let position = BlockPosition { height, index: at };
                assert_eq!(snapshot.txid_of(position).unwrap(), Some(txid));
                for proven in [
                    snapshot.proven(position).unwrap().unwrap(),
                    snapshot.proven_in(&txid, height).unwrap().unwrap(),
                ] {
                    assert_eq!((proven.txid, proven.index), (txid, at), "{way:?}");
                    assert_eq!(
                        proven.branch.siblings.len(),
                        usize::try_from(depth).unwrap()
                    );
                    assert_eq!(climb(&proven), block.header.merkle_root.to_byte_array());
                }
                let other = Height(height.0 ^ 1);
                assert!(snapshot.proven_in(&txid, other).unwrap().is_none());
                let bytes = snapshot.transaction(&txid).unwrap();
                let are_known = match way {
                    Way::Installed(Kind::Places) => height.0 < index.segments.count(),
                    Way::Followed(kind) => kind == Kind::Places,
                    Way::Installed(_) => false,
                };
                let expected = are_known.then(|| consensus::serialize(transaction));
                assert_eq!(bytes, expected, "{way:?}, {height}");
            }
            let beyond = BlockPosition {
                height,
                index: u32::try_from(block.txdata.len()).unwrap(),
            };
            assert!(snapshot.txid_of(beyond).unwrap().is_none());
            assert!(snapshot.proven(beyond).unwrap().is_none());
        }
        let above = BlockPosition {
            height: chain.height().unwrap().next().unwrap(),
            index: 0,
        };
        assert!(snapshot.txid_of(above).unwrap().is_none());
        assert!(snapshot.proven(above).unwrap().is_none());
        assert!(
            snapshot
                .proven_in(&Txid::all_zeros(), Height(1))
                .unwrap()
                .is_none()
        );
    }
}

#[test]
fn of_the_newest_blocks_nothing_wrong_is_read() {
    let chain = chain();
    let newest = chain.blocks.last().unwrap();
    let txid = newest.block.txdata[70].compute_txid();
    let mut files = Files::default();
    for connected in &chain.blocks {
        files.add(&connected.block, false);
    }
    let mut index = in_memory_with(&options_with(32, SHAPE));
    index.update(None, &chain.blocks).unwrap();
    assert_eq!(
        index.snapshot().transaction(&txid).unwrap(),
        None,
        "no files"
    );
    index.read_from(Arc::new(files.clone())).unwrap();
    let expected = encode::serialize(&newest.block.txdata[70]);
    assert_eq!(index.snapshot().transaction(&txid).unwrap(), Some(expected));
    let mut shifted = files.clone();
    shifted.bytes[0].insert(0, 7);
    let mut cut = files.clone();
    cut.bytes[0].truncate(9);
    for files in [shifted, cut] {
        index.read_from(Arc::new(files)).unwrap();
        assert_eq!(index.snapshot().transaction(&txid).unwrap(), None);
    }
}

#[test]
fn blocks_whose_files_do_not_hold_them_keep_their_txids() {
    let chain = chain();
    let mut files = Files::default();
    for connected in &chain.blocks {
        files.add(&connected.block, false);
    }
    // In the last byte of a transaction of the fourth block.
    let place = files.add(&chain.blocks[4].block, false);
    files.bytes[0][usize::try_from(place.offset + place.length).unwrap() - 1] ^= 1;
    let mut index = in_memory_with(&options_with(32, SHAPE));
    index.read_from(Arc::new(files)).unwrap();
    index.update(None, &chain.blocks).unwrap();
    let mut kinds = index
        .segments
        .numbered
        .iter()
        .map(|segment| &segment.file.spec);
    let damaged = kinds
        .find(|spec| spec.heights.contains(&Height(4)))
        .unwrap();
    assert_eq!(damaged.kind, Kind::Txids);
    for segment in &index.segments.numbered {
        let spec = &segment.file.spec;
        assert_eq!(spec.kind == Kind::Txids, spec.heights.contains(&Height(4)));
    }
    super::model::assert_scripts_equal(&index, &chain);
    super::model::assert_chain_equal(&index, &chain);
}

#[test]
fn a_proof_that_does_not_lead_to_the_header_is_an_error() {
    let chain = chain();
    let mut index = index(&chain, Way::Installed(Kind::Places));
    let position = BlockPosition {
        height: Height(7),
        index: 70,
    };
    assert!(index.snapshot().proven(position).unwrap().is_some());
    let mut files = Files::default();
    for connected in &chain.blocks {
        let mut block = connected.block.clone();
        if block.txdata.len() == 128 {
            block.txdata[100].lock_time = bitcoin::absolute::LockTime::from_consensus(9);
        }
        files.add(&block, false);
    }
    index.files = Some(Arc::new(files));
    index.renew_files().unwrap();
    let error = error_of(index.snapshot().proven(position));
    assert_eq!(error.kind(), ErrorKind::Environment);
    assert!(index.check(Extent::Full).is_err());
}
