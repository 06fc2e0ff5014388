//! Any sequence of connected and dropped blocks leaves what the chain says, and nothing else.

use std::collections::BTreeSet;

use bitcoin::hashes::Hash as _;
use bitcoin::{OutPoint, ScriptBuf};
use proptest::prelude::*;

use super::chain::{self, Chain, Payment, UNSPENDABLE};
use super::proofs::climb;
use super::{directory, in_memory, options};
use crate::chain::{ChainTip, ConnectedBlock, Height, Network, ScriptHash, TxNum};
use crate::index::{Effort, Error, Index, ScriptPrefix, Touched};

/// Drop so many blocks, then connect these, all in one update.
pub(super) type Step = (usize, Vec<Vec<Payment>>);

pub(super) fn payment() -> impl Strategy<Value = Payment> {
    let spend = prop::collection::vec(any::<usize>(), 1..4);
    let pay = prop::collection::vec((UNSPENDABLE..7, 0..3_000_000_000_u64), 1..4);
    (spend, pay).prop_map(|(spend, pay)| Payment { spend, pay })
}

fn step() -> impl Strategy<Value = Step> {
    let block = prop::collection::vec(payment(), 0..6);
    (0..6_usize, prop::collection::vec(block, 0..6))
}

/// Drops and mines; returns what to tell the index and the scripts that it is to report.
pub(super) fn advance(chain: &mut Chain, (drops, blocks): &Step) -> (usize, BTreeSet<ScriptBuf>) {
    let kept = chain.blocks.len().saturating_sub(*drops);
    let dropped: Vec<ConnectedBlock> = chain.blocks.drain(kept..).collect();
    if chain.blocks.is_empty() {
        chain.blocks = Chain::new().blocks;
    }
    for payments in blocks {
        chain.mine(payments);
    }
    let changed = dropped
        .iter()
        .chain(&chain.blocks[kept.min(chain.blocks.len())..]);
    let genesis = Chain::new().blocks.remove(0);
    let touched = changed
        .filter(|connected| **connected != genesis)
        .flat_map(|connected| {
            (0..connected.block.txdata.len()).flat_map(|index| chain::scripts(connected, index))
        })
        .collect();
    (kept, touched)
}

pub(super) fn height(count: usize) -> Option<Height> {
    Some(Height(u32::try_from(count.checked_sub(1)?).unwrap()))
}

fn prefix(index: &Index, script: &ScriptBuf) -> ScriptPrefix {
    index.snapshot().prefix(&ScriptHash::of(script))
}

pub(super) fn assert_scripts_equal(index: &Index, chain: &Chain) {
    let snapshot = index.snapshot();
    let (histories, unspent) = (chain.histories(), chain.unspent());
    for n in 0..8 {
        let script = chain::script(n);
        let prefix = prefix(index, &script);
        let entries = snapshot.history(prefix, Effort::Any, None).unwrap();
        match snapshot.history(prefix, Effort::Little, None) {
            Ok(same) => assert!(same == entries),
            Err(Error::TooMuch) => {}
            Err(error) => panic!("{error}"),
        }
        let found: Vec<_> = entries
            .iter()
            .map(|entry| (entry.height.0, entry.txid))
            .collect();
        assert_eq!(found, histories.get(&script).cloned().unwrap_or_default());
        let outputs = snapshot.unspent(prefix, Effort::Any, None, chain).unwrap();
        let sum = outputs.iter().map(|output| output.amount).sum();
        assert_eq!(snapshot.balance(prefix, Effort::Any, chain).unwrap(), sum);
        let found: Vec<_> = outputs
            .iter()
            .map(|output| (output.height.0, output.outpoint, output.amount.to_sat()))
            .collect();
        let expected: Vec<_> = unspent
            .get(&script)
            .into_iter()
            .flatten()
            .map(|(height, _, outpoint, amount)| (*height, *outpoint, *amount))
            .collect();
        assert_eq!(found, expected);
    }
}

pub(super) fn assert_chain_equal(index: &Index, chain: &Chain) {
    let snapshot = index.snapshot();
    let tip = chain.blocks.last().unwrap().block.block_hash();
    let height = chain.height().unwrap();
    assert_eq!(snapshot.tip(), Some(ChainTip { height, hash: tip }));
    assert_eq!(
        snapshot.commitment(height).unwrap().unwrap().0,
        chain.commitment()
    );
    let mut number = 0;
    let mut headers = Vec::new();
    for (at, connected) in (0..).zip(&chain.blocks) {
        let block = &connected.block;
        let header = bitcoin::consensus::serialize(&block.header);
        assert_eq!(
            snapshot.header(Height(at)).unwrap().unwrap().as_slice(),
            header
        );
        assert_eq!(
            snapshot.block_hash(Height(at)).unwrap(),
            Some(block.block_hash())
        );
        headers.extend(header);
        let txids: Vec<_> = block
            .txdata
            .iter()
            .map(bitcoin::Transaction::compute_txid)
            .collect();
        assert_eq!(snapshot.block_txids(Height(at)).unwrap().unwrap(), txids);
        for (place, txid) in (0..).zip(&txids) {
            let position = snapshot.position(txid).unwrap().unwrap();
            assert_eq!((position.height, position.index), (Height(at), place));
            assert_eq!(snapshot.txid_of(position).unwrap(), Some(*txid));
            let proven = snapshot.proven_in(txid, Height(at)).unwrap().unwrap();
            assert_eq!((proven.txid, proven.index), (*txid, place));
            assert_eq!(climb(&proven), block.header.merkle_root.to_byte_array());
            assert_eq!(snapshot.txid(TxNum(number)).unwrap(), *txid);
            number += 1;
        }
    }
    assert_eq!(snapshot.headers(Height(0), 1000).unwrap(), headers);
    assert_eq!(
        snapshot.headers(Height(1), 1).unwrap(),
        headers.get(80..160).unwrap_or_default()
    );
    assert!(snapshot.txid(TxNum(number)).is_err());
    let above = height.next().unwrap();
    assert!(snapshot.header(above).unwrap().is_none());
    assert!(snapshot.block_hash(above).unwrap().is_none());
    assert!(snapshot.block_txids(above).unwrap().is_none());
}

