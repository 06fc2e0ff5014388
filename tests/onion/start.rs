//! The time before the index is complete, and times without a node: the door is open, and says how things are.

use std::time::Duration;

use rig::gate::Gate;
use rig::node::{self, Node};
use rig::server::{Claustrum, Options};
use rig::socks::Line;
use serde_json::{Value, json};

use crate::fixture::{PATIENCE, Script, client_of, client_speaking, network, wait_for};

/// Blocks of the chain whose index is held back, and what the node may say of it until then: about a third.
const BLOCKS: u32 = 600;
const BYTES: usize = 400_000;
/// What does not change for so long has stopped, and the status file has been written since.
const STEADY: Duration = Duration::from_millis(1500);

#[test]
fn while_the_index_is_built_the_door_is_open_and_tells_how_far_it_is() {
    let node = Node::start(&node::Options::default()).unwrap();
    node.mine(BLOCKS).unwrap();
    let gate = Gate::before(node.rpc_port(), BYTES).unwrap();
    // Without the node's files, which nothing could hold back.
    let elsewhere = tempfile::tempdir().unwrap();
    let extra = [
        "--node-rpc",
        &gate.address(),
        "--node-dir",
        elsewhere.path().to_str().unwrap(),
    ];
    let extra = extra.map(str::to_owned).to_vec();
    let options = Options {
        extra,
        ..Options::default()
    };
    let claustrum = Claustrum::start(&node, network(), &options).unwrap();
    let mut line = client_speaking(&claustrum, "1.6");

    let progress = wait_for("held index", || {
        let progress = banner(&mut line).nth(1).unwrap();
        std::thread::sleep(STEADY);
        (banner(&mut line).nth(1).unwrap() == progress).then_some(progress)
    });
    let (indexed, known) = numbers(&progress);
    assert!(0 < indexed && indexed < known && known == BLOCKS + 1);
    let status = status(&claustrum);
    let index = format!("index     {indexed} of {known} blocks");
    assert!(status.contains(&index), "{status}");
    assert!(
        status.contains("node      ahead; the index is catching up"),
        "{status}"
    );
    early_questions(&mut line, &node, indexed - 1);
    late_questions(&mut line, &progress);

    gate.open();
    let script = script_of_a_coinbase(&node);
    let balance = wait_for("answer about a script", || {
        let reply = line.request("blockchain.scripthash.get_balance", json!([script]));
        let reply = reply.unwrap();
        reply["error"].is_null().then(|| reply["result"].clone())
    });
    assert!(balance["confirmed"].as_u64() > Some(0), "{balance}");
    assert_eq!(banner(&mut line).count(), 1);
    wait_for("status of a complete index", || {
        status_says(&claustrum, "601 blocks, following the node")
    });
}

/// What is answered before the index is complete, up to the block at `height`.
fn early_questions(line: &mut Line, node: &Node, height: u32) {
    assert_eq!(line.call("server.ping", json!([])).unwrap(), Value::Null);
    let features = line.call("server.features", json!([])).unwrap();
    assert_eq!(features["genesis_hash"], node.block_hash(0).unwrap());
    let tip = line
        .call("blockchain.headers.subscribe", json!([]))
        .unwrap();
    assert_eq!(tip["height"], height);
    let hash = node.block_hash(height).unwrap();
    let header = node.rpc("getblockheader", json!([hash, false])).unwrap();
    assert_eq!(tip["hex"], header);
    let found = line
        .call("blockchain.block.header", json!([height]))
        .unwrap();
    assert_eq!(found, header);
    let found = line
        .call("blockchain.block.headers", json!([0, 10]))
        .unwrap();
    assert_eq!(found["count"], 10);
}

/// What is not, and what is said instead.
fn late_questions(line: &mut Line, progress: &str) {
    let (script, txid) = ("5e".repeat(32), "7a".repeat(32));
    for (method, params) in [
        ("blockchain.scripthash.get_balance", json!([script])),
        ("blockchain.scripthash.get_history", json!([script])),
        ("blockchain.scripthash.get_mempool", json!([script])),
        ("blockchain.scripthash.listunspent", json!([script])),
        ("blockchain.scripthash.subscribe", json!([script])),
        ("blockchain.transaction.get", json!([txid])),
        ("blockchain.transaction.get_merkle", json!([txid, 1])),
    ] {
        let reply = line.request(method, params).unwrap();
        let error = json!({ "code": 1, "message": format!("{progress}; try again later") });
        assert_eq!(reply["error"], error, "{method}");
    }
}

