//! Follows the node's mempool, in rounds of bounded size.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use bitcoin::{BlockHash, Txid};

use super::source::{MempoolSource, OutputSource};
use super::take_in::{Pending, take_in};
use super::{Mempool, MempoolPart};
use crate::error::ErrorKind;
use crate::index::{self, ScriptPrefix};
use crate::limits;
use crate::node;

/// Why a round could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node did not answer.
    #[error("read the node's mempool")]
    Node(#[source] node::Error),
    /// The index could not be read.
    #[error("look up the outputs that mempool transactions spend")]
    Index(#[source] index::Error),
}

impl Error {
    /// Who has to act.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Node(error) => error.kind(),
            Self::Index(error) => error.kind(),
        }
    }
}

/// Goes from one mempool to the next.
///
/// What the node has is listed now and then; between two lists, what is missing is fetched. A transaction is taken in
/// whole or not at all: one with a previous output that neither the chain nor the mempool has (because its parent is
/// not there yet) is tried again after the next list.
pub(crate) struct Poller {
    mempool: Mempool,
    /// Bytes that it may take.
    bytes_max: usize,
    /// Scripts changed since they were taken last.
    changed: Vec<ScriptPrefix>,
    /// Where the chain ended when the node listed what it has; `None` when it shall list at once.
    listed_at: Option<BlockHash>,
    listed: usize,
    /// When it lists again.
    due: Option<Instant>,
    /// Listed, and to be fetched.
    waiting: VecDeque<Txid>,
    /// Listed, and fetched in vain since.
    deferred: HashSet<Txid>,
    /// Listed, and left out because others pay better.
    left_out: HashSet<Txid>,
    /// Whether transactions may have become unconfirmed again since the last round.
    went_back: bool,
}

impl Default for Poller {
    fn default() -> Self {
        Self::within(limits::MEMPOOL_BYTES_MAX)
    }
}

impl Poller {
    /// With a mempool that may take so many bytes.
    pub(super) fn within(bytes_max: usize) -> Self {
        Self {
            mempool: Mempool::default(),
            bytes_max,
            changed: Vec::new(),
            listed_at: None,
            listed: 0,
            due: None,
            waiting: VecDeque::new(),
            deferred: HashSet::new(),
            left_out: HashSet::new(),
            went_back: false,
        }
    }

    /// The mempool after the last round.
    pub(crate) fn mempool(&self) -> &Mempool {
        &self.mempool
    }

    /// Scripts whose unconfirmed history may differ since this was asked last; sorted.
    pub(crate) fn take_changed(&mut self) -> Vec<ScriptPrefix> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    /// How much of the node's mempool is known.
    pub(crate) fn part(&self) -> MempoolPart {
        MempoolPart {
            known: self.mempool.len(),
            listed: self.listed,
            left_out: self.left_out.len(),
            loading: !self.waiting.is_empty(),
        }
    }

    /// What was listed may be of another chain: the next round lists again.
    pub(crate) fn list_again(&mut self) {
        self.listed_at = None;
    }

    /// Blocks were taken back: what is known may spend what is unconfirmed again.
    pub(crate) fn chain_went_back(&mut self) {
        self.went_back = true;
        self.list_again();
    }

    /// One round, which begins `now`, and the pause until the next one. The caller makes sure that the chain ends in
    /// `tip`, for the node and for `outputs`, before and after; if it does not after, it calls [`Self::list_again`].
    ///
    /// After an error too the mempool is one that the node may have had.
    pub(crate) fn round(
        &mut self,
        source: &dyn MempoolSource,
        outputs: &dyn OutputSource,
        tip: BlockHash,
        now: Instant,
    ) -> Result<Duration, Error> {
        if self.listed_at != Some(tip) || self.due.is_none_or(|due| due <= now) {
            self.list(source, tip, now)?;
        }
        if let Err(error) = self.fetch(source, outputs) {
            // What it was about to fetch is found again.
            self.list_again();
            return Err(error);
        }
        if self.went_back {
            self.take_out_orphans();
            self.went_back = false;
        }
        if !self.waiting.is_empty() {
            return Ok(Duration::ZERO);
        }
        let due = self.due.unwrap_or(now);
        Ok(due.saturating_duration_since(now))
    }

    /// Lets the node list what it has: what is gone leaves, what is new is fetched before what is not.
    fn list(
        &mut self,
        source: &dyn MempoolSource,
        tip: BlockHash,
        now: Instant,
    ) -> Result<(), Error> {
        let begun = Instant::now();
        self.listed_at = None;
        let listed = source.mempool_txids().map_err(Error::Node)?;
        self.due = now.checked_add(between_lists(begun.elapsed(), listed.len()));
        self.listed = listed.len();
        let known = listed.iter().filter(|txid| self.mempool.contains(txid));
        if known.count() < self.mempool.len() {
            let listed: HashSet<&Txid> = listed.iter().collect();
            let all = self.mempool.txids();
            let gone: Vec<Txid> = all.filter(|txid| !listed.contains(txid)).copied().collect();
            for txid in gone {
                self.mempool.remove(&txid, &mut self.changed);
            }
        }
        // Half of what was made room for when the last ones were left out: this must not go back and forth.
        if self.mempool.bytes() < share(self.bytes_max, 6) {
            self.left_out.clear();
        }
        self.sort_missing(listed);
        self.listed_at = Some(tip);
        Ok(())
    }

