//! A node with a chain that the test mines, and a mempool that it sets.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use bitcoin::block::{Header, Version};
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn,
    TxMerkleNode, TxOut, Txid, absolute, transaction,
};

use crate::chain::{ChainTip, ConnectedBlock, Height, SpentList, SpentOutput};
use crate::mempool::MempoolSource;
use crate::node::{self, ChainState, RestBuffer, RestError, Trouble};
use crate::sync::ChainSource;

/// Makes the bytes of a block something else.
pub(in crate::sync) type Spoil = fn(&mut Vec<u8>);

/// A regtest node in memory.
pub(in crate::sync) struct FakeNode(Mutex<State>);

struct State {
    /// The active chain.
    active: Vec<BlockHash>,
    blocks: HashMap<BlockHash, ConnectedBlock>,
    outputs: HashMap<OutPoint, SpentOutput>,
    mempool: Vec<(Txid, Transaction)>,
    initial_download: bool,
    trouble: Option<Trouble>,
    /// Before it gives blocks.
    pause: Duration,
    /// Blocks that it still gives by REST.
    rest_blocks: u32,
    /// What becomes of the block given by REST when so many are left.
    spoils: Option<(u32, Spoil)>,
    /// Of the calls for blocks, every so many fails.
    stumbles: Option<u32>,
    calls: u32,
    /// Makes blocks differ that are otherwise the same.
    mined: u32,
    /// Mined when the mempool is read next.
    surprise: bool,
}

impl FakeNode {
    pub(in crate::sync) fn new() -> Self {
        let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
        let hash = genesis.block_hash();
        let connected = ConnectedBlock {
            block: genesis,
            spent: Vec::new(),
        };
        Self(Mutex::new(State {
            active: vec![hash],
            blocks: HashMap::from([(hash, connected)]),
            outputs: HashMap::new(),
            mempool: Vec::new(),
            initial_download: false,
            trouble: None,
            pause: Duration::ZERO,
            rest_blocks: 0,
            spoils: None,
            stumbles: None,
            calls: 0,
            mined: 0,
            surprise: false,
        }))
    }

    /// Mines so many blocks, the first one with these transactions, which leave the mempool.
    pub(in crate::sync) fn mine(&self, count: u32, transactions: &[&Transaction]) {
        let mut state = self.state();
        state.mine(transactions);
        for _ in 1..count {
            state.mine(&[]);
        }
    }

    /// Makes the block at this height the tip.
    pub(in crate::sync) fn roll_back(&self, to: u32) -> Vec<BlockHash> {
        let length = usize::try_from(to).unwrap() + 1;
        self.state().active.split_off(length)
    }

    /// Puts blocks on top that were rolled back before.
    pub(in crate::sync) fn reconsider(&self, blocks: Vec<BlockHash>) {
        self.state().active.extend(blocks);
    }

    pub(in crate::sync) fn set_mempool(&self, transactions: &[&Transaction]) {
        let named = transactions
            .iter()
            .map(|transaction| (transaction.compute_txid(), (*transaction).clone()));
        self.state().mempool = named.collect();
    }

    pub(in crate::sync) fn set_initial_download(&self, initial_download: bool) {
        self.state().initial_download = initial_download;
    }

    /// A block comes while the mempool is being read, with all of it, or all but the last if there are several.
    pub(in crate::sync) fn surprise(&self) {
        self.state().surprise = true;
    }

    /// Takes this long to give blocks.
    pub(in crate::sync) fn set_pause(&self, pause: Duration) {
        self.state().pause = pause;
    }

    /// Gives so many blocks by REST and then no more.
    pub(in crate::sync) fn serve_rest(&self, blocks: u32) {
        self.state().rest_blocks = blocks;
    }

    /// Spoils the block that is given by REST when so many are left.
    pub(in crate::sync) fn spoil_rest(&self, left: u32, spoil: Spoil) {
        self.state().spoils = Some((left, spoil));
    }

    /// So many are left.
    pub(in crate::sync) fn rest_left(&self) -> u32 {
        self.state().rest_blocks
    }

    /// Fails at every so many calls for blocks.
    pub(in crate::sync) fn stumble(&self, every: u32) {
        self.state().stumbles = Some(every);
    }

