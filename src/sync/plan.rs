//! Where the index and the node's chain part, and whether to go over to the node's.

use bitcoin::BlockHash;
use bitcoin::block::Header;
use bitcoin::consensus::encode;
use bitcoin::pow::Work;

use super::{ChainSource, Error};
use crate::chain::{ChainTip, Height};
use crate::index::Snapshot;
use crate::limits;
use crate::node::ChainState;

/// What the index has to do to stand where the node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Nothing.
    Stay,
    /// Wait: the node's chain is a part of ours, or another one with no more work than ours. It is being rebuilt, was
    /// restored from a backup, or saw two blocks at a time; to follow it down would serve an older chain.
    Wait,
    /// Drop what is above `keep` (everything for `None`) and connect the node's blocks from there.
    Advance {
        /// The last common block.
        keep: Option<Height>,
    },
}

/// Compares the chains; the node's may move meanwhile, which the next comparison notices.
pub(super) fn plan(
    snapshot: &Snapshot,
    source: &dyn ChainSource,
    node: &ChainState,
) -> Result<Plan, Error> {
    let Some(ours) = snapshot.tip() else {
        return Ok(Plan::Advance { keep: None });
    };
    if ours.hash == node.tip.hash {
        return Ok(Plan::Stay);
    }
    let Some(fork) = fork(snapshot, source, ours)? else {
        // The genesis block was compared when we met the node, so it has changed under our hands.
        return Ok(Plan::Wait);
    };
    if fork == ours.height || has_more_work(snapshot, source, fork, ours, node)? {
        return Ok(Plan::Advance { keep: Some(fork) });
    }
    Ok(Plan::Wait)
}

/// The height of the last block that both chains have.
fn fork(
    snapshot: &Snapshot,
    source: &dyn ChainSource,
    ours: ChainTip,
) -> Result<Option<Height>, Error> {
    let mut above = Some(ours.height);
    // The tip alone first: nearly always it is the fork point.
    let mut count = 1;
    while let Some(top) = above {
        let bottom = top.0.saturating_sub(count - 1);
        let heights: Vec<_> = (bottom..=top.0).rev().map(Height).collect();
        let hashes = source.block_hashes(&heights).map_err(Error::Node)?;
        for (height, theirs) in heights.into_iter().zip(hashes) {
            if theirs.is_some() && theirs == own_hash(snapshot, height)? {
                return Ok(Some(height));
            }
        }
        above = bottom.checked_sub(1).map(Height);
        count = limits::FORK_SEARCH_BATCH;
    }
    Ok(None)
}

/// Whether the node's branch above the fork has strictly more work than ours. Headers are counted only with their
/// proof of work, so the answer does not rest on the node's word.
fn has_more_work(
    snapshot: &Snapshot,
    source: &dyn ChainSource,
    fork: Height,
    ours: ChainTip,
    node: &ChainState,
) -> Result<bool, Error> {
    let mut own_work = None;
    for height in fork.0.saturating_add(1)..=ours.height.0 {
        let header = snapshot.header(Height(height)).map_err(Error::Index)?;
        let header = header.and_then(|bytes| encode::deserialize::<Header>(&bytes).ok());
        own_work = add(own_work, header.map(|header| header.work()));
    }
    let mut below = own_hash(snapshot, fork)?;
    let mut node_work = None;
    let mut start = fork.0.saturating_add(1);
    while start <= node.tip.height.0 && node_work <= own_work {
        let end = start
            .saturating_add(limits::FORK_SEARCH_BATCH - 1)
            .min(node.tip.height.0);
        let heights: Vec<_> = (start..=end).map(Height).collect();
        let hashes = source.block_hashes(&heights).map_err(Error::Node)?;
        let hashes: Vec<BlockHash> = hashes.into_iter().flatten().collect();
        for header in source.headers(&hashes).map_err(Error::Node)? {
            match header {
                Some(header) if Some(header.prev_blockhash) == below => {
                    below = Some(header.block_hash());
                    node_work = add(node_work, Some(header.work()));
                }
                // The chain moved while we read it.
                _ => return Ok(false),
            }
        }
        start = end.saturating_add(1);
    }
    Ok(node_work > own_work)
}

fn own_hash(snapshot: &Snapshot, height: Height) -> Result<Option<BlockHash>, Error> {
    snapshot.block_hash(height).map_err(Error::Index)
}

/// The sum; `None` stands for no work at all.
fn add(sum: Option<Work>, more: Option<Work>) -> Option<Work> {
    match (sum, more) {
        (Some(sum), Some(more)) => Some(sum + more),
        (one, other) => one.or(other),
    }
}
