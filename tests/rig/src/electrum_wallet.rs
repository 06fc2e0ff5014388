//! Electrum, the wallet that the protocol was made for, without its windows: a daemon with a folder of its own and one
//! server, told by JSON-RPC what its user would click.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::contents::Contents;
use crate::guard::Folder;
use crate::node::{bitcoins, text};
use crate::ports;
use crate::process::Process;
use crate::programs::Program;
use crate::rpc::Rpc;
use crate::tor_network::ONION_PORT;
use crate::wallet::Way;

/// Enough for a busy machine; an idle one needs two seconds.
const START: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(100);
const LAST_LINES: usize = 60;
const PASSWORD: &str = "rig:rig";

/// A running Electrum; ends with its value.
#[derive(Debug)]
pub struct ElectrumWallet {
    process: Process,
    rpc: Rpc,
    folder: Folder,
}

impl ElectrumWallet {
    /// Starts it with this server and no other; returns when it takes commands.
    pub fn start(way: &Way) -> Result<Self> {
        let folder = Folder::new("electrum")?;
        let port = ports::free()?;
        std::fs::create_dir(folder.join("regtest"))?;
        std::fs::write(folder.join("regtest/config"), config(port).to_string())?;
        std::fs::write(folder.join("password"), PASSWORD)?;
        let log = File::create(folder.join("log"))?;
        let process = Process::start(
            "Electrum",
            Command::new(Program::Electrum.path()?)
                .args(["--regtest", "-v", "--dir"])
                .arg(folder.path())
                .arg("daemon")
                .args(words(way))
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log),
        )?;
        let mut wallet = Self {
            process,
            rpc: Rpc::new(port, folder.join("password")),
            folder,
        };
        wallet.wait_until_it_answers()?;
        Ok(wallet)
    }

    /// Makes a wallet with a new seed, and opens it; the seed.
    pub fn create(&self, name: &str) -> Result<String> {
        let made = self.call("create", json!({ "wallet_path": self.path(name) }))?;
        self.open(name)?;
        text(&made["seed"])
    }

    /// Makes a wallet from a seed or a master key, and opens it.
    pub fn restore(&self, name: &str, from: &str) -> Result<()> {
        let params = json!({ "text": from, "wallet_path": self.path(name) });
        self.call("restore", params)?;
        self.open(name)
    }

    /// An address of a wallet that nobody has paid yet.
    pub fn unused_address(&self, name: &str) -> Result<String> {
        text(&self.of(name, "getunusedaddress", json!({}))?)
    }

    /// All addresses that a wallet watches.
    pub fn addresses(&self, name: &str) -> Result<Vec<String>> {
        let addresses = self.of(name, "listaddresses", json!({}))?;
        addresses
            .as_array()
            .context("listaddresses gave no list")?
            .iter()
            .map(text)
            .collect()
    }

    /// Makes and signs a payment, at this many satoshi per virtual byte; the raw transaction.
    pub fn pay(
        &self,
        name: &str,
        bitcoin_address: &str,
        satoshi: u64,
        rate: u32,
    ) -> Result<String> {
        let params = json!({
            "destination": bitcoin_address,
            "amount": bitcoins(satoshi),
            "feerate": rate.to_string(),
        });
        text(&self.of(name, "payto", params)?)
    }

    /// Makes and signs what replaces an unconfirmed payment; the raw transaction.
    pub fn bump(&self, name: &str, txid: &str, rate: u32) -> Result<String> {
        let params = json!({ "tx": txid, "new_fee_rate": rate.to_string() });
        text(&self.of(name, "bumpfee", params)?)
    }

    /// Hands a raw transaction to the server; its id.
    pub fn broadcast(&self, raw: &str) -> Result<String> {
        text(&self.call("broadcast", json!([raw]))?)
    }

    /// What a wallet shows. What Electrum has not proved itself, by a branch to a header it knows, counts as unconfirmed.
    pub fn contents(&self, name: &str) -> Result<Contents> {
        let mut contents = Contents::default();
        let history = self.of(name, "onchain_history", json!({}))?;
        for entry in history.as_array().context("onchain_history gave no list")? {
            let proved = entry["confirmations"].as_u64() > Some(0);
            let height = entry["height"].as_u64().filter(|_| proved).unwrap_or(0);
            contents.transactions.insert(text(&entry["txid"])?, height);
        }
        let unspent = self.of(name, "listunspent", json!({}))?;
        for output in unspent.as_array().context("listunspent gave no list")? {
            let index = output["prevout_n"].as_u64().context("no index")?;
            let place = (
                text(&output["prevout_hash"])?,
                index,
                satoshi(&output["value"])?,
            );
            contents.unspent.insert(place);
        }
        let balance = self.of(name, "getbalance", json!({}))?;
        let parts = balance.as_object().context("getbalance gave no object")?;
        let mut sum = 0;
        for part in parts.values() {
            sum += signed_satoshi(part)?;
        }
        contents.balance = u64::try_from(sum)?;
        Ok(contents)
    }

    /// The lines of its log that tell why it left the server; it comes back by itself, so its wallets do not show it.
    pub fn departures(&self) -> Vec<String> {
        let left = |line: &&str| line.contains("disconnecting due to");
        self.log().lines().filter(left).map(str::to_owned).collect()
    }

    /// The last lines of its log, for whoever has to find out why something failed.
    pub fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    /// A command that is of no wallet.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "every caller makes the parameters for the call"
    )]
    pub fn call(&self, command: &str, params: Value) -> Result<Value> {
        self.rpc
            .call("/", command, &params)
            .with_context(|| format!("Electrum refuses {command}"))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn of(&self, name: &str, command: &str, mut params: Value) -> Result<Value> {
        params["wallet_path"] = json!(self.path(name));
        self.call(command, params)
    }

    fn open(&self, name: &str) -> Result<()> {
        self.of(name, "load_wallet", json!({})).map(drop)
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        while let Err(error) = self.call("list_wallets", json!([])) {
            let ended = self.process.ended()?;
            anyhow::ensure!(
                ended.is_none(),
                "Electrum has ended, {ended:?}: {}",
                self.last_words()
            );
            anyhow::ensure!(
                Instant::now() < deadline,
                "Electrum takes no commands after {START:?}: {error:#}: {}",
                self.last_words()
            );
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

/// What a user types for this server and no other.
fn words(way: &Way) -> Vec<String> {
    let (server, proxy) = match way {
        Way::Tor {
            socks_port,
            onion_address,
            ..
        } => {
            let server = format!("{onion_address}:{ONION_PORT}:t");
            (server, Some(format!("socks5:127.0.0.1:{socks_port}")))
        }
        Way::Loopback { port } => (format!("127.0.0.1:{port}:t"), None),
    };
    let proxy = proxy.map(|proxy| ["--proxy".to_owned(), proxy]);
    ["--oneserver".to_owned(), "--server".to_owned(), server]
        .into_iter()
        .chain(proxy.into_iter().flatten())
        .collect()
}

/// Its configuration file: how the rig reaches it.
fn config(port: u16) -> Value {
    let (user, password) = PASSWORD.split_once(':').expect("a user and a password");
    json!({
        "config_version": 3,
        "rpchost": "127.0.0.1",
        "rpcport": port,
        "rpcsock": "tcp",
        "rpcuser": user,
        "rpcpassword": password,
        "auto_connect": false,
        "check_updates": false,
    })
}

fn satoshi(bitcoins: &Value) -> Result<u64> {
    Ok(u64::try_from(signed_satoshi(bitcoins)?)?)
}

/// Electrum writes amounts as text, with as many decimals as they need.
fn signed_satoshi(bitcoins: &Value) -> Result<i64> {
    let text = bitcoins.as_str().context("an amount that is no text")?;
    let bitcoins: f64 = text.parse().with_context(|| format!("no amount: {text}"))?;
    Ok((bitcoins * 1e8).round() as i64)
}
