//! The encrypted framing of BIP324: keys and garbage first, then packets, of which some are decoys.

mod cipher;
mod keys;

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};

use super::message::{Incoming, Name, Outgoing};
use super::{Broken, Inbox};
use crate::limits;
use cipher::{LENGTH_BYTES, TAG_BYTES};
use keys::{OwnKey, PUBLIC_KEY_BYTES, Secrets, TERMINATOR_BYTES};

/// Bytes of the flags before the contents of a packet.
const FLAGS_BYTES: usize = 1;
/// The flag of a packet without meaning.
const DECOY: u8 = 0x80;
/// Bytes before a payload at most: a zero and the name in full.
const NAME_BYTES_MAX: usize = 13;

/// Packets in both directions of one connection.
pub(super) struct V2 {
    inbox: Inbox,
    stage: Stage,
}

enum Stage {
    /// The peer's key is awaited.
    Opening(Opening),
    /// There are secrets.
    Open(Box<Open>),
}

/// What was sent first, and what follows once the peer's key is there.
struct Opening {
    key: OwnKey,
    magic: [u8; 4],
    garbage: Vec<u8>,
    /// Contents of the first message.
    first: Vec<u8>,
}

struct Open {
    secrets: Secrets,
    awaited: Awaited,
    /// The peer's garbage, and its terminator while that is looked for; the first packet proves it.
    garbage: Vec<u8>,
    /// Contents of the packet whose length was read.
    length: Option<usize>,
}

#[derive(Clone, Copy)]
enum Awaited {
    Terminator,
    /// The first packet that is no decoy; it says what the peer can do besides, and nothing such is defined.
    VersionPacket,
    Message,
}

enum Packet<'a> {
    Decoy,
    Genuine(&'a [u8]),
}

impl V2 {
    /// Appends our key and our garbage; `first` follows our version packet, as with Core.
    pub(super) fn open(
        magic: [u8; 4],
        first: &Outgoing<'_>,
        random: &mut StdRng,
        out: &mut Vec<u8>,
    ) -> Self {
        let key = OwnKey::draw(random);
        let mut garbage = vec![0; random.random_range(0..=limits::PEER_GARBAGE_BYTES_MAX)];
        random.fill_bytes(&mut garbage);
        out.extend(key.public());
        out.extend_from_slice(&garbage);
        let mut contents = Vec::new();
        write_contents(first, &mut contents);
        Self {
            inbox: Inbox::default(),
            stage: Stage::Opening(Opening {
                key,
                magic,
                garbage,
                first: contents,
            }),
        }
    }

    /// Bytes that the packet of a message takes at most.
    pub(super) fn frame_bytes(payload_bytes: usize) -> usize {
        (LENGTH_BYTES + FLAGS_BYTES + NAME_BYTES_MAX + TAG_BYTES).saturating_add(payload_bytes)
    }

    /// Appends the packet of a message. There is none to send before the peer has spoken, and so none without secrets.
    pub(super) fn send(&mut self, message: &Outgoing<'_>, out: &mut Vec<u8>) {
        if let Stage::Open(open) = &mut self.stage {
            open.secrets
                .seal(|out| write_contents(message, out), &[], out);
        }
    }

    pub(super) fn heard(&mut self, bytes: &[u8]) {
        self.inbox.add(bytes);
    }

    /// The next whole message of what was heard; a decoy is one too.
    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> Result<Option<Incoming>, Broken> {
        loop {
            match &mut self.stage {
                Stage::Open(open) => return open.next(&mut self.inbox),
                Stage::Opening(opening) => {
                    let Some(key) = self.inbox.take_array() else {
                        return Ok(None);
                    };
                    self.stage = Stage::Open(Box::new(opening.answer(key, out)));
                }
            }
        }
    }
}

impl Opening {
    /// Appends the end of our garbage, our version packet, which is empty, and the first message.
    fn answer(&self, key: [u8; PUBLIC_KEY_BYTES], out: &mut Vec<u8>) -> Open {
        let mut secrets = self.key.agree(key, self.magic);
        out.extend(secrets.own_terminator);
        secrets.seal(|_empty| (), &self.garbage, out);
        secrets.seal(|out| out.extend_from_slice(&self.first), &[], out);
        Open {
            secrets,
            awaited: Awaited::Terminator,
            garbage: Vec::new(),
            length: None,
        }
    }
}

