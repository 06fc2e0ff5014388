//! A node on regtest, with a wallet of its own.

mod access;
mod peers;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::guard::Folder;
use crate::ports;
use crate::process::Process;
use crate::programs::Program;
use crate::rpc::Rpc;

pub use access::RpcUser;

/// Enough for a busy machine; an idle one needs half a second.
const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
const WALLET: &str = "rig";
const WALLET_PATH: &str = "/wallet/rig";
/// Blocks after which a coinbase may be spent.
pub const MATURITY: u32 = 100;

/// How a node runs.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// It finds any confirmed transaction by its id alone.
    pub txindex: bool,
    /// It takes connections of other nodes, on every address of the machine.
    pub peers: bool,
    /// Somebody who may call its RPC besides the rig, which has the cookie.
    pub rpc_user: Option<RpcUser>,
    /// Arguments after those of the rig, which they override.
    pub extra: Vec<String>,
}

/// A running node; ends with its value, and its data with it.
#[derive(Debug)]
pub struct Node {
    process: Process,
    arguments: Vec<String>,
    rpc: Rpc,
    peer_port: Option<u16>,
    folder: Folder,
}

impl Node {
    /// Starts a node with an empty chain; returns when it answers.
    pub fn start(options: &Options) -> Result<Self> {
        let folder = Folder::new("node")?;
        let port = ports::free()?;
        let mut arguments: Vec<String> = [
            "-regtest",
            "-server",
            "-rest=0",
            "-listen=0",
            "-listenonion=0",
            "-dnsseed=0",
            "-fixedseeds=0",
            "-discover=0",
            "-natpmp=0",
            "-printtoconsole=0",
            "-dbcache=16",
            "-fallbackfee=0.0002",
        ]
        .map(str::to_owned)
        .into();
        if Program::Bitcoind.version()?.contains("Knots") {
            // With these it takes and refuses what Core does.
            arguments.extend(["-corepolicy=1", "-mempooltruc=enforce"].map(str::to_owned));
        }
        arguments.push(format!("-datadir={}", folder.path().display()));
        arguments.push(format!("-rpcport={port}"));
        arguments.push(format!("-txindex={}", u8::from(options.txindex)));
        let peer_port = options.peers.then(ports::free).transpose()?;
        if let Some(port) = peer_port {
            arguments.extend(peers::arguments(port));
        }
        if let Some(user) = &options.rpc_user {
            arguments.extend(user.arguments()?);
            user.write(&folder.join(access::FILE))?;
        }
        arguments.extend(options.extra.iter().cloned());
        let rpc = Rpc::new(port, folder.join("regtest/.cookie"));
        let process = spawn(&arguments, &folder)?;
        let mut node = Self {
            process,
            arguments,
            rpc,
            peer_port,
            folder,
        };
        node.wait_until_ready()?;
        node.rpc(
            "createwallet",
            json!([WALLET, false, false, "", false, true, true]),
        )?;
        Ok(node)
    }

    /// A node whose wallet can pay ten times at once: `MATURITY` + 10 blocks.
    pub fn start_funded(options: &Options) -> Result<Self> {
        let node = Self::start(options)?;
        node.mine(MATURITY + 10)?;
        Ok(node)
    }

    /// Ends it in order; its data stays.
    pub fn stop(&mut self) -> Result<()> {
        self.process.stop(STOP)?;
        Ok(())
    }

