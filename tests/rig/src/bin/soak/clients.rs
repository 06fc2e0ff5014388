//! Clients that come and go through Tor, good ones and bad ones, until they are told to end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rig::socks::{self, Line};
use rig::tor_network::ONION_PORT;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// How long a wallet stays.
const STAY: Duration = Duration::from_secs(8);
/// How long a bad client holds what it has.
const HOLD: Duration = Duration::from_secs(12);
const PAUSE: Duration = Duration::from_millis(500);
const REPLY: Duration = Duration::from_secs(30);

/// What clients know, and what became of them.
pub(crate) struct Clients {
    onion_address: String,
    /// Script hashes that are used.
    watched: Vec<String>,
    pub(crate) ended: AtomicBool,
    pub(crate) visits: AtomicU64,
    pub(crate) notifications: AtomicU64,
    /// Visits that the server's or the node's end cut short.
    pub(crate) broken: AtomicU64,
    /// Answers that contradict each other.
    pub(crate) contradictions: AtomicU64,
    pub(crate) attacks: AtomicU64,
    returns: Mutex<Returns>,
}

/// How long it took after each start of the server until a wallet reached it.
#[derive(Default)]
struct Returns {
    awaited: Option<Instant>,
    served_since: Option<Instant>,
    seconds: Vec<f64>,
}

impl Clients {
    pub(crate) fn new(onion_address: String, watched: Vec<String>) -> Self {
        Self {
            onion_address,
            watched,
            ended: AtomicBool::default(),
            visits: AtomicU64::default(),
            notifications: AtomicU64::default(),
            broken: AtomicU64::default(),
            contradictions: AtomicU64::default(),
            attacks: AtomicU64::default(),
            returns: Mutex::default(),
        }
    }

    /// The server has been started again: notes when it is reached.
    pub(crate) fn await_somebody(&self) {
        let mut returns = self.returns();
        returns.awaited = Some(Instant::now());
        returns.served_since = None;
    }

    /// How long wallets have been served since the last start.
    pub(crate) fn served(&self) -> Duration {
        let since = self.returns().served_since;
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub(crate) fn tell_returns(&self) -> String {
        let returns = self.returns();
        let missing = if returns.awaited.is_some() {
            ", and not after the last"
        } else {
            ""
        };
        let each: Vec<_> = returns
            .seconds
            .iter()
            .map(|time| format!("{time:.1}"))
            .collect();
        format!("reached again {} s after a start{missing}", each.join(", "))
    }

    /// A wallet after the other.
    pub(crate) fn visit(&self, name: &str, socks_port: u16) {
        let visit = |user: &str, number| self.one_visit(self.connect(socks_port, user)?, number);
        self.repeat(name, |user, number| match visit(user, number) {
            Ok(()) => add(&self.visits),
            Err(_) => add(&self.broken),
        });
    }

    /// A bad client after the other, each kind in its turn.
    pub(crate) fn attack(&self, name: &str, socks_port: u16) {
        let attack = |user: &str, number| self.one_attack(self.connect(socks_port, user)?, number);
        self.repeat(name, |user, number| {
            // How it ends is the server's affair.
            if attack(user, number).is_ok() {
                add(&self.attacks);
            }
        });
    }

    fn repeat(&self, name: &str, act: impl Fn(&str, usize)) {
        for number in 0.. {
            if self.ended.load(Ordering::Relaxed) {
                return;
            }
            act(&format!("{name}-{number}"), number);
            sleep(PAUSE);
        }
    }

    fn one_visit(&self, mut line: Line, number: usize) -> Result<()> {
        line.call("server.version", json!(["soak", ["1.4", "1.6"]]))?;
        self.reached();
        line.call("blockchain.headers.subscribe", json!([]))?;
        let scripts = self.watched.iter().cycle().skip(number * 7);
        for script in scripts.take(10) {
            self.ask(&mut line, script)?;
        }
        let until = Instant::now() + STAY;
        while let Ok(told) = line.notification(until.saturating_duration_since(Instant::now())) {
            add(&self.notifications);
            if told["method"] == "blockchain.scripthash.subscribe" {
                let script = told["params"][0]
                    .as_str()
                    .context("a notification of nothing")?;
                self.ask(&mut line, script)?;
            }
        }
        line.call("server.ping", json!([]))?;
        Ok(())
    }

    /// A batch is answered from one moment: the status has to be that of the history.
    fn ask(&self, line: &mut Line, script: &str) -> Result<()> {
        let request = |id: &str, method: &str| {
            let method = format!("blockchain.scripthash.{method}");
            json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": [script] })
        };
        let batch = json!([request("h", "get_history"), request("s", "subscribe")]);
        let [history, status] = answers(line, &batch)?
            .try_into()
            .ok()
            .context("another number of answers")?;
        let text = history
            .as_array()
            .context("no history")?
            .iter()
            .map(|entry| {
                let txid = entry["tx_hash"].as_str().unwrap_or_default();
                format!("{txid}:{}:", entry["height"])
            });
        let text: String = text.collect();
        let expected = (!text.is_empty()).then(|| format!("{:x}", Sha256::digest(text)));
        if json!(expected) != status {
            add(&self.contradictions);
        }
        Ok(())
    }

    fn one_attack(&self, mut line: Line, number: usize) -> Result<()> {
        match number % 4 {
            // Asks for much and reads nothing.
            0 => {
                let ask =
                    json!({ "id": 1, "method": "blockchain.block.headers", "params": [0, 2016] });
                line.stream().set_write_timeout(Some(HOLD))?;
                line.send_bytes(format!("{ask}\n").repeat(500).as_bytes())?;
                sleep(HOLD);
            }
            // Half a line.
            1 => {
                line.send_bytes(b"{\"id\":1,\"method\":")?;
                sleep(HOLD);
            }
            // Lines that are no requests, until the server has enough.
            2 => {
                line.send_bytes("[[{\"id\":\n".repeat(300).as_bytes())?;
                while line.read(REPLY)?.is_some() {}
            }
            // A line without an end.
            _ => {
                line.send_bytes(&vec![b'x'; 3_000_000])?;
                while line.read(REPLY)?.is_some() {}
            }
        }
        Ok(())
    }

    fn reached(&self) {
        let mut returns = self.returns();
        returns.served_since.get_or_insert_with(Instant::now);
        if let Some(since) = returns.awaited.take() {
            returns.seconds.push(since.elapsed().as_secs_f64());
        }
    }

    fn returns(&self) -> MutexGuard<'_, Returns> {
        self.returns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn connect(&self, socks_port: u16, user: &str) -> Result<Line> {
        let stream = socks::connect(socks_port, user, &self.onion_address, ONION_PORT)?;
        Ok(Line::new(stream))
    }
}

/// The results of a batch of requests, in their order; an error of one is an error here.
pub(crate) fn answers(line: &mut Line, batch: &Value) -> Result<Vec<Value>> {
    line.send(&batch.to_string())?;
    let deadline = Instant::now() + REPLY;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let text = line.read(left)?.context("the server closed the stream")?;
        // Anything else is a notification.
        if !text.starts_with('[') {
            continue;
        }
        let mut replies: Vec<Value> = serde_json::from_str(&text)?;
        ensure!(
            replies.iter().all(|reply| reply["error"].is_null()),
            "an error instead of an answer"
        );
        return Ok(replies
            .iter_mut()
            .map(|reply| reply["result"].take())
            .collect());
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
