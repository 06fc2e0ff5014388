//! The one place of Claustrum that names Arti.
//!
//! Nothing in the public interface is generic and nothing shows an Arti type, so that what Arti
//! costs to compile is paid here once, and the rest of the program sees an onion service as byte
//! streams grouped by circuit.
//!
//! In order of use: [`Settings`] make a [`Tor`] client, which [launches](Tor::launch) an
//! [`OnionService`] under an [`Identity`], which yields [`AcceptedStream`]s. The other direction is
//! [`Outgoing`], which dials a [`Destination`].

mod accept;
mod circuit;
mod counters;
mod error;
mod identity;
mod outgoing;
mod service;
mod settings;
mod stream;
mod tor;
mod warning;

pub use counters::Counters;
pub use error::{LaunchError, SettingsError, StartError};
pub use identity::{Identity, OnionAddress};
pub use outgoing::{Destination, DialError, Outgoing, OutgoingStream};
pub use service::{OnionService, Reachability};
pub use settings::{ServiceSettings, Settings};
pub use stream::{AcceptedStream, CircuitNumber, OnionStream};
pub use tor::{Blockage, BootstrapStatus, Tor};
pub use warning::is_lost_introduction;
