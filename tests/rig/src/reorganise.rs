//! Makes the node change to another branch, as it would on hearing of a longer one.

use std::collections::HashSet;

use anyhow::{Context as _, Result};
use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::hashes::Hash as _;
use bitcoin::script::Builder;
use bitcoin::transaction::Version as TransactionVersion;
use bitcoin::{
    Amount, Block, BlockHash, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode,
    TxOut, Txid, Witness,
};
use serde_json::json;

use crate::node::{Node, bitcoins, text};

/// Blocks between two halvings on regtest.
const HALVING: u32 = 150;

/// What becomes of the transactions of the blocks that are disconnected.
///
/// Their coinbases, and what descends from these, are gone in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The new branch has each of them one block later.
    Moved,
    /// The new branch is empty: they return to the mempool.
    Unconfirmed,
    /// The new branch spends the inputs of those that the node's wallet can sign otherwise.
    Replaced,
}

/// Replaces the last `depth` blocks by a branch of `length` blocks, all submitted before the node changes over;
/// `length` must be greater than `depth`. The hashes of the new blocks.
pub fn reorganise(node: &Node, depth: u32, length: u32, fate: Fate) -> Result<Vec<String>> {
    anyhow::ensure!(
        length > depth,
        "a branch of {length} blocks does not replace {depth}"
    );
    let tip = node.height()?;
    let fork = tip
        .checked_sub(depth)
        .context("a reorg below the first block")?;
    let old = (fork + 1..=tip)
        .map(|height| block_at(node, height))
        .collect::<Result<Vec<_>>>()?;
    let mut parent = block_at(node, fork)?.header;
    let mut lost = Lost::default();
    let mut hashes = Vec::new();
    for step in 0..length {
        // Each transaction one block later than it was: every output is as old as it has to be.
        let earlier = step
            .checked_sub(1)
            .and_then(|before| old.get(usize::try_from(before).ok()?));
        let kept = earlier.map_or(Ok(Vec::new()), |block| lost.keep(node, block, fate))?;
        let block = mine(node, &parent, fork + 1 + step, kept)?;
        submit(node, &block)?;
        parent = block.header;
        hashes.push(block.block_hash().to_string());
    }
    let best = text(&node.rpc("getbestblockhash", json!([]))?)?;
    anyhow::ensure!(
        hashes.last() == Some(&best),
        "the node did not change to the new branch"
    );
    Ok(hashes)
}

/// Takes the last `depth` blocks away and gives nothing instead: the chain becomes shorter, unless the node knows
/// another branch.
pub fn rewind(node: &Node, depth: u32) -> Result<()> {
    let first = node
        .height()?
        .checked_sub(depth)
        .context("a rewind below the first block")?
        + 1;
    node.rpc("invalidateblock", json!([node.block_hash(first)?]))?;
    Ok(())
}

/// Transactions of the old branch that the new one does not have.
#[derive(Default)]
struct Lost(HashSet<Txid>);

impl Lost {
    /// What the new branch keeps of an old block.
    fn keep(&mut self, node: &Node, block: &Block, fate: Fate) -> Result<Vec<Transaction>> {
        let mut kept = Vec::new();
        for transaction in &block.txdata {
            let txid = transaction.compute_txid();
            let inputs = &transaction.input;
            let orphan = inputs
                .iter()
                .any(|input| self.0.contains(&input.previous_output.txid));
            let successor = match fate {
                _ if transaction.is_coinbase() || orphan => None,
                Fate::Moved => Some(transaction.clone()),
                Fate::Unconfirmed => None,
                Fate::Replaced => conflict(node, transaction)?,
            };
            if successor
                .as_ref()
                .is_none_or(|successor| successor.compute_txid() != txid)
            {
                self.0.insert(txid);
            }
            kept.extend(successor);
        }
        Ok(kept)
    }
}

