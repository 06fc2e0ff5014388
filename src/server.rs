//! The server: an engine behind a door, watched over, and ended in order.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::broadcast::NotReady;
use crate::config::Config;
use crate::door::{self, Door};
use crate::engine::{self, Engine};
use crate::error::ErrorKind;
use crate::installation::Installation;
use crate::limits;
use crate::status::{self, Status};

/// Takes the server's status at each tick, for whoever watches.
pub type Watch = Box<dyn FnMut(&Status) + Send>;

/// Serves until a signal ends it or a part fails. A second signal ends it at once.
pub fn run(config: &Config, installation: &Installation, watch: Watch) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    let outcome = runtime.block_on(serve(config, installation, watch));
    // Tor writes its last state while the runtime ends.
    runtime.shutdown_timeout(limits::SHUTDOWN_TOR_MAX);
    outcome
}

async fn serve(config: &Config, installation: &Installation, watch: Watch) -> Result<(), Error> {
    let mut signals = Signals::new()?;
    let engine = Engine::start(config, &installation.index_dir(), Arc::new(NotReady))
        .map_err(Error::Engine)?;
    let door = Door::open(installation, config.tor_fragment.clone())
        .await
        .map_err(Error::Door)?;
    let mut server = Server {
        config,
        installation,
        watch,
        told: None,
        engine,
        door,
    };
    let outcome = server.watch_over(&mut signals).await;
    if let Ok(()) = outcome {
        tracing::info!("ending; a second signal ends at once");
    }
    // From here on `claustrum status` finds no running server.
    drop(std::fs::remove_file(installation.status_file()));
    tokio::select! {
        _ = tokio::time::timeout(limits::SHUTDOWN_MAX, server.stop()) => {}
        () = signals.next() => {}
    }
    outcome
}

struct Server<'a> {
    config: &'a Config,
    installation: &'a Installation,
    watch: Watch,
    told: Option<Status>,
    engine: Engine,
    door: Door,
}

impl Server<'_> {
    /// Hands streams to sessions until a signal comes, or a part ends by itself.
    async fn watch_over(&mut self, signals: &mut Signals) -> Result<(), Error> {
        let mut tick = interval(limits::STATUS_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = signals.next() => return Ok(()),
                error = self.engine.ended() => return Err(Error::Engine(error)),
                stream = self.door.next_stream() => self.engine.serve(stream.map_err(Error::Door)?),
                _ = tick.tick() => self.tell(),
            }
        }
    }

    /// Writes the status file and tells the one who watches, when there is something new.
    fn tell(&mut self) {
        let status = self.status();
        if self
            .told
            .as_ref()
            .is_some_and(|told| told.says(&status) && told.age() < limits::STATUS_AGE_MAX)
        {
            return;
        }
        if let Err(cause) = status.write(&self.installation.status_file()) {
            tracing::warn!("failed to write the status file: {cause}");
        }
        (self.watch)(&status);
        self.told = Some(status);
    }

    fn status(&self) -> Status {
        let progress = self.engine.progress();
        let door = self.door.state();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            network: self.config.network.name().to_owned(),
            written: status::now(),
            node: progress.node.text().to_owned(),
            blocks_indexed: progress.indexed,
            blocks_known: progress.target,
            ready: self.engine.is_ready(),
            tor_percent: door.percent,
            door: door
                .blocked
                .filter(|_| !door.reachable)
                .unwrap_or(door.text)
                .to_owned(),
            sessions: self.engine.counters().sessions_open().next_multiple_of(8),
            introductions_dropped: door.introductions_dropped,
            introductions_lost: crate::telemetry::introductions_lost(),
        }
    }

    /// Lets nobody in any more, lets sessions and the follower finish, ends Tor.
    async fn stop(self) {
        let tor = self.door.shut();
        self.engine.stop().await;
        // Nothing tells when the last cells have left.
        tokio::time::sleep(limits::SHUTDOWN_GOODBYE).await;
        drop(tor);
    }
}

/// SIGTERM and SIGINT alike.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Error> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(Error::Runtime)?,
            interrupt: signal(SignalKind::interrupt()).map_err(Error::Runtime)?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refuses threads or signals.
    #[error("start the runtime")]
    Runtime(#[source] io::Error),
    /// See [`engine::Error`].
    #[error(transparent)]
    Engine(engine::Error),
    /// See [`door::Error`].
    #[error(transparent)]
    Door(door::Error),
}

impl Error {
    /// Who has to act.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Runtime(_) => ErrorKind::Environment,
            Self::Engine(error) => error.kind(),
            Self::Door(error) => error.kind(),
        }
    }
}
