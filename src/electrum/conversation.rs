//! One client's conversation: what was agreed, what is watched, and what each line means.

use std::sync::Arc;

use bitcoin::hashes::Hash as _;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::Identity;
use super::error::{WireError, notice};
use super::exchange::{Exchange, Finished, Slot, Task};
use super::message::{Invalid, Member, Message, Request, parse};
use super::method::{AskedVersions, Method};
use super::reply::Reply;
use super::shapes::Pong;
use super::subscriptions::{Findings, Refresh, Subscriptions};
use super::version::ProtocolVersion;
use crate::chain::{ChainTip, ScriptHash};
use crate::limits;
use crate::query::Readiness;

/// The state of one client's conversation.
pub struct Conversation {
    identity: Arc<Identity>,
    /// `None` until the client says `server.version`; until then it is served as 1.4.
    version: Option<ProtocolVersion>,
    subscriptions: Subscriptions,
}

/// What a line led to.
pub struct Heard {
    /// What to do next.
    pub next: Next,
    /// Requests in the line.
    pub requests: usize,
    /// How many of them were against the protocol.
    pub faults: usize,
    /// Whether the conversation ends when this line has been answered.
    pub close: bool,
}

/// What to do next.
pub enum Next {
    /// Nothing: only notifications were heard.
    Nothing,
    /// Send this line.
    Send(Vec<u8>),
    /// Find the answers, then tell [`Conversation::finished`].
    Work(Exchange),
}

impl Conversation {
    /// A conversation that has not begun.
    pub fn new(identity: Arc<Identity>) -> Self {
        Self {
            identity,
            version: None,
            subscriptions: Subscriptions::new(),
        }
    }

    /// Takes one line, without its end. `readiness` is for the banner.
    pub fn hear(&mut self, line: &[u8], readiness: Readiness) -> Heard {
        let (batch, members) = match parse(line) {
            Ok(Message::Single(member)) => (false, vec![member]),
            Ok(Message::Batch(members)) => (true, members),
            Err(error) => return Heard::fault(error, false),
        };
        let mut heard = Heard {
            next: Next::Nothing,
            requests: members.len(),
            faults: 0,
            close: false,
        };
        let mut slots = Vec::with_capacity(members.len());
        for member in members {
            if let Some(slot) = self.slot(member, readiness, &mut heard) {
                slots.push(slot);
            }
        }
        if !slots.is_empty() {
            let exchange = Exchange::new(batch, slots);
            heard.next = match exchange.reply() {
                Some(line) => Next::Send(line),
                None => Next::Work(exchange),
            };
        }
        heard
    }

    /// What to say to a line that passed its limit.
    pub fn line_too_long(&self) -> Heard {
        Heard::fault(WireError::LineTooLong, true)
    }

    /// Takes note of what an answered exchange tells the client; the line has to leave next.
    pub fn finished(&mut self, finished: Finished) -> Vec<u8> {
        self.subscriptions.replied(&finished.findings);
        finished.line
    }

    /// The view whose changes were looked at last.
    pub fn seen(&self) -> u64 {
        self.subscriptions.seen()
    }

    /// Takes note of a new view: `affected` tells which scripts may have another status in it.
    pub fn view_published(
        &mut self,
        view_version: u64,
        tip: Option<ChainTip>,
        affected: impl Fn(&ScriptHash) -> bool,
    ) {
        let tip_hash = tip.map(|tip| tip.hash.to_byte_array());
        self.subscriptions
            .view_published(view_version, tip_hash, affected);
    }

    /// What has to be looked at again because of new views; a piece at a time.
    pub fn refresh(&mut self) -> Option<Refresh> {
        self.subscriptions.refresh()
    }

    /// Takes note of what was looked at again; appends the notifications it leads to.
    pub fn refreshed(&mut self, findings: &Findings, lines: &mut Vec<u8>) {
        let version = self.spoken();
        self.subscriptions.refreshed(findings, version, lines);
    }

    /// Appends what the client was told last of something that it watches, if there is such a thing: it reads the same
    /// again.
    pub fn repeat(&self, lines: &mut Vec<u8>) {
        self.subscriptions.repeat(self.spoken(), lines);
    }

