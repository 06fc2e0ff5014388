//! Colliding tags, repeated coinbases, refused blocks.

use std::cell::Cell;

use bitcoin::{BlockHash, Transaction, Txid};

use super::chain::{self, Chain, Payment};
use super::model::{assert_chain_equal, assert_scripts_equal};
use super::{NoTransactions, error_of, in_memory};
use crate::chain::{BlockPosition, ConnectedBlock, Height, ScriptHash};
use crate::error::ErrorKind;
use crate::index::{BlockFault, Effort, Error, Index, TransactionReader};

/// Counts what is asked of a chain.
struct Counting<'a>(&'a Chain, Cell<usize>);

impl TransactionReader for Counting<'_> {
    fn transactions(&self, wanted: &[(Txid, BlockHash)]) -> Vec<Option<Transaction>> {
        self.1.set(self.1.get() + wanted.len());
        self.0.transactions(wanted)
    }
}

/// Gives other transactions than those asked for.
struct Lying<'a>(&'a Chain);

impl TransactionReader for Lying<'_> {
    fn transactions(&self, wanted: &[(Txid, BlockHash)]) -> Vec<Option<Transaction>> {
        let other = self.0.blocks[0].block.txdata[0].clone();
        wanted.iter().map(|_| Some(other.clone())).collect()
    }
}

/// A block with 40 payments of one output to script 2, of which the next block spends every third.
fn twins() -> Chain {
    let mut chain = Chain::new();
    for _ in 0..41 {
        chain.mine(&[]);
    }
    let payments: Vec<_> = (0..40)
        .map(|n| Payment {
            spend: vec![0],
            pay: vec![(2, 1000 + n)],
        })
        .collect();
    chain.mine(&payments);
    // Two coinbases are left in front of the outputs of script 2.
    let spendings: Vec<_> = (0..13)
        .map(|n| Payment {
            spend: vec![2 + 2 * n],
            pay: vec![(3, 1)],
        })
        .collect();
    chain.mine(&spendings);
    chain
}

fn unspent(index: &Index, n: u8, reader: &dyn TransactionReader) -> Result<usize, Error> {
    let snapshot = index.snapshot();
    let prefix = snapshot.prefix(&ScriptHash::of(&chain::script(n)));
    snapshot
        .unspent(prefix, Effort::Any, None, reader)
        .map(|outputs| outputs.len())
}

#[test]
fn outputs_with_equal_tags_are_told_apart_by_their_transactions() {
    let chain = twins();
    let mut index = in_memory(4);
    index.update(None, &chain.blocks).unwrap();
    let reader = Counting(&chain, Cell::new(0));
    assert_eq!(unspent(&index, 2, &reader).unwrap(), 27);
    assert!(reader.1.get() > 0, "40 outputs have equal tags among 16");
    assert_scripts_equal(&index, &chain);
    let useless: [&dyn TransactionReader; 2] = [&NoTransactions, &Lying(&chain)];
    for reader in useless {
        let error = error_of(unspent(&index, 2, reader));
        assert!(matches!(error, Error::TransactionUnavailable), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Environment);
    }
}

#[test]
fn whole_tags_need_no_transaction() {
    let chain = twins();
    let mut index = in_memory(32);
    index.update(None, &chain.blocks).unwrap();
    assert_eq!(unspent(&index, 2, &NoTransactions).unwrap(), 27);
}

