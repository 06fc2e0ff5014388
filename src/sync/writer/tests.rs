//! Step by step behind a fake node.

mod views;

use std::sync::{Arc, Mutex};
use std::time::Instant;

use bitcoin::OutPoint;
use tempfile::TempDir;

use super::{Next, Writer, is_chain_above};
use crate::chain::{Height, PackedBlock, ScriptHash};
use crate::index::ScriptPrefix;
use crate::limits;
use crate::node::Trouble;
use crate::query::{CatchUp, Changed, Changes, MempoolGap, Readiness, View};
use crate::sync::tests::{FakeNode, pay, script, writer};
use crate::sync::{ChainSource as _, NodeState};

struct Bench {
    node: Arc<FakeNode>,
    writer: Writer,
    views: Arc<Mutex<Vec<View>>>,
    _dir: TempDir,
}

impl Bench {
    /// Behind a node with so many blocks above the genesis block, caught up.
    fn level_with(blocks: u32) -> Self {
        let mut bench = Self::behind(blocks);
        bench.settle();
        bench
    }

    fn behind(blocks: u32) -> Self {
        let node = Arc::new(FakeNode::new());
        node.mine(blocks, &[]);
        let dir = tempfile::tempdir().unwrap();
        let (writer, views) = writer(&node, &dir);
        Self {
            node,
            writer,
            views,
            _dir: dir,
        }
    }

    /// Steps until there is a pause; gives the views published meanwhile.
    fn settle(&mut self) -> Vec<View> {
        // As if the pause since the last list were over.
        self.writer.poller.list_again();
        for _ in 0..100 {
            if matches!(self.writer.step().unwrap(), Next::Pause(_)) {
                return std::mem::take(&mut *self.views.lock().unwrap());
            }
        }
        panic!("the writer does not come to rest");
    }

    /// Fails one step.
    fn lose(&mut self) -> Vec<View> {
        self.node.fail(Some(Trouble::WarmingUp));
        assert!(self.writer.step().is_err());
        self.writer.lost(Trouble::WarmingUp);
        self.node.fail(None);
        std::mem::take(&mut *self.views.lock().unwrap())
    }

    /// Lets the time pass after which a view is stale.
    fn wait_long(&mut self) {
        let long_ago = Instant::now().checked_sub(limits::NODE_SILENCE_MAX);
        self.writer.fresh = long_ago.unwrap();
    }

    fn node_state(&self) -> NodeState {
        self.writer.progress().reader().now().node
    }
}

/// The owners among `0..=9` that a view's last change names.
fn changed(view: &View) -> Vec<u8> {
    let Some(changes) = view.changes.last() else {
        return Vec::new();
    };
    let owner = |owner: &u8| {
        let prefix = view.snapshot.prefix(&ScriptHash::of(&script(*owner)));
        changes.contains(prefix)
    };
    (0..=9).filter(owner).collect()
}

fn only(views: Vec<View>) -> View {
    let [view] = views.try_into().ok().expect("exactly one view");
    view
}

#[test]
fn catching_up_shows_each_commit_and_ends_in_a_view_that_forgets_all_changes() {
    let mut bench = Bench::behind(150);
    let views = bench.settle();
    let readiness: Vec<_> = views.iter().map(|view| view.readiness).collect();
    let catching_up = |indexed| {
        Readiness::CatchingUp(CatchUp {
            indexed,
            target: 151,
            speed: None,
        })
    };
    assert_eq!(
        readiness,
        [catching_up(64), catching_up(128), Readiness::Ready]
    );
    let versions: Vec<_> = views.iter().map(|view| view.version).collect();
    assert_eq!(versions, [1, 2, 3]);
    assert!(matches!(views[2].changed_since(2), Changed::All));
    assert_eq!(views[2].tip(), Some(bench.node.tip()));
    let progress = bench.writer.progress().reader().now();
    assert_eq!((progress.indexed, progress.target), (151, 151));
    assert_eq!(bench.node_state(), NodeState::Followed);
    assert!(bench.settle().is_empty());
}

#[test]
fn a_block_and_the_mempool_that_goes_with_it_come_in_one_view() {
    let mut bench = Bench::level_with(2);
    let payment = pay(bench.node.coinbase(1), 1);
    bench.node.set_mempool(&[&payment]);
    let unconfirmed = only(bench.settle());
    assert_eq!(changed(&unconfirmed), [0, 1]);
    assert!(unconfirmed.mempool.contains(&payment.compute_txid()));

    bench.node.mine(1, &[&payment]);
    let confirmed = only(bench.settle());
    assert_eq!(confirmed.version, unconfirmed.version + 1);
    assert_eq!(confirmed.tip().unwrap().height, Height(3));
    assert_eq!(changed(&confirmed), [0, 1]);
    assert!(!confirmed.mempool.contains(&payment.compute_txid()));
    let position = confirmed.snapshot.position(&payment.compute_txid());
    assert_eq!(position.unwrap().unwrap().height, Height(3));
}

