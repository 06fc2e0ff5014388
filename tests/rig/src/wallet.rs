//! A wallet that is not ours: the program of `tests/wallet`, which has a lock file and a build of its own.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::guard::Folder;
use crate::process::Process;
use crate::programs::repository;
use crate::tor_network::ONION_PORT;

/// Steps that may wait to be read; beyond them the wallet waits.
const STEPS_MAX: usize = 1024;

/// The way to a server.
#[derive(Clone, Debug)]
pub enum Way {
    /// Through a C Tor client.
    Tor {
        /// Its SOCKS port.
        socks_port: u16,
        /// Another name is another circuit.
        user: String,
        /// Of the server, with `.onion`.
        onion_address: String,
    },
    /// Over TCP on 127.0.0.1.
    Loopback {
        /// Of the server.
        port: u16,
    },
}

/// A wallet at work; ends with its value.
#[derive(Debug)]
pub struct Wallet {
    process: Process,
    steps: Receiver<String>,
    folder: Folder,
}

impl Wallet {
    /// Runs `wallet COMMAND` with more arguments, for example `visit` with `["--script", "51"]`.
    pub fn start(command: &str, way: &Way, arguments: &[&str]) -> Result<Self> {
        let folder = Folder::new("wallet")?;
        let errors = std::fs::File::create(folder.join("stderr"))?;
        let mut program = Command::new(build()?);
        program
            .arg(command)
            .arg("--json")
            .args(way.arguments())
            .args(arguments);
        let mut process = Process::start(
            "the wallet",
            program
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(errors),
        )?;
        let output = BufReader::new(process.stdout().context("a wallet without output")?);
        let (tell, steps) = sync_channel(STEPS_MAX);
        std::thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| tell.send(line))
        });
        Ok(Self {
            process,
            steps,
            folder,
        })
    }

    /// Runs it to its end; all its steps. An error if it ends with one.
    pub fn run(
        command: &str,
        way: &Way,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<Vec<Value>> {
        Self::start(command, way, arguments)?.finish(limit)
    }

    /// The next step of this name; those before it are passed over.
    pub fn step(&mut self, name: &str, limit: Duration) -> Result<Value> {
        let deadline = Instant::now() + limit;
        loop {
            let step = self.next(deadline)?;
            let step = step.with_context(|| {
                format!("the wallet ended before `{name}`: {}", self.complaint())
            })?;
            if step["step"] == name {
                return Ok(step);
            }
        }
    }

    /// Waits for its end; the steps that were not read yet. An error if it ends with one.
    pub fn finish(mut self, limit: Duration) -> Result<Vec<Value>> {
        let deadline = Instant::now() + limit;
        let mut steps = Vec::new();
        while let Some(step) = self.next(deadline)? {
            steps.push(step);
        }
        let status = self
            .process
            .wait(deadline.saturating_duration_since(Instant::now()))?;
        anyhow::ensure!(status.success(), "the wallet failed: {}", self.complaint());
        Ok(steps)
    }

    fn next(&self, deadline: Instant) -> Result<Option<Value>> {
        match self
            .steps
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            Ok(line) => Ok(Some(
                serde_json::from_str(&line).with_context(|| format!("the wallet says {line}"))?,
            )),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                anyhow::bail!("the wallet needs too long: {}", self.complaint())
            }
        }
    }

    fn complaint(&self) -> String {
        std::fs::read_to_string(self.folder.join("stderr")).unwrap_or_default()
    }
}

impl Way {
    /// As the wallet takes them.
    pub fn arguments(&self) -> Vec<String> {
        match self {
            Self::Tor {
                socks_port,
                user,
                onion_address,
            } => vec![
                "--server".to_owned(),
                format!("{onion_address}:{ONION_PORT}"),
                "--socks".to_owned(),
                format!("127.0.0.1:{socks_port}"),
                "--user".to_owned(),
                user.clone(),
            ],
            Self::Loopback { port } => {
                vec!["--server".to_owned(), format!("tcp://127.0.0.1:{port}")]
            }
        }
    }
}

/// The program, built first if need be: once per process, and cargo does nothing when it is up to date.
pub fn build() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let run = || {
        let target = repository().join("target/wallet");
        let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--release", "--locked", "--manifest-path"])
            .arg(repository().join("tests/wallet/Cargo.toml"))
            .arg("--target-dir")
            .arg(&target)
            .output()
            .map_err(|error| format!("failed to start cargo: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let program = target.join("release/wallet");
        output
            .status
            .success()
            .then_some(program)
            .ok_or_else(|| format!("failed to build tests/wallet: {said}"))
    };
    BUILT.get_or_init(run).clone().map_err(anyhow::Error::msg)
}
