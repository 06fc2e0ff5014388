//! What can be wrong with the node, each with what to do about it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::rpc::{Call, RpcError};
use super::transport::Failure;
use crate::chain::Network;
use crate::error::ErrorKind;

/// Why the node gave no usable answer. No text of the node is in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing listens there.
    #[error(
        "connect to the node at {address}: connection refused; start bitcoind, or name its address with --node-rpc"
    )]
    NotRunning {
        /// Where we tried.
        address: SocketAddr,
    },
    /// The connection broke or could not be made.
    #[error(
        "reach the node at {address}: {kind}; check that bitcoind runs there and that --node-rpc names it"
    )]
    Unreachable {
        /// Where we tried.
        address: SocketAddr,
        /// What the operating system said.
        kind: io::ErrorKind,
    },
    /// It took the call and did not answer in time.
    #[error(
        "call {call} on the node at {address}: no answer in time; see in its debug.log what keeps it busy"
    )]
    Silent {
        /// Where we tried.
        address: SocketAddr,
        /// What we called.
        call: Call,
    },
    /// All calls we may make at a time are under way.
    #[error("call {call}: too many calls of the node are under way; wait")]
    Crowded {
        /// What we wanted to call.
        call: Call,
    },
    /// It is loading its block index (RPC error -28).
    #[error("call {call}: the node is starting; wait until it has loaded its block index")]
    WarmingUp {
        /// What we called.
        call: Call,
    },
    /// The file with the credentials cannot be read.
    #[error(
        "read the node's credentials from {}: start bitcoind, name the file with --node-cookie, or let our user read it (-rpccookieperms=group)",
        path.display()
    )]
    Cookie {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file with the credentials holds something else.
    #[error(
        "read the node's credentials from {}: it is not one line of name:password; name the node's cookie file with --node-cookie",
        path.display()
    )]
    CookieForm {
        /// The file.
        path: PathBuf,
    },
    /// The node refuses our credentials, also after reading them again.
    #[error(
        "log in to the node at {address}: it refuses the credentials in {}; name the cookie file of this very node with --node-cookie",
        path.display()
    )]
    Unauthorized {
        /// Where we tried.
        address: SocketAddr,
        /// The file they came from.
        path: PathBuf,
    },
    /// The node does not let us call this, or call at all.
    #[error(
        "call {call} on the node at {address}: forbidden; add it to the node's rpcwhitelist, or our address to its rpcallowip"
    )]
    Forbidden {
        /// Where we tried.
        address: SocketAddr,
        /// What we called.
        call: Call,
    },
    /// The node takes no calls: it is shutting down, or its work queue is full (503).
    #[error(
        "call {call}: the node takes no calls now; start it if it is shutting down, or raise its rpcworkqueue"
    )]
    Overloaded {
        /// What we called.
        call: Call,
    },
    /// The node does not know this call.
    #[error("call {call}: the node does not know it; use Bitcoin Core 23 or later")]
    Unknown {
        /// What we called.
        call: Call,
    },
    /// The node refused the call with a code of its own.
    #[error("call {call}: the node refused it with code {code}; see its debug.log")]
    Refused {
        /// What we called.
        call: Call,
        /// The code; those below zero are Bitcoin Core's.
        code: i32,
    },
    /// The answer is longer than we read.
    #[error("call {call}: the answer is too large; check that --node-rpc names a bitcoind")]
    TooLarge {
        /// What we called.
        call: Call,
    },
    /// The answer is not what this call gives.
    #[error(
        "call {call}: the answer cannot be understood; check that --node-rpc names a bitcoind of version 23 or later"
    )]
    Garbled {
        /// What we called.
        call: Call,
    },
    /// The node follows another chain.
    #[error(
        "follow the node: it is on {}, we are on {ours}; name another node with --node-rpc or another network with --network",
        .theirs.map_or("another network", Network::name)
    )]
    WrongNetwork {
        /// The network we were told to serve.
        ours: Network,
        /// The node's, if it is one we know.
        theirs: Option<Network>,
    },
    /// The node has thrown blocks away.
    #[error(
        "follow the node: it is pruned, and the index needs every block; set prune=0 and restart it with -reindex, or name another node"
    )]
    Pruned,
    /// The node is older than what we build on.
    #[error("follow the node: its version {version} is too old; use Bitcoin Core 23 or later")]
    TooOld {
        /// Bitcoin Core's form: 290500 for 29.5.
        version: u32,
    },
}

