//! Everything but the way in: index, follower and sessions, put together and taken apart in order.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broadcast::Broadcaster;
use crate::chain::Network;
use crate::config::Config;
use crate::electrum::Identity;
use crate::error::ErrorKind;
use crate::index::{self, Extent, Health, Index};
use crate::limits;
use crate::node::{BlockFiles, Node, NodeAuth, NodeSettings};
use crate::query::View;
use crate::session::{self, Admission, Counters, ReadPool, Services};
use crate::sync::{self, BulkSettings, Follower, Progress, ProgressReader};

/// A running server without a way in: streams are handed to [`Engine::serve`].
#[must_use = "the engine stops when it is dropped"]
pub struct Engine {
    services: Arc<Services>,
    follower: Follower,
    progress: ProgressReader,
    health: Health,
    ended: oneshot::Receiver<Result<(), sync::Error>>,
    admission: Admission,
    sessions: TaskTracker,
    cancel: CancellationToken,
}

impl Engine {
    /// Opens the index and begins to follow the node; up to `sessions_max` clients are served at a time.
    ///
    /// Must be called inside a tokio runtime.
    pub fn start(
        config: &Config,
        index_dir: &Path,
        broadcaster: Arc<dyn Broadcaster>,
        sessions_max: usize,
    ) -> Result<Self, Error> {
        let index = Index::open(index_dir, config.network).map_err(Error::Index)?;
        let health = index.health();
        let settings = node_settings(config);
        let node = Arc::new(Node::new(&settings));
        let (publish, views) = watch::channel(Some(Arc::new(sync::first_view(&index))));
        let (tell, ended) = oneshot::channel();
        let follower = Follower::launch(
            &node,
            index,
            bulk_settings(config, index_dir),
            Box::new(move |view: View| drop(publish.send_replace(Some(Arc::new(view))))),
            // The receiver is gone only when the engine is, and then nobody asks.
            Box::new(move |outcome| drop(tell.send(outcome))),
        )
        .map_err(Error::Follow)?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let identity = Identity {
            name: config.server_name.clone(),
            genesis: config.network.genesis_hash(),
            protocol_max: config.protocol_max,
        };
        let reads = ReadPool::new(threads);
        let mut services = Services::new(
            views,
            node,
            broadcaster,
            reads,
            identity,
            config.reply_bytes_max,
        );
        services.uniform_ticks = config.uniform_ticks;
        Ok(Self {
            services: Arc::new(services),
            progress: follower.progress(),
            health,
            follower,
            ended,
            admission: Admission::new(sessions_max),
            sessions: TaskTracker::new(),
            cancel: CancellationToken::new(),
        })
    }

    /// Serves one client in a task of its own. At the bound of sessions the stream is dropped instead.
    pub fn serve(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let Some(admitted) = self.admission.admit() else {
            return;
        };
        let (services, cancel) = (Arc::clone(&self.services), self.cancel.clone());
        self.sessions.spawn(async move {
            let _admitted = admitted;
            session::serve(stream, services, cancel).await
        });
    }

    /// Waits until following the node has ended by itself, which is never well.
    pub async fn ended(&mut self) -> Error {
        match (&mut self.ended).await {
            Ok(Err(error)) => Error::Follow(error),
            Ok(Ok(())) | Err(_) => Error::FollowerLost,
        }
    }

    /// How far the follower is.
    pub fn progress(&self) -> Progress {
        self.progress.now()
    }

    /// What was found wrong with the index since the start.
    pub fn index_trouble(&self) -> Option<&str> {
        self.health.trouble()
    }

    /// Whether questions about scripts are answered.
    pub fn is_ready(&self) -> bool {
        let view = self.services.views.borrow();
        view.as_ref().is_some_and(|view| view.readiness.is_ready())
    }

    /// Sums over all sessions.
    pub fn counters(&self) -> &Counters {
        &self.services.counters
    }

    /// How often a session was held back since the start, because it had taken more than others who waited.
    pub fn pauses(&self) -> u64 {
        self.services.pool.pauses()
    }

    /// Sessions finish their current answer, then the follower its commit.
    pub async fn stop(self) {
        self.cancel.cancel();
        self.sessions.close();
        let patience = limits::SHUTDOWN_SESSIONS_MAX;
        // Sessions that are not done by then end with the runtime.
        drop(tokio::time::timeout(patience, self.sessions.wait()).await);
        let follower = self.follower;
        // A panic in it was told where it happened.
        drop(tokio::task::spawn_blocking(move || follower.stop()).await);
    }
}

/// The node of this configuration.
pub fn node_settings(config: &Config) -> NodeSettings {
    NodeSettings {
        address: config.node.rpc,
        auth: NodeAuth::cookie_file(config.node.cookie.clone()),
        network: config.network,
    }
}

/// What building the index of this configuration may take.
fn bulk_settings(config: &Config, index_dir: &Path) -> BulkSettings {
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    BulkSettings {
        block_files: Some(config.node_blocks_dir()),
        rest: true,
        jobs: config.jobs.unwrap_or(cores),
        memory_bytes: config.sync_memory,
        blocks_min: limits::BULK_BLOCKS_MIN,
        distance: limits::DELTA_BLOCKS_MIN,
        working_dir: index_dir.join("bulk"),
    }
}

/// The digests of an index that no server has open.
pub fn digests(index_dir: &Path, network: Network) -> Result<index::Digests, index::Error> {
    Index::open(index_dir, network)?.digest()
}

/// Reads everything in an index that no server has open, and two transactions of each block, or all, where the index has
/// them; in the node's block files, if they can be read.
pub fn check(
    config: &Config,
    index_dir: &Path,
    full: bool,
) -> Result<index::Checked, index::Error> {
    let mut index = Index::open(index_dir, config.network)?;
    if let Ok(files) = BlockFiles::open(&config.node_blocks_dir(), config.network) {
        index.read_from(Arc::new(files))?;
    }
    index.check(if full { Extent::Full } else { Extent::Sample })
}

/// Deletes an index that no server has open, so that the next start builds it anew.
pub fn delete_index(index_dir: &Path) -> Result<(), index::Error> {
    Index::delete(index_dir)
}

/// Why the engine does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The index cannot be opened.
    #[error(transparent)]
    Index(index::Error),
    /// The node cannot be followed.
    #[error("follow the node")]
    Follow(#[source] sync::Error),
    /// The follower ended without a word, which a panic does.
    #[error(
        "follow the node: the follower ended by itself; start the server again, and report the place it printed"
    )]
    FollowerLost,
}

impl Error {
    /// Who has to act.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Index(error) => error.kind(),
            Self::Follow(error) => error.kind(),
            Self::FollowerLost => ErrorKind::Bug,
        }
    }
}
