//! Both servers, asked the same.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rig::electrumx::ElectrumX;
use rig::server::Loopback;
use rig::socks::Line;
use serde_json::{Value, json};

const REPLY: Duration = Duration::from_secs(60);

/// Claustrum's loopback program and `ElectrumX`, over one node.
pub(super) struct Pair {
    pub(super) ours: Loopback,
    pub(super) theirs: ElectrumX,
}

/// What a server says to a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reply {
    Result(Value),
    /// The code; the texts are each server's own.
    Error(i64),
}

/// What the two say to one request.
#[derive(Clone, Debug)]
pub(super) struct Replies {
    pub(super) ours: Reply,
    pub(super) theirs: Reply,
}

impl Pair {
    /// Connects to both.
    pub(super) fn connect(&self) -> Result<[Line; 2]> {
        Ok([self.ours.connect()?, self.theirs.connect()?])
    }

    /// A session with each, which speaks a version; the replies to requests with these ids, each part of them sent
    /// when the part before it has been answered.
    pub(super) fn ask(
        &self,
        version: &str,
        parts: &[(Range<usize>, String)],
    ) -> Result<Vec<Replies>> {
        let mut sessions = self.connect()?;
        let mut names = Vec::new();
        for session in &mut sessions {
            names.push(introduce(session, version)?);
        }
        let mut found = Vec::new();
        for (ids, lines) in parts {
            for session in &mut sessions {
                session.send_bytes(lines.as_bytes())?;
            }
            let [ours, theirs] = &mut sessions;
            let mut ours = replies(ours, ids.len(), &names[0])
                .with_context(|| format!("ours: {}", self.ours.stderr()))?;
            let mut theirs = replies(theirs, ids.len(), &names[1])
                .with_context(|| format!("theirs: {}", self.theirs.output()))?;
            for id in ids.clone() {
                found.push(Replies {
                    ours: ours.remove(&id).context("no reply of ours")?,
                    theirs: theirs.remove(&id).context("no reply of theirs")?,
                });
            }
        }
        Ok(found)
    }
}

/// Says the version; the server's name.
pub(super) fn introduce(session: &mut Line, version: &str) -> Result<String> {
    let agreed = session.call("server.version", json!(["differential test", version]))?;
    ensure!(agreed[1] == version, "another version: {agreed}");
    Ok(agreed[0].as_str().context("no name")?.to_owned())
}

impl Replies {
    /// The two without what the results are.
    pub(super) fn summary(&self) -> String {
        let short = |reply: &Reply| match reply {
            Reply::Result(_) => "a result".to_owned(),
            Reply::Error(code) => code.to_string(),
        };
        format!("{} and {}", short(&self.ours), short(&self.theirs))
    }
}

impl Reply {
    /// Of a message, in which the server's own name becomes `$NAME`.
    pub(super) fn of(message: &Value, name: &str) -> Result<Self> {
        if let Some(code) = message["error"]["code"].as_i64() {
            return Ok(Self::Error(code));
        }
        let result = message.get("result").context("neither result nor error")?;
        let text = result.to_string().replace(name, "$NAME");
        Ok(Self::Result(serde_json::from_str(&text)?))
    }
}

fn replies(session: &mut Line, count: usize, name: &str) -> Result<HashMap<usize, Reply>> {
    let mut replies = HashMap::new();
    while replies.len() < count {
        let line = session.read(REPLY)?;
        let line = line.with_context(|| {
            format!(
                "the server closed the stream after {} replies",
                replies.len()
            )
        })?;
        let message: Value = serde_json::from_str(&line)?;
        let members = match message.as_array() {
            Some(members) => members.as_slice(),
            None => std::slice::from_ref(&message),
        };
        // Notifications have no id.
        for member in members.iter().filter(|member| !member["id"].is_null()) {
            let id = member["id"].as_u64().context("an id that was not given")?;
            let reply = Reply::of(member, name).with_context(|| member.to_string())?;
            let again = replies.insert(usize::try_from(id)?, reply);
            ensure!(again.is_none(), "a second reply to {id}");
        }
    }
    Ok(replies)
}
