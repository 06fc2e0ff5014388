//! Blocks from a source into a bulk.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use bitcoin::BlockHash;

use super::{Failure, Source};
use crate::chain::PackedBlock;
use crate::index;
use crate::index::bulk::{Bulk, Contribution, PlannedBlock};
use crate::limits;
use crate::node::{BlockBuffer, BlockFiles};
use crate::sync::{ChainSource, Error};

/// Blocks of the first years are so small that there would be no end of them.
const PART_BLOCKS_MAX: usize = 64;

/// Brings every block of the bulk in.
pub(super) fn all(
    source: &Source<'_>,
    bulk: &Bulk,
    jobs: usize,
) -> Result<Vec<Contribution>, Failure> {
    match source {
        Source::Files(files) => {
            let last = files.last().map_err(Failure::Files)?;
            let next = AtomicU32::new(0);
            let work = || files_of_one_thread(files, bulk, last, &next);
            on_threads(jobs, bulk, work, || Failure::Files(files.incomplete()))
        }
        Source::Node(node) => {
            let parts = Mutex::new(parts(bulk.blocks()).into_iter());
            let work = || parts_of_one_thread(*node, bulk, &parts);
            // The node has work for more threads than we have.
            let calls = limits::NODE_BULK_CALLS_MAX;
            on_threads(calls, bulk, work, || Failure::Here(Error::Moved))
        }
    }
}

/// Does the same on so many threads; `incomplete` is the failure if they are done and blocks are missing.
fn on_threads(
    count: usize,
    bulk: &Bulk,
    work: impl Fn() -> Result<Contribution, Failure> + Sync,
    incomplete: impl Fn() -> Failure,
) -> Result<Vec<Contribution>, Failure> {
    let work = || {
        let outcome = work();
        if outcome.is_err() {
            // The others need not go on; their errors are then only echoes.
            bulk.stop();
        }
        outcome
    };
    let outcomes: Vec<_> = thread::scope(|scope| {
        let others: Vec<_> = (1..count).map(|_| scope.spawn(work)).collect();
        let own = work();
        let others = others.into_iter().map(|thread| {
            // What made it panic was told where it happened.
            thread.join().unwrap_or(Err(Failure::Stopped))
        });
        std::iter::once(own).chain(others).collect()
    });
    let mut contributions = Vec::new();
    let mut failed = None;
    for outcome in outcomes {
        match outcome {
            Ok(contribution) => contributions.push(contribution),
            Err(Failure::Stopped) => failed = failed.or(Some(Failure::Stopped)),
            Err(failure) => failed = Some(failure),
        }
    }
    match failed {
        Some(failure) => Err(failure),
        None if bulk.is_complete() => Ok(contributions),
        None => Err(incomplete()),
    }
}

/// Each thread takes the next file, goes through it, and takes out what is wanted.
fn files_of_one_thread(
    files: &BlockFiles,
    bulk: &Bulk,
    last: u32,
    next: &AtomicU32,
) -> Result<Contribution, Failure> {
    let mut worker = bulk.worker().map_err(of_index)?;
    let mut buffer = BlockBuffer::default();
    while !bulk.is_complete() {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number > last {
            break;
        }
        let mut file = files.file(number).map_err(Failure::Files)?;
        while let Some(found) = file.next_block().map_err(Failure::Files)? {
            let Some(height) = bulk.claim(&found.hash) else {
                continue;
            };
            file.read(&found, &mut buffer).map_err(Failure::Files)?;
            match worker.add(height, Some(found.place), buffer.block()) {
                // What was read is not what the node once wrote.
                Err(index::Error::Block { .. }) => {
                    return Err(Failure::Files(files.incomplete()));
                }
                outcome => outcome.map_err(of_index)?,
            }
        }
    }
    worker.finish().map_err(of_index)
}

/// Blocks that are asked for together: so many that an answer stays small, and each thread holds few.
fn parts(blocks: &[PlannedBlock]) -> Vec<&[PlannedBlock]> {
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

/// Each thread asks for the next part.
fn parts_of_one_thread<'a>(
    node: &(dyn ChainSource + Send + Sync),
    bulk: &Bulk,
    parts: &Mutex<impl Iterator<Item = &'a [PlannedBlock]>>,
) -> Result<Contribution, Failure> {
    let mut worker = bulk.worker().map_err(of_index)?;
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    while let Some(part) = next() {
        let hashes: Vec<BlockHash> = part.iter().map(|block| block.hash).collect();
        let mut rest = hashes.as_slice();
        while !rest.is_empty() {
            let blocks = node
                .blocks(rest)
                .map_err(|error| Failure::Here(Error::Node(error)))?;
            if blocks.is_empty() {
                return Err(Failure::Here(Error::Moved));
            }
            for connected in &blocks {
                let height = bulk.claim(&connected.block.block_hash());
                let height = height.ok_or(Failure::Here(Error::Moved))?;
                let packed = PackedBlock::from(connected);
                let added = worker.add(height, None, packed.raw());
                added.map_err(of_index)?;
            }
            rest = rest.get(blocks.len()..).unwrap_or_default();
        }
    }
    worker.finish().map_err(of_index)
}

fn of_index(error: index::Error) -> Failure {
    if matches!(error, index::Error::Stopped) {
        Failure::Stopped
    } else {
        Failure::Here(Error::Index(error))
    }
}