    /// Fails from now on, or no longer.
    pub(in crate::sync) fn fail(&self, trouble: Option<Trouble>) {
        self.state().trouble = trouble;
    }

    pub(in crate::sync) fn tip(&self) -> ChainTip {
        self.state().tip()
    }

    /// The coinbase of the block at this height.
    pub(in crate::sync) fn coinbase(&self, height: u32) -> OutPoint {
        let state = self.state();
        let hash = state.active[usize::try_from(height).unwrap()];
        OutPoint::new(state.blocks[&hash].block.txdata[0].compute_txid(), 0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn answering(&self) -> Result<MutexGuard<'_, State>, node::Error> {
        let state = self.state();
        match state.trouble {
            None => Ok(state),
            Some(Trouble::Unsuitable) => Err(node::Error::Pruned),
            Some(_) => Err(node::Error::WarmingUp {
                call: node::Method::GetBlockchainInfo.into(),
            }),
        }
    }
}

/// The script of whom tests pay.
pub(in crate::sync) fn script(owner: u8) -> ScriptBuf {
    ScriptBuf::from(vec![0x51, owner])
}

/// A transaction that spends one output and pays 1000 satoshi.
pub(in crate::sync) fn pay(from: OutPoint, to: u8) -> Transaction {
    let output = TxOut {
        value: Amount::from_sat(1000),
        script_pubkey: script(to),
    };
    transaction(from, &[], output)
}

fn transaction(from: OutPoint, script_sig: &[u8], output: TxOut) -> Transaction {
    Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: from,
            script_sig: ScriptBuf::from(script_sig.to_vec()),
            sequence: Sequence::MAX,
            ..TxIn::default()
        }],
        output: vec![output],
    }
}

