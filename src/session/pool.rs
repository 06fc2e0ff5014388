//! Blocking reads on behalf of sessions: bounded in number and in time.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::electrum::{Lane, WireError};
use crate::limits;

/// Threads for blocking work, by what the work waits for: a silent node cannot hold up reads of the index.
#[derive(Clone, Debug)]
pub struct ReadPool {
    index: Arc<Semaphore>,
    node: Arc<Semaphore>,
    broadcast: Arc<Semaphore>,
}

impl ReadPool {
    /// A pool that reads the index on up to so many threads.
    pub fn new(index_threads: usize) -> Self {
        Self {
            index: Arc::new(Semaphore::new(index_threads)),
            node: Arc::new(Semaphore::new(limits::NODE_CLIENT_CALLS_MAX)),
            broadcast: Arc::new(Semaphore::new(limits::BROADCASTS_MAX)),
        }
    }

    /// Runs `work` on a thread of its own when there is one free, in the order of asking.
    ///
    /// `work` is told by its argument when nobody waits for it any more: after [`limits::REQUEST_MAX`], which
    /// counts the waiting too, or when the future is dropped.
    pub(super) async fn run<T, F>(&self, lane: Lane, work: F) -> Result<T, WireError>
    where
        T: Send + 'static,
        F: FnOnce(&CancellationToken) -> T + Send + 'static,
    {
        let lane = Arc::clone(match lane {
            Lane::Index => &self.index,
            Lane::Node => &self.node,
            Lane::Broadcast => &self.broadcast,
        });
        let abandoned = CancellationToken::new();
        let _guard = abandoned.clone().drop_guard();
        let done = async {
            let permit = lane.acquire_owned().await;
            let work = move || {
                let done = work(&abandoned);
                drop(permit);
                done
            };
            tokio::task::spawn_blocking(work).await
        };
        match tokio::time::timeout(limits::REQUEST_MAX, done).await {
            Ok(Ok(done)) => Ok(done),
            // It panicked; the panic hook has told where.
            Ok(Err(_panicked)) => Err(WireError::Unanswerable),
            Err(_elapsed) => Err(WireError::Busy),
        }
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
        assert_eq!(pool.run(Lane::Index, |_| ()).await, Err(WireError::Busy));
        assert_eq!(started.elapsed(), limits::REQUEST_MAX);
    }

    #[tokio::test]
    async fn lanes_do_not_hold_each_other_up() {
        let pool = ReadPool::new(1);
        let (end, ended) = mpsc::sync_channel::<()>(0);
        let ended = std::sync::Mutex::new(ended);
        let other = pool.clone();
        let slow = tokio::spawn(async move {
            other
                .run(Lane::Index, move |_| ended.lock().unwrap().recv())
                .await
        });
        tokio::task::yield_now().await;
        assert_eq!(pool.run(Lane::Node, |_| 7).await, Ok(7));
        end.send(()).unwrap();
        assert_eq!(slow.await.unwrap(), Ok(Ok(())));
    }

    #[tokio::test]
    async fn abandoned_work_is_told_and_a_panic_is_an_answer() {
        let pool = ReadPool::new(1);
        let (started, has_started) = mpsc::sync_channel(1);
        let (saw, has_seen) = mpsc::sync_channel(1);
        let other = pool.clone();
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
        let panicked = pool.run(Lane::Index, |_| panic!("on purpose")).await;
        assert_eq!(panicked, Err::<(), _>(WireError::Unanswerable));
        assert_eq!(pool.run(Lane::Index, |_| 1).await, Ok(1));
    }
}
