//! Clients that ask one server over TCP and count what it answers.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// A server that says nothing for this long is given up; the slowest answers known take 20 s.
const SILENCE: Duration = Duration::from_secs(120);
const READ_BYTES: usize = 64 * 1024;
/// Longer lines are results; among the shorter ones errors are looked for.
const ERROR_BYTES_MAX: usize = 1_000;
const HELLO: &[u8] =
    b"{\"id\":0,\"jsonrpc\":\"2.0\",\"method\":\"server.version\",\"params\":[\"bench\",\"1.4\"]}\n";

/// How a server is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) clients: usize,
    /// Requests that each of them leaves unanswered at a time.
    pub(crate) unanswered: usize,
    pub(crate) time: Duration,
}

/// What came back.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) answers: u64,
    /// How many of them were errors.
    pub(crate) errors: u64,
    pub(crate) seconds: f64,
    /// Of each request, in milliseconds; only where a client asks one after the other.
    pub(crate) round_trips: Vec<f64>,
}

impl Load {
    /// Asks `requests` again and again until the time is up, and waits for the answers.
    pub(crate) fn drive(self, address: &str, requests: &[String]) -> Result<Outcome> {
        let connect = |_| Client::connect(address);
        let clients: Vec<Client> = (0..self.clients).map(connect).collect::<Result<_>>()?;
        let begun = Instant::now();
        let mut outcome = thread::scope(|scope| {
            let run = |(number, client): (usize, Client)| {
                // Each begins elsewhere, so that they do not ask the same at the same time.
                let first = number * requests.len() / self.clients;
                scope.spawn(move || client.run(self, requests, first))
            };
            let running: Vec<_> = clients.into_iter().enumerate().map(run).collect();
            let mut all = Outcome::default();
            for client in running {
                let outcome = client.join().expect("a client panicked")?;
                all.answers += outcome.answers;
                all.errors += outcome.errors;
                all.round_trips.extend(outcome.round_trips);
            }
            anyhow::Ok(all)
        })
        .with_context(|| format!("failed to ask {address}"))?;
        outcome.seconds = begun.elapsed().as_secs_f64();
        Ok(outcome)
    }
}

struct Client {
    reader: BufReader<TcpStream>,
    line: Vec<u8>,
}

impl Client {
    /// Connects, and agrees on a version: some servers want to hear that first.
    fn connect(address: &str) -> Result<Self> {
        let stream =
            TcpStream::connect(address).with_context(|| format!("failed to reach {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        let mut client = Self {
            reader: BufReader::with_capacity(READ_BYTES, stream),
            line: Vec::new(),
        };
        client.reader.get_mut().write_all(HELLO)?;
        client.answer()?;
        Ok(client)
    }

    fn run(mut self, load: Load, requests: &[String], first: usize) -> Result<Outcome> {
        let deadline = Instant::now() + load.time;
        let mut outcome = Outcome::default();
        let mut coming = requests.iter().cycle().skip(first);
        let (mut id, mut open) = (0_u64, 0);
        let mut lines = Vec::new();
        loop {
            let asked = Instant::now();
            while open < load.unanswered && asked < deadline {
                id += 1;
                write!(lines, "{{\"id\":{id}")?;
                lines.extend_from_slice(coming.next().context("nothing to ask")?.as_bytes());
                open += 1;
            }
            self.reader.get_mut().write_all(&lines)?;
            lines.clear();
            if open == 0 {
                return Ok(outcome);
            }
            // One that is waited for, and all that came with it.
            while open > 0 {
                outcome.errors += u64::from(self.answer()?);
                outcome.answers += 1;
                open -= 1;
                if !self.reader.buffer().contains(&b'\n') {
                    break;
                }
            }
            if load.unanswered == 1 {
                outcome
                    .round_trips
                    .push(asked.elapsed().as_secs_f64() * 1000.0);
            }
        }
    }

    /// Waits for the next line that answers something; whether it is an error.
    fn answer(&mut self) -> Result<bool> {
        loop {
            self.line.clear();
            let bytes = self.reader.read_until(b'\n', &mut self.line)?;
            ensure!(
                self.line.ends_with(b"\n"),
                "the server closed the connection"
            );
            if bytes > ERROR_BYTES_MAX {
                return Ok(false);
            }
            let line = String::from_utf8_lossy(&self.line);
            let is_notification = line.contains("\"method\"");
            if !is_notification {
                return Ok(line.contains("\"error\"") && !line.contains("\"result\""));
            }
        }
    }
}
