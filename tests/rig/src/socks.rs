//! A wallet's side of a connection: through Tor's SOCKS port, and lines of JSON-RPC on it.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// Longer than Tor's own timers for a circuit, so that it is Tor that says what is wrong.
const REPLY: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// Connects through Tor. Each `user` has a circuit of its own, so a rendezvous of its own; Tor gives up after two
/// minutes.
pub fn connect(socks_port: u16, user: &str, host: &str, port: u16) -> Result<TcpStream> {
    // Tor takes the pair for isolation and checks neither.
    let proxy = (Ipv4Addr::LOCALHOST, socks_port);
    let stream = socks::Socks5Stream::connect_with_password(proxy, (host, port), user, "rig")
        .with_context(|| {
            format!("failed to connect to {host}:{port} through SOCKS port {socks_port}")
        })?;
    Ok(stream.into_inner())
}

/// The same, again and again until it works or `limit` has passed: a fresh onion service takes seconds to be found.
pub fn connect_within(
    limit: Duration,
    socks_port: u16,
    user: &str,
    host: &str,
    port: u16,
) -> Result<TcpStream> {
    let deadline = Instant::now() + limit;
    for attempt in 0.. {
        // Another name each time: Tor remembers for a circuit's isolation that a service was not found.
        match connect(socks_port, &format!("{user}-{attempt}"), host, port) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(250)),
        }
    }
    unreachable!("an endless range ended")
}

/// A stream of lines, each a JSON-RPC message.
#[derive(Debug)]
pub struct Line {
    reader: BufReader<TcpStream>,
    partial: Vec<u8>,
    next_id: u64,
    notifications: VecDeque<Value>,
}

impl Line {
    /// Over any TCP stream, through Tor or not.
    pub fn new(stream: TcpStream) -> Self {
        Self {
            reader: BufReader::new(stream),
            partial: Vec::new(),
            next_id: 0,
            notifications: VecDeque::new(),
        }
    }

    /// Sends a line; the newline is added.
    pub fn send(&mut self, line: &str) -> Result<()> {
        self.send_bytes(format!("{line}\n").as_bytes())
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.reader
            .get_mut()
            .write_all(bytes)
            .context("failed to send to the server")
    }

    /// The next line without its newline; `None` when the server has closed the stream; an error after `limit`.
    pub fn read(&mut self, limit: Duration) -> Result<Option<String>> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            anyhow::ensure!(!left.is_zero(), "no line from the server within {limit:?}");
            self.reader.get_ref().set_read_timeout(Some(left))?;
            match self.reader.read_until(b'\n', &mut self.partial) {
                Ok(_) if self.partial.ends_with(b"\n") => {
                    self.partial.pop();
                    return Ok(Some(String::from_utf8(std::mem::take(&mut self.partial))?));
                }
                Ok(0) if self.partial.is_empty() => return Ok(None),
                Ok(_) => anyhow::bail!("the server closed the stream within a line"),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error).context("failed to read from the server"),
            }
        }
    }

    /// Whether a whole line has come already, so that reading it waits for nothing.
    pub fn has_line(&self) -> bool {
        self.reader.buffer().contains(&b'\n')
    }

    /// A request and its whole reply; notifications that come first are kept.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "every caller makes the parameters for the call"
    )]
    pub fn request(&mut self, method: &str, params: Value) -> Result<Value> {
        let id = self.next_id;
        self.next_id += 1;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.send(&request.to_string())?;
        let deadline = Instant::now() + REPLY;
        loop {
            let message = self
                .message(deadline)
                .with_context(|| format!("no reply to {method}"))?;
            if message["id"] == id {
                return Ok(message);
            }
            self.notifications.push_back(message);
        }
    }

    /// A request and its result; an error of the server is an error here.
    pub fn call(&mut self, method: &str, params: Value) -> Result<Value> {
        let mut reply = self.request(method, params)?;
        anyhow::ensure!(reply["error"].is_null(), "{method}: {}", reply["error"]);
        Ok(reply["result"].take())
    }

    /// Waits until the server answers questions about scripts.
    pub fn wait_until_ready(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        let any = json!(["00".repeat(32)]);
        while !self.request("blockchain.scripthash.get_balance", any.clone())?["error"].is_null() {
            anyhow::ensure!(Instant::now() < deadline, "not ready after {limit:?}");
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// The next message that answers nothing; an error after `limit`.
    pub fn notification(&mut self, limit: Duration) -> Result<Value> {
        match self.notifications.pop_front() {
            Some(message) => Ok(message),
            None => self.message(Instant::now() + limit),
        }
    }

    /// The stream beneath.
    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    fn message(&mut self, deadline: Instant) -> Result<Value> {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = self.read(left)?.context("the server closed the stream")?;
        serde_json::from_str(&line).with_context(|| format!("a line that is no JSON: {line}"))
    }
}
