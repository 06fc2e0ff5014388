//! BlueWallet's calls, in batches as large as it sends them: its whole history is made of verbose transactions.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rig::contents::Contents;
use rig::node::{self, Node, satoshi};
use rig::server::{self, Loopback};
use rig::socks::Line;
use serde_json::{Value, json};

use super::{addresses_of, scripts_without_keys, wait_until_equal};

const REPLY: Duration = Duration::from_secs(30);
/// What it gives a ping before it works.
const PONG: Duration = Duration::from_secs(5);
const SCRIPTS: u32 = 210;
/// Every so many of them has been paid.
const PAID: usize = 4;

#[test]
fn bluewallet_makes_its_history_of_verbose_transactions() -> Result<()> {
    let node = Node::start_funded(&node::Options::default())?;
    let server = Loopback::start(&node, &server::Options::default())?;
    let scripts = scripts_without_keys(SCRIPTS);
    let addresses = pay(&node, &scripts)?;
    let mut blue = BlueWallet::connect(server.connect()?)?;
    let expected = Contents::expected(&node, &scripts)?;
    ensure!(
        expected.transactions.len() > 45,
        "{}",
        expected.transactions.len()
    );
    wait_until_equal("history", &expected, || blue.contents(&scripts, &addresses))?;

    let raw = node.pay_unsent(&addresses[1], 700_000)?;
    let txid = blue.ask("blockchain.transaction.broadcast", &json!([raw]))?;
    ensure!(node.mempool()?.iter().any(|known| txid == *known));
    let expected = Contents::expected(&node, &scripts)?;
    wait_until_equal("a payment", &expected, || {
        blue.contents(&scripts, &addresses)
    })?;
    node.mine(1)?;
    let expected = Contents::expected(&node, &scripts)?;
    wait_until_equal("a block", &expected, || blue.contents(&scripts, &addresses))
}

/// A payment to each of some scripts, most of them in blocks; the addresses of all.
fn pay(node: &Node, scripts: &[String]) -> Result<Vec<String>> {
    let addresses = addresses_of(node, scripts)?;
    for (number, address) in addresses.iter().step_by(PAID).enumerate() {
        node.pay(address, 100_000)?;
        if number % 10 == 9 {
            node.mine(1)?;
        }
    }
    Ok(addresses)
}

/// A connected BlueWallet.
struct BlueWallet {
    line: Line,
    id: u64,
}

impl BlueWallet {
    fn connect(line: Line) -> Result<Self> {
        let mut blue = Self { line, id: 0 };
        let agreed = blue.ask("server.version", &json!(["bluewallet", "1.4"]))?;
        let name = agreed[0].as_str().context("a server without a name")?;
        for single in ["ElectrumPersonalServer", "electrs", "Fulcrum"] {
            ensure!(!name.starts_with(single), "it sends no batches to {name}");
        }
        ensure!(agreed[1] == "1.4", "{agreed}");
        let tip = blue.ask("blockchain.headers.subscribe", &json!([]))?;
        ensure!(tip["height"].is_u64() && tip["hex"].is_string(), "{tip}");
        for target in [1, 18, 144] {
            let fee = blue.ask("blockchain.estimatefee", &json!([target]))?;
            ensure!(fee.is_number(), "{fee}");
        }
        let histogram = blue.ask("mempool.get_fee_histogram", &json!([]))?;
        ensure!(histogram.is_array(), "{histogram}");
        Ok(blue)
    }

