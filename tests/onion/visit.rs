//! What wallets do, through the onion service: one that is not ours from its first question to a proof, ten at once,
//! and every method of docs/protocol.md.

use std::collections::BTreeSet;
use std::time::Duration;

use bitcoin::hashes::{Hash as _, sha256d};
use rig::oracle;
use rig::programs::repository;
use rig::socks::Line;
use rig::wallet::{Wallet, Way};
use serde_json::{Value, json};

use crate::fixture::{
    PATIENCE, Script, alone_on_the_node, client_of, client_speaking, network, new_user, node,
    server, wait_for,
};

/// Long enough for a notification that should not come.
const SILENCE: Duration = Duration::from_secs(3);

fn way() -> Way {
    Way::Tor {
        socks_port: network().socks_port(),
        user: new_user("wallet"),
        onion_address: server().onion_address().unwrap().to_owned(),
    }
}

#[test]
fn a_foreign_wallet_sees_its_coins_and_a_payment_arrive() {
    let way = way();
    let _alone = alone_on_the_node();
    let (node, script) = (node(), Script::new(node()));
    let savings = node.pay(&script.bitcoin_address, 150_000_000).unwrap();
    node.mine(1).unwrap();
    let height = node.height().unwrap();
    wait_until_indexed(height);

    let arguments = ["--script", &script.script, "--watch", "2"];
    let mut wallet = Wallet::start("visit", &way, &arguments).unwrap();
    let mut step = |name| wallet.step(name, PATIENCE).unwrap();
    assert_eq!(step("version")["protocol"], "1.6");
    assert_eq!(step("tip")["hash"], node.block_hash(height).unwrap());
    let balance = |step: &Value| (step["confirmed"].as_u64(), step["unconfirmed"].as_i64());
    assert_eq!(balance(&step("balance")), (Some(150_000_000), Some(0)));
    let history = step("history");
    assert_eq!(history["entries"], json!([[savings, height, null]]));
    assert_eq!(history["status_holds"], true);
    let proof = step("proof");
    assert_eq!(
        (&proof["txid"], &proof["verified"]),
        (&json!(savings), &json!(true))
    );

    step("watching");
    let payment = node.pay(&script.bitcoin_address, 12_345_678).unwrap();
    step("changed");
    assert_eq!(
        balance(&step("balance")),
        (Some(150_000_000), Some(12_345_678))
    );
    let history = step("history");
    assert_eq!(
        (&history["entries"][1][0], &history["entries"][1][1]),
        (&json!(payment), &json!(0))
    );
    assert_eq!(history["status_holds"], true);

    node.mine(1).unwrap();
    step("changed");
    assert_eq!(balance(&step("balance")), (Some(162_345_678), Some(0)));
    assert_eq!(step("history")["status_holds"], true);
    let proof = step("proof");
    assert_eq!(
        (&proof["txid"], &proof["verified"]),
        (&json!(payment), &json!(true))
    );
    wallet.finish(PATIENCE).unwrap();
}

#[test]
fn ten_wallets_at_once_are_served() {
    let _server = server();
    let alone = alone_on_the_node();
    let amounts: Vec<u64> = (1..=10).map(|number| number * 1_000_000).collect();
    let scripts: Vec<_> = amounts
        .iter()
        .map(|amount| {
            let script = Script::new(node());
            node().pay(&script.bitcoin_address, *amount).unwrap();
            script
        })
        .collect();
    node().mine(1).unwrap();
    wait_until_indexed(node().height().unwrap());
    drop(alone);
    let expectations: Vec<_> = amounts.iter().map(u64::to_string).collect();
    let wallets: Vec<_> = scripts
        .iter()
        .zip(&expectations)
        .map(|(script, amount)| {
            let script = ["--script", &script.script, "--expect-history", "1"];
            let expected = ["--expect-confirmed", amount, "--expect-unconfirmed", "0"];
            Wallet::start("visit", &way(), &[script, expected].concat()).unwrap()
        })
        .collect();
    for wallet in wallets {
        let steps = wallet.finish(PATIENCE).unwrap();
        let proved = |step: &Value| step["step"] == "proof" && step["verified"] == true;
        assert!(steps.iter().any(proved), "{steps:?}");
    }
}

