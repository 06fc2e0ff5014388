//! Blocks that came in bulk are the same as blocks that came one by one.

use std::collections::BTreeMap;
use std::sync::Arc;

use bitcoin::consensus::encode;
use bitcoin::{Transaction, Txid};
use proptest::prelude::*;

use super::chain::{Chain, Payment};
use super::layout::{assert_equal, grow, options_with, small_shape};
use super::model::{Step, advance, payment};
use super::node_files::Files;
use super::touch::{self, Event};
use super::{NoTransactions, error_of, in_memory, in_memory_with};
use crate::chain::merkle::{GROUP_LEAVES, GROUP_LEVEL};
use crate::chain::{BlockPlace, Height, TxNum, sha256};
use crate::error::ErrorKind;
use crate::index::commitment::Commitment;
use crate::index::layer::{Funding, ScriptEntry, Spending};
use crate::index::schema::HeaderRow;
use crate::index::segment::fingerprints::{self, FingerprintSegmentBuilder};
use crate::index::segment::places::PlaceSegmentBuilder;
use crate::index::segment::scripts::ScriptSegmentBuilder;
use crate::index::segment::txids::TxidSegmentBuilder;
use crate::index::segment::{SegmentFile, Shard};
use crate::index::{BlockFiles, BlockFilesFault, Error, Extent, Index, ScriptPrefix, Shape};
use bitcoin::hashes::Hash as _;

/// Everything of the blocks above the index's tip, up to `end` of them, as bulk building leaves it.
struct Epoch {
    rows: Vec<HeaderRow>,
    scripts: BTreeMap<ScriptPrefix, ScriptEntry>,
    fingerprints: Vec<(crate::index::keys::TxFingerprint, TxNum)>,
    /// Where each block is, and the lengths of its transactions and the nodes above them.
    places: Vec<(BlockPlace, Vec<u32>, Vec<[u8; 32]>)>,
    txids: Vec<Txid>,
}

fn epoch(index: &Index, chain: &Chain, end: usize, files: &mut Files) -> Epoch {
    let snapshot = index.snapshot();
    let mut epoch = Epoch {
        rows: Vec::new(),
        scripts: BTreeMap::new(),
        fingerprints: Vec::new(),
        places: Vec::new(),
        txids: Vec::new(),
    };
    let (mut height, mut commitment, mut number) = match snapshot.tip() {
        Some(tip) => {
            let row = snapshot.header_row(tip.height).unwrap().unwrap();
            (tip.height.0 + 1, row.commitment, row.block().end().unwrap())
        }
        None => (0, Commitment::START, TxNum(0)),
    };
    for connected in &chain.blocks[usize::try_from(height).unwrap()..end] {
        let transactions = &connected.block.txdata;
        let txids: Vec<Txid> = transactions.iter().map(Transaction::compute_txid).collect();
        let touches = touch::touches(Height(height), connected, &txids).unwrap();
        let hash = connected.block.block_hash();
        commitment = touch::followed_by(commitment, &hash, &touches);
        let row = HeaderRow {
            header: encode::serialize(&connected.block.header)
                .try_into()
                .unwrap(),
            hash,
            first: number,
            transactions: u32::try_from(txids.len()).unwrap(),
            commitment,
        };
        for touch in touches {
            let at = TxNum(number.0 + touch.transaction);
            let entry = epoch
                .scripts
                .entry(index.keyed.prefix(&touch.script_hash))
                .or_default();
            entry.touches.push(at);
            let (tag, vout) = (index.keyed.tag(&touch.outpoint), touch.outpoint.vout);
            match touch.event {
                Event::Funding => entry.fundings.push(Funding {
                    height: Height(height),
                    number: at,
                    vout,
                    tag,
                    amount: touch.amount,
                }),
                Event::Spending { height } => entry.spendings.push(Spending {
                    height,
                    vout,
                    tag,
                    spender: at,
                }),
            }
        }
        for (at, txid) in (number.0..).map(TxNum).zip(&txids) {
            let fingerprint = fingerprints::kept(index.keyed.fingerprint(txid));
            epoch.fingerprints.push((fingerprint, at));
        }
        let place = files.add(&connected.block, height % 5 == 4);
        let lengths = transactions.iter().map(Transaction::total_size);
        let lengths = lengths.map(|length| u32::try_from(length).unwrap());
        epoch.places.push((place, lengths.collect(), nodes(&txids)));
        epoch.txids.extend(txids);
        number = row.block().end().unwrap();
        epoch.rows.push(row);
        height += 1;
    }
    epoch
}

fn nodes(txids: &[Txid]) -> Vec<[u8; 32]> {
    if txids.len() <= GROUP_LEAVES {
        return Vec::new();
    }
    let hashes: Vec<[u8; 32]> = txids.iter().map(|txid| txid.to_byte_array()).collect();
    sha256::merkle_level(&hashes, GROUP_LEVEL)
}

