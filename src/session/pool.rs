//! Blocking reads on behalf of sessions: bounded in number and in time, and shared among those who want them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::budget::{self, Budget};
use crate::electrum::{Lane, WireError};
use crate::limits;

/// Threads for blocking work, by what the work waits for: a silent node cannot hold up reads of the index.
#[derive(Clone, Debug)]
pub struct ReadPool(Arc<Lanes>);

#[derive(Debug)]
struct Lanes {
    index: Arc<Turns>,
    node: Arc<Turns>,
    broadcast: Arc<Turns>,
    /// Counts accounts and requests, to tell them apart.
    numbers: AtomicU64,
}

/// What one session takes of a pool, until it is dropped.
#[derive(Debug)]
pub(super) struct Account {
    lanes: Arc<Lanes>,
    session: u64,
}

impl ReadPool {
    /// A pool that reads the index on up to so many threads.
    pub fn new(index_threads: usize) -> Self {
        Self(Arc::new(Lanes {
            index: Turns::on(index_threads),
            node: Turns::on(limits::NODE_CLIENT_CALLS_MAX),
            broadcast: Turns::on(limits::BROADCASTS_MAX),
            numbers: AtomicU64::new(0),
        }))
    }

    /// How often a session was held back since the start, because it had taken more than others who waited.
    pub fn pauses(&self) -> u64 {
        let pauses = self.0.all().map(|lane| lane.budget().pauses());
        pauses.into_iter().fold(0, u64::saturating_add)
    }

    /// The account of a new session.
    pub(super) fn account(&self) -> Account {
        Account {
            lanes: Arc::clone(&self.0),
            session: self.0.number(),
        }
    }
}

impl Account {
    /// Runs `work` on a thread of its own when it is the session's turn and one is free.
    ///
    /// `work` is told by its argument when nobody waits for it any more: after [`limits::REQUEST_MAX`], which
    /// counts the waiting too, or when the future is dropped.
    pub(super) async fn run<T, F>(&self, lane: Lane, work: F) -> Result<T, WireError>
    where
        T: Send + 'static,
        F: FnOnce(&CancellationToken) -> T + Send + 'static,
    {
        let abandoned = CancellationToken::new();
        let _guard = abandoned.clone().drop_guard();
        let done = async {
            // Only the end of the session takes its requests away.
            let mut turn = self.turn(lane).await.ok_or(WireError::Busy)?;
            let work = move || {
                turn.begun = Some(Instant::now());
                let done = work(&abandoned);
                drop(turn);
                done
            };
            let done = tokio::task::spawn_blocking(work).await;
            // It panicked; the panic hook has told where.
            done.map_err(|_panicked| WireError::Unanswerable)
        };
        let done = tokio::time::timeout(limits::REQUEST_MAX, done).await;
        done.unwrap_or(Err(WireError::Busy))
    }

    /// Runs `work` here, and counts it toward the reads of the index; `None` if others are to go first.
    pub(super) fn run_here<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let lane = &self.lanes.index;
        if !lane.is_contended() {
            return Some(work());
        }
        if !lane.budget().may_go_first(self.session) {
            return None;
        }
        let begun = Instant::now();
        let done = work();
        let units = budget::units_of_time(begun.elapsed());
        lane.budget().spend(self.session, units);
        Some(done)
    }

    /// So many bytes were sent, which counts toward every lane.
    pub(super) fn sent(&self, bytes: usize) {
        for lane in self.lanes.all() {
            if lane.is_contended() {
                let units = budget::units_of_bytes(bytes);
                lane.budget().spend(self.session, units);
            }
        }
    }

    async fn turn(&self, lane: Lane) -> Option<Turn> {
        let lane = self.lanes.get(lane);
        let (start, started) = oneshot::channel();
        let waiting = Waiting {
            lane,
            session: self.session,
            ticket: self.lanes.number(),
        };
        lane.change(|budget| budget.ask(self.session, waiting.ticket, start));
        started.await.ok()
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        for lane in self.lanes.all() {
            lane.change(|budget| budget.leave(self.session));
        }
    }
}

impl Lanes {
    fn all(&self) -> [&Arc<Turns>; 3] {
        [&self.index, &self.node, &self.broadcast]
    }

