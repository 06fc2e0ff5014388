//! Holds a node back: what it has to say stops after so many bytes until the gate is opened.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use anyhow::Result;

/// Stands before a node's RPC port; its threads end with the process.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
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
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let left = Arc::new(Left {
            bytes: Mutex::new(bytes),
            more: Condvar::new(),
        });
        let shared = Arc::clone(&left);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // A server that does not listen is one that closes the connection.
                join(&client, port, &shared).ok();
            }
        });
        Ok(Self { address, left })
    }

    /// `127.0.0.1:PORT`, to be used instead of the server's own.
    pub fn address(&self) -> String {
        self.address.to_string()
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

impl Left {
    /// Waits until so many bytes may pass.
    fn take(&self, count: usize) {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = self.more.wait_while(bytes, |bytes| *bytes < count);
        *waiting.unwrap_or_else(PoisonError::into_inner) -= count;
    }
}

fn join(client: &TcpStream, port: u16, left: &Arc<Left>) -> Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    let (from_server, to_client) = (server, client.try_clone()?);
    let left = Arc::clone(left);
    thread::spawn(move || pass(from_client, to_server, |_| ()));
    thread::spawn(move || pass(from_server, to_client, |count| left.take(count)));
    Ok(())
}

/// Copies until either side ends.
fn pass(mut from: TcpStream, mut to: TcpStream, may: impl Fn(usize)) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        may(count);
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    // It may have ended by itself.
    to.shutdown(Shutdown::Both).ok();
}