fn build(index: &Index, epoch: &mut Epoch, bits: u8, with_places: bool) -> Vec<SegmentFile> {
    let store = &*index.store;
    let first = epoch.rows[0].first;
    let from = index.segments.count();
    let heights = Height(from)..=Height(from + u32::try_from(epoch.rows.len()).unwrap() - 1);
    epoch.fingerprints.sort_unstable();
    let mut made = Vec::new();
    for shard in Shard::all(bits) {
        let mut builder = ScriptSegmentBuilder::create(store, heights.clone(), shard).unwrap();
        for (prefix, entry) in &mut epoch.scripts {
            if shard.keys().contains(&prefix.0) {
                entry.touches.dedup();
                entry.settle(|height| heights.contains(&height)).unwrap();
                builder.push(*prefix, entry).unwrap();
            }
        }
        made.push(builder.finish().unwrap());
        let mut builder = FingerprintSegmentBuilder::create(store, heights.clone(), shard).unwrap();
        for (fingerprint, number) in &epoch.fingerprints {
            if shard.keys().contains(&fingerprint.0) {
                builder.push(*fingerprint, *number).unwrap();
            }
        }
        made.push(builder.finish().unwrap());
    }
    if with_places {
        let mut builder = PlaceSegmentBuilder::create(store, heights, first).unwrap();
        for (place, lengths, nodes) in &epoch.places {
            let head = if lengths.len() < 253 { 81 } else { 83 };
            let offset = u64::from(place.offset) + head;
            builder
                .push_block(place.file, offset, lengths, nodes)
                .unwrap();
        }
        made.push(builder.finish().unwrap());
    } else {
        let mut builder = TxidSegmentBuilder::create(store, heights, first).unwrap();
        for txid in &epoch.txids {
            builder.push(&[txid.to_byte_array()]).unwrap();
        }
        made.push(builder.finish().unwrap());
    }
    made
}

/// Gives the rows one after the other.
fn each(
    rows: &[HeaderRow],
) -> impl FnOnce(&mut dyn FnMut(HeaderRow) -> Result<(), Error>) -> Result<(), Error> {
    let copies = rows.iter().map(|row| HeaderRow {
        header: row.header,
        hash: row.hash,
        first: row.first,
        transactions: row.transactions,
        commitment: row.commitment,
    });
    let copies: Vec<_> = copies.collect();
    move |visit| copies.into_iter().try_for_each(visit)
}

