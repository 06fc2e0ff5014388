//! Tor: the door with its onion address, the streams that come through it, and the way out to peers.

use std::sync::Arc;

use claustrum_onion::{
    Blockage, BootstrapStatus, Destination, Identity, LaunchError, OnionService, OnionStream,
    Outgoing, OutgoingStream, Reachability, ServiceSettings, Settings, StartError, Tor,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::broadcast::{DialFailed, Dialer, PeerAddress};
use crate::error::ErrorKind;
use crate::installation::{self, Installation};
use crate::limits;

/// The virtual port of every door, the Electrum protocol's for plain streams; Tor encrypts them.
pub const PORT: u16 = 50001;

/// Name of the first door, in Tor's keystore too.
const NICKNAME: &str = "main";

/// The onion address that this installation has or will have, in full.
pub fn address(installation: &Installation) -> Result<String, installation::Error> {
    Ok(Identity::from_seed(&*installation.door_seed()?)
        .address()
        .to_text())
}

/// Whether a log event says that Tor lost an introduction; for [`crate::telemetry`].
pub fn is_lost_introduction(target: &str, message: &str) -> bool {
    claustrum_onion::is_lost_introduction(target, message)
}

/// Tor without a door. It writes its last state when the runtime ends after this is dropped.
#[must_use = "open streams end when this is dropped"]
pub struct OpenTor {
    tor: Arc<Tor>,
}

impl OpenTor {
    /// Prepares Tor; it connects once its door is opened.
    pub async fn create(
        installation: &Installation,
        fragment: Option<String>,
    ) -> Result<Self, Error> {
        let settings = Settings {
            state_dir: installation.tor_state_dir(),
            cache_dir: installation.tor_cache_dir(),
            network_fragment: fragment,
            memory_max: limits::TOR_MEMORY_MAX,
            memory_low_water: limits::TOR_MEMORY_LOW_WATER,
        };
        let tor = Tor::create(&settings).await.map_err(Error::Start)?;
        Ok(Self { tor: Arc::new(tor) })
    }

    /// The way out to peers.
    pub fn way_out(&self) -> WayOut {
        WayOut(self.tor.outgoing())
    }
}

/// The way out to peers: the only one there is. It keeps Tor from ending.
pub struct WayOut(Outgoing);

impl Dialer for WayOut {
    type Stream = OutgoingStream;

    async fn dial(&self, address: &PeerAddress) -> Result<OutgoingStream, DialFailed> {
        let destination = match address {
            PeerAddress::Onion { host, port } => Destination::Onion {
                host: host.clone(),
                port: *port,
            },
            PeerAddress::Exit(address) => Destination::Exit(*address),
        };
        let dialled = self.0.dial(&destination).await;
        dialled.map_err(|_phase| DialFailed)
    }

    fn is_ready(&self) -> bool {
        self.0.is_ready()
    }
}

/// Tor, and the onion service on it.
pub struct Door {
    tor: Arc<Tor>,
    bootstrap: Option<JoinHandle<Result<(), StartError>>>,
    service: OnionService,
    directory: watch::Receiver<BootstrapStatus>,
    reachability: watch::Receiver<Reachability>,
}

/// How the door is, in numbers and fixed texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoorState {
    /// Tor's directory, 0 to 100.
    pub percent: u8,
    /// What keeps Tor from the network, if it can tell.
    pub blocked: Option<&'static str>,
    /// Whether clients can come in.
    pub reachable: bool,
    /// The same in words.
    pub text: &'static str,
    /// Introductions that our own queue dropped since the start.
    pub introductions_dropped: u64,
}

