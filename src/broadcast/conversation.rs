//! One connection, one transaction: the exchange that Bitcoin Core calls private broadcast, without input or output.
//!
//! ```text
//! -> version  <- version  -> verack  <- verack  -> inv(txid)  <- getdata(txid)  -> tx  -> ping  <- pong
//! ```
//!
//! Nothing else is ever said. What else arrives is counted and left unread. Of a transaction with parents only itself
//! is announced; a peer that misses a parent asks for it, and the ping waits until it has asked for all that it misses.

use std::fmt;
use std::sync::Arc;

use bitcoin::Txid;
use rand::Rng as _;
use rand::rngs::StdRng;
use zeroize::Zeroizing;

use super::peer::Transport;
use super::transaction::QueuedTransaction;
use super::wire::{Broken, Incoming, Outgoing, PeerVersion, Wire};
use crate::chain::Network;
use crate::limits;

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryEnd {
    /// The peer has all bytes of the transaction, whatever it makes of them.
    Ponged,
    /// The peer did not ask for the transaction: it has it, or keeps silent.
    NoGetdata,
    /// The peer takes no announcements; it was told nothing.
    NoRelay,
    /// The peer broke the protocol, or a limit.
    Violation {
        /// It knows the txid.
        announced: bool,
    },
    /// The peer closed the connection, or never said that it has everything.
    Closed {
        /// It knows the txid.
        announced: bool,
    },
    /// There was no connection.
    DialFailed,
    /// The announcement was not reached in time.
    HandshakeTimedOut,
}

/// What follows from received bytes.
pub struct Progress {
    /// Bytes to send, the transaction perhaps among them.
    pub send: Zeroizing<Vec<u8>>,
    /// How it ended; after sending, the connection is closed.
    pub end: Option<DeliveryEnd>,
}

/// The state of one exchange.
pub struct Conversation {
    wire: Wire,
    transaction: Arc<QueuedTransaction>,
    ping_nonce: u64,
    stage: Stage,
    /// What the peer was given.
    served: Vec<Txid>,
    /// Times it asked.
    requests: usize,
    peer_height: Option<i32>,
    /// Received so far.
    bytes: usize,
    messages: usize,
}

/// What is awaited.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Version,
    Verack,
    GetData,
    /// Further requests, for parents, until there are none for a while.
    Quiet,
    Pong,
    Ended(DeliveryEnd),
}

impl Conversation {
    /// Begins the exchange; with it, the bytes to send first.
    pub fn open(
        transport: Transport,
        network: Network,
        transaction: Arc<QueuedTransaction>,
        random: &mut StdRng,
    ) -> (Self, Vec<u8>) {
        let version = Outgoing::Version {
            nonce: random.next_u64(),
        };
        let ping_nonce = random.next_u64();
        let mut first = Vec::new();
        let wire = Wire::open(transport, network, &version, random, &mut first);
        let conversation = Self {
            wire,
            transaction,
            ping_nonce,
            stage: Stage::Version,
            served: Vec::new(),
            requests: 0,
            peer_height: None,
            bytes: 0,
            messages: 0,
        };
        (conversation, first)
    }

    /// Takes what the peer sent, in pieces of any size.
    pub fn receive(&mut self, bytes: &[u8]) -> Progress {
        let mut send = Zeroizing::new(Vec::new());
        let room = limits::PEER_BYTES_MAX.saturating_sub(self.bytes);
        let (within, beyond) = bytes.split_at(bytes.len().min(room));
        self.bytes = self.bytes.saturating_add(within.len());
        self.wire.heard(within);
        if self.read(&mut send).is_err() || (self.end().is_none() && !beyond.is_empty()) {
            self.stage = Stage::Ended(self.violation());
        }
        Progress {
            send,
            end: self.end(),
        }
    }

    /// Whether the peer knows the txid, and the handshake is over.
    pub fn is_announced(&self) -> bool {
        match self.stage {
            Stage::Version | Stage::Verack => false,
            Stage::GetData | Stage::Quiet | Stage::Pong => true,
            Stage::Ended(end) => match end {
                DeliveryEnd::Ponged | DeliveryEnd::NoGetdata => true,
                DeliveryEnd::Violation { announced } | DeliveryEnd::Closed { announced } => {
                    announced
                }
                DeliveryEnd::NoRelay | DeliveryEnd::DialFailed | DeliveryEnd::HandshakeTimedOut => {
                    false
                }
            },
        }
    }

    /// How often the peer has asked, while it may ask for more: [`Self::quiet`] is due when it has not for a while.
    pub fn requests(&self) -> Option<usize> {
        (self.stage == Stage::Quiet).then_some(self.requests)
    }

