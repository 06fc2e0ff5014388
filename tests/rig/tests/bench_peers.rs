//! The program that compares servers, in a small run: everything asked is answered, counted and told.

use std::process::Command;
use std::time::Duration;

use rig::node::{Node, Options};
use rig::process;
use rig::server::{self, Loopback};
use serde_json::Value;

const METHODS: [&str; 7] = [
    "balance",
    "unspent",
    "history",
    "status",
    "transaction",
    "merkle",
    "ping",
];

fn bench() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-peers"));
    command.args(["--rounds", "2", "--seconds", "0.05", "--clients", "2"]);
    command
}

#[test]
fn every_server_is_asked_everything_and_answers() {
    let node = Node::start_funded(&Options::default()).unwrap();
    let peer = Loopback::start(&node, &server::Options::default()).unwrap();
    let peer_address = format!("127.0.0.1:{}", peer.port());
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("peers.jsonl");
    let mut bench = bench();
    bench.arg("--json").arg(&json).arg(&peer_address);
    bench.args(["--node-rpc", &node.rpc_address()]);
    bench.arg("--node-dir").arg(node.data_dir());
    let said = process::output("bench-peers", &mut bench, Duration::from_secs(120)).unwrap();
    let told = String::from_utf8(said.stdout).unwrap();
    let complaints = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{complaints}");

    let lines = std::fs::read_to_string(json).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for method in METHODS {
        let rows = told
            .lines()
            .filter(|row| row.starts_with(&format!("| {method}, ")));
        // One question after the other, and a flood.
        assert_eq!(rows.count(), 2, "{told}");
        for server in ["examples/loopback", &peer_address] {
            let own: Vec<&Value> = lines
                .iter()
                .filter(|line| line["server"] == *server)
                .filter(|line| line["case"].as_str().unwrap().starts_with(method))
                .collect();
            assert_eq!(own.len(), 4, "{method} of {server}");
            for line in own {
                assert!(line["answers"].as_u64().unwrap() > 0, "{line}");
                assert_eq!(line["errors"], 0, "{line}");
                assert!(line["cpu_seconds"].as_f64().is_some(), "{line}");
                assert!(line["node_cpu_seconds"].as_f64().is_some(), "{line}");
            }
        }
    }
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let nobody = format!("127.0.0.1:{}", rig::ports::free().unwrap());
    let node = Node::start_funded(&Options::default()).unwrap();
    let mut bench = bench();
    bench.arg(&nobody).args(["--node-rpc", &node.rpc_address()]);
    bench.arg("--node-dir").arg(node.data_dir());
    let said = process::output("bench-peers", &mut bench, Duration::from_secs(120)).unwrap();
    assert!(!said.status.success());
    let complaints = String::from_utf8_lossy(&said.stderr);
    assert!(
        complaints.contains(&format!("failed to reach {nobody}")),
        "{complaints}"
    );
}
