//! What can go wrong before an onion service runs. Afterwards nothing fails: faults show in
//! [`BootstrapStatus`](crate::BootstrapStatus), [`Reachability`](crate::Reachability) and
//! [`Counters`](crate::Counters).

use std::error::Error;

/// A cause inside Arti, kept for its text only: its types stay out of our interface.
type ArtiError = Box<dyn Error + Send + Sync>;

/// The Tor client cannot be configured.
///
/// Values of the operator's fragment never appear in the text: they may be bridge lines.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The fragment is not TOML, or a value in it has the wrong type.
    #[error(
        "read line {line} of the Tor configuration: it is not what Arti's client configuration \
         allows there"
    )]
    Fragment {
        /// Where, counted from 1.
        line: usize,
    },
    /// The fragment has keys that Arti does not know.
    #[error(
        "read the Tor configuration: Arti has no setting {}; correct or remove it",
        keys.join(", ")
    )]
    UnknownKeys {
        /// Their full paths.
        keys: Vec<String>,
    },
    /// The fragment has sections that Claustrum sets by itself.
    #[error("read the Tor configuration: Claustrum sets {} itself; remove it", keys.join(", "))]
    ReservedKeys {
        /// Their full paths.
        keys: Vec<String>,
    },
    /// The settings contradict each other.
    #[error("build the Tor configuration")]
    Build(#[source] ArtiError),
}

/// The Tor client does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// See [`SettingsError`].
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Another part of the process switched safe logging off.
    #[error(
        "keep addresses out of the log, because something in this process disabled safe logging"
    )]
    SafeLogging,
    /// There is no async runtime around the call.
    #[error("find the async runtime")]
    Runtime(#[source] std::io::Error),
    /// The state on disk cannot be used, or another process uses it.
    #[error(
        "create the Tor client; check the owner and permissions of its directories, and that no \
         other Claustrum uses them"
    )]
    Create(#[source] ArtiError),
    /// A fault on this machine, which waiting does not mend, keeps the client off the network.
    #[error("connect to the Tor network, because of a fault on this machine")]
    Bootstrap(#[source] ArtiError),
}

/// An onion service is not launched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The nickname is not one: letters, digits, `-`, `_`.
    #[error("launch an onion service, because {nickname:?} cannot be its nickname")]
    Nickname {
        /// As given.
        nickname: String,
    },
    /// The key stored under this nickname belongs to another onion address than the identity.
    ///
    /// Nothing was launched and nothing was changed on disk.
    #[error(
        "launch the onion service {nickname:?}, because the key stored for it belongs to another \
         onion address; restore the identity it was made with, or move its keystore folder away"
    )]
    AddressChanged {
        /// Whose stored key it is.
        nickname: String,
    },
    /// Arti refused, most often because of its keystore or state directory.
    #[error(
        "launch the onion service {nickname:?}; check the owner and permissions of the Tor \
         state directory, and that no other Claustrum uses it"
    )]
    Refused {
        /// Which service.
        nickname: String,
        /// Why.
        #[source]
        cause: ArtiError,
    },
}
