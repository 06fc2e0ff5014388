//! The server under test, as a process: the product behind its onion service, and the development program that
//! serves the same sessions on loopback.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::guard::Folder;
use crate::node::Node;
use crate::ports;
use crate::process::{self, Process};
use crate::programs::{example, repository};
use crate::socks::{self, Line};
use crate::tor_network::{ONION_PORT, TorNetwork};
use crate::trace::Trace;

/// Enough for a busy machine; an idle one needs two seconds.
const REACHABLE: Duration = Duration::from_secs(90);
/// A command that does not serve is done at once; `check-config` waits for a node.
const COMMAND: Duration = Duration::from_secs(60);
/// The server's own limit is 20 s.
const STOP: Duration = Duration::from_secs(25);
const POLL: Duration = Duration::from_millis(100);
/// The configuration file in the server's folder.
const CONFIG: &str = "claustrum.toml";

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Another program than the one that was built last.
    pub program: Option<PathBuf>,
    /// Arguments after those of the rig, which they override.
    pub extra: Vec<String>,
    /// Text of a configuration file.
    pub config: Option<String>,
    /// Words before its command line, of a program that starts it, such as `env`.
    pub launcher: Vec<String>,
    /// Lists system calls of all its threads and children.
    pub trace: Option<Trace>,
}

/// What both programs have in common.
#[derive(Debug)]
struct Server {
    process: Process,
    program: PathBuf,
    arguments: Vec<String>,
    launcher: Vec<OsString>,
    folder: Folder,
}

/// `claustrum`, reached through its onion service; ends with its value.
#[derive(Debug)]
pub struct Claustrum {
    server: Server,
    onion_address: Option<String>,
}

/// `examples/loopback`, reached over TCP; ends with its value.
#[derive(Debug)]
pub struct Loopback {
    server: Server,
    port: u16,
}

impl Claustrum {
    /// Starts it, and returns when a client reached it through Tor.
    pub fn start(node: &Node, network: &TorNetwork, options: &Options) -> Result<Self> {
        let mut claustrum = Self::launch(node, network, options)?;
        claustrum.wait_until_reachable(network)?;
        Ok(claustrum)
    }

    /// Starts it with a new data directory and waits for nothing.
    pub fn launch(node: &Node, network: &TorNetwork, options: &Options) -> Result<Self> {
        let own = vec![
            "--tor-config".to_owned(),
            network.arti_config().display().to_string(),
        ];
        Ok(Self {
            server: Server::launch(
                options.program.clone().map_or_else(program, Ok)?,
                own,
                node,
                options,
            )?,
            onion_address: None,
        })
    }

    /// Waits until a client reached it through Tor.
    pub fn wait_until_reachable(&mut self, network: &TorNetwork) -> Result<()> {
        let deadline = Instant::now() + REACHABLE;
        while self.onion_address.is_none() {
            self.server.ensure_it_runs()?;
            let said = self.run("address")?;
            self.onion_address = onion_address(&String::from_utf8_lossy(&said.stdout));
            if self.onion_address.is_none() {
                let why = String::from_utf8_lossy(&said.stderr);
                anyhow::ensure!(
                    Instant::now() < deadline,
                    "`claustrum address` shows none: {why}"
                );
                std::thread::sleep(POLL);
            }
        }
        // A client that comes while introduction points are being made anew takes them for dead for two minutes.
        while !self.says_it_is_reachable()? {
            self.server.ensure_it_runs()?;
            anyhow::ensure!(
                Instant::now() < deadline,
                "no reachable door after {REACHABLE:?}: {}",
                self.stderr()
            );
            std::thread::sleep(POLL);
        }
        for attempt in 0.. {
            self.server.ensure_it_runs()?;
            match self
                .connect(network, &format!("reachable-{attempt}"))
                .and_then(|mut line| ping(&mut line))
            {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(error.context(format!(
                        "not reached after {REACHABLE:?}: {}",
                        self.stderr()
                    )));
                }
                Err(_) => std::thread::sleep(POLL),
            }
        }
        unreachable!("an endless range ended")
    }

    fn says_it_is_reachable(&self) -> Result<bool> {
        let status = self.run("status")?.stdout;
        Ok(String::from_utf8_lossy(&status).contains("door      reachable"))
    }

    /// A client's connection through Tor; each `user` has a circuit of its own.
    pub fn connect(&self, network: &TorNetwork, user: &str) -> Result<Line> {
        socks::connect(
            network.socks_port(),
            user,
            self.onion_address()?,
            ONION_PORT,
        )
        .map(Line::new)
    }

    /// The 56 characters and `.onion`.
    pub fn onion_address(&self) -> Result<&str> {
        self.onion_address
            .as_deref()
            .context("the server has not told its address yet")
    }

    /// Runs another command of the program to its end, such as `status`, with the same flags.
    pub fn run(&self, command: &str) -> Result<Output> {
        let arguments = &self.server.arguments;
        let mut program = bare(&self.server.program);
        program.args(command.split(' ')).args(arguments);
        process::output("the server", &mut program, COMMAND)
    }

    /// Starts it again after it has ended, on the same data directory; returns when it is reachable.
    pub fn start_again(&mut self, network: &TorNetwork) -> Result<()> {
        self.launch_again()?;
        self.wait_until_reachable(network)
    }

    /// The same, and waits for nothing.
    pub fn launch_again(&mut self) -> Result<()> {
        // SIGKILL leaves it, and it would speak of a server that has gone.
        std::fs::remove_file(self.data_dir().join("regtest/status.json")).ok();
        self.server.start_again()
    }
}

