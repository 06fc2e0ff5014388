//! The command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::questions::Method;

/// So many requests fit into a socket's buffers, so that client and server never wait for each other.
const UNANSWERED_MAX: usize = 1_000;

/// What is compared, and how.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// `host:port` of each.
    pub(crate) peers: Vec<String>,
    /// Of a node that runs already; otherwise one with a small chain is started.
    pub(crate) node_dir: Option<PathBuf>,
    pub(crate) node_rpc: Option<u16>,
    /// Script hashes, one a line, instead of those found in the chain.
    pub(crate) scripts: Option<PathBuf>,
    /// What is asked.
    pub(crate) methods: Vec<Method>,
    pub(crate) rounds: usize,
    pub(crate) clients: usize,
    pub(crate) unanswered: usize,
    pub(crate) time: Duration,
    /// Where lines of JSON go.
    pub(crate) json: PathBuf,
}

impl Arguments {
    /// Reads `words`, without the program's name.
    pub(crate) fn read(words: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut read = Self {
            peers: Vec::new(),
            node_dir: None,
            node_rpc: None,
            scripts: None,
            methods: Method::ALL.to_vec(),
            rounds: 5,
            clients: 8,
            unanswered: 4,
            time: Duration::from_secs(1),
            json: rig::programs::repository().join("target/bench/peers.jsonl"),
        };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            if !word.starts_with("--") {
                ensure!(word.contains(':'), "{word} is no host:port");
                read.peers.push(word);
                continue;
            }
            let value = words
                .next()
                .with_context(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--node-dir" => read.node_dir = Some(value.into()),
                "--node-rpc" => {
                    let port = value.rsplit(':').next().unwrap_or_default();
                    read.node_rpc = Some(number(&word, port)?);
                }
                "--scripts" => read.scripts = Some(value.into()),
                "--methods" => {
                    read.methods = value.split(',').map(method).collect::<Result<_>>()?
                }
                "--rounds" => read.rounds = number(&word, &value)?,
                "--clients" => read.clients = number(&word, &value)?,
                "--unanswered" => read.unanswered = number(&word, &value)?,
                "--seconds" => read.time = Duration::from_secs_f64(number(&word, &value)?),
                "--json" => read.json = value.into(),
                _ => bail!("{word} means nothing here"),
            }
        }
        ensure!(read.rounds > 0 && read.clients > 0, "nothing to do");
        let unanswered = 1..=UNANSWERED_MAX;
        ensure!(
            unanswered.contains(&read.unanswered),
            "--unanswered takes {unanswered:?}"
        );
        ensure!(
            read.node_dir.is_some() == read.node_rpc.is_some(),
            "--node-dir and --node-rpc belong together"
        );
        Ok(read)
    }
}

fn method(label: &str) -> Result<Method> {
    let found = Method::ALL
        .into_iter()
        .find(|method| method.label() == label);
    found.with_context(|| format!("--methods {label}: nothing that is asked"))
}

fn number<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    word: &str,
    value: &str,
) -> Result<T> {
    value
        .parse()
        .with_context(|| format!("{word} {value}: no number"))
}
