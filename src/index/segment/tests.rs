//! Segments of every kind give back what they were given, and notice what changed.

mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, BlockHash, Txid};
use proptest::prelude::*;

pub(in crate::index) use memory::{Bytes, Memory};

use super::cache::CacheBudget;
use super::fingerprints::{FingerprintSegmentBuilder, FingerprintWalk};
use super::places::{Place, PlaceSegmentBuilder};
use super::scripts::{ScriptSegmentBuilder, ScriptWalk};
use super::store::{Directory, Store};
use super::txids::TxidSegmentBuilder;
use super::{Segment, SegmentFile, Shard, fingerprints, places, scripts, txids};
use crate::chain::{Height, TxNum};
use crate::error::ErrorKind;
use crate::index::ScriptPrefix;
use crate::index::blocks::{Block, Blocks};
use crate::index::error::Error;
use crate::index::keys::{OutPointTag, TxFingerprint};
use crate::index::layer::{Effort, Funding, ScriptEntry, Spending, Wanted};
use crate::index::merge::{FingerprintSource as _, ScriptSource as _};

const HEIGHTS: RangeInclusive<Height> = Height(0)..=Height(9_999);
/// Transactions in each block of these tests.
const IN_BLOCK: u32 = 10;

fn blocks() -> Blocks {
    let mut blocks = Blocks::default();
    for height in 0..10_000 {
        blocks.push(Block {
            hash: BlockHash::all_zeros(),
            first: TxNum(height * IN_BLOCK),
            transactions: IN_BLOCK,
        });
    }
    blocks
}

fn open(store: &dyn Store, file: &SegmentFile) -> Result<Segment, Error> {
    Segment::open(store, file.clone(), CacheBudget::new(0).share(0))
}

/// Touches, fundings and spendings as tuples.
type Told = (
    Vec<u32>,
    Vec<(u32, u32, u64, u32)>,
    Vec<(u32, u32, u32, u32)>,
);

fn tell(entry: &ScriptEntry) -> Told {
    let mut spendings: Vec<_> = entry
        .spendings
        .iter()
        .map(|s| (s.spender.0, s.height.0, s.vout, s.tag.0))
        .collect();
    spendings.sort_unstable();
    (
        entry.touches.iter().map(|number| number.0).collect(),
        entry
            .fundings
            .iter()
            .inspect(|f| assert_eq!(f.height.0, f.number.0 / IN_BLOCK))
            .map(|f| (f.number.0, f.vout, f.amount.to_sat(), f.tag.0))
            .collect(),
        spendings,
    )
}

/// What a segment says of a script when it is asked for its touches and for its outputs.
fn find(segment: &Segment, prefix: u64, blocks: &Blocks) -> Result<Told, Error> {
    let ask = |wanted| {
        let mut found = ScriptEntry::default();
        scripts::find(segment, ScriptPrefix(prefix), wanted, blocks, &mut found)?;
        Ok(tell(&found))
    };
    let (touches, _, _) = ask(Wanted::Touches)?;
    let (_, fundings, spendings) = ask(Wanted::Outputs)?;
    Ok((touches, fundings, spendings))
}

/// For [`made`].
fn seed() -> impl Strategy<Value = (usize, u64)> {
    let count = prop_oneof![8 => 1..5_usize, 2 => 1..60_usize, 1 => 500..3000_usize];
    (count, any::<u64>())
}

/// An entry with so many touches, of which some create and some consume.
fn made((count, seed): (usize, u64)) -> ScriptEntry {
    let mut random = seed | 1;
    let mut draw = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 20) % below
    };
    let mut entry = ScriptEntry::default();
    let mut number = u32::try_from(draw(20_000)).unwrap();
    for _ in 0..count {
        number += 1 + u32::try_from(draw(30)).unwrap();
        entry.touches.push(TxNum(number));
        for vout in 0..draw(3) {
            entry.fundings.push(Funding {
                height: Height(number / IN_BLOCK),
                number: TxNum(number),
                vout: u32::try_from(vout).unwrap(),
                tag: OutPointTag(u32::try_from(draw(1 << 32)).unwrap()),
                amount: Amount::from_sat(draw(21_000_000) * 100_000_000),
            });
        }
        for vout in 0..draw(8).saturating_sub(5) {
            entry.spendings.push(Spending {
                height: Height(u32::try_from(draw(20_000)).unwrap()),
                vout: u32::try_from(vout).unwrap(),
                tag: OutPointTag(u32::try_from(draw(1 << 32)).unwrap()),
                spender: TxNum(number),
            });
        }
    }
    entry
}

