//! A wallet of descriptors that is not ours: `wallet keep` of `tests/wallet`, which is `bdk_wallet` and `bdk_electrum`.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bitcoin::NetworkKind;
use bitcoin::bip32::{DerivationPath, Xpriv, Xpub};
use bitcoin::secp256k1::Secp256k1;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::contents::Contents;
use crate::node::{Node, text};
use crate::wallet::{Wallet, Way};

/// Of one run of the program: a payment through Tor waits for peers.
const RUN: Duration = Duration::from_secs(120);
/// Addresses of each descriptor that the node is asked about.
const ADDRESSES: u32 = 5;

/// One wallet; it gives out at most five addresses.
#[derive(Debug)]
pub struct DescriptorWallet {
    /// What messages call it.
    pub name: &'static str,
    /// As `tests/wallet` takes them.
    descriptors: [String; 2],
    /// Master keys that sign.
    keys: Vec<String>,
    /// For the node, which has added checksums.
    pub public: [String; 2],
    /// In hexadecimal: those of the first addresses.
    pub scripts: Vec<String>,
    way: Way,
    folder: TempDir,
}

impl DescriptorWallet {
    /// Of the descriptors for payments and for change; these accounts sign.
    pub fn new(
        node: &Node,
        way: &Way,
        name: &'static str,
        descriptors: [String; 2],
        keys: &[&Account],
    ) -> Result<Self> {
        let mut public = Vec::new();
        let mut scripts = Vec::new();
        for descriptor in &descriptors {
            let described = node.rpc("getdescriptorinfo", json!([descriptor]))?;
            let descriptor = &described["descriptor"];
            let last = ADDRESSES - 1;
            let addresses = node.rpc("deriveaddresses", json!([descriptor, [0, last]]))?;
            for address in addresses.as_array().context("no addresses")? {
                scripts.push(node.script(address.as_str().context("no address")?)?);
            }
            public.push(descriptor.as_str().context("no descriptor")?.to_owned());
        }
        Ok(Self {
            name,
            descriptors,
            keys: keys.iter().map(|account| account.master.clone()).collect(),
            public: <[String; 2]>::try_from(public).expect("two descriptors"),
            scripts,
            way: way.clone(),
            folder: tempfile::tempdir()?,
        })
    }

    /// The only step of a run.
    fn run(&self, words: &[&str]) -> Result<Value> {
        self.run_on("wallet", words)
    }

    fn run_on(&self, file: &str, words: &[&str]) -> Result<Value> {
        let file = self.folder.path().join(file).display().to_string();
        let [external, internal] = &self.descriptors;
        let mut arguments = vec![
            "--file",
            &file,
            "--external",
            external,
            "--internal",
            internal,
        ];
        arguments.extend(self.keys.iter().flat_map(|key| ["--key", key.as_str()]));
        arguments.extend(words);
        let mut steps = Wallet::run("keep", &self.way, &arguments, RUN)
            .with_context(|| format!("{}: {words:?}", self.name))?;
        steps.pop().context("a wallet that said nothing")
    }

    /// Gives out another address.
    pub fn address(&self) -> Result<String> {
        text(&self.run(&["address"])?["address"])
    }

    /// Pays at this many satoshi per virtual byte; the id of the payment.
    pub fn pay(&self, to: &str, satoshi: u64, rate: u32) -> Result<String> {
        let (satoshi, rate) = (satoshi.to_string(), rate.to_string());
        let words = ["pay", "--to", to, "--satoshi", &satoshi, "--rate", &rate];
        text(&self.run(&words)?["txid"])
    }

    /// Replaces an unconfirmed payment; the id of the new one.
    pub fn bump(&self, txid: &str, rate: u32) -> Result<String> {
        let rate = rate.to_string();
        text(&self.run(&["bump", "--txid", txid, "--rate", &rate])?["txid"])
    }

    /// Asks for every address until many in a row are unused, and shows what there is.
    pub fn scan(&self) -> Result<Contents> {
        Contents::from_json(&self.run(&["scan"])?)
    }

    /// Asks for the addresses given out, and shows what there is.
    pub fn sync(&self) -> Result<Contents> {
        Contents::from_json(&self.run(&["sync"])?)
    }

    /// What somebody finds who has nothing but the descriptors.
    pub fn restored(&self) -> Result<Contents> {
        Contents::from_json(&self.run_on("restored", &["scan"])?)
    }
}

/// The keys of an account, with where they come from, as descriptors have them.
#[derive(Debug)]
pub struct Account {
    /// The master key.
    pub master: String,
    /// The account's private key.
    pub private: String,
    /// Its public key.
    pub public: String,
}

impl Account {
    /// The same for each number in every run.
    pub fn new(number: u8) -> Self {
        let secp = Secp256k1::new();
        let master = Xpriv::new_master(NetworkKind::Test, &[number; 32]).expect("a master key");
        let path: DerivationPath = "84h/1h/0h".parse().expect("a path");
        let private = master.derive_priv(&secp, &path).expect("a private key");
        let public = Xpub::from_priv(&secp, &private);
        let origin = master.fingerprint(&secp);
        Self {
            master: master.to_string(),
            private: format!("[{origin}/{path}]{private}"),
            public: format!("[{origin}/{path}]{public}"),
        }
    }
}
