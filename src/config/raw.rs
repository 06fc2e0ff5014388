//! What was said on the command line, in the environment and in the file, before it means anything.

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

/// Every setting, each possibly unsaid. One struct for all three sources, so that they cannot drift apart.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RawConfig {
    /// Directory for the index, the keys and Tor's state [default: $STATE_DIRECTORY or ~/.claustrum]
    #[arg(long, env = "CLAUSTRUM_DATA_DIR", value_name = "DIR", global = true)]
    pub data_dir: Option<PathBuf>,
    /// main, testnet4, signet or regtest [default: that of the node found]
    #[arg(long, env = "CLAUSTRUM_NETWORK", value_name = "NETWORK", global = true)]
    pub network: Option<String>,
    /// Bitcoin Core's data directory [default: ~/.bitcoin or /var/lib/bitcoind]
    #[arg(long, env = "CLAUSTRUM_NODE_DIR", value_name = "DIR", global = true)]
    pub node_dir: Option<PathBuf>,
    /// Address of the node's RPC server [default: 127.0.0.1 and the network's port]
    #[arg(
        long,
        env = "CLAUSTRUM_NODE_RPC",
        value_name = "IP:PORT",
        global = true
    )]
    pub node_rpc: Option<String>,
    /// File with the node's RPC credentials, as user:password [default: .cookie in the node's directory]
    #[arg(
        long,
        env = "CLAUSTRUM_NODE_COOKIE",
        value_name = "FILE",
        global = true
    )]
    pub node_cookie: Option<PathBuf>,
    /// Fragment of Arti's client configuration: bridges, or a test network
    #[arg(long, env = "CLAUSTRUM_TOR_CONFIG", value_name = "FILE", global = true)]
    pub tor_config: Option<PathBuf>,
    /// Newest protocol version to negotiate [default: 1.6]
    #[arg(
        long,
        env = "CLAUSTRUM_PROTOCOL_MAX",
        value_name = "VERSION",
        global = true
    )]
    pub protocol_max: Option<String>,
    /// Name shown to wallets; several decide by it whether to batch
    #[arg(
        long,
        env = "CLAUSTRUM_SERVER_NAME",
        value_name = "NAME",
        global = true
    )]
    pub server_name: Option<String>,
    /// Bounds that an operator may move.
    #[command(flatten)]
    pub limits: RawLimits,
}

/// The table `[limits]`.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RawLimits {
    /// Largest answer to one request, in bytes [default: 8100000]
    #[arg(
        long,
        env = "CLAUSTRUM_REPLY_BYTES_MAX",
        value_name = "BYTES",
        global = true
    )]
    pub reply_bytes_max: Option<usize>,
}

impl RawConfig {
    /// These settings, and where one is unsaid, that of `lower`.
    pub fn over(self, lower: Self) -> Self {
        Self {
            data_dir: self.data_dir.or(lower.data_dir),
            network: self.network.or(lower.network),
            node_dir: self.node_dir.or(lower.node_dir),
            node_rpc: self.node_rpc.or(lower.node_rpc),
            node_cookie: self.node_cookie.or(lower.node_cookie),
            tor_config: self.tor_config.or(lower.tor_config),
            protocol_max: self.protocol_max.or(lower.protocol_max),
            server_name: self.server_name.or(lower.server_name),
            limits: RawLimits {
                reply_bytes_max: self.limits.reply_bytes_max.or(lower.limits.reply_bytes_max),
            },
        }
    }
}
