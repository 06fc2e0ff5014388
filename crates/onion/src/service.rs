//! A launched onion service.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures::future::ready;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tor_hsservice::status::{OnionServiceStatus, State};
use tor_hsservice::{RendRequest, RunningOnionService};

use crate::accept::Intake;
use crate::counters::{Counters, Tally};
use crate::identity::OnionAddress;
use crate::settings::ServiceSettings;
use crate::stream::AcceptedStream;

/// Streams let in and not fetched yet. A burst of 200 clients fits; whoever fetches so slowly
/// that it fills up is better off with refusals.
const UNFETCHED_MAX: usize = 256;

/// Whether clients can reach an onion service, as far as Arti can tell from its own side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reachability {
    /// Building introduction points and publishing the descriptor for the first time.
    Bootstrapping,
    /// Everything is as it should be.
    Reachable,
    /// Reachable with fewer introduction points than wanted.
    Degraded,
    /// Probably not reachable at present; Arti goes on trying.
    Unreachable,
    /// Arti has tried for long and failed.
    Broken,
    /// Not running, or not any more.
    Shutdown,
}

/// An onion service: published and accepting streams until it is dropped.
///
/// After that no new client gets in, while streams handed out before go on until they are dropped.
#[must_use = "an onion service stops when it is dropped"]
pub struct OnionService {
    address: OnionAddress,
    status: watch::Receiver<Reachability>,
    streams: mpsc::Receiver<AcceptedStream>,
    circuits: Arc<Semaphore>,
    circuits_max: usize,
    tally: Arc<Tally>,
    stopped: CancellationToken,
    _stop: DropGuard,
    _running: Arc<RunningOnionService>,
}

impl OnionService {
    /// Takes over what Arti launched.
    pub(crate) fn start(
        address: OnionAddress,
        settings: &ServiceSettings,
        circuit_numbers: Arc<AtomicU64>,
        running: Arc<RunningOnionService>,
        requests: BoxStream<'static, RendRequest>,
    ) -> Self {
        let stop = CancellationToken::new();
        let (sender, streams) = mpsc::channel(UNFETCHED_MAX);
        let circuits = Arc::new(Semaphore::new(settings.circuits_max));
        let tally = Arc::new(Tally::default());
        let status = watch_status(&running, stop.clone());
        Intake {
            virtual_port: settings.virtual_port,
            circuits: Arc::clone(&circuits),
            circuit_numbers,
            streams: sender,
            tally: Arc::clone(&tally),
            stop: stop.clone(),
        }
        .start(requests);
        Self {
            address,
            status,
            streams,
            circuits,
            circuits_max: settings.circuits_max,
            tally,
            stopped: stop.clone(),
            _stop: stop.drop_guard(),
            _running: running,
        }
    }

    /// The onion address under which it is published.
    pub fn address(&self) -> OnionAddress {
        self.address
    }

    /// Its reachability, now and as it changes; ends with [`Reachability::Shutdown`].
    pub fn status(&self) -> watch::Receiver<Reachability> {
        self.status.clone()
    }

    /// The next stream that a client opens to the virtual port; `None` when the service has ended.
    ///
    /// Cancel-safe. Has to be called again at once: streams are refused when 256 wait.
    pub async fn next_stream(&mut self) -> Option<AcceptedStream> {
        tokio::select! {
            biased;
            () = self.stopped.cancelled() => None,
            stream = self.streams.recv() => stream,
        }
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        let open = self
            .circuits_max
            .saturating_sub(self.circuits.available_permits());
        self.tally.snapshot(u64::try_from(open).unwrap_or(u64::MAX))
    }
}

fn watch_status(
    running: &RunningOnionService,
    stop: CancellationToken,
) -> watch::Receiver<Reachability> {
    let (sender, receiver) = watch::channel(Reachability::Bootstrapping);
    let events = running.status_events();
    tokio::spawn(async move {
        stop.run_until_cancelled(forward_status(events, &sender))
            .await;
        sender.send_replace(Reachability::Shutdown);
    });
    receiver
}

async fn forward_status(
    events: impl Stream<Item = OnionServiceStatus> + Unpin,
    sender: &watch::Sender<Reachability>,
) {
    // Arti calls a service shut down until its tasks have begun to report.
    let not_begun = |event: &OnionServiceStatus| ready(event.state() == State::Shutdown);
    let mut events = events.skip_while(not_begun);
    while let Some(event) = events.next().await {
        let now = reachability(&event);
        sender.send_if_modified(|last| std::mem::replace(last, now) != now);
    }
}

fn reachability(status: &OnionServiceStatus) -> Reachability {
    match status.state() {
        State::Bootstrapping => Reachability::Bootstrapping,
        State::Running => Reachability::Reachable,
        State::DegradedReachable => Reachability::Degraded,
        State::Broken => Reachability::Broken,
        State::Shutdown => Reachability::Shutdown,
        // `Recovering` too means no good introduction point, and so will states yet unknown.
        State::DegradedUnreachable | State::Recovering | _ => Reachability::Unreachable,
    }
}
