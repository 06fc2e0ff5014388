//! The Electrum protocol as a state machine without input or output: lines in, lines and work out.
//!
//! A [`Conversation`] hears one line at a time. What needs no chain is answered at once; the rest becomes an
//! [`Exchange`], which is answered later, from one view, wherever its caller likes. Only this module knows
//! method names and the shapes of their results; the texts it sends are the closed set of [`WireError`] and the
//! banner.

mod conversation;
mod described;
mod error;
mod exchange;
mod frame;
mod message;
mod method;
mod package;
mod padding;
mod params;
mod reply;
mod shapes;
mod subscriptions;
mod version;

use bitcoin::BlockHash;

use crate::chain::Network;

pub use conversation::{Conversation, Heard, Next};
pub use error::WireError;
pub use exchange::{Exchange, Finished, Lane, Source};
pub use frame::{LineBuffer, LineTooLong};
pub use padding::{filled, filled_max, pad, pad_from};
pub use subscriptions::{Findings, Refresh};
pub use version::{ProtocolVersion, UnknownVersion};

/// How a server presents itself; the same to every client.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Answer to `server.version` and `server.features`. Wallets decide by it whether they send batches.
    pub name: String,
    /// Hash of the genesis block, by which wallets know the network.
    pub genesis: BlockHash,
    /// The highest protocol version to agree on.
    pub protocol_max: ProtocolVersion,
}

impl Identity {
    /// What a server says of itself when nothing else is configured.
    pub fn of(network: Network) -> Self {
        Self {
            name: concat!("ElectrumX-compatible Claustrum/", env!("CARGO_PKG_VERSION")).to_owned(),
            genesis: network.genesis_hash(),
            protocol_max: ProtocolVersion::V1_6,
        }
    }
}
