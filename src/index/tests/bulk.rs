//! What a bulk builds is what the blocks, taken one by one, say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use bitcoin::consensus::encode;
use proptest::prelude::*;

use super::chain::{self, Chain, Payment, UNSPENDABLE};
use super::touch::{self, Event};
use super::{directory, error_of, in_memory, model, options};
use crate::chain::{BlockPlace, ConnectedBlock, Height, RawBlock, SpentList, TxNum};
use crate::index::blocks::Blocks;
use crate::index::bulk::{Built, Bulk, BulkShape, Ground, PlannedBlock, Totals};
use crate::index::commitment::Commitment;
use crate::index::error::{BlockFault, Error};
use crate::index::keys::KeyedHash;
use crate::index::layer::{Funding, ScriptEntry, Spending, Wanted};
use crate::index::merge::{FingerprintSource, ScriptSource};
use crate::index::segment::cache::CacheBudget;
use crate::index::segment::fingerprints::FingerprintWalk;
use crate::index::segment::places;
use crate::index::segment::scripts::{self, ScriptWalk};
use crate::index::segment::store::Store;
use crate::index::segment::tests::Memory;
use crate::index::segment::{Kind, Segment, txids};
use crate::index::{Index, ScriptPrefix};

const SHAPE: BulkShape = BulkShape {
    partition_bits: 8,
    shard_bits: 1,
    txids: true,
};
const WITH_PLACES: BulkShape = BulkShape {
    partition_bits: 9,
    shard_bits: 2,
    txids: false,
};

fn keyed(tag_bits: u32) -> KeyedHash {
    KeyedHash::new(options(tag_bits).keys.unwrap(), tag_bits)
}

pub(super) fn packed(spent: &ConnectedBlock) -> SpentList {
    let mut list = SpentList::default();
    for outputs in &spent.spent {
        list.begin_transaction(outputs.len());
        for output in outputs {
            list.push(output.height, output.amount, &[output.script.as_bytes()]);
        }
    }
    list
}

pub(super) fn planned(blocks: &[ConnectedBlock]) -> Vec<PlannedBlock> {
    let planned = blocks.iter().map(|connected| PlannedBlock {
        hash: connected.block.block_hash(),
        transactions: u32::try_from(connected.block.txdata.len()).unwrap(),
    });
    planned.collect()
}

/// Above what the index has up to `from`.
fn ground(index: &Index, from: u32) -> Ground {
    let below = from.checked_sub(1).map(|below| {
        let row = index.snapshot().header_row(Height(below)).unwrap().unwrap();
        (row.hash, row.commitment, row.block().end().unwrap())
    });
    let (hash, commitment, first) = below.unwrap_or((
        bitcoin::hashes::Hash::all_zeros(),
        Commitment::START,
        TxNum(0),
    ));
    Ground {
        from: Height(from),
        hash,
        commitment,
        first,
    }
}

/// A block of file 7 stands here.
fn place(height: Height, length: usize) -> BlockPlace {
    BlockPlace {
        file: 7,
        offset: height.0 * 1_000_000,
        length: u32::try_from(length).unwrap(),
    }
}

/// Brings the blocks from `from` on in by two threads, the later half first.
fn build(
    store: &Arc<Memory>,
    ground: Ground,
    blocks: &[ConnectedBlock],
    tag_bits: u32,
    shape: BulkShape,
) -> Result<Built, Error> {
    let dir = directory();
    let store: Arc<dyn Store> = Arc::<Memory>::clone(store);
    let wanted = planned(blocks);
    let bulk = Bulk::new(keyed(tag_bits), store, dir.path(), ground, wanted, shape)?;
    let (low, high) = blocks.split_at(blocks.len() / 2);
    let bring = |blocks: &[ConnectedBlock]| {
        let mut worker = bulk.worker()?;
        for connected in blocks {
            let bytes = encode::serialize(&connected.block);
            let spent = &packed(connected);
            let bytes = bytes.as_slice();
            let height = bulk.claim(&connected.block.block_hash()).unwrap();
            worker.add(
                height,
                Some(place(height, bytes.len())),
                RawBlock { bytes, spent },
            )?;
        }
        worker.finish()
    };
    let (high, low) = thread::scope(|scope| {
        let high = scope.spawn(|| bring(high));
        let low = bring(low);
        (high.join().unwrap(), low)
    });
    Arc::new(bulk).build(vec![high?, low?], 2)
}

