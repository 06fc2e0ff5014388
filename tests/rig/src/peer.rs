//! A Bitcoin peer that is no node: it answers like one, writes down every message that comes, passes nothing on, and
//! misbehaves where a real node cannot be made to.
//!
//! It reads both transports, the plain one and BIP 324's, and takes the one that the other side begins with.

mod talk;
mod transport;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Enough for a connection that is closed already to be noticed.
const GONE: Duration = Duration::from_secs(60);

/// How a peer treats one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As a node does, but it asks for what is announced at once, and passes nothing on.
    Honest,
    /// The same, and it asks for what is announced only after four seconds, as nodes do in the network.
    Hesitates,
    /// Honest, with another height than 0 in its version.
    Height(i32),
    /// Its version says that it wants no transactions.
    NoRelay,
    /// It never asks for what is announced, and keeps the connection.
    NeverAsks,
    /// It asks for another transaction than was announced.
    AsksElse,
    /// From the beginning it sends one byte in a second, and nothing that makes sense.
    Slow,
    /// It closes.
    Closes(Moment),
    /// It sends a message of 4 MB, then more of them.
    Floods(Moment),
    /// It sends a message whose checksum or tag is wrong.
    Garbles(Moment),
}

/// When a manner shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the peer has sent anything.
    Start,
    /// After its version.
    Version,
    /// When something was announced to it.
    Inv,
}

/// Which way the messages of a connection are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// With a header of 24 bytes.
    V1,
    /// BIP 324.
    V2,
}

/// A message that came.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// `version`, `inv`; of an unknown short id of BIP 324 its number.
    pub command: String,
    /// Behind the header.
    pub payload: Vec<u8>,
    /// Bytes as they came, the header among them; of BIP 324 what was in the packet.
    pub bytes: Vec<u8>,
}

/// One connection, from the peer's side.
#[derive(Clone, Debug)]
pub struct Visit {
    /// Which of the peer's addresses was dialled.
    pub reached_at: SocketAddr,
    /// How the peer treats it.
    pub manner: Manner,
    /// Once the first bytes have come.
    pub transport: Option<Transport>,
    /// In the order in which they came.
    pub messages: Vec<Message>,
    /// When it was accepted.
    pub began: Instant,
    /// When the other side closed, or the peer by its manner.
    pub ended: Option<Instant>,
    /// What went wrong for the peer.
    pub fault: Option<String>,
}

/// A listening peer; its threads end with this process.
#[derive(Debug)]
pub struct Peer {
    ports: Vec<u16>,
    visits: Visits,
}

/// All connections so far.
#[derive(Clone, Debug, Default)]
struct Visits(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    /// How many connections there have ever been, which gives each a name of its own.
    ever: usize,
    pages: Vec<(usize, Visit)>,
}

impl Peer {
    /// Listens on so many ports, on every address of the machine, so that it is reached on 127.1.0.1 as on 127.0.0.1;
    /// `manner` is told the number of a connection, from 0, on whatever port it comes.
    pub fn start(
        ports: usize,
        manner: impl Fn(usize) -> Manner + Send + Sync + 'static,
    ) -> Result<Self> {
        let manner = Arc::new(manner);
        let mut peer = Self {
            ports: Vec::new(),
            visits: Visits::default(),
        };
        for _ in 0..ports {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))
                .context("failed to listen for a peer")?;
            peer.ports.push(listener.local_addr()?.port());
            let (visits, manner) = (peer.visits.clone(), Arc::clone(&manner));
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    visits.clone().take(stream, manner.as_ref());
                }
            });
        }
        Ok(peer)
    }

    /// A peer with one port that treats all alike.
    pub fn honest() -> Result<Self> {
        Self::start(1, |_| Manner::Honest)
    }

    /// The ports that it listens on.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// The first of them.
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// Begins anew with the number 0, as if nobody had come, once somebody has come so often and gone: whether an onion
    /// service answers is tried by connecting.
    pub fn forget(&self, visits: usize) -> Result<()> {
        let gone = |visit: &Visit| visit.ended.is_some();
        self.visits_when(GONE, |all| all.len() >= visits && all.iter().all(gone))?;
        self.visits.lock().pages.clear();
        Ok(())
    }

    /// All connections so far, in the order of their beginning.
    pub fn visits(&self) -> Vec<Visit> {
        let book = self.visits.lock();
        book.pages.iter().map(|(_, visit)| visit.clone()).collect()
    }

    /// The same once `enough` of them says so; an error after `limit`.
    pub fn visits_when(
        &self,
        limit: Duration,
        mut enough: impl FnMut(&[Visit]) -> bool,
    ) -> Result<Vec<Visit>> {
        let deadline = Instant::now() + limit;
        loop {
            let visits = self.visits();
            if enough(&visits) {
                return Ok(visits);
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "not what was waited for within {limit:?}: {visits:#?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Visits {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Talks with a visitor, in a thread of its own.
    fn take(self, stream: TcpStream, manner: &dyn Fn(usize) -> Manner) {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let mut book = self.lock();
        book.ever += 1;
        let (name, manner) = (book.ever, manner(book.pages.len()));
        let visit = Visit {
            reached_at: stream.local_addr().unwrap_or(nowhere),
            manner,
            transport: None,
            messages: Vec::new(),
            began: Instant::now(),
            ended: None,
            fault: None,
        };
        book.pages.push((name, visit));
        drop(book);
        std::thread::spawn(move || {
            let talked = talk::talk(stream, manner, |learn| self.with(name, learn));
            self.with(name, |visit| {
                visit.ended = Some(Instant::now());
                visit.fault = talked.err().map(|error| format!("{error:#}"));
            });
        });
    }

    fn with(&self, name: usize, learn: impl FnOnce(&mut Visit)) {
        let mut book = self.lock();
        if let Some((_, visit)) = book.pages.iter_mut().find(|(known, _)| *known == name) {
            learn(visit);
        }
    }
}

impl Visit {
    /// The names of the messages that came.
    pub fn commands(&self) -> Vec<&str> {
        let messages = self.messages.iter();
        messages.map(|message| message.command.as_str()).collect()
    }

    /// The payload of the first message of a name.
    pub fn payload(&self, command: &str) -> Option<&[u8]> {
        let mut messages = self.messages.iter();
        let found = messages.find(|message| message.command == command)?;
        Some(&found.payload)
    }

    /// The whole conversation took place, up to the ping behind the transaction.
    pub fn is_delivery(&self) -> bool {
        self.commands().last() == Some(&"ping")
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} of {} bytes",
            self.command,
            self.payload.len()
        )
    }
}
