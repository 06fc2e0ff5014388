//! The two that are compared, on one node and one private Tor network.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rig::node::{self, Node};
use rig::process::Process;
use rig::server::{Claustrum, Loopback, Options};
use rig::socks::{self, Line};
use rig::tor_network::{ONION_PORT, TorNetwork};
use rig::wallet::{Wallet, Way};
use serde_json::{Value, json};

use crate::figures::{Pairs, Side};

/// Enough for the most that the protocol lets a client ask for in one request of headers.
const BLOCKS: u32 = 2_100;
const HEADERS: u32 = 2_016;
/// How often each is started.
const STARTS: usize = 3;
/// Until nothing moves any more after a start.
const REST: Duration = Duration::from_secs(6);
/// A status is at most this old.
const STATUS: Duration = Duration::from_millis(2_500);
/// Clients give up after 60 s.
const BURST: Duration = Duration::from_secs(150);
const PING: Duration = Duration::from_secs(60);

/// Both of them, running.
pub(crate) struct Contest {
    claustrum: Claustrum,
    loopback: Loopback,
    /// The number of the C Tor onion service in front of `loopback`.
    service: usize,
    network: TorNetwork,
    /// Of Claustrum, then of the peer.
    onion_addresses: [String; 2],
    users: usize,
    _node: Node,
}

/// Times from start to the first answer that came through Tor, in seconds.
pub(crate) struct Starts {
    /// With nothing in the data directory.
    pub(crate) first: Pairs,
    /// Claustrum with what it had when it ended.
    pub(crate) again: Vec<f64>,
}

/// Memory of both, in MiB.
pub(crate) struct Memory {
    pub(crate) anonymous: Pairs,
    pub(crate) resident: Pairs,
}

/// One burst into one of them.
pub(crate) struct Burst {
    /// From the beginning until each had its first answer, in seconds.
    pub(crate) seconds: Vec<f64>,
    pub(crate) failed: usize,
    /// Introductions that our queue dropped, and that Arti lost; Claustrum alone counts them.
    pub(crate) dropped: u64,
    pub(crate) lost: u64,
}

impl Contest {
    /// Starts everything, each of the two several times in turn.
    pub(crate) fn start() -> Result<(Self, Starts)> {
        say("a node, a private Tor network, examples/loopback");
        let node = Node::start_funded(&node::Options::default())?;
        node.mine(BLOCKS)?;
        let network = TorNetwork::start()?;
        let loopback = Loopback::start(&node, &Options::default())?;
        let mut first = Pairs::default();
        let mut again = Vec::new();
        let mut last = None;
        for round in 0..STARTS {
            say(&format!("start {} of {STARTS}", round + 1));
            // The one before ends first, so that it takes no time from the next.
            drop(last.take());
            let started = Instant::now();
            let mut claustrum = Claustrum::start(&node, &network, &Options::default())?;
            first.claustrum.push(started.elapsed().as_secs_f64());
            claustrum.stop()?;
            let started = Instant::now();
            claustrum.start_again(&network)?;
            again.push(started.elapsed().as_secs_f64());
            let started = Instant::now();
            let onion_address = network.add_onion_service(loopback.port())?;
            first.peer.push(started.elapsed().as_secs_f64());
            last = Some((claustrum, onion_address));
        }
        let (claustrum, peer) = last.context("nothing was started")?;
        let contest = Self {
            onion_addresses: [claustrum.onion_address()?.to_owned(), peer],
            claustrum,
            loopback,
            service: STARTS - 1,
            network,
            users: 0,
            _node: node,
        };
        Ok((contest, Starts { first, again }))
    }

    /// What both occupy when nobody is connected.
    pub(crate) fn memory_at_rest(&mut self) -> Result<Memory> {
        std::thread::sleep(REST);
        let (mut anonymous, mut resident) = (Pairs::default(), Pairs::default());
        let ours = self.claustrum.process();
        anonymous
            .claustrum
            .push(mebibytes(ours.anonymous_bytes()?)?);
        resident.claustrum.push(mebibytes(ours.resident_bytes()?)?);
        let of_tor = |read: fn(&Process) -> Result<u64>| {
            self.network.onion_service(self.service, |tor| read(tor))?
        };
        let tor = [
            of_tor(Process::anonymous_bytes)?,
            of_tor(Process::resident_bytes)?,
        ];
        let loopback = self.loopback.process();
        anonymous
            .peer
            .push(mebibytes(tor[0] + loopback.anonymous_bytes()?)?);
        resident
            .peer
            .push(mebibytes(tor[1] + loopback.resident_bytes()?)?);
        Ok(Memory {
            anonymous,
            resident,
        })
    }

