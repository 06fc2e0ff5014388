//! Blocks at the edge of what the rules allow, by every way into the index, with the memory they take.

mod blocks;

use anyhow::{Context as _, Result, ensure};
use claustrum::limits;
use rig::node::{Node, Options};
use rig::server::{Loopback, Options as ServerOptions};

use super::wire;
use blocks::Coins;

/// What blocks may take beside what the server holds at rest.
const BLOCK_MAX: u64 = 64 << 20;

#[test]
fn the_largest_blocks_are_indexed_like_any_other_in_little_memory() -> Result<()> {
    let node = Node::start(&Options {
        // Coinbases need not tell their height, so that there can be two equal ones.
        extra: vec!["-testactivationheight=bip34@100000".to_owned()],
        ..Options::default()
    })?;
    let coins = Coins::mine(&node)?;
    node.mine(limits::BULK_BLOCKS_MIN + limits::DELTA_BLOCKS_MIN)?;
    let nothing = tempfile::tempdir()?;
    let elsewhere = [
        "--node-dir".to_owned(),
        nothing.path().display().to_string(),
    ];
    let ways = [
        ("by files", Vec::new()),
        ("by the node", elsewhere.to_vec()),
    ];
    let mut small_bulks = Vec::new();
    let mut servers = Vec::new();
    for (way, extra) in &ways {
        let mut server = Loopback::start(&node, &frugal(extra))?;
        wire::wait_for_tip(&server, &node)?;
        small_bulks.push(server.process().peak_bytes()?);
        server.stop()?;
        server.start_again()?;
        wire::wait_for_tip(&server, &node)?;
        servers.push((*way, server));
    }

    for block in blocks::large(coins)? {
        let before = rest(&mut servers)?;
        block.mine(&node)?;
        for ((way, server), before) in servers.iter_mut().zip(before) {
            wire::wait_for_tip(server, &node)?;
            assert_growth(server, before, BLOCK_MAX, &format!("{way}, {}", block.name))?;
        }
    }
    blocks::mine_a_coinbase_twice(&node)?;
    let expected = rig::oracle::scripts(&node)?;
    for (way, server) in &mut servers {
        wire::assert_equal(server, &node, &expected)
            .with_context(|| format!("{way}, at the tip"))?;
        server.stop()?;
    }

    // So that all of it is below the delta rows.
    node.mine(limits::DELTA_BLOCKS_MIN)?;
    let expected = rig::oracle::scripts(&node)?;
    for ((way, extra), before) in ways.iter().zip(small_bulks) {
        let mut server = Loopback::start(&node, &frugal(extra))?;
        wire::wait_for_tip(&server, &node)?;
        assert_growth(&mut server, before, BLOCK_MAX, &format!("{way}, in bulk"))?;
        wire::assert_equal(&server, &node, &expected).with_context(|| format!("{way}, in bulk"))?;
    }
    Ok(())
}

/// What the servers hold while they have nothing to do.
fn rest(servers: &mut [(&str, Loopback)]) -> Result<Vec<u64>> {
    let bytes = |(_, server): &mut (_, Loopback)| server.process().resident_bytes();
    servers.iter_mut().map(bytes).collect()
}

fn assert_growth(server: &mut Loopback, before: u64, most: u64, what: &str) -> Result<()> {
    let grown = server.process().peak_bytes()?.saturating_sub(before);
    println!("{what}: {} MiB above {} MiB", grown >> 20, before >> 20);
    ensure!(grown <= most, "{what}: {} MiB more", grown >> 20);
    Ok(())
}

/// With one block at a time in as little memory as can be set.
fn frugal(extra: &[String]) -> ServerOptions {
    let memory = format!("{}", limits::SYNC_MEMORY_BYTES_MIN >> 20);
    let least = [
        "--sync-memory".to_owned(),
        memory,
        "--jobs".to_owned(),
        "1".to_owned(),
    ];
    ServerOptions {
        extra: [extra, &least].concat(),
        ..ServerOptions::default()
    }
}
