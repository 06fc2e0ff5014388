//! What a client watches, and what it was last told about it.
//!
//! There is no table of who watches what: each session knows its own scripts, and looks for them in what a new
//! view says has changed.

mod watch;

use std::collections::HashMap;

use bitcoin::OutPoint;
use bitcoin::hashes::{Hash as _, sha256d};

use super::error::WireError;
use super::exchange::{Lane, Refusing, Source};
use super::reply::notify;
use super::shapes::{Outpoint, Tip};
use super::version::ProtocolVersion;
use crate::chain::{Height, ScriptHash, StatusHash};
use crate::limits;
use crate::query::{Answer, OutpointStatus, Query};
use crate::redact::ClientOutpoint;
use watch::Watch;

/// The scripts and outpoints one client watches, and whether it watches the tip.
pub(super) struct Subscriptions {
    scripts: HashMap<ScriptHash, Watch<Option<StatusHash>>>,
    /// With the script whose changes may be the output's.
    outpoints: HashMap<ClientOutpoint, (ScriptHash, Watch<OutpointStatus>)>,
    tip: Watch<Header>,
    /// The view whose changes were looked at last.
    seen: u64,
    /// Whether outpoints have their turn before scripts.
    outpoints_first: bool,
}

/// Watched things whose last word to the client may be out of date.
pub struct Refresh {
    scripts: Vec<ScriptHash>,
    outpoints: Vec<ClientOutpoint>,
    tip: bool,
}

