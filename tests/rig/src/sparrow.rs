//! Sparrow's side of a connection: its calls, its pages, and a reader as strict as its own, after its `TcpTransport`,
//! `BatchedElectrumServerRpc` and `PagedBatchRequestBuilder`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::hashes::{Hash as _, sha256d};
use bitcoin::{Transaction, TxMerkleNode, Txid, block};
use serde_json::{Value, json};

use crate::socks::Line;

/// Members of a batch.
const PAGE: usize = 100;
/// Of a batch of proofs.
const PAGE_OF_PROOFS: usize = 250;
/// The longest that it waits behind a proxy, without what it adds for each member.
const REPLY: Duration = Duration::from_secs(34);
const TARGETS: [u32; 8] = [1, 2, 3, 4, 5, 10, 25, 50];

/// A connected Sparrow.
#[derive(Debug)]
pub struct Sparrow {
    line: Line,
    id: u64,
    notifications: Vec<Value>,
}

/// One transaction of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As displayed.
    pub txid: String,
    /// As the server tells it: 0 or -1 without a block.
    pub height: i64,
}

impl Sparrow {
    /// Says hello and asks all that Sparrow asks before it shows that it is connected; the name of the server.
    pub fn connect(line: Line) -> Result<(Self, String)> {
        let mut sparrow = Self {
            line,
            id: 0,
            notifications: Vec::new(),
        };
        let agreed = sparrow.ask("server.version", &json!(["Sparrow", ["1.3", "1.4.2"]]))?;
        let name = agreed[0].as_str().context("a server without a name")?;
        let batches = name.to_lowercase().contains("electrumx");
        ensure!(batches, "Sparrow sends no batches to {name}");
        ensure!(agreed[1] == "1.4.2", "another version: {agreed}");
        let features = sparrow.ask("server.features", &json!([]))?;
        ensure!(features["server_version"] == name, "{features}");
        sparrow.tip()?;
        let banner = sparrow.ask("server.banner", &json!([]))?;
        ensure!(banner.is_string(), "{banner}");
        let fees = sparrow.ask_all("blockchain.estimatefee", PAGE, TARGETS.map(|n| json!([n])))?;
        ensure!(fees.iter().all(Value::is_number), "{fees:?}");
        let histogram = sparrow.ask("mempool.get_fee_histogram", &json!([]))?;
        let pair = |row: &Value| row.as_array().is_some_and(|row| row.len() == 2);
        let rows = histogram.as_array().context("a histogram of no list")?;
        ensure!(rows.iter().all(pair), "{histogram}");
        let relay = sparrow.ask("blockchain.relayfee", &json!([]))?;
        ensure!(relay.is_number(), "{relay}");
        sparrow.ask("server.ping", &json!([]))?;
        Ok((sparrow, name.to_owned()))
    }

    /// The height of the tip, whose header has to have worked for its target.
    pub fn tip(&mut self) -> Result<u64> {
        let tip = self.ask("blockchain.headers.subscribe", &json!([]))?;
        height_of(&tip)
    }

    /// Subscribes to script hashes; their statuses.
    pub fn subscribe(&mut self, hashes: &[String]) -> Result<Vec<Value>> {
        let params = hashes.iter().map(|hash| json!([hash]));
        self.ask_all("blockchain.scripthash.subscribe", PAGE, params)
    }

    /// Ends subscriptions; whether there were any.
    pub fn unsubscribe(&mut self, hashes: &[String]) -> Result<Vec<Value>> {
        let params = hashes.iter().map(|hash| json!([hash]));
        self.ask_all("blockchain.scripthash.unsubscribe", PAGE, params)
    }

    /// Histories of script hashes.
    pub fn histories(&mut self, hashes: &[String]) -> Result<Vec<Vec<Entry>>> {
        let params = hashes.iter().map(|hash| json!([hash]));
        let histories = self.ask_all("blockchain.scripthash.get_history", PAGE, params)?;
        histories.iter().map(entries).collect()
    }

