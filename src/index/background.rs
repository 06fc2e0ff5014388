//! Work in a thread of its own that leaves the machine to others and can be called off.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::error::Error;

/// Steps between two looks at the clock.
const STEPS_AT_A_TIME: u32 = 4096;
/// Lower than everything else that runs with ordinary priority.
const NICENESS: i32 = 15;

/// Work under way; it is called off when this is dropped.
pub(super) struct Background<T> {
    cancel: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Option<T>, Error>>>,
}

impl<T: Send + 'static> Background<T> {
    /// Begins work, which gives `None` when it was called off.
    pub(super) fn launch(
        name: &str,
        work: impl FnOnce(Pace) -> Result<Option<T>, Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let cancel = Arc::new(AtomicBool::new(false));
        let pace = Pace::leaving_room(Arc::clone(&cancel));
        let builder = thread::Builder::new().name(name.to_owned());
        let thread = builder.spawn(move || {
            // Where this is refused it works all the same.
            let _refused = rustix::process::setpriority_process(None, NICENESS);
            work(pace)
        });
        let thread = thread.map_err(|source: io::Error| Error::Io {
            attempt: "start a thread that tends the index",
            source,
        })?;
        Ok(Self {
            cancel,
            thread: Some(thread),
        })
    }

    pub(super) fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the outcome; `None` when it was called off.
    pub(super) fn finish(mut self) -> Result<Option<T>, Error> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            // The place of a panic was told where it happened.
            Some(Err(_)) | None => Err(Error::Failed),
        }
    }
}

impl<T> Drop for Background<T> {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// When to rest, and when to give up.
pub(super) struct Pace {
    cancel: Arc<AtomicBool>,
    steps: u32,
    /// Begin of the present stretch of work; `None` when there is no rest.
    begun: Option<Instant>,
}

impl Pace {
    /// Rests as long as it works.
    fn leaving_room(cancel: Arc<AtomicBool>) -> Self {
        Self {
            cancel,
            steps: 0,
            begun: Some(Instant::now()),
        }
    }

    /// Never rests and never gives up.
    pub(super) fn full() -> Self {
        Self {
            cancel: Arc::default(),
            steps: 0,
            begun: None,
        }
    }

    /// To be called at each step; `false` when the work is called off.
    pub(super) fn goes_on(&mut self) -> bool {
        self.steps += 1;
        if self.steps < STEPS_AT_A_TIME {
            return true;
        }
        self.steps = 0;
        if let Some(begun) = &mut self.begun {
            thread::sleep(begun.elapsed().min(Duration::from_secs(1)));
            *begun = Instant::now();
        }
        !self.cancel.load(Ordering::Acquire)
    }
}
