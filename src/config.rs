//! The configuration: command line over environment over file over default, valid once it exists.
//!
//! Nothing downstream checks a setting again. Secrets are never settings: only the path of a file that holds one.

mod broadcast;
pub mod raw;

use std::ffi::OsString;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

pub use broadcast::network_names;

use crate::broadcast::{Host, Settings as BroadcastSettings};
use crate::chain::{Network, UnknownNetwork};
use crate::electrum::{ProtocolVersion, UnknownVersion};
use crate::limits;
use raw::RawConfig;

/// The resolved configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Directory of this installation; everything of one network lies in [`Config::instance_dir`].
    pub data_dir: PathBuf,
    /// The network served.
    pub network: Network,
    /// Where the node is.
    pub node: NodeAddress,
    /// Fragment of Arti's client configuration, as TOML text.
    pub tor_fragment: Option<String>,
    /// Threads that build the index; unsaid, one for each core.
    pub jobs: Option<NonZeroUsize>,
    /// Memory for building the index, in bytes.
    pub sync_memory: usize,
    /// Newest protocol version to negotiate.
    pub protocol_max: ProtocolVersion,
    /// Name shown to wallets.
    pub server_name: String,
    /// Whether blocks and the mempool are told at moments and in sizes that are alike for all.
    pub uniform_ticks: bool,
    /// Largest answer to one request, in bytes.
    pub reply_bytes_max: usize,
    /// How transactions leave.
    pub broadcast: BroadcastSettings,
}

/// How the node is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// Its RPC server.
    pub rpc: SocketAddr,
    /// File that holds `user:password`.
    pub cookie: PathBuf,
    /// Its data directory, if it runs on this machine.
    pub dir: PathBuf,
}

impl NodeAddress {
    /// The node's machine, when it is another one than ours.
    pub fn distant_host(&self) -> Option<Host> {
        let ip = self.rpc.ip();
        (!ip.is_loopback()).then_some(Host::Ip(ip.to_canonical()))
    }
}

impl Config {
    /// Directory of everything that belongs to one network: `<data-dir>/<network>`.
    pub fn instance_dir(&self) -> PathBuf {
        self.data_dir.join(self.network.name())
    }

    /// Directory of the node's block files, if the node runs on this machine.
    pub fn node_blocks_dir(&self) -> PathBuf {
        let subdirectory = self.network.node_subdirectory();
        self.node.dir.join(subdirectory).join("blocks")
    }

    /// Makes the settings mean something, or reports every fault at once.
    pub fn resolve(said: RawConfig, surroundings: &Surroundings) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let node_dir = said.node_dir.unwrap_or_else(|| surroundings.node_dir());
        let network = match said.network {
            Some(text) => faults.take(
                "network",
                text.parse()
                    .map_err(|unknown: UnknownNetwork| unknown.to_string()),
            ),
            None => Some(network_of(&node_dir)),
        };
        let data_dir = said.data_dir.or_else(|| surroundings.data_dir());
        let data_dir = faults.take(
            "data-dir",
            data_dir.ok_or("there is no home directory; name a directory"),
        );
        let rpc = said
            .node_rpc
            .map(|text| faults.take("node-rpc", socket_address(&text)));
        let tor_fragment = said
            .tor_config
            .map(|path| faults.take("tor-config", fragment(&path)));
        let protocol_max = faults.take("protocol-max", protocol_max(said.protocol_max));
        let server_name = faults.take("server-name", server_name(said.server_name));
        let sync_memory = faults.take("sync-memory", sync_memory(said.sync_memory));
        let reply_bytes_max = faults.take(
            "limits.reply-bytes-max",
            reply_bytes_max(said.limits.reply_bytes_max),
        );
        let broadcast = broadcast::resolve(said.broadcast, network, &mut faults);
        let (
            Some(data_dir),
            Some(network),
            Some(protocol_max),
            Some(server_name),
            Some(sync_memory),
            Some(reply_bytes_max),
            true,
        ) = (
            data_dir,
            network,
            protocol_max,
            server_name,
            sync_memory,
            reply_bytes_max,
            faults.0.is_empty(),
        )
        else {
            return Err(faults);
        };
        let cookie = node_dir.join(network.node_subdirectory()).join(".cookie");
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, network.default_rpc_port()));
        let node = NodeAddress {
            rpc: rpc.flatten().unwrap_or(local),
            cookie: said.node_cookie.unwrap_or(cookie),
            dir: node_dir,
        };
        Ok(Self {
            data_dir,
            network,
            node,
            tor_fragment: tor_fragment.flatten(),
            jobs: said.jobs,
            sync_memory,
            protocol_max,
            server_name,
            uniform_ticks: said.uniform_ticks.unwrap_or(false),
            reply_bytes_max,
            broadcast,
        })
    }
}