#[test]
fn batches_and_pipelined_requests_are_answered() {
    let mut line = client_speaking(server(), "1.6");
    let request =
        |id: u32| json!({ "id": id, "method": "blockchain.block.header", "params": [id % 100] });
    let header = |id: u32| {
        let hash = node().block_hash(id % 100).unwrap();
        node().rpc("getblockheader", json!([hash, false])).unwrap()
    };

    let batch: Vec<_> = (0..200).map(request).collect();
    line.send(&json!(batch).to_string()).unwrap();
    let replies = read(&mut line);
    let replies = replies.as_array().unwrap();
    assert_eq!(replies.len(), 200);
    for id in [0, 1, 99, 100, 199] {
        let reply = replies.iter().find(|reply| reply["id"] == id).unwrap();
        assert_eq!(reply["result"], header(id));
    }
    let batch: Vec<_> = (0..351).map(request).collect();
    line.send(&json!(batch).to_string()).unwrap();
    let refused = read(&mut line).to_string();
    assert!(refused.contains("Batch limit exceeded"), "{refused}");

    let lines: String = (0..200).map(|id| format!("{}\n", request(id))).collect();
    line.send_bytes(lines.as_bytes()).unwrap();
    let mut open: BTreeSet<_> = (0..200).collect();
    while !open.is_empty() {
        let reply = read(&mut line);
        assert!(reply["error"].is_null(), "{reply}");
        let id = reply["id"].as_u64().unwrap();
        assert!(open.remove(&id), "{id} was answered twice");
    }
}

#[test]
fn whoever_subscribes_is_told_of_blocks_and_of_payments_until_unsubscribing() {
    let (mut line, mut other) = (client_speaking(server(), "1.6"), client_of(server()));
    let _alone = alone_on_the_node();
    let script = Script::new(node());
    line.call("blockchain.headers.subscribe", json!([]))
        .unwrap();
    let watch = json!([script.hash]);
    let status = line.call("blockchain.scripthash.subscribe", watch.clone());
    assert_eq!(status.unwrap(), Value::Null);

    node().pay(&script.bitcoin_address, 5_000_000).unwrap();
    let told = line.notification(PATIENCE).unwrap();
    assert_eq!(told["method"], "blockchain.scripthash.subscribe");
    assert_eq!(told["params"], json!([script.hash, status_of(&script)]));

    node().mine(1).unwrap();
    let told = [(); 2].map(|()| line.notification(PATIENCE).unwrap());
    let of = |method: &str| told.iter().find(|told| told["method"] == method).unwrap();
    let height = node().height().unwrap();
    let tip = json!([{ "height": height, "hex": header(height) }]);
    assert_eq!(of("blockchain.headers.subscribe")["params"], tip);
    let params = &of("blockchain.scripthash.subscribe")["params"];
    assert_eq!(*params, json!([script.hash, status_of(&script)]));

    for still_watched in [true, false] {
        let unsubscribed = line.call("blockchain.scripthash.unsubscribe", watch.clone());
        assert_eq!(unsubscribed.unwrap(), still_watched);
    }
    node().pay(&script.bitcoin_address, 6_000_000).unwrap();
    wait_for("second payment", || {
        let history = other.call("blockchain.scripthash.get_history", watch.clone());
        (history.unwrap().as_array().unwrap().len() == 2).then_some(())
    });
    let told = line.notification(SILENCE);
    assert!(told.is_err(), "{told:?}");
    node().mine(1).unwrap();
}

#[test]
fn every_method_is_answered_as_the_node_has_it() {
    let (mut new, mut old) = (Asker::new(), Asker::new());
    let _alone = alone_on_the_node();
    server_questions(&mut new);
    header_questions(&mut new);
    script_questions(&mut new);
    transaction_questions(&mut new);
    broadcast_is_refused(&mut new);
    fee_questions(&mut new, &mut old);
    let asked: BTreeSet<_> = new.asked.union(&old.asked).cloned().collect();
    assert_eq!(asked, methods_of_the_document());
}

fn server_questions(asker: &mut Asker) {
    let name = concat!("ElectrumX-compatible Claustrum/", env!("CARGO_PKG_VERSION"));
    let agreed = asker.result("server.version", json!(["rig", ["1.4", "1.6"]]));
    assert_eq!(agreed, json!([name, "1.6"]));
    assert_eq!(asker.error("server.version", json!(["rig", "1.4"])).0, 1);
    let features = json!({
        "genesis_hash": node().block_hash(0).unwrap(),
        "hosts": {},
        "protocol_max": "1.6",
        "protocol_min": "1.4",
        "pruning": null,
        "server_version": name,
        "hash_function": "sha256",
    });
    assert_eq!(asker.result("server.features", json!([])), features);
    let banner = asker.result("server.banner", json!([]));
    let said = "Claustrum: an Electrum server that exists only as an onion service.";
    assert_eq!(banner, said);
    assert_eq!(asker.result("server.donation_address", json!([])), "");
    assert_eq!(asker.result("server.ping", json!([])), Value::Null);
    assert_eq!(asker.result("server.peers.subscribe", json!([])), json!([]));
    assert_eq!(asker.result("server.add_peer", json!([{}])), false);
}

