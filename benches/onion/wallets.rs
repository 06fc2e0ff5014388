//! Wallets that load all they need, by each library and each way of asking, from each server through its onion service.

mod chain;
mod lines;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rig::electrumx::ElectrumX;
use rig::figures::number;
use rig::meter::{Bytes, Meter};
use rig::node::Node;
use rig::server::{Claustrum, Loopback, Options};
use rig::socks::{self, Line};
use rig::tor_network::{ONION_PORT, TorNetwork};
use rig::wallet::{Wallet, Way};
use serde_json::json;

use crate::contest::say;
use crate::figures::Figures;
use chain::Owner;
use lines::Asking;

const ROUNDS: usize = 5;
/// Of a wallet's program; one that asks for one transaction after the other needs minutes.
const LOAD: Duration = Duration::from_secs(1800);
/// A library's first ping on a new circuit.
const PING: Duration = Duration::from_secs(120);

/// What is measured.
struct Size {
    scripts: u32,
    transactions: u32,
    rounds: usize,
    /// Scripts of the smaller wallet, and of each of several at once.
    fewer: usize,
    several: usize,
}

const ORDINARY: Size = Size {
    scripts: 500,
    transactions: 2_000,
    rounds: ROUNDS,
    fewer: 300,
    several: 100,
};
const SMALL: Size = Size {
    scripts: 40,
    transactions: 80,
    rounds: 1,
    fewer: 20,
    several: 10,
};
/// How many wallets are several.
const WALLETS: usize = 8;

/// Who asks, and how.
#[derive(Clone, Copy)]
enum Client {
    /// Our own lines.
    Lines(Asking),
    /// `electrum-client`, by its batches: single requests that leave together.
    Batching,
    /// `bdk_electrum`: batches of ten scripts, then each transaction by itself, then proofs.
    Bdk,
}

/// A way to load a wallet.
struct Style {
    name: &'static str,
    client: Client,
    /// Whether most answers are waited for one by one. Then a tenth of the wallet loads, and ten times what it takes is
    /// told; from a server that lets each answer wait for a second it loads only once.
    is_serial: bool,
}

const STYLES: [Style; 5] = [
    Style {
        name: "one request after the other",
        client: Client::Lines(Asking::Requests { unanswered: 1 }),
        is_serial: true,
    },
    Style {
        name: "100 requests unanswered",
        client: Client::Lines(HUNDRED),
        is_serial: false,
    },
    Style {
        name: "batches of 200, transactions of 45",
        client: Client::Lines(Asking::Batches {
            scripts: 200,
            transactions: 45,
        }),
        is_serial: false,
    },
    Style {
        name: "`electrum-client`, 200 and 45 at once",
        client: Client::Batching,
        is_serial: false,
    },
    Style {
        name: "`bdk_electrum`, full scan",
        client: Client::Bdk,
        is_serial: true,
    },
];
const HUNDRED: Asking = Asking::Requests { unanswered: 100 };

/// The small wallet is the whole one divided by this.
const PARTS: u32 = 10;

/// One that is asked.
struct Server {
    name: &'static str,
    onion_address: String,
    /// Whether it lets answers wait for others.
    waits: bool,
}

/// All servers, over one node.
struct Scene {
    /// Claustrum first.
    servers: Vec<Server>,
    /// With all scripts, and with a tenth of them.
    owners: [Owner; 2],
    network: TorNetwork,
    /// In front of the network's SOCKS port.
    meter: Meter,
    users: usize,
    _processes: (Claustrum, Loopback, [ElectrumX; 2], Node),
}

/// What a load took, as [`COLUMNS`] has it.
type Taken = [f64; 3];

const COLUMNS: [(&str, &str); 3] = [
    ("time", "s"),
    ("from the wallet", "kB"),
    ("to the wallet", "kB"),
];

/// Adds all figures.
pub(crate) fn measure(figures: &mut Figures, small: bool) -> Result<()> {
    let size = if small { SMALL } else { ORDINARY };
    let mut scene = Scene::start(&size)?;
    let names: Vec<_> = scene.servers.iter().map(|server| server.name).collect();
    figures.begin_servers(&names);
    for style in &STYLES {
        scene.style(figures, &size, style)?;
    }
    scene.fewer(figures, &size)
}

impl Scene {
    fn start(size: &Size) -> Result<Self> {
        say("wallets: a chain, a private Tor network, and four servers");
        let (node, owners) = chain::start([1, PARTS], size.scripts, size.transactions)?;
        let network = TorNetwork::start()?;
        let loopback = Loopback::start(&node, &Options::default())?;
        let others = [ElectrumX::start(&node)?, ElectrumX::start_waiting(&node)?];
        let claustrum = Claustrum::start(&node, &network, &Options::default())?;
        let [at_once, waiting] = &others;
        let ports = [loopback.port(), at_once.port(), waiting.port()];
        let mut onion_addresses = vec![claustrum.onion_address()?.to_owned()];
        onion_addresses.extend(network.add_onion_services(&ports)?);
        let names = [
            ("Claustrum", false),
            ("C Tor, `examples/loopback`", false),
            ("C Tor, ElectrumX that answers at once", false),
            ("C Tor, ElectrumX as shipped", true),
        ];
        let server = |((name, waits), onion_address)| Server {
            name,
            onion_address,
            waits,
        };
        Ok(Self {
            servers: names.into_iter().zip(onion_addresses).map(server).collect(),
            owners,
            meter: Meter::before(network.socks_port())?,
            network,
            users: 0,
            _processes: (claustrum, loopback, others, node),
        })
    }

