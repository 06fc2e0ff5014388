//! The Tor client: the way into the network for everything else here.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arti_client::status::{BlockageKind, BootstrapStatus as ArtiStatus};
use arti_client::{ErrorKind, HasKind as _, TorClient, TorClientConfig};
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tor_hsservice::HsNickname;
use tor_rtcompat::PreferredRuntime;

use crate::error::{LaunchError, StartError};
use crate::identity::Identity;
use crate::outgoing::Outgoing;
use crate::service::OnionService;
use crate::settings::{self, ServiceSettings, Settings};

/// Pauses between attempts to bootstrap; Arti itself has paused and retried within each.
const BOOTSTRAP_PAUSE_MIN: Duration = Duration::from_secs(1);
const BOOTSTRAP_PAUSE_MAX: Duration = Duration::from_secs(60);

/// How near the client is to being usable. It can fall again, for instance without a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootstrapStatus {
    /// 0 to 100.
    pub percent: u8,
    /// Circuits can be built.
    pub ready: bool,
    /// What seems to keep the client from going on.
    pub blocked: Option<Blockage>,
}

/// What seems to keep a client off the network: Arti's guess, without Arti's words, which may name
/// relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blockage {
    /// Nothing can be reached.
    Offline,
    /// Connections are made, then interfered with; bridges may help.
    Filtered,
    /// This machine's clock seems wrong.
    ClockSkewed,
    /// The network directory cannot be had.
    NoDirectory,
    /// Relays cannot be reached, for another reason.
    Unreachable,
}

/// A Tor client.
///
/// It goes quiet when it, the onion services launched by it and its ways out are dropped. Parts of Arti 0.47 (its
/// vanguards) live on until the async runtime ends; only then are the last changes of its state
/// written and its lock released. So a process drops this, then ends its runtime within a bound of
/// its own, and does not exit before.
#[must_use = "a Tor client goes quiet when it is dropped"]
pub struct Tor {
    client: Arc<TorClient<PreferredRuntime>>,
    config: TorClientConfig,
    status: watch::Receiver<BootstrapStatus>,
    circuit_numbers: Arc<AtomicU64>,
    _stop: DropGuard,
    _safe_logging: safelog::Guard,
}

impl Tor {
    /// Prepares a client and its directories, and does not touch the network.
    ///
    /// From here on Arti's log shortens addresses, and no other part of the process can change
    /// that while the client lives. TLS is rustls with ring, for the whole process.
    ///
    /// # Errors
    /// See [`StartError`]; all of them need the operator.
    pub async fn create(settings: &Settings) -> Result<Self, StartError> {
        let config = settings.client_config()?;
        let safe_logging =
            safelog::enforce_safe_logging().map_err(|_unsafe_already| StartError::SafeLogging)?;
        // It fails when a provider is installed already, and any will do.
        drop(rustls::crypto::ring::default_provider().install_default());
        let runtime = PreferredRuntime::current().map_err(StartError::Runtime)?;
        let client = TorClient::with_runtime(runtime)
            .config(config.clone())
            .create_unbootstrapped_async()
            .await
            .map_err(|error| StartError::Create(error.into()))?;
        let stop = CancellationToken::new();
        Ok(Self {
            status: watch_status(&client, stop.clone()),
            client,
            config,
            circuit_numbers: Arc::default(),
            _stop: stop.drop_guard(),
            _safe_logging: safe_logging,
        })
    }

    /// Connects to the Tor network; returns when circuits can be built.
    ///
    /// Tries on until it succeeds or is dropped: a server waits for its network. Meanwhile
    /// [`Tor::bootstrap_status`] says what is the matter.
    ///
    /// # Errors
    /// [`StartError::Bootstrap`] for faults of this machine, which waiting does not mend.
    pub async fn bootstrap(&self) -> Result<(), StartError> {
        let mut pause = BOOTSTRAP_PAUSE_MIN;
        loop {
            match self.client.bootstrap().await {
                Ok(()) => {
                    tracing::info!("connected to the Tor network");
                    return Ok(());
                }
                Err(error) if is_local(error.kind()) => {
                    return Err(StartError::Bootstrap(error.into()));
                }
                Err(_network) => tokio::time::sleep(pause).await,
            }
            pause = pause.saturating_mul(2).min(BOOTSTRAP_PAUSE_MAX);
        }
    }

    /// How far it is, now and as it changes.
    pub fn bootstrap_status(&self) -> watch::Receiver<BootstrapStatus> {
        self.status.clone()
    }

