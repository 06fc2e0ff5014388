//! The servers that can be filled with clients.

use std::net::TcpStream;
use std::thread;

use anyhow::Result;
use rig::node::Node;
use rig::process::Process;
use rig::server::{Claustrum, Loopback, Options};
use rig::socks;
use rig::tor_network::{ONION_PORT, TorNetwork};

/// Clients that come to the onion service at a time: what many at once do to it is another bench.
const AT_ONCE: usize = 10;

/// A server, and a way to it.
pub(crate) trait Hall: Sized {
    /// What stands in the table.
    const NAME: &'static str;
    /// The least that is wanted, for memory, a block and a transaction.
    const TARGETS: [&'static str; 3];

    /// Starts it with room for so many.
    fn open(node: &Node, sessions: usize) -> Result<Self>;

    /// So many connections.
    fn connect(&self, sessions: usize) -> Result<Vec<TcpStream>>;

    /// The server's process.
    fn process(&mut self) -> &mut Process;
}

/// `examples/loopback`.
pub(crate) struct Loopbacks(Loopback);

/// The release binary on a private Tor network.
pub(crate) struct OnionService {
    claustrum: Claustrum,
    network: TorNetwork,
}

impl Hall for Loopbacks {
    const NAME: &'static str = "loopback";
    // The last is a pause between two lists of a small mempool, and 0.3 s.
    const TARGETS: [&'static str; 3] = ["15 KB", "150 ms", "550 ms"];

    fn open(node: &Node, sessions: usize) -> Result<Self> {
        // One more looks at what the others were told.
        let room = (sessions + 1).to_string();
        let options = Options {
            extra: vec!["--sessions".to_owned(), room],
            ..Options::default()
        };
        Ok(Self(Loopback::start(node, &options)?))
    }

    fn connect(&self, sessions: usize) -> Result<Vec<TcpStream>> {
        (0..sessions).map(|_| self.0.open()).collect()
    }

    fn process(&mut self) -> &mut Process {
        self.0.process()
    }
}

impl Hall for OnionService {
    const NAME: &'static str = "onion service";
    // Most of it is the network's and Tor's, which has its own bounds.
    const TARGETS: [&'static str; 3] = [""; 3];

    fn open(node: &Node, _sessions: usize) -> Result<Self> {
        let network = TorNetwork::start()?;
        let claustrum = Claustrum::start(node, &network, &Options::default())?;
        Ok(Self { claustrum, network })
    }

    fn connect(&self, sessions: usize) -> Result<Vec<TcpStream>> {
        let address = self.claustrum.onion_address()?;
        let port = self.network.socks_port();
        let connect =
            |number| socks::connect(port, &format!("waits-{number}"), address, ONION_PORT);
        let mut streams = Vec::with_capacity(sessions);
        while streams.len() < sessions {
            let first = streams.len();
            let last = sessions.min(first + AT_ONCE);
            let connected = thread::scope(|scope| {
                let begun: Vec<_> = (first..last)
                    .map(|number| scope.spawn(move || connect(number)))
                    .collect();
                let ended = begun.into_iter().map(|client| client.join());
                ended.collect::<Vec<_>>()
            });
            for stream in connected {
                streams.push(stream.map_err(|_panicked| anyhow::anyhow!("a client panicked"))??);
            }
        }
        Ok(streams)
    }

    fn process(&mut self) -> &mut Process {
        self.claustrum.process()
    }
}