/// What watched things are in one view. A thing that could not be answered is `None`.
pub struct Findings {
    view_version: u64,
    statuses: Vec<(ScriptHash, Option<Option<StatusHash>>)>,
    outpoints: Vec<(ClientOutpoint, Option<OutpointStatus>)>,
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
            outpoints: HashMap::new(),
            tip: Watch::new(),
            seen: 0,
            outpoints_first: false,
        }
    }

    /// Takes note of a subscription whose reply is under way.
    pub(super) fn watch(&mut self, script_hash: ScriptHash) -> Result<(), WireError> {
        if self.is_full() && !self.scripts.contains_key(&script_hash) {
            return Err(WireError::SubscriptionLimit);
        }
        let watch = self.scripts.entry(script_hash).or_insert_with(Watch::new);
        watch.replies_due = watch.replies_due.saturating_add(1);
        Ok(())
    }

    /// The same for an outpoint, which need not exist yet; it is looked at when `hint`, its script, changes.
    pub(super) fn watch_outpoint(
        &mut self,
        outpoint: ClientOutpoint,
        hint: ScriptHash,
    ) -> Result<(), WireError> {
        if self.is_full() && !self.outpoints.contains_key(&outpoint) {
            return Err(WireError::SubscriptionLimit);
        }
        let watch = self.outpoints.entry(outpoint);
        let (script_hash, watch) = watch.or_insert_with(|| (hint, Watch::new()));
        *script_hash = hint;
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

    /// Forgets an outpoint; whether it was watched.
    pub(super) fn unwatch_outpoint(&mut self, outpoint: &ClientOutpoint) -> bool {
        self.outpoints.remove(outpoint).is_some()
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
        for (script_hash, watch) in self.outpoints.values_mut() {
            watch.stale |= affected(script_hash);
        }
        if let Some(told) = &self.tip.told {
            let told_hash = sha256d::Hash::hash(&told.bytes).to_byte_array();
            self.tip.stale |= tip_hash.is_some_and(|tip_hash| tip_hash != told_hash);
        }
    }

    /// What to look at again, as much as makes one piece of work. Outpoints may wait for the node, so they come by
    /// themselves, in turn with all else.
    pub(super) fn refresh(&mut self) -> Option<Refresh> {
        let outpoints_first = self.outpoints_first;
        self.outpoints_first = !outpoints_first;
        let turns = [outpoints_first, !outpoints_first];
        let mut pieces = turns.into_iter().map(|of_outpoints| {
            if of_outpoints {
                self.stale_outpoints()
            } else {
                self.stale_scripts()
            }
        });
        pieces.find(|piece| !piece.is_empty())
    }

    fn stale_scripts(&mut self) -> Refresh {
        let stale = self.scripts.iter_mut().filter(|(_, watch)| watch.is_due());
        let scripts = stale
            .take(limits::BATCH_ITEMS_MAX)
            .map(|(script_hash, watch)| {
                watch.stale = false;
                *script_hash
            })
            .collect();
        let tip = self.tip.is_due();
        self.tip.stale &= !tip;
        Refresh {
            scripts,
            outpoints: Vec::new(),
            tip,
        }
    }

    fn stale_outpoints(&mut self) -> Refresh {
        let stale = self.outpoints.iter_mut();
        let stale = stale.filter(|(_, (_, watch))| watch.is_due());
        let outpoints = stale
            .take(limits::BATCH_ITEMS_MAX)
            .map(|(outpoint, (_, watch))| {
                watch.stale = false;
                *outpoint
            })
            .collect();
        Refresh {
            scripts: Vec::new(),
            outpoints,
            tip: false,
        }
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
        for (outpoint, status) in &findings.outpoints {
            if let Some((_, watch)) = self.outpoints.get_mut(outpoint) {
                watch.replied(*status, version, seen);
                if watch.is_idle() {
                    self.outpoints.remove(outpoint);
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
            notify_tip(lines, header);
        }
        for (script_hash, status) in &findings.statuses {
            if let Some(watch) = self.scripts.get_mut(script_hash)
                && let Some(status) = watch.refreshed(*status, version, seen)
            {
                notify_status(lines, spoken, script_hash, status);
            }
        }
        for (outpoint, status) in &findings.outpoints {
            if let Some((_, watch)) = self.outpoints.get_mut(outpoint)
                && let Some(status) = watch.refreshed(*status, version, seen)
            {
                notify_outpoint(lines, *outpoint, &status);
            }
        }
    }

    /// Appends what the client was told last of one watched thing, the tip before all.
    pub(super) fn repeat(&self, spoken: ProtocolVersion, lines: &mut Vec<u8>) {
        let told =
            |(script_hash, watch): (&ScriptHash, &Watch<_>)| Some((*script_hash, watch.told?));
        let outpoint_told = |(outpoint, (_, watch)): (&ClientOutpoint, &(ScriptHash, Watch<_>))| {
            Some((*outpoint, watch.told?))
        };
        if let Some(header) = self.tip.told {
            notify_tip(lines, header);
        } else if let Some((script_hash, status)) = self.scripts.iter().find_map(told) {
            notify_status(lines, spoken, &script_hash, status);
        } else if let Some((outpoint, status)) = self.outpoints.iter().find_map(outpoint_told) {
            notify_outpoint(lines, outpoint, &status);
        }
    }

    fn is_full(&self) -> bool {
        let watched = self.scripts.len().saturating_add(self.outpoints.len());
        watched >= limits::SUBSCRIPTIONS_PER_SESSION_MAX
    }
}

fn notify_tip(lines: &mut Vec<u8>, header: Header) {
    let params = [Tip::of(header.height, &header.bytes)];
    notify(lines, "blockchain.headers.subscribe", &params);
}

fn notify_status(
    lines: &mut Vec<u8>,
    spoken: ProtocolVersion,
    script_hash: &ScriptHash,
    status: Option<StatusHash>,
) {
    let params = (script_hash.to_wire(), status.map(|status| status.to_wire()));
    let method = if spoken < ProtocolVersion::V1_7 {
        "blockchain.scripthash.subscribe"
    } else {
        "blockchain.scriptpubkey.subscribe"
    };
    notify(lines, method, &params);
}

fn notify_outpoint(lines: &mut Vec<u8>, outpoint: ClientOutpoint, status: &OutpointStatus) {
    let OutPoint { txid, vout } = outpoint.expose();
    let params = (txid.to_string(), vout, Outpoint::from(status));
    notify(lines, "blockchain.outpoint.subscribe", &params);
}

impl Refresh {
    /// What it waits for.
    pub fn lane(&self) -> Lane {
        if self.outpoints.is_empty() {
            Lane::Index
        } else {
            Lane::Node
        }
    }

    fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// How many things are looked at.
    pub fn count(&self) -> usize {
        usize::from(self.tip)
            .saturating_add(self.scripts.len())
            .saturating_add(self.outpoints.len())
    }

    /// Looks at everything again, from one source.
    pub fn answer(&self, source: &dyn Source) -> Findings {
        let mut findings = Findings::at(source.view_version());
        if self.tip {
            findings.tip(&source.ask(&Query::Tip));
        }
        for script_hash in &self.scripts {
            findings.status(*script_hash, &source.ask(&Query::Status(*script_hash)));
        }
        for outpoint in &self.outpoints {
            findings.outpoint(*outpoint, &source.ask(&Query::Outpoint(*outpoint)));
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
            outpoints: Vec::new(),
            tip: None,
        }
    }

    /// Whether everything could be answered.
    pub fn is_complete(&self) -> bool {
        !matches!(self.tip, Some(None))
            && self.statuses.iter().all(|(_, status)| status.is_some())
            && self.outpoints.iter().all(|(_, status)| status.is_some())
    }

    pub(super) fn status(&mut self, script_hash: ScriptHash, found: &Result<Answer, WireError>) {
        let status = match found {
            Ok(Answer::Status(status)) => Some(*status),
            _ => None,
        };
        self.statuses.push((script_hash, status));
    }

    pub(super) fn outpoint(&mut self, outpoint: ClientOutpoint, found: &Result<Answer, WireError>) {
        let status = match found {
            Ok(Answer::Outpoint(status)) => Some(*status),
            _ => None,
        };
        self.outpoints.push((outpoint, status));
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
