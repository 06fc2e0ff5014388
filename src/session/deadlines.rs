//! How long a session waits for its client, and how many faults it forgives.

use std::time::Duration;

use tokio::time::Instant;

use super::EndReason;
use crate::limits;

/// When the client last did what is expected of it.
pub(super) struct Deadlines {
    opened: Instant,
    /// When the last complete line came.
    heard: Option<Instant>,
    /// When the line that has not ended began.
    line_begun: Option<Instant>,
}

impl Deadlines {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            heard: None,
            line_begun: None,
        }
    }

    /// A complete line came.
    pub(super) fn heard(&mut self) {
        self.heard = Some(Instant::now());
        self.line_begun = None;
    }

    /// When the last complete line came; later, while we did not read.
    pub(super) fn last_heard(&self) -> Option<Instant> {
        self.heard
    }

    /// So many bytes of a line are there whose end is not.
    pub(super) fn line_begun(&mut self, bytes: usize) {
        if bytes > 0 {
            self.line_begun.get_or_insert_with(Instant::now);
        }
    }

    /// We did not read: the client is not to blame for the time.
    pub(super) fn paused(&mut self) {
        let now = Instant::now();
        self.heard = self.heard.map(|_| now);
        self.line_begun = self.line_begun.map(|_| now);
    }

    /// When to stop waiting for more of the client's bytes, and why.
    pub(super) fn next(&self, begun_bytes: usize) -> (Instant, EndReason) {
        let expected = match self.heard {
            None => (self.opened + limits::FIRST_LINE_MAX, EndReason::NoFirstLine),
            Some(heard) => (heard + limits::IDLE_MAX, EndReason::Idle),
        };
        match self.line_begun {
            Some(begun) => {
                let seconds = begun_bytes / limits::LINE_BYTES_PER_SECOND_MIN;
                let more = Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX));
                let line = begun + limits::LINE_COMPLETION_MAX + more;
                std::cmp::min_by_key(expected, (line, EndReason::SlowLine), |(at, _)| *at)
            }
            None => expected,
        }
    }
}

/// Faults against the protocol, forgotten after a minute.
pub(super) struct Faults {
    since: Instant,
    count: usize,
}

impl Faults {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            count: 0,
        }
    }

    /// Counts more of them; whether they are too many now.
    pub(super) fn add(&mut self, count: usize) -> bool {
        if self.since.elapsed() >= Duration::from_secs(60) {
            *self = Self::new();
        }
        self.count = self.count.saturating_add(count);
        self.count > limits::PROTOCOL_ERRORS_PER_MINUTE_MAX
    }
}