    fn slot(
        &mut self,
        member: Member<'_>,
        readiness: Readiness,
        heard: &mut Heard,
    ) -> Option<Slot> {
        let (id, task) = match member {
            Ok(Request { id: None, .. }) => return None,
            Ok(request) => (request.id, self.task(&request, readiness, heard)),
            Err(Invalid { id }) => (id, Err(WireError::InvalidRequest)),
        };
        let task = task.unwrap_or_else(|error| Task::Answered(Err(error)));
        if let Task::Answered(Err(error)) = &task
            && error.is_fault()
        {
            heard.faults = heard.faults.saturating_add(1);
        }
        Some(Slot {
            id: id.map(RawValue::to_owned),
            version: self.spoken(),
            task,
        })
    }

    fn task(
        &mut self,
        request: &Request<'_>,
        readiness: Readiness,
        heard: &mut Heard,
    ) -> Result<Task, WireError> {
        let identity = Arc::clone(&self.identity);
        match Method::parse(request, self.spoken())? {
            Method::Version(asked) => {
                let version = self.agree(asked);
                heard.close |= version == Err(WireError::UnsupportedVersion);
                ready(&[&identity.name, version?.as_str()])
            }
            Method::Features => ready(&Features::of(&identity, self.spoken())),
            Method::Banner => ready(&banner(readiness)),
            Method::DonationAddress => ready(&""),
            Method::Ping(None) => ready(&()),
            Method::Ping(Some(length)) if length <= limits::PONG_AT_ONCE_MAX => {
                ready(&Pong::of(length))
            }
            Method::Ping(Some(length)) => Ok(Task::Pong(length)),
            Method::Peers => ready(&[(); 0]),
            Method::AddPeer => ready(&false),
            Method::Unwatch(script_hash) => ready(&self.subscriptions.unwatch(&script_hash)),
            Method::Watch(script_hash) => {
                self.subscriptions.watch(script_hash)?;
                Ok(Task::Watch(script_hash))
            }
            Method::UnwatchOutpoint(outpoint) => {
                ready(&self.subscriptions.unwatch_outpoint(&outpoint))
            }
            Method::WatchOutpoint(outpoint, hint) => {
                self.subscriptions.watch_outpoint(outpoint, hint)?;
                Ok(Task::WatchOutpoint(outpoint))
            }
            Method::WatchTip => {
                self.subscriptions.watch_tip();
                Ok(Task::WatchTip)
            }
            Method::Broadcast(transaction) => Ok(Task::Broadcast(transaction)),
            Method::BroadcastPackage(package) => Ok(Task::BroadcastPackage(package)),
            Method::Ask(query) => Ok(Task::Ask(query)),
        }
    }

    fn agree(&mut self, asked: Option<AskedVersions>) -> Result<ProtocolVersion, WireError> {
        if self.version.is_some() {
            return Err(WireError::VersionAlreadySent);
        }
        let max = self.identity.protocol_max;
        let agreed = asked.and_then(|asked| max.agree(&asked.min, &asked.max));
        self.version = agreed;
        agreed.ok_or(WireError::UnsupportedVersion)
    }

    fn spoken(&self) -> ProtocolVersion {
        self.version.unwrap_or(ProtocolVersion::MIN)
    }
}

impl Heard {
    /// A fault of the whole line.
    fn fault(error: WireError, close: bool) -> Self {
        let mut reply = Reply::new(false, 1, 0);
        reply.error(None, error);
        Self {
            next: Next::Send(reply.into_line()),
            requests: 1,
            faults: 1,
            close,
        }
    }
}

fn ready(result: &impl Serialize) -> Result<Task, WireError> {
    let raw = to_raw_value(result).map_err(|_impossible| WireError::Unanswerable)?;
    Ok(Task::Answered(Ok(raw)))
}

fn banner(readiness: Readiness) -> String {
    let mut text = "Claustrum: an Electrum server that exists only as an onion service.".to_owned();
    if let Some(notice) = notice(readiness) {
        text.push('\n');
        text.push_str(&notice);
    }
    text
}

/// Result of `server.features`.
#[derive(Serialize)]
struct Features<'a> {
    genesis_hash: String,
    hosts: Hosts,
    protocol_max: &'static str,
    protocol_min: &'static str,
    pruning: Option<u32>,
    server_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash_function: Option<&'static str>,
}