#[test]
fn without_its_node_the_server_stays_open_and_goes_on_when_the_node_is_back() {
    let mut node = Node::start_funded(&node::Options::default()).unwrap();
    let script = Script::new(&node);
    node.stop().unwrap();
    let claustrum = Claustrum::start(&node, network(), &Options::default()).unwrap();
    let mut line = client_of(&claustrum);
    wait_for("status of a node that does not run", || {
        status_says(&claustrum, "node      not running")
    });
    let watch = json!([script.hash]);
    let reply = line
        .request("blockchain.scripthash.subscribe", watch.clone())
        .unwrap();
    assert_eq!(reply["error"]["code"], 1, "{reply}");

    node.restart().unwrap();
    wait_for("subscription", || {
        line.call("blockchain.scripthash.subscribe", watch.clone())
            .ok()
    });
    let tip = line
        .call("blockchain.headers.subscribe", json!([]))
        .unwrap();
    assert_eq!(tip["height"], node.height().unwrap());

    node.kill().unwrap();
    wait_for("status of a node that was lost", || {
        status_says(&claustrum, "node      not reachable")
    });
    let balance = line.call("blockchain.scripthash.get_balance", watch.clone());
    assert_eq!(
        balance.unwrap(),
        json!({ "confirmed": 0, "unconfirmed": 0 })
    );
    assert_eq!(
        client_of(&claustrum)
            .call("server.ping", json!([]))
            .unwrap(),
        Value::Null
    );

    node.restart().unwrap();
    node.pay(&script.bitcoin_address, 5_000_000).unwrap();
    node.mine(1).unwrap();
    let mut told_of_block = false;
    let balance = wait_for("payment in a block", || {
        if let Ok(told) = line.notification(PATIENCE) {
            told_of_block |= told["method"] == "blockchain.headers.subscribe";
        }
        let balance = line.call("blockchain.scripthash.get_balance", watch.clone());
        let balance = balance.unwrap();
        (told_of_block && balance["confirmed"] == 5_000_000).then_some(balance)
    });
    assert_eq!(balance["unconfirmed"], 0);
    let log = claustrum.stderr();
    assert!(log.contains("the node answers again"), "{log}");
}

/// The script hash that the block at height 1 pays.
fn script_of_a_coinbase(node: &Node) -> String {
    let block = node
        .rpc("getblock", json!([node.block_hash(1).unwrap(), 2]))
        .unwrap();
    let script = block["tx"][0]["vout"][0]["scriptPubKey"]["hex"]
        .as_str()
        .unwrap()
        .to_owned();
    rig::oracle::script_hash(&script).unwrap()
}

/// The lines of the banner.
fn banner(line: &mut Line) -> impl Iterator<Item = String> {
    let text = line.call("server.banner", json!([])).unwrap();
    let lines: Vec<_> = text.as_str().unwrap().lines().map(str::to_owned).collect();
    lines.into_iter()
}

/// N and M of "the index is being built: block N of M (P %), ...".
fn numbers(progress: &str) -> (u32, u32) {
    let text = progress.strip_prefix("the index is being built: block ");
    let parts: Vec<_> = text
        .unwrap_or_else(|| panic!("{progress}"))
        .split(' ')
        .collect();
    let (indexed, known): (u32, u32) = (parts[0].parse().unwrap(), parts[2].parse().unwrap());
    // Behind it stand the rate and the time left, once they are known.
    let percent = format!("({}%)", indexed * 100 / known);
    assert!(parts[3..].concat().starts_with(&percent), "{progress}");
    (indexed, known)
}

fn status(claustrum: &Claustrum) -> String {
    let output = claustrum.run("status").unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn status_says(claustrum: &Claustrum, words: &str) -> Option<()> {
    status(claustrum).contains(words).then_some(())
}
