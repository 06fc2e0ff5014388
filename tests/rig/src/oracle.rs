//! Every script's history, unspent outputs, balance and status, computed naively from the node's JSON. Shares nothing
//! with the server: neither code, nor hash, nor the calls that feed its index.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Context as _, Result};
use bitcoin::hex::FromHex as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::node::{Node, satoshi, text};

/// Everything about every script, by script hash as clients write it.
pub type Scripts = BTreeMap<String, Script>;

/// Everything about one script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// The script itself, in hexadecimal.
    pub script: String,
    /// In the protocol's order.
    pub history: Vec<Entry>,
    /// In chain order, then those of the mempool in the order of their history entries.
    pub unspent: Vec<Unspent>,
    /// Sum of the confirmed outputs that no block spends, in satoshi.
    pub confirmed: u64,
    /// What the mempool adds, in satoshi.
    pub unconfirmed: i64,
    /// SHA-256 of the history's text, in hexadecimal.
    pub status: String,
}

/// One transaction of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As displayed.
    pub txid: String,
    /// Of its block; 0 in the mempool, -1 with an unconfirmed parent.
    pub height: i64,
    /// In satoshi, while it is in the mempool.
    pub fee: Option<u64>,
}

/// One output that neither a block nor the mempool spends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unspent {
    /// As displayed.
    pub txid: String,
    /// Index of the output.
    pub vout: u64,
    /// Of its block; 0 in the mempool.
    pub height: i64,
    /// In satoshi.
    pub value: u64,
}

/// Computes it; an error if the chain or the mempool changes meanwhile.
pub fn scripts(node: &Node) -> Result<Scripts> {
    let before = moment(node)?;
    let mut tally = Tally::default();
    // The genesis coinbase cannot be spent and is no part of any history.
    for height in 1..=node.height()? {
        let block = node.rpc("getblock", json!([node.block_hash(height)?, 2]))?;
        for transaction in list(&block["tx"])? {
            tally.fund(transaction, i64::from(height))?;
            tally.enter(transaction, i64::from(height), None)?;
        }
    }
    // In this order a child may stand before its parent.
    let mempool = mempool(node)?;
    let mut rows = mempool.iter();
    rows.try_for_each(|(height, _, row)| tally.fund(row, *height))?;
    let mut rows = mempool.iter();
    rows.try_for_each(|(height, fee, row)| tally.enter(row, *height, Some(*fee)))?;
    anyhow::ensure!(before == moment(node)?, "the node moved meanwhile");
    tally.finish()
}

/// The script hash as clients write it: SHA-256, last byte first.
pub fn script_hash(script: &str) -> Result<String> {
    let mut hash = Sha256::digest(Vec::<u8>::from_hex(script)?);
    hash.reverse();
    Ok(format!("{hash:x}"))
}

/// The mempool's transactions with height and fee, in the protocol's order.
fn mempool(node: &Node) -> Result<Vec<(i64, u64, Value)>> {
    let entries = node.rpc("getrawmempool", json!([true]))?;
    let entries = entries.as_object().context("a mempool of no object")?;
    let mut rows = Vec::new();
    for (txid, entry) in entries {
        let transaction = node.rpc("getrawtransaction", json!([txid, true]))?;
        let inputs = list(&transaction["vin"])?.iter();
        let mut parents = inputs.filter_map(|input| input["txid"].as_str());
        let unconfirmed = parents.any(|parent| entries.contains_key(parent));
        let fee = satoshi(&entry["fees"]["base"]).context("an entry without a fee")?;
        rows.push((-i64::from(unconfirmed), fee, transaction));
    }
    rows.sort_by_key(|(height, _, transaction)| (-height, transaction["txid"].to_string()));
    Ok(rows)
}

/// What has been gathered so far.
#[derive(Default)]
struct Tally {
    /// In the order they were seen, with their scripts.
    outputs: Vec<(String, Unspent)>,
    /// Where in `outputs` they are, by transaction and index.
    places: HashMap<(String, u64), usize>,
    /// Heights of the transactions that spend them, 0 and -1 as in a history.
    spent: HashMap<usize, i64>,
    histories: HashMap<String, Vec<Entry>>,
}

impl Tally {
    /// Takes note of the outputs that a transaction creates.
    fn fund(&mut self, transaction: &Value, height: i64) -> Result<()> {
        for output in list(&transaction["vout"])? {
            let script = text(&output["scriptPubKey"]["hex"])?;
            if script.starts_with("6a") {
                continue;
            }
            let unspent = Unspent {
                txid: text(&transaction["txid"])?,
                vout: output["n"].as_u64().context("an output without an index")?,
                height: height.max(0),
                value: satoshi(&output["value"]).context("an output without a value")?,
            };
            let place = (unspent.txid.clone(), unspent.vout);
            self.places.insert(place, self.outputs.len());
            self.outputs.push((script, unspent));
        }
        Ok(())
    }

    /// Takes note of the outputs that it spends, and enters it in every history that it touches.
    fn enter(&mut self, transaction: &Value, height: i64, fee: Option<u64>) -> Result<()> {
        let mut touched = Vec::new();
        for output in list(&transaction["vout"])? {
            touched.extend(self.at(&transaction["txid"], &output["n"])?);
        }
        let inputs = list(&transaction["vin"])?.iter();
        for input in inputs.filter(|input| input["coinbase"].is_null()) {
            let at = self.at(&input["txid"], &input["vout"])?;
            self.spent.extend(at.map(|at| (at, height)));
            touched.extend(at);
        }
        let scripts: HashSet<_> = touched.iter().map(|at| &self.outputs[*at].0).collect();
        for script in scripts {
            let txid = text(&transaction["txid"])?;
            let history = self.histories.entry(script.clone()).or_default();
            if !transaction["vin"][0]["coinbase"].is_null() {
                // Mined twice, it counts where it stands last.
                history.retain(|entry| entry.txid != txid);
            }
            history.push(Entry { txid, height, fee });
        }
        Ok(())
    }

    /// Where an output is in `outputs`; `None` if no history is kept of its script.
    fn at(&self, txid: &Value, vout: &Value) -> Result<Option<usize>> {
        let vout = vout.as_u64().context("an output without an index")?;
        Ok(self.places.get(&(text(txid)?, vout)).copied())
    }

    fn finish(self) -> Result<Scripts> {
        let mut scripts = Scripts::new();
        for (script, history) in self.histories {
            let line = |entry: &Entry| format!("{}:{}:", entry.txid, entry.height);
            let status = Sha256::digest(history.iter().map(line).collect::<String>());
            let found = scripts.entry(script_hash(&script)?).or_default();
            found.status = format!("{status:x}");
            (found.script, found.history) = (script, history);
        }
        for (at, (script, output)) in self.outputs.into_iter().enumerate() {
            let found = scripts.entry(script_hash(&script)?).or_default();
            let value = i64::try_from(output.value)?;
            let (confirmed, unconfirmed) = match (output.height > 0, self.spent.get(&at)) {
                (true, None) => (output.value, 0),
                (true, Some(..=0)) => (output.value, -value),
                (false, None) => (0, value),
                _ => continue,
            };
            found.confirmed += confirmed;
            found.unconfirmed += unconfirmed;
            if !self.spent.contains_key(&at) {
                found.unspent.push(output);
            }
        }
        Ok(scripts)
    }
}

/// What must not change while the oracle looks.
fn moment(node: &Node) -> Result<(Value, Value)> {
    let tip = node.rpc("getbestblockhash", json!([]))?;
    Ok((tip, node.rpc("getrawmempool", json!([false, true]))?))
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().context("no list where one is due")
}