/// No host is told: whoever asks knows the onion address.
#[derive(Serialize)]
struct Hosts {}

impl<'a> Features<'a> {
    fn of(identity: &'a Identity, version: ProtocolVersion) -> Self {
        Self {
            genesis_hash: identity.genesis.to_string(),
            hosts: Hosts {},
            protocol_max: identity.protocol_max.as_str(),
            protocol_min: ProtocolVersion::MIN.as_str(),
            pruning: None,
            server_version: &identity.name,
            hash_function: (version < ProtocolVersion::V1_7).then_some("sha256"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Network;
    use crate::query::CatchUp;
    use proptest::prelude::*;

    const SCRIPT: &str = "8b01df4e368ea28f8dc0423bcf7a4923e3a12d307c875e47a0cfbf90b5c39161";

    fn conversation() -> Conversation {
        Conversation::new(Arc::new(Identity::of(Network::Regtest)))
    }

    fn say(conversation: &mut Conversation, line: &str) -> Heard {
        conversation.hear(line.as_bytes(), Readiness::Ready)
    }

    fn sent(heard: Heard) -> String {
        match heard.next {
            Next::Send(line) => String::from_utf8(line).unwrap(),
            Next::Nothing => String::new(),
            Next::Work(_) => panic!("work"),
        }
    }

    #[test]
    fn a_batch_without_chain_is_answered_at_once_as_one_array() {
        let heard = say(
            &mut conversation(),
            r#"[{"id":1,"method":"server.ping"},{"method":"server.ping"},{"id":"b","method":"nope"},7]"#,
        );
        assert_eq!((heard.requests, heard.faults, heard.close), (4, 2, false));
        assert_eq!(
            sent(heard),
            "[{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":null},\
             {\"jsonrpc\":\"2.0\",\"id\":\"b\",\"error\":{\"code\":-32601,\"message\":\"unknown method\"}},\
             {\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32600,\"message\":\"invalid request\"}}]\n"
        );
    }

    #[test]
    fn notifications_get_no_answer() {
        let mut conversation = conversation();
        assert_eq!(
            sent(say(&mut conversation, r#"{"method":"server.ping"}"#)),
            ""
        );
        let batch = r#"[{"method":"server.ping"},{"method":"nope"}]"#;
        assert_eq!(sent(say(&mut conversation, batch)), "");
    }

    #[test]
    fn work_comes_back_as_the_reply_to_its_line() {
        let mut conversation = conversation();
        let line = format!(
            r#"[{{"id":1,"method":"blockchain.scripthash.subscribe","params":["{SCRIPT}"]}},{{"id":2,"method":"server.ping"}}]"#
        );
        let Next::Work(exchange) = say(&mut conversation, &line).next else {
            panic!("no work");
        };
        let reply = conversation.finished(exchange.refuse(WireError::Stale));
        let reply = String::from_utf8(reply).unwrap();
        assert!(reply.starts_with("[{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":1,"));
        assert!(reply.ends_with("{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":null}]\n"));
        // The refused subscription does not stand.
        let line = format!(
            r#"{{"id":3,"method":"blockchain.scripthash.unsubscribe","params":["{SCRIPT}"]}}"#
        );
        assert!(sent(say(&mut conversation, &line)).contains("\"result\":false"));
    }

    #[test]
    fn a_version_holds_from_its_own_answer_on() {
        let mut conversation = conversation();
        let relayfee = |conversation: &mut Conversation| {
            matches!(
                say(conversation, r#"{"id":1,"method":"blockchain.relayfee"}"#).next,
                Next::Work(_)
            )
        };
        assert!(relayfee(&mut conversation));
        let version = r#"{"id":1,"method":"server.version","params":["x",["1.4","1.6"]]}"#;
        assert!(sent(say(&mut conversation, version)).contains("\"1.6\"]"));
        assert!(!relayfee(&mut conversation));
        let again = say(&mut conversation, version);
        assert!(!again.close);
        assert!(sent(again).contains("\"code\":1,"));
    }

    #[test]
    fn pings_are_padded_from_1_7_on() {
        let mut identity = Identity::of(Network::Regtest);
        identity.protocol_max = ProtocolVersion::V1_7;
        let mut conversation = Conversation::new(Arc::new(identity));
        let version = r#"{"id":1,"method":"server.version","params":["x","1.7"]}"#;
        assert!(sent(say(&mut conversation, version)).contains("\"1.7\"]"));
        let pong = |conversation: &mut Conversation, params: &str| {
            let line = format!(r#"{{"id":1,"method":"server.ping","params":{params}}}"#);
            sent(say(conversation, &line))
        };
        assert!(pong(&mut conversation, "[]").ends_with("\"result\":{\"data\":\"\"}}\n"));
        assert!(pong(&mut conversation, r#"[3,"abc"]"#).contains("{\"data\":\"000\"}"));
        assert!(pong(&mut conversation, r#"{"pong_len":1}"#).contains("{\"data\":\"0\"}"));
        for params in ["[-1]", "[1,2]", "[1.5]", r#"["1"]"#, "[1,\"\",1]"] {
            assert!(
                pong(&mut conversation, params).contains("-32602"),
                "{params}"
            );
        }
        let notified = r#"{"method":"server.ping","params":{"data":"abcdef"}}"#;
        assert_eq!(sent(say(&mut conversation, notified)), "");
        // More than is given at once is work, which the limit of replies bounds.
        for (digits, at_once) in [
            (limits::PONG_AT_ONCE_MAX, true),
            (limits::PONG_AT_ONCE_MAX + 1, false),
        ] {
            let line = format!(r#"{{"id":1,"method":"server.ping","params":[{digits}]}}"#);
            let next = say(&mut conversation, &line).next;
            assert_eq!(matches!(next, Next::Send(_)), at_once, "{digits}");
            assert_eq!(matches!(next, Next::Work(_)), !at_once, "{digits}");
        }
    }

    #[test]
    fn no_version_in_common_ends_the_conversation() {
        for asked in ["\"1.2\"", "[\"1.7\",\"2.0\"]", "5", "{}"] {
            let line =
                format!("{{\"id\":1,\"method\":\"server.version\",\"params\":[\"x\",{asked}]}}");
            let heard = say(&mut conversation(), &line);
            assert!(heard.close, "{asked}");
            assert!(sent(heard).contains("unsupported protocol version"));
        }
    }

    proptest! {
        /// Nothing that a client says comes back but its id, and nothing makes us fail.
        #[test]
        fn what_is_said_is_not_echoed(
            name in prop_oneof![Just("server.version"), Just("server.ping"), Just("blockchain.estimatefee"), Just("blockchain.transaction.get"), Just("CANARYCANARY")],
            params in prop_oneof![
                Just(r#"["CANARYCANARY"]"#), Just(r#"{"CANARYCANARY":1}"#), Just(r#""CANARYCANARY""#),
                Just(r#"["x",["CANARYCANARY","1.4"]]"#), Just(r#"[2,"CANARYCANARY"]"#), Just("[]"),
            ],
            cut in 0..200_usize,
        ) {
            let line = format!(r#"{{"id":1,"method":"{name}","params":{params},"CANARYCANARY":"CANARYCANARY"}}"#);
            let whole = sent(say(&mut conversation(), &line));
            prop_assert!(!whole.contains("CANARY") && whole.contains("\"id\":1,"), "{}", whole);
            let part: String = line.chars().take(cut).collect();
            prop_assert!(!sent(say(&mut conversation(), &part)).contains("CANARY"));
        }

        #[test]
        fn any_bytes_get_an_answer(line in proptest::collection::vec(any::<u8>(), 0..300)) {
            let heard = conversation().hear(&line, Readiness::Ready);
            prop_assert!(!sent(heard).is_empty());
        }
    }

    #[test]
    fn the_banner_tells_progress_only_while_there_is_some() {
        assert!(!banner(Readiness::Ready).contains('\n'));
        let catching_up = Readiness::CatchingUp(CatchUp {
            indexed: 1,
            target: 4,
            speed: None,
        });
        assert!(banner(catching_up).contains("block 1 of 4 (25 %)"));
        assert!(banner(Readiness::Stale).contains("silent"));
    }
}
