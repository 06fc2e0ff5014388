//! What a wallet shows, and what a wallet of some scripts has to show by the node's own word.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::node::Node;
use crate::oracle;

/// Transactions and coins of a wallet at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Heights by txid, as displayed; 0 for what no block has, or what the wallet saw no proof of.
    pub transactions: BTreeMap<String, u64>,
    /// Transaction, index and satoshi of each output that neither a block nor the mempool spends.
    pub unspent: BTreeSet<(String, u64, u64)>,
    /// Satoshi in all, by the wallet's own sum.
    pub balance: u64,
}

impl Contents {
    /// What whoever watches these scripts, in hexadecimal, has to see beside this node.
    pub fn expected(node: &Node, scripts: &[String]) -> Result<Self> {
        let all = oracle::scripts(node)?;
        let mut contents = Self::default();
        for script in scripts {
            let Some(script) = all.get(&oracle::script_hash(script)?) else {
                continue;
            };
            for entry in &script.history {
                let height = u64::try_from(entry.height).unwrap_or(0);
                contents.transactions.insert(entry.txid.clone(), height);
            }
            for output in &script.unspent {
                let place = (output.txid.clone(), output.vout, output.value);
                contents.unspent.insert(place);
                contents.balance += output.value;
            }
        }
        Ok(contents)
    }

    /// As `tests/wallet` writes it: `transactions` of txid and height, `unspent` of txid, index and satoshi, `balance`.
    pub fn from_json(step: &Value) -> Result<Self> {
        let strange = || format!("not what a wallet holds: {step}");
        let rows = |name: &str| step[name].as_array().with_context(strange);
        let text = |value: &Value| value.as_str().map(str::to_owned).with_context(strange);
        let number = |value: &Value| value.as_u64().with_context(strange);
        Ok(Self {
            transactions: rows("transactions")?
                .iter()
                .map(|row| Ok((text(&row[0])?, number(&row[1])?)))
                .collect::<Result<_>>()?,
            unspent: rows("unspent")?
                .iter()
                .map(|row| Ok((text(&row[0])?, number(&row[1])?, number(&row[2])?)))
                .collect::<Result<_>>()?,
            balance: number(&step["balance"])?,
        })
    }
}
