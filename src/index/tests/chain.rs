//! Real blocks, mined on the spot, and what they mean, worked out naively.

use std::collections::BTreeMap;

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::constants::genesis_block;
use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::transaction;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn,
    TxMerkleNode, TxOut, Txid, Witness,
};

use crate::chain::{ConnectedBlock, Height, SpentOutput};
use crate::index::TransactionReader;

/// A chain from the genesis block, and its unspent outputs.
#[derive(Clone)]
pub(super) struct Chain {
    pub(super) blocks: Vec<ConnectedBlock>,
    salt: u32,
}

/// A transaction to make: which unspent outputs to spend (counted around), and what to pay to which scripts.
#[derive(Clone, Debug)]
pub(super) struct Payment {
    pub(super) spend: Vec<usize>,
    pub(super) pay: Vec<(u8, u64)>,
}

/// Height, index in block, output and amount.
pub(super) type Unspent = (u32, usize, OutPoint, u64);

/// The script that cannot be spent.
pub(super) const UNSPENDABLE: u8 = 0;

/// A script by number.
pub(super) fn script(n: u8) -> ScriptBuf {
    match n {
        UNSPENDABLE => ScriptBuf::from_bytes(vec![0x6a, 1, 2]),
        _ => ScriptBuf::from_bytes(vec![0x51, n]),
    }
}

impl Chain {
    pub(super) fn new() -> Self {
        let genesis = ConnectedBlock {
            block: genesis_block(bitcoin::Network::Regtest),
            spent: Vec::new(),
        };
        Self {
            blocks: vec![genesis],
            salt: 0,
        }
    }

    pub(super) fn height(&self) -> Option<Height> {
        let top = self.blocks.len().checked_sub(1)?;
        Some(Height(u32::try_from(top).unwrap()))
    }

    /// Mines a block whose coinbase pays to script 1; unlike any that another branch has.
    pub(super) fn mine(&mut self, payments: &[Payment]) {
        self.salt += 1;
        let coinbase = coinbase(self.salt);
        self.mine_with(coinbase, payments);
    }

    /// Mines a block with a given coinbase.
    pub(super) fn mine_with(&mut self, coinbase: Transaction, payments: &[Payment]) {
        let mut unspent: Vec<(OutPoint, SpentOutput)> = self.spendable();
        let height = Height(u32::try_from(self.blocks.len()).unwrap());
        let mut transactions = vec![coinbase];
        let mut spent = Vec::new();
        add_outputs(&mut unspent, &transactions[0], height);
        for payment in payments {
            let mut inputs = Vec::new();
            let mut consumed = Vec::new();
            for pick in &payment.spend {
                if !unspent.is_empty() {
                    let (outpoint, output) = unspent.remove(pick % unspent.len());
                    inputs.push(outpoint);
                    consumed.push(output);
                }
            }
            if inputs.is_empty() {
                continue;
            }
            let made = transaction(&inputs, &payment.pay);
            add_outputs(&mut unspent, &made, height);
            transactions.push(made);
            spent.push(consumed);
        }
        let previous = self
            .blocks
            .last()
            .map_or(BlockHash::all_zeros(), |below| below.block.block_hash());
        self.blocks.push(ConnectedBlock {
            block: solved(previous, transactions),
            spent,
        });
    }

    /// Everything that can be spent, oldest first.
    pub(super) fn spendable(&self) -> Vec<(OutPoint, SpentOutput)> {
        let mut unspent = Vec::new();
        for (height, connected) in (0..).zip(&self.blocks).skip(1) {
            for transaction in &connected.block.txdata {
                let gone = |outpoint| {
                    transaction
                        .input
                        .iter()
                        .any(|input| input.previous_output == outpoint)
                };
                unspent.retain(|(outpoint, _)| !gone(*outpoint));
                add_outputs(&mut unspent, transaction, Height(height));
            }
        }
        unspent
    }

    /// The history of every script: height and txid, once for each transaction.
    pub(super) fn histories(&self) -> BTreeMap<ScriptBuf, Vec<(u32, Txid)>> {
        let mut histories: BTreeMap<ScriptBuf, Vec<(u32, Txid)>> = BTreeMap::new();
        for (height, connected) in (0..).zip(&self.blocks).skip(1) {
            for (index, transaction) in connected.block.txdata.iter().enumerate() {
                let txid = transaction.compute_txid();
                for script in scripts(connected, index) {
                    let history = histories.entry(script).or_default();
                    if history.last() != Some(&(height, txid)) {
                        history.push((height, txid));
                    }
                }
            }
        }
        histories
    }

    /// The unspent outputs of every script.
    pub(super) fn unspent(&self) -> BTreeMap<ScriptBuf, Vec<Unspent>> {
        let mut places = BTreeMap::new();
        for connected in &self.blocks {
            for (index, transaction) in connected.block.txdata.iter().enumerate() {
                places.insert(transaction.compute_txid(), index);
            }
        }
        let mut unspent: BTreeMap<ScriptBuf, Vec<Unspent>> = BTreeMap::new();
        for (outpoint, output) in self.spendable() {
            let entry = (
                output.height.0,
                places[&outpoint.txid],
                outpoint,
                output.amount.to_sat(),
            );
            unspent.entry(output.script).or_default().push(entry);
        }
        for entries in unspent.values_mut() {
            entries.sort_by_key(|(height, index, outpoint, _)| (*height, *index, outpoint.vout));
        }
        unspent
    }