    /// Round trips one after the other on a new circuit, in milliseconds.
    pub(crate) fn ping(&mut self, side: Side, count: usize) -> Result<Vec<f64>> {
        let way = self.way(side, self.network.socks_port());
        let steps = Wallet::run("ping", &way, &["--count", &count.to_string()], PING)?;
        milliseconds(steps.last().context("a wallet that says nothing")?)
    }

    /// One answer of many headers on a connection that has been used: MiB of lines each second.
    pub(crate) fn throughput(&mut self, side: Side, requests: u32) -> Result<f64> {
        let Way::Tor {
            socks_port,
            user,
            onion_address,
        } = self.way(side, self.network.socks_port())
        else {
            anyhow::bail!("a way without Tor");
        };
        let stream = socks::connect(socks_port, &user, &onion_address, ONION_PORT)?;
        let mut line = Line::new(stream);
        line.call("server.ping", json!([]))?;
        let started = Instant::now();
        let mut bytes = 0;
        for _ in 0..requests {
            let reply = line.call("blockchain.block.headers", json!([0, HEADERS]))?;
            let hex = reply["hex"].as_str().context("headers without headers")?;
            ensure!(reply["count"] == HEADERS, "too few headers");
            bytes += hex.len();
        }
        Ok(mebibytes(u64::try_from(bytes)?)? / started.elapsed().as_secs_f64())
    }

    /// So many clients at once through a Tor client without old circuits, each with a circuit of its own.
    pub(crate) fn burst(&mut self, side: Side, clients: usize) -> Result<Burst> {
        let client = self.network.add_client()?;
        let way = self.way(side, client.socks_port());
        // It then has the descriptor, and what is measured is introductions and rendezvous.
        Wallet::run("ping", &way, &["--count", "1"], PING)?;
        let before = self.introductions()?;
        let mut wallet = Wallet::start("burst", &way, &["--n", &clients.to_string()])?;
        let step = wallet.step("burst", BURST)?;
        let seconds = milliseconds(&step)?
            .iter()
            .map(|time| time / 1000.0)
            .collect();
        let failures = step["failures"]
            .as_array()
            .context("a burst without failures")?;
        drop((wallet, client));
        let after = match side {
            Side::Claustrum => self.introductions()?,
            Side::Peer => before,
        };
        Ok(Burst {
            seconds,
            failed: failures.len(),
            dropped: after.0 - before.0,
            lost: after.1 - before.1,
        })
    }

    /// Dropped by our own queue and lost by Arti since the start.
    fn introductions(&self) -> Result<(u64, u64)> {
        std::thread::sleep(STATUS);
        let path = self.claustrum.data_dir().join("regtest/status.json");
        let status: Value = serde_json::from_slice(&std::fs::read(path)?)?;
        let count = |name: &str| {
            status[name]
                .as_u64()
                .with_context(|| format!("a status without {name}"))
        };
        Ok((
            count("introductions-dropped")?,
            count("introductions-lost")?,
        ))
    }

    /// A way that was not used before.
    fn way(&mut self, side: Side, socks_port: u16) -> Way {
        self.users += 1;
        let [ours, theirs] = &self.onion_addresses;
        let onion_address = match side {
            Side::Claustrum => ours,
            Side::Peer => theirs,
        };
        Way::Tor {
            socks_port,
            user: format!("bench-{}", self.users),
            onion_address: onion_address.clone(),
        }
    }
}

/// Tells people how far it is.
pub(crate) fn say(text: &str) {
    // Nobody may be listening.
    writeln!(std::io::stderr(), "bench: {text}").ok();
}

pub(crate) fn mebibytes(bytes: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(bytes / 1024)?) / 1024.0)
}

fn milliseconds(step: &Value) -> Result<Vec<f64>> {
    let times = step["milliseconds"]
        .as_array()
        .context("a wallet without times")?;
    times
        .iter()
        .map(|time| time.as_f64().context("a time that is no number"))
        .collect()
}
