//! What a session keeps of its answers: how much, for how long, and that it is of use.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bitcoin::constants::genesis_block;
use bitcoin::{BlockHash, OutPoint, Transaction, consensus};
use claustrum::chain::{
    BlockPlace, ConnectedBlock, Height, Network, PackedBlock, ScriptHash, SpentOutput,
};
use claustrum::index::bulk::{BulkShape, PlannedBlock};
use claustrum::index::{self, BlockFiles, Index, OpenBlockFile};
use claustrum::limits;
use claustrum::mempool::Mempool;
use claustrum::query::{Answer, Error, NobodyToAsk, Query, Readiness, SessionMemo, View};
use claustrum::redact::{ClientOutpoint, ClientTxid};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::client::{self, Client};
use crate::fixture::{self, Node, solved, transaction};

/// The node's one block file, and how often it was read.
#[derive(Default)]
struct File {
    bytes: Vec<u8>,
    reads: AtomicUsize,
}

struct OpenFile(Arc<File>);

struct Files(Arc<File>);

impl BlockFiles for Files {
    fn open(&self, _: u32) -> io::Result<Box<dyn OpenBlockFile>> {
        Ok(Box::new(OpenFile(Arc::clone(&self.0))))
    }

    fn places(&self, blocks: &[BlockHash], _: u32) -> Vec<Option<BlockPlace>> {
        vec![None; blocks.len()]
    }
}

impl OpenBlockFile for OpenFile {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0.reads.fetch_add(1, Ordering::Relaxed);
        let from = usize::try_from(offset).unwrap();
        bytes.copy_from_slice(&self.0.bytes[from..from + bytes.len()]);
        Ok(())
    }
}

/// A chain whose last block pays to many scripts in as many transactions.
struct Payments {
    view: Arc<View>,
    file: Arc<File>,
    _dir: TempDir,
}

impl Payments {
    fn to(scripts: u16) -> Self {
        let genesis = genesis_block(bitcoin::Network::Regtest);
        let coinbase = |salt: u8, outputs: usize| {
            let mut coinbase = transaction(OutPoint::null(), &vec![(1, 100); outputs]);
            coinbase.input[0].script_sig = vec![1, salt].into();
            coinbase
        };
        let first = coinbase(1, scripts.into());
        let funding = first.compute_txid();
        let pay = |n: u16| {
            let mut made = transaction(OutPoint::new(funding, n.into()), &[(1, 100)]);
            made.output[0].script_pubkey = script(n);
            made
        };
        let payments: Vec<Transaction> = (0..scripts).map(pay).collect();
        let spent = SpentOutput {
            script: first.output[0].script_pubkey.clone(),
            amount: first.output[0].value,
            height: Height(1),
        };
        let spent = vec![vec![spent]; payments.len()];
        let low = solved(genesis.block_hash(), vec![first]);
        let high = [vec![coinbase(2, 1)], payments].concat();
        let high = solved(low.block_hash(), high);
        let blocks = [(genesis, vec![]), (low, vec![]), (high, spent)];
        Self::indexed(&blocks.map(|(block, spent)| ConnectedBlock { block, spent }))
    }

    fn indexed(blocks: &[ConnectedBlock]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut index = Index::open(&dir.path().join("index"), Network::Regtest).unwrap();
        let file = Arc::new(take_in(&mut index, blocks, &dir.path().join("work")));
        index.read_from(Arc::new(Files(Arc::clone(&file)))).unwrap();
        let view = Arc::new(View {
            version: 1,
            snapshot: index.snapshot(),
            mempool: Arc::new(Mempool::default()),
            readiness: Readiness::Ready,
            changes: Vec::new(),
        });
        Self {
            view,
            file,
            _dir: dir,
        }
    }

    /// How often the file is read for this.
    async fn reads<T>(&self, work: impl Future<Output = T>) -> (T, usize) {
        let before = self.file.reads.load(Ordering::Relaxed);
        let done = work.await;
        (done, self.file.reads.load(Ordering::Relaxed) - before)
    }
}

/// Takes all blocks in at once, so that the index knows transactions by their places alone.
fn take_in(index: &mut Index, blocks: &[ConnectedBlock], work: &Path) -> File {
    let planned = blocks.iter().map(|connected| PlannedBlock {
        hash: connected.block.block_hash(),
        transactions: u32::try_from(connected.block.txdata.len()).unwrap(),
    });
    let shape = BulkShape {
        partition_bits: 8,
        shard_bits: 0,
        txids: false,
    };
    let bulk = Arc::new(index.bulk(work, planned.collect(), shape).unwrap());
    let mut worker = bulk.worker().unwrap();
    let mut file = File::default();
    for connected in blocks {
        let height = bulk.claim(&connected.block.block_hash()).unwrap();
        let packed = PackedBlock::from(connected);
        let place = BlockPlace {
            file: 0,
            offset: u32::try_from(file.bytes.len()).unwrap(),
            length: u32::try_from(packed.bytes.len()).unwrap(),
        };
        worker.add(height, Some(place), packed.raw()).unwrap();
        file.bytes.extend(&packed.bytes);
    }
    let built = bulk.build(vec![worker.finish().unwrap()], 1).unwrap();
    index.take_in(built).unwrap();
    file
}