pub(super) fn assert_outputs_equal(index: &Index, chain: &Chain) {
    let mut asked = Vec::new();
    let mut expected = Vec::new();
    for (at, connected) in chain.blocks.iter().enumerate() {
        for transaction in &connected.block.txdata {
            let txid = transaction.compute_txid();
            for (vout, output) in (0..).zip(&transaction.output) {
                let indexed = at > 0 && output.script_pubkey != chain::script(UNSPENDABLE);
                let key = prefix(index, &output.script_pubkey).0;
                // Twice, because two questions about one output are to get two answers.
                for _ in 0..2 {
                    asked.push(OutPoint { txid, vout });
                    expected.push(indexed.then_some((key, output.value.to_sat())));
                }
            }
            asked.push(OutPoint { txid, vout: 77 });
            expected.push(None);
        }
    }
    asked.push(OutPoint::null());
    expected.push(None);
    asked.reverse();
    expected.reverse();
    let outputs = index.snapshot().outputs(&asked, chain).unwrap();
    let found: Vec<_> = outputs
        .into_iter()
        .map(|output| output.map(|output| (output.prefix.0, output.amount.to_sat())))
        .collect();
    assert_eq!(found, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_equals_the_chain(
        steps in prop::collection::vec(step(), 1..8),
        tag_bits in prop::sample::select(vec![0, 1, 4, 32]),
    ) {
        let mut index = in_memory(tag_bits);
        let mut chain = Chain::new();
        chain.blocks.clear();
        for step in &steps {
            let before = index.snapshot();
            let tip_before = before.tip();
            let (kept, touched) = advance(&mut chain, step);
            let mut expected: Vec<_> = touched.iter().map(|script| prefix(&index, script)).collect();
            expected.sort();
            let reported = index.update(height(kept), &chain.blocks[kept..]).unwrap();
            prop_assert!(matches!(reported, Touched::Scripts(scripts) if scripts == expected));
            prop_assert_eq!(before.tip(), tip_before);
            assert_scripts_equal(&index, &chain);
            assert_chain_equal(&index, &chain);
            assert_outputs_equal(&index, &chain);
        }
        let mut fresh = in_memory(tag_bits);
        fresh.update(None, &chain.blocks).unwrap();
        prop_assert_eq!(index.digest().unwrap(), fresh.digest().unwrap());
    }

    #[test]
    fn dropping_what_was_connected_restores_every_byte(
        below in prop::collection::vec(prop::collection::vec(payment(), 0..4), 1..5),
        above in prop::collection::vec(prop::collection::vec(payment(), 0..4), 1..5),
    ) {
        let mut chain = Chain::new();
        for payments in &below {
            chain.mine(payments);
        }
        let mut index = in_memory(32);
        let empty = index.digest().unwrap();
        index.update(None, &chain.blocks).unwrap();
        let digest = index.digest().unwrap();
        let (keep, kept) = (chain.height(), chain.blocks.len());
        for payments in &above {
            chain.mine(payments);
        }
        index.update(keep, &chain.blocks[kept..]).unwrap();
        prop_assert_ne!(index.digest().unwrap(), digest.clone());
        index.update(keep, &[]).unwrap();
        prop_assert_eq!(index.digest().unwrap(), digest);
        index.update(None, &[]).unwrap();
        prop_assert_eq!(index.digest().unwrap(), empty);
    }
}

#[test]
fn opening_again_finds_the_same() {
    let dir = directory();
    let dir = dir.path().join("index");
    let mut chain = Chain::new();
    for n in 0..20 {
        chain.mine(&[Payment {
            spend: vec![n, n / 2],
            pay: vec![(2, 7), (3, 8), (UNSPENDABLE, 0)],
        }]);
        let mut index = Index::open_with(&dir, Network::Regtest, &options(32)).unwrap();
        let keep = index.snapshot().tip().map(|tip| tip.height);
        let known = keep.map_or(0, |height| usize::try_from(height.0).unwrap() + 1);
        index.update(keep, &chain.blocks[known..]).unwrap();
        assert_scripts_equal(&index, &chain);
    }
    let index = Index::open_with(&dir, Network::Regtest, &options(32)).unwrap();
    assert_scripts_equal(&index, &chain);
    assert_chain_equal(&index, &chain);
    assert_outputs_equal(&index, &chain);
    let mut fresh = in_memory(32);
    fresh.update(None, &chain.blocks).unwrap();
    assert_eq!(index.digest().unwrap(), fresh.digest().unwrap());
}
