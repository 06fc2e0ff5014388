//! One watched thing, and what the client was last told about it.

/// One watched thing.
pub(super) struct Watch<T> {
    /// What the client was told last; `None` before the reply to its subscription.
    pub(super) told: Option<T>,
    /// The view this was found in.
    pub(super) view_version: u64,
    /// Replies under way that will tell it.
    pub(super) replies_due: usize,
    /// Whether it has to be looked at again.
    pub(super) stale: bool,
}

impl<T: Copy + PartialEq> Watch<T> {
    pub(super) fn new() -> Self {
        Self {
            told: None,
            view_version: 0,
            replies_due: 0,
            stale: false,
        }
    }

    pub(super) fn is_due(&self) -> bool {
        self.stale && self.told.is_some()
    }

    /// Whether it stands for no subscription: none was answered, none is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.told.is_none() && self.replies_due == 0
    }

    pub(super) fn replied(&mut self, found: Option<T>, view_version: u64, seen: u64) {
        self.replies_due = self.replies_due.saturating_sub(1);
        if found.is_some() {
            self.told = found;
            // Views may be published, and refreshes told, between the reading and the reply.
            self.stale = view_version < self.view_version.max(seen);
            self.view_version = self.view_version.max(view_version);
        }
    }

    /// What to tell the client now.
    pub(super) fn refreshed(
        &mut self,
        found: Option<T>,
        view_version: u64,
        seen: u64,
    ) -> Option<T> {
        let Some(found) = found else {
            self.stale = true;
            return None;
        };
        if view_version < self.view_version {
            return None;
        }
        self.view_version = view_version;
        self.stale = view_version < seen;
        let told = self.told.as_mut()?;
        let news = *told != found;
        *told = found;
        news.then_some(found)
    }
}
