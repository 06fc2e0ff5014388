//! What a wallet hears without asking, beside a real node: once for each new state, and never before the state can
//! be read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rig::node::{Node, Options};
use rig::oracle::{self, script_hash};
use rig::reorganise::{Fate, reorganise, rewind};
use rig::server::Loopback;
use rig::socks::Line;
use serde_json::{Value, json};

const HEARD: Duration = Duration::from_secs(20);
/// After a state was told; what is told later than that is noticed with the next state, or at the end.
const SILENCE: Duration = Duration::from_millis(300);
/// Longer than the longest pause between two rounds of the mempool.
const LONG_SILENCE: Duration = Duration::from_millis(2_500);
const READY: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

const SCRIPT: &str = "blockchain.scripthash.subscribe";
const TIP: &str = "blockchain.headers.subscribe";

/// A session that watches the tip and some scripts.
struct Watcher {
    line: Line,
    /// The last status told of each script.
    told: BTreeMap<String, Value>,
    tip: Value,
}

/// What was heard, in order.
#[derive(Debug, Default)]
struct Heard {
    scripts: Vec<String>,
    tips: Vec<u64>,
}

impl Watcher {
    fn subscribe(server: &Loopback, hashes: &[&str]) -> Result<Self> {
        let mut line = server.connect()?;
        let tip = line.call(TIP, json!([]))?;
        let mut told = BTreeMap::new();
        for hash in hashes {
            told.insert((*hash).to_owned(), line.call(SCRIPT, json!([hash]))?);
        }
        Ok(Self { line, told, tip })
    }

    /// Hears exactly this: each script once, in any order, and these tips.
    fn hears(&mut self, node: &Node, what: &str, scripts: &[&str], tips: &[u64]) -> Result<()> {
        let mut heard = self.hear(node).with_context(|| what.to_owned())?;
        let mut scripts = scripts.to_vec();
        scripts.sort_unstable();
        heard.scripts.sort();
        ensure!(
            heard.scripts == scripts && heard.tips == tips,
            "{what}: {heard:?}"
        );
        Ok(())
    }

    /// Hears until everything watched is as the node tells it and nothing more comes. What is told can be read at
    /// once: the history asked for after a notification has the status that was told.
    fn hear(&mut self, node: &Node) -> Result<Heard> {
        let scripts = oracle::scripts(node)?;
        let expected = |hash: &String| match scripts.get(hash) {
            Some(script) => json!(script.status),
            None => Value::Null,
        };
        let height = node.height()?;
        let mut heard = Heard::default();
        let deadline = Instant::now() + HEARD;
        while self.tip["height"] != height
            || self
                .told
                .iter()
                .any(|(hash, status)| *status != expected(hash))
        {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = self
                .line
                .notification(left)
                .with_context(|| format!("after {heard:?}"))?;
            self.note(&message, &mut heard)?;
        }
        self.is_silent(SILENCE)
            .with_context(|| format!("after {heard:?}"))?;
        let header = node.rpc("getblockheader", json!([node.block_hash(height)?, false]))?;
        ensure!(
            self.tip["hex"] == header,
            "another header at height {height}"
        );
        Ok(heard)
    }

    fn is_silent(&mut self, limit: Duration) -> Result<()> {
        let silence = self.line.notification(limit);
        ensure!(silence.is_err(), "nothing to tell, and told: {silence:?}");
        Ok(())
    }

    fn note(&mut self, message: &Value, heard: &mut Heard) -> Result<()> {
        ensure!(
            message.get("id").is_none(),
            "a reply instead of a notification: {message}"
        );
        let params = &message["params"];
        if message["method"] == TIP {
            ensure!(params[0] != self.tip, "the same tip again: {message}");
            self.tip = params[0].clone();
            heard
                .tips
                .push(self.tip["height"].as_u64().context("no height")?);
            return Ok(());
        }
        ensure!(
            message["method"] == SCRIPT,
            "an unknown notification: {message}"
        );
        let hash = params[0].as_str().context("no script hash")?.to_owned();
        let before = self
            .told
            .insert(hash.clone(), params[1].clone())
            .context("not subscribed to")?;
        ensure!(before != params[1], "the same status again: {message}");
        let read = status(&mut self.line, &hash)?;
        ensure!(read == params[1], "told {} and read {read}", params[1]);
        heard.scripts.push(hash);
        Ok(())
    }
}

/// The status that follows from the history as the server tells it.
fn status(line: &mut Line, hash: &str) -> Result<Value> {
    use bitcoin::hashes::{Hash as _, sha256};
    let history = line.call("blockchain.scripthash.get_history", json!([hash]))?;
    let mut text = String::new();
    for entry in history.as_array().context("no history")? {
        let txid = entry["tx_hash"].as_str().context("no tx_hash")?;
        text += &format!("{txid}:{}:", entry["height"]);
    }
    let status = (!text.is_empty()).then(|| sha256::Hash::hash(text.as_bytes()).to_string());
    Ok(json!(status))
}

/// A server that has caught up with this node.
fn server(node: &Node) -> Result<Loopback> {
    let server = Loopback::start(node, &rig::server::Options::default())?;
    let mut line = server.connect()?;
    let deadline = Instant::now() + READY;
    while !line.request(
        "blockchain.scripthash.get_balance",
        json!(["00".repeat(32)]),
    )?["error"]
        .is_null()
    {
        ensure!(
            Instant::now() < deadline,
            "it does not catch up: {}",
            server.stderr()
        );
        std::thread::sleep(POLL);
    }
    Ok(server)
}

