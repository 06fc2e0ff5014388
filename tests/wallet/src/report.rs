//! What a visit tells, as sentences or as JSON.

use std::time::Duration;

use electrum_client::bitcoin::block::Header;
use electrum_client::{GetBalanceRes, GetHistoryRes, ListUnspentRes};
use serde_json::{Value, json};

/// All that a kept wallet holds.
pub(crate) struct Holdings {
    /// Ids and heights, 0 without a proved block.
    pub(crate) transactions: Vec<(String, u32)>,
    /// Transaction, index and satoshi.
    pub(crate) unspent: Vec<(String, u32, u64)>,
    /// In satoshi.
    pub(crate) balance: u64,
    /// Height of the best block that it knows.
    pub(crate) tip: u32,
}

/// Prints each step of a visit.
pub(crate) struct Report {
    pub(crate) json: bool,
}

impl Report {
    pub(crate) fn connected(&self, server: &str, took: Duration) {
        self.say(
            &format!("connected to {server} after {} ms", took.as_millis()),
            &json!({ "step": "connected", "milliseconds": milliseconds(took) }),
        );
    }

    pub(crate) fn version(&self, server: &str, protocol: &str) {
        self.say(
            &format!("the server is {server} and speaks protocol {protocol}"),
            &json!({ "step": "version", "server": server, "protocol": protocol }),
        );
    }

    pub(crate) fn banner(&self, text: &str) {
        self.say(
            &format!("banner: {}", text.trim_end()),
            &json!({ "step": "banner", "text": text }),
        );
    }

    pub(crate) fn tip(&self, height: usize, header: &Header) {
        let hash = header.block_hash().to_string();
        self.say(
            &format!("tip: block {height}, {hash}"),
            &json!({ "step": "tip", "height": height, "hash": hash }),
        );
    }

    pub(crate) fn balance(&self, balance: &GetBalanceRes) {
        let GetBalanceRes {
            confirmed,
            unconfirmed,
        } = balance;
        self.say(
            &format!("balance: {confirmed} sat confirmed, {unconfirmed} sat unconfirmed"),
            &json!({ "step": "balance", "confirmed": confirmed, "unconfirmed": unconfirmed }),
        );
    }

    pub(crate) fn history(
        &self,
        history: &[GetHistoryRes],
        status: Option<&str>,
        status_holds: bool,
    ) {
        let waiting = history.iter().filter(|entry| entry.height <= 0).count();
        let verdict = if status_holds {
            "as its status says"
        } else {
            "NOT as its status says"
        };
        let entry =
            |entry: &GetHistoryRes| json!([entry.tx_hash.to_string(), entry.height, entry.fee]);
        let entries: Vec<Value> = history.iter().map(entry).collect();
        self.say(
            &format!("history: {} transactions, {waiting} of them unconfirmed, {verdict}", history.len()),
            &json!({ "step": "history", "entries": entries, "status": status, "status_holds": status_holds }),
        );
    }

    pub(crate) fn unspent(&self, unspent: &[ListUnspentRes]) {
        let row = |row: &ListUnspentRes| {
            json!([row.tx_hash.to_string(), row.tx_pos, row.height, row.value])
        };
        let rows: Vec<Value> = unspent.iter().map(row).collect();
        self.say(
            &format!("unspent: {} outputs", unspent.len()),
            &json!({ "step": "unspent", "outputs": rows }),
        );
    }

    pub(crate) fn proof(&self, txid: &str, height: usize, verified: bool) {
        let verdict = if verified {
            "is proved to be"
        } else {
            "is NOT proved to be"
        };
        self.say(
            &format!("transaction {txid} {verdict} in block {height}"),
            &json!({ "step": "proof", "txid": txid, "height": height, "verified": verified }),
        );
    }

    pub(crate) fn watching(&self) {
        self.say("watching", &json!({ "step": "watching" }));
    }

    pub(crate) fn changed(&self, status: Option<&str>) {
        self.say(
            "notified: the script has changed",
            &json!({ "step": "changed", "status": status }),
        );
    }

    pub(crate) fn block(&self, height: usize, header: &Header) {
        let hash = header.block_hash().to_string();
        self.say(
            &format!("notified: block {height}, {hash}"),
            &json!({ "step": "block", "height": height, "hash": hash }),
        );
    }

    pub(crate) fn sending(&self, txid: &str) {
        self.say(
            &format!("sends {txid}"),
            &json!({ "step": "sending", "txid": txid }),
        );
    }

    pub(crate) fn answered(&self, took: Duration) {
        self.say(
            &format!("the server took it after {:.1} s", took.as_secs_f64()),
            &json!({ "step": "answered", "milliseconds": milliseconds(took) }),
        );
    }

    pub(crate) fn returned(&self, took: Duration) {
        self.say(
            &format!(
                "it came back from the network {:.1} s after it was sent",
                took.as_secs_f64()
            ),
            &json!({ "step": "returned", "milliseconds": milliseconds(took) }),
        );
    }

    pub(crate) fn address(&self, address: &str) {
        self.say(address, &json!({ "step": "address", "address": address }));
    }

    pub(crate) fn sent(&self, txid: &str) {
        self.say(
            &format!("sent {txid}"),
            &json!({ "step": "sent", "txid": txid }),
        );
    }

    pub(crate) fn holdings(&self, holdings: &Holdings) {
        let Holdings {
            transactions,
            unspent,
            balance,
            tip,
        } = holdings;
        self.say(
            &format!(
                "holds {balance} sat in {} outputs of {} transactions, at block {tip}",
                unspent.len(),
                transactions.len()
            ),
            &json!({ "step": "holdings", "transactions": transactions, "unspent": unspent, "balance": balance, "tip": tip }),
        );
    }

    pub(crate) fn loaded(&self, scripts: usize, transactions: usize) {
        self.say(
            &format!("loaded {scripts} scripts with {transactions} transactions"),
            &json!({ "step": "loaded", "scripts": scripts, "transactions": transactions }),
        );
    }

    pub(crate) fn done(&self) {
        self.say("done", &json!({ "step": "done" }));
    }

    fn say(&self, sentence: &str, object: &Value) {
        if self.json {
            println!("{object}");
        } else {
            println!("{sentence}");
        }
    }
}

/// With microseconds.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