/// Reads a configuration file; a key that does not exist is a fault that names line, column and the keys there are.
pub fn read_file(path: &Path) -> Result<RawConfig, Faults> {
    let fault = |text: String| {
        Faults(vec![Fault {
            key: "config",
            text,
        }])
    };
    let text = std::fs::read_to_string(path)
        .map_err(|cause| fault(format!("read {}: {cause}", path.display())))?;
    toml::from_str(&text).map_err(|cause| fault(format!("understand {}: {cause}", path.display())))
}

/// What the process finds around it; handed in, so that tests choose it.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The user's home directory.
    pub home: Option<PathBuf>,
    /// `STATE_DIRECTORY`, as systemd sets it.
    pub state_directory: Option<OsString>,
    /// Where distributions keep the data of a Bitcoin Core that runs as a service.
    pub system_node_dirs: Vec<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        Self {
            home: std::env::home_dir(),
            state_directory: std::env::var_os("STATE_DIRECTORY"),
            system_node_dirs: vec!["/var/lib/bitcoind".into(), "/var/lib/bitcoin".into()],
        }
    }

    fn data_dir(&self) -> Option<PathBuf> {
        let state = self.state_directory.as_ref().map(PathBuf::from);
        state.or_else(|| self.home.as_ref().map(|home| home.join(".claustrum")))
    }

    /// The first of the usual places of Bitcoin Core's data that is there; the user's own when none is.
    fn node_dir(&self) -> PathBuf {
        let own = self
            .home
            .as_ref()
            .map(|home| home.join(".bitcoin"))
            .unwrap_or_default();
        let usual = std::iter::once(&own).chain(&self.system_node_dirs);
        usual
            .into_iter()
            .find(|dir| dir.is_dir())
            .unwrap_or(&own)
            .clone()
    }
}

/// The network whose cookie lies in the node's directory; the main network comes first, and is meant when none does.
fn network_of(node_dir: &Path) -> Network {
    let has_cookie = |network: &Network| {
        node_dir
            .join(network.node_subdirectory())
            .join(".cookie")
            .is_file()
    };
    Network::ALL
        .into_iter()
        .find(has_cookie)
        .unwrap_or(Network::Main)
}

fn socket_address(text: &str) -> Result<SocketAddr, &'static str> {
    let local = text
        .strip_prefix("localhost:")
        .map(|port| format!("{}:{port}", Ipv4Addr::LOCALHOST));
    let address = local.as_deref().unwrap_or(text).parse().ok();
    address.filter(|address: &SocketAddr| address.port() != 0).ok_or(
        "write an IP address and a port, as 127.0.0.1:8332; a name is not taken, because asking for it tells the network",
    )
}

fn fragment(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|cause| format!("read {}: {cause}", path.display()))
}

fn server_name(said: Option<String>) -> Result<String, &'static str> {
    let name = said.unwrap_or_else(|| SERVER_NAME.to_owned());
    let fine =
        (1..=80).contains(&name.len()) && name.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    fine.then_some(name)
        .ok_or("write 1 to 80 printable ASCII characters")
}

fn protocol_max(said: Option<String>) -> Result<ProtocolVersion, String> {
    let version = said.unwrap_or_else(|| ProtocolVersion::V1_6.as_str().to_owned());
    let version = version.parse();
    version.map_err(|unknown: UnknownVersion| unknown.to_string())
}

fn sync_memory(said: Option<usize>) -> Result<usize, String> {
    let bytes = said.map_or(Some(limits::SYNC_MEMORY_BYTES), |mib| mib.checked_mul(MIB));
    let least = limits::SYNC_MEMORY_BYTES_MIN;
    let bytes = bytes.filter(|bytes| *bytes >= least);
    bytes.ok_or_else(|| format!("write a number of MiB; the least is {}", least / MIB))
}

/// Bytes of a MiB, in which memory is set.
pub const MIB: usize = 1024 * 1024;

fn reply_bytes_max(said: Option<usize>) -> Result<usize, String> {
    let bytes = said.unwrap_or(limits::REPLY_BYTES_MAX);
    let least = limits::REPLY_BYTES_MIN;
    (bytes >= least)
        .then_some(bytes)
        .ok_or_else(|| format!("the least is {least}: below it headers do not fit"))
}

/// Sparrow, Nunchuk and BlueWallet decide by this name whether to batch, which over Tor is seconds or minutes.
const SERVER_NAME: &str = concat!("ElectrumX-compatible Claustrum/", env!("CARGO_PKG_VERSION"));

/// One setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    key: &'static str,
    text: String,
}

/// Every setting that cannot be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Keeps the fault, if there is one, under the name of its key.
    fn take<T>(&mut self, key: &'static str, checked: Result<T, impl Into<String>>) -> Option<T> {
        match checked {
            Ok(value) => Some(value),
            Err(text) => {
                self.0.push(Fault {
                    key,
                    text: text.into(),
                });
                None
            }
        }
    }
}

