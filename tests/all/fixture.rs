//! A small chain, the same in every run, and a node that has its transactions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash as _;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn,
    TxMerkleNode, TxOut, Txid, Witness, consensus, transaction,
};
use claustrum::chain::{ConnectedBlock, Height, Network, PackedBlock, ScriptHash, SpentOutput};
use claustrum::electrum::ProtocolVersion;
use claustrum::index::{Index, Touched};
use claustrum::mempool::Mempool;
use claustrum::node::RejectReason;
use claustrum::query::{
    Acceptance, Changes, FeeMode, FeeRate, MempoolFees, NodeReader, NodeSilent, Readiness, View,
};
use claustrum::redact::RawTransaction;
use claustrum::session::Services;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::client;

/// A chain from the genesis block, indexed and published block by block.
pub(crate) struct Fixture {
    index: Index,
    _dir: TempDir,
    tip: BlockHash,
    /// Transactions with the height of their blocks.
    transactions: HashMap<Txid, (Transaction, Height)>,
    height: u32,
    views: watch::Sender<Option<Arc<View>>>,
    node: Arc<Node>,
}

/// Spends the first output of a transaction and pays to these scripts, in satoshi.
pub(crate) type Payment<'a> = (Txid, &'a [(u8, u64)]);

/// A node that knows these transactions.
#[derive(Default)]
pub(crate) struct Node(Mutex<HashMap<Txid, Vec<u8>>>);

impl Fixture {
    /// The genesis block alone, published.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut index = Index::open(dir.path(), Network::Regtest).unwrap();
        let genesis = ConnectedBlock {
            block: genesis_block(bitcoin::Network::Regtest),
            spent: Vec::new(),
        };
        let genesis = PackedBlock::from(&genesis);
        index.update_raw(None, &[genesis.raw()]).unwrap();
        let view = View {
            version: 1,
            snapshot: index.snapshot(),
            mempool: Arc::new(Mempool::default()),
            readiness: Readiness::Ready,
            changes: Vec::new(),
        };
        Self {
            index,
            _dir: dir,
            tip: Network::Regtest.genesis_hash(),
            transactions: HashMap::new(),
            height: 0,
            views: watch::channel(Some(Arc::new(view))).0,
            node: Arc::new(Node::default()),
        }
    }

    /// Three blocks: script 1 gets two coinbases and pays from the first to script 2 and itself; script 2 pays on.
    pub(crate) fn three_blocks() -> Self {
        let mut fixture = Self::new();
        let first = fixture.mine(1, &[])[0];
        let second = fixture.mine(1, &[(first, &[(2, 2_000_000_000), (1, 3_000_000_000)])])[1];
        fixture.mine(3, &[(second, &[(3, 500_000_000), (2, 1_499_990_000)])]);
        fixture
    }

    /// Mines, indexes and publishes a block whose coinbase pays to a script; returns its txids.
    pub(crate) fn mine(&mut self, coinbase_to: u8, payments: &[Payment<'_>]) -> Vec<Txid> {
        self.height += 1;
        let height = Height(self.height);
        let mut coinbase = transaction(OutPoint::null(), &[(coinbase_to, 5_000_000_000)]);
        let salt = [&[4_u8][..], &self.height.to_be_bytes()].concat();
        coinbase.input[0].script_sig = ScriptBuf::from_bytes(salt);
        let mut made = vec![coinbase];
        let mut spent = Vec::new();
        for (txid, pay) in payments {
            let (funding, funded_at) = &self.transactions[txid];
            spent.push(vec![SpentOutput {
                script: funding.output[0].script_pubkey.clone(),
                amount: funding.output[0].value,
                height: *funded_at,
            }]);
            made.push(transaction(OutPoint::new(*txid, 0), pay));
        }
        let txids: Vec<Txid> = made.iter().map(Transaction::compute_txid).collect();
        for (txid, transaction) in txids.iter().zip(&made) {
            let bytes = consensus::serialize(transaction);
            self.node.0.lock().unwrap().insert(*txid, bytes);
            self.transactions
                .insert(*txid, (transaction.clone(), height));
        }
        let block = solved(self.tip, made);
        self.tip = block.block_hash();
        let keep = Some(Height(self.height - 1));
        let block = PackedBlock::from(&ConnectedBlock { block, spent });
        let touched = self.index.update_raw(keep, &[block.raw()]).unwrap();
        let Touched::Scripts(scripts) = touched else {
            panic!("a block more touches few scripts");
        };
        self.publish(Readiness::Ready, Changes { scripts });
        txids
    }

    /// Publishes the view that follows.
    pub(crate) fn publish(&self, readiness: Readiness, changes: Changes) {
        let before = self.views.borrow().clone().unwrap();
        let snapshot = self.index.snapshot();
        let mempool = Arc::clone(&before.mempool);
        let view = before.followed_by(snapshot, mempool, readiness, changes);
        self.views.send_replace(Some(Arc::new(view)));
    }

    /// Says that a script changed when it did not.
    pub(crate) fn touch(&self, n: u8) {
        let prefix = self.index.snapshot().prefix(&ScriptHash::of(&script(n)));
        let scripts = vec![prefix];
        self.publish(Readiness::Ready, Changes { scripts });
    }

    /// Sessions that may agree on this version of the protocol.
    pub(crate) fn speaking(&self, version: ProtocolVersion) -> Arc<Services> {
        client::speaking(version, self.views(), Arc::clone(&self.node))
    }

    pub(crate) fn services(&self) -> Arc<Services> {
        client::services(self.views(), Arc::clone(&self.node))
    }

    pub(crate) fn views(&self) -> watch::Receiver<Option<Arc<View>>> {
        self.views.subscribe()
    }
}

