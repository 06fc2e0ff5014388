//! Blocks at the edge of what the rules of the network allow, made by hand.

use anyhow::{Context as _, Result, ensure};
use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::hashes::Hash as _;
use bitcoin::{
    Amount, Block, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode,
    TxOut, Witness, transaction,
};
use rig::node::{MATURITY, Node};
use serde_json::json;

/// All of them fit into a block only with scripts of at most one byte.
const OUTPUTS: usize = 100_000;
const INPUTS: usize = 20_000;
const WITNESS_BYTES: usize = 3_990_000;
/// Each of these opens for everybody.
const NUMBERS: std::ops::RangeInclusive<u8> = 0x51..=0x60;
/// A version of witness programs that has no rules yet.
const FUTURE_WITNESS: [u8; 34] = {
    let mut script = [0x2a; 34];
    script[0] = 0x52;
    script[1] = 32;
    script
};
const OUTPUT_SATOSHI: u64 = 40_000;
const ANYONE: &str = "raw(51)";
const NOTE: &str = "raw(6a026869)";

/// Coins that everybody may spend, each the first output of a coinbase of 50 bitcoins.
pub(super) struct Coins(Vec<OutPoint>);

impl Coins {
    /// Mines some and lets them mature.
    pub(super) fn mine(node: &Node) -> Result<Self> {
        let mut coins = Vec::new();
        for _ in 0..3 {
            let hash = node.mine_block(ANYONE, &[])?;
            coins.push(OutPoint::new(transactions(node, &hash)?[0].parse()?, 0));
        }
        node.mine(MATURITY)?;
        Ok(Self(coins))
    }

    fn next(&mut self) -> Result<OutPoint> {
        self.0.pop().context("no coin is left")
    }
}

/// A block to be mined.
pub(super) struct Large {
    pub(super) name: &'static str,
    coinbase_to: &'static str,
    transaction: Transaction,
}

impl Large {
    pub(super) fn mine(&self, node: &Node) -> Result<()> {
        mine(node, self.coinbase_to, &self.transaction)
    }
}

/// In this order, because one spends what another creates.
pub(super) fn large(mut coins: Coins) -> Result<[Large; 5]> {
    let scripts = NUMBERS.map(|number| vec![number]).cycle();
    // The last ones have no script at all; those with one would not all fit.
    let scripts = scripts.take(OUTPUTS - 5_000);
    let mut outputs: Vec<TxOut> = scripts.map(|script| pay(&script, OUTPUT_SATOSHI)).collect();
    outputs.resize(OUTPUTS, pay(&[], OUTPUT_SATOSHI));
    let many_outputs = spend(&[coins.next()?], outputs);

    let txid = many_outputs.compute_txid();
    let inputs: Vec<_> = (0..u32::try_from(INPUTS)?)
        .map(|vout| OutPoint::new(txid, 3 * vout))
        .collect();
    let total = OUTPUT_SATOSHI * u64::try_from(INPUTS)?;
    let many_inputs = spend(&inputs, vec![pay(&[0x51], total)]);

    let locked = spend(&[coins.next()?], vec![pay(&FUTURE_WITNESS, 1_000_000)]);
    let place = OutPoint::new(locked.compute_txid(), 0);
    let mut long = spend(&[place], vec![pay(&[0x51], 999_000)]);
    long.input[0].witness.push(vec![0; WITNESS_BYTES]);

    let note = ScriptBuf::new_op_return([7; 60]);
    let note = spend(&[coins.next()?], vec![pay(note.as_bytes(), 0)]);
    let block = |name, coinbase_to, transaction| Large {
        name,
        coinbase_to,
        transaction,
    };
    Ok([
        block("100,000 outputs", ANYONE, many_outputs),
        block("20,000 inputs", ANYONE, many_inputs),
        block("an output for a long witness", ANYONE, locked),
        block("4 MB of witness", ANYONE, long),
        block("nothing that can be spent", NOTE, note),
    ])
}

/// Mines a block of a coinbase alone that pays nobody, then a coinbase, spends what it pays, and mines the same coinbase again, which the rules allow then.
pub(super) fn mine_a_coinbase_twice(node: &Node) -> Result<()> {
    node.mine_block(NOTE, &[])?;
    let txid = submit_coinbase(node)?;
    node.mine(MATURITY)?;
    let both = [OutPoint::new(txid, 0), OutPoint::new(txid, 1)];
    mine(node, ANYONE, &spend(&both, vec![pay(&[0x53], 1_000)]))?;
    node.mine(3)?;
    ensure!(
        submit_coinbase(node)? == txid,
        "the coinbase is another one"
    );
    node.mine(MATURITY)?;
    mine(node, ANYONE, &spend(&both[..1], vec![pay(&[0x54], 1_000)]))
}

/// A block with a coinbase that is the same at every height.
fn submit_coinbase(node: &Node) -> Result<bitcoin::Txid> {
    let tip = node.rpc("getbestblockhash", json!([]))?;
    let tip = node.rpc("getblockheader", json!([tip]))?;
    let mut coinbase = spend(
        &[OutPoint::null()],
        vec![pay(&[0x51], 5_000), pay(&[0x52], 6_000)],
    );
    coinbase.input[0].script_sig = ScriptBuf::from_bytes(b"twice".to_vec());
    let txid = coinbase.compute_txid();
    let time = tip["mediantime"].as_u64().context("no time")? + 1;
    let mut block = Block {
        header: Header {
            version: Version::from_consensus(0x2000_0000),
            prev_blockhash: tip["hash"].as_str().context("no hash")?.parse()?,
            merkle_root: TxMerkleNode::all_zeros(),
            time: u32::try_from(time)?,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce: 0,
        },
        txdata: vec![coinbase],
    };
    block.header.merkle_root = block.compute_merkle_root().context("no transactions")?;
    while block.header.validate_pow(block.header.target()).is_err() {
        block.header.nonce += 1;
    }
    let refusal = node.rpc("submitblock", json!([serialize_hex(&block)]))?;
    ensure!(refusal.is_null(), "the node refuses the block: {refusal}");
    Ok(txid)
}

fn mine(node: &Node, coinbase_to: &str, transaction: &Transaction) -> Result<()> {
    node.mine_block(coinbase_to, &[serialize_hex(transaction)])?;
    Ok(())
}

fn transactions(node: &Node, hash: &str) -> Result<Vec<String>> {
    let block = node.rpc("getblock", json!([hash, 1]))?;
    Ok(serde_json::from_value(block["tx"].clone())?)
}

fn pay(script: &[u8], satoshi: u64) -> TxOut {
    TxOut {
        value: Amount::from_sat(satoshi),
        script_pubkey: ScriptBuf::from_bytes(script.to_vec()),
    }
}

/// What is left is the miner's.
fn spend(outputs: &[OutPoint], pay: Vec<TxOut>) -> Transaction {
    let input = |place: &OutPoint| TxIn {
        previous_output: *place,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::new(),
    };
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: outputs.iter().map(input).collect(),
        output: pay,
    }
}
