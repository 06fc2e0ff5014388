//! The messages that a delivery sends and heeds: two closed sets, so that nothing else can be said.

use std::borrow::Cow;

use bitcoin::Txid;
use bitcoin::hashes::Hash as _;

use super::{Broken, core_shape};
use crate::limits;

/// A message that is sent; there are no others.
pub(in crate::broadcast) enum Outgoing<'a> {
    /// Who speaks: nobody in particular; with a nonce of this connection alone.
    Version { nonce: u64 },
    /// The peer's version was heard.
    Verack,
    /// A transaction is offered.
    Inv(Txid),
    /// The offered transaction, in network serialization with its witnesses.
    Tx(&'a [u8]),
    /// Asks for a sign that all of it has arrived.
    Ping { nonce: u64 },
}

impl Outgoing<'_> {
    /// Its name in the protocol.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Version { .. } => "version",
            Self::Verack => "verack",
            Self::Inv(_) => "inv",
            Self::Tx(_) => "tx",
            Self::Ping { .. } => "ping",
        }
    }

    /// Its payload; that of a transaction is not copied.
    pub(super) fn payload(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Version { nonce } => version_payload(*nonce).into(),
            Self::Verack => Cow::Borrowed(&[]),
            Self::Inv(txid) => [
                &[1],
                &core_shape::MSG_TX.to_le_bytes()[..],
                &txid.to_byte_array(),
            ]
            .concat()
            .into(),
            Self::Tx(raw) => Cow::Borrowed(raw),
            Self::Ping { nonce } => nonce.to_le_bytes().to_vec().into(),
        }
    }
}

/// The payload of `version`, 100 bytes of which the nonce alone differs.
fn version_payload(nonce: u64) -> Vec<u8> {
    let agent = core_shape::USER_AGENT.as_bytes();
    [
        &core_shape::PROTOCOL_VERSION.to_le_bytes()[..],
        &core_shape::SERVICES.to_le_bytes(),
        &core_shape::TIMESTAMP.to_le_bytes(),
        &core_shape::PEER_ADDRESS,
        &core_shape::PEER_ADDRESS,
        &nonce.to_le_bytes(),
        &[AGENT_BYTES],
        agent,
        &core_shape::START_HEIGHT.to_le_bytes(),
        &[core_shape::RELAY.into()],
    ]
    .concat()
}

/// Length of the user agent, in the one byte that its prefix is.
const AGENT_BYTES: u8 = {
    let length = core_shape::USER_AGENT.len();
    assert!(length < 0xfd, "a longer one needs a longer prefix");
    length.to_le_bytes()[0]
};

/// Which message a frame holds, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Version,
    Verack,
    GetData,
    Pong,
    Other,
}

impl Name {
    /// The name in a field of 12 bytes, filled up with zeros.
    pub(super) fn of_field(field: &[u8; 12]) -> Self {
        match field {
            b"version\0\0\0\0\0" => Self::Version,
            b"verack\0\0\0\0\0\0" => Self::Verack,
            b"getdata\0\0\0\0\0" => Self::GetData,
            b"pong\0\0\0\0\0\0\0\0" => Self::Pong,
            _ => Self::Other,
        }
    }
}

/// A message that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broadcast) enum Incoming {
    /// Who the peer is.
    Version(PeerVersion),
    /// The peer heard our version.
    Verack,
    /// The peer asks for exactly one item, which is a transaction by its txid; `None` if it asks otherwise.
    GetData(Option<Txid>),
    /// The answer to the ping of this nonce.
    Pong { nonce: u64 },
    /// Anything else; a ping too is not answered.
    Ignored,
}

/// What counts of a peer's `version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broadcast) struct PeerVersion {
    /// Its protocol version, as it says.
    pub(in crate::broadcast) protocol: i32,
    /// Height of its chain, as it says; negative only as a lie.
    pub(in crate::broadcast) height: i32,
    /// Whether it wants announcements.
    pub(in crate::broadcast) relay: bool,
}

impl PeerVersion {
    /// Whether its protocol is one that this exchange is made for.
    pub(in crate::broadcast) fn is_spoken(self) -> bool {
        self.protocol >= core_shape::PEER_PROTOCOL_MIN
    }
}

impl Incoming {
    /// Reads the payload of a message; only a `version` that cannot be read breaks the connection.
    pub(super) fn parse(name: Name, payload: &[u8]) -> Result<Self, Broken> {
        match name {
            Name::Version => parse_version(payload).map(Self::Version).ok_or(Broken),
            Name::Verack => Ok(Self::Verack),
            Name::GetData => Ok(Self::GetData(parse_one_txid(payload))),
            Name::Pong => {
                let nonce = Fields(payload).take().map(u64::from_le_bytes);
                Ok(nonce.map_or(Self::Ignored, |nonce| Self::Pong { nonce }))
            }
            Name::Other => Ok(Self::Ignored),
        }
    }
}

/// A `version` payload. What may follow it in later protocols is left unread.
fn parse_version(payload: &[u8]) -> Option<PeerVersion> {
    let mut fields = Fields(payload);
    let protocol = i32::from_le_bytes(fields.take()?);
    // Services, timestamp, both addresses, nonce.
    let _: [u8; 8 + 8 + 26 + 26 + 8] = fields.take()?;
    let agent_bytes = fields.compact_size()?;
    fields.skip(agent_bytes, limits::PEER_AGENT_BYTES_MAX)?;
    let height = i32::from_le_bytes(fields.take()?);
    // One byte of any value but zero means yes, and so does its absence (BIP 37).
    let relay = fields.take().is_none_or(|[byte]| byte != 0);
    Some(PeerVersion {
        protocol,
        height,
        relay,
    })
}

/// The txid in a `getdata` payload that asks for this one transaction and nothing else.
fn parse_one_txid(payload: &[u8]) -> Option<Txid> {
    let mut fields = Fields(payload);
    let count = fields.compact_size()?;
    let kind = u32::from_le_bytes(fields.take()?);
    let hash = fields.take()?;
    let is_one = count == 1 && kind == core_shape::MSG_TX && fields.0.is_empty();
    is_one.then(|| Txid::from_byte_array(hash))
}

/// What is left to read of a payload.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// A field of fixed size.
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    /// A number in the prefix of one, three, five or nine bytes that counts things.
    fn compact_size(&mut self) -> Option<u64> {
        match u8::from_le_bytes(self.take()?) {
            0xfd => self.take().map(u16::from_le_bytes).map(u64::from),
            0xfe => self.take().map(u32::from_le_bytes).map(u64::from),
            0xff => self.take().map(u64::from_le_bytes),
            small => Some(small.into()),
        }
    }

    /// Leaves out this many bytes, if they are no more than may be.
    fn skip(&mut self, bytes: u64, bytes_max: usize) -> Option<()> {
        let bytes = usize::try_from(bytes).ok().filter(|n| *n <= bytes_max)?;
        self.0 = self.0.get(bytes..)?;
        Some(())
    }
}