#[test]
fn a_large_mempool_is_served_while_it_is_read() {
    let mut bench = Bench::level_with(2);
    let mut chain = vec![pay(bench.node.coinbase(1), 1)];
    for _ in 0..limits::MEMPOOL_FETCH_MAX + 100 {
        let last = chain.last().unwrap().compute_txid();
        chain.push(pay(OutPoint::new(last, 0), 1));
    }
    bench.node.set_mempool(&chain.iter().collect::<Vec<_>>());
    bench.writer.poller.list_again();
    bench.writer.published_at -= limits::MEMPOOL_LOADING_INTERVAL;
    assert_eq!(bench.writer.step().unwrap(), Next::Step);
    let first = only(std::mem::take(&mut *bench.views.lock().unwrap()));
    let percent = MempoolGap::Loading(91);
    assert_eq!(first.readiness, Readiness::ReadyInPart(percent));
    assert_eq!(first.mempool.len(), limits::MEMPOOL_FETCH_MAX);
    let progress = bench.writer.progress().reader().now();
    assert_eq!(progress.mempool_text(), "1024 of 1125 transactions so far");

    let second = only(bench.settle());
    assert_eq!(second.readiness, Readiness::Ready);
    assert_eq!(second.mempool.len(), chain.len());
    assert_eq!(changed(&second), [1]);
    let progress = bench.writer.progress().reader().now();
    assert_eq!(progress.mempool_text(), "1125 transactions");

    // One who is shown a part is not shown another one at once.
    bench.node.set_mempool(&[]);
    only(bench.settle());
    bench.node.set_mempool(&chain.iter().collect::<Vec<_>>());
    assert_eq!(only(bench.settle()).mempool.len(), chain.len());
}

#[test]
fn a_view_remembers_the_changes_of_so_many_versions_and_so_many_scripts() {
    let mut bench = Bench::behind(1);
    let first = bench.settle().pop().unwrap();
    let follow = |view: &View, scripts: usize| {
        let scripts = (0..).take(scripts).map(ScriptPrefix).collect();
        let (snapshot, mempool) = (Arc::clone(&view.snapshot), Arc::clone(&view.mempool));
        view.followed_by(snapshot, mempool, Readiness::Ready, Changes { scripts })
    };
    let remembered = |view: &View, versions: u64| match view.changed_since(view.version - versions)
    {
        Changed::Some(changes) => Some(changes.len()),
        Changed::All => None,
    };
    let mut view = first;
    for _ in 0..=limits::VIEW_CHANGES_MAX {
        view = follow(&view, 1);
    }
    assert_eq!(remembered(&view, 0), Some(0));
    assert_eq!(remembered(&view, 64), Some(64));
    assert_eq!(remembered(&view, 65), None);
    // The one before the last does not fit beside it, so all before it are forgotten too.
    view = follow(&follow(&view, 2), limits::VIEW_SCRIPTS_MAX - 1);
    assert_eq!(remembered(&view, 1), Some(1));
    assert_eq!(remembered(&view, 2), None);
    view = follow(&view, 1);
    assert_eq!(remembered(&view, 2), Some(2));
    // What is too much by itself is named all the same.
    view = follow(&view, limits::VIEW_SCRIPTS_MAX + 1);
    assert_eq!(remembered(&view, 1), Some(1));
    assert_eq!(remembered(&view, 2), None);
}

#[test]
fn a_block_that_comes_while_the_mempool_is_read_is_waited_for() {
    let mut bench = Bench::level_with(2);
    let payment = pay(bench.node.coinbase(1), 1);
    bench.node.set_mempool(&[&payment]);
    bench.node.surprise();
    let view = only(bench.settle());
    assert_eq!(view.tip().unwrap().height, Height(3));
    assert!(view.mempool.is_empty());
    assert_eq!(changed(&view), [0, 1]);
}

#[test]
fn a_branch_with_more_work_is_followed_in_one_view() {
    let mut bench = Bench::level_with(5);
    let payment = pay(bench.node.coinbase(1), 1);
    bench.node.mine(2, &[&payment]);
    let first = only(bench.settle());
    let old = bench.node.roll_back(5);
    let other = pay(bench.node.coinbase(1), 2);
    bench.node.mine(3, &[&other]);
    let second = only(bench.settle());
    assert_eq!(second.tip(), Some(bench.node.tip()));
    assert_eq!(changed(&second), [0, 1, 2]);
    assert!(
        second
            .snapshot
            .position(&payment.compute_txid())
            .unwrap()
            .is_none()
    );
    assert!(
        second
            .snapshot
            .position(&other.compute_txid())
            .unwrap()
            .is_some()
    );
    // The view from before the reorg still answers for its time.
    assert!(
        first
            .snapshot
            .position(&payment.compute_txid())
            .unwrap()
            .is_some()
    );

    // And back again, when the first branch has grown longer.
    bench.node.roll_back(5);
    bench.node.reconsider(old);
    bench.node.mine(2, &[]);
    let third = only(bench.settle());
    assert_eq!(third.tip(), Some(bench.node.tip()));
    assert!(
        third
            .snapshot
            .position(&payment.compute_txid())
            .unwrap()
            .is_some()
    );
}

