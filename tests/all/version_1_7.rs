//! Protocol 1.7 beside a real node: scripts, and where every output stands, are as the node's blocks and mempool tell.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rig::node::{MATURITY, Node, Options};
use rig::oracle::{self, Script};
use rig::reorganise::{Fate, reorganise};
use rig::server::Loopback;
use rig::shape::Shape;
use rig::socks::Line;
use serde_json::{Value, json};

use crate::oracle::wait_for_tip;

const SEED: u64 = 20_261_121;
const HEARD: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);
/// Longer than the longest pause between two rounds of the mempool.
const SILENCE: Duration = Duration::from_millis(2_500);

/// Transaction, index, script.
type Output = (String, u64, String);

#[test]
fn scripts_and_outpoints_are_as_the_node_tells() -> Result<()> {
    let node = Node::start_funded(&Options::default())?;
    Shape::new(SEED).grow(&node, MATURITY + 60)?;
    let address = node.new_address()?;
    let parent = node.pay(&address, 1_000_000)?;
    let vout = node.vout(&parent, &address)?;
    node.send(&node.spend(&[(&parent, vout)], &address, 1_000)?)?;
    let server = server(&node)?;
    let mut line = newest(&server)?;
    wait_for_mempool(&mut line, &node, &address)?;

    for (hash, script) in oracle::scripts(&node)? {
        compare_script(&mut line, &hash, &script)?;
    }
    let mut spent = 0;
    for ((txid, vout, script), expected) in outpoints(&node)? {
        let found = line.call(
            "blockchain.outpoint.get_status",
            json!([txid, vout, script]),
        )?;
        let expected = if script.starts_with("6a") {
            // Nobody can spend it, and it is not indexed.
            json!({})
        } else {
            expected
        };
        ensure!(found == expected, "{txid}:{vout}: {expected}, not {found}");
        spent += usize::from(found.get("spender_txhash").is_some());
    }
    ensure!(spent > 100, "only {spent} outputs are spent");
    for nothing in [json!([parent, 99, "51"]), json!(["00".repeat(32), 0, "51"])] {
        let found = line.call("blockchain.outpoint.get_status", nothing)?;
        ensure!(found == json!({}), "there is no such output: {found}");
    }
    let unknown = line.request(
        "blockchain.scripthash.get_history",
        json!(["00".repeat(32)]),
    )?;
    ensure!(unknown["error"]["code"] == -32601, "{unknown}");
    Ok(())
}

#[test]
fn an_outpoint_is_heard_of_from_its_funding_to_its_spending_and_back() -> Result<()> {
    let node = Node::start_funded(&Options::default())?;
    let server = server(&node)?;
    let (address, other) = (node.new_address()?, node.new_address()?);
    let script = node.script(&address)?;
    let raw = node.pay_unsent(&address, 1_000_000)?;
    let decoded = node.rpc("decoderawtransaction", json!([raw]))?;
    let txid = decoded["txid"].as_str().context("no txid")?.to_owned();
    let outputs = decoded["vout"].as_array().context("no outputs")?;
    let vout = outputs
        .iter()
        .position(|output| output["scriptPubKey"]["hex"] == script);
    let vout = u32::try_from(vout.context("it does not pay")?)?;

    let mut watcher = Watcher {
        line: newest(&server)?,
        output: (txid.clone(), u64::from(vout), script.clone()),
    };
    let status = watcher.line.call(SUBSCRIBE, json!([txid, vout, script]))?;
    ensure!(status == json!({}), "it does not exist yet: {status}");
    node.send(&raw)?;
    watcher.hears(&node, &json!({ "funder_height": 0 }))?;
    node.mine(1)?;
    watcher.hears(&node, &json!({ "funder_height": 111 }))?;
    let spender = node.send(&node.spend(&[(&txid, vout)], &other, 1_000)?)?;
    let spent = |funder: i64, height: i64| json!({ "funder_height": funder, "spender_txhash": spender, "spender_height": height });
    watcher.hears(&node, &spent(111, 0))?;
    node.mine(1)?;
    watcher.hears(&node, &spent(111, 112))?;
    reorganise(&node, 2, 3, Fate::Unconfirmed)?;
    watcher.hears(&node, &spent(0, -1))?;
    let funder = node.rpc("getrawtransaction", json!([txid]))?;
    let funder = funder.as_str().context("no hex")?.to_owned();
    node.mine_block(&other, &[funder])?;
    watcher.hears(&node, &spent(114, 0))?;
    node.mine(1)?;
    watcher.hears(&node, &spent(114, 115))?;

    let revoked = watcher.line.call(UNSUBSCRIBE, json!([txid, vout]))?;
    ensure!(revoked == true, "a subscription that was not there");
    reorganise(&node, 1, 2, Fate::Moved)?;
    let silence = watcher.line.notification(SILENCE);
    ensure!(silence.is_err(), "told after revoking: {silence:?}");
    Ok(())
}

