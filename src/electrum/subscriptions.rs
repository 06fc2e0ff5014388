//! What a client watches, and what it was last told about it.
//!
//! There is no table of who watches what: each session knows its own scripts, and looks for them in what a new
//! view says has changed.

mod watch;

use std::collections::HashMap;

use bitcoin::hashes::{Hash as _, sha256d};

use super::error::WireError;
use super::exchange::{Refusing, Source};
use super::reply::notify;
use super::shapes::Tip;
use super::version::ProtocolVersion;
use crate::chain::{Height, ScriptHash, StatusHash};
use crate::limits;
use crate::query::{Answer, Query};
use watch::Watch;

/// The scripts one client watches, and whether it watches the tip.
pub(super) struct Subscriptions {
    scripts: HashMap<ScriptHash, Watch<Option<StatusHash>>>,
    tip: Watch<Header>,
    /// The view whose changes were looked at last.
    seen: u64,
}

/// Watched things whose last word to the client may be out of date.
pub struct Refresh {
    scripts: Vec<ScriptHash>,
    tip: bool,
}

/// What watched things are in one view. A thing that could not be answered is `None`.
pub struct Findings {
    view_version: u64,
    statuses: Vec<(ScriptHash, Option<Option<StatusHash>>)>,
    tip: Option<Option<Header>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Header {
    height: Height,
    bytes: [u8; 80],
}

impl Subscriptions {
    pub(super) fn new() -> Self {
        Self {
            scripts: HashMap::new(),
            tip: Watch::new(),
            seen: 0,
        }
    }

    /// Takes note of a subscription whose reply is under way.
    pub(super) fn watch(&mut self, script_hash: ScriptHash) -> Result<(), WireError> {
        if self.scripts.len() >= limits::SUBSCRIPTIONS_PER_SESSION_MAX
            && !self.scripts.contains_key(&script_hash)
        {
            return Err(WireError::SubscriptionLimit);
        }
        let watch = self.scripts.entry(script_hash).or_insert_with(Watch::new);
        watch.replies_due = watch.replies_due.saturating_add(1);
        Ok(())
    }

    /// The same for the tip.
    pub(super) fn watch_tip(&mut self) {
        self.tip.replies_due = self.tip.replies_due.saturating_add(1);
    }

    /// Forgets a script; whether it was watched.
    pub(super) fn unwatch(&mut self, script_hash: &ScriptHash) -> bool {
        self.scripts.remove(script_hash).is_some()
    }

    /// The view whose changes were looked at last.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// A new view: `affected` tells which scripts may have another status in it.
    pub(super) fn view_published(
        &mut self,
        view_version: u64,
        tip_hash: Option<[u8; 32]>,
        affected: impl Fn(&ScriptHash) -> bool,
    ) {
        self.seen = view_version;
        for (script_hash, watch) in &mut self.scripts {
            watch.stale |= affected(script_hash);
        }
        if let Some(told) = &self.tip.told {
            let told_hash = sha256d::Hash::hash(&told.bytes).to_byte_array();
            self.tip.stale |= tip_hash.is_some_and(|tip_hash| tip_hash != told_hash);
        }
    }

    /// What to look at again, as much as makes one piece of work.
    pub(super) fn refresh(&mut self) -> Option<Refresh> {
        let stale = self.scripts.iter_mut().filter(|(_, watch)| watch.is_due());
        let scripts: Vec<ScriptHash> = stale
            .take(limits::BATCH_ITEMS_MAX)
            .map(|(script_hash, watch)| {
                watch.stale = false;
                *script_hash
            })
            .collect();
        let tip = self.tip.is_due();
        self.tip.stale &= !tip;
        (tip || !scripts.is_empty()).then_some(Refresh { scripts, tip })
    }

    /// Takes note of what a reply told the client. The reply has to leave before any notification made later.
    pub(super) fn replied(&mut self, findings: &Findings) {
        let (version, seen) = (findings.view_version, self.seen);
        for (script_hash, status) in &findings.statuses {
            // It may have been unsubscribed meanwhile.
            if let Some(watch) = self.scripts.get_mut(script_hash) {
                watch.replied(*status, version, seen);
                if watch.is_idle() {
                    self.scripts.remove(script_hash);
                }
            }
        }
        if let Some(tip) = findings.tip {
            self.tip.replied(tip, version, seen);
        }
    }

    /// Takes note of a refresh; appends notifications for what is not as the client was told, by the names of a
    /// version of the protocol.
    pub(super) fn refreshed(
        &mut self,
        findings: &Findings,
        spoken: ProtocolVersion,
        lines: &mut Vec<u8>,
    ) {
        let (version, seen) = (findings.view_version, self.seen);
        if let Some(tip) = findings.tip
            && let Some(header) = self.tip.refreshed(tip, version, seen)
        {
            let params = [Tip::of(header.height, &header.bytes)];
            notify(lines, "blockchain.headers.subscribe", &params);
        }
        for (script_hash, status) in &findings.statuses {
            if let Some(watch) = self.scripts.get_mut(script_hash)
                && let Some(status) = watch.refreshed(*status, version, seen)
            {
                let params = (script_hash.to_wire(), status.map(|status| status.to_wire()));
                let method = if spoken < ProtocolVersion::V1_7 {
                    "blockchain.scripthash.subscribe"
                } else {
                    "blockchain.scriptpubkey.subscribe"
                };
                notify(lines, method, &params);
            }
        }
    }
}

impl Refresh {
    /// Looks at everything again, from one source.
    pub fn answer(&self, source: &dyn Source) -> Findings {
        let mut findings = Findings::at(source.view_version());
        if self.tip {
            findings.tip(&source.ask(&Query::Tip));
        }
        for script_hash in &self.scripts {
            findings.status(*script_hash, &source.ask(&Query::Status(*script_hash)));
        }
        findings
    }

    /// What is known when it could not be done.
    pub fn refuse(&self) -> Findings {
        self.answer(&Refusing(WireError::Busy))
    }
}

impl Findings {
    pub(super) fn at(view_version: u64) -> Self {
        Self {
            view_version,
            statuses: Vec::new(),
            tip: None,
        }
    }

    /// Whether everything could be answered.
    pub fn is_complete(&self) -> bool {
        !matches!(self.tip, Some(None)) && self.statuses.iter().all(|(_, status)| status.is_some())
    }

    pub(super) fn status(&mut self, script_hash: ScriptHash, found: &Result<Answer, WireError>) {
        let status = match found {
            Ok(Answer::Status(status)) => Some(*status),
            _ => None,
        };
        self.statuses.push((script_hash, status));
    }

    pub(super) fn tip(&mut self, found: &Result<Answer, WireError>) {
        self.tip = Some(match found {
            Ok(Answer::Tip { height, header }) => Some(Header {
                height: *height,
                bytes: *header,
            }),
            _ => None,
        });
    }
}

#[cfg(test)]
mod tests;
