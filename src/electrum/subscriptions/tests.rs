use super::*;
use crate::broadcast::PackageMember;
use crate::chain::{EntryHeight, HistoryEntry};
use crate::electrum::exchange::Source;
use crate::redact::RawTransaction;
use bitcoin::Txid;

const SPOKEN: ProtocolVersion = ProtocolVersion::V1_6;

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
        if let Query::Outpoint(_) = query {
            return Ok(Answer::Outpoint(standing(self.1)));
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

/// Nobody makes the output of number 0.
fn standing(number: u8) -> OutpointStatus {
    let height = EntryHeight::Confirmed(Height(u32::from(number)));
    OutpointStatus {
        funder: (number > 0).then_some(height),
        spender: None,
    }
}

fn outpoint(vout: u32) -> ClientOutpoint {
    let txid = Txid::from_byte_array([6; 32]);
    ClientOutpoint::new(OutPoint { txid, vout })
}

fn looked_at(outpoints: &[ClientOutpoint]) -> Refresh {
    Refresh {
        outpoints: outpoints.to_vec(),
        ..refresh(&[], false)
    }
}

fn script(number: u8) -> ScriptHash {
    ScriptHash::of(&bitcoin::ScriptBuf::from_bytes(vec![number]))
}

fn refresh(scripts: &[ScriptHash], tip: bool) -> Refresh {
    Refresh {
        scripts: scripts.to_vec(),
        outpoints: Vec::new(),
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
        subscriptions.refreshed(&refresh.answer(view), SPOKEN, &mut lines);
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
    subscriptions.refreshed(
        &refresh(&[script(1)], false).answer(&At(1, 7)),
        SPOKEN,
        &mut lines,
    );
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
    subscriptions.refreshed(&failed, SPOKEN, &mut Vec::new());
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
    subscriptions.refreshed(&findings, SPOKEN, &mut lines);
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
    subscriptions.refreshed(&piece.answer(&At(2, 8)), SPOKEN, &mut Vec::new());
    let rest = within.len() - piece.scripts.len();
    assert_eq!(notified(&mut subscriptions, &At(2, 8)), rest);
}

#[test]
fn an_outpoint_is_watched_by_the_script_it_was_named_with() {
    let mut subscriptions = Subscriptions::new();
    // It does not exist yet.
    subscriptions
        .watch_outpoint(outpoint(3), script(1))
        .unwrap();
    subscriptions.replied(&looked_at(&[outpoint(3)]).answer(&At(1, 0)));
    subscriptions.view_published(2, None, |script_hash| *script_hash == script(2));
    assert!(subscriptions.refresh().is_none());
    subscriptions.view_published(3, None, |script_hash| *script_hash == script(1));
    let piece = subscriptions.refresh().unwrap();
    assert_eq!(piece.lane(), Lane::Node);
    let mut lines = Vec::new();
    subscriptions.refreshed(&piece.answer(&At(3, 7)), SPOKEN, &mut lines);
    assert_eq!(
        String::from_utf8(lines).unwrap(),
        format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"blockchain.outpoint.subscribe\",\
             \"params\":[\"{}\",3,{{\"funder_height\":7}}]}}\n",
            "06".repeat(32)
        )
    );
    subscriptions.view_published(4, None, |_| true);
    assert_eq!(notified(&mut subscriptions, &At(4, 7)), 0);
    assert!(subscriptions.unwatch_outpoint(&outpoint(3)));
    assert!(!subscriptions.unwatch_outpoint(&outpoint(3)));
    subscriptions.view_published(5, None, |_| true);
    assert_eq!(notified(&mut subscriptions, &At(5, 8)), 0);
}

#[test]
fn outpoints_that_were_refused_leave_nothing_and_all_count_together() {
    let mut subscriptions = Subscriptions::new();
    subscriptions
        .watch_outpoint(outpoint(0), script(1))
        .unwrap();
    subscriptions.replied(&looked_at(&[outpoint(0)]).refuse());
    assert!(!subscriptions.unwatch_outpoint(&outpoint(0)));
    for vout in 1..u32::try_from(limits::SUBSCRIPTIONS_PER_SESSION_MAX).unwrap() {
        subscriptions
            .watch_outpoint(outpoint(vout), script(1))
            .unwrap();
    }
    subscribe(&mut subscriptions, script(1), &At(1, 7));
    let limit = Err(WireError::SubscriptionLimit);
    assert_eq!(subscriptions.watch(script(2)), limit);
    assert_eq!(subscriptions.watch_outpoint(outpoint(0), script(1)), limit);
    assert_eq!(subscriptions.watch_outpoint(outpoint(1), script(1)), Ok(()));
}

#[test]
fn scripts_and_outpoints_take_turns() {
    let mut subscriptions = Subscriptions::new();
    subscribe(&mut subscriptions, script(1), &At(1, 7));
    subscriptions
        .watch_outpoint(outpoint(0), script(1))
        .unwrap();
    subscriptions.replied(&looked_at(&[outpoint(0)]).answer(&At(1, 7)));
    let mut lanes = Vec::new();
    for view in 2..6 {
        subscriptions.view_published(view, None, |_| true);
        let piece = subscriptions.refresh().unwrap();
        lanes.push(piece.lane());
        subscriptions.refreshed(&piece.refuse(), SPOKEN, &mut Vec::new());
    }
    assert_eq!(lanes, [Lane::Index, Lane::Node, Lane::Index, Lane::Node]);
}
