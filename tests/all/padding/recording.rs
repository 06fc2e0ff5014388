//! The session's side of a stream, of which everything that is written is remembered.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// What was written: each flush, in the parts that the transport took.
#[derive(Clone, Default)]
pub(crate) struct Record(Arc<Mutex<Written>>);

#[derive(Default)]
struct Written {
    flushed: Vec<Vec<Vec<u8>>>,
    /// Since the last flush.
    parts: Vec<Vec<u8>>,
}

pub(crate) struct Recording {
    pub(crate) stream: DuplexStream,
    /// The most that it takes at a time, in bytes.
    pub(crate) taken: usize,
    pub(crate) record: Record,
}

impl Record {
    /// What was flushed since this was last asked for. Panics if something else was written.
    pub(crate) fn take(&self) -> Vec<Vec<Vec<u8>>> {
        let written = std::mem::take(&mut *self.written());
        assert!(written.parts.is_empty(), "not flushed");
        written.flushed
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Recording {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, room)
    }
}

impl AsyncWrite for Recording {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let part = &bytes[..bytes.len().min(self.taken)];
        let taken = Pin::new(&mut self.stream).poll_write(context, part);
        if let Poll::Ready(Ok(taken)) = taken {
            let part = part[..taken].to_vec();
            self.record.written().parts.push(part);
        }
        taken
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut record = self.record.written();
        let parts = std::mem::take(&mut record.parts);
        record.flushed.push(parts);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