    /// Transactions, each with its header and its proof if it has a block; an error if one is not what it should be.
    pub fn prove(&mut self, history: &[Entry]) -> Result<Vec<Transaction>> {
        let txids = history.iter().map(|entry| json!([entry.txid]));
        let raw = self.ask_all("blockchain.transaction.get", PAGE, txids)?;
        let mut transactions = Vec::new();
        for (entry, raw) in history.iter().zip(raw) {
            let raw = raw.as_str().context("a transaction that is no text")?;
            let transaction: Transaction = deserialize_hex(raw)?;
            let itself = transaction.compute_txid().to_string() == entry.txid;
            ensure!(itself, "not the transaction asked for");
            transactions.push(transaction);
        }
        let mined: Vec<_> = history.iter().filter(|entry| entry.height > 0).collect();
        let heights = mined.iter().map(|entry| json!([entry.height]));
        let headers = self.ask_all("blockchain.block.header", PAGE, heights)?;
        let places = mined.iter().map(|entry| json!([entry.txid, entry.height]));
        let proofs = self.ask_all("blockchain.transaction.get_merkle", PAGE_OF_PROOFS, places)?;
        for ((entry, header), proof) in mined.iter().zip(headers).zip(proofs) {
            let header = header.as_str().context("a header that is no text")?;
            let header: block::Header = deserialize_hex(header)?;
            ensure!(proof["block_height"] == entry.height, "{proof}");
            let root = root(entry.txid.parse()?, &proof)?;
            ensure!(
                root == header.merkle_root,
                "a proof that does not hold: {proof}"
            );
        }
        Ok(transactions)
    }

    /// What the window of a transaction shows of it; `None` if the server knows none.
    pub fn view(&mut self, txid: &str) -> Result<Option<Value>> {
        let id = self.next_id();
        let request = request(id, "blockchain.transaction.get", &json!([txid, true]));
        self.line.send(&json!([request]).to_string())?;
        let mut members = self.read_batch(&BTreeSet::from([id]), REPLY)?;
        let member = members.pop().context("an empty batch")?;
        if !member["error"].is_null() {
            return Ok(None);
        }
        // Its types are numbers and texts of Java's; further fields are let be.
        let view = &member["result"];
        let texts = ["hash", "hex", "txid"];
        let numbers = ["locktime", "size", "version"];
        let whole = texts.iter().all(|field| view[field].is_string())
            && numbers.iter().all(|field| view[field].is_i64());
        ensure!(whole, "{view}");
        Ok(Some(view.clone()))
    }

    /// Sends a transaction; its id.
    pub fn broadcast(&mut self, raw: &str) -> Result<String> {
        let txid = self.ask("blockchain.transaction.broadcast", &json!([raw]))?;
        let text = txid.as_str().context("an id that is no text")?;
        Ok(text.to_owned())
    }

    /// The next notification; an error after `limit`.
    pub fn notification(&mut self, limit: Duration) -> Result<Value> {
        if !self.notifications.is_empty() {
            return Ok(self.notifications.remove(0));
        }
        match self.read(Instant::now() + limit)? {
            Message::Notification(told) => Ok(told),
            Message::Reply(reply) => anyhow::bail!("a reply to nothing: {reply}"),
        }
    }

    /// A single request. Sparrow takes for its reply the next line that has its id.
    fn ask(&mut self, method: &str, params: &Value) -> Result<Value> {
        let id = self.next_id();
        self.line.send(&request(id, method, params).to_string())?;
        let deadline = Instant::now() + REPLY;
        loop {
            let mut reply = self.reply(deadline).with_context(|| method.to_owned())?;
            if reply["id"] == id {
                ensure!(reply["error"].is_null(), "{method}: {}", reply["error"]);
                return Ok(reply["result"].take());
            }
        }
    }

