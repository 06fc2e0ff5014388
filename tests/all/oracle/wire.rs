//! Asks the server about every script, over its socket.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rig::node::Node;
use rig::oracle::{Entry, Script, Scripts, Unspent};
use rig::server::Loopback;
use rig::socks::Line;
use serde_json::{Value, json};

use super::comparison::{self, Verdict};

/// Enough for the longest catching up here.
const READY: Duration = Duration::from_secs(30);
/// Two rounds of the mempool, and time to ask everything in between.
const SETTLED: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);
/// Requests sent before the first answer is read; their answers fit into the buffers of a socket or wait in the server.
const PIPELINED: usize = 400;
const REPLY: Duration = Duration::from_secs(30);

const METHODS: [&str; 4] = ["get_history", "listunspent", "get_balance", "subscribe"];

/// Waits until the server stands where the node stands, and holds its answers about every script against `expected`.
pub(super) fn assert_equal(server: &Loopback, node: &Node, expected: &Scripts) -> Result<()> {
    wait_for_tip(server, node)?;
    let asked = comparison::asked(expected)?;
    let deadline = Instant::now() + SETTLED;
    loop {
        // A connection of its own each time, which ends its subscriptions.
        let found = ask(&mut server.connect()?, &asked)?;
        match comparison::judge(expected, &asked, &found) {
            Verdict::Equal => return Ok(()),
            Verdict::Unconfirmed(_) if Instant::now() < deadline => std::thread::sleep(POLL),
            Verdict::Unconfirmed(text) | Verdict::Different(text) => bail!(text),
        }
    }
}

/// Waits until the server has the node's tip and answers questions about scripts.
pub(crate) fn wait_for_tip(server: &Loopback, node: &Node) -> Result<()> {
    let best = node.rpc("getbestblockhash", json!([]))?;
    let header = node.rpc("getblockheader", json!([best, false]))?;
    let mut line = server.connect()?;
    let deadline = Instant::now() + READY;
    loop {
        if is_ready(&mut line)? && tip(&mut line)?["hex"] == header {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "the server does not reach the tip: {}",
            server.stderr()
        );
        std::thread::sleep(POLL);
    }
}

/// The last header; null while there is none.
pub(super) fn tip(line: &mut Line) -> Result<Value> {
    Ok(line.request("blockchain.headers.subscribe", json!([]))?["result"].take())
}

pub(super) fn is_ready(line: &mut Line) -> Result<bool> {
    let reply = line.request(
        "blockchain.scripthash.get_balance",
        json!(["00".repeat(32)]),
    )?;
    let error = reply["error"]["message"].as_str().unwrap_or_default();
    ensure!(
        error.is_empty() || error.contains("index is being built"),
        "{error}"
    );
    Ok(error.is_empty())
}

/// All that the server says about these scripts.
fn ask(line: &mut Line, asked: &[String]) -> Result<Vec<Script>> {
    let mut scripts = Vec::new();
    for part in asked.chunks(PIPELINED / METHODS.len()) {
        let mut lines = String::new();
        for (index, hash) in part.iter().enumerate() {
            for method in METHODS {
                let id = json!([index, method]);
                let method = format!("blockchain.scripthash.{method}");
                lines += &json!({ "id": id, "method": method, "params": [hash] }).to_string();
                lines.push('\n');
            }
        }
        line.send_bytes(lines.as_bytes())?;
        let mut replies = HashMap::new();
        while replies.len() < part.len() * METHODS.len() {
            let reply = line.read(REPLY)?.context("the server closed the stream")?;
            let mut reply: Value = serde_json::from_str(&reply)?;
            ensure!(
                reply["error"].is_null(),
                "an error instead of an answer: {}",
                reply["error"]
            );
            // Notifications tell nothing that is not asked for anyway.
            if !reply["id"].is_null() {
                replies.insert(reply["id"].to_string(), reply["result"].take());
            }
        }
        for index in 0..part.len() {
            let mut result = |method: &str| {
                let id = json!([index, method]).to_string();
                replies
                    .remove(&id)
                    .with_context(|| format!("no reply to {id}"))
            };
            let [history, unspent, balance, status] = METHODS;
            scripts.push(read(
                &result(history)?,
                &result(unspent)?,
                &result(balance)?,
                &result(status)?,
            )?);
        }
    }
    Ok(scripts)
}

fn read(history: &Value, unspent: &Value, balance: &Value, status: &Value) -> Result<Script> {
    let history = list(history)?.iter().map(|entry| {
        Ok(Entry {
            txid: text(&entry["tx_hash"])?,
            height: entry["height"].as_i64().context("no height")?,
            fee: entry["fee"].as_u64(),
        })
    });
    let unspent = list(unspent)?.iter().map(|output| {
        Ok(Unspent {
            txid: text(&output["tx_hash"])?,
            vout: output["tx_pos"].as_u64().context("no tx_pos")?,
            height: output["height"].as_i64().context("no height")?,
            value: output["value"].as_u64().context("no value")?,
        })
    });
    Ok(Script {
        script: String::new(),
        history: history.collect::<Result<_>>()?,
        unspent: unspent.collect::<Result<_>>()?,
        confirmed: balance["confirmed"].as_u64().context("no confirmed")?,
        unconfirmed: balance["unconfirmed"].as_i64().context("no unconfirmed")?,
        status: if status.is_null() {
            String::new()
        } else {
            text(status)?
        },
    })
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value
        .as_array()
        .with_context(|| format!("no list but {value}"))
}

fn text(value: &Value) -> Result<String> {
    value
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("no text but {value}"))
}
