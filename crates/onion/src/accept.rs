//! From rendezvous requests to circuits.
//!
//! Arti hands over rendezvous requests through a queue of 32 and silently drops what does not fit.
//! So one task does nothing but empty that queue into a longer one of ours, and only behind that
//! the number of circuits built at a time is bounded. A bound in front would lose half of every
//! burst.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tor_hsservice::RendRequest;

use crate::circuit::Circuit;
use crate::counters::{Tally, count};
use crate::stream::{AcceptedStream, CircuitNumber};

/// Rendezvous requests waiting for us. Behind so many a client has given up before its turn, so
/// the oldest goes.
const WAITING_MAX: usize = 1024;

/// Circuits built at a time: more would let a flood of requests take the whole processor.
const ACCEPTING_MAX: usize = 32;

/// A circuit that takes longer to build is of no use to the client, who has given up.
const ACCEPT_MAX: Duration = Duration::from_secs(60);

/// Where the circuits of one service come from.
pub(crate) struct Intake {
    pub(crate) virtual_port: u16,
    /// A permit for each circuit that may be open.
    pub(crate) circuits: Arc<Semaphore>,
    pub(crate) circuit_numbers: Arc<AtomicU64>,
    pub(crate) streams: mpsc::Sender<AcceptedStream>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) stop: CancellationToken,
}

impl Intake {
    /// Starts the tasks. They end with the stop token; it is cancelled when `requests` end.
    pub(crate) fn start(self, requests: BoxStream<'static, RendRequest>) {
        let stop = self.stop.clone();
        let waiting = Arc::new(Waiting::new(WAITING_MAX));
        let draining = drain(requests, Arc::clone(&waiting), Arc::clone(&self.tally));
        let ended = stop.clone().drop_guard();
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            // Dropped whatever way the task ends, so that a service without it is not kept up.
            let _ended = ended;
            draining.await;
        }));
        tokio::spawn(stop.run_until_cancelled_owned(self.accept_all(waiting)));
    }

    async fn accept_all(self, waiting: Arc<Waiting<RendRequest>>) {
        let accepting = Arc::new(Semaphore::new(ACCEPTING_MAX));
        while let Ok(turn) = Arc::clone(&accepting).acquire_owned().await {
            let request = waiting.pop().await;
            let Ok(place) = Arc::clone(&self.circuits).try_acquire_owned() else {
                count(&self.tally.rendezvous_refused);
                continue;
            };
            let circuit = Circuit {
                number: CircuitNumber(self.circuit_numbers.fetch_add(1, Ordering::Relaxed)),
                virtual_port: self.virtual_port,
                streams: self.streams.clone(),
                tally: Arc::clone(&self.tally),
            };
            let serving = accept(request, circuit, turn, place);
            tokio::spawn(self.stop.clone().run_until_cancelled_owned(serving));
        }
    }
}

/// Builds one circuit, gives the turn to the next, and serves the circuit to its end.
async fn accept(
    request: RendRequest,
    circuit: Circuit,
    turn: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
) {
    let Ok(Ok(requests)) = timeout(ACCEPT_MAX, request.accept()).await else {
        count(&circuit.tally.accept_failed);
        return;
    };
    drop(turn);
    circuit.serve(requests).await;
}

async fn drain(
    mut requests: BoxStream<'static, RendRequest>,
    waiting: Arc<Waiting<RendRequest>>,
    tally: Arc<Tally>,
) {
    while let Some(request) = requests.next().await {
        count(&tally.rendezvous_taken);
        if waiting.push(request).is_some() {
            count(&tally.rendezvous_dropped);
        }
    }
}

/// A queue that never makes its writer wait: over its bound the oldest entry goes.
struct Waiting<T> {
    entries: Mutex<VecDeque<T>>,
    /// One permit for each entry that no reader has claimed.
    unclaimed: Semaphore,
    max: usize,
}

impl<T> Waiting<T> {
    fn new(max: usize) -> Self {
        Self {
            entries: Mutex::default(),
            unclaimed: Semaphore::new(0),
            max,
        }
    }

    /// Adds an entry; returns the one that had to go for it.
    fn push(&self, entry: T) -> Option<T> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let dropped = if entries.len() < self.max {
            None
        } else {
            entries.pop_front()
        };
        entries.push_back(entry);
        if dropped.is_none() {
            self.unclaimed.add_permits(1);
        }
        dropped
    }

    /// The oldest entry, once there is one.
    async fn pop(&self) -> T {
        loop {
            if let Ok(claim) = self.unclaimed.acquire().await {
                claim.forget();
            }
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(entry) = entries.pop_front() {
                return entry;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next entry, or `None` when there is none for the moment.
    async fn popped<T>(waiting: &Waiting<T>) -> Option<T> {
        timeout(Duration::from_millis(50), waiting.pop()).await.ok()
    }

    #[tokio::test]
    async fn waiting_entries_come_out_in_order() {
        let waiting = Waiting::new(3);
        assert!((0..3).all(|entry| waiting.push(entry).is_none()));
        for entry in [Some(0), Some(1), Some(2), None] {
            assert_eq!(popped(&waiting).await, entry);
        }
    }

    #[tokio::test]
    async fn over_the_bound_the_oldest_goes() {
        let waiting = Waiting::new(2);
        assert_eq!(
            [1, 2, 3, 4].map(|entry| waiting.push(entry)),
            [None, None, Some(1), Some(2)]
        );
        for entry in [Some(3), Some(4), None] {
            assert_eq!(popped(&waiting).await, entry);
        }
    }

    #[tokio::test]
    async fn every_reader_that_waits_gets_an_entry() {
        let waiting = Arc::new(Waiting::new(8));
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let waiting = Arc::clone(&waiting);
                tokio::spawn(async move { waiting.pop().await })
            })
            .collect();
        tokio::task::yield_now().await;
        for entry in 0..4 {
            waiting.push(entry);
        }
        let mut got = Vec::new();
        for reader in readers {
            got.push(
                timeout(Duration::from_secs(5), reader)
                    .await
                    .unwrap()
                    .unwrap(),
            );
        }
        got.sort_unstable();
        assert_eq!(got, [0, 1, 2, 3]);
    }
}
