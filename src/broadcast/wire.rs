//! Bytes to messages and back, over both transports of the Bitcoin network, without input or output.

mod core_shape;
mod message;
mod v1;
mod v2;

use rand::rngs::StdRng;

pub(super) use message::{Incoming, Outgoing, PeerVersion};

use super::peer::Transport;
use crate::chain::Network;
use v1::V1;
use v2::V2;

/// One connection's framing, in both directions.
pub(super) struct Wire(Framing);

enum Framing {
    V1(V1),
    V2(Box<V2>),
}

/// The peer sent what no peer sends that speaks the protocol; there is nothing more to say to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl Wire {
    /// Begins a connection and appends the bytes that go out first; `first` follows as soon as the transport can carry
    /// it.
    pub(super) fn open(
        transport: Transport,
        network: Network,
        first: &Outgoing<'_>,
        random: &mut StdRng,
        out: &mut Vec<u8>,
    ) -> Self {
        let magic = bitcoin::Network::from(network).magic().to_bytes();
        match transport {
            Transport::V1 => {
                let wire = V1::new(magic);
                wire.send(first, out);
                Self(Framing::V1(wire))
            }
            Transport::V2 => Self(Framing::V2(Box::new(V2::open(magic, first, random, out)))),
        }
    }

    /// Appends messages, once the first one is on its way. Room is made for all of them before, so that no copy of a
    /// transaction stays behind in memory that was outgrown.
    pub(super) fn send(&mut self, messages: &[Outgoing<'_>], out: &mut Vec<u8>) {
        let frame_bytes = |message: &Outgoing<'_>| {
            let payload_bytes = message.payload().len();
            match &self.0 {
                Framing::V1(_) => V1::frame_bytes(payload_bytes),
                Framing::V2(_) => V2::frame_bytes(payload_bytes),
            }
        };
        out.reserve(messages.iter().map(frame_bytes).sum());
        for message in messages {
            match &mut self.0 {
                Framing::V1(wire) => wire.send(message, out),
                Framing::V2(wire) => wire.send(message, out),
            }
        }
    }

    /// Takes bytes from the peer, which [`Self::next`] reads.
    pub(super) fn heard(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Framing::V1(wire) => wire.heard(bytes),
            Framing::V2(wire) => wire.heard(bytes),
        }
    }

    /// The next whole message of what was heard. Appends what the transport itself has to say on the way.
    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> Result<Option<Incoming>, Broken> {
        match &mut self.0 {
            Framing::V1(wire) => wire.next(),
            Framing::V2(wire) => wire.next(out),
        }
    }
}

/// Bytes that were heard and not yet read. It never holds more than was heard, whatever a peer announces.
#[derive(Default)]
struct Inbox {
    bytes: Vec<u8>,
    read: usize,
}

impl Inbox {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.read.min(self.bytes.len()));
        self.read = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// So many bytes, or none if there are fewer.
    fn take(&mut self, count: usize) -> Option<&mut [u8]> {
        let end = self.read.checked_add(count)?;
        let taken = self.bytes.get_mut(self.read..end)?;
        self.read = end;
        Some(taken)
    }

    /// An array of bytes, or none if there are fewer.
    fn take_array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, _) = self.take(N)?.split_first_chunk()?;
        Some(*array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_were_read_are_not_kept() {
        let mut inbox = Inbox::default();
        for _ in 0..1000 {
            inbox.add(&[1; 700]);
            assert!(inbox.bytes.len() <= 1400, "it grows");
            assert_eq!(inbox.take_array::<600>(), Some([1; 600]));
            assert!(inbox.take(inbox.bytes.len() - inbox.read).is_some());
        }
        assert_eq!(inbox.take(1), None);
        assert_eq!(inbox.take(usize::MAX), None);
        inbox.add(&[1, 2, 3]);
        assert_eq!(inbox.take(4), None);
        assert_eq!(inbox.take_array(), Some([1, 2]));
        assert_eq!(inbox.take_array(), Some([3]));
    }

    #[test]
    fn memory_with_a_transaction_in_it_is_not_outgrown() {
        let raw = [7; 5000];
        let last = [Outgoing::Tx(&raw), Outgoing::Ping { nonce: 1 }];
        let room: usize = last
            .iter()
            .map(|message| {
                let bytes = message.payload().len();
                V1::frame_bytes(bytes).max(V2::frame_bytes(bytes))
            })
            .sum();
        let mut wire = Wire(Framing::V1(V1::new([0; 4])));
        let mut out = Vec::new();
        wire.send(&last, &mut out);
        assert!((5000..=room).contains(&out.len()) && out.capacity() <= room);
    }
}
