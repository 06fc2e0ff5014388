//! Sparrow's calls in its pages, read as strictly as Sparrow reads.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rig::node::{self, Node};
use rig::oracle;
use rig::server::{self, Loopback};
use rig::sparrow::{Entry, Sparrow};
use serde_json::{Value, json};

use super::{addresses_of, scripts_without_keys};

const HEARD: Duration = Duration::from_secs(30);
/// Scripts of a wallet: more than two pages.
const SCRIPTS: u32 = 240;
/// Every so many of them has been paid.
const PAID: usize = 20;

#[test]
fn sparrow_loads_a_wallet_watches_and_sends() -> Result<()> {
    let node = Node::start_funded(&node::Options::default())?;
    let server = Loopback::start(&node, &server::Options::default())?;
    let scripts = scripts_without_keys(SCRIPTS);
    let hashes: Vec<_> = scripts
        .iter()
        .map(|script| oracle::script_hash(script))
        .collect::<Result<_>>()?;
    let addresses = addresses_of(&node, &scripts)?;
    for address in addresses.iter().step_by(PAID) {
        node.pay(address, 1_000_000)?;
        node.pay(address, 2_000_000)?;
        node.mine(1)?;
    }
    node.pay(&addresses[0], 3_000_000)?;
    let truth = oracle::scripts(&node)?;
    wait_until_known(&server, &hashes[0], &truth[&hashes[0]].status)?;

    let (mut sparrow, _) = Sparrow::connect(server.connect()?)?;
    ensure!(sparrow.tip()? == u64::from(node.height()?));
    let statuses = sparrow.subscribe(&hashes)?;
    let expected = |hash: &String| truth.get(hash).map(|script| script.status.clone());
    let all_right = hashes
        .iter()
        .zip(&statuses)
        .all(|(hash, status)| *status == json!(expected(hash)));
    ensure!(all_right, "{statuses:?}");
    let histories = sparrow.histories(&hashes)?;
    let mut proved = 0;
    for (hash, history) in hashes.iter().zip(&histories) {
        let entry = |entry: &oracle::Entry| Entry {
            txid: entry.txid.clone(),
            height: entry.height,
        };
        let expected: Vec<_> = truth.get(hash).map_or(Vec::new(), |script| {
            script.history.iter().map(entry).collect()
        });
        ensure!(*history == expected, "{history:?} instead of {expected:?}");
        proved += sparrow.prove(history)?.len();
    }
    ensure!(proved == 25, "{proved} transactions");
    views(&node, &mut sparrow, &histories[0])?;
    sends(&node, &mut sparrow, &addresses[1], &hashes[1])?;
    ensure!(sparrow.unsubscribe(&hashes)?.iter().all(|was| *was == true));
    Ok(())
}

/// What the window of a transaction shows: of one in a block, of one in the mempool, and of none.
fn views(node: &Node, sparrow: &mut Sparrow, history: &[Entry]) -> Result<()> {
    for entry in history {
        let view = sparrow
            .view(&entry.txid)?
            .context("an unknown transaction")?;
        let told = node.wallet_rpc("gettransaction", json!([entry.txid]))?;
        for field in ["hex", "blockhash", "blocktime", "txid"] {
            ensure!(view[field] == told[field], "{field}: {view}");
        }
        ensure!(
            view["confirmations"].as_i64().unwrap_or(0)
                == told["confirmations"].as_i64().context("none")?
        );
    }
    ensure!(sparrow.view(&"ab".repeat(32))?.is_none());
    Ok(())
}

/// Sparrow predicts the status that its own payment leads to, and asks for nothing if it comes so.
fn sends(node: &Node, sparrow: &mut Sparrow, address: &str, hash: &str) -> Result<()> {
    let raw = node.pay_unsent(address, 4_000_000)?;
    let txid = sparrow.broadcast(&raw)?;
    ensure!(node.mempool()?.contains(&txid), "the node has not got it");
    let predicted = sha256(&format!("{txid}:0:"));
    let told = sparrow.notification(HEARD)?;
    ensure!(told["params"] == json!([hash, predicted]), "{told}");
    let height = u64::from(node.height()?) + 1;
    node.mine(1)?;
    let told = [
        sparrow.notification(HEARD)?,
        sparrow.notification(HEARD)?,
        sparrow.notification(HEARD)?,
    ];
    let tips = told
        .iter()
        .filter(|told| told["params"][0]["height"] == height);
    ensure!(tips.count() == 1, "{told:?}");
    let mined = sha256(&format!("{txid}:{height}:"));
    let scripts: Vec<&Value> = told
        .iter()
        .map(|told| &told["params"])
        .filter(|params| params[0].is_string())
        .collect();
    ensure!(
        scripts.len() == 2 && scripts.contains(&&json!([hash, mined])),
        "{told:?}"
    );
    Ok(())
}

fn sha256(text: &str) -> String {
    use bitcoin::hashes::{Hash as _, sha256};
    sha256::Hash::hash(text.as_bytes()).to_string()
}

fn wait_until_known(server: &Loopback, hash: &str, status: &str) -> Result<()> {
    let mut line = server.connect()?;
    let deadline = Instant::now() + HEARD;
    while line.call("blockchain.scripthash.subscribe", json!([hash]))? != *status {
        ensure!(
            Instant::now() < deadline,
            "the server does not know what the node knows"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
