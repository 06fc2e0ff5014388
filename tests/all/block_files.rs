//! The node's block files, read beside it, against what the node itself says of its blocks.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use bitcoin::BlockHash;
use claustrum::chain::{ConnectedBlock, Height, Network};
use claustrum::node::{
    self, BlockBuffer, BlockFiles, FilesError, FoundBlock, NodeAuth, NodeSettings,
};
use rig::node::{Node, Options};
use rig::reorganise::{self, Fate};
use rig::shape::Shape;

fn blocks_dir(node: &Node) -> PathBuf {
    node.data_dir().join("regtest/blocks")
}

fn start(extra: &[&str]) -> Result<Node> {
    Node::start(&Options {
        // Files of 64 KiB, so that there are many.
        extra: [&["-fastprune"], extra]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect(),
        ..Options::default()
    })
}

/// Every block of the best chain with what it spends, as the node's `getblock` tells it.
fn told(node: &Node) -> Result<Vec<(BlockHash, ConnectedBlock)>> {
    let settings = NodeSettings {
        address: node.rpc_address().parse()?,
        auth: NodeAuth::cookie_file(node.cookie().clone()),
        network: Network::Regtest,
    };
    let client = node::Node::new(&settings);
    let heights: Vec<_> = (0..=node.height()?).map(Height).collect();
    let hashes = client.block_hashes(&heights)?;
    let hashes: Vec<_> = hashes.into_iter().collect::<Option<_>>().context("a gap")?;
    let mut blocks = Vec::new();
    while let Some(rest) = hashes.get(blocks.len()..).filter(|rest| !rest.is_empty()) {
        blocks.extend(client.blocks(&rest[..rest.len().min(64)])?);
    }
    Ok(hashes.into_iter().zip(blocks).collect())
}

/// Every block in the files, best chain or not, and what was read of each.
fn found(node: &Node) -> Result<Vec<(FoundBlock, Result<ConnectedBlock, FilesError>)>> {
    let files = BlockFiles::open(&blocks_dir(node), Network::Regtest)?;
    let mut buffer = BlockBuffer::default();
    let mut all = Vec::new();
    let mut number = 0;
    while files.has(number)? {
        let mut file = files.file(number)?;
        while let Some(found) = file.next_block()? {
            let read = file.read(&found, &mut buffer);
            let block = read.map(|()| buffer.block().to_connected().expect("a block"));
            all.push((found, block));
        }
        number += 1;
    }
    Ok(all)
}

#[test]
fn every_block_is_read_as_the_node_tells_it() {
    for (seed, extra) in [(11, ["-blocksxor=1"]), (12, ["-blocksxor=0"])] {
        let node = start(&extra).unwrap();
        let mut shape = Shape::new(seed);
        shape.build(&node).unwrap();
        let tip = node.block_hash(node.height().unwrap()).unwrap();
        reorganise::reorganise(&node, 3, 4, Fate::Moved).unwrap();
        shape.forget_lost(&node).unwrap();
        shape.grow(&node, 5).unwrap();

        let key = fs::read(blocks_dir(&node).join("xor.dat")).unwrap();
        assert_eq!(key == [0; 8], extra == ["-blocksxor=0"]);
        let found = found(&node).unwrap();
        let files = found.last().unwrap().0.place.file + 1;
        assert!(files > 5, "{files} files are too few to show anything");
        let mut read: HashMap<BlockHash, ConnectedBlock> = HashMap::new();
        for (found, block) in found {
            let block = block.unwrap();
            assert_eq!(found.hash, block.block.block_hash());
            assert_eq!(found.previous, block.block.header.prev_blockhash);
            assert_eq!(
                found.transactions,
                u64::try_from(block.block.txdata.len()).unwrap()
            );
            read.insert(found.hash, block);
        }
        let told = told(&node).unwrap();
        assert!(
            read.contains_key(&tip.parse::<BlockHash>().unwrap()),
            "no stale block to skip"
        );
        assert!(read.len() > told.len());
        let mut spent = 0;
        for (hash, block) in told {
            let read = read.get(&hash).unwrap();
            assert!(*read == block, "{hash} is read otherwise");
            spent += block.spent.iter().map(Vec::len).sum::<usize>();
        }
        assert!(spent > 3_000);
    }
}

#[test]
fn leftovers_between_records_are_passed_over_and_damage_is_noticed() {
    let mut node = start(&["-blocksxor=0"]).unwrap();
    let mut shape = Shape::new(13);
    shape.grow(&node, 130).unwrap();
    let all = found(&node).unwrap().len();
    node.stop().unwrap();
    let (blk, rev) = (
        blocks_dir(&node).join("blk00000.dat"),
        blocks_dir(&node).join("rev00000.dat"),
    );
    let (blocks, undo) = (fs::read(&blk).unwrap(), fs::read(&rev).unwrap());
    let second = blocks[8..]
        .windows(4)
        .position(|window| window == &blocks[..4])
        .unwrap()
        + 8;

    let mut with_gap = blocks.clone();
    let leftovers = [
        &blocks[..4],
        &[9, 0, 0, 0, 1, 2, 3],
        &blocks[8..100],
        &[0; 70_000],
    ]
    .concat();
    with_gap.splice(second..second, leftovers);
    fs::write(&blk, with_gap).unwrap();
    assert_eq!(
        found(&node).unwrap().len(),
        all,
        "leftovers count as blocks"
    );

    fs::write(&blk, &blocks).unwrap();
    let mut flipped = undo.clone();
    let last = undo.iter().rposition(|byte| *byte != 0).unwrap();
    flipped[last] ^= 1;
    fs::write(&rev, &flipped).unwrap();
    let unread = found(&node)
        .unwrap()
        .into_iter()
        .filter(|(_, block)| block.is_err());
    assert_eq!(unread.count(), 1);
    fs::remove_file(&rev).unwrap();
    let unread: Vec<_> = found(&node)
        .unwrap()
        .into_iter()
        .filter_map(|(_, block)| block.err())
        .collect();
    assert!(!unread.is_empty());
    assert!(
        unread
            .iter()
            .all(|error| matches!(error, FilesError::NoUndo { .. }))
    );
}

#[test]
fn files_that_cannot_serve_are_told_apart() {
    let node = start(&[]).unwrap();
    let dir = blocks_dir(&node);
    assert!(matches!(
        BlockFiles::open(&dir, Network::Main),
        Err(FilesError::OtherChain { .. })
    ));
    assert!(matches!(
        BlockFiles::open(&dir.join("elsewhere"), Network::Regtest),
        Err(FilesError::Missing { .. })
    ));
}