impl Loopback {
    /// Starts it with a new data directory; returns when it answers.
    pub fn start(node: &Node, options: &Options) -> Result<Self> {
        let port = ports::free()?;
        let own = vec!["--listen".to_owned(), format!("127.0.0.1:{port}")];
        let program = options
            .program
            .clone()
            .map_or_else(|| example("loopback"), Ok)?;
        let mut loopback = Self {
            server: Server::launch(program, own, node, options)?,
            port,
        };
        loopback.wait_until_reachable()?;
        Ok(loopback)
    }

    /// Waits until it answers.
    pub fn wait_until_reachable(&mut self) -> Result<()> {
        let deadline = Instant::now() + REACHABLE;
        loop {
            self.server.ensure_it_runs()?;
            match self.connect().and_then(|mut line| ping(&mut line)) {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(error.context(format!(
                        "not reached after {REACHABLE:?}: {}",
                        self.stderr()
                    )));
                }
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }

    /// A client's connection.
    pub fn connect(&self) -> Result<Line> {
        self.open().map(Line::new)
    }

    /// The same, as a stream of bytes.
    pub fn open(&self) -> Result<TcpStream> {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))
            .with_context(|| format!("failed to connect to port {}", self.port))
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts it again after it has ended, on the same data directory; returns when it answers.
    pub fn start_again(&mut self) -> Result<()> {
        self.server.start_again()?;
        self.wait_until_reachable()
    }
}

/// What can be done with either program.
macro_rules! process_of_server {
    ($program:ident) => {
        impl $program {
            /// The process; the tracing one if there is one.
            pub fn process(&mut self) -> &mut Process {
                &mut self.server.process
            }

            /// Another text for its configuration file, which it was started with; it counts from the next start.
            pub fn configure(&self, text: &str) -> Result<()> {
                std::fs::write(self.server.folder.join(CONFIG), text)
                    .context("failed to write a configuration")
            }

            /// SIGTERM, and its exit status; an error if it needs longer than it may.
            pub fn stop(&mut self) -> Result<ExitStatus> {
                self.server.process.stop(STOP)
            }

            /// SIGKILL.
            pub fn kill(&mut self) -> Result<ExitStatus> {
                self.server.process.kill()
            }

            /// Its data directory.
            pub fn data_dir(&self) -> PathBuf {
                self.server.folder.join("data")
            }

            /// All it has written to its standard output.
            pub fn stdout(&self) -> String {
                self.server.said("stdout")
            }

            /// All it has written to its standard error.
            pub fn stderr(&self) -> String {
                self.server.said("stderr")
            }
        }
    };
}

process_of_server!(Claustrum);
process_of_server!(Loopback);