/// The script hash of a script by number, as clients say it.
pub(crate) fn script_hash(n: u8) -> String {
    ScriptHash::of(&script(n)).to_wire()
}

impl NodeReader for Node {
    fn raw_transaction(
        &self,
        txid: &Txid,
        _: Option<&BlockHash>,
    ) -> Result<Option<Vec<u8>>, NodeSilent> {
        Ok(self.0.lock().unwrap().get(txid).cloned())
    }

    fn estimate_fee(
        &self,
        blocks: u16,
        mode: Option<FeeMode>,
    ) -> Result<Option<FeeRate>, NodeSilent> {
        match (blocks, mode) {
            (1, _) => Ok(None),
            (1008, _) => Err(NodeSilent),
            (_, Some(FeeMode::Economical)) => Ok(Some(FeeRate(1000))),
            (_, _) => Ok(Some(FeeRate(12_345))),
        }
    }

    fn mempool_fees(&self) -> Result<MempoolFees, NodeSilent> {
        Ok(MempoolFees {
            mempool_minimum: FeeRate(2000),
            relay_minimum: FeeRate(1000),
            incremental: FeeRate(100),
        })
    }

    /// It would take the first, has the second, and looks at no other.
    fn test_accept(&self, transactions: &[RawTransaction]) -> Result<Vec<Acceptance>, NodeSilent> {
        let known = RejectReason::new("txn-already-in-mempool".to_owned());
        let first = [(Some(true), None), (Some(false), Some(known))].into_iter();
        let answers = first.chain(std::iter::repeat_with(|| (None, None)));
        let answers = answers.map(|(allowed, reason)| Acceptance { allowed, reason });
        Ok(answers.take(transactions.len()).collect())
    }
}

pub(crate) fn script(n: u8) -> ScriptBuf {
    ScriptBuf::from_bytes(vec![0x51, n])
}

pub(crate) fn transaction(spend: OutPoint, pay: &[(u8, u64)]) -> Transaction {
    let output = |(n, amount): &(u8, u64)| TxOut {
        value: Amount::from_sat(*amount),
        script_pubkey: script(*n),
    };
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: spend,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: pay.iter().map(output).collect(),
    }
}

/// A block with valid proof of work for the easiest target.
pub(crate) fn solved(previous: BlockHash, transactions: Vec<Transaction>) -> Block {
    let mut block = Block {
        header: Header {
            version: Version::TWO,
            prev_blockhash: previous,
            merkle_root: TxMerkleNode::all_zeros(),
            time: 0,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce: 0,
        },
        txdata: transactions,
    };
    block.header.merkle_root = block.compute_merkle_root().unwrap();
    while block.header.validate_pow(block.header.target()).is_err() {
        block.header.nonce += 1;
    }
    block
}
