//! Transactions on their way, driven: wakes the queue, runs its deliveries, asks the node for what has not come back.

mod watch;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitcoin::{OutPoint, Txid};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::{Notify, oneshot};
use tokio::task::{Id, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::admission::NodeQuestions;
use super::conversation::DeliveryEnd;
use super::delivery::{self, Dialer, Outcome};
use super::peer::Host;
use super::pool::PeerPool;
use super::queue::{Alarm, DialNumber, JobNumber, Queue};
use super::slot::Report;
use super::timing::Timing;
use super::transaction::QueuedTransaction;
use super::{Quota, Refusal, Settings, Settled};
use crate::chain::{Height, Network};
use crate::limits;

/// Why no transaction is taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// Tor cannot build circuits.
    NoTor,
    /// The node does not say what it would take, or where it is.
    NoNode,
    /// The node does not know yet what was spent.
    InitialDownload,
    /// See [`limits::PEERS_MIN`].
    FewPeers,
}

impl Hindrance {
    /// For people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NoTor => "Tor is not connected",
            Self::NoNode => "the node does not answer",
            Self::InitialDownload => "the node is still fetching the chain",
            Self::FewPeers => "fewer than three usable peers",
        }
    }
}

/// Takes transactions into the queue, and sees to it that they leave.
pub(super) struct Dispatcher {
    shared: Arc<Shared>,
    delivering: Mutex<Option<JoinHandle<()>>>,
    watching: JoinHandle<()>,
}

/// What the two tasks and the sessions have in common.
struct Shared {
    state: Mutex<State>,
    /// There may be something to dial, or it is time to stop.
    changed: Notify,
    is_tor_ready: Box<dyn Fn() -> bool + Send + Sync>,
    settings: Settings,
}

struct State {
    queue: Queue,
    pool: PeerPool,
    node: NodeState,
    /// Sessions that wait for a transaction to be seen.
    waiting: Vec<(JobNumber, oneshot::Sender<Infallible>)>,
    /// Transactions that the node is to test, because they have not come back.
    stale: Vec<(JobNumber, Arc<QueuedTransaction>)>,
    /// Whether Tor was ready at the last look.
    was_tor_ready: bool,
    /// Nothing is dialled from then on.
    is_stopping: bool,
}

/// What the node said of itself last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeState {
    Silent,
    InitialDownload,
    At(Height),
}

