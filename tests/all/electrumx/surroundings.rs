//! What there is to ask about: the scripts, transactions and heights of a chain and its mempool, as the node tells
//! them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use rig::node::Node;
use rig::oracle::{self, Scripts, script_hash};
use serde_json::{Value, json};

/// Entries above which a history counts as long.
const LONG: usize = 200;
/// Transactions from which a block counts as full.
const FULL: usize = 4;
/// A chain and its mempool at one moment.
pub(super) struct Surroundings {
    pub(super) tip: u64,
    /// Every script with a history.
    pub(super) scripts: Scripts,
    /// Script hashes by what there is to say of the script.
    pub(super) script_hashes: BTreeMap<&'static str, Vec<String>>,
    /// Transaction ids by where the transaction is.
    pub(super) txids: BTreeMap<&'static str, Vec<String>>,
    /// Raw transactions by where the transaction is.
    pub(super) raw: BTreeMap<&'static str, Vec<String>>,
    /// Raw transactions in the mempool, each behind its only parent there.
    pub(super) families: Vec<[String; 2]>,
    /// Height and position of those that are in a block.
    pub(super) places: BTreeMap<String, (u64, u64)>,
    /// How many transactions each block has.
    pub(super) sizes: Vec<u64>,
    /// Heights of blocks with some of them.
    pub(super) full_blocks: Vec<u64>,
}

impl Surroundings {
    /// Looks at a node that does not move meanwhile.
    pub(super) fn of(node: &Node) -> Result<Self> {
        let mut found = Self {
            tip: u64::from(node.height()?),
            scripts: oracle::scripts(node)?,
            script_hashes: BTreeMap::new(),
            txids: BTreeMap::new(),
            raw: BTreeMap::new(),
            families: Vec::new(),
            places: BTreeMap::new(),
            sizes: Vec::new(),
            full_blocks: Vec::new(),
        };
        found.sort_scripts();
        found.look_at_blocks(node)?;
        found.look_at_mempool(node)?;
        Ok(found)
    }

    fn sort_scripts(&mut self) {
        for (hash, script) in &self.scripts {
            let unconfirmed = script.history.iter().any(|entry| entry.height <= 0);
            let pending = script.unspent.iter().filter(|output| output.height == 0);
            let kind = match (unconfirmed, script.history.len()) {
                _ if pending.count() > 1 => "with unconfirmed outputs",
                (true, LONG..) => "long and unconfirmed",
                (true, _) => "unconfirmed",
                (false, LONG..) => "long",
                (false, _) if script.unspent.is_empty() => "spent",
                (false, _) => "confirmed",
            };
            self.script_hashes
                .entry(kind)
                .or_default()
                .push(hash.clone());
        }
    }

    fn look_at_blocks(&mut self, node: &Node) -> Result<()> {
        let heights: Vec<_> = (0..=self.tip).map(|height| json!([height])).collect();
        let hashes = node.rpc_batch("getblockhash", &heights)?;
        for (height, hash) in (0..).zip(hashes) {
            let block = node.rpc("getblock", json!([hash, 2]))?;
            let transactions = list(&block["tx"])?;
            self.sizes.push(u64::try_from(transactions.len())?);
            if transactions.len() >= FULL {
                self.full_blocks.push(height);
            }
            for (position, transaction) in (0..).zip(transactions) {
                let where_it_is = match (height, position) {
                    (0, _) => "genesis coinbase",
                    // Heights that something else than a number may be taken for.
                    (1 | 2, 0) => "first coinbases",
                    (_, 0) => "coinbase",
                    _ => "confirmed",
                };
                let txid = self.note(transaction, where_it_is)?;
                if height > 0 {
                    self.offer(node, transaction, position == 0)?;
                }
                self.places.insert(txid, (height, position));
                let script = if height == 0 {
                    "of the genesis coinbase"
                } else {
                    "of an OP_RETURN output"
                };
                self.note_unindexed(transaction, height == 0, script)?;
            }
        }
        Ok(())
    }

    fn look_at_mempool(&mut self, node: &Node) -> Result<()> {
        let txids: Vec<_> = node
            .mempool()?
            .iter()
            .map(|txid| json!([txid, true]))
            .collect();
        let transactions = node.rpc_batch("getrawtransaction", &txids)?;
        for transaction in &transactions {
            let inputs = list(&transaction["vin"])?;
            let mut parents = transactions
                .iter()
                .filter(|parent| inputs.iter().any(|input| input["txid"] == parent["txid"]));
            if let (Some(parent), None) = (parents.next(), parents.next()) {
                self.families
                    .push([text(&parent["hex"])?, text(&transaction["hex"])?]);
            }
        }
        for transaction in transactions {
            self.note(&transaction, "unconfirmed")?;
            let raw = self.raw.entry("unconfirmed").or_default();
            raw.push(text(&transaction["hex"])?);
            self.note_unindexed(&transaction, false, "of an unconfirmed OP_RETURN output")?;
        }
        Ok(())
    }

    fn note(&mut self, transaction: &Value, where_it_is: &'static str) -> Result<String> {
        let txid = text(&transaction["txid"])?;
        let of_its_kind = self.txids.entry(where_it_is).or_default();
        of_its_kind.push(txid.clone());
        Ok(txid)
    }

    /// Keeps a confirmed transaction to be sent again.
    fn offer(&mut self, node: &Node, transaction: &Value, is_coinbase: bool) -> Result<()> {
        let outputs = list(&transaction["vout"])?.iter();
        let asked: Vec<_> = outputs
            .map(|output| json!([transaction["txid"], output["n"], false]))
            .collect();
        let unspent = !node
            .rpc_batch("gettxout", &asked)?
            .iter()
            .all(Value::is_null);
        let kind = match (is_coinbase, unspent) {
            (true, true) => "coinbase, with unspent outputs",
            (true, false) => "coinbase, spent",
            (false, true) => "confirmed, with unspent outputs",
            (false, false) => "confirmed, spent",
        };
        let raw = self.raw.entry(kind).or_default();
        raw.push(text(&transaction["hex"])?);
        Ok(())
    }

    /// Scripts that no history is kept of.
    fn note_unindexed(&mut self, transaction: &Value, all: bool, kind: &'static str) -> Result<()> {
        for output in list(&transaction["vout"])? {
            let script = text(&output["scriptPubKey"]["hex"])?;
            if all || script.starts_with("6a") {
                let hash = script_hash(&script)?;
                self.script_hashes.entry(kind).or_default().push(hash);
            }
        }
        Ok(())
    }
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().context("no list where one is due")
}

fn text(value: &Value) -> Result<String> {
    let text = value.as_str().context("no text where one is due")?;
    Ok(text.to_owned())
}
