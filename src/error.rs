//! Vocabulary of failure: who has to act, how the process ends, and how a chain of errors is told.

use std::error::Error;
use std::fmt::Write as _;

/// Who has to act on an error; it decides exit status, log level and whether a component retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The operator's settings ask for something that cannot be.
    Operator,
    /// The node or the network is not as it should be, and may be again; the only kind retried.
    Environment,
    /// Stored data is damaged.
    Corruption,
    /// Reading or writing a disk failed; what reached it is known only after a new start.
    Io,
    /// Another program holds what we need.
    Busy,
    /// We are wrong.
    Bug,
}

/// How the process ends, in the codes of `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// Everything was done.
    Ok,
    /// The command line cannot be understood (64).
    Usage,
    /// Stored data is damaged (65).
    Data,
    /// The node or Tor is not available (69).
    Unavailable,
    /// A defect of this program (70).
    Bug,
    /// Reading or writing failed (74).
    Io,
    /// Another instance is running; try again later (75).
    Busy,
    /// The configuration cannot work (78).
    Config,
}

impl ExitStatus {
    /// The code handed to the operating system.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Usage => 64,
            Self::Data => 65,
            Self::Unavailable => 69,
            Self::Bug => 70,
            Self::Io => 74,
            Self::Busy => 75,
            Self::Config => 78,
        }
    }
}

impl From<ErrorKind> for ExitStatus {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Operator => Self::Config,
            ErrorKind::Environment => Self::Unavailable,
            ErrorKind::Corruption => Self::Data,
            ErrorKind::Io => Self::Io,
            ErrorKind::Busy => Self::Busy,
            ErrorKind::Bug => Self::Bug,
        }
    }
}

/// The error and its sources in one line, outermost first.
pub fn report(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a String cannot fail.
        if write!(text, ": {cause}").is_err() {
            break;
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_walks_the_chain_of_sources() {
        #[derive(Debug, thiserror::Error)]
        #[error("open the index")]
        struct Outer(#[source] std::io::Error);
        let outer = Outer(std::io::Error::other("disk is gone"));
        assert_eq!(report(&outer), "open the index: disk is gone");
    }
}
