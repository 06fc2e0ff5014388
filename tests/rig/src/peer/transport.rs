//! Messages as bytes: with Bitcoin's header, and BIP 324 as the side that was dialled.

use std::io::{BufReader, ErrorKind, Read, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bip324::io::{ProtocolSessionReader, handshake};
use bip324::{InboundCipher, OutboundCipher, PacketType, Role};
use sha2::{Digest as _, Sha256};

use super::{Message, Transport};

const REGTEST: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];
const HEADER_BYTES: usize = 24;
const COMMAND_BYTES: usize = 12;
/// What begins every first message of the plain transport, and a key only with a chance of 2^-128.
const V1_BEGINNING: &[u8; 16] = b"\xfa\xbf\xb5\xdaversion\0\0\0\0\0";
/// More than any message that is expected.
const PAYLOAD_BYTES_MAX: usize = 4_000_000;
/// Longer than a dialler may wait for anything.
const SILENCE: Duration = Duration::from_secs(300);

/// Short ids of BIP 324, those that matter here.
const SHORT_IDS: [(u8, &str); 7] = [
    (5, "feefilter"),
    (11, "getdata"),
    (14, "inv"),
    (18, "ping"),
    (19, "pong"),
    (20, "sendcmpct"),
    (21, "tx"),
];

/// A connection whose transport is known.
pub(super) struct Wire {
    stream: TcpStream,
    encrypted: Option<Box<Encrypted>>,
}

/// After the handshake of BIP 324.
struct Encrypted {
    reader: ProtocolSessionReader<BufReader<TcpStream>>,
    inbound: InboundCipher,
    outbound: OutboundCipher,
}

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Right,
    /// With a wrong checksum or tag.
    Garbled,
}

