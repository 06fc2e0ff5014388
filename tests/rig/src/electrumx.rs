//! ElectrumX, the server that the protocol text was written beside, as something to compare with: its limits are off,
//! it looks for blocks and transactions all the time, it keeps its index in memory, and unless told otherwise it answers
//! at once.

use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::guard::Folder;
use crate::node::Node;
use crate::ports;
use crate::process::Process;
use crate::programs::Program;
use crate::socks::Line;

/// It listens once it has read the chain.
const START: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(100);

/// A running ElectrumX; ends with its value.
#[derive(Debug)]
pub struct ElectrumX {
    process: Process,
    port: u16,
    folder: Folder,
}

impl ElectrumX {
    /// Starts it over a node with `txindex`; returns when it has read the chain.
    pub fn start(node: &Node) -> Result<Self> {
        Self::start_with(node, "0")
    }

    /// The same, with answers that wait up to a second for others to share a packet with, as it is shipped.
    pub fn start_waiting(node: &Node) -> Result<Self> {
        Self::start_with(node, "1")
    }

    fn start_with(node: &Node, waits: &str) -> Result<Self> {
        let folder = Folder::new("electrumx")?;
        let port = ports::free()?;
        let output = File::create(folder.join("output"))
            .context("failed to make a file for ElectrumX's output")?;
        let cookie =
            std::fs::read_to_string(node.cookie()).context("failed to read the node's password")?;
        let daemon = format!("http://{cookie}@{}/", node.rpc_address());
        let process = Process::start(
            "ElectrumX",
            Command::new(Program::ElectrumX.path()?)
                .env("COIN", "Bitcoin")
                .env("NET", "regtest")
                .env("DAEMON_URL", daemon)
                .env("DB_DIRECTORY", folder.path())
                .env("DB_ENGINE", "memory")
                .env("SERVICES", format!("tcp://127.0.0.1:{port}"))
                .env("PEER_DISCOVERY", "off")
                .env("PEER_ANNOUNCE", "")
                .env("ALLOW_ROOT", "1")
                .env("COST_SOFT_LIMIT", "0")
                .env("COST_HARD_LIMIT", "0")
                .env("INITIAL_CONCURRENT", "1000")
                .env("DAEMON_POLL_INTERVAL_BLOCKS", "50")
                .env("DAEMON_POLL_INTERVAL_MEMPOOL", "50")
                // The order of sets is then the same in every run.
                .env("PYTHONHASHSEED", "0")
                // Of start.py.
                .env("WAITS", waits)
                .stdin(Stdio::null())
                .stdout(output.try_clone()?)
                .stderr(output),
        )?;
        let mut electrumx = Self {
            process,
            port,
            folder,
        };
        electrumx.wait_until_it_listens()?;
        Ok(electrumx)
    }

    /// A client's connection.
    pub fn connect(&self) -> Result<Line> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        stream
            .map(Line::new)
            .with_context(|| format!("failed to connect to ElectrumX: {}", self.output()))
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// All it has written.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.folder.join("output")).unwrap_or_default()
    }

    fn wait_until_it_listens(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        while let Err(error) = self.connect() {
            let ended = self.process.ended()?;
            anyhow::ensure!(
                ended.is_none(),
                "ElectrumX has ended, {ended:?}: {}",
                self.output()
            );
            if Instant::now() > deadline {
                return Err(error.context(format!("ElectrumX does not listen after {START:?}")));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}
