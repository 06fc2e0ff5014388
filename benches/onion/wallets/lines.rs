//! A wallet that speaks the protocol itself: lines or batches, so many of them unanswered.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rig::socks::Line;
use serde_json::{Value, json};

/// A server that says nothing for this long is given up.
const SILENCE: Duration = Duration::from_secs(60);

/// How a wallet asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asking {
    /// Single requests, so many of them unanswered.
    Requests { unanswered: usize },
    /// Batches of so many scripts and of so many transactions, one after the other.
    Batches { scripts: usize, transactions: usize },
}

/// A line, and the ids in it.
struct Message {
    text: String,
    requests: usize,
}

/// Subscribes to all scripts, then asks for their histories, then for the transactions; how many these are.
pub(crate) fn load(line: &mut Line, script_hashes: &[String], asking: Asking) -> Result<usize> {
    let (members, unanswered) = match asking {
        Asking::Requests { unanswered } => ([None, None], unanswered),
        Asking::Batches {
            scripts,
            transactions,
        } => ([Some(scripts), Some(transactions)], 1),
    };
    let [scripts, transactions] = members;
    let mut ask = |method: &str, words: &[String], members| {
        let messages = messages(&format!("blockchain.{method}"), words, members);
        exchange(line, &messages, unanswered).with_context(|| format!("failed to ask {method}"))
    };
    ask("scripthash.subscribe", script_hashes, scripts)?;
    let histories = ask("scripthash.get_history", script_hashes, scripts)?;
    let mut txids = BTreeSet::new();
    for history in &histories {
        for entry in history.as_array().context("a history that is no list")? {
            txids.insert(entry["tx_hash"].as_str().context("no txid")?.to_owned());
        }
    }
    let txids: Vec<String> = txids.into_iter().collect();
    let found = ask("transaction.get", &txids, transactions)?;
    ensure!(
        found.iter().all(Value::is_string),
        "a transaction that is no text"
    );
    Ok(found.len())
}

/// Batches of so many members, or single requests.
fn messages(method: &str, words: &[String], members: Option<usize>) -> Vec<Message> {
    let requests: Vec<String> = words
        .iter()
        .enumerate()
        .map(|(id, word)| {
            json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": [word] }).to_string()
        })
        .collect();
    let parts = requests.chunks(members.unwrap_or(1));
    parts
        .map(|part| Message {
            text: match members {
                Some(_) => format!("[{}]\n", part.join(",")),
                None => format!("{}\n", part.concat()),
            },
            requests: part.len(),
        })
        .collect()
}

/// The results of all requests, in their order.
fn exchange(line: &mut Line, messages: &[Message], unanswered: usize) -> Result<Vec<Value>> {
    let requests = messages.iter().map(|message| message.requests).sum();
    let mut results = vec![Value::Null; requests];
    let mut is_answered = vec![false; requests];
    let (mut sent, mut answered) = (0, 0);
    while answered < messages.len() {
        let until = messages.len().min(answered + unanswered);
        let texts: String = messages[sent..until]
            .iter()
            .map(|message| message.text.as_str())
            .collect();
        line.send_bytes(texts.as_bytes())?;
        sent = until;
        // One that is waited for, and all that came with it.
        while answered < sent {
            let answer = line
                .read(SILENCE)?
                .context("the server closed the stream")?;
            let replies: Vec<Value> = if answer.starts_with('[') {
                serde_json::from_str(&answer)?
            } else {
                vec![serde_json::from_str(&answer)?]
            };
            for mut reply in replies {
                ensure!(reply["error"].is_null(), "an error: {}", reply["error"]);
                let id = reply["id"].as_u64().context("an answer without an id")?;
                let id = usize::try_from(id)?;
                ensure!(
                    !std::mem::replace(is_answered.get_mut(id).context("a strange id")?, true),
                    "answered twice"
                );
                results[id] = reply["result"].take();
            }
            answered += 1;
            if !line.has_line() {
                break;
            }
        }
    }
    ensure!(is_answered.iter().all(|answered| *answered), "not answered");
    Ok(results)
}