/// What the blocks do to scripts, from what the tip path makes of each, settled.
fn entries(
    blocks: &[ConnectedBlock],
    ground: Ground,
    keyed: &KeyedHash,
) -> (BTreeMap<u64, ScriptEntry>, Totals) {
    let mut entries: BTreeMap<u64, ScriptEntry> = BTreeMap::new();
    let mut totals = Totals::default();
    let mut first = ground.first.0;
    for (height, connected) in (ground.from.0..).map(Height).zip(blocks) {
        let transactions = &connected.block.txdata;
        let ids: Vec<_> = transactions
            .iter()
            .map(bitcoin::Transaction::compute_txid)
            .collect();
        for touch in touch::touches(height, connected, &ids).unwrap() {
            let entry = entries
                .entry(keyed.prefix(&touch.script_hash).0)
                .or_default();
            let number = TxNum(first + touch.transaction);
            entry.touch(number);
            let (vout, tag) = (touch.outpoint.vout, keyed.tag(&touch.outpoint));
            match touch.event {
                Event::Funding => {
                    totals.fundings += 1;
                    entry.fundings.push(Funding {
                        height,
                        number,
                        vout,
                        tag,
                        amount: touch.amount,
                    });
                }
                Event::Spending { height } => {
                    totals.spendings += 1;
                    entry.spendings.push(Spending {
                        height,
                        vout,
                        tag,
                        spender: number,
                    });
                }
            }
        }
        first += u32::try_from(transactions.len()).unwrap();
    }
    for entry in entries.values_mut() {
        entry.settle(|height| height >= ground.from).unwrap();
        totals.scripts += 1;
        totals.touches += u64::try_from(entry.touches.len()).unwrap();
        totals.fundings_kept += u64::try_from(entry.fundings.len()).unwrap();
        totals.spendings_kept += u64::try_from(entry.spendings.len()).unwrap();
    }
    (entries, totals)
}

/// Everything an entry says, to be compared; outputs that are equal in all the index knows are in no order.
pub(super) fn told(entry: &ScriptEntry) -> (Vec<u32>, Vec<[u64; 5]>, Vec<[u32; 4]>) {
    let mut spendings: Vec<_> = entry
        .spendings
        .iter()
        .map(|s| [s.height.0, s.vout, s.tag.0, s.spender.0])
        .collect();
    spendings.sort_unstable();
    let fundings = entry.fundings.iter().map(|f| {
        let [height, number, vout, tag] = [f.height.0, f.number.0, f.vout, f.tag.0].map(u64::from);
        [number, vout, height, tag, f.amount.to_sat()]
    });
    (
        entry.touches.iter().map(|number| number.0).collect(),
        fundings.collect(),
        spendings,
    )
}

fn blocks_of(index: &Index) -> Blocks {
    index.snapshot().blocks().clone()
}

fn open(store: &Memory, built: &Built, kind: Kind) -> Vec<Segment> {
    let mut segments: Vec<_> = built
        .segments
        .iter()
        .filter(|file| file.spec.kind == kind)
        .map(|file| Segment::open(store, file.clone(), CacheBudget::new(0).share(0)).unwrap())
        .collect();
    segments.sort_by_key(|segment| segment.file.spec.shard);
    segments
}

/// Compares everything that a bulk over the blocks from `from` on builds with the index of all blocks.
fn assert_built(chain: &Chain, from: u32, tag_bits: u32, shape: BulkShape) {
    let mut index = in_memory(tag_bits);
    index.update(None, &chain.blocks).unwrap();
    let store = Arc::new(Memory::default());
    let ground = ground(&index, from);
    let blocks = &chain.blocks[usize::try_from(from).unwrap()..];
    let built = build(&store, ground, blocks, tag_bits, shape).unwrap();

    let mut heights = built.heights.start().0..=built.heights.end().0;
    built
        .each_header(|row| {
            let height = Height(heights.next().unwrap());
            let expected = index.snapshot().header_row(height).unwrap().unwrap();
            assert_eq!(row.encode(height), expected.encode(height));
            Ok(())
        })
        .unwrap();
    assert!(heights.is_empty());
    assert_eq!(built.heights.end().0, chain.height().unwrap().0);

    let (expected, totals) = entries(blocks, ground, &keyed(tag_bits));
    assert_eq!(built.totals, totals);
    let known = blocks_of(&index);
    let mut found = BTreeMap::new();
    for segment in open(&store, &built, Kind::Scripts) {
        let mut walk = ScriptWalk::over(&segment, segment.file.spec.shard.keys(), &known).unwrap();
        let mut entry = ScriptEntry::default();
        while let Some(prefix) = ScriptSource::next(&mut walk, &mut entry).unwrap() {
            assert!(segment.file.spec.shard.keys().contains(&prefix.0));
            found.insert(prefix.0, told(&std::mem::take(&mut entry)));
        }
        let keys = segment.file.spec.shard.keys();
        for (prefix, expected) in expected.range(keys) {
            let mut entry = ScriptEntry::default();
            let wanted = Wanted::Outputs;
            scripts::find(&segment, ScriptPrefix(*prefix), wanted, &known, &mut entry).unwrap();
            assert_eq!(told(&entry), told(expected));
        }
    }
    let expected: BTreeMap<_, _> = expected
        .iter()
        .map(|(prefix, entry)| (*prefix, told(entry)))
        .collect();
    assert_eq!(found, expected);
    assert_transactions(&store, &built, ground, blocks, &keyed(tag_bits));
}

