//! The session's side of a stream, of which every flush is remembered.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// What left with each flush; the last of it has not left yet.
#[derive(Clone)]
pub(crate) struct Record(Arc<Mutex<Vec<Vec<u8>>>>);

pub(crate) struct Recording {
    stream: DuplexStream,
    record: Record,
}

impl Default for Record {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(vec![Vec::new()])))
    }
}

impl Record {
    pub(crate) fn bytes(&self) -> usize {
        self.with(|flushes| flushes.iter().map(Vec::len).sum())
    }

    /// Each flush without the spaces before its last bracket.
    pub(crate) fn unfilled(&self) -> Result<Vec<Vec<u8>>> {
        let mut flushes = self.with(|flushes| flushes.clone());
        flushes.retain(|flush| !flush.is_empty());
        for flush in &mut flushes {
            let end = flush.split_off(flush.len().checked_sub(2).context("no line")?);
            let told = flush.iter().rposition(|byte| *byte != b' ');
            flush.truncate(told.context("nothing but spaces")? + 1);
            flush.extend(end);
        }
        Ok(flushes)
    }

    fn with<T>(&self, look: impl FnOnce(&mut Vec<Vec<u8>>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Recording {
    pub(crate) fn new(stream: DuplexStream, record: Record) -> Self {
        Self { stream, record }
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
        let taken = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(taken)) = taken {
            let part = &bytes[..taken];
            self.record.with(|flushes| {
                if let Some(flush) = flushes.last_mut() {
                    flush.extend(part);
                }
            });
        }
        taken
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.record.with(|flushes| flushes.push(Vec::new()));
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