    /// The same request with each of `params`, in pages; the results in the same order.
    fn ask_all(
        &mut self,
        method: &str,
        page: usize,
        params: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<Value>> {
        let params: Vec<_> = params.into_iter().collect();
        let mut results = Vec::new();
        for page in params.chunks(page) {
            let ids: Vec<_> = page.iter().map(|_| self.next_id()).collect();
            let requests = ids.iter().zip(page);
            let requests: Vec<_> = requests
                .map(|(id, params)| request(*id, method, params))
                .collect();
            self.line.send(&json!(requests).to_string())?;
            let limit = REPLY + Duration::from_millis(50) * u32::try_from(ids.len())?;
            let members = self.read_batch(&ids.iter().copied().collect(), limit)?;
            for id in ids {
                let member = members.iter().find(|member| member["id"] == id);
                let member = member.context("a member without a reply")?;
                ensure!(member["error"].is_null(), "{method}: {member}");
                results.push(member["result"].clone());
            }
        }
        Ok(results)
    }

    /// The one line that answers a batch: Sparrow takes the next whose numbers after `"id":` are all that it sent.
    fn read_batch(&mut self, ids: &BTreeSet<u64>, limit: Duration) -> Result<Vec<Value>> {
        let reply = self.reply(Instant::now() + limit)?;
        let told: BTreeSet<u64> = ids_in(&reply.to_string());
        ensure!(told == *ids, "a reply to {told:?} instead of {ids:?}");
        let members = reply.as_array().context("a batch answered by no array")?;
        ensure!(members.len() == ids.len(), "an id twice");
        Ok(members.clone())
    }

    /// The next line that is no notification.
    fn reply(&mut self, deadline: Instant) -> Result<Value> {
        loop {
            match self.read(deadline)? {
                Message::Reply(reply) => return Ok(reply),
                Message::Notification(told) => self.notifications.push(told),
            }
        }
    }

    /// Sparrow tells the two apart by words that stand anywhere in the line.
    fn read(&mut self, deadline: Instant) -> Result<Message> {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = self.line.read(left)?.context("the server left")?;
        let value: Value = serde_json::from_str(&line)?;
        let by_words = line.contains("method") && !line.contains("error");
        ensure!(
            by_words == value["method"].is_string(),
            "Sparrow takes this for something else: {line}"
        );
        if !by_words {
            return Ok(Message::Reply(value));
        }
        let params = &value["params"];
        match value["method"].as_str() {
            Some("blockchain.headers.subscribe") => drop(height_of(&params[0])?),
            Some("blockchain.scripthash.subscribe") => {
                let pair = params.as_array().is_some_and(|params| params.len() == 2);
                ensure!(pair && params[0].is_string(), "{value}");
            }
            _ => anyhow::bail!("an unknown notification: {value}"),
        }
        Ok(Message::Notification(value))
    }

    fn next_id(&mut self) -> u64 {
        self.id += 1;
        self.id
    }
}

/// A line of the server.
enum Message {
    Reply(Value),
    Notification(Value),
}

fn request(id: u64, method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// A header's height; nothing may stand beside it, and the header must have worked for its target.
fn height_of(tip: &Value) -> Result<u64> {
    ensure!(has_only(tip, &["height", "hex"]), "{tip}");
    let header = tip["hex"].as_str().context("a header that is no text")?;
    let header: block::Header = deserialize_hex(header)?;
    header.validate_pow(header.target())?;
    tip["height"].as_u64().context("a tip without a height")
}

fn entries(history: &Value) -> Result<Vec<Entry>> {
    let entry = |row: &Value| {
        ensure!(has_only(row, &["height", "tx_hash", "fee"]), "{row}");
        Ok(Entry {
            txid: row["tx_hash"].as_str().context("no id")?.to_owned(),
            height: row["height"].as_i64().context("no height")?,
        })
    };
    let rows = history.as_array().context("a history of no list")?;
    rows.iter().map(entry).collect()
}

/// A field that Sparrow does not know is an exception in its reader.
fn has_only(value: &Value, known: &[&str]) -> bool {
    value
        .as_object()
        .is_some_and(|fields| fields.keys().all(|field| known.contains(&field.as_str())))
}

/// The numbers behind `"id":` anywhere in a text.
fn ids_in(text: &str) -> BTreeSet<u64> {
    text.split("\"id\":")
        .skip(1)
        .filter_map(|rest| {
            let digits = rest.trim_start();
            let end = digits.find(|c: char| !c.is_ascii_digit())?;
            digits[..end].parse().ok()
        })
        .collect()
}

/// The root that a branch leads to.
fn root(txid: Txid, proof: &Value) -> Result<TxMerkleNode> {
    let branch = proof["merkle"].as_array().context("no branch")?;
    let mut position = proof["pos"].as_u64().context("no position")?;
    let mut hash = txid.to_raw_hash();
    for sibling in branch {
        let sibling: sha256d::Hash = sibling.as_str().context("no hash")?.parse()?;
        let pair = if position.is_multiple_of(2) {
            [hash, sibling]
        } else {
            [sibling, hash]
        };
        hash = sha256d::Hash::hash(&pair.map(sha256d::Hash::to_byte_array).concat());
        position /= 2;
    }
    ensure!(position == 0, "a position beyond the branch: {proof}");
    Ok(hash.into())
}