/// Installs the next blocks; returns the node's files with them.
pub(super) fn install(
    index: &mut Index,
    chain: &Chain,
    end: usize,
    files: &mut Files,
    places: bool,
) {
    let mut epoch = epoch(index, chain, end, files);
    let made = build(index, &mut epoch, index.shape.shard_bits, places);
    index.install(each(&epoch.rows), &made).unwrap();
    index.read_from(Arc::new(files.clone())).unwrap();
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let block = prop::collection::vec(payment(), 0..4);
    let blocks = prop::collection::vec(block, 1..12);
    prop::collection::vec((Just(0), blocks), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn epochs_then_the_tip_equal_the_tip_alone(
        epochs in steps(),
        above in steps(),
        shape in small_shape(),
        tag_bits in prop::sample::select(vec![0, 4, 32]),
        places in prop::collection::vec(any::<bool>(), 6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut index = in_memory_with(&options_with(tag_bits, shape));
        let mut chain = Chain::new();
        let mut files = Files::default();
        for (step, places) in epochs.iter().zip(places) {
            advance(&mut chain, step);
            install(&mut index, &chain, chain.blocks.len(), &mut files, places);
            assert_equal(&index, &chain);
        }
        index.merge_all().unwrap();
        assert_equal(&index, &chain);
        for (at, step) in above.iter().enumerate() {
            let (kept, _) = advance(&mut chain, step);
            if at % 2 == 0 {
                for connected in &chain.blocks {
                    files.add(&connected.block, false);
                }
                index.read_from(Arc::new(files.clone())).unwrap();
            }
            super::layout::follow(&mut index, &chain, kept);
        }
        assert_equal(&index, &chain);
        let mut fresh = in_memory(tag_bits);
        fresh.update(None, &chain.blocks).unwrap();
        prop_assert_eq!(index.digest().unwrap(), fresh.digest().unwrap());
        let kept = cut.index(chain.blocks.len());
        chain.blocks.truncate(kept.max(1));
        super::layout::follow(&mut index, &chain, kept);
        assert_equal(&index, &chain);
    }
}

const SHAPE: Shape = Shape {
    delta_blocks: 4,
    segment_blocks: 2,
    ratio: 2,
    levels: 1,
    shard_bits: 1,
    merges_at_once: true,
};

fn installed() -> (Index, Chain, Files) {
    let mut chain = Chain::new();
    grow(&mut chain, 19);
    // More transactions than a sample has.
    let payment = |n| Payment {
        spend: vec![n],
        pay: vec![(2, 7)],
    };
    chain.mine(&[payment(0), payment(1), payment(2)]);
    let mut index = in_memory_with(&options_with(32, SHAPE));
    let mut files = Files::default();
    install(&mut index, &chain, 21, &mut files, true);
    (index, chain, files)
}

#[test]
fn transactions_are_read_where_the_node_has_them() {
    let (index, chain, _) = installed();
    let snapshot = index.snapshot();
    for connected in &chain.blocks {
        for transaction in &connected.block.txdata {
            let found = snapshot.transaction(&transaction.compute_txid()).unwrap();
            assert_eq!(found.unwrap(), encode::serialize(transaction));
        }
    }
    let outpoint = bitcoin::OutPoint::new(chain.blocks[7].block.txdata[0].compute_txid(), 0);
    let outputs = snapshot.outputs(&[outpoint], &NoTransactions).unwrap();
    assert!(outputs[0].is_some(), "no node is needed");
}

#[test]
fn blocks_that_come_together_are_found_in_whichever_files_they_lie() {
    let mut chain = Chain::new();
    grow(&mut chain, 9);
    let mut files = Files::default();
    for connected in &chain.blocks {
        files.add(&connected.block, true);
    }
    let mut index = in_memory_with(&options_with(32, SHAPE));
    index.read_from(Arc::new(files)).unwrap();
    index.update(None, &chain.blocks).unwrap();
    for connected in &chain.blocks {
        let txid = connected.block.txdata[0].compute_txid();
        let found = index.snapshot().transaction(&txid).unwrap();
        assert_eq!(
            found.unwrap(),
            encode::serialize(&connected.block.txdata[0])
        );
    }
}

#[test]
fn files_that_are_gone_or_hold_something_else_are_noticed() {
    let (mut index, chain, files) = installed();
    let txid = chain.blocks[7].block.txdata[0].compute_txid();
    let mut shifted = files.clone();
    shifted.bytes.iter_mut().for_each(|file| file.insert(0, 7));
    let worlds: [(Arc<dyn BlockFiles>, BlockFilesFault); 2] = [
        (Arc::new(Files::default()), BlockFilesFault::Unreadable),
        (Arc::new(shifted), BlockFilesFault::Other),
    ];
    for (files, expected) in worlds {
        let refused = error_of(index.read_from(files));
        for error in [refused, error_of(index.snapshot().position(&txid))] {
            assert_eq!(error.kind(), ErrorKind::Environment);
            assert!(
                matches!(error, Error::BlockFiles { fault } if fault == expected),
                "{error:?}"
            );
        }
    }
    let mut cut = files.clone();
    cut.bytes.first_mut().unwrap().pop();
    let error = error_of(index.read_from(Arc::new(cut)));
    assert_eq!(error.kind(), ErrorKind::Environment);
    index.read_from(Arc::new(files)).unwrap();
}

#[test]
fn a_full_check_reads_every_transaction_where_the_node_has_it() {
    let (mut index, chain, files) = installed();
    for (height, connected) in chain.blocks.iter().enumerate().skip(1) {
        for transaction in &connected.block.txdata {
            let mut changed = files.clone();
            let bytes = encode::serialize(transaction);
            let is_here = |file: &Vec<u8>| file.windows(bytes.len()).position(|at| at == bytes);
            let found = files.bytes.iter().map(is_here).enumerate();
            let (file, at) = found
                .filter_map(|(file, at)| Some((file, at?)))
                .next()
                .unwrap();
            // The lock time.
            changed.bytes[file][at + bytes.len() - 1] ^= 1;
            index.files = Some(Arc::new(changed));
            index.renew_files().unwrap();
            let error = error_of(index.check(Extent::Full));
            assert_eq!(error.kind(), ErrorKind::Environment, "block {height}");
        }
    }
}

#[test]
fn what_does_not_continue_the_index_is_refused_without_any_change() {
    let mut chain = Chain::new();
    grow(&mut chain, 20);
    let mut files = Files::default();
    let mut index = in_memory_with(&options_with(32, SHAPE));
    let empty = index.digest().unwrap();
    let mut whole = epoch(&index, &chain, 21, &mut files);
    let made = build(&index, &mut whole, 1, false);
    let refused = |index: &mut Index, rows: &[HeaderRow], made: &[SegmentFile]| {
        let error = error_of(index.install(each(rows), made));
        assert_eq!(index.digest().unwrap(), empty, "{error:?}");
    };
    refused(&mut index, &whole.rows[..20], &made);
    refused(&mut index, &whole.rows[1..], &made);
    refused(&mut index, &whole.rows, &made[1..]);
    refused(&mut index, &whole.rows, &made[..4]);
    refused(&mut index, &[], &made);
    whole.rows[9].first.0 += 1;
    refused(&mut index, &whole.rows, &made);
    whole.rows[9].first.0 -= 1;
    index.install(each(&whole.rows), &made).unwrap();
    assert!(index.install(each(&whole.rows), &made).is_err());
    grow(&mut chain, 1);
    index.update(Some(Height(20)), &chain.blocks[21..]).unwrap();
    assert!(matches!(
        error_of(index.install(each(&[]), &[])),
        Error::Discontinuous
    ));
    assert_equal(&index, &chain);
}
