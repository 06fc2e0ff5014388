//! Follows the node: the only writer of the index, and the source of every view.
//!
//! One thread, `chain-writer`, owns the index. It brings in blocks, then the mempool that goes with them, and publishes
//! both as one view; nothing is published before it is committed. A second thread, `tip-wait`, holds a long poll of the
//! node open and wakes the first when a block comes. The node's chain is followed only towards more work. No async code
//! is here; the one who publishes bridges.

mod bulk;
mod catch_up;
mod pace;
mod plan;
mod progress;
mod speed;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::Instant;

use bitcoin::BlockHash;
use bitcoin::block::Header;

pub use bulk::BulkSettings;
pub use progress::{NodeState, Progress, ProgressReader};

use crate::chain::{ConnectedBlock, Height};
use crate::error::{self, ErrorKind};
use crate::index::{self, Index};
use crate::limits;
use crate::mempool::{self, Mempool, MempoolSource};
use crate::node::{self, ChainState, Node, RestBuffer, RestError};
use crate::query::{CatchUp, Readiness, View};
use bulk::BulkSync;
use pace::Backoff;
use writer::{Next, Writer};

/// Takes each view when it is ready; called on the writer's thread.
pub type Publish = Box<dyn FnMut(View) + Send>;

/// Takes the outcome when the follower has ended; called on the writer's thread.
pub type Ended = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Why following ended, or what keeps it from going on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node does not answer as it should.
    #[error(transparent)]
    Node(node::Error),
    /// The index could not be read or written, or refused a block.
    #[error("update the index")]
    Index(#[source] index::Error),
    /// A round of the mempool failed.
    #[error(transparent)]
    Mempool(mempool::Error),
    /// The node's chain became another one while it was read.
    #[error("read the chain of the node: it changed meanwhile; it is read again")]
    Moved,
    /// A thread could not be started.
    #[error("start a thread")]
    Thread(#[source] io::Error),
}

impl Error {
    /// Who has to act.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Node(error) => error.kind(),
            Self::Index(error) => error.kind(),
            Self::Mempool(error) => error.kind(),
            Self::Thread(_) | Self::Moved => ErrorKind::Environment,
        }
    }

    /// What is wrong with the node, if that is all that is wrong and it may mend.
    fn trouble(&self) -> Option<node::Trouble> {
        let trouble = match self {
            Self::Node(error) | Self::Mempool(mempool::Error::Node(error)) => error.trouble(),
            // The node gave a block that does not fit; nothing was written.
            Self::Index(index::Error::Block { .. }) => node::Trouble::Incomprehensible,
            Self::Moved => node::Trouble::Busy,
            Self::Index(_) | Self::Mempool(mempool::Error::Index(_)) | Self::Thread(_) => {
                return None;
            }
        };
        (self.kind() == ErrorKind::Environment).then_some(trouble)
    }
}

/// The view before anything was heard of the node.
pub fn first_view(index: &Index) -> View {
    let snapshot = index.snapshot();
    let indexed = snapshot
        .tip()
        .map_or(0, |tip| tip.height.0.saturating_add(1));
    View {
        version: 0,
        snapshot,
        mempool: Arc::new(Mempool::default()),
        readiness: Readiness::CatchingUp(CatchUp {
            indexed,
            target: indexed,
            speed: None,
        }),
        changes: Vec::new(),
    }
}

/// A running follower; it ends when this is dropped.
#[must_use = "the follower ends when it is dropped"]
pub struct Follower {
    node: Arc<Node>,
    stop: Arc<AtomicBool>,
    progress: ProgressReader,
    threads: Vec<JoinHandle<()>>,
}

