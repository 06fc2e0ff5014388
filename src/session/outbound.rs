//! What waits for the client, and how it leaves: lines that are ready in one write and one flush, filled to a size that
//! tells little of them, and never waiting for more.

use std::collections::VecDeque;
use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::{electrum, limits};

/// Lines on their way to the client.
pub(super) struct Outbound {
    /// What leaves next, in order.
    waiting: VecDeque<Write>,
    /// What is leaving: it has its size already, and is flushed when all of it has left.
    leaving: Write,
    /// How much of that has left.
    left: usize,
    /// When the transport last took something, or began to wait.
    progressed: Instant,
}

/// Lines that leave together.
#[derive(Default)]
struct Write {
    lines: Vec<u8>,
    /// What large replies among them take of the room for all sessions.
    room: Vec<OwnedSemaphorePermit>,
}

impl Outbound {
    pub(super) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            leaving: Write::default(),
            left: 0,
            progressed: Instant::now(),
        }
    }

    /// Adds a line, or several; a large one brings the room it takes.
    pub(super) fn push(&mut self, line: Vec<u8>, room: Option<OwnedSemaphorePermit>) {
        if line.is_empty() {
            return;
        }
        if self.is_empty() {
            self.progressed = Instant::now();
        }
        match self.waiting.back_mut() {
            Some(last) if last.joins(&line) => {
                last.lines.extend_from_slice(&line);
                last.room.extend(room);
            }
            _ => self.waiting.push_back(Write {
                lines: line,
                room: room.into_iter().collect(),
            }),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.leaving.lines.is_empty()
    }

    /// Bytes that have not left, with the spaces that leave with them.
    pub(super) fn bytes(&self) -> usize {
        let leaving = self.leaving.lines.len().saturating_sub(self.left);
        let waiting = self.waiting.iter();
        let filled = waiting.map(|write| electrum::filled(write.lines.len()));
        filled.fold(leaving, usize::saturating_add)
    }

    pub(super) fn progressed(&self) -> Instant {
        self.progressed
    }

    /// Writes and flushes what leaves next, in as many parts as the transport takes it; how many bytes that were. May be
    /// dropped and called again.
    pub(super) async fn write(
        &mut self,
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<usize> {
        if self.leaving.lines.is_empty() {
            self.leaving = self.waiting.pop_front().unwrap_or_default();
            electrum::pad(&mut self.leaving.lines);
        }
        while let Some(rest) = self.leaving.lines.get(self.left..)
            && !rest.is_empty()
        {
            let taken = writer.write(rest).await?;
            if taken == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.left = self.left.saturating_add(taken);
            self.progressed = Instant::now();
        }
        writer.flush().await?;
        self.progressed = Instant::now();
        // Memory of a large write is given back at once.
        self.leaving = Write::default();
        Ok(std::mem::take(&mut self.left))
    }
}

impl Write {
    /// Whether a line leaves with these.
    fn joins(&self, line: &[u8]) -> bool {
        self.lines.len().saturating_add(line.len()) <= limits::JOINED_BYTES_MAX
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

    /// A line of so many bytes.
    fn line(bytes: usize) -> Vec<u8> {
        let mut line = vec![b'x'; bytes - 2];
        line.extend(*b"}\n");
        line
    }

    #[tokio::test]
    async fn what_is_ready_leaves_in_one_write_and_one_flush() {
        let mut outbound = Outbound::new();
        let mut recorder = Recorder::default();
        outbound.push(b"{\"id\":1}\n".to_vec(), None);
        outbound.push(b"{\"id\":2}\n".to_vec(), None);
        outbound.push(Vec::new(), None);
        assert_eq!(outbound.bytes(), 488);
        outbound.write(&mut recorder).await.unwrap();
        assert!(outbound.is_empty());
        assert_eq!(recorder.0, [Some(488), None]);
        outbound.push(Vec::new(), None);
        assert!(outbound.is_empty());
        outbound.push(line(7_000_000), None);
        outbound.write(&mut recorder).await.unwrap();
        assert_eq!(recorder.0[2..], [Some(7_995_392), None]);
    }

    #[tokio::test]
    async fn spaces_never_make_a_line_too_long() {
        let mut outbound = Outbound::new();
        let mut recorder = Recorder::default();
        let joined = limits::JOINED_BYTES_MAX;
        for bytes in [joined - 100, 100, 100, 8_000_000, 100] {
            outbound.push(line(bytes), None);
        }
        let all = [joined, 488, 8_099_824, 488];
        assert_eq!(outbound.bytes(), all.iter().sum::<usize>());
        while !outbound.is_empty() {
            outbound.write(&mut recorder).await.unwrap();
        }
        assert_eq!(recorder.0, all.map(|size| [Some(size), None]).concat());
    }

    /// Takes so many bytes, then nothing before the next call.
    #[derive(Default)]
    struct Narrow {
        pieces: Vec<usize>,
        flushes: usize,
        waits: bool,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.waits = !self.waits;
            if self.waits {
                return Poll::Pending;
            }
            let taken = bytes.len().min(300);
            self.pieces.push(taken);
            Poll::Ready(Ok(taken))
        }
        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushes += 1;
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_leaves_in_parts_has_its_size_before_the_flush() {
        let mut outbound = Outbound::new();
        let mut narrow = Narrow::default();
        outbound.push(line(500), None);
        while narrow.flushes == 0 {
            // Dropped whenever the transport waits; what came meanwhile leaves by itself.
            tokio::select! {
                biased;
                written = outbound.write(&mut narrow) => assert_eq!(written.unwrap(), 976),
                () = std::future::ready(()) => {}
            }
            if narrow.pieces.len() == 1 && outbound.waiting.is_empty() {
                outbound.push(line(10), None);
            }
        }
        assert_eq!(narrow.pieces, [300, 300, 300, 76]);
        assert_eq!(outbound.bytes(), 488);
    }
}