    /// SIGKILL; its data stays as the moment left it.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        Ok(())
    }

    /// Stops it if it runs, and starts it on the same data and port.
    pub fn restart(&mut self) -> Result<()> {
        self.restart_with(&[])
    }

    /// The same, with these arguments this once, such as `-reindex`.
    pub fn restart_with(&mut self, extra: &[&str]) -> Result<()> {
        self.stop()?;
        // Left by SIGKILL, it would let a call in with the old password.
        std::fs::remove_file(self.cookie()).ok();
        let extra = extra.iter().map(|&argument| argument.to_owned());
        let arguments: Vec<String> = self.arguments.iter().cloned().chain(extra).collect();
        self.process = spawn(&arguments, &self.folder)?;
        self.wait_until_ready()
    }

    /// The process, to pause it or to read its numbers.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its data directory, above `regtest`.
    pub fn data_dir(&self) -> &Path {
        self.folder.path()
    }

    /// The file with the password of its RPC.
    pub fn cookie(&self) -> &PathBuf {
        self.rpc.cookie()
    }

    /// `127.0.0.1:PORT` of its RPC.
    pub fn rpc_address(&self) -> String {
        format!("127.0.0.1:{}", self.rpc.port())
    }

    /// The port of its RPC.
    pub fn rpc_port(&self) -> u16 {
        self.rpc.port()
    }

    /// A call; an error of the node is an error here.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "every caller makes the parameters for the call"
    )]
    pub fn rpc(&self, method: &str, params: Value) -> Result<Value> {
        self.rpc.call("/", method, &params)
    }

    /// The same call with each of `params`, in one request; the results in the same order.
    pub fn rpc_batch(&self, method: &str, params: &[Value]) -> Result<Vec<Value>> {
        self.rpc.batch(method, params)
    }

    /// A call to its wallet.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "every caller makes the parameters for the call"
    )]
    pub fn wallet_rpc(&self, method: &str, params: Value) -> Result<Value> {
        self.rpc.call(WALLET_PATH, method, &params)
    }

    /// Height of the tip.
    pub fn height(&self) -> Result<u32> {
        let height = self.rpc("getblockcount", json!([]))?;
        Ok(u32::try_from(
            height.as_u64().context("getblockcount gave no number")?,
        )?)
    }

    /// Hash of the block at a height of the best chain.
    pub fn block_hash(&self, height: u32) -> Result<String> {
        text(&self.rpc("getblockhash", json!([height]))?)
    }

    /// Ids of what is in the mempool.
    pub fn mempool(&self) -> Result<Vec<String>> {
        self.rpc("getrawmempool", json!([]))?
            .as_array()
            .context("getrawmempool gave no list")?
            .iter()
            .map(text)
            .collect()
    }

    /// A new address of its wallet, bech32.
    pub fn new_address(&self) -> Result<String> {
        text(&self.wallet_rpc("getnewaddress", json!(["", "bech32"]))?)
    }

    /// The output script of an address, in hexadecimal.
    pub fn script(&self, bitcoin_address: &str) -> Result<String> {
        text(&self.rpc("validateaddress", json!([bitcoin_address]))?["scriptPubKey"])
    }

    /// Mines blocks to a new address of its wallet, with what the mempool holds; their hashes.
    pub fn mine(&self, count: u32) -> Result<Vec<String>> {
        self.mine_to(&self.new_address()?, count)
    }

    /// Mines blocks to an address.
    pub fn mine_to(&self, bitcoin_address: &str, count: u32) -> Result<Vec<String>> {
        self.rpc("generatetoaddress", json!([count, bitcoin_address]))?
            .as_array()
            .context("generatetoaddress gave no list")?
            .iter()
            .map(text)
            .collect()
    }

    /// Mines one block with exactly these raw transactions, whatever the mempool holds.
    pub fn mine_block(&self, output: &str, transactions: &[String]) -> Result<String> {
        text(&self.rpc("generateblock", json!([output, transactions]))?["hash"])
    }

    /// Pays from its wallet; the transaction's id.
    pub fn pay(&self, bitcoin_address: &str, satoshi: u64) -> Result<String> {
        text(&self.wallet_rpc("sendtoaddress", json!([bitcoin_address, bitcoins(satoshi)]))?)
    }

    /// Makes the transaction of a payment and keeps it back; the raw transaction, whose inputs no other payment takes.
    pub fn pay_unsent(&self, bitcoin_address: &str, satoshi: u64) -> Result<String> {
        let bare = self.rpc(
            "createrawtransaction",
            json!([[], [{ bitcoin_address: bitcoins(satoshi) }]]),
        )?;
        let funded = self.wallet_rpc(
            "fundrawtransaction",
            json!([bare, { "lockUnspents": true }]),
        )?;
        self.sign(&funded["hex"])
    }

    /// Spends outputs of its wallet to one address, also unconfirmed ones; the raw transaction, not sent.
    pub fn spend(
        &self,
        outputs: &[(&str, u32)],
        bitcoin_address: &str,
        fee_satoshi: u64,
    ) -> Result<String> {
        let mut total = 0;
        let mut inputs = Vec::new();
        for (txid, vout) in outputs {
            let output = self.rpc("gettxout", json!([txid, vout, true]))?;
            total += satoshi(&output["value"])
                .with_context(|| format!("no unspent output {txid}:{vout}"))?;
            // Signals that it may be replaced.
            inputs.push(json!({ "txid": txid, "vout": vout, "sequence": 0xffff_fffd_u32 }));
        }
        let rest = total
            .checked_sub(fee_satoshi)
            .context("the fee is more than the outputs hold")?;
        self.sign(&self.rpc(
            "createrawtransaction",
            json!([inputs, [{ bitcoin_address: bitcoins(rest) }]]),
        )?)
    }

    /// Which output of a transaction of its wallet pays an address.
    pub fn vout(&self, txid: &str, bitcoin_address: &str) -> Result<u32> {
        let script = self.script(bitcoin_address)?;
        let transaction = self.wallet_rpc("gettransaction", json!([txid, false, true]))?;
        let outputs = transaction["decoded"]["vout"]
            .as_array()
            .context("gettransaction gave no outputs")?;
        let vout = outputs
            .iter()
            .position(|output| output["scriptPubKey"]["hex"] == script);
        Ok(u32::try_from(vout.with_context(|| {
            format!("{txid} does not pay {bitcoin_address}")
        })?)?)
    }

    /// Sends a raw transaction; its id.
    pub fn send(&self, raw: &str) -> Result<String> {
        text(&self.rpc("sendrawtransaction", json!([raw, 0]))?)
    }

    /// Replaces an unconfirmed payment of its wallet by one with a higher fee; the new id.
    pub fn bump(&self, txid: &str) -> Result<String> {
        text(&self.wallet_rpc("bumpfee", json!([txid]))?["txid"])
    }

    /// Replaces an unconfirmed payment of its wallet by one to another address; the new id.
    pub fn redirect(&self, txid: &str, bitcoin_address: &str, satoshi: u64) -> Result<String> {
        let outputs = json!({ "outputs": [{ bitcoin_address: bitcoins(satoshi) }] });
        text(&self.wallet_rpc("bumpfee", json!([txid, outputs]))?["txid"])
    }

    fn sign(&self, raw: &Value) -> Result<String> {
        let signed = self.wallet_rpc("signrawtransactionwithwallet", json!([raw]))?;
        anyhow::ensure!(
            signed["complete"] == true,
            "the wallet cannot sign it: {}",
            signed["errors"]
        );
        text(&signed["hex"])
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            if let Some(status) = self.process.ended()? {
                let said = std::fs::read_to_string(self.folder.join("output")).unwrap_or_default();
                anyhow::bail!("bitcoind ended at once, {status}: {said}");
            }
            match self.rpc("getblockcount", json!([])) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(error.context(format!("bitcoind does not answer after {START:?}")));
                }
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }
}

/// A string of a reply.
pub(crate) fn text(value: &Value) -> Result<String> {
    value
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("the node gave no text but {value}"))
}

/// An amount of a reply in satoshi; exact, because 21 million bitcoins have fewer digits than a double.
pub fn satoshi(bitcoins: &Value) -> Option<u64> {
    Some((bitcoins.as_f64()? * 1e8).round() as u64)
}

/// Satoshi as the node takes amounts.
pub fn bitcoins(satoshi: u64) -> String {
    format!("{}.{:08}", satoshi / 100_000_000, satoshi % 100_000_000)
}

fn spawn(arguments: &[String], folder: &Folder) -> Result<Process> {
    let output = File::create(folder.join("output"))
        .context("failed to make a file for bitcoind's output")?;
    Process::start(
        "bitcoind",
        Command::new(Program::Bitcoind.path()?)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output),
    )
}
