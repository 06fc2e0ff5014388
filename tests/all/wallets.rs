//! Wallets that are not ours, beside a real node: they see what the node says, through payments, blocks and reorgs.

mod bluewallet;
mod descriptors;
mod electrum;
mod sparrow;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rig::contents::Contents;
use rig::node::Node;
use serde_json::{Value, json};

/// Enough for a busy machine: wallets wait for seconds of their own before they look again.
const PATIENCE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(200);

/// Looks again until a wallet shows what it has to.
fn wait_until_equal(
    what: &str,
    expected: &Contents,
    mut look: impl FnMut() -> Result<Contents>,
) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shown = look()?;
        if shown == *expected {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{what}: the wallet shows {shown:?} instead of {expected:?}"
        );
        std::thread::sleep(POLL);
    }
}

/// Output scripts, in hexadecimal, whose keys nobody has.
fn scripts_without_keys(count: u32) -> Vec<String> {
    let script = |number| format!("0014{number:08x}{}", "5a".repeat(16));
    (0..count).map(script).collect()
}

fn addresses_of(node: &Node, scripts: &[String]) -> Result<Vec<String>> {
    let params: Vec<_> = scripts.iter().map(|script| json!([script])).collect();
    let decoded = node.rpc_batch("decodescript", &params)?;
    let address = |decoded: &Value| decoded["address"].as_str().map(str::to_owned);
    let addresses: Option<Vec<_>> = decoded.iter().map(address).collect();
    addresses.context("a script without an address")
}
