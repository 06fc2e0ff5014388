//! The writer's work: blocks into the index, then the mempool, then one view of both.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::BlockHash;
use bitcoin::hashes::Hash as _;

use super::bulk::{BulkSync, Stand};
use super::catch_up::NewestBlocks;
use super::plan::{self, Plan};
use super::progress::{NodeState, ProgressWriter};
use super::speed::Stretch;
use super::{ChainSource, Error, Publish};
use crate::chain::{ChainTip, Height, PackedBlock, RawBlock};
use crate::index::{self, Index, ScriptPrefix, Snapshot, Touched};
use crate::limits;
use crate::mempool::{Mempool, Poller};
use crate::node::{ChainState, FilesError, Trouble};
use crate::query::{CatchUp, Changes, Readiness, View};

/// Owns the index and everything that leads to a view.
pub(super) struct Writer {
    source: Arc<dyn ChainSource + Send + Sync>,
    bulk: BulkSync,
    /// While the index is behind the tip and the node's files can be read.
    newest: Option<NewestBlocks>,
    /// While blocks are taken in one by one.
    stretch: Option<Stretch>,
    index: Index,
    poller: Poller,
    /// A copy of the last published view.
    published: View,
    published_at: Instant,
    unpublished: Unpublished,
    publish: Publish,
    progress: ProgressWriter,
    /// Whether the node was checked since it was lost.
    acquainted: bool,
    /// Whether the newest blocks were compared with the node's.
    verified: bool,
    /// When index and node last stood together or came nearer.
    fresh: Instant,
}

/// Scripts changed in the index but not in a published view.
enum Unpublished {
    /// These.
    Scripts(Vec<ScriptPrefix>),
    /// Too many to name: sessions have to look at all of theirs.
    Everything,
}

/// What to do after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The next step at once.
    Step,
    /// The next step after this pause, or when a block comes.
    Pause(Duration),
}

impl Writer {
    pub(super) fn new(
        source: Arc<dyn ChainSource + Send + Sync>,
        bulk: BulkSync,
        index: Index,
        publish: Publish,
    ) -> Self {
        let published = super::first_view(&index);
        let progress = ProgressWriter::new(blocks(&published.snapshot));
        Self {
            source,
            bulk,
            newest: None,
            stretch: None,
            index,
            poller: Poller::default(),
            published,
            published_at: Instant::now(),
            unpublished: Unpublished::Everything,
            publish,
            progress,
            acquainted: false,
            verified: false,
            fresh: Instant::now(),
        }
    }

    pub(super) fn progress(&self) -> &ProgressWriter {
        &self.progress
    }

    /// One step towards the node: at most one commit of blocks, or one round of the mempool.
    pub(super) fn step(&mut self) -> Result<Next, Error> {
        let node = if self.acquainted {
            self.source.chain_state()
        } else {
            self.source.check()
        }
        .map_err(Error::Node)?;
        if !self.acquainted {
            let relays = self.source.relays_transactions().map_err(Error::Node)?;
            self.progress.relays(relays);
            self.bulk.prepare(&mut self.index).map_err(Error::Index)?;
            self.acquainted = true;
        }
        if !self.verified {
            self.verify_newest()?;
            self.verified = true;
        }
        let snapshot = self.index.snapshot();
        let plan = plan::plan(&snapshot, &*self.source, &node)?;
        if !matches!(plan, Plan::Advance { .. }) {
            self.stretch = None;
        }
        self.progress.blocks(self.catch_up(&node));
        match plan {
            Plan::Stay => self.newest = None,
            Plan::Wait => {
                self.progress.node(NodeState::Behind);
                self.publish_if_stale();
                return Ok(Next::Pause(limits::NODE_BEHIND_INTERVAL));
            }
            Plan::Advance { keep } => {
                return match self.bulk.target(&self.index, keep, node.tip.height) {
                    Some(last) => self.take_in(last, &node),
                    None => self.advance(keep, &node),
                };
            }
        }
        self.fresh = Instant::now();
        if node.initial_download {
            self.progress.node(NodeState::InitialDownload);
            self.publish_catching_up(&node);
            return Ok(Next::Pause(limits::NODE_BEHIND_INTERVAL));
        }
        // A merge replaces files that the published snapshot still holds open.
        let renewed = self.index.tend().map_err(Error::Index)?;
        self.mempool_round(&self.index.snapshot(), renewed)
    }

    /// To be called when a step failed: what it knew of the node is void.
    pub(super) fn lost(&mut self, trouble: Trouble) {
        self.acquainted = false;
        self.poller.list_again();
        self.progress.node(NodeState::Lost(trouble));
        self.publish_if_stale();
    }

    /// Compares the newest blocks with those of the node, as far as it has them.
    fn verify_newest(&self) -> Result<(), Error> {
        let snapshot = self.index.snapshot();
        let end = blocks(&snapshot);
        let first = Height(end.saturating_sub(limits::VERIFIED_BLOCKS));
        let mut hashes = Vec::new();
        for height in first.0..end {
            hashes.extend(snapshot.block_hash(Height(height)).map_err(Error::Index)?);
        }
        if hashes.is_empty() {
            return Ok(());
        }
        let newest = self.source.blocks(&hashes).map_err(Error::Node)?;
        self.index.verify(first, &newest).map_err(Error::Index)
    }

