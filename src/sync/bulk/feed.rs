//! Blocks from a source into a bulk.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bitcoin::BlockHash;

use super::{Failure, Source, node_feed};
use crate::index;
use crate::index::bulk::{Built, Bulk, Contribution};
use crate::node::{BlockBuffer, BlockFiles};
use crate::sync::Error;

/// Brings every block of the bulk in, on so many threads.
pub(super) fn all(
    source: &Source<'_>,
    bulk: &Bulk,
    readers: usize,
) -> Result<Vec<Contribution>, Failure> {
    match source {
        Source::Files(files) => {
            let last = files.last().map_err(Failure::Files)?;
            let next = AtomicU32::new(0);
            let work = || files_of_one_thread(files, bulk, last, &next);
            on_threads(readers, bulk, work, || Failure::Files(files.incomplete()))
        }
        Source::Node(feed) => {
            let parts = Mutex::new(node_feed::parts(bulk.blocks()).into_iter());
            let work = || feed.parts_of_one_thread(bulk, &parts);
            on_threads(readers, bulk, work, || Failure::Here(Error::Moved))
        }
    }
}

/// Sorts what was brought in.
pub(super) fn build(
    source: &Source<'_>,
    bulk: &Arc<Bulk>,
    contributions: Vec<Contribution>,
    jobs: usize,
) -> Result<Built, Failure> {
    match source {
        Source::Files(_) => bulk.build(contributions, jobs).map_err(of_index),
        Source::Node(feed) => {
            let failed = Mutex::new(None);
            let again = |hash: &BlockHash| {
                feed.again(bulk, hash).map_err(|failure| {
                    let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    failed.get_or_insert(failure);
                    index::Error::Stopped
                })
            };
            let built = bulk.build_asking(contributions, jobs, &again);
            let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
            built.map_err(|error| failed.unwrap_or_else(|| of_index(error)))
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

pub(super) fn of_index(error: index::Error) -> Failure {
    if matches!(error, index::Error::Stopped) {
        Failure::Stopped
    } else {
        Failure::Here(Error::Index(error))
    }
}