    /// One wallet loads from each server in turn.
    fn style(&mut self, figures: &mut Figures, size: &Size, style: &Style) -> Result<()> {
        let mut taken = vec![Vec::new(); self.servers.len()];
        for round in 0..size.rounds {
            for (number, taken) in taken.iter_mut().enumerate() {
                if style.is_serial && self.servers[number].waits && round > 0 {
                    continue;
                }
                let mut one = self.load(number, style.client, style.is_serial)?;
                if style.is_serial {
                    one = one.map(|value| value * f64::from(PARTS));
                }
                self.tell(style.name, round, number, &one);
                taken.push(one);
            }
        }
        for (column, (what, unit)) in COLUMNS.iter().enumerate() {
            let of = |all: &Vec<Taken>| all.iter().map(|one| one[column]).collect();
            let values: Vec<Vec<f64>> = taken.iter().map(of).collect();
            figures.servers(&format!("{}: {what}", style.name), unit, &values)?;
        }
        Ok(())
    }

    /// The whole wallet, or the small one.
    fn load(&mut self, number: usize, client: Client, in_part: bool) -> Result<Taken> {
        let owner = &self.owners[usize::from(in_part)];
        self.users += 1;
        let user = format!("load-{}", self.users);
        let onion_address = &self.servers[number].onion_address;
        let (seconds, transactions) = match client {
            Client::Lines(asking) => {
                let hashes = owner.hashes()?;
                let mut line = open(self.meter.port(), &user, onion_address)?;
                self.meter.reset();
                let started = Instant::now();
                let transactions = lines::load(&mut line, &hashes, asking)?;
                (started.elapsed().as_secs_f64(), transactions)
            }
            Client::Batching | Client::Bdk => {
                let way = |socks_port| Way::Tor {
                    socks_port,
                    user: user.clone(),
                    onion_address: onion_address.clone(),
                };
                // There is a circuit then, as there is for lines.
                let ping = ["--count", "1"];
                Wallet::run("ping", &way(self.network.socks_port()), &ping, PING)?;
                self.meter.reset();
                let started = Instant::now();
                let way = way(self.meter.port());
                let transactions = match client {
                    Client::Bdk => owner.scan(&way, LOAD)?,
                    Client::Lines(_) | Client::Batching => owner.load(&way, LOAD)?,
                };
                (started.elapsed().as_secs_f64(), transactions)
            }
        };
        ensure!(
            transactions == owner.transactions,
            "{transactions} transactions instead of {}",
            owner.transactions
        );
        self.taken(seconds)
    }

    /// As many scripts as were asked of other servers before, by a wallet and by several at the same time.
    fn fewer(&mut self, figures: &mut Figures, size: &Size) -> Result<()> {
        for (wallets, scripts) in [(1, size.fewer), (WALLETS, size.several)] {
            let what = match wallets {
                1 => format!("{scripts} scripts, 100 requests unanswered"),
                _ => {
                    format!("{wallets} wallets of {scripts} scripts, 100 requests unanswered each")
                }
            };
            let mut seconds = vec![Vec::new(); self.servers.len()];
            for round in 0..size.rounds {
                for (number, seconds) in seconds.iter_mut().enumerate() {
                    let one = self.at_once(number, wallets, scripts)?;
                    self.tell(&what, round, number, &one);
                    seconds.push(one[0]);
                }
            }
            figures.servers(&what, "s", &seconds)?;
        }
        Ok(())
    }

    /// So many wallets over one circuit, each with other scripts of the whole wallet.
    fn at_once(&mut self, number: usize, wallets: usize, scripts: usize) -> Result<Taken> {
        let [owner, _] = &self.owners;
        let hashes = owner.hashes()?;
        // Pairs of scripts have their transactions together.
        let apart = (hashes.len() - scripts) / wallets / 2 * 2;
        self.users += 1;
        let user = format!("load-{}", self.users);
        let onion_address = &self.servers[number].onion_address;
        let open = |_| open(self.meter.port(), &user, onion_address);
        let lines: Vec<Line> = (0..wallets).map(open).collect::<Result<_>>()?;
        self.meter.reset();
        let started = Instant::now();
        thread::scope(|scope| {
            let begin = |(wallet, mut line): (usize, Line)| {
                let hashes = &hashes[wallet * apart..][..scripts];
                scope.spawn(move || lines::load(&mut line, hashes, HUNDRED))
            };
            let running: Vec<_> = lines.into_iter().enumerate().map(begin).collect();
            for wallet in running {
                let transactions = wallet.join().ok().context("a wallet panicked")??;
                let expected = owner.transactions_of(scripts);
                ensure!(
                    transactions == expected,
                    "{transactions} transactions instead of {expected}"
                );
            }
            Ok(())
        })?;
        self.taken(started.elapsed().as_secs_f64())
    }

    fn taken(&self, seconds: f64) -> Result<Taken> {
        let Bytes { sent, received } = self.meter.bytes();
        let kilobytes = |bytes| anyhow::Ok(f64::from(u32::try_from(bytes)?) / 1000.0);
        Ok([seconds, kilobytes(sent)?, kilobytes(received)?])
    }

    fn tell(&self, what: &str, round: usize, server: usize, one: &Taken) {
        let [seconds, sent, received] = one.map(number);
        let name = self.servers[server].name;
        say(&format!(
            "{what}, {}, {name}: {seconds} s, {sent} kB, {received} kB",
            round + 1
        ));
    }
}

/// A connection that has answered once.
fn open(socks_port: u16, user: &str, onion_address: &str) -> Result<Line> {
    let stream = socks::connect(socks_port, user, onion_address, ONION_PORT)?;
    stream.set_nodelay(true)?;
    let mut line = Line::new(stream);
    line.call("server.version", json!(["bench", "1.4"]))?;
    Ok(line)
}