    /// Takes in many blocks at once, up to `last`.
    fn take_in(&mut self, last: Height, node: &ChainState) -> Result<Next, Error> {
        self.progress.node(NodeState::Ahead);
        self.unpublished = Unpublished::Everything;
        self.poller.chain_went_back();
        let target = count(node.headers);
        let (progress, published, publish) =
            (&self.progress, &mut self.published, &mut self.publish);
        let told = |stand: Stand| {
            let catch_up = CatchUp {
                indexed: stand.indexed,
                target,
                speed: stand.speed,
            };
            progress.blocks(catch_up);
            progress.node(stand.waits_for.map_or(NodeState::Ahead, NodeState::Lost));
            let readiness = Readiness::CatchingUp(catch_up);
            if published.readiness == readiness {
                return;
            }
            let snapshot = Arc::clone(&published.snapshot);
            let mempool = Arc::clone(&published.mempool);
            let changes = Changes::default();
            *published = published.followed_by(snapshot, mempool, readiness, changes);
            published.changes.clear();
            publish(published.clone());
        };
        self.bulk.step(&*self.source, &mut self.index, last, told)?;
        self.fresh = Instant::now();
        self.publish_catching_up(node);
        Ok(Next::Step)
    }

    /// The next of these blocks: from the node's files, which it writes before it tells of a block, or else from the
    /// node, which has to turn each into JSON.
    fn blocks(&mut self, hashes: &[BlockHash]) -> Result<Vec<PackedBlock>, Error> {
        if self.newest.is_none() {
            self.newest = self.bulk.files().map(NewestBlocks::new);
        }
        match self.newest.as_mut().map(|newest| newest.blocks(hashes)) {
            Some(Ok(Some(blocks))) => return Ok(blocks),
            // A block too young for its file; the next one may be there.
            Some(Ok(None) | Err(FilesError::NoUndo { .. })) => self.newest = None,
            Some(Err(reason)) => {
                self.bulk.go_without_files(&reason);
                self.newest = None;
            }
            None => {}
        }
        let blocks = self.source.blocks(hashes).map_err(Error::Node)?;
        Ok(blocks.iter().map(PackedBlock::from).collect())
    }

    /// Commits the next blocks of the node's chain above `keep`.
    fn advance(&mut self, keep: Option<Height>, node: &ChainState) -> Result<Next, Error> {
        let again = Next::Pause(limits::MEMPOOL_INTERVAL_MIN);
        // A deep reorg costs some blocks below the fork too, which come again from the node.
        let keep = self.index.keepable(keep);
        let first = keep.map_or(0, count);
        let last = first
            .saturating_add(limits::COMMIT_BLOCKS_MAX - 1)
            .min(node.tip.height.0);
        let heights: Vec<_> = (first..=last).map(Height).collect();
        let hashes = self.source.block_hashes(&heights).map_err(Error::Node)?;
        // What is missing was there a moment ago: the node's chain moves, and the next step sees how.
        let Some(hashes) = hashes.into_iter().collect::<Option<Vec<_>>>() else {
            return Ok(again);
        };
        let connect = self.blocks(&hashes)?;
        let below = match keep {
            Some(height) => self
                .index
                .snapshot()
                .block_hash(height)
                .map_err(Error::Index)?,
            None => Some(BlockHash::all_zeros()),
        };
        let connect: Vec<RawBlock<'_>> = connect.iter().map(PackedBlock::raw).collect();
        if !is_chain_above(below, &connect) {
            return Ok(again);
        }
        self.stretch.get_or_insert_with(|| Stretch::begin(first));
        match (self.connect(keep, &connect), self.newest.take()) {
            (Err(Error::Index(index::Error::Block { .. })), Some(newest)) => {
                self.bulk.go_without_files(&newest.unfit());
                return Ok(again);
            }
            (outcome, newest) => {
                self.newest = newest;
                outcome?;
            }
        }
        let snapshot = self.index.snapshot();
        self.fresh = Instant::now();
        self.progress.blocks(self.catch_up(node));
        if snapshot.tip() != Some(node.tip) {
            self.progress.node(NodeState::Ahead);
            self.publish_catching_up(node);
        }
        Ok(Next::Step)
    }

