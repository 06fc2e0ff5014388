//! A client that asks everything, well and badly, of a server whose node goes and comes back.

use std::time::Duration;

use rig::node::Node;
use rig::socks::Line;
use serde_json::{Value, json};

use super::secrets::Secrets;
use crate::fixture;

const REPLY: Duration = Duration::from_secs(60);
/// One more than a line may have.
const GIANT_BYTES: usize = 2_000_001;
/// One more than a batch may have.
const GIANT_BATCH: usize = 351;

const METHODS: [&str; 22] = [
    "server.version",
    "server.features",
    "server.banner",
    "server.donation_address",
    "server.ping",
    "server.peers.subscribe",
    "server.add_peer",
    "blockchain.headers.subscribe",
    "blockchain.block.header",
    "blockchain.block.headers",
    "blockchain.scripthash.get_balance",
    "blockchain.scripthash.get_history",
    "blockchain.scripthash.get_mempool",
    "blockchain.scripthash.listunspent",
    "blockchain.scripthash.subscribe",
    "blockchain.scripthash.unsubscribe",
    "blockchain.transaction.get",
    "blockchain.transaction.get_merkle",
    "blockchain.transaction.broadcast",
    "blockchain.estimatefee",
    "blockchain.relayfee",
    "mempool.get_info",
];

/// Everything, in several sessions; the last of them is open still. `connect` takes the name of a circuit.
pub(super) fn drive(connect: &dyn Fn(&str) -> Line, node: &mut Node, secrets: &Secrets) -> Line {
    let mut first = connect("first");
    hello(&mut first, secrets);
    until_ready(&mut first, secrets);
    ask(&mut first, &questions(secrets));
    ask(&mut first, &batches(secrets));

    let mut second = connect("second");
    ask(&mut second, &bad_arguments(secrets));
    malformed(&mut second, secrets);

    refused_version(&mut connect("third"), secrets);
    giant_line(&mut connect("fourth"), secrets);

    // Writes the chain to disk first; without it a killed node comes back with a shorter one.
    node.rpc("gettxoutsetinfo", json!([])).unwrap();
    node.kill().unwrap();
    ask(&mut first, &questions(secrets));
    node.restart().unwrap();
    ask(&mut first, &questions(secrets));

    node.pay(&secrets.known_address, 200_000).unwrap();
    node.mine(1).unwrap();
    while first.notification(REPLY).unwrap()["method"] != "blockchain.scripthash.subscribe" {}
    first
}

/// Questions whose answers are not waited for, and half a line.
pub(super) fn leave_hanging(line: &mut Line, secrets: &Secrets) {
    let text: String = questions(secrets)
        .iter()
        .map(|line| format!("{line}\n"))
        .collect();
    line.send_bytes(text.as_bytes()).unwrap();
    line.send_bytes(format!("{{\"id\":1,\"method\":\"{}", secrets.method.as_text()).as_bytes())
        .unwrap();
}

fn hello(line: &mut Line, secrets: &Secrets) {
    let name = secrets.client_name.as_text();
    line.call("server.version", json!([name, ["1.4", "1.6"]]))
        .unwrap();
}

/// Until the server tells of the known script what it finds in its index.
fn until_ready(line: &mut Line, secrets: &Secrets) {
    let script = json!([secrets.known_script.hex()]);
    fixture::wait_for("index", || {
        line.call("blockchain.scripthash.get_balance", script.clone())
            .ok()
    });
}

/// Sends all, and reads as many replies.
fn ask(line: &mut Line, requests: &[Value]) {
    let text: String = requests
        .iter()
        .map(|request| format!("{request}\n"))
        .collect();
    line.send_bytes(text.as_bytes()).unwrap();
    for _ in requests {
        reply(line);
    }
}

