//! Which transaction consumes an output, wherever the two are kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use bitcoin::{OutPoint, Txid};

use super::chain::{self, Chain, UNSPENDABLE};
use super::installed::install;
use super::layout::{SMALL, grow, options_with};
use super::node_files::Files;
use super::{NoTransactions, error_of, in_memory, in_memory_with};
use crate::index::Error;

fn spenders(chain: &Chain) -> BTreeMap<OutPoint, (u32, Txid)> {
    let mut spenders = BTreeMap::new();
    for (height, connected) in (0..).zip(&chain.blocks) {
        for transaction in &connected.block.txdata {
            for input in &transaction.input {
                let spender = (height, transaction.compute_txid());
                spenders.insert(input.previous_output, spender);
            }
        }
    }
    spenders
}

#[test]
fn spenders_are_those_of_the_chain() {
    let mut chain = Chain::new();
    grow(&mut chain, 40);
    let expected = spenders(&chain);
    for (tag_bits, bulk) in [(32, true), (32, false), (1, false)] {
        let mut index = in_memory_with(&options_with(tag_bits, SMALL));
        let mut files = Files::default();
        if bulk {
            install(&mut index, &chain, 25, &mut files, true);
        }
        let known = index.snapshot().tip().map(|tip| tip.height);
        let count = known.map_or(0, |height| usize::try_from(height.0).unwrap() + 1);
        index.update(known, &chain.blocks[count..]).unwrap();
        let snapshot = index.snapshot();
        let (mut spent, mut unspent) = (0, 0);
        for connected in chain.blocks.iter().skip(1) {
            for transaction in &connected.block.txdata {
                let txid = transaction.compute_txid();
                for (vout, output) in (0..).zip(&transaction.output) {
                    let outpoint = OutPoint { txid, vout };
                    let found = snapshot.spender(&outpoint, &chain).unwrap();
                    let found = found.map(|found| (found.height.0, found.txid));
                    let is_indexed = output.script_pubkey != chain::script(UNSPENDABLE);
                    let wanted = expected.get(&outpoint).filter(|_| is_indexed);
                    assert_eq!(found.as_ref(), wanted);
                    *if found.is_some() {
                        &mut spent
                    } else {
                        &mut unspent
                    } += 1;
                }
            }
        }
        assert!(spent > 20 && unspent > 20, "{spent}, {unspent}");
        let unknown = snapshot.spender(&OutPoint::null(), &chain).unwrap();
        assert!(unknown.is_none());
    }
}

#[test]
fn without_transactions_there_is_an_error_and_not_a_guess() {
    let mut chain = Chain::new();
    grow(&mut chain, 12);
    // All of it in rows, which alone tell whose an output is.
    let mut index = in_memory(32);
    index.update(None, &chain.blocks).unwrap();
    let all = spenders(&chain);
    let mut spent = all.iter();
    let spent = spent.find(|(outpoint, _)| {
        let created = index.snapshot().position(&outpoint.txid).unwrap();
        created.is_some()
    });
    let (outpoint, _) = spent.unwrap();
    let error = error_of(index.snapshot().spender(outpoint, &NoTransactions));
    assert!(matches!(error, Error::TransactionUnavailable));
    let mut files = Files::default();
    for connected in &chain.blocks {
        files.add(&connected.block, false);
    }
    index.read_from(Arc::new(files)).unwrap();
    let found = index.snapshot().spender(outpoint, &NoTransactions);
    assert!(found.unwrap().is_some());
}

#[test]
fn a_spender_is_not_looked_for_without_end() {
    let mut chain = Chain::new();
    grow(&mut chain, 40);
    let mut index = in_memory(32);
    index.update(None, &chain.blocks).unwrap();
    let snapshot = index.snapshot();
    let mut most = 0;
    for (outpoint, (_, txid)) in spenders(&chain) {
        let Some(found) = snapshot.spender(&outpoint, &chain).unwrap() else {
            continue;
        };
        assert_eq!(found.txid, txid);
        let mut read = 0;
        while let Err(error) = snapshot.spender_within(read, &outpoint, &chain) {
            assert!(matches!(error, Error::TooMuch));
            read += 1;
        }
        assert!(read > 0);
        most = most.max(read);
    }
    assert!(most > 2, "{most}");
}
