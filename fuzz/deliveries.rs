//! What the fuzz targets of deliveries do with their input; a test runs the same over the corpus.
//!
//! The input is what a peer says. Whatever it is, the five messages are said in their order, each once at most, and a
//! stream in pieces leads to the same as in one.

use std::sync::Arc;

use bitcoin::hashes::Hash as _;
use bitcoin::{OutPoint, ScriptBuf, Sequence, Transaction, TxIn, Txid, absolute, transaction};
use claustrum::broadcast::{Conversation, DeliveryEnd, QueuedTransaction, Transport};
use claustrum::chain::Network;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use zeroize::Zeroizing;

#[path = "scripted_peer.rs"]
mod scripted_peer;
use scripted_peer::ScriptedPeer;

/// What is said, in this order.
const MESSAGES: [&str; 5] = ["version", "verack", "inv", "tx", "ping"];
/// What a peer says that is heeded, and some more.
const NAMES: [&str; 8] = [
    "version",
    "verack",
    "getdata",
    "pong",
    "ping",
    "addrv2",
    "inv",
    "sendcmpct",
];
/// Leading bytes of a stream that say how the rest arrives.
const SIZES: usize = 4;

/// A stream over the old transport, in pieces: the first bytes are their sizes, in turn.
pub(crate) fn delivery_v1(data: &[u8]) {
    let Some((sizes, stream)) = data.split_first_chunk::<SIZES>() else {
        return;
    };
    let mut whole = Delivery::open(Transport::V1);
    whole.receive(stream);
    let mut pieces = Delivery::open(Transport::V1);
    let mut rest = stream;
    for size in sizes.iter().cycle() {
        let count = (usize::from(*size) * 16 + 1).min(rest.len());
        let (piece, behind) = rest.split_at(count);
        pieces.receive(piece);
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    assert_eq!(whole.said, pieces.said, "pieces say otherwise");
    assert_eq!(whole.end, pieces.end, "pieces end otherwise");
}

/// Packets over the encrypted transport, after a handshake. Each is a byte that says what it is, the length of its
/// contents, and these.
pub(crate) fn delivery_v2(data: &[u8]) {
    let mut delivery = Delivery::open(Transport::V2);
    for (kind, contents) in parts(data) {
        let mut bytes = match kind % 4 {
            0 => delivery.peer.decoy(contents),
            1 => contents.to_vec(),
            _ => delivery.peer.contents(contents),
        };
        if kind % 32 == 31 {
            // The first byte of the packet's length.
            bytes[0] ^= kind;
        }
        delivery.receive(&bytes);
    }
}

/// Messages in frames as they should be, over either transport. The first byte chooses it; then each message is a byte
/// for its name, the length of its payload, and this.
pub(crate) fn delivery_messages(data: &[u8]) {
    let Some((chosen, rest)) = data.split_first() else {
        return;
    };
    let transport = if chosen % 2 == 0 {
        Transport::V1
    } else {
        Transport::V2
    };
    if (*chosen / 2) % 2 == 1 {
        return family(transport, rest);
    }
    let mut delivery = Delivery::open(transport);
    for (kind, payload) in parts(rest) {
        let bytes = delivery
            .peer
            .say(NAMES[usize::from(kind) % NAMES.len()], payload);
        delivery.receive(&bytes);
    }
}

/// The same for a child and its parent. Before some messages nothing was asked for in a while.
fn family(transport: Transport, messages: &[u8]) {
    let mut random = StdRng::seed_from_u64(1);
    let child = Arc::into_inner(queued(0)).map(|child| child.with_parents(vec![queued(7)]));
    let Some(child) = child.map(Arc::new) else {
        return;
    };
    let (mut conversation, first) =
        Conversation::open(transport, Network::Regtest, child, &mut random);
    let mut peer = ScriptedPeer::v1();
    let mut said = Vec::new();
    match transport {
        Transport::V1 => said.extend(peer.hear(&first)),
        Transport::V2 => {
            let (v2, answer) = ScriptedPeer::v2(&first, &[5; 100], &[]);
            peer = v2;
            said.extend(peer.hear(&conversation.receive(&answer).send));
        }
    }
    for (kind, payload) in parts(messages) {
        if kind >= 128 {
            let ping = conversation.quiet();
            if !ping.is_empty() {
                said.extend(peer.hear(&ping));
            }
        }
        let bytes = peer.say(NAMES[usize::from(kind) % NAMES.len()], payload);
        let progress = conversation.receive(&bytes);
        if !progress.send.is_empty() {
            said.extend(peer.hear(&progress.send));
        }
        let count = |name: &str| said.iter().filter(|(said, _)| said == name).count();
        assert!(count("tx") <= 2 && count("ping") <= 1 && count("inv") <= 1);
        assert!(count("ping") == 0 || count("tx") > 0, "a ping for nothing");
        assert!(said.len() - count("tx") < MESSAGES.len());
        assert_eq!(conversation.is_announced(), count("inv") == 1);
    }
}

/// A byte, a length in two bytes, and so many bytes or those that are left.
fn parts(mut data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&[kind, low, high], rest) = data.split_first_chunk()?;
        let length = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
        let (part, behind) = rest.split_at(length);
        data = behind;
        Some((kind, part))
    })
}

