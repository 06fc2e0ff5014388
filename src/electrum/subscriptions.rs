//! What a client watches, and what it was last told about it.
//!
//! There is no table of who watches what: each session knows its own scripts, and looks for them in what a new
//! view says has changed.

use std::collections::HashMap;

use bitcoin::hashes::{Hash as _, sha256d};

use super::error::WireError;
use super::exchange::{Refusing, Source};
use super::reply::notify;
use super::shapes::Tip;
use crate::chain::{Height, ScriptHash, StatusHash};
use crate::limits;
use crate::query::{Answer, Query};

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

/// One watched thing.
struct Watch<T> {
    /// What the client was told last; `None` before the reply to its subscription.
    told: Option<T>,
    /// The view this was found in.
    view_version: u64,
    /// Replies under way that will tell it.
    replies_due: usize,
    /// Whether it has to be looked at again.
    stale: bool,
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

    /// Takes note of a refresh; appends notifications for what is not as the client was told.
    pub(super) fn refreshed(&mut self, findings: &Findings, lines: &mut Vec<u8>) {
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
                notify(lines, "blockchain.scripthash.subscribe", &params);
            }
        }
    }
}

impl<T: Copy + PartialEq> Watch<T> {
    fn new() -> Self {
        Self {
            told: None,
            view_version: 0,
            replies_due: 0,
            stale: false,
        }
    }

    fn is_due(&self) -> bool {
        self.stale && self.told.is_some()
    }

    /// Whether it stands for no subscription: none was answered, none is under way.
    fn is_idle(&self) -> bool {
        self.told.is_none() && self.replies_due == 0
    }

    fn replied(&mut self, found: Option<T>, view_version: u64, seen: u64) {
        self.replies_due = self.replies_due.saturating_sub(1);
        if found.is_some() {
            self.told = found;
            // Views may be published, and refreshes told, between the reading and the reply.
            self.stale = view_version < self.view_version.max(seen);
            self.view_version = self.view_version.max(view_version);
        }
    }