    fn connect(&mut self, keep: Option<Height>, connect: &[RawBlock<'_>]) -> Result<(), Error> {
        let before = blocks(&self.index.snapshot());
        match self.index.update_raw(keep, connect).map_err(Error::Index)? {
            Touched::Scripts(scripts) => self.unpublished.add(scripts),
            Touched::Everything => self.unpublished = Unpublished::Everything,
        }
        let depth = before.saturating_sub(keep.map_or(0, count));
        if depth > 0 {
            self.poller.chain_went_back();
            tracing::info!(
                depth,
                "reorg: the node went over to a branch with more work"
            );
        }
        Ok(())
    }

    fn mempool_round(&mut self, snapshot: &Arc<Snapshot>, renewed: bool) -> Result<Next, Error> {
        let Some(tip) = snapshot.tip() else {
            return Ok(Next::Pause(limits::MEMPOOL_INTERVAL_MIN));
        };
        let round = self
            .poller
            .round(&*self.source, &**snapshot, tip.hash, Instant::now())
            .map_err(Error::Mempool);
        // What came and went is told with the next view, whatever becomes of this round.
        self.unpublished.add(self.poller.take_changed());
        let pause = round?;
        let node = self.source.chain_state().map_err(Error::Node)?;
        if node.tip != tip {
            // A block came in between: this mempool is not that of our tip.
            self.poller.list_again();
            return Ok(Next::Step);
        }
        let part = self.poller.part();
        self.progress.node(NodeState::Followed);
        self.progress.mempool(part);
        if part.loading && self.was_published_just_now(tip) {
            return Ok(Next::Step);
        }
        let readiness = part.gap().map_or(Readiness::Ready, Readiness::ReadyInPart);
        let is_new = renewed || !self.unpublished.is_empty();
        if self.published.readiness != readiness || is_new {
            let mempool = Arc::new(self.poller.mempool().clone());
            self.publish(Arc::clone(snapshot), mempool, readiness);
        }
        Ok(if pause.is_zero() {
            Next::Step
        } else {
            Next::Pause(pause)
        })
    }

    /// Whether what is known of a large mempool need not be shown yet: each view makes every session look, and costs a
    /// copy of what the next round changes.
    fn was_published_just_now(&self, tip: ChainTip) -> bool {
        self.published.readiness.is_ready()
            && self.published.tip() == Some(tip)
            && self.published_at.elapsed() < limits::MEMPOOL_LOADING_INTERVAL
    }

    /// Shows the index as far as it is. No session can have a status from such a view, so instead of naming what
    /// changed, the next ready one lets them look at everything.
    fn publish_catching_up(&mut self, node: &ChainState) {
        self.unpublished = Unpublished::Everything;
        let snapshot = self.index.snapshot();
        let readiness = Readiness::CatchingUp(self.catch_up(node));
        if self.published.readiness != readiness {
            let mempool = Arc::clone(&self.published.mempool);
            self.publish(snapshot, mempool, readiness);
            self.unpublished = Unpublished::Everything;
        }
    }

    fn catch_up(&self, node: &ChainState) -> CatchUp {
        let indexed = blocks(&self.index.snapshot());
        let target = count(node.headers);
        let speed = self.stretch.as_ref();
        CatchUp {
            indexed,
            target,
            speed: speed.and_then(|stretch| stretch.speed_by_blocks(indexed, target)),
        }
    }

    /// Says that the view is too old to be answered from, once it is.
    fn publish_if_stale(&mut self) {
        if self.fresh.elapsed() < limits::NODE_SILENCE_MAX
            || self.published.readiness == Readiness::Stale
        {
            return;
        }
        let kept = std::mem::take(&mut self.unpublished);
        let snapshot = Arc::clone(&self.published.snapshot);
        let mempool = Arc::clone(&self.published.mempool);
        self.publish(snapshot, mempool, Readiness::Stale);
        self.unpublished = kept;
    }

    fn publish(&mut self, snapshot: Arc<Snapshot>, mempool: Arc<Mempool>, readiness: Readiness) {
        let (scripts, everything) = match std::mem::take(&mut self.unpublished) {
            Unpublished::Scripts(scripts) => (scripts, false),
            Unpublished::Everything => (Vec::new(), true),
        };
        let changes = Changes { scripts };
        let mut view = self
            .published
            .followed_by(snapshot, mempool, readiness, changes);
        if everything {
            // A view that remembers no changes makes every session look at all of its scripts.
            view.changes.clear();
        }
        self.published = view.clone();
        self.published_at = Instant::now();
        (self.publish)(view);
    }
}

impl Default for Unpublished {
    fn default() -> Self {
        Self::Scripts(Vec::new())
    }
}

impl Unpublished {
    fn add(&mut self, mut changed: Vec<ScriptPrefix>) {
        let Self::Scripts(scripts) = self else { return };
        scripts.append(&mut changed);
        scripts.sort_unstable();
        scripts.dedup();
        if scripts.len() > limits::CHANGED_SCRIPTS_MAX {
            *self = Self::Everything;
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Scripts(scripts) if scripts.is_empty())
    }
}

/// Whether these blocks, of which there is at least one, follow each other and the first follows `below`.
fn is_chain_above(below: Option<BlockHash>, blocks: &[RawBlock<'_>]) -> bool {
    let mut hash = below;
    let follows = blocks.iter().all(|block| {
        let header = block.header();
        header
            .is_some_and(|header| hash.replace(header.block_hash()) == Some(header.prev_blockhash))
    });
    follows && !blocks.is_empty()
}

/// Number of blocks in the index.
fn blocks(snapshot: &Snapshot) -> u32 {
    snapshot.tip().map_or(0, |tip| count(tip.height))
}

/// Number of blocks up to this one.
fn count(height: Height) -> u32 {
    height.0.saturating_add(1)
}
