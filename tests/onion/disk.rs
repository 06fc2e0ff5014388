//! A disk that takes no more: the server ends with the status and the sentence for it, and is whole again with room.

use std::fs;

use rig::node::{self, Node};
use rig::server::{Claustrum, Options};
use serde_json::json;

use crate::fixture::{PATIENCE, Script, client_of, network, wait_for};

/// What a file may grow to while the mark is there, in blocks of 512 bytes. Less than an index of some blocks, more
/// than anything of Tor's on the private network.
const BLOCKS_MAX: u32 = 1000;

#[test]
fn a_write_that_fails_ends_the_server_with_status_74_and_harms_nothing() {
    let node = Node::start_funded(&node::Options::default()).unwrap();
    let script = Script::new(&node);
    node.pay(&script.bitcoin_address, 7_000_000).unwrap();
    node.mine(400).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("full");
    fs::write(&mark, "").unwrap();
    let launcher = format!(
        "trap '' XFSZ; [ -e {} ] && ulimit -f {BLOCKS_MAX}; exec \"$@\"",
        mark.display()
    );
    let options = Options {
        launcher: ["sh", "-c", &launcher, "sh"].map(str::to_owned).to_vec(),
        ..Options::default()
    };
    let mut claustrum = Claustrum::launch(&node, network(), &options).unwrap();
    let status = claustrum.process().wait(PATIENCE).unwrap();
    let said = claustrum.stderr();
    assert_eq!(status.code(), Some(74), "{said}");
    for words in ["failed to ", "index", "File too large"] {
        assert!(said.contains(words), "no `{words}` in: {said}");
    }

    fs::remove_file(&mark).unwrap();
    claustrum.start_again(network()).unwrap();
    let mut line = client_of(&claustrum);
    let balance = wait_for("answer about a script", || {
        let balance = line.request("blockchain.scripthash.get_balance", json!([script.hash]));
        let mut balance = balance.unwrap();
        balance["error"].is_null().then(|| balance["result"].take())
    });
    assert_eq!(balance["confirmed"], 7_000_000);
    assert!(claustrum.stop().unwrap().success());
}