impl Server {
    fn launch(program: PathBuf, own: Vec<String>, node: &Node, options: &Options) -> Result<Self> {
        let folder = Folder::new("server")?;
        let mut arguments = vec![
            "--data-dir".to_owned(),
            folder.join("data").display().to_string(),
            "--network".to_owned(),
            "regtest".to_owned(),
            "--node-dir".to_owned(),
            node.data_dir().display().to_string(),
            "--node-rpc".to_owned(),
            node.rpc_address(),
            "--node-cookie".to_owned(),
            node.cookie().display().to_string(),
        ];
        arguments.extend(own);
        if let Some(text) = &options.config {
            let file = folder.join(CONFIG);
            std::fs::write(&file, text).context("failed to write a configuration")?;
            arguments.extend(["--config".to_owned(), file.display().to_string()]);
        }
        let overridden = |pair: &[String]| options.extra.contains(&pair[0]);
        let mut arguments: Vec<String> = arguments
            .chunks(2)
            .filter(|pair| !overridden(pair))
            .flatten()
            .cloned()
            .collect();
        arguments.extend(options.extra.iter().cloned());
        let mut launcher: Vec<OsString> = options.launcher.iter().map(OsString::from).collect();
        if let Some(trace) = &options.trace {
            launcher.extend(trace.words()?);
        }
        let process = spawn(&launcher, &program, &arguments, &folder)?;
        Ok(Self {
            process,
            program,
            arguments,
            launcher,
            folder,
        })
    }

    fn start_again(&mut self) -> Result<()> {
        anyhow::ensure!(self.process.ended()?.is_some(), "the server still runs");
        self.process = spawn(&self.launcher, &self.program, &self.arguments, &self.folder)?;
        Ok(())
    }

    fn ensure_it_runs(&mut self) -> Result<()> {
        let ended = self.process.ended()?;
        anyhow::ensure!(
            ended.is_none(),
            "the server has ended, {ended:?}: {}",
            self.said("stderr")
        );
        Ok(())
    }

    fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }
}

fn spawn(
    launcher: &[OsString],
    program: &Path,
    arguments: &[String],
    folder: &Folder,
) -> Result<Process> {
    let mut command = match launcher {
        [first, rest @ ..] => {
            let mut command = bare(first);
            command.args(rest).arg(program);
            command
        }
        [] => bare(program),
    };
    let file = |name| {
        File::options()
            .create(true)
            .append(true)
            .open(folder.join(name))
    };
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(file("stdout")?)
        .stderr(file("stderr")?);
    Process::start("the server", &mut command)
}

/// The program under test: that of the release build, unless CLAUSTRUM_EXE names another.
pub fn program() -> Result<PathBuf> {
    let named = std::env::var_os("CLAUSTRUM_EXE").map(PathBuf::from);
    let program = named.unwrap_or_else(|| repository().join("target/release/claustrum"));
    anyhow::ensure!(
        program.is_file(),
        "there is no server to test at {}: run `cargo build --release`, or set CLAUSTRUM_EXE",
        program.display()
    );
    Ok(program)
}

/// A command without the settings that whoever runs the tests may have in the environment.
pub fn bare(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CLAUSTRUM_") {
            command.env_remove(name);
        }
    }
    command
}

fn ping(line: &mut Line) -> Result<()> {
    line.call("server.ping", json!([]))?;
    Ok(())
}

/// The first onion address in a text.
fn onion_address(text: &str) -> Option<String> {
    let (before, _) = text.split_once(".onion")?;
    let name = before.rsplit(|c: char| !c.is_ascii_alphanumeric()).next()?;
    (name.len() == 56).then(|| format!("{name}.onion"))
}

#[cfg(test)]
mod tests {
    use super::onion_address;

    #[test]
    fn an_onion_address_is_found_wherever_it_stands() {
        let address = format!("{}.onion", "a2".repeat(28));
        for text in [
            format!("{address}:50001:t\n"),
            format!("tor: tcp://{address}:50001"),
            address.clone(),
        ] {
            assert_eq!(onion_address(&text), Some(address.clone()));
        }
        assert_eq!(onion_address("short.onion"), None);
        assert_eq!(onion_address("none"), None);
    }
}