    /// What is not known of these is new, or has waited already, or was tried in vain and waits behind all others.
    fn sort_missing(&mut self, listed: Vec<Txid>) {
        let waited: HashSet<Txid> = self.waiting.drain(..).collect();
        let mut left_out = HashSet::new();
        let (mut behind, mut last) = (Vec::new(), Vec::new());
        for txid in listed {
            if self.mempool.contains(&txid) {
            } else if self.left_out.contains(&txid) {
                left_out.insert(txid);
            } else if self.deferred.contains(&txid) {
                last.push(txid);
            } else if waited.contains(&txid) {
                behind.push(txid);
            } else {
                self.waiting.push_back(txid);
            }
        }
        self.waiting.extend(behind);
        self.waiting.extend(last);
        self.left_out = left_out;
        self.deferred = HashSet::new();
    }

    /// Fetches and takes in what waits, as much as makes one round.
    fn fetch(
        &mut self,
        source: &dyn MempoolSource,
        outputs: &dyn OutputSource,
    ) -> Result<(), Error> {
        let count = self.waiting.len().min(limits::MEMPOOL_FETCH_MAX);
        let wanted: Vec<Txid> = self.waiting.drain(..count).collect();
        let mut pending = Vec::new();
        let mut bytes = 0_usize;
        for part in wanted.chunks(limits::MEMPOOL_BATCH_MAX) {
            let fetched = source.mempool_transactions(part).map_err(Error::Node)?;
            for fetched in fetched.into_iter().flatten().map(Pending::of) {
                bytes = bytes.saturating_add(fetched.bytes());
                pending.push(fetched);
                if bytes >= limits::MEMPOOL_PENDING_BYTES_MAX {
                    self.take_in(&mut pending, source, outputs)?;
                    bytes = pending.iter().map(Pending::bytes).sum();
                }
            }
        }
        self.take_in(&mut pending, source, outputs)?;
        self.want_parents(&pending);
        let missing = wanted.into_iter();
        let missing =
            missing.filter(|txid| !self.mempool.contains(txid) && !self.left_out.contains(txid));
        self.deferred.extend(missing);
        Ok(())
    }

    fn take_in(
        &mut self,
        pending: &mut Vec<Pending>,
        source: &dyn MempoolSource,
        outputs: &dyn OutputSource,
    ) -> Result<(), Error> {
        let (mempool, changed) = (&mut self.mempool, &mut self.changed);
        take_in(pending, source, outputs, mempool, changed)?;
        // What is dropped here is fetched again after the next list.
        pending.truncate(limits::MEMPOOL_BATCH_MAX);
        self.shed();
        Ok(())
    }

    /// A child may pay for parents that were left out.
    fn want_parents(&mut self, pending: &[Pending]) {
        for parent in pending.iter().flat_map(Pending::parents) {
            if self.left_out.remove(&parent) {
                self.waiting.push_back(parent);
            }
        }
    }

    /// Takes out what spends outputs of transactions that the node has and that are not known: it could not be told
    /// from what spends confirmed ones. It comes back behind its parents.
    fn take_out_orphans(&mut self) {
        let waiting: HashSet<&Txid> = self
            .waiting
            .iter()
            .chain(&self.deferred)
            .chain(&self.left_out)
            .collect();
        if waiting.is_empty() {
            return;
        }
        let orphans = self.mempool.spending_of(|txid| waiting.contains(txid));
        let left = self
            .mempool
            .remove_with_children(orphans, &mut self.changed);
        self.waiting.extend(left);
    }

    /// Takes out what pays least, when all together takes too much memory.
    fn shed(&mut self) {
        if self.mempool.bytes() <= self.bytes_max {
            return;
        }
        for txid in self.mempool.paying_least(share(self.bytes_max, 7)) {
            self.mempool.remove(&txid, &mut self.changed);
            self.left_out.insert(txid);
        }
    }
}

/// The pause after a list of so many transactions that took the node so long: it costs it about 2 % of a core.
fn between_lists(spent: Duration, listed: usize) -> Duration {
    let longest = if listed < limits::MEMPOOL_LARGE {
        limits::MEMPOOL_INTERVAL_MAX
    } else {
        limits::MEMPOOL_INTERVAL_LARGE
    };
    spent
        .saturating_mul(limits::MEMPOOL_PAUSE_FACTOR)
        .clamp(limits::MEMPOOL_INTERVAL_MIN, longest)
}

/// So many eighths.
fn share(bytes: usize, eighths: usize) -> usize {
    (bytes / 8).saturating_mul(eighths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_follow_the_node_s_time_within_bounds() {
        let bounds = (limits::MEMPOOL_INTERVAL_MIN, limits::MEMPOOL_INTERVAL_MAX);
        let between =
            |milliseconds, listed| between_lists(Duration::from_millis(milliseconds), listed);
        assert_eq!(between(0, 0), bounds.0);
        assert_eq!(between(10, 0), Duration::from_millis(500));
        assert_eq!(between(9_000, limits::MEMPOOL_LARGE - 1), bounds.1);
        let large = limits::MEMPOOL_LARGE;
        assert_eq!(between(100, large), Duration::from_secs(5));
        assert_eq!(between(9_000, large), limits::MEMPOOL_INTERVAL_LARGE);
    }
}
