//! Clients in great number that wait: each watches the tip and scripts of its own on a connection of its own, and one
//! thread hears what they are told.

use std::collections::{BTreeMap, HashSet};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::runtime::{Builder, Runtime};

use crate::crowd;
use crate::node::Node;
use crate::oracle::{self, script_hash};

/// Until the first statuses of all clients are there.
const SUBSCRIBED: Duration = Duration::from_secs(120);
/// A line is short: what a connection holds for reading.
const READ_BYTES: usize = 2048;
const TIP: &str = "blockchain.headers.subscribe";
const SCRIPT: &str = "blockchain.scripthash.subscribe";

/// Clients that wait; they leave with their value.
#[derive(Debug)]
pub struct Audience {
    clients: Vec<Client>,
    lines: mpsc::Receiver<Line>,
    /// Its one thread reads all connections.
    _runtime: Runtime,
}

/// What one of them knows.
#[derive(Clone, Debug, Default)]
struct Client {
    /// Height of the tip.
    tip: u64,
    /// By script hash; `None` of a script without history.
    statuses: BTreeMap<String, Option<String>>,
}

/// Something that one of them was told without asking.
#[derive(Clone, Debug)]
pub struct Told {
    /// Which of them.
    pub client: usize,
    /// When it came out of the socket.
    pub at: Instant,
    /// The script hash; `None` for the tip.
    pub script_hash: Option<String>,
}

/// A line as it came; `None` when the server has closed the connection.
struct Line {
    client: usize,
    at: Instant,
    text: Option<String>,
}