/// Both ends of a connection.
struct Delivery {
    conversation: Conversation,
    peer: ScriptedPeer,
    said: Vec<String>,
    end: Option<DeliveryEnd>,
}

impl Delivery {
    /// Up to our version, each time with the same secrets and nonces.
    fn open(transport: Transport) -> Self {
        let mut random = StdRng::seed_from_u64(1);
        let (conversation, first) =
            Conversation::open(transport, Network::Regtest, queued(0), &mut random);
        let mut delivery = Self {
            conversation,
            peer: ScriptedPeer::v1(),
            said: Vec::new(),
            end: None,
        };
        match transport {
            Transport::V1 => delivery.hear(&first),
            Transport::V2 => {
                let (peer, answer) = ScriptedPeer::v2(&first, &[5; 100], &[b"decoy"]);
                delivery.peer = peer;
                delivery.receive(&answer);
            }
        }
        assert_eq!(delivery.said, ["version"]);
        delivery
    }

    fn receive(&mut self, bytes: &[u8]) {
        let progress = self.conversation.receive(bytes);
        if let Some(end) = self.end {
            assert!(progress.send.is_empty(), "it speaks after its end");
            assert_eq!(progress.end, Some(end), "it ends again, otherwise");
        }
        self.hear(&progress.send);
        self.end = progress.end;
        let announced = self.said.iter().any(|name| name == "inv");
        assert_eq!(self.conversation.is_announced(), announced);
        if self.end == Some(DeliveryEnd::Ponged) {
            assert_eq!(self.said.len(), MESSAGES.len(), "a pong without a ping");
        }
        if let Some(end) = self.end {
            assert_eq!(self.conversation.closed(), end);
            assert_eq!(self.conversation.timed_out(), end);
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let messages = self.peer.hear(bytes);
            self.said.extend(messages.into_iter().map(|(name, _)| name));
        }
        assert!(MESSAGES.starts_with(&self.said.iter().map(String::as_str).collect::<Vec<_>>()));
    }
}

/// A transaction with a txid that is the same each time for one lock time.
fn queued(lock_time: u32) -> Arc<QueuedTransaction> {
    let transaction = Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::from_consensus(lock_time),
        input: vec![TxIn {
            previous_output: OutPoint::new(Txid::from_byte_array([7; 32]), 0),
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            ..TxIn::default()
        }],
        output: Vec::new(),
    };
    let raw = bitcoin::consensus::encode::serialize(&transaction);
    Arc::new(QueuedTransaction::new(&transaction, Zeroizing::new(raw)))
}
