//! Blocks from the node itself into a bulk: by REST, which costs it little, or as JSON, which costs it much.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bitcoin::BlockHash;

use super::Failure;
use super::feed::of_index;
use crate::chain::{ConnectedBlock, Height, PackedBlock};
use crate::error::{self, ErrorKind};
use crate::index;
use crate::index::bulk::{Bulk, BulkWorker, Contribution, PlannedBlock};
use crate::limits;
use crate::node::{self, RestBuffer, RestError, Trouble};
use crate::sync::pace::Backoff;
use crate::sync::{ChainSource, Error};

/// Blocks of the first years are so small that there would be no end of them.
const PART_BLOCKS_MAX: usize = 64;

/// How the node is asked, and how that goes.
pub(super) struct NodeFeed<'a> {
    node: &'a (dyn ChainSource + Send + Sync),
    /// Cleared when a block did not come so.
    by_rest: AtomicBool,
    /// Why the node does not answer; the log knows of it.
    lost: Mutex<Option<Trouble>>,
}

/// Says in the log that all further blocks come as JSON.
pub(super) fn go_without_rest(reason: &RestError) {
    tracing::warn!(
        "blocks are asked of the node as JSON, which costs it many times as much CPU as by REST: failed to {}",
        error::report(reason)
    );
}

/// Blocks that are asked for together: so many that an answer stays small, and each thread holds few.
pub(super) fn parts(blocks: &[PlannedBlock]) -> Vec<&[PlannedBlock]> {
    let mut parts = Vec::new();
    let mut rest = blocks;
    while !rest.is_empty() {
        let mut transactions = 0_u32;
        let fits = |block: &&PlannedBlock| {
            transactions = transactions.saturating_add(block.transactions);
            transactions <= limits::BLOCK_BATCH_TRANSACTIONS_MAX
        };
        let count = rest.iter().take(PART_BLOCKS_MAX).take_while(fits).count();
        let (part, beyond) = rest.split_at(count.max(1));
        parts.push(part);
        rest = beyond;
    }
    parts
}

impl<'a> NodeFeed<'a> {
    pub(super) fn new(node: &'a (dyn ChainSource + Send + Sync), by_rest: bool) -> Self {
        Self {
            node,
            by_rest: AtomicBool::new(by_rest),
            lost: Mutex::new(None),
        }
    }

    /// Why the node does not answer, while it is waited for.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        *self.lost()
    }

    fn lost(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Each thread asks for the next part.
    pub(super) fn parts_of_one_thread<'b>(
        &self,
        bulk: &Bulk,
        parts: &Mutex<impl Iterator<Item = &'b [PlannedBlock]>>,
    ) -> Result<Contribution, Failure> {
        let mut worker = bulk.worker().map_err(of_index)?;
        let mut buffer = RestBuffer::default();
        let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
        while let Some(part) = next() {
            let wanted = part.iter();
            let wanted = wanted.map(|block| Some((bulk.claim(&block.hash)?, block.hash)));
            let wanted: Option<Vec<_>> = wanted.collect();
            let wanted = wanted.ok_or(Failure::Here(Error::Moved))?;
            let mut rest = wanted.as_slice();
            while let Some((block, others)) = rest.split_first() {
                if !self.add_by_rest(bulk, &mut worker, *block, &mut buffer)? {
                    break;
                }
                rest = others;
            }
            self.add_as_json(bulk, &mut worker, rest)?;
        }
        worker.finish().map_err(of_index)
    }

    /// A block as JSON, for the heights of what it spends.
    pub(super) fn again(&self, bulk: &Bulk, hash: &BlockHash) -> Result<ConnectedBlock, Failure> {
        let hashes = [*hash];
        let blocks = self.patiently(bulk, || self.node.blocks(&hashes))?;
        blocks.into_iter().next().ok_or(Failure::Here(Error::Moved))
    }

    /// Whether the block came by REST and is in the bulk.
    fn add_by_rest(
        &self,
        bulk: &Bulk,
        worker: &mut BulkWorker<'_>,
        (height, hash): (Height, BlockHash),
        buffer: &mut RestBuffer,
    ) -> Result<bool, Failure> {
        if !self.by_rest.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let fetched = self.patiently(bulk, || match self.node.rest_block(&hash, buffer) {
            Ok(()) => Ok(Ok(())),
            Err(RestError::Node(error)) => Err(error),
            Err(reason) => Ok(Err(reason)),
        })?;
        let added = match fetched {
            Ok(()) => worker.add(height, None, buffer.block()),
            Err(reason) => {
                self.end_rest(&reason);
                return Ok(false);
            }
        };
        match added {
            // Nothing of it was taken in; if the node is to blame, it says so again as JSON.
            Err(index::Error::Block { .. }) => {
                self.end_rest(&RestError::unfit());
                Ok(false)
            }
            outcome => outcome.map(|()| true).map_err(of_index),
        }
    }

    fn end_rest(&self, reason: &RestError) {
        if self.by_rest.swap(false, Ordering::Relaxed) {
            go_without_rest(reason);
        }
    }

    fn add_as_json(
        &self,
        bulk: &Bulk,
        worker: &mut BulkWorker<'_>,
        blocks: &[(Height, BlockHash)],
    ) -> Result<(), Failure> {
        let mut rest = blocks;
        while !rest.is_empty() {
            let hashes: Vec<BlockHash> = rest.iter().map(|(_, hash)| *hash).collect();
            let blocks = self.patiently(bulk, || self.node.blocks(&hashes))?;
            if blocks.is_empty() {
                return Err(Failure::Here(Error::Moved));
            }
            for ((height, _), connected) in rest.iter().zip(&blocks) {
                let packed = PackedBlock::from(connected);
                let added = worker.add(*height, None, packed.raw());
                added.map_err(of_index)?;
            }
            rest = rest.get(blocks.len()..).unwrap_or_default();
        }
        Ok(())
    }

    /// Asks until the node answers: what the bulk has done so far outlasts a restart of the node.
    fn patiently<T>(
        &self,
        bulk: &Bulk,
        mut ask: impl FnMut() -> Result<T, node::Error>,
    ) -> Result<T, Failure> {
        let mut backoff = Backoff::default();
        let mut since = None;
        loop {
            let error = match ask() {
                Ok(answer) => {
                    if self.lost().take().is_some() {
                        tracing::info!("the node answers again, and building the index goes on");
                    }
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let since = since.get_or_insert_with(Instant::now);
            let is_over = since.elapsed() >= limits::BULK_NODE_SILENCE_MAX;
            if is_over || error.kind() != ErrorKind::Environment {
                return Err(Failure::Here(Error::Node(error)));
            }
            // Calls that we broke off ourselves fail like others.
            pause(bulk, backoff.next(getrandom::u32().unwrap_or_default()))?;
            if self.lost().replace(error.trouble()).is_none() {
                tracing::warn!(
                    "building the index waits for the node: failed to {}",
                    error::report(&error)
                );
            }
        }
    }
}

/// Waits, and notices at once when the bulk is to stop.
fn pause(bulk: &Bulk, time: Duration) -> Result<(), Failure> {
    let begun = Instant::now();
    while !bulk.is_stopped() {
        let Some(rest) = time.checked_sub(begun.elapsed()) else {
            return Ok(());
        };
        thread::sleep(rest.min(limits::BULK_WATCH_INTERVAL));
    }
    Err(Failure::Stopped)
}
