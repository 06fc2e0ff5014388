//! A private Tor network of C Tor processes on loopback: one authority that is a relay too, seven relays of which
//! three are exits, a client with a SOCKS port, and onion services on demand.

mod circuits;
mod control;
mod identity;
mod launch;
mod torrc;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::guard::Folder;
use crate::ports;
use crate::process::Process;
use crate::socks;
pub use circuits::{CircuitWatch, Circuits};
use control::OwnCircuit;
use launch::{Authority, Plan, RELAYS, Running, log, spawn};

/// The port of an onion service, as of the server under test.
pub const ONION_PORT: u16 = 50001;
/// Seconds between the first votes, by attempt. Relays have four seconds less to publish themselves before the first
/// vote, which a busy machine may need.
const VOTING_SECONDS: [u64; 3] = [5, 10, 20];
const PUBLISHED: Duration = Duration::from_secs(60);
/// Enough for a busy machine; an idle one needs a second.
const BOOTSTRAPPED: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// A running network; ends with its value.
#[derive(Debug)]
pub struct TorNetwork {
    /// The authority first, then the relays.
    relays: Mutex<Vec<Process>>,
    client: Mutex<Process>,
    services: Mutex<Vec<Service>>,
    socks_port: u16,
    authority: Authority,
    folder: Folder,
}

/// A process with its onion services.
#[derive(Debug)]
struct Service {
    process: Process,
    folder: PathBuf,
    addresses: Vec<String>,
}

/// A C Tor client beside the network's own, without any circuit as yet; ends with its value.
#[derive(Debug)]
pub struct TorClient {
    socks_port: u16,
    _process: Process,
    folder: Folder,
}

impl TorClient {
    /// Its SOCKS port; each user name has circuits of its own.
    pub fn socks_port(&self) -> u16 {
        self.socks_port
    }