    /// What it shows of a wallet, by balances, histories, verbose transactions and unspent outputs.
    fn contents(&mut self, scripts: &[String], addresses: &[String]) -> Result<Contents> {
        let began = Instant::now();
        self.ask("server.ping", &json!([]))?;
        ensure!(began.elapsed() < PONG, "it would have left");
        let hash = |script: &String| rig::oracle::script_hash(script).map(|hash| json!([hash]));
        let hashes: Vec<_> = scripts.iter().map(hash).collect::<Result<_>>()?;
        let mut contents = Contents::default();
        for balance in self.ask_all("blockchain.scripthash.get_balance", 200, &hashes)? {
            let parts = ["confirmed", "unconfirmed"].map(|part| balance[part].as_u64());
            contents.balance += parts.iter().flatten().sum::<u64>();
        }
        let histories = self.ask_all("blockchain.scripthash.get_history", 100, &hashes)?;
        let rows = histories.iter().filter_map(Value::as_array).flatten();
        let txids: BTreeSet<_> = rows.filter_map(|row| row["tx_hash"].as_str()).collect();
        let params: Vec<_> = txids.iter().map(|txid| json!([txid, true])).collect();
        let tip = self.ask("blockchain.headers.subscribe", &json!([]))?;
        let tip = tip["height"].as_u64().context("no height")?;
        let own: BTreeSet<_> = addresses.iter().map(String::as_str).collect();
        let mut received = 0;
        for view in self.ask_all("blockchain.transaction.get", 45, &params)? {
            let txid = view["txid"].as_str().context("no txid")?.to_owned();
            let confirmations = view["confirmations"].as_u64().unwrap_or(0);
            let height = if confirmations == 0 {
                0
            } else {
                tip + 1 - confirmations
            };
            ensure!((height > 0) == view["blocktime"].is_u64(), "{view}");
            contents.transactions.insert(txid, height);
            ensure!(view["vin"].is_array(), "{view}");
            for output in view["vout"].as_array().context("no vout")? {
                let address = output["scriptPubKey"]["address"].as_str();
                if address.is_some_and(|address| own.contains(address)) {
                    received += satoshi(&output["value"]).context("no value")?;
                }
            }
        }
        // Nobody can spend from here. A payment that came between two questions is whole when it is looked at again.
        if received != contents.balance {
            return Ok(Contents::default());
        }
        let unspent = self.ask_all("blockchain.scripthash.listunspent", 100, &hashes)?;
        for output in unspent.iter().filter_map(Value::as_array).flatten() {
            let place = (&output["tx_hash"], &output["tx_pos"], &output["value"]);
            let (Some(txid), Some(index), Some(value)) =
                (place.0.as_str(), place.1.as_u64(), place.2.as_u64())
            else {
                anyhow::bail!("{output}");
            };
            contents.unspent.insert((txid.to_owned(), index, value));
        }
        Ok(contents)
    }

    fn ask(&mut self, method: &str, params: &Value) -> Result<Value> {
        self.id += 1;
        let request =
            json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": self.id });
        self.line.send(&request.to_string())?;
        loop {
            let mut reply = self.read()?;
            if reply["id"] == self.id {
                ensure!(reply["error"].is_null(), "{method}: {reply}");
                return Ok(reply["result"].take());
            }
        }
    }

    /// In batches of `size`. Its library takes an array whose first member has an id for the answer to the batch whose
    /// largest id is in it.
    fn ask_all(&mut self, method: &str, size: usize, params: &[Value]) -> Result<Vec<Value>> {
        let mut results = Vec::new();
        for part in params.chunks(size) {
            let first = self.id + 1;
            let request = |(id, params): (u64, &Value)| json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": id });
            let requests: Vec<_> = (first..).zip(part).map(request).collect();
            self.id += u64::try_from(part.len())?;
            self.line.send(&json!(requests).to_string())?;
            let reply = loop {
                let reply = self.read()?;
                if reply.is_array() {
                    break reply;
                }
                ensure!(reply["id"].is_null(), "a batch answered singly: {reply}");
            };
            ensure!(reply[0]["id"].is_u64(), "a batch it does not recognise");
            let members = reply.as_array().context("no array")?;
            for id in first..=self.id {
                let member = members.iter().find(|member| member["id"] == id);
                let member = member.with_context(|| format!("no reply to {id}"))?;
                ensure!(member["error"].is_null(), "{method}: {member}");
                results.push(member["result"].clone());
            }
        }
        Ok(results)
    }

    fn read(&mut self) -> Result<Value> {
        let line = self.line.read(REPLY)?.context("the server left")?;
        Ok(serde_json::from_str(&line)?)
    }
}