    /// The way out to others, over circuits that nothing else here uses.
    ///
    /// It keeps the client from going quiet, as an onion service does. Guards are shared with
    /// everything else the client does: more of them would be more observers.
    pub fn outgoing(&self) -> Outgoing {
        Outgoing::new(Arc::clone(&self.client), self.config.clone())
    }

    /// Launches an onion service; it is published as soon as the network allows, so this may be
    /// called before [`Tor::bootstrap`]. Must be called within the async runtime, and reads and
    /// writes a few small files.
    ///
    /// The first launch stores the identity's key in the state directory, where Arti wants it.
    /// Later ones find it there; when the state directory was lost, it is stored again, and the
    /// address is the same.
    ///
    /// # Errors
    /// [`LaunchError::AddressChanged`] when another key is stored: never silently a new address.
    pub fn launch(
        &self,
        settings: &ServiceSettings,
        identity: &Identity,
    ) -> Result<OnionService, LaunchError> {
        let nickname = || settings.nickname.clone();
        let refused = |error: arti_client::Error| LaunchError::Refused {
            nickname: nickname(),
            cause: error.into(),
        };
        let changed = || LaunchError::AddressChanged {
            nickname: nickname(),
        };
        let parsed = HsNickname::new(nickname()).map_err(|_invalid| LaunchError::Nickname {
            nickname: nickname(),
        })?;
        let config = settings::service_config(parsed).map_err(|error| LaunchError::Refused {
            nickname: nickname(),
            cause: error.into(),
        })?;
        let address = identity.address();

        let unlaunched =
            TorClient::<PreferredRuntime>::create_onion_service(&self.config, config.clone())
                .map_err(refused)?;
        let launched = match unlaunched.onion_address() {
            None => self
                .client
                .launch_onion_service_with_hsid(config, identity.keypair())
                .map_err(refused)?
                .map(|(running, requests)| (running, requests.boxed())),
            Some(stored) if address == stored.into() => self
                .client
                .launch_onion_service(config)
                .map_err(refused)?
                .map(|(running, requests)| (running, requests.boxed())),
            Some(_other) => return Err(changed()),
        };
        // It is `None` only for a service that its configuration disables.
        let (running, requests) = launched.ok_or_else(changed)?;
        if running.onion_address().map(Into::into) != Some(address) {
            return Err(changed());
        }
        let numbers = Arc::clone(&self.circuit_numbers);
        Ok(OnionService::start(
            address, settings, numbers, running, requests,
        ))
    }
}

fn watch_status(
    client: &TorClient<PreferredRuntime>,
    stop: CancellationToken,
) -> watch::Receiver<BootstrapStatus> {
    let (sender, receiver) = watch::channel(bootstrap_status(&client.bootstrap_status()));
    let mut events = client.bootstrap_events();
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        while let Some(event) = events.next().await {
            let now = bootstrap_status(&event);
            sender.send_if_modified(|last| std::mem::replace(last, now) != now);
        }
    }));
    receiver
}

fn bootstrap_status(status: &ArtiStatus) -> BootstrapStatus {
    let reached = status.as_frac() * 100.0;
    BootstrapStatus {
        percent: (0..=100)
            .rev()
            .find(|percent| f32::from(*percent) <= reached)
            .unwrap_or(0),
        ready: status.ready_for_traffic(),
        blocked: status.blocked().map(|blockage| match blockage.kind() {
            BlockageKind::Offline => Blockage::Offline,
            BlockageKind::Filtering => Blockage::Filtered,
            BlockageKind::ClockSkewed => Blockage::ClockSkewed,
            BlockageKind::CantBootstrap => Blockage::NoDirectory,
            BlockageKind::CantReachTor | BlockageKind::Disabled | _ => Blockage::Unreachable,
        }),
    }
}

/// Whether an error comes from this machine rather than from the network, and so will not pass.
fn is_local(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::FsPermissions
            | ErrorKind::PersistentStateAccessFailed
            | ErrorKind::PersistentStateCorrupted
            | ErrorKind::CacheAccessFailed
            | ErrorKind::CacheCorrupted
            | ErrorKind::KeystoreAccessFailed
            | ErrorKind::KeystoreCorrupted
            | ErrorKind::LocalResourceAlreadyInUse
            | ErrorKind::ExternalToolFailed
            | ErrorKind::InvalidConfig
            | ErrorKind::NoHomeDirectory
            | ErrorKind::NotImplemented
            | ErrorKind::FeatureDisabled
            | ErrorKind::SoftwareDeprecated
            | ErrorKind::BadApiUsage
            | ErrorKind::ArtiShuttingDown
            | ErrorKind::ReactorShuttingDown
            | ErrorKind::Internal
    )
}
