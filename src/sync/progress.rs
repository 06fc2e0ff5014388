//! How far the follower is, for a banner, a status file and a progress bar.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::mempool::MempoolPart;
use crate::node::Trouble;
use crate::query::{CatchUp, Speed};

/// How far the follower is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Blocks indexed, the genesis block included.
    pub indexed: u32,
    /// Blocks of the chain as far as the node knows it.
    pub target: u32,
    /// How fast it goes, once that can be told.
    pub speed: Option<Speed>,
    /// What the node is doing.
    pub node: NodeState,
    /// Since when it does that.
    pub since: Instant,
    /// How much of its mempool is known.
    pub mempool: MempoolPart,
    /// Whether it takes transactions of others; with `-blocksonly` its mempool is empty but for its own.
    pub relays: bool,
}

/// What the node is doing, as far as it concerns us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It has less of the chain than the index, or a branch with less work; the index waits for it.
    Behind,
    /// We have not spoken with it yet.
    Contacting,
    /// It is ahead of the index, which is catching up.
    Ahead,
    /// Index and mempool follow it.
    Followed,
    /// It is itself still fetching the chain.
    InitialDownload,
    /// It does not answer as it should.
    Lost(Trouble),
}

impl NodeState {
    /// The same in fixed words, for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Behind => "behind the index; waiting for it",
            Self::Contacting => "being contacted",
            Self::Ahead => "ahead; the index is catching up",
            Self::Followed => "followed",
            Self::InitialDownload => "still fetching the chain",
            Self::Lost(trouble) => trouble.text(),
        }
    }
}

/// Reads the progress of a running follower.
#[derive(Clone)]
pub struct ProgressReader(Arc<Mutex<Progress>>);

/// The follower's side of a [`ProgressReader`].
pub(super) struct ProgressWriter(Arc<Mutex<Progress>>);

impl Progress {
    /// How much of the node's mempool is known, in words, for the operator.
    pub fn mempool_text(&self) -> String {
        let mut text = self.mempool.text();
        if !self.relays {
            text.push_str("; the node takes none of others (-blocksonly)");
        }
        text
    }
}

impl ProgressReader {
    /// The progress now.
    pub fn now(&self) -> Progress {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProgressWriter {
    pub(super) fn new(indexed: u32) -> Self {
        Self(Arc::new(Mutex::new(Progress {
            indexed,
            target: indexed,
            speed: None,
            node: NodeState::Contacting,
            since: Instant::now(),
            mempool: MempoolPart::default(),
            relays: true,
        })))
    }

    pub(super) fn reader(&self) -> ProgressReader {
        ProgressReader(Arc::clone(&self.0))
    }

    pub(super) fn blocks(&self, catch_up: CatchUp) {
        let mut progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        progress.indexed = catch_up.indexed;
        progress.target = catch_up.target;
        progress.speed = catch_up.speed;
    }

    pub(super) fn mempool(&self, mempool: MempoolPart) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .mempool = mempool;
    }

    pub(super) fn relays(&self, relays: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).relays = relays;
    }

    pub(super) fn node(&self, node: NodeState) {
        let mut progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.node != node {
            progress.node = node;
            progress.since = Instant::now();
        }
    }
}
