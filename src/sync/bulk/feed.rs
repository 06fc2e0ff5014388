//! Blocks from a source into a bulk.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use bitcoin::BlockHash;
use bitcoin::consensus::encode;

use super::{Failure, Source};
use crate::chain::{ConnectedBlock, Height, RawBlock, SpentList};
use crate::index;
use crate::index::bulk::{Bulk, BulkWorker, Contribution};
use crate::limits;
use crate::node::{BlockBuffer, BlockFiles};
use crate::sync::{ChainSource, Error};

/// Brings every block of the bulk in.
pub(super) fn all(
    source: &Source<'_>,
    bulk: &Bulk,
    jobs: usize,
) -> Result<Vec<Contribution>, Failure> {
    match source {
        Source::Files(files) => by_files(files, bulk, jobs),
        Source::Node(node) => Ok(vec![by_node(*node, bulk)?]),
    }
}

/// Each thread takes the next file, goes through it, and takes out what is wanted.
fn by_files(files: &BlockFiles, bulk: &Bulk, jobs: usize) -> Result<Vec<Contribution>, Failure> {
    let last = files.last().map_err(Failure::Files)?;
    let next = AtomicU32::new(0);
    let work = || {
        let outcome = files_of_one_thread(files, bulk, last, &next);
        if outcome.is_err() {
            // The others need not go on; their errors are then only echoes.
            bulk.stop();
        }
        outcome
    };
    let outcomes: Vec<_> = thread::scope(|scope| {
        let others: Vec<_> = (1..jobs).map(|_| scope.spawn(work)).collect();
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
        None => Err(Failure::Files(files.incomplete())),
    }
}

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

/// The node answers one call after the other, so one thread is enough.
fn by_node(node: &(dyn ChainSource + Send + Sync), bulk: &Bulk) -> Result<Contribution, Failure> {
    let mut worker = bulk.worker().map_err(of_index)?;
    let mut spent = SpentList::default();
    let hashes: Vec<BlockHash> = bulk.blocks().iter().map(|block| block.hash).collect();
    let mut rest = hashes.as_slice();
    let batch = usize::try_from(limits::COMMIT_BLOCKS_MAX).unwrap_or(1);
    while !rest.is_empty() {
        let part = rest.get(..batch).unwrap_or(rest);
        let blocks = node
            .blocks(part)
            .map_err(|error| Failure::Here(Error::Node(error)))?;
        if blocks.is_empty() {
            return Err(Failure::Here(Error::Moved));
        }
        for connected in &blocks {
            let height = bulk.claim(&connected.block.block_hash());
            let height = height.ok_or(Failure::Here(Error::Moved))?;
            add(&mut worker, height, connected, &mut spent)?;
        }
        rest = rest.get(blocks.len()..).unwrap_or_default();
    }
    worker.finish().map_err(of_index)
}

fn add(
    worker: &mut BulkWorker<'_>,
    height: Height,
    connected: &ConnectedBlock,
    spent: &mut SpentList,
) -> Result<(), Failure> {
    spent.clear();
    for outputs in &connected.spent {
        spent.begin_transaction(outputs.len());
        for output in outputs {
            spent.push(output.height, output.amount, &[output.script.as_bytes()]);
        }
    }
    let block = RawBlock {
        bytes: &encode::serialize(&connected.block),
        spent,
    };
    worker.add(height, None, block).map_err(of_index)
}

fn of_index(error: index::Error) -> Failure {
    if matches!(error, index::Error::Stopped) {
        Failure::Stopped
    } else {
        Failure::Here(Error::Index(error))
    }
}