#[test]
fn acceptance_is_tested_by_the_node_and_told_in_our_words() -> Result<()> {
    let node = Node::start_funded(&Options::default())?;
    let server = server(&node)?;
    let mut line = newest(&server)?;
    let address = node.new_address()?;
    let paid = node.pay(&address, 1_000_000)?;
    let output = (paid.as_str(), node.vout(&paid, &address)?);
    let hex = |raw: Value| raw.as_str().map(str::to_owned).context("no hex");
    let known = hex(node.rpc("getrawtransaction", json!([paid]))?)?;
    let fine = node.pay_unsent(&address, 2_000_000)?;
    let other = node.pay_unsent(&address, 3_000_000)?;
    let free = node.spend(&[output], &address, 0)?;
    let unsigned = hex(node.rpc(
        "createrawtransaction",
        json!([[{ "txid": paid, "vout": output.1 }], { &address: "0.009" }]),
    )?)?;
    let lost = hex(node.rpc(
        "createrawtransaction",
        json!([[{ "txid": "11".repeat(32), "vout": 0 }], { &address: "0.009" }]),
    )?)?;
    let cases = [
        (vec![&fine], ""),
        (vec![&fine, &other], ""),
        (vec![&known], "txn-already-known: "),
        (vec![&free], "min relay fee not met: "),
        (vec![&unsigned], "mandatory-script-verify-flag-failed: "),
        (vec![&lost], "bad-txns-inputs-missingorspent: "),
        (vec![&fine, &fine], "Transaction rejected by mempool: "),
        (vec![&fine, &lost], "bad-txns-inputs-missingorspent: "),
    ];
    for (raw, beginning) in cases {
        let expected = node.rpc("testmempoolaccept", json!([raw]))?;
        let found = line.call("blockchain.transaction.testmempoolaccept", json!([raw]))?;
        let (expected, found) = (expected.as_array(), found.as_array());
        let (expected, found) = expected.zip(found).context("no lists")?;
        ensure!(expected.len() == found.len(), "{found:?}");
        let mut reasons = 0;
        for (expected, found) in expected.iter().zip(found) {
            for key in ["txid", "wtxid", "allowed"] {
                ensure!(
                    expected.get(key) == found.get(key),
                    "{found}, not {expected}"
                );
            }
            let why = expected
                .get("package-error")
                .or(expected.get("reject-reason"));
            let told = found.get("reason").and_then(Value::as_str);
            ensure!(why.is_some() == told.is_some(), "{found}, not {expected}");
            reasons += usize::from(told.is_some_and(|told| told.starts_with(beginning)));
        }
        ensure!(
            (reasons > 0) != beginning.is_empty(),
            "{beginning}: {found:?}"
        );
    }
    let nonsense = json!([[fine, "00"]]);
    let refused = line.request("blockchain.transaction.testmempoolaccept", nonsense)?;
    ensure!(refused["error"]["code"] == 1, "{refused}");
    Ok(())
}

