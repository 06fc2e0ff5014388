//! A made-up chain with the proportions of real ones, and some scripts with long histories. It is input and nothing
//! else: whatever is measured is done by the functions that the product uses.

use std::path::Path;

use anyhow::{Context as _, Result};
use bitcoin::absolute::LockTime;
use bitcoin::block::Header;
use bitcoin::consensus::encode;
use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::{
    Amount, Block, BlockHash, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness,
    transaction,
};
use claustrum::chain::{BlockPlace, Height, RawBlock, SpentList};
use claustrum::index::bulk::PlannedBlock;

/// About so many entries have the scripts that are asked about.
pub(crate) const ENTRIES: [usize; 4] = [1, 100, 10_000, 100_000];
/// Bytes of the heaviest block file.
const FILE_BYTES: usize = 128 << 20;
const OBFUSCATION: [u8; 8] = [0xa5, 0x3c, 0x17, 0x99, 0x42, 0xf0, 0x6d, 0x01];

/// How large a chain is to be.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    /// Blocks that are taken in in bulk, and transactions in each.
    pub(crate) bulk: (u32, u32),
    /// Blocks that come one by one, and transactions in each.
    pub(crate) tip: (u32, u32),
}

/// A block and what it spends.
pub(crate) struct Made {
    pub(crate) planned: PlannedBlock,
    pub(crate) bytes: Vec<u8>,
    pub(crate) spent: SpentList,
    pub(crate) place: Option<BlockPlace>,
    /// About as many as it and its undo data take in the node's files.
    pub(crate) file_bytes: usize,
}

pub(crate) struct Chain {
    pub(crate) blocks: Vec<Made>,
    /// Touches of indexed scripts, before any are put together.
    pub(crate) events: usize,
}

struct Coin {
    outpoint: OutPoint,
    script: ScriptBuf,
    amount: Amount,
    height: Height,
}

struct Maker {
    random: u64,
    coins: Vec<Coin>,
    /// Scripts that may be paid again.
    known: Vec<ScriptBuf>,
    hash: BlockHash,
    height: u32,
    made: usize,
    total: usize,
    chain: Chain,
}

impl Made {
    pub(crate) fn raw(&self) -> RawBlock<'_> {
        RawBlock {
            bytes: &self.bytes,
            spent: &self.spent,
        }
    }
}

/// The script with about so many entries.
pub(crate) fn script(entries: usize) -> ScriptBuf {
    witness_script(&entries.to_le_bytes())
}

/// Makes a chain, the same each time.
pub(crate) fn make(size: Size) -> Result<Chain> {
    let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
    let transactions = |(blocks, each): (u32, u32)| usize::try_from(blocks * each);
    let mut maker = Maker {
        random: 1,
        coins: Vec::new(),
        known: Vec::new(),
        hash: genesis.block_hash(),
        height: 0,
        made: 0,
        total: transactions(size.bulk)? + transactions(size.tip)?,
        chain: Chain {
            blocks: Vec::new(),
            events: 0,
        },
    };
    maker.keep(&genesis, SpentList::default())?;
    for (blocks, each) in [size.bulk, size.tip] {
        for _ in 0..blocks {
            maker.block(each)?;
        }
    }
    Ok(maker.chain)
}

/// Writes the blocks into files as the node does.
pub(crate) fn write_files(chain: &mut Chain, dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join("xor.dat"), OBFUSCATION)?;
    let (mut file, mut bytes) = (0, Vec::new());
    let write = |file: u32, bytes: &mut Vec<u8>| {
        for (byte, key) in bytes.iter_mut().zip(OBFUSCATION.iter().cycle()) {
            *byte ^= key;
        }
        std::fs::write(dir.join(format!("blk{file:05}.dat")), &*bytes)
    };
    for made in &mut chain.blocks {
        if bytes.len() + made.bytes.len() > FILE_BYTES {
            write(file, &mut bytes)?;
            (file, bytes) = (file + 1, Vec::new());
        }
        let length = u32::try_from(made.bytes.len())?;
        bytes.extend(bitcoin::Network::Regtest.magic().to_bytes());
        bytes.extend(length.to_le_bytes());
        let offset = u32::try_from(bytes.len())?;
        made.place = Some(BlockPlace {
            file,
            offset,
            length,
        });
        bytes.extend(&made.bytes);
    }
    write(file, &mut bytes)?;
    Ok(())
}