    /// Closes its circuits, one after the other: of several ends that come at once a relay passes on the first, and
    /// keeps the others until something else goes the same way.
    pub fn close_circuits(&self) -> Result<()> {
        for circuit in OwnCircuit::all(self.folder.path())? {
            circuit.close(self.folder.path())?;
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

impl TorNetwork {
    /// The one network of this process, started when it is first asked for.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<TorNetwork, String>> = OnceLock::new();
        SHARED
            .get_or_init(|| Self::start().map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// Starts a network; returns when its consensus lists every relay and the client has bootstrapped.
    pub fn start() -> Result<Self> {
        for voting_seconds in VOTING_SECONDS {
            let plan = Plan::make(voting_seconds)?;
            let Some(Running { relays, client }) = plan.launch()? else {
                continue;
            };
            return Ok(Self {
                relays: Mutex::new(relays),
                client: Mutex::new(client),
                services: Mutex::default(),
                socks_port: plan.socks_port,
                authority: plan.authority,
                folder: plan.folder,
            });
        }
        anyhow::bail!(
            "no Tor network: on this machine relays need longer than {VOTING_SECONDS:?} s to publish themselves"
        )
    }

    /// The SOCKS port of the C Tor client; each user name has circuits of its own.
    pub fn socks_port(&self) -> u16 {
        self.socks_port
    }

    /// A file with the part of Arti's configuration that makes it use this network.
    pub fn arti_config(&self) -> PathBuf {
        self.folder.join("arti.toml")
    }

    /// What the C Tor client has logged so far.
    pub fn client_log(&self) -> String {
        log(&self.folder.join("client"))
    }

    /// Circuits that the C Tor client has to onion services for one SOCKS user.
    pub fn rendezvous(&self, user: &str) -> Result<usize> {
        let of_user = |circuit: &&OwnCircuit| {
            circuit.is_built()
                && circuit.has("PURPOSE", "HS_CLIENT_REND")
                && circuit.has("SOCKS_USERNAME", &format!("\"{user}\""))
        };
        let all = OwnCircuit::all(&self.folder.join("client"))?;
        Ok(all.iter().filter(of_user).count())
    }

    /// The ports that the authority and the relays listen on: all that a Tor client on this network connects to.
    pub fn relay_ports(&self) -> Result<Vec<u16>> {
        let mut found = vec![self.authority.or_port, self.authority.directory_port];
        for number in 1..=RELAYS {
            let text = fs::read_to_string(self.folder.join(&format!("relay{number}/torrc")))?;
            let port = text
                .lines()
                .find_map(|line| line.strip_prefix("ORPort 127.0.0.1:"));
            found.push(port.context("a relay without a port")?.parse()?);
        }
        Ok(found)
    }

    /// Puts a C Tor onion service, a process of its own, in front of `127.0.0.1:port`; its address, once it answers.
    ///
    /// Something must listen there already: being reachable is tried by connecting.
    pub fn add_onion_service(&self, port: u16) -> Result<String> {
        let mut addresses = self.add_onion_services(&[port])?;
        addresses
            .pop()
            .context("an onion service without an address")
    }

    /// Puts one C Tor onion service in front of each port, all of one process; their addresses in the same order, once
    /// all of them answer.
    ///
    /// Something must listen on each port already: being reachable is tried by connecting.
    pub fn add_onion_services(&self, ports: &[u16]) -> Result<Vec<String>> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("service{}", services.len());
        let folder = self.folder.join(&name);
        launch::make_folder(&folder)?;
        fs::write(
            folder.join("torrc"),
            torrc::onion_services(&folder, ports, &self.authority),
        )?;
        let mut process = spawn(&name, &folder)?;
        let hostname = |port: &u16| wait_for_hostname(&folder, *port, &mut process);
        let addresses = ports.iter().map(hostname).collect::<Result<Vec<_>>>()?;
        services.push(Service {
            process,
            folder,
            addresses: addresses.clone(),
        });
        drop(services);
        self.connect_to_all(&addresses)?;
        Ok(addresses)
    }

    /// One until it is there, then the others at the same time: were all tried from the beginning, the network would be
    /// busy with attempts that come too early.
    fn connect_to_all(&self, addresses: &[String]) -> Result<()> {
        let connect = |address: &String| {
            socks::connect_within(PUBLISHED, self.socks_port, address, address, ONION_PORT)
                .map(drop)
                .with_context(|| format!("an onion service that is not reached: {address}"))
        };
        addresses.first().map_or(Ok(()), connect)?;
        std::thread::scope(|scope| {
            let others = addresses.iter().skip(1);
            let trying: Vec<_> = others
                .map(|address| scope.spawn(|| connect(address)))
                .collect();
            trying
                .into_iter()
                .try_for_each(|one| one.join().expect("a thread that connects"))
        })
    }

    /// Where the `tor` of an onion service lives.
    fn folder_of(&self, onion_address: &str) -> Result<PathBuf> {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services
            .iter()
            .find(|service| service.addresses.iter().any(|one| one == onion_address))
            .map(|service| service.folder.clone())
            .with_context(|| format!("{onion_address} is not of this network"))
    }

    /// Starts another client; returns when it has bootstrapped.
    pub fn add_client(&self) -> Result<TorClient> {
        let folder = Folder::new("client")?;
        let socks_port = ports::free()?;
        fs::write(
            folder.join("torrc"),
            torrc::client(folder.path(), socks_port, &self.authority),
        )?;
        let process = spawn("another client", folder.path())?;
        let deadline = Instant::now() + BOOTSTRAPPED;
        while !log(folder.path()).contains("Bootstrapped 100%") {
            anyhow::ensure!(
                Instant::now() < deadline,
                "a client that does not bootstrap: {}",
                log(folder.path())
            );
            std::thread::sleep(POLL);
        }
        Ok(TorClient {
            socks_port,
            _process: process,
            folder,
        })
    }

    /// Does something to the process of onion services, by the order in which they were added.
    pub fn onion_service<T>(
        &self,
        number: usize,
        act: impl FnOnce(&mut Process) -> T,
    ) -> Result<T> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let service = services
            .get_mut(number)
            .with_context(|| format!("there is no onion service {number}"))?;
        Ok(act(&mut service.process))
    }

    /// Does something to a relay's process: pause, resume, kill it. Number 0 is the authority, 1 to 3 are exits.
    pub fn relay<T>(&self, number: usize, act: impl FnOnce(&mut Process) -> T) -> Result<T> {
        let mut relays = self.relays.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(act(relays
            .get_mut(number)
            .with_context(|| format!("there is no relay {number}"))?))
    }

    /// How many relays the network has, the authority among them.
    pub fn relay_count(&self) -> usize {
        RELAYS + 1
    }
}

impl Drop for TorNetwork {
    /// All at once: one after the other would take ten times as long.
    fn drop(&mut self) {
        let relays = self.relays.get_mut();
        let services = self.services.get_mut();
        let client = self.client.get_mut();
        relays
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .for_each(Process::terminate);
        services
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .for_each(|service| service.process.terminate());
        client.unwrap_or_else(PoisonError::into_inner).terminate();
    }
}

/// The address of the onion service in front of a port, once its `tor` has made one.
fn wait_for_hostname(folder: &Path, port: u16, process: &mut Process) -> Result<String> {
    let path = torrc::onion_service(folder, port).join("hostname");
    let deadline = Instant::now() + PUBLISHED;
    loop {
        match fs::read_to_string(&path) {
            Ok(text) => return Ok(text.trim().to_owned()),
            Err(_) if process.ended()?.is_none() && Instant::now() < deadline => {
                std::thread::sleep(POLL);
            }
            Err(error) => {
                return Err(error).with_context(|| format!("no onion service: {}", log(folder)));
            }
        }
    }
}

/// A server that sends back what it gets, for tests of the network itself; ends with this process. Its port.
pub fn start_echo() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    Ok(port)
}