fn scripts_file(store: &Memory, known: &BTreeMap<u64, ScriptEntry>, blob: usize) -> SegmentFile {
    let builder = ScriptSegmentBuilder::create(store, HEIGHTS, Shard::WHOLE).unwrap();
    let mut builder = builder.with_blobs_of(blob);
    for (prefix, entry) in known {
        builder.push(ScriptPrefix(*prefix), entry).unwrap();
    }
    builder.finish().unwrap()
}

#[test]
fn little_effort_ends_at_a_script_of_several_blobs() {
    let known = BTreeMap::from([(1, made((3, 1))), (2, made((3_000, 1)))]);
    let (store, blocks) = (Memory::default(), blocks());
    let file = scripts_file(&store, &known, 8150);
    let segment = open(&store, &file).unwrap();
    let touches = |prefix| {
        let mut found = ScriptEntry::sought_with(Effort::Little);
        let wanted = Wanted::Touches;
        scripts::find(&segment, ScriptPrefix(prefix), wanted, &blocks, &mut found)?;
        Ok::<_, Error>(found.touches.len())
    };
    assert_eq!(touches(1).unwrap(), 3);
    assert!(matches!(touches(2), Err(Error::TooMuch)));
    assert_eq!(find(&segment, 2, &blocks).unwrap().0.len(), 3_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn scripts_are_found_and_walked_over(
        known in prop::collection::btree_map(any::<u64>(), seed(), 1..60),
        close in any::<bool>(),
        blob in prop::sample::select(vec![300_usize, 8150]),
        range in any::<(u64, u64)>(),
    ) {
        // Prefixes as near to each other as they can be, or anywhere.
        let place = |(n, prefix)| if close { u64::MAX - 63 + n } else { prefix };
        let known: BTreeMap<u64, ScriptEntry> = (0..)
            .zip(known)
            .map(|(n, (prefix, seed))| (place((n, prefix)), made(seed)))
            .collect();
        let (store, blocks) = (Memory::default(), blocks());
        let file = scripts_file(&store, &known, blob);
        prop_assert_eq!(usize::try_from(file.entries).unwrap(), known.len());
        let segment = open(&store, &file).unwrap();
        for prefix in known.keys() {
            for near in [prefix.wrapping_sub(1), *prefix, prefix.wrapping_add(1)] {
                let expected = known.get(&near).map(tell).unwrap_or_default();
                prop_assert_eq!(find(&segment, near, &blocks).unwrap(), expected);
            }
        }
        let first = *known.keys().next().unwrap();
        let ranges = [0..=u64::MAX, range.0.min(range.1)..=range.0.max(range.1), first..=first];
        for range in ranges {
            let mut walk = ScriptWalk::over(&segment, range.clone(), &blocks).unwrap();
            let mut expected = known.range(range);
            loop {
                let mut entry = ScriptEntry::default();
                let found = walk.next(&mut entry).unwrap().map(|prefix| (prefix.0, tell(&entry)));
                let next = expected.next().map(|(prefix, entry)| (*prefix, tell(entry)));
                prop_assert_eq!(&found, &next);
                if found.is_none() {
                    break;
                }
            }
        }
    }

    #[test]
    fn fingerprints_are_found_and_walked_over(
        known in prop::collection::vec(any::<u64>(), 1..3000),
        bits in prop::sample::select(vec![0_u32, 20, 56]),
    ) {
        let store = Memory::default();
        // With many bits dropped several have the same.
        let known: Vec<u64> = known.into_iter().map(|print| print >> bits << bits).collect();
        let mut sorted: Vec<(u64, u32)> = known.iter().map(|print| print >> 24 << 24).zip(0..).collect();
        sorted.sort_unstable();
        let mut builder = FingerprintSegmentBuilder::create(&store, HEIGHTS, Shard::WHOLE).unwrap();
        for (print, number) in &sorted {
            builder.push(TxFingerprint(*print), TxNum(*number)).unwrap();
        }
        let file = builder.finish().unwrap();
        let segment = open(&store, &file).unwrap();
        for wanted in known.iter().flat_map(|print| [*print, print.wrapping_add(1 << 24)]) {
            let mut found = Vec::new();
            fingerprints::find(&segment, TxFingerprint(wanted), &mut found).unwrap();
            let from = sorted.partition_point(|(print, _)| *print < wanted >> 24 << 24);
            let equal = sorted[from..].iter().take_while(|(print, _)| print >> 24 == wanted >> 24);
            prop_assert!(found.iter().map(|number| number.0).eq(equal.map(|(_, number)| *number)));
        }
        for shard in Shard::all(2) {
            let mut walk = FingerprintWalk::over(&segment, shard.keys()).unwrap();
            for (print, number) in sorted.iter().filter(|(print, _)| shard.keys().contains(print)) {
                let found = walk.next().unwrap().map(|(print, number)| (print.0, number.0));
                prop_assert_eq!(found, Some((*print, *number)));
            }
            prop_assert!(walk.next().unwrap().is_none());
        }
    }

    #[test]
    fn places_and_txids_are_found(
        blocks in prop::collection::vec(
            (0..3_u64, prop::collection::vec(60..100_000_u32, 1..300), 0..4_u32),
            1..20,
        ),
        first in 0..1000_u32,
    ) {
        let store = Memory::default();
        let (mut file, mut offset) = (0, 8);
        let mut known = Vec::new();
        let mut nodes = Vec::new();
        let mut begins = BTreeSet::new();
        let mut of_places = PlaceSegmentBuilder::create(&store, HEIGHTS, TxNum(first)).unwrap();
        for (gap, lengths, new_file) in blocks {
            if new_file == 0 {
                (file, offset) = (file + 1, 8);
            }
            offset += gap * 88;
            let groups = match lengths.len().div_ceil(64) {
                1 => 0,
                groups => groups,
            };
            let above: Vec<[u8; 32]> = (0..groups)
                .map(|n| Txid::hash(&(known.len() + n).to_be_bytes()).to_byte_array())
                .collect();
            for (n, node) in (0_u32..).zip(&above) {
                nodes.push((TxNum(first + u32::try_from(known.len()).unwrap() + 64 * n), *node));
            }
            of_places.push_block(file, offset, &lengths, &above).unwrap();
            begins.extend((known.len()..known.len() + lengths.len()).step_by(64));
            for length in lengths {
                known.push(Place { file, offset, length });
                offset += u64::from(length);
            }
        }
        let ids: Vec<[u8; 32]> = (0..known.len()).map(|n| Txid::hash(&n.to_be_bytes()).to_byte_array()).collect();
        let mut of_txids = TxidSegmentBuilder::create(&store, HEIGHTS, TxNum(first)).unwrap();
        for part in ids.chunks(7) {
            of_txids.push(part).unwrap();
        }
        let of_places = open(&store, &of_places.finish().unwrap()).unwrap();
        let of_txids = open(&store, &of_txids.finish().unwrap()).unwrap();
        for step in [1, 3, 50] {
            let numbers: Vec<TxNum> = (first..).map(TxNum).take(known.len()).step_by(step).collect();
            let mut found = Vec::new();
            places::find(&of_places, &numbers, &mut found).unwrap();
            prop_assert!(found.iter().eq(known.iter().step_by(step)));
        }
        let firsts: Vec<TxNum> = nodes.iter().map(|(first, _)| *first).collect();
        let mut found = Vec::new();
        places::nodes(&of_places, &firsts, &mut found).unwrap();
        prop_assert!(found.iter().eq(nodes.iter().map(|(_, node)| node)));
        for inside in (0..known.len()).filter(|number| !begins.contains(number)) {
            let inside = [TxNum(first + u32::try_from(inside).unwrap())];
            prop_assert!(places::nodes(&of_places, &inside, &mut Vec::new()).is_err());
        }
        let mut joined = PlaceSegmentBuilder::create(&store, HEIGHTS, TxNum(first)).unwrap();
        places::each(&of_places, TxNum(first), |file, offset, group| joined.push_group(file, offset, group)).unwrap();
        let joined = open(&store, &joined.finish().unwrap()).unwrap();
        let all: Vec<TxNum> = (first..).map(TxNum).take(known.len()).collect();
        let (mut found, mut above) = (Vec::new(), Vec::new());
        places::find(&joined, &all, &mut found).unwrap();
        places::nodes(&joined, &firsts, &mut above).unwrap();
        prop_assert_eq!(&found, &known);
        prop_assert!(above.iter().eq(nodes.iter().map(|(_, node)| node)));
        let every_third: Vec<TxNum> = (first..).map(TxNum).take(known.len()).step_by(3).collect();
        let mut found = Vec::new();
        txids::find(&of_txids, &every_third, &mut found).unwrap();
        prop_assert!(found.iter().map(|txid| txid.to_byte_array()).eq(ids.into_iter().step_by(3)));
        let beyond = TxNum(first + u32::try_from(known.len()).unwrap());
        prop_assert!(places::find(&of_places, &[beyond], &mut Vec::new()).is_err());
        prop_assert!(txids::find(&of_txids, &[beyond], &mut found).is_err());
    }

    #[test]
    fn a_changed_byte_is_noticed_or_does_not_matter(
        known in prop::collection::btree_map(any::<u64>(), seed(), 20..40),
        at in any::<prop::sample::Index>(),
        mask in 1..=255_u8,
    ) {
        let (store, blocks) = (Memory::default(), blocks());
        let known: BTreeMap<u64, ScriptEntry> =
            known.into_iter().map(|(prefix, seed)| (prefix, made(seed))).collect();
        let file = scripts_file(&store, &known, 300);
        store.change(file.id, |bytes| {
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
        });
        let damaged = |error: Error| assert_eq!(error.kind(), ErrorKind::Corruption);
        match open(&store, &file) {
            Err(error) => damaged(error),
            Ok(segment) => {
                for (prefix, expected) in &known {
                    match find(&segment, *prefix, &blocks) {
                        Ok(found) => prop_assert_eq!(found, tell(expected)),
                        Err(error) => damaged(error),
                    }
                }
                // A disk in memory cannot be opened for reading alone, so redb writes its list of free pages when it is
                // closed, and panics when that is damaged.
                drop(catch_unwind(AssertUnwindSafe(|| drop(segment))));
            }
        }
    }
}

#[test]
fn what_is_out_of_order_is_refused() {
    let store = Memory::default();
    let mut builder = ScriptSegmentBuilder::create(&store, HEIGHTS, Shard::WHOLE).unwrap();
    let mut entry = ScriptEntry::default();
    assert!(builder.push(ScriptPrefix(0), &entry).is_err(), "no touch");
    entry.touches = vec![TxNum(1)];
    builder.push(ScriptPrefix(5), &entry).unwrap();
    assert!(builder.push(ScriptPrefix(5), &entry).is_err(), "twice");
    entry.touches = vec![TxNum(2), TxNum(1)];
    assert!(builder.push(ScriptPrefix(6), &entry).is_err(), "descending");
}

#[test]
fn files_are_written_once_and_hold_little_more_than_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let store = Directory::open(dir.path().join("segments")).unwrap();
    let mut builder = TxidSegmentBuilder::create(&store, HEIGHTS, TxNum(0)).unwrap();
    for n in 0..300_000_u32 {
        builder
            .push(&[Txid::hash(&n.to_be_bytes()).to_byte_array()])
            .unwrap();
    }
    let file = builder.finish().unwrap();
    assert_eq!(store.list().unwrap(), [file.id]);
    assert_eq!(store.length(file.id).unwrap(), Some(file.bytes));
    assert!(
        file.bytes < 300_000 * 32 * 104 / 100,
        "{} bytes",
        file.bytes
    );
    let segment = open(&store, &file).unwrap();
    let mut found = Vec::new();
    txids::find(&segment, &[TxNum(299_999)], &mut found).unwrap();
    assert_eq!(found, [Txid::hash(&299_999_u32.to_be_bytes())]);
    store.remove(file.id).unwrap();
    assert_eq!(store.length(file.id).unwrap(), None);
    txids::find(&segment, &[TxNum(7)], &mut found).unwrap();
}