impl Maker {
    fn block(&mut self, transactions: u32) -> Result<()> {
        self.height += 1;
        let mut spent = SpentList::default();
        let reward = vec![self.output(50_000_000_000)];
        let mark = ScriptBuf::from_bytes(self.height.to_le_bytes().to_vec());
        let mut txdata =
            vec![self.finish(vec![input(OutPoint::null(), mark, Witness::new())], reward)];
        while txdata.len() < usize::try_from(transactions)? && !self.coins.is_empty() {
            txdata.push(self.transaction(&mut spent)?);
        }
        let header = Header {
            version: bitcoin::block::Version::TWO,
            prev_blockhash: self.hash,
            merkle_root: bitcoin::TxMerkleNode::all_zeros(),
            time: 1_600_000_000 + self.height,
            bits: bitcoin::CompactTarget::from_consensus(0x207f_ffff),
            nonce: 0,
        };
        let mut block = Block { header, txdata };
        block.header.merkle_root = block.compute_merkle_root().context("a block of nothing")?;
        while !block.header.target().is_met_by(block.block_hash()) {
            block.header.nonce += 1;
        }
        self.keep(&block, spent)
    }

    fn transaction(&mut self, spent: &mut SpentList) -> Result<Transaction> {
        // Until there are coins enough they multiply; then they stay about as many.
        let is_young = self.coins.len() < 20_000;
        let inputs = if is_young { 1 } else { 1 + self.below(4) };
        let outputs = if is_young { 3 } else { 2 + self.below(2) };
        spent.begin_transaction(inputs);
        let (mut sources, mut sum) = (Vec::new(), 0);
        for _ in 0..inputs {
            let at = self.below(self.coins.len());
            let coin = self.coins.swap_remove(at);
            spent.push(coin.height, coin.amount, &[coin.script.as_bytes()]);
            sum += coin.amount.to_sat();
            self.chain.events += 1;
            let witness = Witness::from_slice(&[[3_u8; 71].as_slice(), &[2; 33]]);
            sources.push(input(coin.outpoint, ScriptBuf::new(), witness));
        }
        let mut paid: Vec<TxOut> = Vec::new();
        for _ in 0..outputs {
            paid.push(self.output(sum / u64::try_from(outputs)?));
        }
        self.made += 1;
        // Half of the entries are payments; nearly all of them are spent again.
        let period = |entries: &usize| self.total / (entries.div_ceil(2) + 1);
        let due = ENTRIES
            .iter()
            .find(|entries| self.made.is_multiple_of(period(entries).max(1)));
        if let Some(entries) = due {
            paid[0].script_pubkey = script(*entries);
        }
        Ok(self.finish(sources, paid))
    }

    fn output(&mut self, amount: u64) -> TxOut {
        let again = self.below(5) < 2 && !self.known.is_empty();
        let script_pubkey = if again {
            let at = self.below(self.known.len());
            self.known.swap_remove(at)
        } else {
            witness_script(&self.next().to_le_bytes())
        };
        self.known.push(script_pubkey.clone());
        TxOut {
            value: Amount::from_sat(amount),
            script_pubkey,
        }
    }

    /// Lets the outputs be spent.
    fn finish(&mut self, input: Vec<TxIn>, output: Vec<TxOut>) -> Transaction {
        let made = Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input,
            output,
        };
        let txid = made.compute_txid();
        let height = Height(self.height);
        for (vout, output) in (0..).zip(&made.output) {
            self.chain.events += 1;
            self.coins.push(Coin {
                outpoint: OutPoint { txid, vout },
                script: output.script_pubkey.clone(),
                amount: output.value,
                height,
            });
        }
        made
    }

    fn keep(&mut self, block: &Block, spent: SpentList) -> Result<()> {
        self.hash = block.block_hash();
        let bytes = encode::serialize(block);
        let undo: usize = spent.iter().map(|output| output.script.len() + 9).sum();
        self.chain.blocks.push(Made {
            planned: PlannedBlock {
                hash: self.hash,
                transactions: u32::try_from(block.txdata.len())?,
            },
            file_bytes: bytes.len() + undo,
            bytes,
            spent,
            place: None,
        });
        Ok(())
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap_or(1);
        usize::try_from(self.next() % bound).unwrap_or_default()
    }
}

fn input(previous_output: OutPoint, script_sig: ScriptBuf, witness: Witness) -> TxIn {
    TxIn {
        previous_output,
        script_sig,
        sequence: Sequence::MAX,
        witness,
    }
}

/// Twenty bytes behind a version, as most outputs have.
fn witness_script(seed: &[u8]) -> ScriptBuf {
    let hash = sha256::Hash::hash(seed).to_byte_array();
    ScriptBuf::from_bytes([&[0, 20], &hash[..20]].concat())
}
