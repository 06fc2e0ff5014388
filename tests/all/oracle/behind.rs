//! A node that has less of the chain than the server is waited for, whatever made it so; the server goes on answering
//! from what it has.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rig::node::{Node, Options};
use rig::oracle;
use rig::server::Loopback;
use serde_json::json;

use super::wire;

/// Long enough to be noticed by a server that looks every 2 s.
const PATIENCE: Duration = Duration::from_secs(5);
/// A hundred blocks, on a machine that has much else to do.
const REINDEXED: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

#[test]
fn a_node_that_has_less_than_before_is_waited_for() -> Result<()> {
    let mut node = Node::start_funded(&Options::default())?;
    node.pay(&node.new_address()?, 1_000_000)?;
    node.mine(1)?;
    let backup = tempfile::tempdir()?;
    node.stop()?;
    copy(&node, &backup.path().display().to_string())?;
    node.restart()?;
    node.mine(5)?;
    let height = node.height()?;
    let server = Loopback::start(&node, &rig::server::Options::default())?;
    wire::wait_for_tip(&server, &node)?;

    // Rolled back.
    let expected = oracle::scripts(&node)?;
    let hash = node.block_hash(height - 10)?;
    node.rpc("invalidateblock", json!([hash]))?;
    assert_stays(&server, height)?;
    node.rpc("reconsiderblock", json!([hash]))?;
    wire::assert_equal(&server, &node, &expected)?;

    // Reindexing, from nothing.
    node.restart_with(&["-reindex"])?;
    assert_stays(&server, height)?;
    wait_for_height(&node, height)?;
    node.mine(1)?;
    wire::assert_equal(&server, &node, &oracle::scripts(&node)?)?;

    // Restored from a backup, and on a branch that has no more work yet.
    let height = height + 1;
    node.stop()?;
    let files = node.data_dir().join("regtest");
    std::fs::remove_dir_all(&files)?;
    restore(&node, &backup.path().display().to_string())?;
    node.restart()?;
    assert_stays(&server, height)?;
    let missing = height - node.height()?;
    node.mine(missing)?;
    assert_stays(&server, height)?;
    ensure!(node.height()? == height, "the branches differ in length");
    node.mine(1)?;
    wire::assert_equal(&server, &node, &oracle::scripts(&node)?)
}

/// A block that is mined before the node has all of them again would be none above them.
fn wait_for_height(node: &Node, height: u32) -> Result<()> {
    let begun = Instant::now();
    while node.height()? < height {
        ensure!(
            begun.elapsed() < REINDEXED,
            "the node does not get to its tip"
        );
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// The server keeps its tip and answers questions about scripts.
fn assert_stays(server: &Loopback, height: u32) -> Result<()> {
    let begun = Instant::now();
    let mut line = server.connect()?;
    while begun.elapsed() < PATIENCE {
        let tip = wire::tip(&mut line)?;
        ensure!(tip["height"] == height, "it went to {tip}");
        ensure!(wire::is_ready(&mut line)?, "it answers no more");
        std::thread::sleep(POLL);
    }
    Ok(())
}

fn copy(node: &Node, to: &str) -> Result<()> {
    let from = node.data_dir().join("regtest").display().to_string();
    run_copy(&from, to)
}

fn restore(node: &Node, from: &str) -> Result<()> {
    let to = node.data_dir().display().to_string();
    run_copy(&format!("{from}/regtest"), &to)
}

fn run_copy(from: &str, to: &str) -> Result<()> {
    let status = Command::new("cp").args(["-a", from, to]).status()?;
    ensure!(status.success(), "cp {from} {to}: {status}");
    Ok(())
}
