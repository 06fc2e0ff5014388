//! One node, one Tor network and one server for all tests that do not change them; started once.

use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rig::node::{self, Node};
use rig::oracle;
use rig::process;
use rig::server::{self, Claustrum, Options};
use rig::socks::Line;
use rig::tor_network::TorNetwork;
use serde_json::json;

/// Enough for a busy machine, whatever is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

/// A node with a short chain, shared.
pub(crate) fn node() -> &'static Node {
    static NODE: OnceLock<Node> = OnceLock::new();
    NODE.get_or_init(|| Node::start_funded(&node::Options::default()).expect("a node"))
}

/// The private Tor network, shared.
pub(crate) fn network() -> &'static TorNetwork {
    TorNetwork::shared().expect("a Tor network")
}

/// A server beside the shared node, reachable through the shared network.
pub(crate) fn server() -> &'static Claustrum {
    static SERVER: OnceLock<Claustrum> = OnceLock::new();
    SERVER
        .get_or_init(|| Claustrum::start(node(), network(), &Options::default()).expect("a server"))
}

/// Held by whoever pays or mines on the shared node, so that what is unconfirmed stays so meanwhile.
pub(crate) fn alone_on_the_node() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A script whose key nobody has and that nobody has paid yet.
pub(crate) struct Script {
    pub(crate) bitcoin_address: String,
    /// In hexadecimal.
    pub(crate) script: String,
    /// As clients write it.
    pub(crate) hash: String,
}

impl Script {
    /// Not of the node's wallet, which would spend what it gets.
    pub(crate) fn new(node: &Node) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let script = format!("0014{number:08x}{}", "e2".repeat(16));
        let decoded = node.rpc("decodescript", json!([script])).unwrap();
        Self {
            bitcoin_address: decoded["address"].as_str().unwrap().to_owned(),
            hash: oracle::script_hash(&script).unwrap(),
            script,
        }
    }
}

/// A SOCKS user name, and so a circuit, that nobody has had before.
pub(crate) fn new_user(name: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A new client of a server, on a circuit of its own.
pub(crate) fn client_of(server: &Claustrum) -> Line {
    server.connect(network(), &new_user("client")).unwrap()
}

/// The same after it has said which version it speaks.
pub(crate) fn client_speaking(server: &Claustrum, version: &str) -> Line {
    let mut line = client_of(server);
    let agreed = line.call("server.version", json!(["rig", version]));
    assert_eq!(agreed.unwrap()[1], version);
    line
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    let mut command = server::bare(server::program().unwrap());
    process::output("the program", command.args(arguments), PATIENCE).unwrap()
}

/// Both outputs of a program.
pub(crate) fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{out}{err}")
}

/// What `look` finds, as soon as it finds something.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}");
        std::thread::sleep(POLL);
    }
}
