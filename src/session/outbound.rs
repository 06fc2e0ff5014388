//! What waits for the client, and how it leaves: everything ready in one write and one flush, never waiting for more.

use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::electrum;

/// Lines on their way to the client.
pub(super) struct Outbound {
    /// Lines for the next write.
    ready: Vec<u8>,
    /// What large replies among them take of the room for all sessions.
    ready_room: Vec<OwnedSemaphorePermit>,
    /// The write under way.
    leaving: Vec<u8>,
    leaving_room: Vec<OwnedSemaphorePermit>,
    /// How much of it has left.
    left: usize,
    /// When the transport last took something, or began to wait.
    progressed: Instant,
}

impl Outbound {
    pub(super) fn new() -> Self {
        Self {
            ready: Vec::new(),
            ready_room: Vec::new(),
            leaving: Vec::new(),
            leaving_room: Vec::new(),
            left: 0,
            progressed: Instant::now(),
        }
    }

    /// Adds a line; a large one brings the room it takes.
    pub(super) fn push(&mut self, line: Vec<u8>, room: Option<OwnedSemaphorePermit>) {
        if self.is_empty() {
            self.progressed = Instant::now();
        }
        if self.ready.is_empty() {
            self.ready = line;
        } else {
            self.ready.extend_from_slice(&line);
        }
        self.ready_room.extend(room);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.leaving.is_empty()
    }

    /// Bytes that have not left.
    pub(super) fn bytes(&self) -> usize {
        let leaving = self.leaving.len().saturating_sub(self.left);
        self.ready.len().saturating_add(leaving)
    }

    pub(super) fn progressed(&self) -> Instant {
        self.progressed
    }

    /// Takes the next step towards an empty queue. May be dropped and called again.
    pub(super) async fn write(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        if self.leaving.is_empty() {
            std::mem::swap(&mut self.ready, &mut self.leaving);
            std::mem::swap(&mut self.ready_room, &mut self.leaving_room);
            electrum::pad(&mut self.leaving);
        }
        let rest = self.leaving.get(self.left..).unwrap_or_default();
        if !rest.is_empty() {
            let taken = writer.write(rest).await?;
            if taken == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.left = self.left.saturating_add(taken);
            self.progressed = Instant::now();
        }
        if self.left >= self.leaving.len() {
            writer.flush().await?;
            self.progressed = Instant::now();
            // Memory of a large write is given back at once.
            self.leaving = Vec::new();
            self.leaving_room.clear();
            self.left = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    /// Remembers the sizes of writes, and `None` for a flush.
    #[derive(Default)]
    struct Recorder(Vec<Option<usize>>);

    impl AsyncWrite for Recorder {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.push(Some(bytes.len()));
            Poll::Ready(Ok(bytes.len()))
        }
        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.0.push(None);
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_is_ready_leaves_in_one_write_and_one_flush() {
        let mut outbound = Outbound::new();
        let mut recorder = Recorder::default();
        outbound.push(b"{\"id\":1}\n".to_vec(), None);
        outbound.push(b"{\"id\":2}\n".to_vec(), None);
        assert_eq!(outbound.bytes(), 18);
        outbound.write(&mut recorder).await.unwrap();
        assert!(outbound.is_empty());
        assert_eq!(recorder.0, [Some(18), None]);
        outbound.push(vec![b'x'; 8_000_000], None);
        outbound.write(&mut recorder).await.unwrap();
        assert_eq!(recorder.0[2..], [Some(8_000_000), None]);
    }
}
