//! The messages that a delivery sends and heeds: two closed sets, so that nothing else can be said.

use std::borrow::Cow;
use std::fmt;

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
#[derive(Clone, PartialEq, Eq)]
pub(in crate::broadcast) enum Incoming {
    /// Who the peer is.
    Version(PeerVersion),
    /// The peer heard our version.
    Verack,
    /// The peer asks for these transactions by their txids, [`limits::PACKAGE_MAX`] at most; for none if it asks
    /// otherwise.
    GetData(Vec<Txid>),
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
            Name::GetData => Ok(Self::GetData(parse_txids(payload).unwrap_or_default())),
            Name::Pong => {
                let nonce = Fields(payload).take().map(u64::from_le_bytes);
                Ok(nonce.map_or(Self::Ignored, |nonce| Self::Pong { nonce }))
            }
            Name::Other => Ok(Self::Ignored),
        }
    }
}

/// It may hold the txid of a client's transaction.
impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[scrubbed]")
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

/// The txids in a `getdata` payload that asks for a few transactions and nothing else.
fn parse_txids(payload: &[u8]) -> Option<Vec<Txid>> {
    let mut fields = Fields(payload);
    let count = usize::try_from(fields.compact_size()?).ok()?;
    if count > limits::PACKAGE_MAX {
        return None;
    }
    let mut txids = Vec::with_capacity(count);
    for _ in 0..count {
        if u32::from_le_bytes(fields.take()?) != core_shape::MSG_TX {
            return None;
        }
        txids.push(Txid::from_byte_array(fields.take()?));
    }
    fields.0.is_empty().then_some(txids)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A `version` as a node sends it, its fields in the order of the protocol.
    fn node_version() -> Vec<u8> {
        let mut payload = Vec::new();
        payload.extend(70_016_i32.to_le_bytes());
        payload.extend(0x409_u64.to_le_bytes()); // services
        payload.extend(1_717_367_985_i64.to_le_bytes()); // time
        payload.extend([5; 26]); // our address
        payload.extend([6; 26]); // its address
        payload.extend([7; 8]); // nonce
        payload.push(16);
        payload.extend(b"/Satoshi:29.0.0/");
        payload.extend(110_i32.to_le_bytes()); // height
        payload.push(1); // relay
        payload
    }

    fn parsed(name: Name, payload: &[u8]) -> Result<Incoming, Broken> {
        Incoming::parse(name, payload)
    }

    fn version(protocol: i32, height: i32, relay: bool) -> Result<Incoming, Broken> {
        Ok(Incoming::Version(PeerVersion {
            protocol,
            height,
            relay,
        }))
    }

    #[test]
    fn of_a_version_the_protocol_height_and_relay_are_read() {
        let payload = node_version();
        assert_eq!(parsed(Name::Version, &payload), version(70_016, 110, true));
        let longer = [payload.as_slice(), &[9; 40]].concat();
        assert_eq!(parsed(Name::Version, &longer), version(70_016, 110, true));
        let (without_relay, _) = payload.split_at(payload.len() - 1);
        assert_eq!(
            parsed(Name::Version, without_relay),
            version(70_016, 110, true)
        );
        let silent = [without_relay, &[0]].concat();
        assert_eq!(parsed(Name::Version, &silent), version(70_016, 110, false));
        for cut in 0..payload.len() - 1 {
            assert_eq!(parsed(Name::Version, &payload[..cut]), Err(Broken), "{cut}");
        }
    }

    #[test]
    fn an_agent_is_as_long_as_nodes_let_it_be() {
        let named = |prefix: &[u8], bytes: usize| {
            let payload = node_version();
            let (before, rest) = payload.split_at(80);
            let behind = &rest[17..];
            let agent = vec![b'a'; bytes];
            parsed(Name::Version, &[before, prefix, &agent, behind].concat())
        };
        assert_eq!(named(&[0], 0), version(70_016, 110, true));
        assert_eq!(named(&[0xfd, 0, 1], 256), version(70_016, 110, true));
        assert_eq!(named(&[0xfd, 1, 1], 257), Err(Broken));
        assert_eq!(named(&[0xfe, 1, 0, 0, 0], 1), version(70_016, 110, true));
        assert_eq!(named(&[0xff; 9], 100), Err(Broken));
    }

    #[test]
    fn peers_before_the_relay_field_are_not_spoken_to() {
        for (protocol, spoken) in [(70_000, false), (70_001, true), (-1, false)] {
            let Ok(Incoming::Version(version)) = version(protocol, 0, true) else {
                panic!("no version");
            };
            assert_eq!(version.is_spoken(), spoken);
        }
    }

    #[test]
    fn a_getdata_asks_for_a_few_transactions_by_txid_or_for_nothing_we_know() {
        let asked = |payload: &[u8]| match parsed(Name::GetData, payload) {
            Ok(Incoming::GetData(asked)) => asked
                .into_iter()
                .map(Txid::to_byte_array)
                .collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        let nothing: [[u8; 32]; 0] = [];
        let item = |kind: u32, hash: u8| [&kind.to_le_bytes()[..], &[hash; 32]].concat();
        let list = |items: &[Vec<u8>]| {
            let count = u8::try_from(items.len()).unwrap();
            [&[count], items.concat().as_slice()].concat()
        };
        assert_eq!(asked(&list(&[item(1, 7)])), [[7; 32]]);
        let most: Vec<_> = (1..=5).map(|hash| item(1, hash)).collect();
        assert_eq!(asked(&list(&most)).len(), limits::PACKAGE_MAX);
        assert_eq!(asked(&list(&[most, vec![item(1, 6)]].concat())), nothing);
        // A block, and a transaction: filtered, by wtxid, with the flag for witnesses.
        for kind in [0, 2, 3, 5, 0x4000_0001] {
            assert_eq!(asked(&list(&[item(kind, 7)])), nothing, "{kind}");
            assert_eq!(
                asked(&list(&[item(1, 7), item(kind, 7)])),
                nothing,
                "{kind}"
            );
        }
        assert_eq!(asked(&list(&[item(1, 7), item(1, 8)])), [[7; 32], [8; 32]]);
        assert_eq!(asked(&[list(&[item(1, 7)]), vec![0]].concat()), nothing);
        assert_eq!(asked(&list(&[])), nothing);
        assert_eq!(asked(&[2, 1, 0, 0, 0]), nothing);
        assert_eq!(asked(&[]), nothing);
        assert_eq!(asked(&[&[0xff; 9][..], &item(1, 7)].concat()), nothing);
    }

    #[test]
    fn what_was_asked_for_is_not_shown() {
        let asked = Incoming::GetData(vec![Txid::from_byte_array([7; 32])]);
        assert_eq!(format!("{asked:?} {asked:#?}"), "[scrubbed] [scrubbed]");
    }

    #[test]
    fn a_pong_has_a_nonce() {
        let pong = Ok(Incoming::Pong { nonce: 0x0102 });
        assert_eq!(parsed(Name::Pong, &[2, 1, 0, 0, 0, 0, 0, 0]), pong);
        assert_eq!(parsed(Name::Pong, &[2, 1, 0, 0, 0, 0, 0, 0, 9]), pong);
        assert_eq!(parsed(Name::Pong, &[2, 1]), Ok(Incoming::Ignored));
    }

    #[test]
    fn names_are_whole_and_filled_up_with_zeros() {
        for (field, name) in [
            (b"version\0\0\0\0\0", Name::Version),
            (b"verack\0\0\0\0\0\0", Name::Verack),
            (b"getdata\0\0\0\0\0", Name::GetData),
            (b"pong\0\0\0\0\0\0\0\0", Name::Pong),
            (b"ping\0\0\0\0\0\0\0\0", Name::Other),
            (b"pong\0\0\0\0\0\0\0x", Name::Other),
            (b"versions\0\0\0\0", Name::Other),
        ] {
            assert_eq!(Name::of_field(field), name);
        }
    }

    proptest! {
        #[test]
        fn any_payload_is_read_without_panic(payload in proptest::collection::vec(any::<u8>(), 0..400)) {
            for name in [Name::Version, Name::Verack, Name::GetData, Name::Pong, Name::Other] {
                let outcome = Incoming::parse(name, &payload);
                prop_assert!(outcome.is_ok() || name == Name::Version);
            }
        }
    }
}