fn assert_transactions(
    store: &Memory,
    built: &Built,
    ground: Ground,
    blocks: &[ConnectedBlock],
    keyed: &KeyedHash,
) {
    let with_places = open(store, built, Kind::Places).pop();
    let with_txids = open(store, built, Kind::Txids).pop();
    assert_eq!(with_places.is_none(), with_txids.is_some());
    let mut number = ground.first.0;
    let mut fingerprints = Vec::new();
    for (height, connected) in (ground.from.0..).map(Height).zip(blocks) {
        let bytes = encode::serialize(&connected.block);
        for transaction in &connected.block.txdata {
            let txid = transaction.compute_txid();
            let transaction = encode::serialize(transaction);
            if let Some(segment) = &with_places {
                let mut found = Vec::new();
                places::find(segment, &[TxNum(number)], &mut found).unwrap();
                let found = found[0];
                let offset = found.offset - u64::from(place(height, 0).offset);
                let offset = usize::try_from(offset).unwrap();
                let end = offset + usize::try_from(found.length).unwrap();
                assert_eq!(
                    (found.file, &bytes[offset..end]),
                    (7, transaction.as_slice())
                );
            }
            if let Some(segment) = &with_txids {
                let mut found = Vec::new();
                txids::find(segment, &[TxNum(number)], &mut found).unwrap();
                assert_eq!(found, [txid]);
            }
            fingerprints.push((keyed.fingerprint(&txid).0 >> 24 << 24, number));
            number += 1;
        }
    }
    fingerprints.sort_unstable();
    let mut found = Vec::new();
    for segment in open(store, built, Kind::Fingerprints) {
        let mut walk = FingerprintWalk::over(&segment, segment.file.spec.shard.keys()).unwrap();
        while let Some((fingerprint, number)) = FingerprintSource::next(&mut walk).unwrap() {
            found.push((fingerprint.0, number.0));
        }
    }
    assert_eq!(found, fingerprints);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn segments_say_what_the_blocks_say(
        blocks in prop::collection::vec(prop::collection::vec(model::payment(), 0..6), 1..20),
        from in any::<prop::sample::Index>(),
        tag_bits in prop_oneof![Just(32_u32), Just(1), Just(0)],
    ) {
        let mut chain = Chain::new();
        for payments in &blocks {
            chain.mine(payments);
        }
        let from = u32::try_from(from.index(chain.blocks.len())).unwrap();
        assert_built(&chain, from, tag_bits, SHAPE);
        assert_built(&chain, 0, tag_bits, WITH_PLACES);
    }
}

/// Ten blocks, each of which spends and pays.
fn busy_chain() -> Chain {
    let mut chain = Chain::new();
    for n in 0..10 {
        let payment = Payment {
            spend: vec![n],
            pay: vec![(2, 5), (3, 7)],
        };
        chain.mine(&[payment.clone(), payment]);
    }
    chain
}