fn script(n: u16) -> bitcoin::ScriptBuf {
    let [high, low] = n.to_be_bytes();
    vec![0x52, high, low].into()
}

fn ask(method: &str) -> String {
    let hash = ScriptHash::of(&script(0)).to_wire();
    format!("{{\"id\":1,\"method\":\"blockchain.scripthash.{method}\",\"params\":[\"{hash}\"]}}")
}

#[tokio::test(start_paused = true)]
async fn a_session_reads_no_txid_again_until_a_minute_has_passed_without_a_request() {
    let payments = Payments::to(3);
    let (_sender, views) = watch::channel(Some(Arc::clone(&payments.view)));
    let services = client::services(views, Arc::new(Node::default()));
    let mut client = Client::connect(&services);
    let (history, unspent) = (ask("get_history"), ask("listunspent"));
    let (told, reads) = payments.reads(client.ask(&history)).await;
    assert!(told.contains("tx_hash") && reads > 0, "{told}");
    let second = Duration::from_secs(1);
    let soon = limits::MEMO_IDLE_MAX.saturating_sub(second);
    for line in [&unspent, &history, &unspent] {
        tokio::time::sleep(soon).await;
        let (told, reads) = payments.reads(client.ask(line)).await;
        assert!(told.contains("tx_hash") && reads == 0, "{told}, {reads}");
    }
    // What one session knows is of no use to another.
    let mut other = Client::connect(&services);
    assert_ne!(payments.reads(other.ask(&history)).await.1, 0);
    tokio::time::sleep(limits::MEMO_IDLE_MAX + second).await;
    assert_ne!(payments.reads(client.ask(&unspent)).await.1, 0);
}

#[test]
fn what_a_session_keeps_is_within_its_bound_whatever_it_asks() {
    let scripts = u16::try_from(limits::MEMO_TXIDS_MAX + 1000).unwrap();
    let payments = Payments::to(scripts);
    let memo = SessionMemo::keeping(1);
    assert!(memo.is_empty() && memo.bytes() == 0);
    let mut most = 0;
    for n in 0..scripts {
        let status = Query::Status(ScriptHash::of(&script(n)));
        drop(memo.answer(&payments.view, &NobodyToAsk, &status).unwrap());
        most = most.max(memo.bytes());
    }
    // All that may be kept was, and gave way to more.
    let bound = limits::MEMO_BYTES_MAX;
    assert!(most <= bound && most > bound * 3 / 4, "{most} bytes");
    // An answer with more than there is room for.
    let whole = Query::History(ScriptHash::of(&fixture::script(1)));
    drop(memo.answer(&payments.view, &NobodyToAsk, &whole).unwrap());
    assert!(memo.bytes() <= bound);
    memo.clear();
    assert!(memo.is_empty() && memo.bytes() == 0);
}

#[test]
fn a_transaction_one_byte_too_long_is_no_little_effort() {
    let most = limits::LITTLE_EFFORT_BYTES;
    let long = |bytes: usize| {
        let mut made = transaction(OutPoint::null(), &[(1, 100)]);
        made.input[0].script_sig = vec![1; bytes / 2].into();
        let missing = bytes - consensus::serialize(&made).len();
        made.input[0].script_sig = vec![1; bytes / 2 + missing].into();
        assert_eq!(consensus::serialize(&made).len(), bytes);
        made
    };
    let made = [long(most), long(most + 1)];
    let txids = made.each_ref().map(Transaction::compute_txid);
    let mut blocks = vec![genesis_block(bitcoin::Network::Regtest)];
    for coinbase in made {
        blocks.push(solved(
            blocks[blocks.len() - 1].block_hash(),
            vec![coinbase],
        ));
    }
    let connected = blocks.into_iter().map(|block| {
        let spent = Vec::new();
        ConnectedBlock { block, spent }
    });
    let connected: Vec<ConnectedBlock> = connected.collect();
    let chain = Payments::indexed(&connected);
    let memo = SessionMemo::default();
    for (txid, at_once) in txids.into_iter().zip([true, false]) {
        let query = Query::Transaction(ClientTxid::new(txid));
        let whole = memo.answer(&chain.view, &NobodyToAsk, &query);
        assert!(matches!(whole, Ok(Answer::Transaction(_))));
        let told = memo.answer_at_once(&chain.view, &query);
        assert_eq!(told.is_some(), at_once);
    }
}

#[test]
fn a_spender_is_looked_for_among_so_many_transactions() {
    let most = limits::SPENDER_SEARCH_MAX;
    // Besides them, the coinbase of their block pays to the script whose outputs they spend, and is read first.
    let payments = Payments::to(u16::try_from(most).unwrap());
    let first = payments.view.snapshot.block_txids(Height(1)).unwrap();
    let first = first.unwrap()[0];
    for (read, found) in [(most, true), (most + 1, false)] {
        let vout = u32::try_from(read - 2).unwrap();
        let query = Query::Outpoint(ClientOutpoint::new(OutPoint::new(first, vout)));
        match SessionMemo::default().answer(&payments.view, &NobodyToAsk, &query) {
            Ok(Answer::Outpoint(status)) => assert!(found && status.spender.is_some(), "{read}"),
            Err(error) => assert!(
                !found && matches!(error, Error::Index(index::Error::TooMuch)),
                "{read}"
            ),
            Ok(_) => panic!("another answer"),
        }
    }
}