impl Faults {
    /// The same for a setting that may be unsaid.
    fn take_or<T>(
        &mut self,
        key: &'static str,
        checked: Option<Result<T, impl Into<String>>>,
        usual: T,
    ) -> T {
        checked
            .and_then(|checked| self.take(key, checked))
            .unwrap_or(usual)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("use the configuration:")?;
        for fault in &self.0 {
            write!(f, "\n  {}: {}", fault.key, fault.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(dir: &Path) -> Surroundings {
        Surroundings {
            home: Some(dir.to_path_buf()),
            ..Surroundings::default()
        }
    }

    #[test]
    fn nothing_said_beside_a_default_node_finds_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join(".bitcoin/signet")).unwrap();
        std::fs::write(dir.path().join(".bitcoin/signet/.cookie"), "u:p").unwrap();
        let config = Config::resolve(RawConfig::default(), &home(dir.path())).unwrap();
        assert_eq!(config.network, Network::Signet);
        assert_eq!(config.node.rpc, "127.0.0.1:38332".parse().unwrap());
        assert_eq!(
            config.node.cookie,
            dir.path().join(".bitcoin/signet/.cookie")
        );
        assert_eq!(config.instance_dir(), dir.path().join(".claustrum/signet"));
    }

    #[test]
    fn the_node_is_named_by_number() {
        for (text, fine) in [
            ("localhost:1", true),
            ("[::1]:8332", true),
            ("node:8332", false),
            ("1.2.3.4:0", false),
            ("1.2.3.4", false),
        ] {
            assert_eq!(socket_address(text).is_ok(), fine, "{text}");
        }
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        let said = RawConfig {
            network: Some("mainnet".into()),
            node_rpc: Some("nowhere".into()),
            protocol_max: Some("9".into()),
            server_name: Some("a\nb".into()),
            sync_memory: Some(usize::MAX),
            tor_config: Some("/nonexistent/fragment".into()),
            limits: raw::RawLimits {
                reply_bytes_max: Some(1),
            },
            broadcast: raw::RawBroadcast {
                method: Some("by mail".into()),
                ..raw::RawBroadcast::default()
            },
            ..RawConfig::default()
        };
        let faults = Config::resolve(said, &Surroundings::default()).unwrap_err();
        let keys: Vec<_> = faults.0.iter().map(|fault| fault.key).collect();
        let wanted = [
            "network",
            "data-dir",
            "node-rpc",
            "tor-config",
            "protocol-max",
            "server-name",
            "sync-memory",
            "limits.reply-bytes-max",
            "broadcast.method",
        ];
        assert_eq!(keys, wanted);
        for key in wanted {
            assert!(faults.to_string().contains(key));
        }
    }

    #[test]
    fn a_mistyped_key_is_named_with_its_place() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "network = \"main\"\nnode-cokie = \"x\"\n").unwrap();
        let text = read_file(file.path()).unwrap_err().to_string();
        assert!(
            text.contains("line 2") && text.contains("node-cokie") && text.contains("node-cookie"),
            "{text}"
        );
    }

    #[test]
    fn what_is_said_first_wins() {
        let upper = RawConfig {
            network: Some("signet".into()),
            ..RawConfig::default()
        };
        let lower = RawConfig {
            network: Some("main".into()),
            node_rpc: Some("10.0.0.2:8332".into()),
            ..RawConfig::default()
        };
        let config = Config::resolve(upper.over(lower), &home(Path::new("/home/me"))).unwrap();
        assert_eq!(
            (config.network, config.node.rpc),
            (Network::Signet, "10.0.0.2:8332".parse().unwrap())
        );
    }

    #[test]
    fn the_example_file_is_exhaustive_and_says_the_defaults() {
        let text = include_str!("../claustrum.example.toml");
        let settings: String = text
            .lines()
            .filter_map(|line| line.strip_prefix('#').filter(|l| !l.starts_with(' ')))
            .map(|l| format!("{l}\n"))
            .collect();
        let example: toml::Table = settings.parse().unwrap();
        let keys = [
            "data-dir",
            "network",
            "node-dir",
            "node-rpc",
            "node-cookie",
            "tor-config",
            "jobs",
            "sync-memory",
            "protocol-max",
            "server-name",
            "uniform-ticks",
            "limits",
            "broadcast",
        ];
        let mut found: Vec<_> = example.keys().map(String::as_str).collect();
        found.sort_unstable();
        let mut wanted = keys.to_vec();
        wanted.sort_unstable();
        assert_eq!(found, wanted);
        let mut said: RawConfig = toml::from_str(&settings).unwrap();
        said.tor_config = None;
        said.jobs = None;
        let surroundings = home(Path::new("/home/you"));
        let nothing = Config::resolve(RawConfig::default(), &surroundings).unwrap();
        assert_eq!(Config::resolve(said, &surroundings).unwrap(), nothing);
    }
}