#[test]
fn the_newest_unconfirmed_transactions_are_told() -> Result<()> {
    let node = Node::start_funded(&Options::default())?;
    let server = server(&node)?;
    let mut line = newest(&server)?;
    let address = node.new_address()?;
    let mut expected = Vec::new();
    for satoshi in [1_000_000, 2_000_000, 3_000_000] {
        let txid = node.pay(&address, satoshi)?;
        let entry = node.rpc("getmempoolentry", json!([txid]))?;
        let fee = rig::node::satoshi(&entry["fees"]["base"]).context("no fee")?;
        expected.insert(
            0,
            json!({ "txid": txid, "fee": fee, "vsize": entry["vsize"] }),
        );
        wait_for_mempool(&mut line, &node, &address)?;
        let found = line.call("mempool.recent", json!([]))?;
        ensure!(found == json!(expected), "{found}");
    }
    Ok(())
}

#[test]
fn an_output_that_cannot_be_looked_for_is_not_told_as_missing() -> Result<()> {
    let mut node = Node::start_funded(&Options::default())?;
    // So many that the first ones are in a segment, which knows no outputs.
    node.mine(400)?;
    let mut block = node.rpc("getblock", json!([node.block_hash(1)?, 2]))?;
    let coinbase = block["tx"][0].take();
    let script = &coinbase["vout"][0]["scriptPubKey"]["hex"];
    let asked = json!([coinbase["txid"], 0, script]);
    let elsewhere = tempfile::tempdir()?;
    let dir = elsewhere.path().display().to_string();
    let server = server_with(&node, &["--node-dir", &dir])?;
    let mut line = newest(&server)?;
    let mut status = || line.request("blockchain.outpoint.get_status", asked.clone());
    let found = status()?;
    ensure!(found["result"]["funder_height"] == 1, "{found}");
    node.stop()?;
    let deadline = Instant::now() + HEARD;
    loop {
        let found = status()?;
        if found["error"]["code"] == 2 {
            return Ok(());
        }
        ensure!(found["result"]["funder_height"] == 1, "{found}");
        ensure!(Instant::now() < deadline, "it is told without the node");
        std::thread::sleep(POLL);
    }
}

const SUBSCRIBE: &str = "blockchain.outpoint.subscribe";
const UNSUBSCRIBE: &str = "blockchain.outpoint.unsubscribe";

/// A session that watches one output.
struct Watcher {
    line: Line,
    output: Output,
}

impl Watcher {
    /// Hears this next, which is what the node tells and what the server answers now.
    fn hears(&mut self, node: &Node, status: &Value) -> Result<()> {
        let (txid, vout, script) = &self.output;
        let heard = self.line.notification(HEARD);
        let heard = heard.with_context(|| format!("nothing heard of {status}"))?;
        ensure!(heard["method"] == SUBSCRIBE, "{heard}");
        let expected = json!([txid, vout, status]);
        ensure!(heard["params"] == expected, "{heard}, not {expected}");
        let told = outpoints(node)?.remove(&self.output);
        ensure!(told.as_ref() == Some(status), "the node tells {told:?}");
        let read = self.line.call(
            "blockchain.outpoint.get_status",
            json!([txid, vout, script]),
        )?;
        ensure!(read == *status, "told {status} and read {read}");
        Ok(())
    }
}

fn server(node: &Node) -> Result<Loopback> {
    server_with(node, &[])
}

fn server_with(node: &Node, extra: &[&str]) -> Result<Loopback> {
    let extra = ["--protocol-max", "1.7"].iter().chain(extra);
    let options = rig::server::Options {
        extra: extra.map(|word| (*word).to_owned()).collect(),
        ..rig::server::Options::default()
    };
    let server = Loopback::start(node, &options)?;
    wait_for_tip(&server, node)?;
    Ok(server)
}

/// A session that speaks 1.7.
fn newest(server: &Loopback) -> Result<Line> {
    let mut line = server.connect()?;
    let agreed = line.call("server.version", json!(["rig", ["1.4", "1.7"]]))?;
    ensure!(agreed[1] == "1.7", "{agreed}");
    Ok(line)
}

