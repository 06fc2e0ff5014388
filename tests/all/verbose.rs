//! Verbose transactions have every field that the node gives, with its value, for outputs and inputs of every kind.

use anyhow::{Context as _, Result, ensure};
use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::hex::FromHex as _;
use bitcoin::script::PushBytesBuf;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
use rig::node::{MATURITY, Node, Options};
use rig::server::Loopback;
use rig::shape::Shape;
use rig::socks::Line;
use serde_json::{Value, json};

use crate::oracle::wait_for_tip;

const SEED: u64 = 20_261_120;
/// More than a block's transactions.
const PIPELINED: usize = 100;

#[test]
fn verbose_transactions_are_those_of_the_node() -> Result<()> {
    let node = Node::start_funded(&Options::default())?;
    Shape::new(SEED).grow(&node, MATURITY + 60)?;
    mine_odd(&node)?;
    let unconfirmed = node.pay(&node.new_address()?, 1_000_000)?;

    let server = Loopback::start(&node, &rig::server::Options::default())?;
    wait_for_tip(&server, &node)?;
    let mut line = server.connect()?;
    let mut kinds = Vec::new();
    // The node does not give the transaction of block 0.
    for height in 1..=node.height()? {
        let hash = node.block_hash(height)?;
        let block = node.rpc("getblock", json!([hash, 1]))?;
        let txids = block["tx"].as_array().context("a block without a list")?;
        let asked: Vec<Value> = txids.iter().map(|txid| json!([txid, true, hash])).collect();
        let expected = node.rpc_batch("getrawtransaction", &asked)?;
        let found = verbose(&mut line, txids)?;
        for (mut expected, found) in expected.into_iter().zip(found) {
            expected
                .as_object_mut()
                .context("no object")?
                .remove("in_active_chain");
            ensure!(
                expected == found,
                "block {height}: {expected:#}, not {found:#}"
            );
            kinds.extend(types(&found));
        }
    }
    let expected = node.rpc("getrawtransaction", json!([unconfirmed, true]))?;
    let found = verbose(&mut line, &[json!(unconfirmed)])?;
    ensure!(found == [expected], "unconfirmed: {found:?}");
    kinds.sort();
    kinds.dedup();
    ensure!(kinds.len() == 11, "not every type occurs: {kinds:?}");
    Ok(())
}

fn verbose(line: &mut Line, txids: &[Value]) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for part in txids.chunks(PIPELINED) {
        for txid in part {
            let mut reply = line.request("blockchain.transaction.get", json!([txid, true]))?;
            found.push(reply["result"].take());
        }
    }
    Ok(found)
}

fn types(transaction: &Value) -> Vec<String> {
    let outputs = transaction["vout"].as_array().into_iter().flatten();
    let kinds = outputs.filter_map(|output| output["scriptPubKey"]["type"].as_str());
    kinds.map(str::to_owned).collect()
}

/// Scripts that a block may have in an output, however useless.
fn odd_outputs() -> Vec<ScriptBuf> {
    let key = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
    let hybrid = format!("06{key}483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8");
    let key_pushed = format!("2102{key}");
    let keys = |count: usize| key_pushed.repeat(count);
    let mut scripts = vec![
        // Keys that are none, hybrid keys, a key of the wrong length.
        format!("2102{}ac", "ff".repeat(32)),
        format!("41{hybrid}ac"),
        format!("41{}ac", hybrid.replacen("06", "07", 1)),
        format!("2105{key}ac"),
        format!("5141{hybrid}51ae"),
        // Multisignatures: of 17 and 20 keys, too few keys, more needed than there are, numbers pushed in other ways.
        format!("51{}0111ae", keys(17)),
        format!("0114{}0114ae", keys(20)),
        format!("51{}52ae", keys(1)),
        format!("52{}51ae", keys(1)),
        format!("51{}51ae51", keys(1)),
        format!("51{}5152ae", keys(1)),
        "0000ae".to_owned(),
        // Notes: empty, with numbers, cut off, not of pushes alone.
        "6a".to_owned(),
        "6a50".to_owned(),
        "6a0101024e8104ffffffff05ffffffff00".to_owned(),
        "6a05aa".to_owned(),
        "6a61".to_owned(),
        // Witness programs: of unknown versions, lengths and points, and the anchor.
        "51024e73".to_owned(),
        "51024e74".to_owned(),
        format!("5120{}", "ff".repeat(32)),
        format!("5220{key}"),
        format!("6028{}", "01".repeat(40)),
        format!("6029{}", "01".repeat(41)),
        "00020102".to_owned(),
        "0014".to_owned() + &"00".repeat(21),
        // Numbers with a sign, not minimal, and of five bytes; pushes cut off.
        "4f518001800281000480000080058000008000".to_owned(),
        "4c".to_owned(),
        "4d0100".to_owned(),
        "4e01000000".to_owned(),
        "01".to_owned(),
        String::new(),
        "51".to_owned(),
    ];
    // Every opcode by its name.
    scripts.push(
        (0x4f..=0xff_u8)
            .map(|opcode| format!("{opcode:02x}"))
            .collect(),
    );
    let from_hex = |hex: &String| ScriptBuf::from_hex(hex).expect("even digits");
    scripts.iter().map(from_hex).collect()
}