fn watched(node: &Node) -> Result<(String, String)> {
    let bitcoin_address = node.new_address()?;
    let hash = script_hash(&node.script(&bitcoin_address)?)?;
    Ok((bitcoin_address, hash))
}

#[test]
fn a_wallet_hears_once_of_each_payment_block_and_reorg() -> Result<()> {
    let node = Node::start_funded(&Options::default())?;
    let server = server(&node)?;
    let (here, ours) = watched(&node)?;
    let (there, child) = watched(&node)?;
    let (_, unused) = watched(&node)?;
    let mut watcher = Watcher::subscribe(&server, &[&ours, &child, &unused])?;
    ensure!(
        watcher.told.values().all(Value::is_null),
        "a status without a history"
    );

    let paid = node.pay(&here, 1_000_000)?;
    watcher.hears(&node, "a payment", &[&ours], &[])?;
    let output = node.vout(&paid, &here)?;
    node.send(&node.spend(&[(&paid, output)], &there, 1_000)?)?;
    let both = [ours.as_str(), child.as_str()];
    watcher.hears(&node, "its child", &both, &[])?;

    // The parent alone is mined: the child keeps its id and gets another height.
    let parent = node.rpc("getrawtransaction", json!([paid]))?;
    node.mine_block(
        &node.new_address()?,
        &[parent.as_str().context("no hex")?.to_owned()],
    )?;
    watcher.hears(&node, "a block with the parent", &both, &[111])?;

    node.mine(1)?;
    watcher.hears(&node, "a block with the child", &both, &[112])?;
    // Another block at the same height has the same payment.
    rewind(&node, 1)?;
    node.mine(2)?;
    watcher.hears(&node, "a reorg that changes nothing of ours", &[], &[113])?;
    node.mine(1)?;
    watcher.hears(&node, "a block of others", &[], &[114])?;

    reorganise(&node, 4, 5, Fate::Unconfirmed)?;
    watcher.hears(&node, "a reorg into the mempool", &both, &[115])?;
    node.mine(1)?;
    watcher.hears(&node, "a block with both", &both, &[116])?;
    reorganise(&node, 1, 2, Fate::Moved)?;
    watcher.hears(&node, "a reorg that moves", &both, &[117])?;
    watcher.is_silent(LONG_SILENCE)
}

#[test]
fn a_payment_that_is_replaced_leaves_no_trace() -> Result<()> {
    let node = Node::start_funded(&Options::default())?;
    let server = server(&node)?;
    let (here, ours) = watched(&node)?;
    let (there, theirs) = watched(&node)?;
    let mut watcher = Watcher::subscribe(&server, &[&ours, &theirs])?;
    let paid = node.pay(&here, 1_000_000)?;
    watcher.hears(&node, "a payment", &[&ours], &[])?;
    node.redirect(&paid, &there, 900_000)?;
    watcher.hears(&node, "its replacement", &[&ours, &theirs], &[])?;
    ensure!(watcher.told[&ours].is_null(), "a status of what is gone");

    let revoked = watcher
        .line
        .call("blockchain.scripthash.unsubscribe", json!([ours]))?;
    ensure!(revoked == true, "a subscription that was not there");
    watcher.told.remove(&ours);
    node.pay(&here, 500_000)?;
    node.mine(1)?;
    watcher.hears(&node, "after revoking", &[&theirs], &[111])?;
    let again = watcher
        .line
        .call("blockchain.scripthash.unsubscribe", json!([ours]))?;
    ensure!(again == false, "a subscription that was revoked");
    watcher.is_silent(LONG_SILENCE)
}

#[test]
fn batches_and_pipelined_requests_are_answered_beside_notifications() -> Result<()> {
    let node = Node::start_funded(&Options::default())?;
    let server = server(&node)?;
    let (here, ours) = watched(&node)?;
    let mut watcher = Watcher::subscribe(&server, &[&ours])?;
    node.pay(&here, 1_000_000)?;
    let request =
        |id: usize| json!({ "id": id, "method": "blockchain.block.header", "params": [id] });
    let all: Vec<Value> = (0..100).map(request).collect();
    watcher.line.send(&Value::from(all).to_string())?;
    for id in 0..100 {
        watcher.line.send(&request(id).to_string())?;
    }
    let mut batch = Vec::new();
    let mut headers = BTreeMap::new();
    let mut heard = Heard::default();
    while headers.len() < 100 || batch.is_empty() || heard.scripts.is_empty() {
        let line = watcher
            .line
            .read(HEARD)?
            .context("the server closed the stream")?;
        let mut message: Value = serde_json::from_str(&line)?;
        if let Some(replies) = message.as_array() {
            let ids: BTreeSet<_> = replies.iter().map(|reply| reply["id"].as_u64()).collect();
            ensure!(
                replies.len() == 100 && ids.len() == 100,
                "a cut batch: {ids:?}"
            );
            batch = replies.clone();
        } else if message.get("id").is_some() {
            let before = headers.insert(message["id"].as_u64(), message["result"].take());
            ensure!(before.is_none(), "answered twice: {line}");
        } else {
            heard.scripts.push(message["params"][0].to_string());
        }
    }
    for reply in &batch {
        ensure!(
            headers.get(&reply["id"].as_u64()) == Some(&reply["result"]),
            "a batch is told otherwise: {reply}"
        );
    }
    for (id, header) in headers {
        let hash = node.block_hash(u32::try_from(id.context("no id")?)?)?;
        ensure!(
            header == node.rpc("getblockheader", json!([hash, false]))?,
            "header {id:?}"
        );
    }
    ensure!(heard.scripts.len() == 1, "told twice: {heard:?}");
    watcher.is_silent(LONG_SILENCE)
}
