//! A wallet's visit to an Electrum server, by a client library that is not ours.

mod keep;
mod load;
mod measure;
mod report;
mod send;
mod visit;

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use electrum_client::{ClientType, ConfigBuilder, Socks5Config};

use report::Report;

/// What is asked of the server.
#[derive(Parser)]
#[command(about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Looks at one script as a wallet does: version, tip, balance, history, unspent outputs, proofs, notifications.
    Visit {
        #[command(flatten)]
        way: Way,
        #[command(flatten)]
        visit: visit::Options,
    },
    /// Sends a transaction, and stays until it has come back from the network.
    Send {
        #[command(flatten)]
        way: Way,
        #[command(flatten)]
        send: send::Options,
    },
    /// Keeps a wallet of descriptors: scans, gives out addresses, pays.
    Keep {
        #[command(flatten)]
        way: Way,
        #[command(flatten)]
        keep: keep::Options,
    },
    /// Loads many scripts with all their transactions.
    Load {
        #[command(flatten)]
        way: Way,
        #[command(flatten)]
        load: load::Options,
    },
    /// Opens many connections at once, each with a SOCKS user name and so a circuit of its own.
    Burst {
        #[command(flatten)]
        way: Way,
        /// How many.
        #[arg(long)]
        n: usize,
    },
    /// Measures round trips on one connection.
    Ping {
        #[command(flatten)]
        way: Way,
        /// How many.
        #[arg(long)]
        count: usize,
    },
}

/// The way to the server.
#[derive(Args, Clone)]
struct Way {
    /// HOST:PORT of the server; tcp:// may stand before it.
    #[arg(long)]
    server: String,
    /// HOST:PORT of Tor's SOCKS port.
    #[arg(long)]
    socks: Option<String>,
    /// SOCKS user name: another name is another circuit.
    #[arg(long, default_value = "wallet")]
    user: String,
    /// Seconds that a connection or an answer may take.
    #[arg(long, default_value_t = 60)]
    timeout: u64,
    /// One JSON object per step instead of a sentence.
    #[arg(long)]
    json: bool,
}

impl Way {
    /// Connects, and negotiates the version.
    fn connect(&self, user: &str) -> Result<ClientType> {
        // Tor takes the pair for isolation and checks neither.
        let socks =
            |address| Socks5Config::with_credentials(address, user.to_owned(), "wallet".to_owned());
        let config = ConfigBuilder::new()
            .socks5(self.socks.as_ref().map(socks))
            .timeout(Some(Duration::from_secs(self.timeout)))
            .build();
        ClientType::from_config(&self.server, &config)
            .with_context(|| format!("failed to connect to {}", self.server))
    }
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Visit { way, visit } => {
            let report = Report { json: way.json };
            let started = std::time::Instant::now();
            let client = way.connect(&way.user)?;
            report.connected(&way.server, started.elapsed());
            // The library's reconnecting client hides which error ended a connection, so it is not used.
            match client {
                ClientType::TCP(client) => visit::visit(&client, &visit, &report),
                ClientType::Socks5(client) => visit::visit(&client, &visit, &report),
            }
        }
        Command::Send { way, send } => {
            let report = Report { json: way.json };
            match way.connect(&way.user)? {
                ClientType::TCP(client) => send::send(&client, &send, &report),
                ClientType::Socks5(client) => send::send(&client, &send, &report),
            }
        }
        Command::Keep { way, keep } => {
            let report = Report { json: way.json };
            match way.connect(&way.user)? {
                ClientType::TCP(client) => keep::keep(client, &keep, &report),
                ClientType::Socks5(client) => keep::keep(client, &keep, &report),
            }
        }
        Command::Load { way, load } => {
            let report = Report { json: way.json };
            match way.connect(&way.user)? {
                ClientType::TCP(client) => load::load(&client, &load, &report),
                ClientType::Socks5(client) => load::load(&client, &load, &report),
            }
        }
        Command::Burst { way, n } => measure::burst(&way, n),
        Command::Ping { way, count } => measure::ping(&way, count),
    }
}