    /// What to tell the client now.
    fn refreshed(&mut self, found: Option<T>, view_version: u64, seen: u64) -> Option<T> {
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
mod tests {
    use super::*;
    use crate::broadcast::PackageMember;
    use crate::chain::{EntryHeight, HistoryEntry};
    use crate::electrum::exchange::Source;
    use crate::redact::RawTransaction;
    use bitcoin::Txid;

    /// A view in which the status of every script, and the tip, are made from one number.
    struct At(u64, u8);

    impl Source for At {
        fn view_version(&self) -> u64 {
            self.0
        }
        fn ask(&self, query: &Query) -> Result<Answer, WireError> {
            if let Query::Tip = query {
                return Ok(Answer::Tip {
                    height: Height(1),
                    header: [self.1; 80],
                });
            }
            Ok(Answer::Status(status(self.1)))
        }
        fn broadcast(&self, _: &RawTransaction) -> Result<Txid, WireError> {
            Err(WireError::Stale)
        }
        fn broadcast_package(&self, _: &[RawTransaction]) -> Result<Vec<PackageMember>, WireError> {
            Err(WireError::Stale)
        }
    }

    fn status(number: u8) -> Option<StatusHash> {
        StatusHash::of([HistoryEntry {
            txid: Txid::from_byte_array([number; 32]),
            height: EntryHeight::Unconfirmed,
        }])
    }

    fn script(number: u8) -> ScriptHash {
        ScriptHash::of(&bitcoin::ScriptBuf::from_bytes(vec![number]))
    }

    fn refresh(scripts: &[ScriptHash], tip: bool) -> Refresh {
        Refresh {
            scripts: scripts.to_vec(),
            tip,
        }
    }

    /// Subscribes and is told the status in this view.
    fn subscribe(subscriptions: &mut Subscriptions, script_hash: ScriptHash, view: &At) {
        subscriptions.watch(script_hash).unwrap();
        subscriptions.replied(&refresh(&[script_hash], false).answer(view));
    }

    fn notified(subscriptions: &mut Subscriptions, view: &At) -> usize {
        let mut lines = Vec::new();
        while let Some(refresh) = subscriptions.refresh() {
            subscriptions.refreshed(&refresh.answer(view), &mut lines);
        }
        lines.iter().filter(|byte| **byte == b'\n').count()
    }

    #[test]
    fn only_what_differs_from_the_last_word_is_notified() {
        let mut subscriptions = Subscriptions::new();
        subscribe(&mut subscriptions, script(1), &At(1, 7));
        subscribe(&mut subscriptions, script(2), &At(1, 7));
        subscriptions.view_published(2, None, |script_hash| *script_hash == script(1));
        assert_eq!(notified(&mut subscriptions, &At(2, 8)), 1);
        subscriptions.view_published(3, None, |_| true);
        assert_eq!(notified(&mut subscriptions, &At(3, 8)), 1);
        subscriptions.view_published(4, None, |_| true);
        assert_eq!(notified(&mut subscriptions, &At(4, 8)), 0);
    }

    #[test]
    fn nothing_is_notified_before_the_reply() {
        let mut subscriptions = Subscriptions::new();
        subscriptions.watch(script(1)).unwrap();
        let early = refresh(&[script(1)], false).answer(&At(1, 7));
        subscriptions.view_published(2, None, |_| true);
        assert!(subscriptions.refresh().is_none());
        // The reply was read from the older view: the newer one is looked at after it.
        subscriptions.replied(&early);
        assert_eq!(notified(&mut subscriptions, &At(2, 8)), 1);
    }

    #[test]
    fn a_reply_that_was_overtaken_is_corrected() {
        let mut subscriptions = Subscriptions::new();
        subscribe(&mut subscriptions, script(1), &At(1, 7));
        subscriptions.watch(script(1)).unwrap();
        let late = refresh(&[script(1)], false).answer(&At(1, 7));
        subscriptions.view_published(2, None, |_| true);
        assert_eq!(notified(&mut subscriptions, &At(2, 8)), 1);
        subscriptions.replied(&late);
        assert_eq!(notified(&mut subscriptions, &At(2, 8)), 1);
        assert_eq!(notified(&mut subscriptions, &At(2, 8)), 0);
    }

    #[test]
    fn a_refresh_that_was_overtaken_is_silent() {
        let mut subscriptions = Subscriptions::new();
        subscribe(&mut subscriptions, script(1), &At(2, 8));
        let mut lines = Vec::new();
        subscriptions.refreshed(&refresh(&[script(1)], false).answer(&At(1, 7)), &mut lines);
        assert!(lines.is_empty());
    }

    #[test]
    fn what_could_not_be_looked_at_is_tried_again() {
        let mut subscriptions = Subscriptions::new();
        subscribe(&mut subscriptions, script(1), &At(1, 7));
        subscriptions.view_published(2, None, |_| true);
        let failed = subscriptions.refresh().unwrap().refuse();
        assert!(!failed.is_complete());
        assert!(subscriptions.refresh().is_none());
        subscriptions.refreshed(&failed, &mut Vec::new());
        assert_eq!(notified(&mut subscriptions, &At(2, 8)), 1);
    }

    #[test]
    fn failed_and_revoked_subscriptions_leave_nothing() {
        let mut subscriptions = Subscriptions::new();
        subscriptions.watch(script(1)).unwrap();
        subscriptions.replied(&refresh(&[script(1)], false).refuse());
        assert!(!subscriptions.unwatch(&script(1)));
        // A failure does not undo a subscription that stands.
        subscribe(&mut subscriptions, script(2), &At(1, 7));
        subscriptions.watch(script(2)).unwrap();
        subscriptions.replied(&refresh(&[script(2)], false).refuse());
        subscriptions.view_published(2, None, |_| true);
        assert_eq!(notified(&mut subscriptions, &At(2, 8)), 1);
        // Unsubscribed while its reply was under way.
        subscriptions.watch(script(3)).unwrap();
        assert!(subscriptions.unwatch(&script(3)));
        subscriptions.replied(&refresh(&[script(3)], false).answer(&At(2, 8)));
        assert!(!subscriptions.unwatch(&script(3)));
    }

    #[test]
    fn the_tip_is_notified_once() {
        let mut subscriptions = Subscriptions::new();
        let hash = |number| Some(sha256d::Hash::hash(&[number; 80]).to_byte_array());
        subscriptions.view_published(1, hash(7), |_| false);
        subscriptions.watch_tip();
        subscriptions.replied(&refresh(&[], true).answer(&At(1, 7)));
        subscriptions.view_published(2, hash(7), |_| false);
        assert!(subscriptions.refresh().is_none());
        subscriptions.view_published(3, hash(8), |_| false);
        let mut lines = Vec::new();
        let findings = subscriptions.refresh().unwrap().answer(&At(3, 8));
        subscriptions.refreshed(&findings, &mut lines);
        let header = "08".repeat(80);
        assert_eq!(
            String::from_utf8(lines).unwrap(),
            format!(
                "{{\"jsonrpc\":\"2.0\",\"method\":\"blockchain.headers.subscribe\",\
                 \"params\":[{{\"height\":1,\"hex\":\"{header}\"}}]}}\n"
            )
        );
        assert_eq!(notified(&mut subscriptions, &At(3, 8)), 0);
    }

    #[test]
    fn subscriptions_are_bounded_and_looked_at_in_pieces() {
        let mut subscriptions = Subscriptions::new();
        let many: Vec<ScriptHash> = (0..=limits::SUBSCRIPTIONS_PER_SESSION_MAX)
            .map(|n| ScriptHash::of(&bitcoin::ScriptBuf::from_bytes(n.to_le_bytes().to_vec())))
            .collect();
        let (over, within) = many.split_last().unwrap();
        for script_hash in within {
            subscribe(&mut subscriptions, *script_hash, &At(1, 7));
        }
        assert_eq!(
            subscriptions.watch(*over),
            Err(WireError::SubscriptionLimit)
        );
        assert_eq!(subscriptions.watch(within[0]), Ok(()));
        subscriptions.view_published(2, None, |_| true);
        let piece = subscriptions.refresh().unwrap();
        assert_eq!(piece.scripts.len(), limits::BATCH_ITEMS_MAX);
        subscriptions.refreshed(&piece.answer(&At(2, 8)), &mut Vec::new());
        let rest = within.len() - piece.scripts.len();
        assert_eq!(notified(&mut subscriptions, &At(2, 8)), rest);
    }
}
