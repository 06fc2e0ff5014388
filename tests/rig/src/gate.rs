//! Holds a node back: what it has to say stops after so many bytes until the gate is opened.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use anyhow::Result;

use crate::forward::{self, Watch};

/// Stands before a node's RPC port; its threads end with the process.
#[derive(Debug)]
pub struct Gate {
    port: u16,
    left: Arc<Left>,
}

/// Bytes that may still pass.
#[derive(Debug)]
struct Left {
    bytes: Mutex<usize>,
    more: Condvar,
}

impl Gate {
    /// Lets the server behind `port` say `bytes` in all, over however many connections.
    pub fn before(port: u16, bytes: usize) -> Result<Self> {
        let left = Arc::new(Left {
            bytes: Mutex::new(bytes),
            more: Condvar::new(),
        });
        let port = forward::before(port, &left)?;
        Ok(Self { port, left })
    }

    /// `127.0.0.1:PORT`, to be used instead of the server's own.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From now on everything passes.
    pub fn open(&self) {
        *self
            .left
            .bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = usize::MAX;
        self.left.more.notify_all();
    }
}

impl Watch for Left {
    fn client_says(&self, _: usize) {}

    /// Waits until so many bytes may pass.
    fn server_says(&self, count: usize) {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = self.more.wait_while(bytes, |bytes| *bytes < count);
        *waiting.unwrap_or_else(PoisonError::into_inner) -= count;
    }
}