    fn get(&self, lane: Lane) -> &Arc<Turns> {
        match lane {
            Lane::Index => &self.index,
            Lane::Node => &self.node,
            Lane::Broadcast => &self.broadcast,
        }
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}

/// The turns of one lane, given to those who wait for them.
#[derive(Debug)]
struct Turns {
    budget: Mutex<Budget<oneshot::Sender<Turn>>>,
    /// Whether budgets matter now, to be read without the lock.
    contended: AtomicBool,
}

impl Turns {
    fn on(threads: usize) -> Arc<Self> {
        Arc::new(Self {
            budget: Mutex::new(Budget::new(threads)),
            contended: AtomicBool::new(false),
        })
    }

    fn is_contended(&self) -> bool {
        self.contended.load(Ordering::Relaxed)
    }

    fn budget(&self) -> MutexGuard<'_, Budget<oneshot::Sender<Turn>>> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the budget, and starts whoever has its turn by that.
    fn change(self: &Arc<Self>, change: impl FnOnce(&mut Budget<oneshot::Sender<Turn>>)) {
        let mut next = Vec::new();
        {
            let mut budget = self.budget();
            change(&mut budget);
            next.extend(std::iter::from_fn(|| budget.next()));
            self.contended.store(!budget.is_free(), Ordering::Relaxed);
        }
        for (session, start) in next {
            // Who has just given up waiting gives the turn back by dropping it.
            drop(start.send(Turn {
                lane: Arc::clone(self),
                session,
                begun: None,
            }));
        }
    }
}

/// A thread for one request, until it is dropped.
#[derive(Debug)]
struct Turn {
    lane: Arc<Turns>,
    session: u64,
    begun: Option<Instant>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let took = self.begun.map(|begun| begun.elapsed());
        let units = took.map_or(0, budget::units_of_time);
        let session = self.session;
        self.lane.change(|budget| budget.finished(session, units));
    }
}

/// A request that waits for its turn, until it is dropped.
struct Waiting<'a> {
    lane: &'a Arc<Turns>,
    session: u64,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.lane
            .change(|budget| budget.withdraw(self.session, self.ticket));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_told_so() {
        let pool = ReadPool::new(0);
        let started = tokio::time::Instant::now();
        assert_eq!(
            pool.account().run(Lane::Index, |_| ()).await,
            Err(WireError::Busy)
        );
        assert_eq!(started.elapsed(), limits::REQUEST_MAX);
    }

    #[tokio::test]
    async fn lanes_do_not_hold_each_other_up() {
        let pool = ReadPool::new(1);
        let (end, ended) = mpsc::sync_channel::<()>(0);
        let ended = Mutex::new(ended);
        let other = pool.account();
        let slow = tokio::spawn(async move {
            other
                .run(Lane::Index, move |_| ended.lock().unwrap().recv())
                .await
        });
        tokio::task::yield_now().await;
        assert_eq!(pool.account().run(Lane::Node, |_| 7).await, Ok(7));
        end.send(()).unwrap();
        assert_eq!(slow.await.unwrap(), Ok(Ok(())));
    }

    #[tokio::test]
    async fn abandoned_work_is_told_and_a_panic_is_an_answer() {
        let pool = ReadPool::new(1);
        let (started, has_started) = mpsc::sync_channel(1);
        let (saw, has_seen) = mpsc::sync_channel(1);
        let other = pool.account();
        let left = tokio::spawn(async move {
            other
                .run(Lane::Index, move |abandoned| {
                    started.send(()).unwrap();
                    while !abandoned.is_cancelled() {
                        std::thread::yield_now();
                    }
                    saw.send(()).unwrap();
                })
                .await
        });
        tokio::task::spawn_blocking(move || has_started.recv().unwrap())
            .await
            .unwrap();
        left.abort();
        tokio::task::spawn_blocking(move || has_seen.recv().unwrap())
            .await
            .unwrap();
        let panicked = pool
            .account()
            .run(Lane::Index, |_| panic!("on purpose"))
            .await;
        assert_eq!(panicked, Err::<(), _>(WireError::Unanswerable));
        assert_eq!(pool.account().run(Lane::Index, |_| 1).await, Ok(1));
    }
}