    /// The commitment of the last block, written out from its definition.
    pub(super) fn commitment(&self) -> [u8; 32] {
        let mut commitment = [0; 32];
        for (height, connected) in (0_u32..).zip(&self.blocks) {
            let mut touches: Vec<Vec<u8>> = Vec::new();
            for (index, transaction) in (0_u32..).zip(&connected.block.txdata) {
                let mut touch =
                    |script: &ScriptBuf, kind: u8, outpoint: OutPoint, amount: Amount| {
                        if height > 0 && *script != self::script(UNSPENDABLE) {
                            let mut bytes = sha256::Hash::hash(script.as_bytes())
                                .to_byte_array()
                                .to_vec();
                            bytes.extend(index.to_be_bytes());
                            bytes.push(kind);
                            bytes.extend(outpoint.txid.to_byte_array());
                            bytes.extend(outpoint.vout.to_be_bytes());
                            bytes.extend(amount.to_sat().to_be_bytes());
                            touches.push(bytes);
                        }
                    };
                let txid = transaction.compute_txid();
                for (vout, output) in (0..).zip(&transaction.output) {
                    touch(
                        &output.script_pubkey,
                        0,
                        OutPoint { txid, vout },
                        output.value,
                    );
                }
                if index > 0 {
                    let spent = &connected.spent[usize::try_from(index).unwrap() - 1];
                    for (input, spent) in transaction.input.iter().zip(spent) {
                        touch(&spent.script, 1, input.previous_output, spent.amount);
                    }
                }
            }
            touches.sort();
            let mut bytes = commitment.to_vec();
            bytes.extend(connected.block.block_hash().to_byte_array());
            bytes.extend(sha256::Hash::hash(&touches.concat()).to_byte_array());
            commitment = sha256::Hash::hash(&bytes).to_byte_array();
        }
        commitment
    }
}

impl TransactionReader for Chain {
    fn transactions(&self, wanted: &[(Txid, BlockHash)]) -> Vec<Option<Transaction>> {
        let find = |(txid, block): &(Txid, BlockHash)| {
            let connected = self
                .blocks
                .iter()
                .find(|connected| connected.block.block_hash() == *block)?;
            let transactions = &connected.block.txdata;
            transactions
                .iter()
                .find(|transaction| transaction.compute_txid() == *txid)
                .cloned()
        };
        wanted.iter().map(find).collect()
    }
}

/// The scripts that a transaction touches; none in the genesis block.
pub(super) fn scripts(connected: &ConnectedBlock, index: usize) -> Vec<ScriptBuf> {
    let paid = connected.block.txdata[index]
        .output
        .iter()
        .map(|output| &output.script_pubkey);
    let spent = index.checked_sub(1).map(|before| &connected.spent[before]);
    let mut scripts: Vec<ScriptBuf> = paid
        .chain(spent.into_iter().flatten().map(|output| &output.script))
        .filter(|found| **found != script(UNSPENDABLE))
        .cloned()
        .collect();
    scripts.sort();
    scripts.dedup();
    scripts
}

pub(super) fn coinbase(salt: u32) -> Transaction {
    let mut made = transaction(&[OutPoint::null()], &[(1, 5_000_000_000)]);
    made.input[0].script_sig =
        ScriptBuf::from_bytes([[4; 1].as_slice(), &salt.to_be_bytes()].concat());
    made
}

fn transaction(inputs: &[OutPoint], outputs: &[(u8, u64)]) -> Transaction {
    let inputs = inputs.iter().map(|outpoint| TxIn {
        previous_output: *outpoint,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::new(),
    });
    let outputs = outputs.iter().map(|(n, amount)| TxOut {
        value: Amount::from_sat(*amount),
        script_pubkey: script(*n),
    });
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: inputs.collect(),
        output: outputs.collect(),
    }
}

fn add_outputs(unspent: &mut Vec<(OutPoint, SpentOutput)>, made: &Transaction, height: Height) {
    let txid = made.compute_txid();
    for (vout, output) in (0..).zip(&made.output) {
        let outpoint = OutPoint { txid, vout };
        // A repeated coinbase overwrites what it once created.
        unspent.retain(|(known, _)| *known != outpoint);
        if output.script_pubkey != script(UNSPENDABLE) {
            let output = SpentOutput {
                script: output.script_pubkey.clone(),
                amount: output.value,
                height,
            };
            unspent.push((outpoint, output));
        }
    }
}

/// A block with valid proof of work for the easiest target.
pub(super) fn solved(previous: BlockHash, transactions: Vec<Transaction>) -> Block {
    let header = Header {
        version: Version::TWO,
        prev_blockhash: previous,
        merkle_root: TxMerkleNode::all_zeros(),
        time: 0,
        bits: CompactTarget::from_consensus(0x207f_ffff),
        nonce: 0,
    };
    let mut block = Block {
        header,
        txdata: transactions,
    };
    block.header.merkle_root = block.compute_merkle_root().unwrap();
    while block.header.validate_pow(block.header.target()).is_err() {
        block.header.nonce += 1;
    }
    block
}
