//! Ports on 127.0.0.1 that nothing listens on.

use std::collections::BTreeSet;
use std::io::Result;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Mutex, PoisonError};

/// A port chosen by the kernel, never one that this process was given before.
///
/// A connection through it is closed from its side, which leaves it in TIME_WAIT: for a minute the kernel gives it to
/// nobody, while a program that asks for it by number and reuses addresses, as tor and bitcoind do, gets it.
pub fn free() -> Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        drop(listener.accept()?);
        drop(client);
        if GIVEN
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(port)
        {
            return Ok(port);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_can_be_listened_on() {
        let ports: Vec<u16> = (0..1_000).map(|_| free().unwrap()).collect();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len());
        for port in ports {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        }
    }
}