fn header_questions(asker: &mut Asker) {
    let height = node().height().unwrap();
    wait_until_indexed(height);
    let tip = asker.result("blockchain.headers.subscribe", json!([]));
    assert_eq!(tip, json!({ "height": height, "hex": header(height) }));
    let found = asker.result("blockchain.block.header", json!([5]));
    assert_eq!(found, header(5));
    let proven = asker.result("blockchain.block.header", json!([5, 8]));
    assert_eq!(proven["header"], header(5));
    let hashes: Vec<_> = (0..=8)
        .map(|height| node().block_hash(height).unwrap())
        .collect();
    assert_eq!(proven["root"], root(&hashes[5], 5, &proven["branch"]));
    assert_eq!(proven["branch"][0], hashes[4]);
    let found = asker.result("blockchain.block.headers", json!([3, 4]));
    let headers: Vec<_> = (3..7).map(header).collect();
    assert_eq!(
        found,
        json!({ "count": 4, "max": 2016, "headers": headers })
    );
}

/// One script with confirmed and unconfirmed transactions, against what an oracle makes of the node's blocks.
fn script_questions(asker: &mut Asker) {
    let script = Script::new(node());
    let params = json!([script.hash]);
    node().pay(&script.bitcoin_address, 70_000_000).unwrap();
    node().mine(1).unwrap();
    node().pay(&script.bitcoin_address, 80_000_000).unwrap();
    let all = oracle::scripts(node()).unwrap();
    let truth = &all[&script.hash];
    let rows = |of: &[oracle::Entry]| -> Vec<Value> { of.iter().map(row).collect() };
    let history = json!(rows(&truth.history));
    wait_for("history as the oracle has it", || {
        let found = asker.result("blockchain.scripthash.get_history", params.clone());
        (found == history).then_some(())
    });
    let waiting = asker.result("blockchain.scripthash.get_mempool", params.clone());
    assert_eq!(waiting, json!(rows(&truth.history[1..])));
    let balance = asker.result("blockchain.scripthash.get_balance", params.clone());
    let expected = json!({ "confirmed": 70_000_000, "unconfirmed": 80_000_000 });
    assert_eq!(balance, expected);
    let unspent = asker.result("blockchain.scripthash.listunspent", params.clone());
    let output = |of: &oracle::Unspent| json!({ "tx_hash": of.txid, "tx_pos": of.vout, "height": of.height, "value": of.value });
    let outputs: Vec<_> = truth.unspent.iter().map(output).collect();
    assert_eq!(unspent, json!(outputs));
    let status = asker.result("blockchain.scripthash.subscribe", params.clone());
    assert_eq!(status, truth.status);
    assert_eq!(
        asker.result("blockchain.scripthash.unsubscribe", params),
        true
    );
}

fn transaction_questions(asker: &mut Asker) {
    let hash = node().mine(1).unwrap().concat();
    let height = node().height().unwrap();
    wait_until_indexed(height);
    let block = node().rpc("getblock", json!([hash, 2])).unwrap();
    let transactions = block["tx"].as_array().unwrap();
    assert!(transactions.len() > 1);
    for (position, transaction) in transactions.iter().enumerate() {
        let txid = transaction["txid"].as_str().unwrap();
        let raw = asker.result("blockchain.transaction.get", json!([txid]));
        assert_eq!(raw, transaction["hex"]);
        let by_place = json!([height, position]);
        let found = asker.result("blockchain.transaction.id_from_pos", by_place);
        assert_eq!(found, *txid);
        let proof = asker.result("blockchain.transaction.get_merkle", json!([txid, height]));
        let place = (&proof["block_height"], &proof["pos"]);
        assert_eq!(place, (&json!(height), &json!(position)));
        assert_eq!(block["merkleroot"], root(txid, position, &proof["merkle"]));
    }
    let whole = asker.result(
        "blockchain.transaction.get",
        json!([transactions[0]["txid"], true]),
    );
    assert_eq!(
        (&whole["hex"], &whole["blockhash"]),
        (&transactions[0]["hex"], &json!(hash))
    );
}

fn broadcast_is_refused(asker: &mut Asker) {
    let script = Script::new(node());
    assert_eq!(node().mempool().unwrap(), Vec::<String>::new());
    let raw = node()
        .pay_unsent(&script.bitcoin_address, 1_000_000)
        .unwrap();
    let refusal = asker.error("blockchain.transaction.broadcast", json!([raw]));
    let text = "the transaction was rejected by network rules.\n\n\
                Peer-to-peer functionality missing or disabled: private broadcast is not ready, try again later";
    assert_eq!(refusal, (1, text.to_owned()));
    let refusal = asker.error("blockchain.transaction.broadcast_package", json!([[raw]]));
    assert_eq!(refusal.0, 1, "{}", refusal.1);
    assert_eq!(node().mempool().unwrap(), Vec::<String>::new());
}