impl Error {
    /// Who has to act.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::WrongNetwork { .. } | Self::Pruned | Self::TooOld { .. } => ErrorKind::Operator,
            Self::NotRunning { .. }
            | Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::Crowded { .. }
            | Self::WarmingUp { .. }
            | Self::Cookie { .. }
            | Self::CookieForm { .. }
            | Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::Overloaded { .. }
            | Self::Unknown { .. }
            | Self::Refused { .. }
            | Self::TooLarge { .. }
            | Self::Garbled { .. } => ErrorKind::Environment,
        }
    }

    /// The same in one word, for a status line.
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::NotRunning { .. } | Self::Unreachable { .. } => Trouble::NotRunning,
            Self::Silent { .. } | Self::Crowded { .. } | Self::Overloaded { .. } => Trouble::Busy,
            Self::WarmingUp { .. } => Trouble::WarmingUp,
            Self::Cookie { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Trouble::NoCookie
            }
            Self::Cookie { .. } | Self::CookieForm { .. } | Self::Unauthorized { .. } => {
                Trouble::Credentials
            }
            Self::Forbidden { .. } => Trouble::Forbidden,
            Self::Unknown { .. }
            | Self::Refused { .. }
            | Self::TooLarge { .. }
            | Self::Garbled { .. } => Trouble::Incomprehensible,
            Self::WrongNetwork { .. } | Self::Pruned | Self::TooOld { .. } => Trouble::Unsuitable,
        }
    }

    pub(super) fn of_failure(
        failure: Failure,
        call: Call,
        address: SocketAddr,
        credentials: PathBuf,
    ) -> Self {
        match failure {
            Failure::Refused => Self::NotRunning { address },
            Failure::Io(kind) => Self::Unreachable { address, kind },
            Failure::Silent => Self::Silent { address, call },
            Failure::Unauthorized => Self::Unauthorized {
                address,
                path: credentials,
            },
            Failure::Forbidden => Self::Forbidden { address, call },
            Failure::Overloaded => Self::Overloaded { call },
            Failure::TooLarge => Self::TooLarge { call },
            Failure::Status(_) | Failure::Garbled => Self::Garbled { call },
        }
    }

    pub(super) fn of_rpc(error: &RpcError, call: Call) -> Self {
        match error.code {
            RpcError::WARMING_UP => Self::WarmingUp { call },
            RpcError::METHOD_NOT_FOUND => Self::Unknown { call },
            code => Self::Refused { call, code },
        }
    }
}

/// What is wrong with the node, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It does not answer in time, or says that it has too much to do.
    Busy,
    /// It does not accept who we are, or we cannot find out.
    Credentials,
    /// It does not let us call what we need.
    Forbidden,
    /// Its answers cannot be understood.
    Incomprehensible,
    /// Its cookie file is not there, as when it does not run.
    NoCookie,
    /// It cannot be reached.
    NotRunning,
    /// It is one we cannot work with.
    Unsuitable,
    /// It is loading its block index.
    WarmingUp,
}

impl Trouble {
    /// For people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Busy => "too busy to answer",
            Self::Credentials => "refuses our credentials",
            Self::Forbidden => "forbids a call we need",
            Self::Incomprehensible => "answers incomprehensibly",
            Self::NoCookie => "not running, or its cookie file lies elsewhere (--node-cookie)",
            Self::NotRunning => "not reachable",
            Self::Unsuitable => "not suitable",
            Self::WarmingUp => "starting",
        }
    }
}
