//! Counts what a client and a server say to each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

use crate::forward::{self, Watch};

/// Stands before a port of 127.0.0.1, such as Tor's SOCKS port.
#[derive(Debug)]
pub struct Meter {
    port: u16,
    counted: Arc<Counted>,
}

/// Bytes of all connections since the meter was last reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes {
    /// From clients.
    pub sent: u64,
    /// To clients.
    pub received: u64,
}

#[derive(Debug, Default)]
struct Counted {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Meter {
    /// Begins with nothing counted.
    pub fn before(port: u16) -> Result<Self> {
        let counted = Arc::default();
        let port = forward::before(port, &counted)?;
        Ok(Self { port, counted })
    }

    /// To be used instead of the server's own.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Begins anew.
    pub fn reset(&self) {
        self.counted.sent.store(0, Ordering::Relaxed);
        self.counted.received.store(0, Ordering::Relaxed);
    }

    /// What has passed.
    pub fn bytes(&self) -> Bytes {
        Bytes {
            sent: self.counted.sent.load(Ordering::Relaxed),
            received: self.counted.received.load(Ordering::Relaxed),
        }
    }
}

impl Watch for Counted {
    fn client_says(&self, count: usize) {
        add(&self.sent, count);
    }

    fn server_says(&self, count: usize) {
        add(&self.received, count);
    }
}

fn add(sum: &AtomicU64, count: usize) {
    sum.fetch_add(
        u64::try_from(count).expect("few bytes at a time"),
        Ordering::Relaxed,
    );
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;
    use crate::tor_network::start_echo;

    #[test]
    fn bytes_are_counted_each_way() {
        let meter = Meter::before(start_echo().unwrap()).unwrap();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, meter.port())).unwrap();
        let mut back = [0; 7];
        stream.write_all(b"a line\n").unwrap();
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"a line\n");
        let Bytes { sent, received } = meter.bytes();
        assert_eq!((sent, received), (7, 7));
        meter.reset();
        stream.write_all(b"abc").unwrap();
        stream.read_exact(&mut back[..3]).unwrap();
        let Bytes { sent, received } = meter.bytes();
        assert_eq!((sent, received), (3, 3));
    }
}
