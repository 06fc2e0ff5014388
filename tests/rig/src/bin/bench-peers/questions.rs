//! What servers are asked: about scripts and transactions of the node's chain, or about scripts that a file names.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rig::oracle;
use rig::rpc::Rpc;
use serde_json::{Value, json};

/// Blocks that are looked into, evenly spread over the chain.
const BLOCKS: u64 = 40;
/// Transactions taken of each of them, evenly spread too.
const TRANSACTIONS_PER_BLOCK: usize = 25;
/// The first byte of a script that holds data and no coins; servers do not index it.
const OP_RETURN: &str = "6a";

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Balance,
    Unspent,
    History,
    Status,
    Transaction,
    Merkle,
    Ping,
}

/// Scripts and transactions to ask about.
pub(crate) struct Questions {
    script_hashes: Vec<String>,
    /// Ids with heights.
    transactions: Vec<(String, u64)>,
}

impl Method {
    pub(crate) const ALL: [Self; 7] = [
        Self::Balance,
        Self::Unspent,
        Self::History,
        Self::Status,
        Self::Transaction,
        Self::Merkle,
        Self::Ping,
    ];

    /// What the command line and the table call it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Balance => "balance",
            Self::Unspent => "unspent",
            Self::History => "history",
            Self::Status => "status",
            Self::Transaction => "transaction",
            Self::Merkle => "merkle",
            Self::Ping => "ping",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Balance => "blockchain.scripthash.get_balance",
            Self::Unspent => "blockchain.scripthash.listunspent",
            Self::History => "blockchain.scripthash.get_history",
            Self::Status => "blockchain.scripthash.subscribe",
            Self::Transaction => "blockchain.transaction.get",
            Self::Merkle => "blockchain.transaction.get_merkle",
            Self::Ping => "server.ping",
        }
    }
}

impl Questions {
    /// About scripts and transactions from all over the chain.
    pub(crate) fn of_chain(node: &Rpc) -> Result<Self> {
        let mut questions = Self {
            script_hashes: Vec::new(),
            transactions: Vec::new(),
        };
        let tip = node.call("/", "getblockcount", &json!([]))?;
        let tip = tip.as_u64().context("a node without a height")?;
        let step = usize::try_from(tip.div_ceil(BLOCKS).max(1))?;
        for height in (1..=tip).step_by(step) {
            let hash = node.call("/", "getblockhash", &json!([height]))?;
            let block = node.call("/", "getblock", &json!([hash, 2]))?;
            questions.add_block(&block, height)?;
        }
        ensure!(!questions.script_hashes.is_empty(), "the chain is empty");
        Ok(questions)
    }

    /// The same transactions, and the script hashes of a file, one a line.
    pub(crate) fn with_scripts_of(mut self, file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("failed to read {}", file.display()))?;
        self.script_hashes = text.split_whitespace().map(str::to_owned).collect();
        let is_hash =
            |text: &String| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let all = !self.script_hashes.is_empty() && self.script_hashes.iter().all(is_hash);
        ensure!(all, "{} is no list of script hashes", file.display());
        Ok(self)
    }

    /// All requests of a method, each without the beginning that holds its id.
    pub(crate) fn requests(&self, method: Method) -> Vec<String> {
        let request = |params: Value| {
            let name = method.name();
            format!(",\"jsonrpc\":\"2.0\",\"method\":\"{name}\",\"params\":{params}}}\n")
        };
        let transactions = self.transactions.iter();
        match method {
            Method::Balance | Method::Unspent | Method::History | Method::Status => {
                let hashes = self.script_hashes.iter();
                hashes.map(|hash| request(json!([hash]))).collect()
            }
            Method::Transaction => transactions.map(|(id, _)| request(json!([id]))).collect(),
            Method::Merkle => transactions
                .map(|(id, height)| request(json!([id, height])))
                .collect(),
            Method::Ping => vec![request(json!([]))],
        }
    }

    fn add_block(&mut self, block: &Value, height: u64) -> Result<()> {
        let transactions = block["tx"].as_array().context("a block without a list")?;
        let step = transactions.len().div_ceil(TRANSACTIONS_PER_BLOCK).max(1);
        for transaction in transactions.iter().step_by(step) {
            let id = transaction["txid"].as_str().context("no txid")?;
            self.transactions.push((id.to_owned(), height));
            let outputs = transaction["vout"].as_array().context("no outputs")?;
            for output in outputs.iter().take(2) {
                let script = output["scriptPubKey"]["hex"]
                    .as_str()
                    .context("no script")?;
                if !script.starts_with(OP_RETURN) {
                    self.script_hashes.push(oracle::script_hash(script)?);
                }
            }
        }
        Ok(())
    }
}
