//! Packages of a parent and its child, judged and sent by a real node.

use anyhow::{Context as _, Result, ensure};
use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness, absolute};
use rig::node::{Node, Options};
use rig::server::{self, Loopback};
use rig::socks::Line;
use serde_json::{Value, json};

const METHOD: &str = "blockchain.transaction.broadcast_package";
const REFUSED: &str = "the tx package was rejected by network rules.\n\n";
const COIN: u64 = 5_000_000_000;

/// A transaction of the node's wallet, and one that spends it; the node knows neither.
pub(crate) struct Family {
    pub(crate) parent: Transaction,
    pub(crate) child: Transaction,
}

impl Family {
    /// With these fees in satoshi, spending the `coin`th output of the wallet.
    pub(crate) fn new(node: &Node, coin: usize, version: Version, fees: [u64; 2]) -> Result<Self> {
        let unspent = node.wallet_rpc("listunspent", json!([]))?;
        let coin = &unspent[coin];
        let txid = coin["txid"].as_str().context("no such coin")?.parse()?;
        let vout = u32::try_from(coin["vout"].as_u64().context("no vout")?)?;
        let script = ScriptBuf::from_hex(&node.script(&node.new_address()?)?)?;
        let paying = |spent, value| Transaction {
            version,
            lock_time: absolute::LockTime::ZERO,
            input: vec![TxIn {
                previous_output: spent,
                script_sig: ScriptBuf::new(),
                sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                witness: Witness::new(),
            }],
            output: vec![TxOut {
                value: Amount::from_sat(value),
                script_pubkey: script.clone(),
            }],
        };
        let [first, second] = fees;
        let sign = |transaction: &Transaction, spent: Value| -> Result<Transaction> {
            let arguments = json!([serialize_hex(transaction), spent]);
            let signed = node.wallet_rpc("signrawtransactionwithwallet", arguments)?;
            Ok(deserialize_hex(
                signed["hex"].as_str().context("unsigned")?,
            )?)
        };
        let parent = sign(&paying(OutPoint::new(txid, vout), COIN - first), json!([]))?;
        let spent = OutPoint::new(parent.compute_txid(), 0);
        let value = COIN - first;
        let of_parent = json!([{
            "txid": spent.txid, "vout": 0, "scriptPubKey": script.to_hex_string(),
            "amount": rig::node::bitcoins(value),
        }]);
        let child = sign(&paying(spent, value - second), of_parent)?;
        Ok(Self { parent, child })
    }

    pub(crate) fn txids(&self) -> [String; 2] {
        [&self.parent, &self.child].map(|transaction| transaction.compute_txid().to_string())
    }

    pub(crate) fn raw(&self) -> [String; 2] {
        [&self.parent, &self.child].map(serialize_hex)
    }
}

/// The two of a family that the node's mempool has.
fn known(node: &Node, family: &Family) -> Result<[bool; 2]> {
    let mempool = node.mempool()?;
    Ok(family.txids().map(|txid| mempool.contains(&txid)))
}

#[test]
fn a_child_pays_for_its_parent_and_what_is_refused_is_told_of_each() -> Result<()> {
    let node = Node::start_funded(&Options::default())?;
    let server = Loopback::start(&node, &server::Options::default())?;
    let mut line = server.connect()?;
    line.call("server.version", json!(["test", "1.6"]))?;

    let truc = Version::non_standard(3);
    let family = Family::new(&node, 0, truc, [0, 20_000])?;
    let [parent, child] = family.raw();
    let alone = line.request("blockchain.transaction.broadcast", json!([parent]))?;
    let text = alone["error"]["message"].as_str().unwrap_or_default();
    ensure!(text.ends_with("min relay fee not met: the fee rate is too low"));
    for refused in [json!([child, parent]), json!([parent, parent]), json!([])] {
        let told = line.request(METHOD, json!([refused]))?;
        ensure!(told["error"]["code"] == 1, "{told}");
        let text = told["error"]["message"].as_str().unwrap_or_default();
        ensure!(text.starts_with(REFUSED), "{told}");
    }
    ensure!(known(&node, &family)? == [false, false]);
    // Also when it is there already.
    for _ in 0..2 {
        let told = line.call(METHOD, json!([[parent, child]]))?;
        ensure!(told == json!({ "success": true }), "{told}");
        ensure!(known(&node, &family)? == [true, true]);
    }
    let told = line.call(METHOD, json!([[parent, child], true]))?;
    ensure!(
        told == verbosely(&family, "success", [None, None]),
        "{told}"
    );

    assert_poor(&node, &mut line)?;
    assert_half(&node, &mut line)
}

/// Of a family that pays too little together, nobody is taken.
fn assert_poor(node: &Node, line: &mut Line) -> Result<()> {
    let family = Family::new(node, 1, Version::non_standard(3), [0, 1])?;
    let told = line.call(METHOD, json!([family.raw()]))?;
    let fee = "min relay fee not met: the fee rate is too low";
    let refused = family
        .txids()
        .map(|txid| json!({ "txid": txid, "error": fee }));
    ensure!(
        told == json!({ "success": false, "errors": refused }),
        "{told}"
    );
    let told = line.call(METHOD, json!([family.raw(), true]))?;
    ensure!(
        told == verbosely(&family, "transaction failed", [Some(fee); 2]),
        "{told}"
    );
    ensure!(known(node, &family)? == [false, false]);
    Ok(())
}

/// A parent that stands for itself is taken without its child.
fn assert_half(node: &Node, line: &mut Line) -> Result<()> {
    let mut family = Family::new(node, 2, Version::TWO, [20_000, 1_000])?;
    family.child.output[0].value += Amount::from_sat(1);
    let told = line.call(METHOD, json!([family.raw()]))?;
    let invalid = "mandatory-script-verify-flag-failed: a signature or script is invalid";
    let refused = json!([{ "txid": family.txids()[1], "error": invalid }]);
    ensure!(
        told == json!({ "success": false, "errors": refused }),
        "{told}"
    );
    ensure!(known(node, &family)? == [true, false]);
    Ok(())
}

fn verbosely(family: &Family, message: &str, errors: [Option<&str>; 2]) -> Value {
    let mut results = serde_json::Map::new();
    for (transaction, error) in [&family.parent, &family.child].into_iter().zip(errors) {
        let mut told = json!({ "txid": transaction.compute_txid() });
        if let Some(error) = error {
            told["error"] = json!(error);
        }
        results.insert(transaction.compute_wtxid().to_string(), told);
    }
    json!({ "package_msg": message, "tx-results": results })
}
