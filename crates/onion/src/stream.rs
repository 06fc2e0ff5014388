//! A stream that a client opened, and how many of them its circuit has.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arti_client::DataStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

/// A number of our own for one rendezvous circuit, the only identity a client has.
///
/// Never used twice by one [`Tor`](crate::Tor). It is for grouping streams in memory, not for logs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CircuitNumber(pub(crate) u64);

impl fmt::Debug for CircuitNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CircuitNumber([scrubbed])")
    }
}

/// A stream as [`OnionService::next_stream`](crate::OnionService::next_stream) yields it.
#[derive(Debug)]
pub struct AcceptedStream {
    /// The circuit it came on.
    pub circuit: CircuitNumber,
    /// The bytes.
    pub stream: OnionStream,
}

/// The bytes between us and a client.
///
/// Writes are buffered until a cell is full: flush after every message. There is no half-close;
/// shutting down ends both directions. Dropping it frees its place on the circuit.
pub struct OnionStream {
    inner: DataStream,
    _place: Place,
}

impl OnionStream {
    pub(crate) fn new(inner: DataStream, place: Place) -> Self {
        Self {
            inner,
            _place: place,
        }
    }
}

impl fmt::Debug for OnionStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnionStream")
    }
}

/// A stream of ours is the one of Arti's that it holds as `inner`.
macro_rules! passes_bytes_on {
    ($stream:ty) => {
        impl AsyncRead for $stream {
            fn poll_read(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                AsyncRead::poll_read(Pin::new(&mut self.inner), cx, buf)
            }
        }

        impl AsyncWrite for $stream {
            fn poll_write(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                AsyncWrite::poll_write(Pin::new(&mut self.inner), cx, buf)
            }

            fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                AsyncWrite::poll_flush(Pin::new(&mut self.inner), cx)
            }

            fn poll_shutdown(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                AsyncWrite::poll_shutdown(Pin::new(&mut self.inner), cx)
            }
        }
    };
}
pub(crate) use passes_bytes_on;

passes_bytes_on!(OnionStream);

/// How many streams of one circuit are in somebody's hands.
#[derive(Clone, Default)]
pub(crate) struct LiveStreams(Arc<watch::Sender<usize>>);

impl LiveStreams {
    /// One more, until the returned place is dropped.
    pub(crate) fn enter(&self) -> Place {
        self.0.send_modify(|live| *live = live.saturating_add(1));
        Place(self.clone())
    }

    pub(crate) fn count(&self) -> usize {
        *self.0.borrow()
    }

    /// Returns once there was no stream for `patience` without a break.
    pub(crate) async fn idle_for(&self, patience: Duration) {
        let mut live = self.0.subscribe();
        loop {
            // Waiting fails only without a sender, and `self` is one.
            drop(live.wait_for(|live| *live == 0).await);
            let busy_again = live.wait_for(|live| *live > 0);
            if tokio::time::timeout(patience, busy_again).await.is_err() {
                return;
            }
        }
    }
}

/// One live stream's place on its circuit.
pub(crate) struct Place(LiveStreams);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.send_modify(|live| *live = live.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::time::{sleep, timeout};

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(60);

    #[test]
    fn a_place_is_free_again_when_it_is_dropped() {
        let live = LiveStreams::default();
        let (first, second) = (live.enter(), live.enter());
        assert_eq!(live.count(), 2);
        drop(first);
        assert_eq!(live.count(), 1);
        drop(second);
        assert_eq!(live.count(), 0);
    }

    #[tokio::test]
    async fn a_circuit_with_a_stream_is_not_idle() {
        let live = LiveStreams::default();
        let _place = live.enter();
        assert!(
            timeout(PATIENCE * 5, live.idle_for(PATIENCE))
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn idleness_is_counted_from_the_last_stream() {
        let live = LiveStreams::default();
        let place = live.enter();
        let leaving = async move {
            sleep(PATIENCE * 2).await;
            drop(place);
            Instant::now()
        };
        let idle = async {
            live.idle_for(PATIENCE).await;
            Instant::now()
        };
        let (left, ended) = tokio::join!(leaving, idle);
        assert!(ended.duration_since(left) >= PATIENCE);
    }
}