impl Audience {
    /// Subscribes on each of these connections to the tip and to the scripts of its owners; returns when all were
    /// answered.
    pub fn start(streams: Vec<TcpStream>, owners: &[Vec<u64>]) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let (heard, lines) = mpsc::channel();
        let mut due = 0;
        let mut audience = Self {
            clients: vec![Client::default(); streams.len()],
            lines,
            _runtime: runtime,
        };
        for (client, (stream, owners)) in streams.into_iter().zip(owners).enumerate() {
            let hash = |owner| script_hash(&crowd::script(owner).to_hex_string());
            let hashes = owners.iter().copied().map(hash);
            let statuses: BTreeMap<_, _> = hashes
                .map(|hash| Ok((hash?, None)))
                .collect::<Result<_>>()?;
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let asked = requests(statuses.keys());
            due += asked.len();
            let task = wait(client, stream, asked.concat(), heard.clone());
            audience._runtime.spawn(task);
            audience.clients[client].statuses = statuses;
        }
        let deadline = Instant::now() + SUBSCRIBED;
        while due > 0 {
            let line = audience.line(deadline)?;
            let client = line.client;
            let message = line.message()?;
            let asked = message["id"].as_u64();
            audience.answered(client, asked.context("told before it asked")?, &message)?;
            due -= 1;
        }
        Ok(audience)
    }

    /// The next so many things that they are told; an error if they do not come within `limit`.
    pub fn hear(&mut self, count: usize, limit: Duration) -> Result<Vec<Told>> {
        let deadline = Instant::now() + limit;
        let mut told = Vec::with_capacity(count);
        while told.len() < count {
            let next = self.line(deadline);
            let next = next.with_context(|| format!("{} of {count} came", told.len()))?;
            told.push(self.take(next)?);
        }
        Ok(told)
    }

    /// Whatever else they are told, until nobody is told anything for so long.
    pub fn hear_rest(&mut self, silence: Duration) -> Result<Vec<Told>> {
        let mut rest = Vec::new();
        loop {
            match self.lines.recv_timeout(silence) {
                Ok(line) => rest.push(self.take(line)?),
                Err(_silence) => return Ok(rest),
            }
        }
    }

    /// An error if anybody was told the same twice in `told`, or is told anything more until it is silent for so long.
    pub fn ensure_told_once(&mut self, told: &[Told], silence: Duration) -> Result<()> {
        let rest = self.hear_rest(silence)?;
        ensure!(rest.is_empty(), "{} more came: {:?}", rest.len(), rest[0]);
        let mut known = HashSet::new();
        let mut again = told.iter().map(|told| (told.client, &told.script_hash));
        let again = again.find(|told| !known.insert(*told));
        ensure!(again.is_none(), "told twice: {again:?}");
        Ok(())
    }

    /// An error unless everybody knows the node's tip, and of each of its scripts what the node's history leads to.
    pub fn ensure_all_is_known(&self, node: &Node) -> Result<()> {
        let tip = u64::from(node.height()?);
        let scripts = oracle::scripts(node)?;
        for client in &self.clients {
            ensure!(client.tip == tip, "a tip of {}, not {tip}", client.tip);
            for (hash, status) in &client.statuses {
                let history = scripts.get(hash).map(|script| &script.status);
                ensure!(status.as_ref() == history, "another status of {hash}");
            }
        }
        Ok(())
    }

    /// Takes note of what a line tells that answers nothing.
    fn take(&mut self, line: Line) -> Result<Told> {
        let (client, at) = (line.client, line.at);
        let message = line.message()?;
        let knows = &mut self.clients[client];
        let params = &message["params"];
        let script_hash = match message["method"].as_str() {
            Some(TIP) => {
                knows.tip = params[0]["height"].as_u64().context("no height")?;
                None
            }
            Some(SCRIPT) => {
                let hash = params[0].as_str().context("no script hash")?;
                let known = knows.statuses.get_mut(hash);
                *known.context("a script that it does not watch")? =
                    params[1].as_str().map(str::to_owned);
                Some(hash.to_owned())
            }
            _ => anyhow::bail!("no notification: {message}"),
        };
        Ok(Told {
            client,
            at,
            script_hash,
        })
    }

    /// Takes note of the answer to the request of this number: 0 for the tip, then the scripts in their order.
    fn answered(&mut self, client: usize, id: u64, message: &Value) -> Result<()> {
        ensure!(message["error"].is_null(), "not answered: {message}");
        let knows = &mut self.clients[client];
        let result = &message["result"];
        match usize::try_from(id)?.checked_sub(1) {
            None => knows.tip = result["height"].as_u64().context("no height")?,
            Some(place) => {
                let status = knows.statuses.values_mut().nth(place);
                *status.context("no such request")? = result.as_str().map(str::to_owned);
            }
        }
        Ok(())
    }

    fn line(&self, deadline: Instant) -> Result<Line> {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = self.lines.recv_timeout(left);
        line.context("nothing more was heard in time")
    }
}

impl Line {
    fn message(self) -> Result<Value> {
        let text = self.text;
        let text = text.with_context(|| format!("client {} was disconnected", self.client))?;
        serde_json::from_str(&text).context("a line that is no JSON")
    }
}

/// One line for the tip, and one for each script.
fn requests<'a>(script_hashes: impl Iterator<Item = &'a String>) -> Vec<String> {
    let request = |(id, method, params): (usize, &str, Value)| {
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        format!("{request}\n")
    };
    let scripts = (1..).zip(script_hashes);
    let scripts = scripts.map(|(id, hash)| (id, SCRIPT, json!([hash])));
    let all = std::iter::once((0, TIP, json!([]))).chain(scripts);
    all.map(request).collect()
}

/// One connection: asks, then hears until it ends, or until nobody listens any more.
async fn wait(client: usize, stream: TcpStream, asks: String, heard: mpsc::Sender<Line>) {
    let tell = |text| {
        let at = Instant::now();
        heard.send(Line { client, at, text }).is_ok()
    };
    let Ok(mut stream) = tokio::net::TcpStream::from_std(stream) else {
        tell(None);
        return;
    };
    if stream.write_all(asks.as_bytes()).await.is_ok() {
        let mut lines = BufReader::with_capacity(READ_BYTES, stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if !tell(Some(line)) {
                return;
            }
        }
    }
    tell(None);
}
