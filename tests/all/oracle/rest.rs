//! A bulk whose blocks come by REST, and whose node goes away in the middle of it.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rig::gate::Gate;
use rig::node::{Node, Options};
use rig::shape::Shape;

use super::direct::{Direct, Way};

/// What the node says before it falls silent: its chain, and some blocks of it.
const BYTES: usize = 600_000;
const PATIENCE: Duration = Duration::from_secs(20);
/// Nothing more comes after that.
const SILENCE: Duration = Duration::from_millis(500);

#[test]
fn a_node_that_is_restarted_without_rest_is_waited_for_and_then_asked_for_json() -> Result<()> {
    let mut node = Node::start(&Options {
        extra: ["-rest=1", "-debug=http"].map(str::to_owned).into(),
        ..Options::default()
    })?;
    let mut shape = Shape::new(33);
    shape.build(&node)?;
    shape.grow(&node, 40)?;
    let gate = Gate::before(node.rpc_port(), BYTES)?;
    let mut direct = Direct::start_through(&node, &gate.address(), Way::BulkByRest)?;
    let by_rest = wait_for_silence(&node)?;
    let height = node.height()?;
    node.kill()?;
    std::thread::sleep(SILENCE);
    node.restart_with(&["-rest=0"])?;
    gate.open();

    direct.assert_equal(&node, &rig::oracle::scripts(&node)?)?;
    direct.stop();
    let twice = requests(&node)?;
    let again = twice.values().filter(|count| **count > 1).count();
    println!("{by_rest} of {height} blocks came by REST; {again} were asked for again");
    ensure!(
        (20..height).contains(&by_rest),
        "{by_rest} of {height} came by REST"
    );
    ensure!(
        again <= 5,
        "{again} blocks were asked for again: the bulk was begun anew"
    );
    let mut block_by_block = Direct::start(&node)?;
    block_by_block.assert_at_tip(&node)?;
    block_by_block.stop();
    ensure!(direct.digests()? == block_by_block.digests()?);
    Ok(())
}

/// Waits until some blocks came by REST and no more come; how many.
fn wait_for_silence(node: &Node) -> Result<u32> {
    let begun = Instant::now();
    let mut last = 0;
    loop {
        std::thread::sleep(SILENCE);
        let count = requests(node)?.len();
        if count > 0 && count == last {
            return Ok(u32::try_from(count)?);
        }
        last = count;
        ensure!(begun.elapsed() < PATIENCE, "{count} blocks came by REST");
    }
}

/// How often each block was asked for by REST.
pub(super) fn requests(node: &Node) -> Result<BTreeMap<String, u32>> {
    let log = fs::read_to_string(node.data_dir().join("regtest/debug.log"))?;
    let mut requests = BTreeMap::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("GET request for /rest/spenttxouts/") {
            let hash = rest.get(..64).context("no hash")?;
            *requests.entry(hash.to_owned()).or_default() += 1;
        }
    }
    Ok(requests)
}
