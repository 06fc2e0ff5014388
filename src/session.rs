//! One client's stream, driven: the asynchronous rim around an [`electrum::Conversation`](crate::electrum).
//!
//! A session is served over any stream of bytes and knows nothing of Tor. It writes no log line: what happens in
//! sessions is told by [`Counters`] alone.

mod admission;
mod at_once;
mod budget;
mod counters;
mod deadlines;
mod driver;
mod memo_room;
mod outbound;
mod pool;
mod ticks;
mod work;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::broadcast::Broadcaster;
use crate::electrum::{self, Identity};
use crate::limits;
use crate::query::{CatchUp, NodeReader, Readiness, View};

use at_once::AtOnce;

pub use admission::{Admission, Admitted};
pub use counters::Counters;
pub use pool::ReadPool;

/// What all sessions share.
pub struct Services {
    /// The current view; `None` before the first one.
    pub views: watch::Receiver<Option<Arc<View>>>,
    /// What only the node can tell.
    pub node: Arc<dyn NodeReader>,
    /// How a transaction leaves.
    pub broadcaster: Arc<dyn Broadcaster>,
    /// Where questions are answered.
    pub pool: ReadPool,
    /// How the server presents itself.
    pub identity: Arc<Identity>,
    /// Bound on one reply, in whole cells: what it is filled to is no larger.
    pub reply_bytes_max: usize,
    /// Whether a block makes every session that watches something write the same, and the mempool is told at ticks.
    pub uniform_ticks: bool,
    /// What is told about all sessions together.
    pub counters: Counters,
    /// Where answers are sought first.
    at_once: AtOnce,
    /// The right to receive the rest of a long line.
    large_lines: Arc<Semaphore>,
    /// Room, in KiB, for large replies that wait for their clients.
    outbound_room: Arc<Semaphore>,
    /// Bytes of what sessions keep of their answers.
    memos: Arc<AtomicUsize>,
}

impl Services {
    /// Everything that sessions need; `reply_bytes_max` bounds one reply.
    pub fn new(
        views: watch::Receiver<Option<Arc<View>>>,
        node: Arc<dyn NodeReader>,
        broadcaster: Arc<dyn Broadcaster>,
        pool: ReadPool,
        identity: Identity,
        reply_bytes_max: usize,
    ) -> Self {
        // Room for two of the largest, so that one that waits for its client does not refuse the next.
        let two_bytes = electrum::filled_max(reply_bytes_max).saturating_mul(2);
        let outbound_bytes = limits::OUTBOUND_BYTES_MAX.max(two_bytes);
        let outbound_room = (outbound_bytes / 1024).min(Semaphore::MAX_PERMITS);
        Self {
            views,
            node,
            broadcaster,
            pool,
            identity: Arc::new(identity),
            reply_bytes_max: reply_bytes_max / limits::CELL_BYTES * limits::CELL_BYTES,
            uniform_ticks: false,
            counters: Counters::default(),
            at_once: AtOnce::new(),
            large_lines: Arc::new(Semaphore::new(limits::LARGE_LINES_MAX)),
            outbound_room: Arc::new(Semaphore::new(outbound_room)),
            memos: Arc::default(),
        }
    }

    fn view(&self) -> Option<Arc<View>> {
        self.views.borrow().clone()
    }

    fn readiness(&self) -> Readiness {
        match self.views.borrow().as_deref() {
            Some(view) => view.readiness,
            None => Readiness::CatchingUp(CatchUp::default()),
        }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The client closed its stream, or the transport did.
    ClientLeft,
    /// The server is shutting down.
    Cancelled,
    /// No version of the protocol in common.
    VersionRefused,
    /// A line passed [`limits::LINE_BYTES_MAX`].
    LineTooLong,
    /// Too many faults against the protocol in a minute.
    ProtocolErrors,
    /// No complete line within [`limits::FIRST_LINE_MAX`].
    NoFirstLine,
    /// A line took too long to arrive.
    SlowLine,
    /// No request for [`limits::IDLE_MAX`].
    Idle,
    /// The client took nothing for [`limits::NO_DRAIN_MAX`].
    NoDrain,
}

/// Serves one client until it leaves, misbehaves, or `cancel` is called.
///
/// After `cancel`, requests under way are finished within [`limits::SHUTDOWN_SESSIONS_MAX`].
pub async fn serve<S>(stream: S, services: Arc<Services>, cancel: CancellationToken) -> EndReason
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let _open = services.counters.session_opened();
    let (reader, writer) = tokio::io::split(stream);
    driver::Session::new(&services)
        .run(reader, writer, &cancel)
        .await
}
