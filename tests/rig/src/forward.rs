//! Stands before a port of 127.0.0.1 and passes on what comes, either way.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use anyhow::Result;

const READ_BYTES: usize = 4096;

/// Is told of bytes before they pass, and may hold them back.
pub(crate) trait Watch: Send + Sync + 'static {
    fn client_says(&self, count: usize);
    fn server_says(&self, count: usize);
}

/// Listens on another port, which it returns; its threads end with the process.
pub(crate) fn before<W: Watch>(port: u16, watch: &Arc<W>) -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let own = listener.local_addr()?.port();
    let watch = Arc::clone(watch);
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            // A server that does not listen is one that closes the connection.
            join(client, port, &watch).ok();
        }
    });
    Ok(own)
}

fn join<W: Watch>(client: TcpStream, port: u16, watch: &Arc<W>) -> Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    // Whoever stands in the way must not make it longer.
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    let [asked, told] = [Arc::clone(watch), Arc::clone(watch)];
    thread::spawn(move || pass(from_client, to_server, |count| asked.client_says(count)));
    thread::spawn(move || pass(server, client, |count| told.server_says(count)));
    Ok(())
}

/// Copies until either side ends.
fn pass(mut from: TcpStream, mut to: TcpStream, may: impl Fn(usize)) {
    let mut bytes = vec![0; READ_BYTES];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        may(count);
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    // It may have ended by itself.
    to.shutdown(Shutdown::Both).ok();
}
