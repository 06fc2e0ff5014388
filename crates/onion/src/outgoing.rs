//! The way out: connections to others, each over circuits of its own.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arti_client::config::BoolOrAuto;
use arti_client::{DataStream, StreamPrefs, TorClient, TorClientConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tor_hscrypto::pk::HsId;
use tor_rtcompat::PreferredRuntime;

use crate::stream::passes_bytes_on;

use circuit::Circuit;

mod circuit;

/// Descriptor, introduction and rendezvous take three circuits one after the other.
const ONION_DIAL_MAX: Duration = Duration::from_secs(60);

/// One circuit, and the exit's own connection.
const EXIT_DIAL_MAX: Duration = Duration::from_secs(30);

/// Where to connect to. A name is never resolved: there is no way to say one.
#[derive(Clone, PartialEq, Eq)]
pub enum Destination {
    /// An onion service.
    Onion {
        /// 56 characters and `.onion` (version 3).
        host: String,
        /// Its virtual port.
        port: u16,
    },
    /// An address on the internet, reached through an exit relay.
    Exit(SocketAddr),
}

/// Why there is no connection. Says nothing about where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The client cannot build circuits at present; the destination was not tried.
    #[error("Tor is not ready to build circuits")]
    NotReady,
    /// The name is not that of an onion service, version 3.
    #[error("this is not the name of an onion service")]
    NotAnOnion,
    /// The address is no public one, and the operator's Tor configuration allows only those.
    #[error("this address is not on the internet")]
    NotPublic,
    /// No circuit leads there, or the other end refuses.
    #[error("the destination cannot be reached")]
    Unreachable,
    /// Nothing came of it within the time that a dial may take.
    #[error("the destination did not answer in time")]
    TimedOut,
}

/// Dials over circuits that nothing else in this process uses; cheap to clone.
#[derive(Clone)]
pub struct Outgoing {
    client: Arc<TorClient<PreferredRuntime>>,
    config: Arc<TorClientConfig>,
}

/// The bytes between us and a destination.
///
/// Writes are buffered until a cell is full: flush after every message. There is no half-close;
/// shutting down ends both directions. Dropping it tells the other end, loses what has not left
/// yet, and closes its circuit 0.1 s later.
pub struct OutgoingStream {
    // Before the circuit, so that the other end is told that the stream ends.
    inner: DataStream,
    _circuit: Circuit,
}

impl Outgoing {
    pub(crate) fn new(client: Arc<TorClient<PreferredRuntime>>, config: TorClientConfig) -> Self {
        Self {
            client,
            config: Arc::new(config),
        }
    }

    /// Circuits can be built.
    pub fn is_ready(&self) -> bool {
        self.client.bootstrap_status().ready_for_traffic()
    }

    /// Connects over circuits that nothing else has used or will use, and waits for the other end
    /// to have accepted. Takes at most 60 s to an onion service, 30 s through an exit.
    ///
    /// Must be called within the async runtime. When the returned future is dropped, the circuit
    /// that it was about to use is closed as soon as Arti has built it or given up.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn dial(&self, destination: &Destination) -> Result<OutgoingStream, DialError> {
        let (target, limit) = match destination {
            Destination::Onion { host, port } => {
                let id = host.parse().map_err(|_invalid| DialError::NotAnOnion)?;
                (Target::Onion { id, port: *port }, ONION_DIAL_MAX)
            }
            Destination::Exit(address) => {
                self.filter(*address).await?;
                (Target::Exit(*address), EXIT_DIAL_MAX)
            }
        };
        // A task of its own, as Arti goes on with what is not waited for any more and keeps it.
        let building = tokio::spawn(Circuit::build(self.clone(), target));
        let connecting = async {
            let circuit = building.await.map_err(|_ended| DialError::NotReady)??;
            let inner = circuit.begin().await?;
            Ok(OutgoingStream {
                inner,
                _circuit: circuit,
            })
        };
        let connected = timeout(limit, connecting).await;
        connected.map_err(|_elapsed| DialError::TimedOut)?
    }

    /// Has Arti apply the operator's `[address_filter]`. A literal address is resolved without
    /// touching the network, and nothing else can be asked for here.
    async fn filter(&self, address: SocketAddr) -> Result<(), DialError> {
        let mut prefs = StreamPrefs::new();
        prefs.resolve_local_addrs(BoolOrAuto::Explicit(true));
        let literal = address.ip().to_string();
        match self.client.resolve_with_prefs(&literal, &prefs).await {
            Ok(_same) => Ok(()),
            Err(_refused) => Err(DialError::NotPublic),
        }
    }
}

/// A destination that was found fit to be dialled.
#[derive(Clone, Copy)]
enum Target {
    Onion { id: HsId, port: u16 },
    Exit(SocketAddr),
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Destination([scrubbed])")
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outgoing")
    }
}

impl fmt::Debug for OutgoingStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OutgoingStream")
    }
}

passes_bytes_on!(OutgoingStream);

#[cfg(test)]
mod tests;