#[test]
fn a_reorg_deeper_than_a_commit_answers_nothing_until_it_is_through() {
    let mut bench = Bench::level_with(200);
    bench.node.roll_back(50);
    bench.node.mine(151, &[]);
    let views = bench.settle();
    let ready: Vec<_> = views
        .iter()
        .map(|view| view.readiness == Readiness::Ready)
        .collect();
    assert_eq!(ready, [false, false, true]);
    assert_eq!(views[2].tip(), Some(bench.node.tip()));
    assert!(matches!(
        views[2].changed_since(views[1].version),
        Changed::All
    ));
}

#[test]
fn equal_work_and_a_shorter_chain_are_not_followed() {
    let mut bench = Bench::level_with(6);
    let ours = bench.node.tip();
    for blocks_above in [0, 1, 2, 3] {
        let rest = bench.node.roll_back(3);
        if blocks_above > 0 {
            bench.node.mine(blocks_above, &[]);
        }
        assert!(bench.settle().is_empty());
        assert_eq!(bench.node_state(), NodeState::Behind);
        assert_eq!(bench.writer.index.snapshot().tip(), Some(ours));
        bench.node.roll_back(3);
        bench.node.reconsider(rest);
        assert!(bench.settle().is_empty());
        assert_eq!(bench.node_state(), NodeState::Followed);
    }
}

#[test]
fn a_node_lost_for_long_makes_the_view_stale_and_its_return_ready_again() {
    let mut bench = Bench::level_with(2);
    assert!(bench.lose().is_empty());
    assert_eq!(bench.node_state(), NodeState::Lost(Trouble::WarmingUp));
    bench.wait_long();
    let stale = only(bench.lose());
    assert_eq!(stale.readiness, Readiness::Stale);
    assert!(bench.lose().is_empty());
    let payment = pay(bench.node.coinbase(1), 1);
    bench.node.mine(1, &[&payment]);
    let ready = only(bench.settle());
    assert_eq!(ready.readiness, Readiness::Ready);
    assert_eq!(changed(&ready), [0, 1]);
}

#[test]
fn a_node_behind_for_long_makes_the_view_stale_too() {
    let mut bench = Bench::level_with(3);
    bench.node.roll_back(1);
    assert!(bench.settle().is_empty());
    bench.wait_long();
    assert_eq!(only(bench.settle()).readiness, Readiness::Stale);
}

#[test]
fn a_change_that_was_committed_before_the_node_was_lost_is_told_afterwards() {
    let mut bench = Bench::level_with(2);
    let payment = pay(bench.node.coinbase(1), 1);
    bench.node.mine(1, &[&payment]);
    assert_eq!(bench.writer.step().unwrap(), Next::Step);
    bench.wait_long();
    let stale = only(bench.lose());
    assert_eq!(changed(&stale), [0; 0]);
    assert_eq!(stale.tip().unwrap().height, Height(2));
    let ready = only(bench.settle());
    assert_eq!(changed(&ready), [0, 1]);
    assert_eq!(ready.tip().unwrap().height, Height(3));
}

#[test]
fn while_the_node_downloads_the_chain_nothing_is_ready() {
    let mut bench = Bench::behind(3);
    bench.node.set_initial_download(true);
    let view = only(bench.settle());
    let catching_up = Readiness::CatchingUp(CatchUp {
        indexed: 4,
        target: 4,
        speed: None,
    });
    assert_eq!(view.readiness, catching_up);
    assert_eq!(bench.node_state(), NodeState::InitialDownload);
    assert!(bench.settle().is_empty());
    bench.node.set_initial_download(false);
    let ready = only(bench.settle());
    assert_eq!(ready.readiness, Readiness::Ready);
    assert!(matches!(ready.changed_since(view.version), Changed::All));
}

#[test]
fn only_blocks_that_follow_each_other_are_committed() {
    let node = FakeNode::new();
    node.mine(3, &[]);
    let hashes = node.block_hashes(&[0, 1, 2, 3].map(Height)).unwrap();
    let found: Option<Vec<_>> = hashes.iter().copied().collect();
    let packed = node.blocks(&found.unwrap()).unwrap();
    let packed: Vec<_> = packed.iter().map(PackedBlock::from).collect();
    let blocks: Vec<_> = packed.iter().map(PackedBlock::raw).collect();
    assert!(is_chain_above(hashes[0], &blocks[1..]));
    assert!(!is_chain_above(hashes[1], &blocks[1..]));
    assert!(!is_chain_above(None, &blocks[1..]));
    assert!(!is_chain_above(hashes[0], &[blocks[1], blocks[3]]));
    assert!(!is_chain_above(hashes[0], &[]));
}
