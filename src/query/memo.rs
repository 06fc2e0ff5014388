//! What one session keeps of the answers it was given, so that the next ones take less: txids, and of statuses how far
//! each was hashed, so that a block adds to it instead of having all of a long history read and hashed again.
//!
//! It belongs to one session and ends with it, so it tells nothing to any other.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{
    Answer, Error, NobodyToAsk, NodeReader, Query, View, answer_with, history, noted, ready,
};
use crate::chain::{ChainTip, HistoryEntry, ScriptHash, StatusHasher};
use crate::index::{self, Effort, KnownTxids};
use crate::limits;

/// The memory of one session, at most [`limits::MEMO_BYTES_MAX`].
pub struct SessionMemo {
    /// The statuses of shorter histories are not kept.
    entries_min: usize,
    statuses: Mutex<Statuses>,
    txids: KnownTxids,
}

#[derive(Default)]
struct Statuses {
    /// A list, because a table in which others come and go grows at times.
    kept: Vec<Kept>,
    /// Counts the answers.
    clock: u64,
}

/// The confirmed part of a history, hashed.
#[derive(Clone)]
struct Kept {
    script_hash: ScriptHash,
    hasher: StatusHasher,
    /// The last block that it has.
    tip: ChainTip,
    used: u64,
}

impl Default for SessionMemo {
    fn default() -> Self {
        Self::keeping(limits::MEMO_ENTRIES_MIN)
    }
}

impl SessionMemo {
    /// Keeps the statuses of so many transactions or more.
    #[doc(hidden)]
    pub fn keeping(entries_min: usize) -> Self {
        Self {
            entries_min,
            statuses: Mutex::default(),
            txids: KnownTxids::default(),
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        *self.statuses() = Statuses::default();
        self.txids.clear();
    }

    /// Whether there is nothing to forget.
    pub fn is_empty(&self) -> bool {
        self.statuses().kept.is_empty() && self.txids.is_empty()
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        let statuses = self.statuses().kept.capacity() * size_of::<Kept>();
        statuses + self.txids.bytes()
    }

    /// Answers one question as [`super::answer`] does.
    pub fn answer(
        &self,
        view: &View,
        node: &dyn NodeReader,
        query: &Query,
    ) -> Result<Answer, Error> {
        let answered = if let Query::Status(script_hash) = query {
            self.status(view, script_hash)
        } else {
            answer_with(view, Effort::Any, Some(&self.txids), node, query)
        };
        noted(view, answered)
    }

    /// The same if it takes a few steps in the index and nothing else; `None` if it may take more.
    pub fn answer_at_once(&self, view: &View, query: &Query) -> Option<Result<Answer, Error>> {
        if !query.is_little() {
            return None;
        }
        match answer_with(view, Effort::Little, Some(&self.txids), &NobodyToAsk, query) {
            Err(
                Error::Node
                | Error::Index(index::Error::TooMuch | index::Error::TransactionUnavailable),
            ) => None,
            Ok(Answer::Transaction(bytes)) if bytes.len() > limits::LITTLE_EFFORT_BYTES => None,
            answered => Some(noted(view, answered)),
        }
    }

    fn status(&self, view: &View, script_hash: &ScriptHash) -> Result<Answer, Error> {
        let view = ready(view)?;
        let txids = Some(&self.txids);
        let prefix = view.snapshot.prefix(script_hash);
        let kept = self.statuses().find(script_hash);
        let newer = match &kept {
            Some(kept) => view.snapshot.history_above(prefix, kept.tip, txids),
            None => Ok(None),
        };
        let (mut hasher, entries) = match (kept, newer.map_err(Error::Index)?) {
            (Some(kept), Some(newer)) => (kept.hasher, newer),
            _ => {
                let whole = view.snapshot.history(prefix, Effort::Any, txids);
                let whole = whole.map_err(Error::Index)?;
                (StatusHasher::default(), whole)
            }
        };
        for entry in entries {
            hasher.push(&HistoryEntry::from(entry));
        }
        if let Some(tip) = view.tip().filter(|_| hasher.entries() >= self.entries_min) {
            let hasher = hasher.clone();
            self.statuses().keep(*script_hash, hasher, tip);
        }
        for row in history::unconfirmed_rows(view, prefix) {
            hasher.push(&HistoryEntry {
                txid: row.txid,
                height: row.height,
            });
        }
        Ok(Answer::Status(hasher.finish()))
    }

    fn statuses(&self) -> MutexGuard<'_, Statuses> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Statuses {
    fn find(&self, script_hash: &ScriptHash) -> Option<Kept> {
        let mut kept = self.kept.iter();
        kept.find(|kept| kept.script_hash == *script_hash).cloned()
    }

    fn keep(&mut self, script_hash: ScriptHash, hasher: StatusHasher, tip: ChainTip) {
        self.clock += 1;
        let new = Kept {
            script_hash,
            hasher,
            tip,
            used: self.clock,
        };
        let is_full = self.kept.len() >= limits::MEMO_STATUSES_MAX;
        let mut kept = self.kept.iter_mut();
        let place = match kept.position(|kept| kept.script_hash == script_hash) {
            None if is_full => {
                let unused = self.kept.iter().enumerate();
                unused.min_by_key(|(_, kept)| kept.used).map(|(at, _)| at)
            }
            there => there,
        };
        match place.and_then(|at| self.kept.get_mut(at)) {
            Some(place) => *place = new,
            None => self.kept.push(new),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Height;
    use bitcoin::hashes::Hash as _;

    static_assertions::assert_not_impl_any!(SessionMemo: std::fmt::Debug, Clone);

    #[test]
    fn statuses_stay_within_their_bound_and_those_not_used_are_forgotten() {
        let memo = SessionMemo::default();
        let mut statuses = memo.statuses();
        let script =
            |n: usize| ScriptHash::of(&bitcoin::ScriptBuf::from_bytes(n.to_be_bytes().to_vec()));
        let tip = ChainTip {
            height: Height(1),
            hash: bitcoin::BlockHash::all_zeros(),
        };
        let most = limits::MEMO_STATUSES_MAX;
        for n in 0..most + 10 {
            statuses.keep(script(n), StatusHasher::default(), tip);
            statuses.keep(script(0), StatusHasher::default(), tip);
        }
        assert_eq!(statuses.kept.len(), most);
        assert!(statuses.find(&script(0)).is_some());
        assert!(statuses.find(&script(1)).is_none());
        assert!(statuses.find(&script(most + 9)).is_some());
    }
}