    /// The peer has asked for nothing more in a while: the bytes to send now.
    pub fn quiet(&mut self) -> Zeroizing<Vec<u8>> {
        let mut send = Zeroizing::new(Vec::new());
        if self.stage == Stage::Quiet {
            let nonce = self.ping_nonce;
            self.wire.send(&[Outgoing::Ping { nonce }], &mut send);
            self.stage = Stage::Pong;
        }
        send
    }

    /// Height of the peer's chain, as its version said.
    pub fn peer_height(&self) -> Option<i32> {
        self.peer_height
    }

    /// The end, if the peer has closed the connection now.
    pub fn closed(&self) -> DeliveryEnd {
        self.end().unwrap_or(DeliveryEnd::Closed {
            announced: self.is_announced(),
        })
    }

    /// The end, if the time of the present stage is over now.
    pub fn timed_out(&self) -> DeliveryEnd {
        match self.stage {
            Stage::Version | Stage::Verack => DeliveryEnd::HandshakeTimedOut,
            Stage::GetData => DeliveryEnd::NoGetdata,
            // It asked, and may have all of it or nothing.
            Stage::Quiet | Stage::Pong => DeliveryEnd::Closed { announced: true },
            Stage::Ended(end) => end,
        }
    }

    fn end(&self) -> Option<DeliveryEnd> {
        match self.stage {
            Stage::Ended(end) => Some(end),
            Stage::Version | Stage::Verack | Stage::GetData | Stage::Quiet | Stage::Pong => None,
        }
    }

    fn violation(&self) -> DeliveryEnd {
        DeliveryEnd::Violation {
            announced: self.is_announced(),
        }
    }

    /// Reads the messages that are whole, to the end of the exchange at most.
    fn read(&mut self, send: &mut Vec<u8>) -> Result<(), Broken> {
        while self.end().is_none() {
            let Some(message) = self.wire.next(send)? else {
                return Ok(());
            };
            self.messages = self.messages.saturating_add(1);
            let messages_max = if self.is_announced() {
                limits::PEER_MESSAGES_MAX
            } else {
                limits::PEER_HANDSHAKE_MESSAGES_MAX
            };
            if self.messages > messages_max {
                return Err(Broken);
            }
            self.hear(message, send)?;
        }
        Ok(())
    }

    /// What does not fit the stage is passed over as Core does it.
    fn hear(&mut self, message: Incoming, send: &mut Vec<u8>) -> Result<(), Broken> {
        match (self.stage, message) {
            (Stage::Version, Incoming::Version(version)) => self.hear_version(version, send),
            (Stage::Verack, Incoming::Verack) => {
                self.wire
                    .send(&[Outgoing::Inv(self.transaction.txid)], send);
                self.stage = Stage::GetData;
                Ok(())
            }
            (Stage::GetData | Stage::Quiet | Stage::Pong, Incoming::GetData(asked)) => {
                self.hear_getdata(&asked, send)
            }
            (Stage::Pong, Incoming::Pong { nonce }) if nonce == self.ping_nonce => {
                self.stage = Stage::Ended(DeliveryEnd::Ponged);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn hear_version(&mut self, version: PeerVersion, send: &mut Vec<u8>) -> Result<(), Broken> {
        if !version.is_spoken() {
            return Err(Broken);
        }
        self.peer_height = Some(version.height);
        if version.relay {
            self.wire.send(&[Outgoing::Verack], send);
            self.stage = Stage::Verack;
        } else {
            self.stage = Stage::Ended(DeliveryEnd::NoRelay);
        }
        Ok(())
    }

    /// Serves what was announced, and its parents, each once.
    fn hear_getdata(&mut self, asked: &[Txid], send: &mut Vec<u8>) -> Result<(), Broken> {
        let transaction = Arc::clone(&self.transaction);
        let is_member = |txid: &Txid| transaction.members().any(|member| member.txid == *txid);
        if asked.is_empty()
            || asked.len() > transaction.members().count()
            || !asked.iter().all(is_member)
        {
            return Err(Broken);
        }
        self.requests = self.requests.saturating_add(1);
        let mut messages = Vec::new();
        for member in transaction.members() {
            if asked.contains(&member.txid) && !self.served.contains(&member.txid) {
                self.served.push(member.txid);
                messages.push(Outgoing::Tx(&member.raw));
            }
        }
        if self.stage == Stage::GetData && self.served.contains(&transaction.txid) {
            if transaction.parents.is_empty() {
                let nonce = self.ping_nonce;
                messages.push(Outgoing::Ping { nonce });
                self.stage = Stage::Pong;
            } else {
                self.stage = Stage::Quiet;
            }
        }
        self.wire.send(&messages, send);
        Ok(())
    }
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[scrubbed]")
    }
}

#[cfg(test)]
mod tests;
