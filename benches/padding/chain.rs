//! A chain that is one wallet's: its scripts are paid by each other, over and over.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use bitcoin::absolute::LockTime;
use bitcoin::block::Header;
use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash as _;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn,
    TxOut, Txid, Witness, consensus, transaction,
};
use claustrum::chain::{ConnectedBlock, Height, PackedBlock, ScriptHash, SpentOutput};
use claustrum::index::Index;
use claustrum::query::{Acceptance, FeeMode, FeeRate, MempoolFees, NodeReader, NodeSilent};
use claustrum::redact::RawTransaction;

pub(crate) const SCRIPTS: u32 = 500;
pub(crate) const TRANSACTIONS: usize = 2_000;
const TRANSACTIONS_PER_BLOCK: usize = 10;

/// The node that has the chain's transactions.
pub(crate) struct Node(HashMap<Txid, Vec<u8>>);

struct Coin {
    outpoint: OutPoint,
    output: TxOut,
    height: Height,
}

/// The wallet's script hashes, as it says them.
pub(crate) fn script_hashes() -> Vec<String> {
    (0..SCRIPTS)
        .map(|number| ScriptHash::of(&script(number)).to_wire())
        .collect()
}

/// Makes the chain, the same each time, and indexes it; returns the txids too.
pub(crate) fn build(index: &mut Index) -> Result<(Node, Vec<Txid>)> {
    let genesis = ConnectedBlock {
        block: genesis_block(bitcoin::Network::Regtest),
        spent: Vec::new(),
    };
    let mut tip = genesis.block.block_hash();
    index.update_raw(None, &[PackedBlock::from(&genesis).raw()])?;
    let mut node = Node(HashMap::new());
    let (mut coins, mut txids, mut random) = (Vec::<Coin>::new(), Vec::new(), 1_u64);
    let mut height = 0;
    while txids.len() < TRANSACTIONS {
        let below = Height(height);
        height += 1;
        let mut below_of = |bound: usize| -> Result<usize> {
            // Knuth's generator: its upper bits are random enough.
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            Ok(usize::try_from(random >> 33)? % bound)
        };
        let mut made = Vec::new();
        let mut spent = Vec::new();
        let mark = ScriptBuf::from_bytes([&[4][..], &height.to_be_bytes()].concat());
        let to = u32::try_from(below_of(500)?)?;
        let reward = output(to, 5_000_000_000);
        made.push(transaction(
            OutPoint::null(),
            mark,
            Witness::new(),
            vec![reward],
        ));
        while made.len() < TRANSACTIONS_PER_BLOCK && !coins.is_empty() {
            let coin = coins.swap_remove(below_of(coins.len())?);
            let amount = coin.output.value.to_sat() / 2;
            let scripts = [
                u32::try_from(below_of(500)?)?,
                u32::try_from(below_of(500)?)?,
            ];
            let outputs = scripts.map(|number| output(number, amount)).to_vec();
            let witness = Witness::from_slice(&[[3_u8; 71].as_slice(), &[2; 33]]);
            made.push(transaction(
                coin.outpoint,
                ScriptBuf::new(),
                witness,
                outputs,
            ));
            spent.push(vec![SpentOutput {
                script: coin.output.script_pubkey,
                amount: coin.output.value,
                height: coin.height,
            }]);
        }
        for transaction in &made {
            let txid = transaction.compute_txid();
            txids.push(txid);
            node.0.insert(txid, consensus::serialize(transaction));
            coins.extend((0..).zip(&transaction.output).map(|(vout, output)| Coin {
                outpoint: OutPoint { txid, vout },
                output: output.clone(),
                height: Height(height),
            }));
        }
        let block = solved(tip, made)?;
        tip = block.block_hash();
        let block = PackedBlock::from(&ConnectedBlock { block, spent });
        index.update_raw(Some(below), &[block.raw()])?;
    }
    Ok((node, txids))
}

fn script(number: u32) -> ScriptBuf {
    let mut program = [0; 20];
    program[..4].copy_from_slice(&number.to_le_bytes());
    ScriptBuf::from_bytes([&[0, 20][..], &program].concat())
}

fn output(script_number: u32, amount: u64) -> TxOut {
    TxOut {
        value: Amount::from_sat(amount),
        script_pubkey: script(script_number),
    }
}

fn transaction(
    spend: OutPoint,
    script_sig: ScriptBuf,
    witness: Witness,
    output: Vec<TxOut>,
) -> Transaction {
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: spend,
            script_sig,
            sequence: Sequence::MAX,
            witness,
        }],
        output,
    }
}

/// A block with valid proof of work for the easiest target.
fn solved(previous: BlockHash, txdata: Vec<Transaction>) -> Result<Block> {
    let header = Header {
        version: bitcoin::block::Version::TWO,
        prev_blockhash: previous,
        merkle_root: bitcoin::TxMerkleNode::all_zeros(),
        time: 0,
        bits: CompactTarget::from_consensus(0x207f_ffff),
        nonce: 0,
    };
    let mut block = Block { header, txdata };
    block.header.merkle_root = block.compute_merkle_root().context("a block of nothing")?;
    while !block.header.target().is_met_by(block.block_hash()) {
        block.header.nonce += 1;
    }
    Ok(block)
}

impl NodeReader for Node {
    fn raw_transaction(
        &self,
        txid: &Txid,
        _: Option<&BlockHash>,
    ) -> Result<Option<Vec<u8>>, NodeSilent> {
        Ok(self.0.get(txid).cloned())
    }

    fn estimate_fee(&self, _: u16, _: Option<FeeMode>) -> Result<Option<FeeRate>, NodeSilent> {
        Err(NodeSilent)
    }

    fn mempool_fees(&self) -> Result<MempoolFees, NodeSilent> {
        Err(NodeSilent)
    }

    fn test_accept(&self, _: &[RawTransaction]) -> Result<Vec<Acceptance>, NodeSilent> {
        Err(NodeSilent)
    }
}