impl State {
    fn stumble(&mut self) -> Result<(), node::Error> {
        self.calls += 1;
        match self.stumbles {
            Some(every) if self.calls.is_multiple_of(every) => Err(node::Error::Overloaded {
                call: node::Method::GetBlock.into(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn tip(&self) -> ChainTip {
        ChainTip {
            height: Height(u32::try_from(self.active.len() - 1).unwrap()),
            hash: self.active[self.active.len() - 1],
        }
    }

    fn mine(&mut self, transactions: &[&Transaction]) {
        let tip = self.tip();
        let height = Height(tip.height.0 + 1);
        self.mined += 1;
        let reward = TxOut {
            value: Amount::from_sat(5_000_000_000),
            script_pubkey: script(0),
        };
        let script_sig = self.mined.to_be_bytes();
        let mut txdata = vec![transaction(OutPoint::null(), &script_sig, reward)];
        txdata.extend(transactions.iter().copied().cloned());
        for transaction in &txdata {
            let output = SpentOutput {
                script: transaction.output[0].script_pubkey.clone(),
                amount: transaction.output[0].value,
                height,
            };
            let outpoint = OutPoint::new(transaction.compute_txid(), 0);
            self.outputs.insert(outpoint, output);
        }
        let spent = txdata[1..]
            .iter()
            .map(|transaction| vec![self.outputs[&transaction.input[0].previous_output].clone()])
            .collect();
        self.mempool
            .retain(|(_, waiting)| !txdata.contains(waiting));
        let block = proven(tip.hash, self.mined, txdata);
        let hash = block.block_hash();
        self.blocks.insert(hash, ConnectedBlock { block, spent });
        self.active.push(hash);
    }
}

/// A block with proof of work, of which regtest asks for very little.
fn proven(previous: BlockHash, time: u32, txdata: Vec<Transaction>) -> Block {
    let header = Header {
        version: Version::TWO,
        prev_blockhash: previous,
        merkle_root: TxMerkleNode::all_zeros(),
        time,
        bits: CompactTarget::from_consensus(0x207f_ffff),
        nonce: 0,
    };
    let mut block = Block { header, txdata };
    block.header.merkle_root = block.compute_merkle_root().unwrap();
    while block.header.validate_pow(block.header.target()).is_err() {
        block.header.nonce += 1;
    }
    block
}

impl ChainSource for FakeNode {
    fn check(&self) -> Result<ChainState, node::Error> {
        self.chain_state()
    }

    fn relays_transactions(&self) -> Result<bool, node::Error> {
        self.answering().map(|_| true)
    }

    fn chain_state(&self) -> Result<ChainState, node::Error> {
        let state = self.answering()?;
        Ok(ChainState {
            tip: state.tip(),
            headers: state.tip().height,
            initial_download: state.initial_download,
        })
    }

    fn block_hashes(&self, heights: &[Height]) -> Result<Vec<Option<BlockHash>>, node::Error> {
        let state = self.answering()?;
        let hash = |height: &Height| {
            let place = usize::try_from(height.0).unwrap();
            state.active.get(place).copied()
        };
        Ok(heights.iter().map(hash).collect())
    }

    fn headers(&self, hashes: &[BlockHash]) -> Result<Vec<Option<Header>>, node::Error> {
        let state = self.answering()?;
        let header = |hash: &BlockHash| state.blocks.get(hash).map(|found| found.block.header);
        Ok(hashes.iter().map(header).collect())
    }

    fn transaction_counts(&self, hashes: &[BlockHash]) -> Result<Vec<Option<u32>>, node::Error> {
        let state = self.state();
        let count = |hash| {
            let found = state.blocks.get(hash)?;
            u32::try_from(found.block.txdata.len()).ok()
        };
        Ok(hashes.iter().map(count).collect())
    }

    fn blocks(&self, hashes: &[BlockHash]) -> Result<Vec<ConnectedBlock>, node::Error> {
        let mut state = self.answering()?;
        state.stumble()?;
        thread::sleep(state.pause);
        let found: Option<Vec<_>> = hashes
            .iter()
            .map(|hash| state.blocks.get(hash).cloned())
            .collect();
        Ok(found.unwrap_or_default())
    }

    fn rest_block(&self, hash: &BlockHash, buffer: &mut RestBuffer) -> Result<(), RestError> {
        let mut state = self.answering().map_err(RestError::Node)?;
        state.stumble().map_err(RestError::Node)?;
        let call = node::Method::GetBlock.into();
        let left = state.rest_blocks.checked_sub(1);
        state.rest_blocks = left.ok_or(RestError::NotServed { call })?;
        let found = state.blocks.get(hash);
        let found = found.ok_or(RestError::NotServed { call })?;
        let mut spent = SpentList::default();
        for outputs in &found.spent {
            spent.begin_transaction(outputs.len());
            for output in outputs {
                spent.push_without_height(output.amount, output.script.as_bytes());
            }
        }
        let mut bytes = serialize(&found.block);
        if let Some((_, spoil)) = state.spoils.filter(|(left, _)| *left == state.rest_blocks) {
            spoil(&mut bytes);
        }
        buffer.fill(bytes, spent);
        Ok(())
    }
}

impl MempoolSource for FakeNode {
    fn mempool_txids(&self) -> Result<Vec<Txid>, node::Error> {
        let mut state = self.answering()?;
        let txids = state.mempool.iter().map(|(txid, _)| *txid).collect();
        if std::mem::take(&mut state.surprise) {
            let mut waiting = state.mempool.clone();
            waiting.truncate(waiting.len().max(2) - 1);
            let mined: Vec<_> = waiting.iter().map(|(_, waiting)| waiting).collect();
            state.mine(&mined);
        }
        Ok(txids)
    }

    fn mempool_transactions(
        &self,
        txids: &[Txid],
    ) -> Result<Vec<Option<Transaction>>, node::Error> {
        let state = self.answering()?;
        let find = |txid: &Txid| {
            let mut waiting = state.mempool.iter();
            let found = waiting.find(|(waiting, _)| waiting == txid);
            found.map(|(_, transaction)| transaction.clone())
        };
        Ok(txids.iter().map(find).collect())
    }

    fn block_transactions(
        &self,
        wanted: &[(Txid, BlockHash)],
    ) -> Result<Vec<Option<Transaction>>, node::Error> {
        let state = self.answering()?;
        let find = |(txid, hash): &(Txid, BlockHash)| {
            let mut transactions = state.blocks.get(hash)?.block.txdata.iter();
            transactions
                .find(|transaction| transaction.compute_txid() == *txid)
                .cloned()
        };
        Ok(wanted.iter().map(find).collect())
    }
}
