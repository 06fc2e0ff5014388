//! How many sessions there may be.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Admits up to so many sessions; at the bound new ones are refused, old ones never ended.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Semaphore>);

/// The right to a session, until it is dropped.
#[derive(Debug)]
pub struct Admitted(#[expect(dead_code, reason = "held, never read")] OwnedSemaphorePermit);

impl Admission {
    /// Nobody is admitted yet.
    pub fn new(sessions_max: usize) -> Self {
        Self(Arc::new(Semaphore::new(sessions_max)))
    }

    /// Admits one more session; `None` at the bound.
    pub fn admit(&self) -> Option<Admitted> {
        Arc::clone(&self.0).try_acquire_owned().ok().map(Admitted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_recovers_by_itself() {
        let admission = Admission::new(3);
        let mut admitted: Vec<_> = (0..3).map(|_| admission.admit().unwrap()).collect();
        assert!(admission.admit().is_none());
        admitted.pop();
        assert!(admission.admit().is_some());
    }
}