/// The same inputs, spent to a new address of the node's wallet; `None` if it cannot sign that.
fn conflict(node: &Node, transaction: &Transaction) -> Result<Option<Transaction>> {
    let mut spent = Vec::new();
    for input in &transaction.input {
        let OutPoint { txid, vout } = input.previous_output;
        let Ok(parent) = node.wallet_rpc("gettransaction", json!([txid])) else {
            return Ok(None);
        };
        let parent: Transaction = deserialize_hex(&text(&parent["hex"])?)?;
        let output = parent
            .output
            .get(usize::try_from(vout)?)
            .context("an input of an output that is not there")?;
        spent.push((input.previous_output, output.clone()));
    }
    let inputs: Vec<_> = spent
        .iter()
        .map(|(place, _)| json!({ "txid": place.txid, "vout": place.vout }))
        .collect();
    let paid: u64 = transaction
        .output
        .iter()
        .map(|output| output.value.to_sat())
        .sum();
    let outputs = json!([{ node.new_address()?: bitcoins(paid) }]);
    let raw = node.rpc("createrawtransaction", json!([inputs, outputs]))?;
    let previous: Vec<_> = spent
        .iter()
        .map(|(place, output)| {
            let amount = bitcoins(output.value.to_sat());
            json!({ "txid": place.txid, "vout": place.vout, "scriptPubKey": output.script_pubkey.to_hex_string(),
                    "amount": amount })
        })
        .collect();
    let signed = node.wallet_rpc("signrawtransactionwithwallet", json!([raw, previous]))?;
    if signed["complete"] != true {
        return Ok(None);
    }
    Ok(Some(deserialize_hex(&text(&signed["hex"])?)?))
}

/// A valid block on `parent`; its coinbase pays the node's wallet.
fn mine(
    node: &Node,
    parent: &Header,
    height: u32,
    transactions: Vec<Transaction>,
) -> Result<Block> {
    let reward = ScriptBuf::from_hex(&node.script(&node.new_address()?)?)?;
    let header = Header {
        version: Version::from_consensus(0x2000_0000),
        prev_blockhash: parent.block_hash(),
        merkle_root: TxMerkleNode::all_zeros(),
        time: parent.time + 1,
        bits: parent.bits,
        nonce: 0,
    };
    let mut block = Block {
        header,
        txdata: vec![coinbase(height, reward)],
    };
    block.txdata.extend(transactions);
    commit_to_witnesses(&mut block)?;
    block.header.merkle_root = block
        .compute_merkle_root()
        .context("a block without transactions")?;
    while block.header.validate_pow(block.header.target()).is_err() {
        block.header.nonce += 1;
    }
    Ok(block)
}

fn coinbase(height: u32, reward: ScriptBuf) -> Transaction {
    let subsidy = Amount::from_sat(5_000_000_000 >> (height / HALVING));
    let input = TxIn {
        previous_output: OutPoint::null(),
        script_sig: Builder::new()
            .push_int(i64::from(height))
            .push_slice(b"branch")
            .into_script(),
        sequence: Sequence::MAX,
        witness: Witness::from_slice(&[[0; 32]]),
    };
    Transaction {
        version: TransactionVersion::TWO,
        lock_time: LockTime::ZERO,
        input: vec![input],
        output: vec![TxOut {
            value: subsidy,
            script_pubkey: reward,
        }],
    }
}

/// BIP 141: the coinbase commits to the other transactions' witnesses.
fn commit_to_witnesses(block: &mut Block) -> Result<()> {
    let root = block
        .witness_root()
        .context("a block without transactions")?;
    let commitment = Block::compute_witness_commitment(&root, &[0; 32]);
    let mut script = vec![0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
    script.extend(commitment.as_byte_array());
    let output = TxOut {
        value: Amount::ZERO,
        script_pubkey: ScriptBuf::from_bytes(script),
    };
    block.txdata[0].output.push(output);
    Ok(())
}

/// `inconclusive` is what the node says of a block on a branch that is not the best.
fn submit(node: &Node, block: &Block) -> Result<()> {
    let verdict = node.rpc("submitblock", json!([serialize_hex(block)]))?;
    anyhow::ensure!(
        verdict.is_null() || verdict == "inconclusive",
        "the node refuses a block of the branch: {verdict}"
    );
    Ok(())
}

fn block_at(node: &Node, height: u32) -> Result<Block> {
    let hash: BlockHash = node.block_hash(height)?.parse()?;
    Ok(deserialize_hex(&text(
        &node.rpc("getblock", json!([hash, 0]))?,
    )?)?)
}