/// Waits until the server knows all unconfirmed transactions of an address.
fn wait_for_mempool(line: &mut Line, node: &Node, address: &str) -> Result<()> {
    let script = node.script(address)?;
    let deadline = Instant::now() + HEARD;
    let expected = node.mempool()?.len();
    loop {
        let found = line.call("blockchain.scriptpubkey.get_mempool", json!([script]))?;
        let found = found["history"].as_array().map_or(0, Vec::len);
        if found == expected {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{found} of {expected}");
        std::thread::sleep(POLL);
    }
}

fn compare_script(line: &mut Line, hash: &str, script: &Script) -> Result<()> {
    let mut ask = |method: &str| {
        line.call(
            &format!("blockchain.scriptpubkey.{method}"),
            json!([script.script]),
        )
    };
    let rows = |unconfirmed: bool| -> Vec<Value> {
        let entries = script.history.iter();
        let entries = entries.filter(|entry| !unconfirmed || entry.fee.is_some());
        let row = |entry: &oracle::Entry| match entry.fee {
            Some(fee) => json!({ "tx_hash": entry.txid, "height": entry.height, "fee": fee }),
            None => json!({ "tx_hash": entry.txid, "height": entry.height }),
        };
        entries.map(row).collect()
    };
    let utxo = |output: &oracle::Unspent| {
        json!({ "tx_hash": output.txid, "tx_pos": output.vout, "height": output.height,
            "value": output.value })
    };
    let utxos: Vec<Value> = script.unspent.iter().map(utxo).collect();
    let expected = [
        ("get_history", json!({ "history": rows(false) })),
        ("get_mempool", json!({ "history": rows(true) })),
        ("listunspent", json!({ "utxos": utxos })),
        (
            "get_balance",
            json!({ "confirmed": script.confirmed, "unconfirmed": script.unconfirmed }),
        ),
        ("subscribe", json!(script.status)),
        ("unsubscribe", json!(true)),
    ];
    if script.script.starts_with("6a") {
        return Ok(());
    }
    for (method, expected) in expected {
        let found = ask(method)?;
        ensure!(
            found == expected,
            "{method} of {hash}: {expected}, not {found}"
        );
    }
    Ok(())
}

/// Where every output stands, as the node's blocks and mempool tell.
fn outpoints(node: &Node) -> Result<BTreeMap<Output, Value>> {
    let mut transactions = Vec::new();
    for height in 1..=node.height()? {
        let mut block = node.rpc("getblock", json!([node.block_hash(height)?, 2]))?;
        let all = block["tx"].as_array_mut().context("no transactions")?;
        transactions.extend(all.drain(..).map(|row| (i64::from(height), row)));
    }
    let mempool = node.rpc("getrawmempool", json!([true]))?;
    for (txid, entry) in mempool.as_object().context("no mempool")? {
        let parents = entry["depends"].as_array().context("no parents")?;
        let row = node.rpc("getrawtransaction", json!([txid, true]))?;
        transactions.push((-i64::from(!parents.is_empty()), row));
    }
    let mut standing = BTreeMap::new();
    let mut scripts = BTreeMap::new();
    for (height, row) in &transactions {
        let txid = row["txid"].as_str().context("no txid")?;
        for output in row["vout"].as_array().context("no outputs")? {
            let vout = output["n"].as_u64().context("no index")?;
            let script = output["scriptPubKey"]["hex"]
                .as_str()
                .context("no script")?;
            scripts.insert((txid.to_owned(), vout), script.to_owned());
            let output = (txid.to_owned(), vout, script.to_owned());
            standing.insert(output, json!({ "funder_height": height }));
        }
    }
    for (height, row) in &transactions {
        for input in row["vin"].as_array().context("no inputs")? {
            let (Some(txid), Some(vout)) = (input["txid"].as_str(), input["vout"].as_u64()) else {
                continue;
            };
            let Some(script) = scripts.get(&(txid.to_owned(), vout)) else {
                continue;
            };
            let output = (txid.to_owned(), vout, script.clone());
            let status = standing.get_mut(&output).context("no such output")?;
            status["spender_txhash"] = row["txid"].clone();
            status["spender_height"] = json!(height);
        }
    }
    Ok(standing)
}
