//! The threads' loop, and a fake node for these tests and the writer's.

mod fake;

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

pub(super) use fake::{FakeNode, pay, script};

use super::bulk::BulkSync;
use super::{BulkSettings, Error, NodeState, ProgressReader, Writer, follow};
use crate::chain::Network;
use crate::error::ErrorKind;
use crate::index::Index;
use crate::limits;
use crate::node::{self, Trouble};
use crate::query::View;

/// The writer of an empty index in `dir`, and the views it will publish.
pub(super) fn writer(
    node: &Arc<FakeNode>,
    dir: &tempfile::TempDir,
) -> (Writer, Arc<Mutex<Vec<View>>>) {
    writer_with(node, settings(dir), dir)
}

fn writer_with(
    node: &Arc<FakeNode>,
    settings: BulkSettings,
    dir: &tempfile::TempDir,
) -> (Writer, Arc<Mutex<Vec<View>>>) {
    let index = Index::open(dir.path(), Network::Regtest).unwrap();
    let views = Arc::new(Mutex::new(Vec::new()));
    let published = Arc::clone(&views);
    let publish = Box::new(move |view| published.lock().unwrap().push(view));
    let source = Arc::<FakeNode>::clone(node);
    let bulk = BulkSync::new(settings, Network::Regtest, Arc::default());
    (Writer::new(source, bulk, index, publish), views)
}

/// No bulk.
fn settings(dir: &tempfile::TempDir) -> BulkSettings {
    BulkSettings {
        block_files: None,
        rest: false,
        jobs: NonZeroUsize::MIN,
        memory_bytes: limits::SYNC_MEMORY_BYTES_MIN,
        blocks_min: u32::MAX,
        distance: 0,
        working_dir: dir.path().join("bulk"),
    }
}

/// Follows `node` on a thread of its own until `done`, stops, and gives the outcome.
fn follow_until(node: &Arc<FakeNode>, done: impl Fn(&ProgressReader) -> bool) -> Result<(), Error> {
    let dir = tempfile::tempdir().unwrap();
    follow_with(node, settings(&dir), &dir, done)
}

fn follow_with(
    node: &Arc<FakeNode>,
    settings: BulkSettings,
    dir: &tempfile::TempDir,
    done: impl Fn(&ProgressReader) -> bool,
) -> Result<(), Error> {
    let (writer, _views) = writer_with(node, settings, dir);
    let progress = writer.progress().reader();
    let stop = Arc::new(AtomicBool::new(false));
    let stop_of_writer = Arc::clone(&stop);
    let thread = thread::spawn(move || follow(writer, &stop_of_writer));
    let begun = Instant::now();
    while !done(&progress) && !thread.is_finished() {
        if begun.elapsed() > Duration::from_secs(20) {
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
    // A bulk would wait for the node for long.
    node.stumble(u32::MAX);
    stop.store(true, Ordering::Release);
    thread.thread().unpark();
    thread.join().unwrap()
}

#[test]
fn a_node_that_is_lost_is_found_again() {
    let node = Arc::new(FakeNode::new());
    node.mine(3, &[]);
    node.fail(Some(Trouble::WarmingUp));
    let begun = Instant::now();
    let outcome = follow_until(&node, |progress| {
        let state = progress.now().node;
        if state == NodeState::Lost(Trouble::WarmingUp) {
            node.fail(None);
        }
        state == NodeState::Followed
    });
    outcome.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn while_a_bulk_waits_for_the_node_it_is_told_what_the_node_does() {
    let node = Arc::new(FakeNode::new());
    node.mine(20, &[]);
    node.stumble(1);
    let dir = tempfile::tempdir().unwrap();
    let bulk = BulkSettings {
        blocks_min: 10,
        ..settings(&dir)
    };
    let waited = AtomicBool::new(false);
    let followed = AtomicBool::new(false);
    let outcome = follow_with(&node, bulk, &dir, |progress| {
        let now = progress.now();
        if now.node == NodeState::Lost(Trouble::Busy) {
            assert_eq!(now.speed, None);
            node.stumble(u32::MAX);
            waited.store(true, Ordering::Relaxed);
        }
        followed.store(now.node == NodeState::Followed, Ordering::Relaxed);
        now.node == NodeState::Followed
    });
    outcome.unwrap();
    assert!(waited.into_inner(), "it was not told");
    assert!(followed.into_inner(), "the bulk does not go on");
}

#[test]
fn what_the_operator_has_to_mend_ends_the_follower() {
    let node = Arc::new(FakeNode::new());
    node.fail(Some(Trouble::Unsuitable));
    let error = follow_until(&node, |_progress| false).unwrap_err();
    assert!(matches!(error, Error::Node(node::Error::Pruned)));
    assert_eq!(error.kind(), ErrorKind::Operator);
}
