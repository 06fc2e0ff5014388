//! The old framing: a header of 24 bytes in the open (magic, name, length, checksum), then the payload.

use bitcoin::hashes::{Hash as _, sha256d};

use super::message::{Incoming, Name, Outgoing};
use super::{Broken, Inbox};
use crate::limits;

/// Bytes before each payload.
const HEADER_BYTES: usize = 24;

/// Frames in both directions of one connection.
pub(super) struct V1 {
    magic: [u8; 4],
    inbox: Inbox,
    /// Name, length and checksum of the message whose payload is awaited.
    header: Option<(Name, usize, [u8; 4])>,
}

impl V1 {
    pub(super) fn new(magic: [u8; 4]) -> Self {
        Self {
            magic,
            inbox: Inbox::default(),
            header: None,
        }
    }

    /// Bytes that the frame of a message takes.
    pub(super) fn frame_bytes(payload_bytes: usize) -> usize {
        HEADER_BYTES.saturating_add(payload_bytes)
    }

    /// Appends the frame of a message.
    pub(super) fn send(&self, message: &Outgoing<'_>, out: &mut Vec<u8>) {
        let payload = message.payload();
        let mut name = [0; 12];
        name.iter_mut()
            .zip(message.name().bytes())
            .for_each(|(to, from)| *to = from);
        // No transaction is as long as four gigabytes; its weight was looked at.
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        out.extend(self.magic);
        out.extend(name);
        out.extend(length.to_le_bytes());
        out.extend(checksum(&payload));
        out.extend_from_slice(&payload);
    }

    pub(super) fn heard(&mut self, bytes: &[u8]) {
        self.inbox.add(bytes);
    }

    /// The next whole message of what was heard.
    pub(super) fn next(&mut self) -> Result<Option<Incoming>, Broken> {
        let (name, length, expected) = match self.header {
            Some(header) => header,
            None => match self.inbox.take_array() {
                Some(header) => *self.header.insert(self.parse_header(&header)?),
                None => return Ok(None),
            },
        };
        let Some(payload) = self.inbox.take(length) else {
            return Ok(None);
        };
        self.header = None;
        if checksum(payload) != expected {
            return Err(Broken);
        }
        Incoming::parse(name, payload).map(Some)
    }

    fn parse_header(&self, header: &[u8; HEADER_BYTES]) -> Result<(Name, usize, [u8; 4]), Broken> {
        let (magic, rest) = header.split_first_chunk::<4>().ok_or(Broken)?;
        let (name, rest) = rest.split_first_chunk::<12>().ok_or(Broken)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(Broken)?;
        let (checksum, _) = rest.split_first_chunk::<4>().ok_or(Broken)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_too_long| Broken)?;
        if *magic != self.magic || length > limits::PEER_MESSAGE_BYTES_MAX {
            return Err(Broken);
        }
        Ok((Name::of_field(name), length, *checksum))
    }
}

/// The first four bytes of the payload's double SHA-256.
fn checksum(payload: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = sha256d::Hash::hash(payload).to_byte_array();
    [a, b, c, d]
}
