//! What an onion service counts: sums over all clients, nothing about a single one.

use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot of what an [`OnionService`](crate::OnionService) has counted since its launch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Rendezvous requests taken from Arti.
    pub rendezvous_taken: u64,
    /// Of these, dropped because newer ones overran the local queue.
    pub rendezvous_dropped: u64,
    /// Of these, refused because as many circuits as allowed were open.
    pub rendezvous_refused: u64,
    /// Of these, those whose circuit could not be built, or not in time.
    pub accept_failed: u64,
    /// Circuits open now, those being built included.
    pub circuits_open: u64,
    /// Streams handed out.
    pub streams_accepted: u64,
    /// Streams refused: wrong port, too many on the circuit, or not fetched fast enough.
    pub streams_refused: u64,
}

/// The live counters behind [`Counters`].
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) rendezvous_taken: AtomicU64,
    pub(crate) rendezvous_dropped: AtomicU64,
    pub(crate) rendezvous_refused: AtomicU64,
    pub(crate) accept_failed: AtomicU64,
    pub(crate) streams_accepted: AtomicU64,
    pub(crate) streams_refused: AtomicU64,
}

impl Tally {
    pub(crate) fn snapshot(&self, circuits_open: u64) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            rendezvous_taken: read(&self.rendezvous_taken),
            rendezvous_dropped: read(&self.rendezvous_dropped),
            rendezvous_refused: read(&self.rendezvous_refused),
            accept_failed: read(&self.accept_failed),
            circuits_open,
            streams_accepted: read(&self.streams_accepted),
            streams_refused: read(&self.streams_refused),
        }
    }
}

/// Counts one more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
