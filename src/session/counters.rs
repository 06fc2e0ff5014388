//! What is told about sessions: sums over all of them, nothing about any one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Sums over all sessions. Cheap to clone; all clones are the same counters.
#[derive(Clone, Debug, Default)]
pub struct Counters(Arc<Sums>);

#[derive(Debug, Default)]
struct Sums {
    sessions_open: AtomicU64,
    requests: AtomicU64,
    protocol_errors: AtomicU64,
}

impl Counters {
    /// Sessions that are open now.
    pub fn sessions_open(&self) -> u64 {
        self.0.sessions_open.load(Ordering::Relaxed)
    }

    /// Requests since the start.
    pub fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// How many of them were against the protocol.
    pub fn protocol_errors(&self) -> u64 {
        self.0.protocol_errors.load(Ordering::Relaxed)
    }

    pub(super) fn session_opened(&self) -> Open {
        self.0.sessions_open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(&self.0))
    }

    pub(super) fn heard(&self, requests: usize, faults: usize) {
        add(&self.0.requests, requests);
        add(&self.0.protocol_errors, faults);
    }
}

/// Counts a session as open until it is dropped.
pub(super) struct Open(Arc<Sums>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.sessions_open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn add(sum: &AtomicU64, count: usize) {
    sum.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
}
