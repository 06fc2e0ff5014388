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

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::Txid;
    use bitcoin::hex::FromHex as _;

    const MAIN: [u8; 4] = [0xf9, 0xbe, 0xb4, 0xd9];

    fn sent(message: &Outgoing<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        V1::new(MAIN).send(message, &mut out);
        assert_eq!(out.len(), V1::frame_bytes(message.payload().len()));
        out
    }

    fn bytes(parts: &[&str]) -> Vec<u8> {
        Vec::from_hex(&parts.concat()).unwrap()
    }

    #[test]
    fn each_message_has_exactly_these_bytes() {
        let version = bytes(&[
            "f9beb4d9",
            "76657273696f6e0000000000",
            "64000000",
            "9bc2ce1f",
            "80110100",
            "0000000000000000",
            "0000000000000000",
            "0000000000000000000000000000000000000000000000000000",
            "0000000000000000000000000000000000000000000000000000",
            "0102030405060708",
            "0e2f70796e6f64653a302e302e312f",
            "00000000",
            "00",
        ]);
        assert_eq!(version.len(), 124);
        let nonce = 0x0807_0605_0403_0201;
        assert_eq!(sent(&Outgoing::Version { nonce }), version);

        let verack = bytes(&[
            "f9beb4d9",
            "76657261636b000000000000",
            "00000000",
            "5df6e0e2",
        ]);
        assert_eq!(sent(&Outgoing::Verack), verack);

        let hash = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        let inv = bytes(&[
            "f9beb4d9",
            "696e76000000000000000000",
            "25000000",
            "41018a30",
            "01",
            "01000000",
            hash,
        ]);
        let txid = Txid::from_slice(&bytes(&[hash])).unwrap();
        assert_eq!(sent(&Outgoing::Inv(txid)), inv);

        let tx = bytes(&[
            "f9beb4d9",
            "747800000000000000000000",
            "0f000000",
            "099c9c3b",
            "726177207472616e73616374696f6e",
        ]);
        assert_eq!(sent(&Outgoing::Tx(b"raw transaction")), tx);

        let ping = bytes(&[
            "f9beb4d9",
            "70696e670000000000000000",
            "08000000",
            "5ff5b0c4",
            "1112131415161718",
        ]);
        let nonce = 0x1817_1615_1413_1211;
        assert_eq!(sent(&Outgoing::Ping { nonce }), ping);
    }

    fn heard(pieces: &[&[u8]]) -> Result<Vec<Incoming>, Broken> {
        let mut wire = V1::new(MAIN);
        let mut messages = Vec::new();
        for piece in pieces {
            wire.heard(piece);
            while let Some(message) = wire.next()? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    #[test]
    fn a_frame_is_refused_for_its_magic_its_length_and_its_checksum() {
        let verack = sent(&Outgoing::Verack);
        assert_eq!(
            heard(&[&verack, &verack]),
            Ok(vec![Incoming::Verack, Incoming::Verack])
        );
        let header = |length: usize| {
            let length = u32::try_from(length).unwrap().to_le_bytes();
            let mut header = verack.clone();
            header[16..20].copy_from_slice(&length);
            header
        };
        assert_eq!(
            heard(&[&header(limits::PEER_MESSAGE_BYTES_MAX)]),
            Ok(vec![])
        );
        // Its payload is not waited for.
        let too_long = header(limits::PEER_MESSAGE_BYTES_MAX + 1);
        assert_eq!(heard(&[&too_long]), Err(Broken));
        assert_eq!(
            heard(&[&header(usize::try_from(u32::MAX).unwrap())]),
            Err(Broken)
        );
        for place in [0, 3, 20, 23] {
            let mut other = verack.clone();
            other[place] ^= 1;
            assert_eq!(heard(&[&other]), Err(Broken), "{place}");
        }
        let mut payload = sent(&Outgoing::Tx(b"raw transaction"));
        assert_eq!(heard(&[&payload]), Ok(vec![Incoming::Ignored]));
        payload[30] ^= 1;
        assert_eq!(heard(&[&payload]), Err(Broken));
    }
}