/// What an input may begin with that spends an output of `OP_1`.
fn odd_inputs() -> Vec<ScriptBuf> {
    let signature = |sighash: u8| {
        let r = format!("0220{}", "11".repeat(32));
        let s = format!("022100{}", "ff".repeat(32));
        push(&format!("3045{r}{s}{sighash:02x}"))
    };
    let mut scripts: Vec<ScriptBuf> = [0, 1, 2, 3, 4, 0x81, 0x82, 0x83, 0x84]
        .map(signature)
        .into();
    scripts.extend([
        // A negative number, a byte too many, the wrong length, nothing in it, the smallest there is.
        push("300602018002010101"),
        push("30080202000102020001 01".replace(' ', "").as_str()),
        push("300702010102010101"),
        push("3004020002000101"),
        push("300602010102010101"),
        push("3006020100020100 83".replace(' ', "").as_str()),
        push("3106020101020101 01".replace(' ', "").as_str()),
        ScriptBuf::from_hex("4f005160616102aaaa").expect("even digits"),
    ]);
    scripts
}

fn push(hex: &str) -> ScriptBuf {
    let bytes: Vec<u8> = Vec::from_hex(hex).expect("even digits");
    let bytes = PushBytesBuf::try_from(bytes).expect("a short push");
    bitcoin::script::Builder::new()
        .push_slice(bytes)
        .into_script()
}

/// A transaction with all odd outputs, and one with all odd inputs.
fn mine_odd(node: &Node) -> Result<()> {
    let hash = node.mine_block("raw(51)", &[])?;
    let coinbase = node.rpc("getblock", json!([hash, 1]))?["tx"][0].take();
    let coinbase = coinbase.as_str().context("a block without a coinbase")?;
    node.mine(MATURITY)?;
    let output = |script_pubkey| TxOut {
        value: Amount::from_sat(1_000),
        script_pubkey,
    };
    let inputs = odd_inputs();
    let anyone = ScriptBuf::from_hex("51")?;
    let mut outputs = vec![output(anyone.clone()); inputs.len()];
    outputs.extend(odd_outputs().into_iter().map(output));
    let source = OutPoint::new(coinbase.parse()?, 0);
    let first = transaction(vec![(source, ScriptBuf::new())], outputs);
    let txid = first.compute_txid();
    let sources = (0..).map(|vout| OutPoint::new(txid, vout));
    let mut second = transaction(sources.zip(inputs).collect(), vec![output(anyone)]);
    second.version = Version(-1);
    second.lock_time = LockTime::from_consensus(7);
    node.mine_block("raw(51)", &[serialize_hex(&first), serialize_hex(&second)])?;
    Ok(())
}

fn transaction(inputs: Vec<(OutPoint, ScriptBuf)>, output: Vec<TxOut>) -> Transaction {
    let inputs = inputs
        .into_iter()
        .map(|(previous_output, script_sig)| TxIn {
            previous_output,
            script_sig,
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            witness: Witness::new(),
        });
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: inputs.collect(),
        output,
    }
}
