//! One budget of memory for the page caches of all files of an index.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a file gets at least, even beyond the budget: less would not hold the way to one blob.
pub(in crate::index) const SHARE_BYTES_MIN: usize = 256 * 1024;

/// Bytes that may be given out.
pub(in crate::index) struct CacheBudget {
    bytes: usize,
    given: Mutex<usize>,
}

/// What one file was given; it comes back when this is dropped.
pub(in crate::index) struct CacheShare {
    budget: Arc<CacheBudget>,
    bytes: usize,
}

impl CacheBudget {
    pub(in crate::index) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes,
            given: Mutex::new(0),
        })
    }

    /// A share of so many bytes, or of what is left.
    pub(in crate::index) fn share(self: &Arc<Self>, wanted: usize) -> CacheShare {
        let mut given = self.lock();
        let left = self.bytes.saturating_sub(*given);
        let bytes = wanted.min(left).max(SHARE_BYTES_MIN);
        *given += bytes;
        CacheShare {
            budget: Arc::clone(self),
            bytes,
        }
    }

    /// What is given out now.
    #[cfg(test)]
    pub(in crate::index) fn given(&self) -> usize {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CacheShare {
    pub(in crate::index) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for CacheShare {
    fn drop(&mut self) {
        *self.budget.lock() -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_stay_within_the_budget_down_to_the_least() {
        let budget = CacheBudget::new(3 * SHARE_BYTES_MIN);
        let large = budget.share(2 * SHARE_BYTES_MIN);
        let rest = budget.share(2 * SHARE_BYTES_MIN);
        let least = budget.share(2 * SHARE_BYTES_MIN);
        assert_eq!(large.bytes(), 2 * SHARE_BYTES_MIN);
        assert_eq!(rest.bytes(), SHARE_BYTES_MIN);
        assert_eq!(least.bytes(), SHARE_BYTES_MIN);
        assert_eq!(budget.given(), 4 * SHARE_BYTES_MIN);
        drop((large, rest, least));
        assert_eq!(budget.given(), 0);
    }
}