/// The next line that is no notification.
fn reply(line: &mut Line) -> Value {
    loop {
        let text = line
            .read(REPLY)
            .unwrap()
            .expect("the server closed the stream");
        let message: Value = serde_json::from_str(&text).unwrap();
        if message.get("method").is_none() {
            return message;
        }
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "every caller makes the parameters for the call"
)]
fn request(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

/// Good ones, of every method.
fn questions(secrets: &Secrets) -> Vec<Value> {
    let mut requests = Vec::new();
    for script in [&secrets.unknown_script, &secrets.known_script] {
        for method in [
            "get_balance",
            "get_history",
            "get_mempool",
            "listunspent",
            "unsubscribe",
            "subscribe",
        ] {
            requests.push(request(
                &format!("blockchain.scripthash.{method}"),
                json!([script.hex()]),
            ));
        }
    }
    for txid in [&secrets.unknown_txid, &secrets.known_txid] {
        requests.push(request("blockchain.transaction.get", json!([txid.hex()])));
        requests.push(request(
            "blockchain.transaction.get",
            json!([txid.hex(), true]),
        ));
        requests.push(request(
            "blockchain.transaction.get_merkle",
            json!([txid.hex(), 111]),
        ));
    }
    for (method, params) in [
        ("server.features", json!([])),
        ("server.banner", json!([])),
        ("server.donation_address", json!([])),
        ("server.ping", json!([])),
        ("server.peers.subscribe", json!([])),
        (
            "server.add_peer",
            json!([{ "hosts": { secrets.argument.as_text(): {} } }]),
        ),
        ("blockchain.headers.subscribe", json!([])),
        ("blockchain.block.header", json!([1])),
        ("blockchain.block.header", json!([1, 2])),
        ("blockchain.block.header", json!([4_000_000])),
        ("blockchain.block.headers", json!([0, 2016])),
        ("blockchain.estimatefee", json!([2])),
        ("blockchain.relayfee", json!([])),
        ("mempool.get_info", json!([])),
        ("mempool.get_fee_histogram", json!([])),
        (
            "blockchain.transaction.broadcast",
            json!([secrets.transaction]),
        ),
        (
            "blockchain.address.get_balance",
            json!([secrets.address.as_text()]),
        ),
        (
            secrets.method.as_text(),
            json!([secrets.argument.as_text()]),
        ),
    ] {
        requests.push(request(method, params));
    }
    requests.push(json!({ "id": secrets.id.as_text(), "method": "server.ping" }));
    requests
}

/// Wrong ones, of every method.
fn bad_arguments(secrets: &Secrets) -> Vec<Value> {
    let text = secrets.argument.as_text();
    let script = secrets.unknown_script.hex();
    let mut requests = Vec::new();
    // An error of `server.version` would end the session.
    for method in &METHODS[1..] {
        for params in [
            json!([text]),
            json!({ text: script }),
            json!([script, text, secrets.address.as_text(), secrets.transaction]),
            json!(secrets.address.as_text()),
        ] {
            requests.push(request(method, params));
        }
    }
    let (half, _) = secrets.transaction.split_at(secrets.transaction.len() / 2);
    requests.push(request("blockchain.transaction.broadcast", json!([half])));
    requests
}

/// Of good requests, of bad ones, too large.
fn batches(secrets: &Secrets) -> Vec<Value> {
    let text = secrets.batch.as_text();
    let one = request(
        "blockchain.scripthash.get_history",
        json!([secrets.unknown_script.hex()]),
    );
    vec![
        Value::Array(questions(secrets)),
        json!([one, { "id": text, "method": text }, text, [text], { text: text }]),
        Value::Array(vec![request(text, json!([text])); GIANT_BATCH]),
    ]
}

/// Lines that are no requests.
fn malformed(line: &mut Line, secrets: &Secrets) {
    let text = secrets.malformed.as_text();
    let deep = format!("{}\"{text}\"{}", "[".repeat(5_000), "]".repeat(5_000));
    for wrong in [
        format!("{{\"id\":1,\"method\":\"{text}"),
        text.to_owned(),
        format!("\"{text}\""),
        format!("{{\"id\":1,\"method\":\"{text}\",\"method\":\"{text}\"}}"),
        format!("{{\"id\":1,\"method\":{deep}}}"),
        format!("GET /{text} HTTP/1.1"),
    ] {
        line.send(&wrong).unwrap();
        assert!(reply(line)["error"].is_object(), "{wrong}");
    }
    let not_utf8 = [b"{\"id\":1,\"method\":\"\xff", text.as_bytes(), b"\"}\n"].concat();
    line.send_bytes(&not_utf8).unwrap();
    assert!(reply(line)["error"].is_object());
}

fn refused_version(line: &mut Line, secrets: &Secrets) {
    let name = secrets.client_name.as_text();
    let reply = line
        .request("server.version", json!([name, [name, "9"]]))
        .unwrap();
    assert!(reply["error"].is_object(), "{reply}");
}

/// The server closes the stream, at the latest when the line is too long.
fn giant_line(line: &mut Line, secrets: &Secrets) {
    let text = secrets
        .giant
        .as_text()
        .repeat(GIANT_BYTES.div_ceil(secrets.giant.bytes.len()));
    if line.send_bytes(text.as_bytes()).is_ok() {
        while let Ok(Some(_)) = line.read(REPLY) {}
    }
}
