//! The server: an engine behind a door, watched over, and ended in order.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::broadcast::{Broadcaster, Host, Method, OwnNode, Timing, TorPeers};
use crate::config::Config;
use crate::door::{self, Door, OpenTor};
use crate::engine::{self, Engine};
use crate::error::ErrorKind;
use crate::installation::{self, Installation};
use crate::limits;
use crate::node::{Judge, Sender};
use crate::status::{self, Broadcast, Status};

/// Takes the server's status at each tick, for whoever watches.
pub type Watch = Box<dyn FnMut(&Status) + Send>;

/// Serves until a signal ends it or a part fails. A second signal ends it at once.
pub fn run(config: &Config, installation: &Installation, watch: Watch) -> Result<(), Error> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads((cores / limits::CORES_PER_RUNTIME_THREAD).max(1))
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
    let tor = OpenTor::create(installation, config.tor_fragment.clone());
    let tor = tor.await.map_err(Error::Door)?;
    let tor_peers = tor_peers(config, installation, &tor)?;
    let broadcaster: Arc<dyn Broadcaster> = match &tor_peers {
        Some(tor_peers) => Arc::<TorPeers>::clone(tor_peers),
        None => Arc::new(OwnNode::new(Sender::new(&engine::node_settings(config)))),
    };
    let engine = Engine::start(
        config,
        &installation.index_dir(),
        broadcaster,
        limits::SESSIONS_MAX,
    );
    let mut server = Server {
        config,
        installation,
        watch,
        told: None,
        broadcast_log: BroadcastLog::default(),
        engine: engine.map_err(Error::Engine)?,
        tor_peers,
        door: Door::open(tor, installation).map_err(Error::Door)?,
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

/// Peers as the way of transactions, if that is how they leave.
fn tor_peers(
    config: &Config,
    installation: &Installation,
    tor: &OpenTor,
) -> Result<Option<Arc<TorPeers>>, Error> {
    match config.broadcast.method {
        Method::OwnNode => {
            tracing::warn!(
                "broadcast.method is own-node: your node announces wallets' transactions under its own address, and whoever watches it can tell that they come from there"
            );
            Ok(None)
        }
        Method::TorPeers => TorPeers::start(
            config.broadcast.clone(),
            config.network,
            own_hosts(config, installation)?,
            Timing::standard(),
            Judge::new(&engine::node_settings(config)),
            tor.way_out(),
        )
        .map(|tor_peers| Some(Arc::new(tor_peers)))
        .map_err(Error::Randomness),
    }
}

/// Where a transaction would come home instead of leaving, beside what the node says of itself.
fn own_hosts(config: &Config, installation: &Installation) -> Result<Vec<Host>, Error> {
    let address = door::address(installation).map_err(Error::Address)?;
    // The address of a door always is a host.
    let door = address.parse().into_iter();
    Ok(door.chain(config.node.distant_host()).collect())
}

struct Server<'a> {
    config: &'a Config,
    installation: &'a Installation,
    watch: Watch,
    told: Option<Status>,
    broadcast_log: BroadcastLog,
    engine: Engine,
    tor_peers: Option<Arc<TorPeers>>,
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
        self.broadcast_log.tell(&status.broadcast);
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
        if let (Some(trouble), true) = (&status.index_trouble, self.is_new(&status)) {
            tracing::error!("failed to {trouble}");
        }
        (self.watch)(&status);
        self.told = Some(status);
    }

    fn is_new(&self, status: &Status) -> bool {
        let told = self.told.as_ref();
        told.is_none_or(|told| told.index_trouble != status.index_trouble)
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
            speed: progress.speed.map(|speed| speed.to_string()),
            ready: self.engine.is_ready(),
            index_trouble: self.engine.index_trouble().map(str::to_owned),
            mempool: progress.mempool_text(),
            tor_percent: door.percent,
            door: door
                .blocked
                .filter(|_| !door.reachable)
                .unwrap_or(door.text)
                .to_owned(),
            sessions: self.engine.counters().sessions_open().next_multiple_of(8),
            pauses: self.engine.pauses().next_multiple_of(8),
            introductions_dropped: door.introductions_dropped,
            introductions_lost: crate::telemetry::introductions_lost(),
            broadcast: self.broadcast(),
        }
    }

    fn broadcast(&self) -> Broadcast {
        let hindrance = self.tor_peers.as_ref().and_then(|it| it.readiness().err());
        let alarm = self.tor_peers.as_ref().and_then(|it| it.alarm());
        Broadcast {
            method: self.config.broadcast.method.name().to_owned(),
            hindrance: hindrance.map(|hindrance| hindrance.text().to_owned()),
            alarm: alarm.map(|alarm| alarm.text().to_owned()),
        }
    }

    /// Lets nobody in any more, lets sessions, deliveries and the follower finish, ends Tor.
    async fn stop(self) {
        let tor = self.door.shut();
        let deliveries = async {
            // Dropped with it is its way out, which would keep Tor from ending.
            if let Some(tor_peers) = self.tor_peers {
                tor_peers.stop().await;
            }
        };
        tokio::join!(self.engine.stop(), deliveries);
        // Nothing tells when the last cells have left.
        tokio::time::sleep(limits::SHUTDOWN_GOODBYE).await;
        drop(tor);
    }
}

/// What the log was told of broadcasting.
///
/// A change can be the doing of one transaction, so its line comes at a time that says nothing of it.
struct BroadcastLog {
    told: Option<Broadcast>,
    next: Instant,
}

impl Default for BroadcastLog {
    fn default() -> Self {
        Self {
            told: None,
            next: Instant::now() + limits::BROADCAST_LOG_INTERVAL,
        }
    }
}

impl BroadcastLog {
    fn tell(&mut self, now: &Broadcast) {
        let is_first = self.told.is_none() && now.hindrance.is_none();
        let is_time = self.next <= Instant::now();
        if is_time {
            self.next = Instant::now() + limits::BROADCAST_LOG_INTERVAL;
        }
        let is_news = self.told.as_ref() != Some(now);
        if !(is_first || is_time && is_news) {
            return;
        }
        match &now.hindrance {
            None => tracing::info!("wallets' transactions are taken ({})", now.method),
            Some(hindrance) => tracing::warn!("wallets' transactions are refused: {hindrance}"),
        }
        if let Some(alarm) = &now.alarm {
            tracing::warn!("broadcasting needs you: {alarm}");
        }
        self.told = Some(now.clone());
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
    /// There is nothing to draw peers with.
    #[error("get random numbers from the operating system")]
    Randomness(#[source] io::Error),
    /// Our own address is unknown, which transactions must not be given to.
    #[error("read the key of the onion address")]
    Address(#[source] installation::Error),
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
            Self::Runtime(_) | Self::Randomness(_) => ErrorKind::Environment,
            Self::Address(error) => error.kind(),
            Self::Engine(error) => error.kind(),
            Self::Door(error) => error.kind(),
        }
    }
}
