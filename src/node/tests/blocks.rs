//! Blocks at the edge of what the rules allow, as JSON.

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Amount, Block, BlockHash, Network};
use serde_json::{Value, json};

use super::calls::Door;
use super::fake::{Seen, http};
use crate::limits;
use crate::node::Node;

const COUNT: u32 = 6;
const WITNESS_BYTES: usize = 3_900_000;

/// Blocks with a coinbase alone that has so long a witness.
fn blocks(count: u32, witness_bytes: usize) -> Vec<Block> {
    let mut block = bitcoin::constants::genesis_block(Network::Regtest);
    block.txdata[0].input[0]
        .witness
        .push(vec![7; witness_bytes]);
    let numbered = |nonce| {
        block.header.nonce = nonce;
        block.clone()
    };
    (0..count).map(numbered).collect()
}

/// Answers what is asked about these blocks; `spending` is the answer about what one spends.
fn serve(blocks: &[(BlockHash, String)], spending: &str, seen: &Seen) -> Vec<u8> {
    let answers: Vec<_> = seen
        .body
        .as_array()
        .unwrap()
        .iter()
        .map(|request| {
            let (method, id) = (request["method"].as_str().unwrap(), &request["id"]);
            let hash: BlockHash = request["params"][0].as_str().unwrap().parse().unwrap();
            let (_, hex) = blocks.iter().find(|(known, _)| *known == hash).unwrap();
            let result = match (method, request["params"][1].as_u64()) {
                ("getblockheader", _) => r#"{"nTx": 2}"#.to_owned(),
                ("getblock", Some(0)) => format!("\"{hex}\""),
                _ => spending.to_owned(),
            };
            format!(r#"{{"result": {result}, "error": null, "id": {id}}}"#)
        })
        .collect();
    http("200 OK", format!("[{}]", answers.join(",")))
}

#[test]
fn large_blocks_of_few_transactions_come_one_by_one_and_not_too_many() {
    let blocks = blocks(COUNT, WITNESS_BYTES);
    let hashes: Vec<_> = blocks.iter().map(Block::block_hash).collect();
    let answers: Vec<_> = blocks
        .iter()
        .map(|block| (block.block_hash(), serialize_hex(block)))
        .collect();
    let door = Door::to(move |seen, _| serve(&answers, "null", seen));
    let node = Node::new(&door.settings());
    let connected = node.blocks(&hashes).unwrap();
    let enough = limits::COMMIT_BYTES_MAX.div_ceil(WITNESS_BYTES);
    assert_eq!(connected.len(), enough);
    assert!(
        connected
            .iter()
            .zip(&blocks)
            .all(|(connected, block)| connected.block == *block)
    );
    let seen = door.fake.seen();
    let asked = seen.iter().map(|seen| seen.body.as_array().unwrap().len());
    let mut expected = vec![6, 6];
    expected.resize(2 + enough, 1);
    assert!(asked.eq(expected), "{:?}", seen.len());
}

#[test]
fn what_a_block_spends_may_be_longer_than_any_other_answer() {
    let mut block = blocks(1, 1).remove(0);
    let mut spender = block.txdata[0].clone();
    spender.input.truncate(1);
    block.txdata.push(spender);
    let filler =
        "OP_RESERVED ".repeat(usize::try_from(limits::NODE_ANSWER_BYTES_MAX).unwrap() / 12);
    let previous = json!({"height": 3, "value": 1.5, "scriptPubKey": {"asm": filler, "hex": "51"}});
    let spending = json!({"tx": [{"vin": [{}]}, {"vin": [{"prevout": previous}]}]});
    let (hash, hex) = (block.block_hash(), serialize_hex(&block));
    let spending = Value::to_string(&spending);
    let door = Door::to(move |seen, _| serve(&[(hash, hex.clone())], &spending, seen));
    let connected = Node::new(&door.settings()).blocks(&[hash]).unwrap();
    assert_eq!(connected[0].block, block);
    let spent = &connected[0].spent[0][0];
    assert_eq!(
        (spent.amount, spent.height.0),
        (Amount::from_sat(150_000_000), 3)
    );
}
