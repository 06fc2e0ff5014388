//! The command line: what may be said, and what is printed for people.

mod address;
mod check;
mod progress;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use bitcoin::hex::DisplayHex as _;
use clap::{Parser, Subcommand};

use progress::Bars;

use crate::config::raw::RawConfig;
use crate::config::{self, Config, Surroundings};
use crate::error::{ExitStatus, report};
use crate::installation::Installation;
use crate::status::Status;
use crate::{door, engine, hardening, redact, server, telemetry};

/// A status file older than this is of a server that does not run any more.
const STATUS_AGE_MAX: Duration = Duration::from_secs(60);

/// An Electrum server that exists only as an onion service.
#[derive(Debug, Parser)]
#[command(name = "claustrum", version, about, long_about = None)]
struct Cli {
    /// Configuration file; see claustrum.example.toml
    #[arg(long, env = "CLAUSTRUM_CONFIG", value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: RawConfig,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Command {
    /// Serve wallets (this is the default)
    Run,
    /// Show the onion address, as text and as QR code
    Address,
    /// Show the configuration that results from all its sources, and try the node
    CheckConfig,
    /// Show how the running server is
    Status,
    /// Look into the index
    Index {
        #[command(subcommand)]
        command: IndexCommand,
    },
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum IndexCommand {
    /// Read everything and say whether it fits together
    Check {
        /// Compare every transaction, not two of each block; that reads nearly all of the node's block files
        #[arg(long)]
        full: bool,
    },
    /// Print a digest of every table, and the commitment of the last block
    Digest,
    /// Delete the index; the next start builds it anew from the node
    Rebuild,
}

/// Runs the program; the one place that prints an error.
pub fn main() -> ExitStatus {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            // With standard output gone there is nobody to tell.
            drop(usage.print());
            return if usage.use_stderr() {
                ExitStatus::Usage
            } else {
                ExitStatus::Ok
            };
        }
    };
    redact::install_panic_hook();
    match run(cli) {
        Ok(()) => ExitStatus::Ok,
        Err(failure) => {
            drop(writeln!(
                io::stderr(),
                "claustrum: failed to {}",
                failure.text
            ));
            failure.status
        }
    }
}

/// What is printed at the end, and the exit status with it.
struct Failure {
    status: ExitStatus,
    text: String,
}

impl Failure {
    fn new(status: impl Into<ExitStatus>, error: &(dyn std::error::Error + 'static)) -> Self {
        Self {
            status: status.into(),
            text: report(error),
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    hardening::apply().map_err(|cause| Failure::new(ExitStatus::Io, &cause))?;
    let lower = cli
        .config
        .map_or(Ok(RawConfig::default()), |path| config::read_file(&path));
    let resolved = lower
        .and_then(|lower| Config::resolve(cli.settings.over(lower), &Surroundings::of_process()));
    let config = resolved.map_err(|faults| Failure::new(ExitStatus::Config, &faults))?;
    match cli.command.unwrap_or(Command::Run) {
        Command::Run => serve(&config),
        Command::Address => show_address(&open(&config)?),
        Command::CheckConfig => check::run(&config, print),
        Command::Status => print(&status(&config)?),
        Command::Index { command } => print(&look_into_index(&config, command)?),
    }
}

fn serve(config: &Config) -> Result<(), Failure> {
    let bars = Bars::new();
    telemetry::init_within(bars.hider(), door::is_lost_introduction)
        .map_err(|error| Failure::new(ExitStatus::Bug, &error))?;
    let installation = open(config)?;
    let watch: server::Watch = if io::stdout().is_terminal() {
        show_address(&installation)?;
        print("\n")?;
        bars.watch()
    } else {
        print("the onion address: claustrum address\n")?;
        progress::in_lines()
    };
    server::run(config, &installation, watch).map_err(|error| Failure::new(error.kind(), &error))
}

fn open(config: &Config) -> Result<Installation, Failure> {
    Installation::open(config.instance_dir()).map_err(|error| Failure::new(error.kind(), &error))
}

fn show_address(installation: &Installation) -> Result<(), Failure> {
    let address =
        door::address(installation).map_err(|error| Failure::new(error.kind(), &error))?;
    let medium = if io::stdout().is_terminal() {
        address::Medium::Terminal
    } else {
        address::Medium::Plain
    };
    print(&address::text(&address, medium))
}

fn status(config: &Config) -> Result<String, Failure> {
    let path = Installation::at(config.instance_dir()).status_file();
    let unavailable = |text: String| Failure {
        status: ExitStatus::Unavailable,
        text,
    };
    let advice = "is the server running, with the same --data-dir and --network?";
    let status = Status::read(&path).map_err(|cause| {
        let path = path.display();
        unavailable(if cause.kind() == io::ErrorKind::NotFound {
            format!("find a running server: there is no {path}; {advice}")
        } else {
            format!("read {path}: {cause}; {advice}")
        })
    })?;
    if status.age() > STATUS_AGE_MAX {
        return Err(unavailable(format!(
            "find a running server: {} is {} s old; {advice}",
            path.display(),
            status.age().as_secs()
        )));
    }
    Ok(status.to_text())
}

fn look_into_index(config: &Config, command: IndexCommand) -> Result<String, Failure> {
    match command {
        IndexCommand::Check { full } => check_index(config, full),
        IndexCommand::Digest => digest(config),
        IndexCommand::Rebuild => {
            engine::delete_index(&open(config)?.index_dir())
                .map_err(|error| Failure::new(error.kind(), &error))?;
            Ok("the index is deleted; the next start builds it anew from the node\n".to_owned())
        }
    }
}

fn check_index(config: &Config, full: bool) -> Result<String, Failure> {
    let checked = engine::check(config, &open(config)?.index_dir(), full);
    let checked = checked.map_err(|error| Failure::new(error.kind(), &error))?;
    Ok(format!(
        "the index is whole: {} blocks, {} transactions ({} compared), {} scripts, {} touches, {} unspent outputs\n",
        checked.blocks,
        checked.transactions,
        checked.compared,
        checked.scripts,
        checked.touches,
        checked.unspent
    ))
}

/// One line a table: its name and the SHA-256 of its rows.
fn digest(config: &Config) -> Result<String, Failure> {
    let digests = engine::digests(&open(config)?.index_dir(), config.network);
    let digests = digests.map_err(|error| Failure::new(error.kind(), &error))?;
    let tip = digests.tip.map_or("empty".to_owned(), |tip| {
        format!("{} {}", tip.height, tip.hash)
    });
    let mut text = format!("tip          {tip}\n");
    let commitment = digests.commitment.map(|commitment| commitment.0);
    for (name, digest) in commitment
        .map(|bytes| ("commitment", bytes))
        .into_iter()
        .chain(digests.tables)
    {
        text.push_str(&format!("{name:<12} {}\n", digest.to_lower_hex_string()));
    }
    Ok(text)
}

/// A reader that went away (`claustrum status | head`) is no error.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(ExitStatus::Io, &cause))
        }
        _ => Ok(()),
    }
}