impl Dispatcher {
    /// Begins; within a tokio runtime. `own` are hosts of ours, beside those that the node says are its own.
    pub(super) fn start<D: Dialer>(
        settings: Settings,
        network: Network,
        own: Vec<Host>,
        timing: Timing,
        node: Arc<dyn NodeQuestions>,
        dialer: D,
        mut random: StdRng,
    ) -> Self {
        let dialer = Arc::new(dialer);
        let pool = PeerPool::new(
            settings.peers.clone(),
            settings.networks,
            settings.exclude.clone(),
            &timing,
            &mut random,
        );
        let queue = Queue::new(timing, settings.deliveries, StdRng::from_rng(&mut random));
        let asked = Arc::clone(&dialer);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue,
                pool,
                node: NodeState::Silent,
                waiting: Vec::new(),
                stale: Vec::new(),
                was_tor_ready: true,
                is_stopping: false,
            }),
            changed: Notify::new(),
            is_tor_ready: Box::new(move || asked.is_ready()),
            settings,
        });
        let deliveries = Deliveries {
            shared: Arc::clone(&shared),
            dialer,
            network,
            timing,
            random,
            running: JoinSet::new(),
            dials: HashMap::new(),
        };
        Self {
            delivering: Mutex::new(Some(tokio::spawn(deliveries.run()))),
            watching: tokio::spawn(watch::run(Arc::clone(&shared), node, own)),
            shared,
        }
    }

    /// Whether a transaction of this id is on its way.
    pub(super) fn holds(&self, txid: &Txid) -> bool {
        self.shared.state().queue.find(txid)
    }

    /// Transactions on their way that one with these inputs spends from.
    pub(super) fn parents_of(&self, inputs: &[OutPoint]) -> Vec<Arc<QueuedTransaction>> {
        self.shared.state().queue.parents_of(inputs)
    }

    /// Whether a transaction taken now would leave.
    pub(super) fn readiness(&self) -> Result<(), Hindrance> {
        if !(self.shared.is_tor_ready)() {
            return Err(Hindrance::NoTor);
        }
        let state = self.shared.state();
        match state.node {
            NodeState::Silent => Err(Hindrance::NoNode),
            NodeState::InitialDownload => Err(Hindrance::InitialDownload),
            NodeState::At(_) if !state.pool.is_ready(now()) => Err(Hindrance::FewPeers),
            NodeState::At(_) => Ok(()),
        }
    }

    /// What needs the operator.
    pub(super) fn alarm(&self) -> Option<Alarm> {
        self.shared.state().queue.summary(now()).alarm
    }

    /// Queues a transaction; what to wait for before its client is answered, unless it was queued before.
    pub(super) fn admit(
        &self,
        transaction: QueuedTransaction,
        quota: &Quota,
    ) -> Result<Option<Settled>, Refusal> {
        let mut state = self.shared.state();
        if state.is_stopping {
            return Err(Refusal::NotReady);
        }
        if state.queue.find(&transaction.txid) {
            return Ok(None);
        }
        let job = quota
            .count(now(), || state.queue.admit(Arc::new(transaction), now()))
            .and_then(Result::ok)
            .ok_or(Refusal::QueueFull)?;
        let (tell, seen) = oneshot::channel();
        state.waiting.retain(|(_, waiting)| !waiting.is_closed());
        state.waiting.push((job, tell));
        drop(state);
        self.shared.changed.notify_one();
        let answer_wait = self.shared.settings.answer_wait;
        // Whether it was seen makes no difference to the answer, only to its time.
        Ok(Some(Box::pin(async move {
            drop(timeout(answer_wait, seen).await);
        })))
    }

    /// Dials nobody any more, lets deliveries end for [`limits::SHUTDOWN_BROADCAST_MAX`], and forgets the rest.
    pub(super) async fn stop(&self) {
        self.shared.state().is_stopping = true;
        self.shared.changed.notify_one();
        let delivering = self
            .delivering
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(delivering) = delivering {
            // It keeps the time itself; a panic in it was told where it happened.
            drop(delivering.await);
        }
        self.watching.abort();
        let dropped = self.shared.state().queue.unseen().len();
        if dropped > 0 {
            tracing::warn!(
                "ending with {dropped} transactions that have not come back from the network; wallets have to send them again"
            );
        }
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        self.watching.abort();
        let delivering = self
            .delivering
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(delivering) = delivering {
            delivering.abort();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The height of our own chain, to tell peers that are far behind; with none, nobody is.
    fn tip(&self) -> Height {
        match self.node {
            NodeState::At(tip) => tip,
            NodeState::Silent | NodeState::InitialDownload => Height(0),
        }
    }
}

/// The task that dials.
struct Deliveries<D> {
    shared: Arc<Shared>,
    dialer: Arc<D>,
    network: Network,
    timing: Timing,
    random: StdRng,
    running: JoinSet<Outcome>,
    dials: HashMap<Id, DialNumber>,
}

impl<D: Dialer> Deliveries<D> {
    /// Until it is told to stop and nothing runs any more, or the time for that is over.
    async fn run(mut self) {
        let mut stop_at = None;
        loop {
            let is_stopping = self.shared.state().is_stopping;
            let wake_at = if is_stopping {
                let max = limits::SHUTDOWN_BROADCAST_MAX;
                let stop_at = *stop_at.get_or_insert_with(|| Instant::now() + max);
                if self.running.is_empty() || stop_at <= Instant::now() {
                    return;
                }
                stop_at
            } else {
                self.wake()
            };
            tokio::select! {
                Some(ended) = self.running.join_next_with_id() => match ended {
                    Ok((task, outcome)) => self.ended(task, outcome),
                    // A panic was told where it happened; the peer may know what it was given.
                    Err(panicked) => self.ended(panicked.id(), Outcome {
                        end: DeliveryEnd::Closed { announced: true },
                        peer_height: None,
                    }),
                },
                () = self.shared.changed.notified() => {}
                () = sleep_until(wake_at) => {}
            }
        }
    }

    /// Starts what is due; when to look again.
    fn wake(&mut self) -> Instant {
        let is_tor_ready = (self.shared.is_tor_ready)();
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        let state = &mut *state;
        if is_tor_ready && !std::mem::replace(&mut state.was_tor_ready, is_tor_ready) {
            state.queue.resume(now());
        }
        state.was_tor_ready = is_tor_ready;
        for (job, transaction) in state.queue.stale(now()) {
            state.stale.retain(|(other, _)| *other != job);
            state.stale.push((job, transaction));
        }
        let pause = Instant::now() + limits::BROADCAST_WATCH_INTERVAL;
        if !is_tor_ready {
            return pause;
        }
        for dial in state.queue.due(&mut state.pool, now()) {
            let number = dial.number;
            let (dialer, network, timing) = (Arc::clone(&self.dialer), self.network, self.timing);
            let random = StdRng::from_rng(&mut self.random);
            let task = self.running.spawn(async move {
                delivery::deliver(&*dialer, dial, network, &timing, random).await
            });
            self.dials.insert(task.id(), number);
        }
        let idle = Instant::now() + limits::BROADCAST_IDLE_MAX;
        state.queue.wake_at().map_or(idle, Instant::from_std)
    }

    fn ended(&mut self, task: Id, outcome: Outcome) {
        let Some(dial) = self.dials.remove(&task) else {
            return;
        };
        let mut state = self.shared.state();
        let state = &mut *state;
        let report = Report {
            end: outcome.end,
            peer_height: outcome.peer_height,
            tip: state.tip(),
        };
        state.queue.ended(dial, report, &mut state.pool, now());
    }
}

/// The runtime's clock, which tests hold.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

#[cfg(test)]
mod tests;