/// With which transport the other side begins, once it has sent enough to tell; nothing is taken from the stream.
pub(super) fn beginning(stream: &TcpStream) -> Result<Transport> {
    stream.set_read_timeout(Some(SILENCE))?;
    let mut seen = [0; V1_BEGINNING.len()];
    loop {
        let length = stream.peek(&mut seen)?;
        ensure!(length > 0, "closed before anything came");
        if seen[..length] != V1_BEGINNING[..length] {
            return Ok(Transport::V2);
        }
        if length == seen.len() {
            return Ok(Transport::V1);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Wire {
    /// Answers the handshake, if the transport has one.
    pub(super) fn accept(stream: TcpStream, transport: Transport) -> Result<Self> {
        if transport == Transport::V1 {
            return Ok(Self {
                stream,
                encrypted: None,
            });
        }
        let reader = BufReader::new(stream.try_clone()?);
        let (inbound, outbound, reader) =
            handshake(REGTEST, Role::Responder, None, None, reader, &mut &stream)
                .map_err(|error| anyhow::anyhow!("no handshake: {error}"))?;
        Ok(Self {
            stream,
            encrypted: Some(Box::new(Encrypted {
                reader,
                inbound,
                outbound,
            })),
        })
    }

    /// The next message; `None` when the other side has closed between two.
    pub(super) fn read(&mut self) -> Result<Option<Message>> {
        match &mut self.encrypted {
            None => read_plain(&mut &self.stream),
            Some(encrypted) => encrypted.read(),
        }
    }

    /// The bytes of a message, ready to be sent.
    pub(super) fn pack(&mut self, command: &str, payload: &[u8], form: Form) -> Vec<u8> {
        let mut bytes = match &mut self.encrypted {
            None => plain(command, payload),
            Some(encrypted) => {
                let contents = contents(command, payload);
                let cipher = &mut encrypted.outbound;
                cipher.encrypt_to_vec(&contents, PacketType::Genuine, None)
            }
        };
        if form == Form::Garbled {
            // The last byte of the checksum, or of the tag.
            let last = match self.encrypted {
                None => HEADER_BYTES - 1,
                Some(_) => bytes.len() - 1,
            };
            bytes[last] ^= 1;
        }
        bytes
    }

    pub(super) fn send(&mut self, command: &str, payload: &[u8]) -> Result<()> {
        let bytes = self.pack(command, payload, Form::Right);
        self.send_bytes(&bytes)
    }

    pub(super) fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        (&self.stream)
            .write_all(bytes)
            .context("failed to answer a visitor")
    }

    /// Both ways at once; what was not read yet is lost.
    pub(super) fn close(&self) {
        self.stream.shutdown(Shutdown::Both).ok();
    }
}

impl Encrypted {
    fn read(&mut self) -> Result<Option<Message>> {
        let mut length = [0; 3];
        if !fill(&mut self.reader, &mut length)? {
            return Ok(None);
        }
        let length = self.inbound.decrypt_packet_len(length);
        ensure!(length <= PAYLOAD_BYTES_MAX, "a packet of {length} bytes");
        let mut packet = vec![0; length];
        ensure!(fill(&mut self.reader, &mut packet)?, "half a packet");
        let (_, plain) = self
            .inbound
            .decrypt_in_place(&mut packet, None)
            .context("a packet that cannot be read")?;
        // In front stands the byte that tells decoys apart.
        let bytes = plain.get(1..).context("an empty packet")?;
        let (id, rest) = bytes.split_first().context("a packet without a message")?;
        let (command, payload) = if *id == 0 {
            ensure!(rest.len() >= COMMAND_BYTES, "half a name");
            let (name, payload) = rest.split_at(COMMAND_BYTES);
            (command(name)?, payload)
        } else {
            let known = SHORT_IDS.iter().find(|(short, _)| short == id);
            (
                known.map_or_else(|| id.to_string(), |(_, name)| (*name).to_owned()),
                rest,
            )
        };
        Ok(Some(Message {
            command,
            payload: payload.to_vec(),
            bytes: bytes.to_vec(),
        }))
    }
}

/// The message of a transaction as the plain transport has it.
fn plain(command: &str, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let parts: [&[u8]; 5] = [
        &REGTEST,
        &name(command),
        &length.to_le_bytes(),
        &checksum(payload),
        payload,
    ];
    parts.concat()
}

/// What a packet of BIP 324 holds.
fn contents(command: &str, payload: &[u8]) -> Vec<u8> {
    let short = SHORT_IDS.iter().find(|(_, known)| *known == command);
    match short {
        Some((id, _)) => [&[*id], payload].concat(),
        None => [&[0], name(command).as_slice(), payload].concat(),
    }
}

fn name(command: &str) -> [u8; COMMAND_BYTES] {
    let mut name = [0; COMMAND_BYTES];
    name[..command.len()].copy_from_slice(command.as_bytes());
    name
}

fn command(name: &[u8]) -> Result<String> {
    let length = name.iter().position(|byte| *byte == 0);
    let (word, rest) = name.split_at(length.unwrap_or(name.len()));
    ensure!(rest.iter().all(|byte| *byte == 0), "bytes behind a name");
    String::from_utf8(word.to_vec()).context("a name that is no text")
}

fn checksum(payload: &[u8]) -> [u8; 4] {
    let hash = Sha256::digest(Sha256::digest(payload));
    [hash[0], hash[1], hash[2], hash[3]]
}

fn read_plain(reader: &mut impl Read) -> Result<Option<Message>> {
    let mut header = [0; HEADER_BYTES];
    if !fill(reader, &mut header)? {
        return Ok(None);
    }
    ensure!(header[..4] == REGTEST, "a message of another network");
    let length = u32::from_le_bytes([header[16], header[17], header[18], header[19]]);
    let length = usize::try_from(length)?;
    ensure!(length <= PAYLOAD_BYTES_MAX, "a message of {length} bytes");
    let mut payload = vec![0; length];
    ensure!(length == 0 || fill(reader, &mut payload)?, "half a message");
    ensure!(header[20..] == checksum(&payload), "a wrong checksum");
    Ok(Some(Message {
        command: command(&header[4..16])?,
        bytes: [&header, payload.as_slice()].concat(),
        payload,
    }))
}

/// Reads so many bytes; false when the stream ended before the first.
fn fill(reader: &mut impl Read, bytes: &mut [u8]) -> Result<bool> {
    let mut filled = 0;
    while filled < bytes.len() {
        match reader.read(&mut bytes[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => anyhow::bail!("closed within a message"),
            Ok(length) => filled += length,
            Err(error) if error.kind() == ErrorKind::ConnectionReset && filled == 0 => {
                return Ok(false);
            }
            Err(error) => return Err(error).context("failed to read from a visitor"),
        }
    }
    Ok(true)
}