#[test]
fn a_block_that_is_not_the_planned_one_is_refused() {
    let chain = busy_chain();
    let mut index = in_memory(32);
    index.update(None, &chain.blocks).unwrap();
    let ground = ground(&index, 0);
    let refused = |change: &dyn Fn(&mut Vec<u8>, &mut SpentList)| {
        let dir = directory();
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let wanted = planned(&chain.blocks);
        let bulk = Bulk::new(keyed(32), store, dir.path(), ground, wanted, SHAPE).unwrap();
        let connected = &chain.blocks[5];
        let mut bytes = encode::serialize(&connected.block);
        let mut spent = packed(connected);
        change(&mut bytes, &mut spent);
        let block = RawBlock {
            bytes: &bytes,
            spent: &spent,
        };
        let mut worker = bulk.worker().unwrap();
        match worker.add(Height(5), None, block) {
            Ok(()) => None,
            Err(Error::Block { fault, .. }) => Some(fault),
            Err(_) => panic!("another error"),
        }
    };
    assert_eq!(refused(&|_, _| {}), None);
    assert_eq!(
        refused(&|bytes, _| *bytes = encode::serialize(&chain.blocks[6].block)),
        Some(BlockFault::Predecessor)
    );
    assert_eq!(
        refused(&|bytes, _| bytes.push(0)),
        Some(BlockFault::Undecodable)
    );
    assert_eq!(
        refused(&|bytes, _| bytes.truncate(99)),
        Some(BlockFault::Undecodable)
    );
    assert_eq!(
        refused(&|bytes, _| *bytes.last_mut().unwrap() ^= 1),
        Some(BlockFault::MerkleRoot)
    );
    assert_eq!(
        refused(&|_, spent| spent.clear()),
        Some(BlockFault::SpentOutputs)
    );
    assert_eq!(
        refused(&|_, spent| spent.begin_transaction(0)),
        Some(BlockFault::SpentOutputs)
    );
    let one_more = |_: &mut Vec<u8>, spent: &mut SpentList| {
        spent.push(Height(1), bitcoin::Amount::ZERO, &[&[0x51]]);
    };
    assert_eq!(refused(&one_more), Some(BlockFault::SpentOutputs));
}

#[test]
fn a_missing_block_and_a_spending_without_its_funding_are_refused() {
    let chain = busy_chain();
    let mut index = in_memory(32);
    index.update(None, &chain.blocks).unwrap();
    let store = Arc::new(Memory::default());
    let dir = directory();
    let wanted = planned(&chain.blocks);
    let as_store: Arc<dyn Store> = Arc::<Memory>::clone(&store);
    let bulk = Bulk::new(
        keyed(32),
        as_store,
        dir.path(),
        ground(&index, 0),
        wanted,
        SHAPE,
    )
    .unwrap();
    let nothing = bulk.worker().unwrap().finish().unwrap();
    assert!(matches!(
        error_of(Arc::new(bulk).build(vec![nothing], 1)),
        Error::Incomplete
    ));

    let mut blocks = chain.blocks.clone();
    let spent = blocks
        .iter_mut()
        .flat_map(|block| &mut block.spent)
        .flatten();
    let spent = spent
        .filter(|spent| spent.height > Height(1))
        .last()
        .unwrap();
    spent.height.0 -= 1;
    let built = build(&store, ground(&index, 0), &blocks, 32, SHAPE);
    assert!(matches!(error_of(built), Error::Damaged { .. }));
}

#[test]
fn a_stopped_bulk_ends() {
    let chain = busy_chain();
    let mut index = in_memory(32);
    index.update(None, &chain.blocks).unwrap();
    let dir = directory();
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let wanted = planned(&chain.blocks);
    let bulk = Bulk::new(
        keyed(32),
        store,
        dir.path(),
        ground(&index, 0),
        wanted,
        SHAPE,
    )
    .unwrap();
    let mut worker = bulk.worker().unwrap();
    assert_eq!(bulk.claim(&bulk.blocks()[4].hash), Some(Height(4)));
    assert_eq!(bulk.claim(&bulk.blocks()[4].hash), None, "it is taken");
    assert_eq!(bulk.claim(&bitcoin::hashes::Hash::all_zeros()), None);
    assert!(!bulk.is_complete());
    bulk.stop();
    let bytes = encode::serialize(&chain.blocks[0].block);
    let block = RawBlock {
        bytes: &bytes,
        spent: &SpentList::default(),
    };
    assert!(matches!(
        worker.add(Height(0), None, block),
        Err(Error::Stopped)
    ));
}

#[test]
fn large_transactions_and_repeated_coinbases_are_taken_in() {
    let mut chain = Chain::new();
    let repeated = chain::coinbase(u32::MAX);
    chain.mine_with(repeated.clone(), &[]);
    chain.mine_with(repeated, &[]);
    let script = |n: usize| u8::try_from(n % 250).unwrap();
    let split = Payment {
        spend: vec![0],
        pay: (0..5_000).map(|n| (script(n), 1)).collect(),
    };
    chain.mine(&[split]);
    let join = Payment {
        spend: vec![0; 1_000],
        pay: vec![(9, 1)],
    };
    let to_nobody = Payment {
        spend: vec![0],
        pay: vec![(UNSPENDABLE, 0)],
    };
    chain.mine(&[join, to_nobody]);
    assert_built(&chain, 0, 32, WITH_PLACES);
    assert_built(&chain, 4, 32, SHAPE);
}