#[test]
fn a_repeated_coinbase_counts_once_where_it_stands_last() {
    let mut chain = Chain::new();
    let repeated = chain::coinbase(77);
    let txid = repeated.compute_txid();
    chain.mine_with(repeated.clone(), &[]);
    chain.mine(&[]);
    let mut index = in_memory(32);
    index.update(None, &chain.blocks).unwrap();
    assert_scripts_equal(&index, &chain);
    chain.mine_with(repeated, &[]);
    index.update(Some(Height(2)), &chain.blocks[3..]).unwrap();
    let history = |index: &Index| {
        let snapshot = index.snapshot();
        let prefix = snapshot.prefix(&ScriptHash::of(&chain::script(1)));
        let entries = snapshot.history(prefix, Effort::Any, None).unwrap();
        entries
            .iter()
            .map(|entry| entry.height.0)
            .collect::<Vec<_>>()
    };
    let place = |index: &Index| index.snapshot().position(&txid).unwrap();
    let last = BlockPosition {
        height: Height(3),
        index: 0,
    };
    assert_eq!(place(&index), Some(last));
    assert_eq!(history(&index), [2, 3]);
    assert_eq!(unspent(&index, 1, &chain).unwrap(), 2);

    // Spent where it stands last, the overwritten output does not come back.
    chain.mine(&[Payment {
        spend: vec![1],
        pay: vec![(2, 5)],
    }]);
    assert_eq!(chain.blocks[4].spent[0][0].height, Height(3));
    index.update(Some(Height(3)), &chain.blocks[4..]).unwrap();
    assert_eq!(history(&index), [2, 3, 4, 4]);
    assert_eq!(unspent(&index, 1, &chain).unwrap(), 2);

    index.update(Some(Height(2)), &[]).unwrap();
    chain.blocks.truncate(3);
    assert_scripts_equal(&index, &chain);
    assert_chain_equal(&index, &chain);
}

/// The fault with which the last block is refused, alone as well as together with those below it.
fn fault(blocks: &[ConnectedBlock]) -> BlockFault {
    let (_, below) = blocks.split_last().unwrap();
    let mut index = in_memory(32);
    let mut faults = Vec::new();
    for already in [&[], below] {
        index.update(None, already).unwrap();
        let before = index.digest().unwrap();
        let keep = before.tip.map(|tip| tip.height);
        let error = error_of(index.update(keep, &blocks[already.len()..]));
        assert_eq!(error.kind(), ErrorKind::Environment);
        assert_eq!(index.digest().unwrap(), before);
        let Error::Block { height, fault } = error else {
            panic!("{error:?}");
        };
        assert_eq!(usize::try_from(height.0).unwrap(), below.len());
        faults.push(fault);
    }
    // A refusal is no failed write.
    let keep = index.snapshot().tip().map(|tip| tip.height);
    index.update(keep, &[]).unwrap();
    assert_eq!(faults[0], faults[1]);
    faults[0]
}

#[test]
fn blocks_that_do_not_fit_are_refused_without_any_change() {
    let mut chain = Chain::new();
    chain.mine(&[]);
    chain.mine(&[Payment {
        spend: vec![0],
        pay: vec![(2, 5)],
    }]);
    let with = |change: &dyn Fn(&mut ConnectedBlock)| {
        let mut blocks = chain.blocks.clone();
        change(blocks.last_mut().unwrap());
        fault(&blocks)
    };
    let unsolved = with(&|last| {
        let header = &mut last.block.header;
        while header.validate_pow(header.target()).is_ok() {
            header.nonce += 1;
        }
    });
    assert_eq!(unsolved, BlockFault::ProofOfWork);
    let elsewhere = with(&|last| {
        let genesis = Chain::new().blocks[0].block.block_hash();
        last.block = chain::solved(genesis, last.block.txdata.clone());
    });
    assert_eq!(elsewhere, BlockFault::Predecessor);
    let other_transactions = with(&|last| last.block.txdata.truncate(1));
    assert_eq!(other_transactions, BlockFault::MerkleRoot);
    let no_undo = with(&|last| last.spent.clear());
    assert_eq!(no_undo, BlockFault::SpentOutputs);
    let short_undo = with(&|last| last.spent[0].clear());
    assert_eq!(short_undo, BlockFault::SpentOutputs);
    let undo_from_above = with(&|last| last.spent[0][0].height = Height(3));
    assert_eq!(undo_from_above, BlockFault::SpentOutputs);
    let mut headless = chain.blocks[1..2].to_vec();
    assert_eq!(fault(&headless), BlockFault::Predecessor);
    headless[0].block.txdata.clear();
    assert_eq!(fault(&headless), BlockFault::Predecessor);
}

#[test]
fn a_height_above_the_tip_cannot_be_kept() {
    let mut index = in_memory(32);
    let error = error_of(index.update(Some(Height(0)), &[]));
    assert!(matches!(error, Error::KeepAboveTip(Height(0))));
    assert_eq!(error.kind(), ErrorKind::Bug);
}
