//! What was found wrong with the index while it was read, for the operator.

use std::sync::{Arc, OnceLock};

use super::error::Error;
use crate::error::{ErrorKind, report};

/// Shared by an index and all its snapshots. Nothing in it tells what was asked.
#[derive(Clone, Default)]
pub struct Health(Arc<OnceLock<String>>);

impl Health {
    /// The first thing found since the index was opened; a sentence after "failed to".
    pub fn trouble(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    /// Takes note of why something could not be read, if that is for the operator to mend.
    pub(crate) fn note(&self, error: &Error) {
        let is_trouble = matches!(error, Error::BlockFiles { .. })
            || matches!(error.kind(), ErrorKind::Corruption | ErrorKind::Io);
        if is_trouble {
            self.0.get_or_init(|| report(error));
        }
    }
}
