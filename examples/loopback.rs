//! Serves the sessions of the product on a loopback address, for benchmarks and differential tests.
//!
//! A development program: it has a listener and broadcasts through the node, which the product never does. It is not
//! shipped, and it is what the test that looks for listeners must catch.

#![expect(
    clippy::disallowed_types,
    reason = "this program is the one that listens"
)]
#![expect(
    clippy::print_stderr,
    reason = "it is an edge of the process of its own"
)]

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser;
use claustrum::broadcast::OwnNode;
use claustrum::config::raw::RawConfig;
use claustrum::config::{Config, Surroundings, read_file};
use claustrum::engine::{Engine, node_settings};
use claustrum::installation::Installation;
use claustrum::node::Sender;
use claustrum::{hardening, limits, redact, telemetry};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

/// Between two attempts to take a connection while the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Parser)]
#[command(args_override_self = true)]
struct Arguments {
    /// Where to listen; a loopback address only.
    #[arg(long, value_name = "127.0.0.1:PORT")]
    listen: SocketAddr,
    /// How many may be served at a time, to measure with more than the product takes.
    #[arg(long, value_name = "COUNT", default_value_t = limits::SESSIONS_MAX)]
    sessions: usize,
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    #[command(flatten)]
    settings: RawConfig,
}

fn main() -> ExitCode {
    redact::install_panic_hook();
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loopback: failed to {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    ensure!(
        arguments.listen.ip().is_loopback(),
        "listen: {} is no loopback address",
        arguments.listen
    );
    hardening::apply().context("give up rights")?;
    telemetry::init(|_target, _message| false).context("begin the log")?;
    let file = arguments
        .config
        .map_or(Ok(RawConfig::default()), |path| read_file(&path))?;
    let config = Config::resolve(arguments.settings.over(file), &Surroundings::of_process())?;
    let installation = Installation::open(config.instance_dir())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(serve(
        arguments.listen,
        &config,
        &installation,
        arguments.sessions,
    ))
}

async fn serve(
    listen: SocketAddr,
    config: &Config,
    installation: &Installation,
    sessions_max: usize,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await.context("listen")?;
    let broadcaster = OwnNode::new(Sender::new(&node_settings(config)));
    let mut engine = Engine::start(
        config,
        &installation.index_dir(),
        Arc::new(broadcaster),
        sessions_max,
    )?;
    let mut terminate = signal(SignalKind::terminate()).context("wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("wait for signals")?;
    loop {
        tokio::select! {
            stream = next_client(&listener) => engine.serve(stream),
            error = engine.ended() => return Err(error.into()),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    let pauses = engine.pauses();
    engine.stop().await;
    eprintln!("loopback: sessions were held back {pauses} times");
    Ok(())
}

/// The next connection, as soon as there is room for one: without a descriptor for it, it waits in the kernel.
async fn next_client(listener: &TcpListener) -> TcpStream {
    loop {
        let accepted = listener.accept().await;
        let ready = accepted.and_then(|(stream, _)| stream.set_nodelay(true).map(|()| stream));
        match ready {
            Ok(stream) => return stream,
            Err(_none_now) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}
