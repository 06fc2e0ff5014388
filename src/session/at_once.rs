//! Answers that take a few steps, found where their request was read: a thread for reads and the way to it and back
//! would cost several times as much as the answer.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bitcoin::Txid;
use nix::sys::resource::{UsageWho, getrusage};

use crate::broadcast::PackageMember;
use crate::electrum::{Exchange, Findings, Finished, Refresh, Source, WireError};
use crate::limits;
use crate::query::{Answer, CatchUp, Query, SessionMemo, View};
use crate::redact::RawTransaction;

/// Whether answers may be sought at once. Cheap to clone; all clones are one.
///
/// Nobody can tell from a question whether its pages are in memory. An answer that waited for the disk held up the
/// thread, which serves other sessions too: so the next ones are sought elsewhere for a while.
#[derive(Clone, Debug)]
pub(super) struct AtOnce(Arc<Pace>);

#[derive(Debug)]
struct Pace {
    begun: Instant,
    /// Until then nothing is sought at once; microseconds since `begun`.
    pause_ends: AtomicU64,
}

impl AtOnce {
    pub(super) fn new() -> Self {
        Self(Arc::new(Pace {
            begun: Instant::now(),
            pause_ends: AtomicU64::new(0),
        }))
    }

    /// Answers one request; `None` if it is not to be tried, or takes more than a few steps.
    pub(super) fn answer(
        &self,
        exchange: &Exchange,
        memo: &SessionMemo,
        view: Option<&Arc<View>>,
        reply_bytes_max: usize,
    ) -> Option<Finished> {
        let answer = |source: &Little<'_>| exchange.answer(source, reply_bytes_max);
        exchange
            .is_single()
            .then(|| self.attempt(memo, view, answer))?
    }

    /// Looks at watched things again, under the same conditions, and if they are few.
    pub(super) fn refresh(
        &self,
        refresh: &Refresh,
        memo: &SessionMemo,
        view: Option<&Arc<View>>,
    ) -> Option<Findings> {
        let few = refresh.count() <= limits::LITTLE_EFFORT_SCRIPTS;
        few.then(|| self.attempt(memo, view, |source| refresh.answer(source)))?
    }

    fn attempt<T>(
        &self,
        memo: &SessionMemo,
        view: Option<&Arc<View>>,
        answer: impl FnOnce(&Little<'_>) -> T,
    ) -> Option<T> {
        let begun = Instant::now();
        if self.0.pauses(begun) {
            return None;
        }
        let waits = waits_of_thread();
        let source = Little {
            memo,
            view: view.map(Arc::as_ref),
            too_much: Cell::new(false),
        };
        // What panics does so again on a thread for reads, where that is answered.
        let answer = AssertUnwindSafe(|| answer(&source));
        let finished = catch_unwind(answer).ok();
        let took = begun.elapsed();
        // A thread that lost its core to another program did not wait for anything.
        if took > limits::AT_ONCE_MAX && waits_of_thread() != waits {
            self.0.waited(took);
        }
        finished.filter(|_| !source.too_much.get())
    }
}

impl Pace {
    fn pauses(&self, now: Instant) -> bool {
        let micros = micros(now.saturating_duration_since(self.begun));
        micros < self.pause_ends.load(Ordering::Relaxed)
    }

    fn waited(&self, time: Duration) {
        let pause = time.saturating_mul(limits::AT_ONCE_PAUSE_FACTOR);
        let ends = self.begun.elapsed().saturating_add(pause);
        self.pause_ends.fetch_max(micros(ends), Ordering::Relaxed);
    }
}

/// How often this thread gave up its core because it had to wait, for the disk or a lock; `None` if nobody tells.
fn waits_of_thread() -> Option<i64> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).ok()?;
    Some(usage.voluntary_context_switches())
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The view of the moment, asked for little.
struct Little<'a> {
    memo: &'a SessionMemo,
    view: Option<&'a View>,
    /// Whether something was asked that takes more.
    too_much: Cell<bool>,
}

impl Little<'_> {
    fn give_up<T>(&self) -> Result<T, WireError> {
        self.too_much.set(true);
        Err(WireError::Busy)
    }
}

impl Source for Little<'_> {
    fn view_version(&self) -> u64 {
        self.view.map_or(0, |view| view.version)
    }

    fn ask(&self, query: &Query) -> Result<Answer, WireError> {
        let Some(view) = self.view else {
            return Err(WireError::CatchingUp(CatchUp::default()));
        };
        match self.memo.answer_at_once(view, query) {
            Some(answer) => answer.map_err(|error| WireError::of(query, &error)),
            None => self.give_up(),
        }
    }

    fn broadcast(&self, _: &RawTransaction) -> Result<Txid, WireError> {
        self.give_up()
    }

    fn broadcast_package(&self, _: &[RawTransaction]) -> Result<Vec<PackageMember>, WireError> {
        self.give_up()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waited_long_is_followed_by_a_pause() {
        let pace = AtOnce::new().0;
        assert!(!pace.pauses(Instant::now()));
        let long = limits::AT_ONCE_MAX * 1000;
        pace.waited(long);
        pace.waited(limits::AT_ONCE_MAX);
        let pause = long * limits::AT_ONCE_PAUSE_FACTOR;
        assert!(pace.pauses(Instant::now() + pause / 2));
        assert!(!pace.pauses(Instant::now() + pause));
    }

    #[test]
    fn waiting_is_told_from_working() {
        let before = waits_of_thread().unwrap();
        let begun = Instant::now();
        while begun.elapsed() < limits::AT_ONCE_MAX {}
        assert_eq!(waits_of_thread(), Some(before));
        std::thread::sleep(limits::AT_ONCE_MAX);
        assert_ne!(waits_of_thread(), Some(before));
    }
}
