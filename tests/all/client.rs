//! A client on an in-memory stream, and the least that sessions need to be served.

use std::sync::Arc;
use std::time::Duration;

use claustrum::broadcast::NotReady;
use claustrum::chain::Network;
use claustrum::electrum::{Identity, ProtocolVersion};
use claustrum::limits;
use claustrum::query::{NodeReader, View};
use claustrum::session::{EndReason, ReadPool, Services, serve};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader, DuplexStream,
    ReadHalf, WriteHalf,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fixture::Node;

/// Bytes that a stream holds between the two sides, as a transport's own buffers would.
pub(crate) const STREAM_BYTES: usize = 16 * 1024;

/// Services over these views and this node, which take no transactions.
pub(crate) fn services(
    views: watch::Receiver<Option<Arc<View>>>,
    node: Arc<impl NodeReader + 'static>,
) -> Arc<Services> {
    with_threads(2, views, node)
}

/// The same, up to this version of the protocol.
pub(crate) fn speaking(
    version: ProtocolVersion,
    views: watch::Receiver<Option<Arc<View>>>,
    node: Arc<impl NodeReader + 'static>,
) -> Arc<Services> {
    let mut identity = Identity::of(Network::Regtest);
    identity.protocol_max = version;
    let (broadcaster, pool) = (Arc::new(NotReady), ReadPool::new(2));
    let bytes_max = limits::REPLY_BYTES_MAX;
    Arc::new(Services::new(
        views,
        node,
        broadcaster,
        pool,
        identity,
        bytes_max,
    ))
}

/// The same with so many threads that read the index.
pub(crate) fn with_threads(
    threads: usize,
    views: watch::Receiver<Option<Arc<View>>>,
    node: Arc<impl NodeReader + 'static>,
) -> Arc<Services> {
    Arc::new(Services::new(
        views,
        node,
        Arc::new(NotReady),
        ReadPool::new(threads),
        Identity::of(Network::Regtest),
        limits::REPLY_BYTES_MAX,
    ))
}

/// Services of a server that has indexed nothing.
pub(crate) fn nothing_indexed() -> Arc<Services> {
    services(watch::channel(None).1, Arc::new(Node::default()))
}

/// One client and its session.
pub(crate) struct Client {
    pub(crate) reader: BufReader<ReadHalf<DuplexStream>>,
    pub(crate) writer: WriteHalf<DuplexStream>,
    pub(crate) cancel: CancellationToken,
    session: JoinHandle<EndReason>,
}

impl Client {
    pub(crate) fn connect(services: &Arc<Services>) -> Self {
        Self::connect_by(services, STREAM_BYTES, |theirs| theirs)
    }

    /// Over a stream that holds so many bytes, and of which the session gets what becomes of its side.
    pub(crate) fn connect_by<S>(
        services: &Arc<Services>,
        bytes: usize,
        transport: impl FnOnce(DuplexStream) -> S,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (ours, theirs) = tokio::io::duplex(bytes);
        let cancel = CancellationToken::new();
        let theirs = transport(theirs);
        let session = tokio::spawn(serve(theirs, Arc::clone(services), cancel.clone()));
        let (reader, writer) = tokio::io::split(ours);
        Self {
            reader: BufReader::new(reader),
            writer,
            cancel,
            session,
        }
    }

    /// Sends bytes as they are; what the session does not take any more is lost.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        drop(self.writer.write_all(bytes).await);
    }

    /// Sends a line and reads one back.
    pub(crate) async fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\n").as_bytes()).await;
        self.line().await.expect("the session ended")
    }

    /// The next line without the spaces that filled it; `None` at the end of the stream.
    pub(crate) async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line);
        let read = tokio::time::timeout(Duration::from_secs(120), read).await;
        match read.expect("no answer").expect("the stream broke") {
            0 => None,
            _ => Some(unfilled(line.trim_end_matches('\n'))),
        }
    }

    /// Waits for the end of the session, without reading anything more.
    pub(crate) async fn ended(self) -> EndReason {
        self.session.await.expect("the session panicked")
    }

    /// Ends the sending side alone.
    pub(crate) async fn finish_sending(&mut self) {
        self.writer.shutdown().await.expect("the stream broke");
    }
}

/// A line without the spaces before its last bracket.
pub(crate) fn unfilled(line: &str) -> String {
    let (rest, bracket) = line.split_at(line.len() - 1);
    assert!(matches!(bracket, "}" | "]"), "{line}");
    format!("{}{bracket}", rest.trim_end_matches(' '))
}
