//! What one session keeps of the statuses it was told: how far each was hashed, so that a block adds to it instead of
//! having all of a long history read and hashed again.
//!
//! It belongs to one session and ends with it, so it tells nothing to any other.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Answer, Error, View, history, ready};
use crate::chain::{ChainTip, HistoryEntry, ScriptHash, StatusHasher};
use crate::index::Effort;
use crate::limits;

/// Bytes that a kept status takes in the table, of which up to half may be empty.
const KEPT_BYTES: usize = 2 * size_of::<(ScriptHash, Kept)>();

/// The statuses of one session.
pub struct StatusMemo {
    /// Shorter histories are not kept.
    entries_min: usize,
    kept: Mutex<Statuses>,
}

#[derive(Default)]
struct Statuses {
    by_script: HashMap<ScriptHash, Kept>,
    /// Counts the answers.
    clock: u64,
}

/// The confirmed part of a history, hashed.
#[derive(Clone)]
struct Kept {
    hasher: StatusHasher,
    /// The last block that it has.
    tip: ChainTip,
    used: u64,
}

impl Default for StatusMemo {
    fn default() -> Self {
        Self::keeping(limits::MEMO_ENTRIES_MIN)
    }
}

impl StatusMemo {
    /// Keeps the statuses of so many transactions or more.
    #[doc(hidden)]
    pub fn keeping(entries_min: usize) -> Self {
        Self {
            entries_min,
            kept: Mutex::default(),
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        *self.lock() = Statuses::default();
    }

    /// Whether there is nothing to forget.
    pub fn is_empty(&self) -> bool {
        self.lock().by_script.is_empty()
    }

    /// The status of a script, as [`super::answer`] gives it.
    pub fn status(&self, view: &View, script_hash: &ScriptHash) -> Result<Answer, Error> {
        let view = ready(view)?;
        let prefix = view.snapshot.prefix(script_hash);
        let kept = self.lock().find(script_hash);
        let newer = match &kept {
            Some(kept) => view.snapshot.history_above(prefix, kept.tip),
            None => Ok(None),
        };
        let (mut hasher, entries) = match (kept, newer.map_err(Error::Index)?) {
            (Some(kept), Some(newer)) => (kept.hasher, newer),
            _ => {
                let whole = view.snapshot.history(prefix, Effort::Any);
                let whole = whole.map_err(Error::Index)?;
                (StatusHasher::default(), whole)
            }
        };
        for entry in entries {
            hasher.push(&HistoryEntry::from(entry));
        }
        if let Some(tip) = view.tip().filter(|_| hasher.entries() >= self.entries_min) {
            let hasher = hasher.clone();
            self.lock().keep(*script_hash, hasher, tip);
        }
        for row in history::unconfirmed_rows(view, prefix) {
            hasher.push(&HistoryEntry {
                txid: row.txid,
                height: row.height,
            });
        }
        Ok(Answer::Status(hasher.finish()))
    }

    fn lock(&self) -> MutexGuard<'_, Statuses> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Statuses {
    fn find(&mut self, script_hash: &ScriptHash) -> Option<Kept> {
        self.by_script.get(script_hash).cloned()
    }

    fn keep(&mut self, script_hash: ScriptHash, hasher: StatusHasher, tip: ChainTip) {
        self.clock += 1;
        let kept = Kept {
            hasher,
            tip,
            used: self.clock,
        };
        self.by_script.insert(script_hash, kept);
        if self.by_script.len() > limits::MEMO_BYTES_MAX / KEPT_BYTES {
            let unused = self.by_script.iter().min_by_key(|(_, kept)| kept.used);
            let unused = unused.map(|(script_hash, _)| *script_hash);
            unused.map(|script_hash| self.by_script.remove(&script_hash));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Height;
    use bitcoin::hashes::Hash as _;

    static_assertions::assert_not_impl_any!(StatusMemo: std::fmt::Debug, Clone);

    #[test]
    fn it_stays_within_its_bound_and_forgets_what_was_not_used() {
        let mut statuses = Statuses::default();
        let script =
            |n: usize| ScriptHash::of(&bitcoin::ScriptBuf::from_bytes(n.to_be_bytes().to_vec()));
        let tip = ChainTip {
            height: Height(1),
            hash: bitcoin::BlockHash::all_zeros(),
        };
        let most = limits::MEMO_BYTES_MAX / KEPT_BYTES;
        assert!(most > 300, "{most}");
        for n in 0..most + 10 {
            statuses.keep(script(n), StatusHasher::default(), tip);
            statuses.keep(script(0), StatusHasher::default(), tip);
        }
        assert_eq!(statuses.by_script.len(), most);
        assert!(statuses.find(&script(0)).is_some());
        assert!(statuses.find(&script(1)).is_none());
        assert!(statuses.find(&script(most + 9)).is_some());
        let bytes = statuses.by_script.capacity() * size_of::<(ScriptHash, Kept)>();
        assert!(bytes <= limits::MEMO_BYTES_MAX * 8 / 7, "{bytes}");
    }
}
