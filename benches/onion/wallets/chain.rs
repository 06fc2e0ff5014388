//! Wallets of descriptors on a chain of their own: others pay them, and they get change as if they had paid.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bitcoin::address::NetworkUnchecked;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Address, Amount, ScriptBuf, TxOut};
use rig::contents::Contents;
use rig::crowd::{Crowd, outputs, spend};
use rig::descriptor_wallet::Account;
use rig::node::{self, Node};
use rig::oracle::script_hash;
use rig::wallet::{Wallet, Way};
use serde_json::json;
use tempfile::TempDir;

const TRANSACTIONS_PER_BLOCK: usize = 20;
/// Satoshi; one coin of the crowd's is enough for all payments of a wallet.
const AMOUNT: u64 = 500;
const FEE: u64 = 100;

/// A wallet, as the chain has it.
pub(crate) struct Owner {
    /// Of the addresses that others pay, and of those for change.
    descriptors: [String; 2],
    /// In hexadecimal: one that others pay, then one for change, and so on.
    scripts: Vec<String>,
    pub(crate) transactions: usize,
    folder: TempDir,
}

/// A node with the transactions of two wallets: so many scripts and transactions, divided by each of `parts`.
pub(crate) fn start(
    parts: [u32; 2],
    scripts: u32,
    transactions: u32,
) -> Result<(Node, [Owner; 2])> {
    let node = Node::start(&node::Options {
        txindex: true,
        ..node::Options::default()
    })?;
    let owner = |number, part| Owner::new(&node, number, scripts / part, transactions / part);
    let [whole, part] = parts;
    let owners = [owner(1, whole)?, owner(2, part)?];
    let mut crowd = Crowd::start(&node, owners.len())?;
    for owner in &owners {
        owner.pay(&node, &mut crowd)?;
    }
    Ok((node, owners))
}

impl Owner {
    fn new(node: &Node, number: u8, scripts: u32, transactions: u32) -> Result<Self> {
        let account = Account::new(number);
        let descriptors = ["0/*", "1/*"].map(|end| format!("wpkh({}/{end})", account.public));
        let mut sides = Vec::new();
        for descriptor in &descriptors {
            let described = node.rpc("getdescriptorinfo", json!([descriptor]))?;
            let last = scripts / 2 - 1;
            let addresses = node.rpc(
                "deriveaddresses",
                json!([described["descriptor"], [0, last]]),
            )?;
            let addresses: Vec<Address<NetworkUnchecked>> = serde_json::from_value(addresses)?;
            sides.push(addresses);
        }
        let [external, internal] = <[_; 2]>::try_from(sides).ok().context("two descriptors")?;
        let both = external.into_iter().zip(internal);
        let scripts = both.flat_map(|(external, internal)| [external, internal]);
        Ok(Self {
            descriptors,
            scripts: scripts
                .map(|address| address.assume_checked().script_pubkey().to_hex_string())
                .collect(),
            transactions: usize::try_from(transactions)?,
            folder: tempfile::tempdir()?,
        })
    }

    /// What the wallet says for its scripts.
    pub(crate) fn hashes(&self) -> Result<Vec<String>> {
        self.scripts
            .iter()
            .map(|script| script_hash(script))
            .collect()
    }

    /// The transactions of the first so many scripts.
    pub(crate) fn transactions_of(&self, scripts: usize) -> usize {
        let pairs = self.scripts.len() / 2;
        let (rounds, rest) = (self.transactions / pairs, self.transactions % pairs);
        rounds * (scripts / 2) + rest.min(scripts / 2)
    }

    /// Loads by `electrum-client`; how many transactions it got.
    pub(crate) fn load(&self, way: &Way, limit: Duration) -> Result<usize> {
        let file = self.folder.path().join("scripts");
        std::fs::write(&file, self.scripts.join("\n"))?;
        let arguments = ["--scripts", &file.display().to_string()];
        let steps = Wallet::run("load", way, &arguments, limit)?;
        let loaded = steps.last().context("a wallet that says nothing")?;
        let count = loaded["transactions"].as_u64().context("no count")?;
        Ok(usize::try_from(count)?)
    }

    /// Scans by `bdk_electrum` with nothing but the descriptors; how many transactions it found proofs of.
    pub(crate) fn scan(&self, way: &Way, limit: Duration) -> Result<usize> {
        let file = self.folder.path().join("wallet");
        // Left by the scan before.
        std::fs::remove_file(&file).ok();
        let file = file.display().to_string();
        let [external, internal] = &self.descriptors;
        let arguments = [
            "--file",
            &file,
            "--external",
            external,
            "--internal",
            internal,
            "scan",
        ];
        let steps = Wallet::run("keep", way, &arguments, limit)?;
        let found = Contents::from_json(steps.last().context("a wallet that says nothing")?)?;
        let proved = found.transactions.values().filter(|height| **height > 0);
        Ok(proved.count())
    }

    /// Each transaction pays one address and one for change, the next ones each time.
    fn pay(&self, node: &Node, crowd: &mut Crowd) -> Result<()> {
        let scripts: Vec<ScriptBuf> = self
            .scripts
            .iter()
            .map(|script| ScriptBuf::from_hex(script))
            .collect::<Result<_, _>>()?;
        let coin = crowd.coin()?;
        let pays = [(crowd.stranger(), coin.amount - FEE)];
        let mut payment = spend(&[coin], &pays);
        let mut made = vec![serialize_hex(&payment)];
        // What is left of each pays the next one, so that a wallet that asks what was spent knows that already.
        let mut coin = outputs(&payment, &pays).next().context("no coin")?;
        for pair in scripts.chunks(2).cycle().take(self.transactions) {
            let pays = [(coin.owner, coin.amount - 2 * AMOUNT - FEE)];
            payment = spend(&[coin], &pays);
            payment.output.extend(pair.iter().map(|script| TxOut {
                value: Amount::from_sat(AMOUNT),
                script_pubkey: script.clone(),
            }));
            coin = outputs(&payment, &pays).next().context("no coin")?;
            made.push(serialize_hex(&payment));
        }
        let miner = node.new_address()?;
        for block in made.chunks(TRANSACTIONS_PER_BLOCK) {
            node.mine_block(&miner, block)?;
        }
        Ok(())
    }
}