impl Follower {
    /// Starts to follow. Trouble with the node that may mend is retried for ever; anything else ends the follower, and
    /// `ended` says how. If the writer panics, `ended` is dropped without being called.
    pub fn launch(
        node: &Arc<Node>,
        index: Index,
        bulk: BulkSettings,
        publish: Publish,
        ended: Ended,
    ) -> Result<Self, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let bulk = BulkSync::new(bulk, node.network(), Arc::clone(&stop));
        let writer = Writer::new(Arc::<Node>::clone(node), bulk, index, publish);
        let mut follower = Self {
            node: Arc::clone(node),
            stop: Arc::clone(&stop),
            progress: writer.progress().reader(),
            threads: Vec::new(),
        };
        let stop_of_writer = Arc::clone(&stop);
        let writer = follower.start("chain-writer", move || {
            ended(follow(writer, &stop_of_writer));
        })?;
        let node = Arc::clone(node);
        follower.start("tip-wait", move || wait_for_blocks(&node, &writer, &stop))?;
        Ok(follower)
    }

    /// How far it is.
    pub fn progress(&self) -> ProgressReader {
        self.progress.clone()
    }

    /// Ends it and waits until it has: calls of the node break off at once, a commit under way is finished.
    pub fn stop(mut self) {
        self.end();
        for thread in self.threads.drain(..) {
            // A panic was reported where it happened, and `ended` was dropped by it.
            drop(thread.join());
        }
    }

    fn start(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<Thread, Error> {
        let builder = thread::Builder::new().name(name.to_owned());
        let handle = builder.spawn(work).map_err(Error::Thread)?;
        let thread = handle.thread().clone();
        self.threads.push(handle);
        Ok(thread)
    }

    fn end(&self) {
        self.stop.store(true, Ordering::Release);
        self.node.stop_following();
        for thread in &self.threads {
            thread.thread().unpark();
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the follower needs of the node.
pub(crate) trait ChainSource: MempoolSource {
    /// As [`Node::check`].
    fn check(&self) -> Result<ChainState, node::Error>;
    /// As [`Node::relays_transactions`].
    fn relays_transactions(&self) -> Result<bool, node::Error>;
    /// As [`Node::chain_state`].
    fn chain_state(&self) -> Result<ChainState, node::Error>;
    /// As [`Node::block_hashes`].
    fn block_hashes(&self, heights: &[Height]) -> Result<Vec<Option<BlockHash>>, node::Error>;
    /// As [`Node::headers`].
    fn headers(&self, hashes: &[BlockHash]) -> Result<Vec<Option<Header>>, node::Error>;
    /// As [`Node::transaction_counts`].
    fn transaction_counts(&self, hashes: &[BlockHash]) -> Result<Vec<Option<u32>>, node::Error>;
    /// As [`Node::blocks`].
    fn blocks(&self, hashes: &[BlockHash]) -> Result<Vec<ConnectedBlock>, node::Error>;
    /// As [`Node::rest_block`].
    fn rest_block(&self, hash: &BlockHash, buffer: &mut RestBuffer) -> Result<(), RestError>;
}

impl ChainSource for Node {
    fn check(&self) -> Result<ChainState, node::Error> {
        Self::check(self)
    }

    fn relays_transactions(&self) -> Result<bool, node::Error> {
        Self::relays_transactions(self)
    }

    fn chain_state(&self) -> Result<ChainState, node::Error> {
        Self::chain_state(self)
    }

    fn block_hashes(&self, heights: &[Height]) -> Result<Vec<Option<BlockHash>>, node::Error> {
        Self::block_hashes(self, heights)
    }

    fn headers(&self, hashes: &[BlockHash]) -> Result<Vec<Option<Header>>, node::Error> {
        Self::headers(self, hashes)
    }

    fn transaction_counts(&self, hashes: &[BlockHash]) -> Result<Vec<Option<u32>>, node::Error> {
        Self::transaction_counts(self, hashes)
    }

    fn blocks(&self, hashes: &[BlockHash]) -> Result<Vec<ConnectedBlock>, node::Error> {
        Self::blocks(self, hashes)
    }

    fn rest_block(&self, hash: &BlockHash, buffer: &mut RestBuffer) -> Result<(), RestError> {
        Self::rest_block(self, hash, buffer)
    }
}

/// The writer's thread. Between steps it is parked, and unparked when a block comes or it shall end.
fn follow(mut writer: Writer, stop: &AtomicBool) -> Result<(), Error> {
    let mut backoff = Backoff::default();
    let mut log = Milestones::default();
    while !stop.load(Ordering::Acquire) {
        let pause = match writer.step() {
            Ok(next) => {
                backoff = Backoff::default();
                log.node_is_there();
                match next {
                    Next::Step => continue,
                    Next::Pause(pause) => pause,
                }
            }
            // Calls that we broke off ourselves fail like others.
            Err(_) if stop.load(Ordering::Acquire) => break,
            Err(error) => {
                let Some(trouble) = error.trouble() else {
                    return Err(error);
                };
                log.node_is_lost(&error);
                writer.lost(trouble);
                backoff.next(getrandom::u32().unwrap_or_default())
            }
        };
        thread::park_timeout(pause);
    }
    Ok(())
}

/// The long poll's thread. It ends on a node without `waitfornewblock`: the mempool rounds notice blocks too.
fn wait_for_blocks(node: &Node, writer: &Thread, stop: &AtomicBool) {
    let mut last = None;
    while !stop.load(Ordering::Acquire) {
        let begun = Instant::now();
        match node.wait_for_block() {
            Ok(tip) if last != Some(tip) => {
                last = Some(tip);
                writer.unpark();
                continue;
            }
            Ok(_) if begun.elapsed() >= limits::TIP_WAIT_PAUSE => continue,
            Err(node::Error::Unknown { .. }) => return,
            Ok(_) | Err(_) => {}
        }
        thread::park_timeout(limits::TIP_WAIT_PAUSE);
    }
}

/// Tells the log when the node is lost and found, at most one line a minute.
#[derive(Default)]
struct Milestones {
    told: Option<Instant>,
    lost: bool,
}

impl Milestones {
    fn node_is_lost(&mut self, error: &Error) {
        let due = self
            .told
            .is_none_or(|told| told.elapsed() >= limits::NODE_LOG_INTERVAL);
        if !self.lost && due {
            tracing::warn!("failed to {}", error::report(error));
            self.lost = true;
            self.told = Some(Instant::now());
        }
    }

    fn node_is_there(&mut self) {
        if self.lost {
            tracing::info!("the node answers again");
            self.lost = false;
        }
    }
}