impl Door {
    /// Launches the onion service; it is published as soon as Tor's directory is there.
    ///
    /// Must be called within the async runtime.
    pub fn open(tor: OpenTor, installation: &Installation) -> Result<Self, Error> {
        let OpenTor { tor } = tor;
        let identity = Identity::from_seed(&*installation.door_seed().map_err(Error::Seed)?);
        let service = ServiceSettings {
            nickname: NICKNAME.to_owned(),
            virtual_port: PORT,
            circuits_max: limits::CIRCUITS_MAX,
        };
        let service = tor.launch(&service, &identity).map_err(Error::Launch)?;
        let bootstrapping = Arc::clone(&tor);
        Ok(Self {
            bootstrap: Some(tokio::spawn(async move { bootstrapping.bootstrap().await })),
            directory: tor.bootstrap_status(),
            reachability: service.status(),
            tor,
            service,
        })
    }

    /// The next stream that a client opened. May be dropped and called again without losing one.
    pub async fn next_stream(&mut self) -> Result<OnionStream, Error> {
        if let Some(bootstrap) = &mut self.bootstrap {
            tokio::select! {
                biased;
                ended = bootstrap => {
                    self.bootstrap = None;
                    ended.map_err(|_panicked| Error::Closed)?.map_err(Error::Start)?;
                }
                stream = self.service.next_stream() => return stream.map(|next| next.stream).ok_or(Error::Closed),
            }
        }
        self.service
            .next_stream()
            .await
            .map(|next| next.stream)
            .ok_or(Error::Closed)
    }

    /// How it is now.
    pub fn state(&self) -> DoorState {
        let directory = *self.directory.borrow();
        let reachability = *self.reachability.borrow();
        DoorState {
            percent: directory.percent,
            blocked: directory.blocked.map(blockage_text),
            reachable: matches!(
                reachability,
                Reachability::Reachable | Reachability::Degraded
            ),
            text: reachability_text(reachability),
            introductions_dropped: self.service.counters().rendezvous_dropped,
        }
    }

    /// Takes the onion service back and lets nobody in any more; open streams go on until [`OpenTor`] is dropped.
    pub fn shut(self) -> OpenTor {
        if let Some(bootstrap) = &self.bootstrap {
            bootstrap.abort();
        }
        OpenTor { tor: self.tor }
    }
}

fn blockage_text(blockage: Blockage) -> &'static str {
    match blockage {
        Blockage::Offline => "this machine seems to be offline",
        Blockage::Filtered => {
            "something between this machine and Tor filters it; bridges may help (--tor-config)"
        }
        Blockage::ClockSkewed => "this machine's clock seems to be wrong; set it",
        Blockage::NoDirectory => "Tor's directory cannot be fetched",
        Blockage::Unreachable => {
            "Tor cannot be reached; if it is blocked here, use bridges (--tor-config)"
        }
    }
}

fn reachability_text(reachability: Reachability) -> &'static str {
    match reachability {
        Reachability::Bootstrapping => "being published",
        Reachability::Reachable => "reachable",
        Reachability::Degraded => "reachable, with fewer introduction points than it should have",
        Reachability::Unreachable => "not reachable now; Tor keeps trying",
        Reachability::Broken => "broken; restart the server, and report it if it stays so",
        Reachability::Shutdown => "not open",
    }
}

/// Why there is no door.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Tor does not start.
    #[error("start Tor")]
    Start(#[source] StartError),
    /// The key cannot be read.
    #[error("read the key of the onion address")]
    Seed(#[source] installation::Error),
    /// The onion service does not start.
    #[error("open the door")]
    Launch(#[source] LaunchError),
    /// The onion service ended by itself.
    #[error("keep the door open: the onion service ended by itself; start the server again")]
    Closed,
}

impl Error {
    /// Who has to act.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Start(StartError::Settings(_)) => ErrorKind::Operator,
            Self::Start(_) => ErrorKind::Environment,
            Self::Seed(error) => error.kind(),
            Self::Launch(LaunchError::AddressChanged { .. }) => ErrorKind::Corruption,
            Self::Launch(_) => ErrorKind::Environment,
            Self::Closed => ErrorKind::Bug,
        }
    }
}
