//! One circuit for one connection, closed with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arti_client::isolation::{StreamIsolation, StreamIsolationBuilder};
use arti_client::{DataStream, ErrorKind, HasKind, IsolationToken};
use futures::StreamExt as _;
use tokio::runtime::Handle;
use tokio::time::sleep;
use tor_circmgr::{CircMgr, ClientDataTunnel, ClientOnionServiceDataTunnel, TargetPort};
use tor_hsclient::{HsClientConnector, HsClientSecretKeys};
use tor_hscrypto::pk::HsId;
use tor_netdir::{NetDir, Timeliness};
use tor_proto::client::stream::StreamParameters;
use tor_rtcompat::PreferredRuntime;

use super::{DialError, Outgoing, Target};

/// Many times what Arti needs to write down the end of a stream.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// A circuit that only one connection may use; closed [`LAST_WORDS`] after it is dropped.
///
/// Arti's own way to connect hands out a stream and keeps the circuit: for minutes to an exit, to
/// an onion service for ten minutes, and the descriptor for two days. So what its
/// `TorClient::connect_with_prefs` does is done here, with the circuit in hand.
pub(super) enum Circuit {
    Exit {
        tunnel: Arc<ClientDataTunnel>,
        manager: Arc<CircMgr<PreferredRuntime>>,
        address: SocketAddr,
    },
    Onion {
        tunnel: Arc<ClientOnionServiceDataTunnel>,
        port: u16,
    },
}

impl Circuit {
    /// Builds a circuit to an exit that allows the address, or to the onion service. Bounded by
    /// Arti's own timeouts and numbers of attempts.
    pub(super) async fn build(outgoing: Outgoing, target: Target) -> Result<Self, DialError> {
        let directory = outgoing.client.dirmgr().map_err(|error| refusal(&error))?;
        let directory = directory
            .netdir(Timeliness::Timely)
            .map_err(|_none| DialError::NotReady)?;
        match target {
            Target::Exit(address) => Self::to_exit(&outgoing, &directory, address).await,
            Target::Onion { id, port } => Self::to_onion(&outgoing, &directory, id, port).await,
        }
    }

    async fn to_exit(
        outgoing: &Outgoing,
        directory: &NetDir,
        address: SocketAddr,
    ) -> Result<Self, DialError> {
        let manager = outgoing.client.circmgr().map_err(|error| refusal(&error))?;
        let port = match address {
            SocketAddr::V4(_) => TargetPort::ipv4(address.port()),
            SocketAddr::V6(_) => TargetPort::ipv6(address.port()),
        };
        let tunnel = manager
            .get_or_launch_exit(directory.into(), &[port], shared_with_nobody()?)
            .await
            .map_err(|error| refusal(&error))?;
        Ok(Self::Exit {
            tunnel: tunnel.into(),
            manager,
            address,
        })
    }

    /// By a connector of its own, since that is what remembers descriptors and circuits.
    async fn to_onion(
        outgoing: &Outgoing,
        directory: &Arc<NetDir>,
        id: HsId,
        port: u16,
    ) -> Result<Self, DialError> {
        let connector = HsClientConnector::new(
            outgoing.client.runtime().clone(),
            outgoing
                .client
                .hs_circ_pool()
                .map_err(|error| refusal(&error))?,
            outgoing.config.as_ref(),
            futures::stream::empty().boxed(),
        )
        .map_err(|_shutting_down| DialError::NotReady)?;
        let no_keys = HsClientSecretKeys::default();
        let tunnel = connector
            .get_or_launch_tunnel(directory, id, no_keys, shared_with_nobody()?)
            .await
            .map_err(|error| refusal(&error))?;
        Ok(Self::Onion { tunnel, port })
    }

    /// Opens the one stream, and waits until the other end has accepted it.
    pub(super) async fn begin(&self) -> Result<DataStream, DialError> {
        let mut parameters = StreamParameters::new();
        parameters.optimistic(false);
        let begun = match self {
            Self::Exit {
                tunnel, address, ..
            } => {
                let host = address.ip().to_string();
                tunnel
                    .begin_stream(&host, address.port(), Some(parameters))
                    .await
            }
            Self::Onion { tunnel, port } => {
                parameters.suppress_hostname().suppress_begin_flags();
                tunnel.begin_stream("", *port, Some(parameters)).await
            }
        };
        begun.map_err(|_refused| DialError::Unreachable)
    }
}

impl Drop for Circuit {
    fn drop(&mut self) {
        match self {
            Self::Exit {
                tunnel, manager, ..
            } => {
                // Or the manager keeps it among those that may serve again.
                manager.retire_circ(&tunnel.unique_id());
                let tunnel = Arc::clone(tunnel);
                after_last_words(move || tunnel.terminate());
            }
            Self::Onion { tunnel, .. } => {
                let tunnel = Arc::clone(tunnel);
                after_last_words(move || tunnel.terminate());
            }
        }
    }
}

/// Ends a circuit when the end of its stream has had the time to leave: relays may keep the end of a circuit to
/// themselves for long, and the other end would wait.
fn after_last_words(terminate: impl FnOnce() + Send + 'static) {
    match Handle::try_current() {
        Ok(runtime) => {
            runtime.spawn(async {
                sleep(LAST_WORDS).await;
                terminate();
            });
        }
        Err(_no_runtime) => terminate(),
    }
}

/// An isolation that is compatible with no other, past or future.
fn shared_with_nobody() -> Result<StreamIsolation, DialError> {
    StreamIsolationBuilder::new()
        .owner_token(IsolationToken::new())
        .build()
        .map_err(|_incomplete| DialError::NotReady)
}

/// Whose fault it is: ours, for which nothing was tried, or that of the way or its end.
fn refusal(error: &impl HasKind) -> DialError {
    let ours = matches!(
        error.kind(),
        ErrorKind::BootstrapRequired
            | ErrorKind::DirectoryExpired
            | ErrorKind::TorAccessFailed
            | ErrorKind::LocalNetworkError
            | ErrorKind::ArtiShuttingDown
            | ErrorKind::ReactorShuttingDown
    );
    if ours {
        DialError::NotReady
    } else {
        DialError::Unreachable
    }
}
