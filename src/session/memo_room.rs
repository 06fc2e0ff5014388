//! The room that the memos of all sessions have together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits;

/// What one session takes of it, until it is dropped.
#[derive(Debug)]
pub(super) struct MemoRoom {
    /// Bytes of all sessions.
    all: Arc<AtomicUsize>,
    own: usize,
}

impl MemoRoom {
    pub(super) fn new(all: &Arc<AtomicUsize>) -> Self {
        Self {
            all: Arc::clone(all),
            own: 0,
        }
    }

    /// Takes room for so many bytes instead of those before. Whether there is room: else the session is to forget.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let grows = bytes > self.own;
        // Wraps around where it shrinks, and is right in the end.
        let change = bytes.wrapping_sub(self.own);
        let all = self
            .all
            .fetch_add(change, Ordering::Relaxed)
            .wrapping_add(change);
        self.own = bytes;
        !grows || all <= limits::MEMOS_BYTES_MAX
    }
}

impl Drop for MemoRoom {
    fn drop(&mut self) {
        self.take(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_grows_beyond_the_room_of_all_is_to_forget() {
        let all = Arc::default();
        let [mut early, mut late] = [MemoRoom::new(&all), MemoRoom::new(&all)];
        assert!(early.take(limits::MEMOS_BYTES_MAX - 10));
        assert!(late.take(10), "exactly the room there is");
        assert!(!late.take(11));
        assert!(
            early.take(limits::MEMOS_BYTES_MAX - 10),
            "it has grown no more"
        );
        assert!(late.take(0));
        assert_eq!(all.load(Ordering::Relaxed), limits::MEMOS_BYTES_MAX - 10);
        drop(early);
        assert!(late.take(limits::MEMOS_BYTES_MAX));
        drop(late);
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }
}
