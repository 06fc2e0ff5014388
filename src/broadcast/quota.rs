//! What one session may queue.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::limits;

/// What one session may still queue: [`limits::SESSION_TRANSACTIONS_MAX`] new transactions in
/// [`limits::SESSION_TRANSACTIONS_WINDOW`], so that one client cannot fill the queue for all.
///
/// It says when a session sent something, so it is not printed and ends with the session.
#[derive(Default)]
pub struct Quota(Mutex<VecDeque<Instant>>);

impl Quota {
    /// Nothing was queued yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `queue` unless the session has queued as much as it may, and counts it when it succeeds; `None` when it
    /// was not run.
    pub fn count<T, E>(
        &self,
        now: Instant,
        queue: impl FnOnce() -> Result<T, E>,
    ) -> Option<Result<T, E>> {
        let mut queued = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let window = limits::SESSION_TRANSACTIONS_WINDOW;
        while queued
            .front()
            .is_some_and(|first| now.saturating_duration_since(*first) >= window)
        {
            queued.pop_front();
        }
        if queued.len() >= limits::SESSION_TRANSACTIONS_MAX {
            return None;
        }
        let outcome = queue();
        if outcome.is_ok() {
            queued.push_back(now);
        }
        Some(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn queue(quota: &Quota, now: Instant) -> bool {
        quota.count(now, || Ok::<_, ()>(())).is_some()
    }

    #[test]
    fn only_so_many_are_queued_in_a_while_and_failures_do_not_count() {
        let quota = Quota::new();
        let start = Instant::now();
        for _ in 0..100 {
            assert_eq!(quota.count(start, || Err::<(), _>(7)), Some(Err(7)));
        }
        for _ in 0..limits::SESSION_TRANSACTIONS_MAX {
            assert!(queue(&quota, start));
        }
        let end = start + limits::SESSION_TRANSACTIONS_WINDOW;
        assert!(!queue(&quota, start));
        let before = end.checked_sub(Duration::from_millis(1)).unwrap();
        assert!(!queue(&quota, before));
        assert!(queue(&quota, end));
    }
}
