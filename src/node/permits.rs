//! A bound on calls that are under way at a time.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// So many may pass at a time; the next one waits, but not for ever.
pub(super) struct Permits {
    free: Mutex<usize>,
    returned: Condvar,
}

/// Leave to pass, given back when dropped.
#[must_use = "the permit is given back when it is dropped"]
pub(super) struct Permit<'a>(&'a Permits);

impl Permits {
    pub(super) fn new(count: usize) -> Self {
        Self {
            free: Mutex::new(count),
            returned: Condvar::new(),
        }
    }

    /// A permit, or `None` when none came free within `patience`.
    pub(super) fn acquire(&self, patience: Duration) -> Option<Permit<'_>> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut free, _timed_out) = self
            .returned
            .wait_timeout_while(free, patience, |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *free = free.checked_sub(1)?;
        Some(Permit(self))
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        *free = free.saturating_add(1);
        self.0.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn no_more_than_so_many_pass_and_a_returned_permit_serves_the_next() {
        let permits = Permits::new(2);
        let first = permits.acquire(Duration::ZERO).unwrap();
        let second = permits.acquire(Duration::ZERO).unwrap();
        assert!(permits.acquire(Duration::from_millis(10)).is_none());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let begun = Instant::now();
                let permit = permits.acquire(Duration::from_secs(20));
                permit.is_some() && begun.elapsed() < Duration::from_secs(10)
            });
            std::thread::sleep(Duration::from_millis(50));
            drop(first);
            assert!(waiting.join().unwrap());
        });
        drop(second);
        assert!(permits.acquire(Duration::ZERO).is_some());
    }
}
