//! The status file: how the server is, in aggregates only, for `claustrum status`.
//!
//! There is no socket to ask, so the running server writes a file, atomically. Nothing in it is about one client.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Everything the file says.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// Version of the server that wrote it.
    pub version: String,
    /// The network served.
    pub network: String,
    /// When it was written, in seconds since 1970.
    pub written: u64,
    /// The node, in one of the fixed texts of the follower.
    pub node: String,
    /// Blocks indexed.
    pub blocks_indexed: u32,
    /// Blocks the node has.
    pub blocks_known: u32,
    /// How fast it goes and how long it takes, in words; `None` when that is not known, or there is nothing to do.
    pub speed: Option<String>,
    /// Whether questions about scripts are answered.
    pub ready: bool,
    /// Why some questions cannot be answered from the index, and what mends it.
    pub index_trouble: Option<String>,
    /// How much of the node's mempool is known, in words.
    pub mempool: String,
    /// Tor's directory, 0 to 100.
    pub tor_percent: u8,
    /// The onion service, in one of the fixed texts of the door.
    pub door: String,
    /// Open sessions, rounded up to a multiple of 8.
    pub sessions: u64,
    /// How often one was held back since the start, because it had taken more than others who waited; rounded up to a
    /// multiple of 8.
    pub pauses: u64,
    /// Introductions dropped by our own queue since the start.
    pub introductions_dropped: u64,
    /// Introductions that Tor says it lost since the start.
    pub introductions_lost: u64,
    /// How transactions leave.
    pub broadcast: Broadcast,
}

/// How transactions leave, in fixed texts; nothing tells whether there are any.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Broadcast {
    /// By whom, as the configuration says it.
    pub method: String,
    /// Why none is taken now; `None` when they are.
    pub hindrance: Option<String>,
    /// What needs the operator.
    pub alarm: Option<String>,
}

impl Status {
    /// Replaces the file, so that a reader sees the old text or the new one.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let draft = path.with_extension("json.draft");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.write_all(b"\n")?;
        drop(file);
        fs::rename(&draft, path)
    }

    /// Reads the file of a running server.
    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    }

    /// Whether it says the same as another, whenever both were written.
    pub fn says(&self, other: &Self) -> bool {
        let now = Self {
            written: other.written,
            ..self.clone()
        };
        now == *other
    }

    /// Whether wallets are served, and nothing is left to wait for.
    pub fn is_settled(&self) -> bool {
        self.ready && self.door.starts_with("reachable")
    }

    /// Time since it was written.
    pub fn age(&self) -> Duration {
        Duration::from_secs(now().saturating_sub(self.written))
    }

    /// The speed after a comma, or nothing.
    pub fn speed_behind_comma(&self) -> String {
        let speed = self.speed.as_ref();
        speed.map_or_else(String::new, |speed| format!(", {speed}"))
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let index = match (self.ready, self.blocks_indexed, self.blocks_known) {
            (true, indexed, _) => format!("{indexed} blocks, following the node"),
            (false, indexed, known) => {
                let speed = self.speed_behind_comma();
                format!("{indexed} of {known} blocks{speed}")
            }
        };
        format!(
            "Claustrum {} on {}, as of {} s ago\n\
             node      {}\n\
             index     {index}\n{}\
             mempool   {}\n\
             tor       {} % of the directory\n\
             door      {}\n\
             sessions  up to {}, held back up to {} times for others\n\
             dropped   {} introductions by us, {} by Tor\n\
             broadcast {}: {}\n{}",
            self.version,
            self.network,
            self.age().as_secs(),
            self.node,
            alarm(
                self.index_trouble
                    .as_ref()
                    .map(|text| format!("failed to {text}"))
            ),
            self.mempool,
            self.tor_percent,
            self.door,
            self.sessions,
            self.pauses,
            self.introductions_dropped,
            self.introductions_lost,
            self.broadcast.method,
            match &self.broadcast.hindrance {
                None => "ready".to_owned(),
                Some(hindrance) => format!("not ready: {hindrance}"),
            },
            alarm(self.broadcast.alarm.clone()),
        )
    }
}

/// A line of its own, or none.
fn alarm(text: Option<String>) -> String {
    text.map_or_else(String::new, |text| format!("alarm     {text}\n"))
}

/// Seconds since 1970.
pub fn now() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "a file that outlives the process needs wall-clock time"
    )]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status.json");
        let status = Status {
            version: "0.1.0".into(),
            network: "regtest".into(),
            written: now(),
            node: "reachable".into(),
            blocks_indexed: 3,
            blocks_known: 5,
            speed: Some("60 blocks a minute, 1 min left".into()),
            ready: false,
            index_trouble: Some("read the index: the file is damaged".into()),
            mempool: "30 of 90 transactions so far".into(),
            tor_percent: 100,
            door: "reachable".into(),
            sessions: 8,
            pauses: 16,
            introductions_dropped: 0,
            introductions_lost: 0,
            broadcast: Broadcast {
                method: "tor-peers".into(),
                hindrance: Some("Tor is not connected".into()),
                alarm: None,
            },
        };
        status.write(&path).unwrap();
        status.write(&path).unwrap();
        assert_eq!(Status::read(&path).unwrap(), status);
        assert!(
            status
                .to_text()
                .contains("3 of 5 blocks, 60 blocks a minute, 1 min left\n")
        );
        let line = "\nsessions  up to 8, held back up to 16 times for others\n";
        assert!(status.to_text().contains(line));
        let line = "\nalarm     failed to read the index: the file is damaged\nmempool ";
        assert!(status.to_text().contains(line));
        let line = "broadcast tor-peers: not ready: Tor is not connected\n";
        assert!(status.to_text().ends_with(line));
        assert!(!status.is_settled());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
