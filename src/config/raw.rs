//! What was said on the command line, in the environment and in the file, before it means anything.

use std::num::NonZeroUsize;
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
    /// Threads that build the index [default: one for each core]
    #[arg(long, env = "CLAUSTRUM_JOBS", value_name = "COUNT", global = true)]
    pub jobs: Option<NonZeroUsize>,
    /// Memory for building the index, in MiB [default: 512]
    #[arg(long, env = "CLAUSTRUM_SYNC_MEMORY", value_name = "MIB", global = true)]
    pub sync_memory: Option<usize>,
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
    /// Whether blocks and the mempool are told at moments and in sizes that are alike for all [default: false]
    #[arg(
        long,
        env = "CLAUSTRUM_UNIFORM_TICKS",
        value_name = "BOOL",
        global = true
    )]
    pub uniform_ticks: Option<bool>,
    /// Bounds that an operator may move.
    #[command(flatten)]
    pub limits: RawLimits,
    /// How transactions leave.
    #[command(flatten)]
    pub broadcast: RawBroadcast,
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

/// The table `[broadcast]`.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RawBroadcast {
    /// By whom a transaction first reaches the network: tor-peers, or own-node under its own address [default: tor-peers]
    #[arg(
        id = "broadcast-method",
        long = "broadcast-method",
        env = "CLAUSTRUM_BROADCAST_METHOD",
        value_name = "METHOD",
        global = true
    )]
    pub method: Option<String>,
    /// Where peers are drawn from: onion, exit, or both [default: onion,exit]
    #[arg(
        id = "broadcast-networks",
        long = "broadcast-networks",
        env = "CLAUSTRUM_BROADCAST_NETWORKS",
        value_name = "NETWORKS",
        value_delimiter = ',',
        global = true
    )]
    pub networks: Option<Vec<String>>,
    /// Peers that are told of a transaction at first, 2 to 5 [default: 3]
    #[arg(
        id = "broadcast-deliveries",
        long = "broadcast-deliveries",
        env = "CLAUSTRUM_BROADCAST_DELIVERIES",
        value_name = "COUNT",
        global = true
    )]
    pub deliveries: Option<u8>,
    /// Seconds a wallet waits at most for its transaction to come back before it is answered [default: 8]
    #[arg(
        id = "broadcast-answer-wait-s",
        long = "broadcast-answer-wait-s",
        env = "CLAUSTRUM_BROADCAST_ANSWER_WAIT_S",
        value_name = "SECONDS",
        global = true
    )]
    pub answer_wait_s: Option<u64>,
    /// Fee rate above which a transaction is refused as a mistake, in bitcoins per 1000 vbytes [default: 0.10]
    #[arg(
        id = "broadcast-max-fee-rate-btc-kvb",
        long = "broadcast-max-fee-rate-btc-kvb",
        env = "CLAUSTRUM_BROADCAST_MAX_FEE_RATE_BTC_KVB",
        value_name = "RATE",
        global = true
    )]
    pub max_fee_rate_btc_kvb: Option<f64>,
    /// Whom a transaction may be given to: NAME.onion:PORT, IP:PORT, or "NAME.onion:PORT v1"
    #[arg(
        id = "broadcast-peers",
        long = "broadcast-peers",
        env = "CLAUSTRUM_BROADCAST_PEERS",
        value_name = "PEERS",
        value_delimiter = ',',
        global = true
    )]
    pub peers: Option<Vec<String>>,
    /// Whom it may not be given to: NAME.onion or IP
    #[arg(
        id = "broadcast-exclude",
        long = "broadcast-exclude",
        env = "CLAUSTRUM_BROADCAST_EXCLUDE",
        value_name = "HOSTS",
        value_delimiter = ',',
        global = true
    )]
    pub exclude: Option<Vec<String>>,
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
            jobs: self.jobs.or(lower.jobs),
            sync_memory: self.sync_memory.or(lower.sync_memory),
            protocol_max: self.protocol_max.or(lower.protocol_max),
            server_name: self.server_name.or(lower.server_name),
            uniform_ticks: self.uniform_ticks.or(lower.uniform_ticks),
            limits: RawLimits {
                reply_bytes_max: self.limits.reply_bytes_max.or(lower.limits.reply_bytes_max),
            },
            broadcast: self.broadcast.over(lower.broadcast),
        }
    }
}

impl RawBroadcast {
    fn over(self, lower: Self) -> Self {
        Self {
            method: self.method.or(lower.method),
            networks: self.networks.or(lower.networks),
            deliveries: self.deliveries.or(lower.deliveries),
            answer_wait_s: self.answer_wait_s.or(lower.answer_wait_s),
            max_fee_rate_btc_kvb: self.max_fee_rate_btc_kvb.or(lower.max_fee_rate_btc_kvb),
            peers: self.peers.or(lower.peers),
            exclude: self.exclude.or(lower.exclude),
        }
    }
}