impl Open {
    fn next(&mut self, inbox: &mut Inbox) -> Result<Option<Incoming>, Broken> {
        loop {
            match self.awaited {
                Awaited::Terminator => {
                    if !self.find_terminator(inbox)? {
                        return Ok(None);
                    }
                    self.awaited = Awaited::VersionPacket;
                }
                Awaited::VersionPacket => match self.next_packet(inbox)? {
                    None => return Ok(None),
                    Some(Packet::Decoy) => return Ok(Some(Incoming::Ignored)),
                    Some(Packet::Genuine(_)) => self.awaited = Awaited::Message,
                },
                Awaited::Message => {
                    return match self.next_packet(inbox)? {
                        None => Ok(None),
                        Some(Packet::Decoy) => Ok(Some(Incoming::Ignored)),
                        Some(Packet::Genuine(contents)) => parse_contents(contents).map(Some),
                    };
                }
            }
        }
    }

    /// Whether the garbage has ended; what comes behind it stays where it is.
    fn find_terminator(&mut self, inbox: &mut Inbox) -> Result<bool, Broken> {
        while let Some([byte]) = inbox.take_array() {
            self.garbage.push(byte);
            if self.garbage.ends_with(&self.secrets.peer_terminator) {
                let garbage_bytes = self.garbage.len().saturating_sub(TERMINATOR_BYTES);
                self.garbage.truncate(garbage_bytes);
                return Ok(true);
            }
            if self.garbage.len() >= limits::PEER_GARBAGE_BYTES_MAX + TERMINATOR_BYTES {
                return Err(Broken);
            }
        }
        Ok(false)
    }

    fn next_packet<'a>(&mut self, inbox: &'a mut Inbox) -> Result<Option<Packet<'a>>, Broken> {
        let length = match self.length {
            Some(length) => length,
            None => match inbox.take_array() {
                Some(hidden) => *self.length.insert(self.secrets.open_length(hidden)?),
                None => return Ok(None),
            },
        };
        let Some(packet) = inbox.take(FLAGS_BYTES + length + TAG_BYTES) else {
            return Ok(None);
        };
        self.length = None;
        let (body, tag) = packet.split_last_chunk_mut().ok_or(Broken)?;
        let garbage = std::mem::take(&mut self.garbage);
        self.secrets.peer_packets.open(body, *tag, &garbage)?;
        let (flags, contents) = body.split_first().ok_or(Broken)?;
        Ok(Some(if flags & DECOY == 0 {
            Packet::Genuine(contents)
        } else {
            Packet::Decoy
        }))
    }
}

impl Secrets {
    /// Appends a packet, whose contents are written where they are then hidden.
    fn seal(&mut self, write: impl FnOnce(&mut Vec<u8>), associated: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([0; LENGTH_BYTES + FLAGS_BYTES]);
        write(out);
        let packet = out.get_mut(start..).unwrap_or_default();
        let Some((hidden, body)) = packet.split_first_chunk_mut::<LENGTH_BYTES>() else {
            return;
        };
        // Contents are a transaction at most, and shorter than three bytes can count.
        let [a, b, c, ..] = body.len().saturating_sub(FLAGS_BYTES).to_le_bytes();
        *hidden = [a, b, c];
        self.own_lengths.apply(hidden);
        let tag = self.own_packets.seal(body, associated);
        out.extend(tag);
    }

    fn open_length(&mut self, mut hidden: [u8; LENGTH_BYTES]) -> Result<usize, Broken> {
        self.peer_lengths.apply(&mut hidden);
        let [a, b, c] = hidden;
        let length = usize::try_from(u32::from_le_bytes([a, b, c, 0])).map_err(|_long| Broken)?;
        if length > limits::PEER_MESSAGE_BYTES_MAX {
            return Err(Broken);
        }
        Ok(length)
    }
}

/// The one byte that stands for a name, or a zero and the name in full.
fn write_contents(message: &Outgoing<'_>, out: &mut Vec<u8>) {
    match message {
        Outgoing::Version { .. } => out.extend(b"\0version\0\0\0\0\0"),
        Outgoing::Verack => out.extend(b"\0verack\0\0\0\0\0\0"),
        Outgoing::Inv(_) => out.push(14),
        Outgoing::Tx(_) => out.push(21),
        Outgoing::Ping { .. } => out.push(18),
    }
    out.extend_from_slice(&message.payload());
}

fn parse_contents(contents: &[u8]) -> Result<Incoming, Broken> {
    let (name, payload) = match contents.split_first() {
        Some((0, rest)) => match rest.split_first_chunk() {
            Some((field, payload)) => (Name::of_field(field), payload),
            None => return Ok(Incoming::Ignored),
        },
        Some((11, payload)) => (Name::GetData, payload),
        Some((19, payload)) => (Name::Pong, payload),
        Some(_) | None => return Ok(Incoming::Ignored),
    };
    Incoming::parse(name, payload)
}