/// `old` has not said a version, so it is served as 1.4.
fn fee_questions(new: &mut Asker, old: &mut Asker) {
    // A chain without traffic has nothing to estimate from.
    assert_eq!(new.result("blockchain.estimatefee", json!([6])), -1);
    let histogram = new.result("mempool.get_fee_histogram", json!([]));
    assert!(histogram.is_array(), "{histogram}");
    let fees = node().rpc("getmempoolinfo", json!([])).unwrap();
    let found = new.result("mempool.get_info", json!([]));
    for key in ["mempoolminfee", "minrelaytxfee", "incrementalrelayfee"] {
        assert_eq!(found[key].as_f64(), fees[key].as_f64(), "{key}");
    }
    let relay = old.result("blockchain.relayfee", json!([]));
    assert_eq!(relay.as_f64(), fees["minrelaytxfee"].as_f64());
    assert_eq!(new.error("blockchain.relayfee", json!([])).0, -32601);
    assert_eq!(old.error("mempool.get_info", json!([])).0, -32601);
    let headers = old.result("blockchain.block.headers", json!([3, 2]));
    let hex = [header(3), header(4)].concat();
    assert_eq!(headers, json!({ "count": 2, "max": 2016, "hex": hex }));
}

/// A client that remembers which methods it has asked.
struct Asker {
    line: Line,
    asked: BTreeSet<String>,
}

impl Asker {
    fn new() -> Self {
        Self {
            line: client_of(server()),
            asked: BTreeSet::new(),
        }
    }

    fn result(&mut self, method: &str, params: Value) -> Value {
        self.asked.insert(method.to_owned());
        self.line.call(method, params).unwrap()
    }

    /// Code and text.
    fn error(&mut self, method: &str, params: Value) -> (i64, String) {
        self.asked.insert(method.to_owned());
        let reply = self.line.request(method, params).unwrap();
        let error = &reply["error"];
        let text = error["message"]
            .as_str()
            .unwrap_or_else(|| panic!("{reply}"));
        (error["code"].as_i64().unwrap(), text.to_owned())
    }
}

/// The first column of the table in docs/protocol.md.
fn methods_of_the_document() -> BTreeSet<String> {
    let text = std::fs::read_to_string(repository().join("docs/protocol.md")).unwrap();
    let method = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    // What 1.7 brings is not served unless it is asked for.
    let methods: BTreeSet<_> = text
        .lines()
        .filter(|line| !line.contains("| from 1.7 |"))
        .filter_map(method)
        .filter(|name| name.contains('.'))
        .collect();
    assert!(methods.len() > 20, "{methods:?}");
    methods
}

fn read(line: &mut Line) -> Value {
    let text = line.read(PATIENCE).unwrap().expect("an open stream");
    serde_json::from_str(&text).unwrap()
}

/// The header at a height, in hexadecimal, as the node has it.
fn header(height: u32) -> String {
    let hash = node().block_hash(height).unwrap();
    let header = node().rpc("getblockheader", json!([hash, false])).unwrap();
    header.as_str().unwrap().to_owned()
}

fn status_of(script: &Script) -> String {
    oracle::scripts(node()).unwrap()[&script.hash]
        .status
        .clone()
}

fn row(entry: &oracle::Entry) -> Value {
    match entry.fee {
        Some(fee) => json!({ "tx_hash": entry.txid, "height": entry.height, "fee": fee }),
        None => json!({ "tx_hash": entry.txid, "height": entry.height }),
    }
}

/// The root that a branch leads to from the hash at a position.
fn root(hash: &str, position: usize, branch: &Value) -> String {
    let parse = |hash: &str| hash.parse::<sha256d::Hash>().unwrap().to_byte_array();
    let (mut hash, mut position) = (parse(hash), position);
    for sibling in branch.as_array().unwrap() {
        let sibling = parse(sibling.as_str().unwrap());
        let pair = if position % 2 == 0 {
            [hash, sibling]
        } else {
            [sibling, hash]
        };
        hash = sha256d::Hash::hash(&pair.concat()).to_byte_array();
        position /= 2;
    }
    sha256d::Hash::from_byte_array(hash).to_string()
}

/// Until the shared server has seen the shared node's block at this height.
fn wait_until_indexed(height: u32) {
    let mut line = client_of(server());
    wait_for("new tip", || {
        let tip = line
            .call("blockchain.headers.subscribe", json!([]))
            .unwrap();
        (tip["height"].as_u64() >= Some(u64::from(height))).then_some(())
    });
}
