//! A disk that takes no more, and one that forgets: the server ends with the status and the sentence for it, or says
//! what it cannot tell, and tells nobody anything false.

use std::fs;
use std::path::Path;

use bitcoin::Txid;
use bitcoin::hashes::Hash as _;
use rig::node::{self, Node};
use rig::server::{Claustrum, Options};
use serde_json::json;

use crate::fixture::{PATIENCE, Script, client_of, network, said, wait_for};

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
    wait_until_ready(&claustrum);
    let mut line = client_of(&claustrum);
    let balance = line.call("blockchain.scripthash.get_balance", json!([script.hash]));
    assert_eq!(balance.unwrap()["confirmed"], 7_000_000);
    assert!(claustrum.stop().unwrap().success());
}

#[test]
fn a_rotten_page_costs_the_answers_that_need_it_and_is_told_to_the_operator() {
    let node = Node::start(&node::Options::default()).unwrap();
    let [whole, rotten] = [(); 2].map(|()| Script::new(&node));
    node.mine_to(&rotten.bitcoin_address, 1).unwrap();
    node.mine(200).unwrap();
    node.mine_to(&whole.bitcoin_address, 1).unwrap();
    // Enough for the first blocks to leave the delta rows.
    node.mine(300).unwrap();
    // Without the node's files the index keeps txids, of which one is found on the disk without its keys.
    let elsewhere = node.data_dir().join("elsewhere").display().to_string();
    let options = Options {
        extra: vec!["--node-dir".to_owned(), elsewhere],
        ..Options::default()
    };
    let mut claustrum = Claustrum::start(&node, network(), &options).unwrap();
    wait_until_ready(&claustrum);
    assert!(claustrum.stop().unwrap().success());
    flip(
        &claustrum.data_dir().join("regtest/index/segments"),
        &first_txid(&node),
    );

    claustrum.start_again(network()).unwrap();
    wait_until_ready(&claustrum);
    assert!(!status(&claustrum).contains("alarm"));
    let mut line = client_of(&claustrum);
    let history = "blockchain.scripthash.get_history";
    let reply = line.request(history, json!([rotten.hash])).unwrap();
    assert_eq!(reply["error"]["code"], 1, "{reply}");
    let entries = line.call(history, json!([whole.hash])).unwrap();
    assert_eq!(entries.as_array().unwrap().len(), 1);
    let alarm = wait_for("alarm", || {
        let status = status(&claustrum);
        status.contains("alarm").then_some(status)
    });
    let told = [alarm, claustrum.stderr()];
    for told in &told {
        assert!(told.contains("`claustrum index rebuild`"), "{told}");
        assert!(!told.contains(&rotten.hash), "{told}");
    }
    assert!(claustrum.stop().unwrap().success());
    let check = claustrum.run("index check").unwrap();
    assert_eq!(check.status.code(), Some(65), "{}", said(&check));
}

/// Changes one bit of the only place where these bytes stand.
fn flip(dir: &Path, bytes: &[u8]) {
    let mut flipped = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let mut file = fs::read(&path).unwrap();
        if let Some(at) = file.windows(bytes.len()).position(|found| *found == *bytes) {
            file[at] ^= 1;
            fs::write(&path, file).unwrap();
            flipped += 1;
        }
    }
    assert_eq!(flipped, 1);
}

/// Of the block at height 1, as it is hashed.
fn first_txid(node: &Node) -> [u8; 32] {
    let block = node.rpc("getblock", json!([node.block_hash(1).unwrap(), 1]));
    let txid: Txid = block.unwrap()["tx"][0].as_str().unwrap().parse().unwrap();
    txid.to_byte_array()
}

fn status(claustrum: &Claustrum) -> String {
    said(&claustrum.run("status").unwrap())
}

fn wait_until_ready(claustrum: &Claustrum) {
    wait_for("index that follows the node", || {
        status(claustrum)
            .contains("following the node")
            .then_some(())
    });
}
