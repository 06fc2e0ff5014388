#[path = "../../../fuzz/scripted_peer.rs"]
mod scripted_peer;

mod families;

use super::*;
use bitcoin::hashes::Hash as _;
use proptest::prelude::*;
use rand::SeedableRng as _;
use scripted_peer::ScriptedPeer;

const RAW: &[u8] = b"a transaction, as far as a peer can tell";
const TRANSPORTS: [Transport; 2] = [Transport::V1, Transport::V2];

fn transaction() -> Arc<QueuedTransaction> {
    Arc::new(QueuedTransaction {
        txid: Txid::from_byte_array([7; 32]),
        inputs: Vec::new(),
        raw: Zeroizing::new(RAW.to_vec()),
        parents: Vec::new(),
    })
}

fn open(transport: Transport) -> (Conversation, Vec<u8>) {
    let mut random = StdRng::seed_from_u64(1);
    Conversation::open(transport, Network::Regtest, transaction(), &mut random)
}

fn version(protocol: i32, relay: u8) -> Vec<u8> {
    let mut payload = vec![0; 80];
    payload[..4].copy_from_slice(&protocol.to_le_bytes());
    payload.extend(b"\x05/a:1/");
    payload.extend(1234_i32.to_le_bytes());
    payload.push(relay);
    payload
}

fn getdata(kind: u32, hash: u8) -> Vec<u8> {
    [&[1], &kind.to_le_bytes()[..], &[hash; 32]].concat()
}

/// Both ends of a connection, and everything that went over it.
struct Exchange {
    conversation: Conversation,
    peer: ScriptedPeer,
    /// Messages of ours.
    said: Vec<(String, Vec<u8>)>,
    /// Bytes of the peer.
    heard: Vec<u8>,
    /// Bytes of ours, the first ones left out.
    sent: Vec<u8>,
    end: Option<DeliveryEnd>,
}

impl Exchange {
    /// Up to our version, which the peer has heard.
    fn begin(transport: Transport) -> Self {
        Self::over(transport, open(transport))
    }

    fn over(transport: Transport, (conversation, first): (Conversation, Vec<u8>)) -> Self {
        let mut exchange = Self {
            conversation,
            peer: ScriptedPeer::v1(),
            said: Vec::new(),
            heard: Vec::new(),
            sent: Vec::new(),
            end: None,
        };
        match transport {
            Transport::V1 => exchange.said = exchange.peer.hear(&first),
            Transport::V2 => {
                let (peer, answer) = ScriptedPeer::v2(&first, &[5; 300], &[b"decoy"]);
                exchange.peer = peer;
                exchange.receive(&answer);
            }
        }
        exchange
    }

    fn receive(&mut self, bytes: &[u8]) {
        let progress = self.conversation.receive(bytes);
        self.heard.extend(bytes);
        self.sent.extend(progress.send.iter());
        if !progress.send.is_empty() {
            self.said.extend(self.peer.hear(&progress.send));
        }
        self.end = progress.end;
    }

    fn say(&mut self, name: &str, payload: &[u8]) {
        let bytes = self.peer.say(name, payload);
        self.receive(&bytes);
    }

    /// Up to the announcement.
    fn announced(transport: Transport) -> Self {
        let mut exchange = Self::begin(transport);
        exchange.say("version", &version(70_016, 1));
        exchange.say("verack", &[]);
        assert!(exchange.conversation.is_announced());
        exchange
    }

    /// Up to the ping.
    fn served(transport: Transport) -> Self {
        let mut exchange = Self::announced(transport);
        exchange.say("getdata", &getdata(1, 7));
        exchange
    }

    fn ping_nonce(&self) -> Vec<u8> {
        let (name, nonce) = self.said.last().unwrap();
        assert_eq!(name, "ping");
        nonce.clone()
    }

    /// All of it, with what a node says besides.
    fn whole(transport: Transport) -> Self {
        let mut exchange = Self::begin(transport);
        exchange.say("version", &version(70_016, 1));
        exchange.say("wtxidrelay", &[]);
        exchange.say("sendaddrv2", &[]);
        exchange.say("verack", &[]);
        exchange.say("sendcmpct", &[0, 2, 0, 0, 0, 0, 0, 0, 0]);
        exchange.say("ping", &[9; 8]);
        exchange.say("feefilter", &[1; 8]);
        exchange.say("addrv2", &[1; 30_000]);
        let decoy = exchange.peer.decoy(b"nothing");
        exchange.receive(&decoy);
        exchange.say("getdata", &getdata(1, 7));
        let nonce = exchange.ping_nonce();
        exchange.say("pong", &nonce);
        exchange
    }

    fn names(&self) -> Vec<&str> {
        self.said.iter().map(|(name, _)| name.as_str()).collect()
    }
}

#[test]
fn five_messages_are_said_once_and_in_this_order_whatever_else_is_heard() {
    for transport in TRANSPORTS {
        let exchange = Exchange::whole(transport);
        assert_eq!(exchange.end, Some(DeliveryEnd::Ponged));
        assert_eq!(
            exchange.names(),
            ["version", "verack", "inv", "tx", "ping"],
            "{transport:?}"
        );
        let payloads: Vec<_> = exchange.said.iter().map(|(_, bytes)| bytes).collect();
        let (before_nonce, rest) = payloads[0].split_at(72);
        let (version_nonce, after_nonce) = rest.split_at(8);
        assert_eq!(before_nonce, [&[0x80, 0x11, 1, 0][..], &[0; 68]].concat());
        assert_eq!(after_nonce, b"\x0e/pynode:0.0.1/\0\0\0\0\0");
        assert_ne!(version_nonce, payloads[4].as_slice());
        assert!(payloads[1].is_empty());
        assert_eq!(*payloads[2], getdata(1, 7));
        assert_eq!(*payloads[3], RAW);
        assert_eq!(exchange.conversation.peer_height(), Some(1234));
    }
}

#[test]
fn no_two_connections_have_a_nonce_in_common() {
    let mut random = StdRng::seed_from_u64(2);
    let mut firsts: Vec<Vec<u8>> = (0..20)
        .map(|_| Conversation::open(Transport::V1, Network::Main, transaction(), &mut random).1)
        .collect();
    assert!(firsts.iter().all(|first| first.len() == 124));
    firsts.sort();
    firsts.dedup();
    assert_eq!(firsts.len(), 20);
}

#[test]
fn the_encrypted_transport_begins_as_core_begins_it() {
    let mut random = StdRng::seed_from_u64(3);
    let mut lengths = Vec::new();
    for _ in 0..200 {
        let (_, first) =
            Conversation::open(Transport::V2, Network::Main, transaction(), &mut random);
        lengths.push(first.len());
    }
    assert!(
        lengths
            .iter()
            .all(|length| (64..=64 + 4095).contains(length))
    );
    // Of 200 uniform draws, each twentieth of the range gets some.
    for part in 0..20 {
        assert!(
            lengths.iter().any(|length| (length - 64) / 205 == part),
            "{part}"
        );
    }
    // With the peer's key alone: the end of our garbage, an empty packet, and our version behind it.
    let (mut conversation, first) = open(Transport::V2);
    let (_, answer) = ScriptedPeer::v2(&first, &[], &[]);
    assert!(conversation.receive(&answer[..63]).send.is_empty());
    assert_eq!(
        conversation.receive(&answer[63..64]).send.len(),
        16 + 20 + 133
    );
}

#[test]
fn a_peer_without_relay_is_told_nothing_more() {
    for transport in TRANSPORTS {
        let mut exchange = Exchange::begin(transport);
        exchange.say("version", &version(70_016, 0));
        exchange.say("verack", &[]);
        assert_eq!(exchange.end, Some(DeliveryEnd::NoRelay));
        assert_eq!(exchange.names(), ["version"]);
        assert!(!exchange.conversation.is_announced());
        assert_eq!(exchange.conversation.closed(), DeliveryEnd::NoRelay);
        assert_eq!(exchange.conversation.timed_out(), DeliveryEnd::NoRelay);
    }
}

#[test]
fn what_does_not_fit_the_stage_is_passed_over() {
    for transport in TRANSPORTS {
        let mut exchange = Exchange::begin(transport);
        exchange.say("verack", &[]);
        exchange.say("getdata", &getdata(1, 9));
        exchange.say("version", &version(70_016, 1));
        exchange.say("version", &version(70_016, 0));
        exchange.say("getdata", &getdata(1, 7));
        exchange.say("pong", &[0; 8]);
        assert_eq!(exchange.names(), ["version", "verack"]);
        exchange.say("verack", &[]);
        exchange.say("verack", &[]);
        exchange.say("getdata", &getdata(1, 7));
        exchange.say("getdata", &getdata(1, 7));
        let nonce = exchange.ping_nonce();
        let mut other = nonce.clone();
        other[7] ^= 1;
        exchange.say("pong", &other);
        exchange.say("pong", &nonce[..7]);
        assert_eq!(exchange.end, None);
        assert_eq!(exchange.names(), ["version", "verack", "inv", "tx", "ping"]);
        exchange.say("pong", &nonce);
        assert_eq!(exchange.end, Some(DeliveryEnd::Ponged));
    }
}

#[test]
fn packets_that_are_no_message_are_passed_over() {
    let mut exchange = Exchange::announced(Transport::V2);
    let short_name = b"\0getdata";
    for contents in [&[][..], &[0], short_name, &[200, 1], &[29], &[255; 40]] {
        let packet = exchange.peer.contents(contents);
        exchange.receive(&packet);
        assert_eq!(exchange.end, None);
    }
    let in_full = [b"\0getdata\0\0\0\0\0".as_slice(), &getdata(1, 7)].concat();
    let packet = exchange.peer.contents(&in_full);
    exchange.receive(&packet);
    assert_eq!(exchange.names(), ["version", "verack", "inv", "tx", "ping"]);
}

#[test]
fn silence_and_closing_end_each_stage_in_their_way() {
    for transport in TRANSPORTS {
        let closed = |announced| DeliveryEnd::Closed { announced };
        let ends = |exchange: &Exchange| {
            assert_eq!(exchange.end, None);
            let conversation = &exchange.conversation;
            (conversation.timed_out(), conversation.closed())
        };
        let before = (DeliveryEnd::HandshakeTimedOut, closed(false));
        let mut exchange = Exchange::begin(transport);
        assert_eq!(ends(&exchange), before);
        exchange.say("version", &version(70_016, 1));
        assert_eq!(ends(&exchange), before);
        exchange.say("verack", &[]);
        assert_eq!(ends(&exchange), (DeliveryEnd::NoGetdata, closed(true)));
        exchange.say("getdata", &getdata(1, 7));
        assert_eq!(ends(&exchange), (closed(true), closed(true)));
    }
}

fn assert_violates(exchange: &Exchange, announced: bool) {
    assert_eq!(exchange.end, Some(DeliveryEnd::Violation { announced }));
    assert_eq!(exchange.conversation.is_announced(), announced);
    assert!(!exchange.names().contains(&"tx"));
}

#[test]
fn a_getdata_for_anything_else_ends_it() {
    let other: [Vec<u8>; 5] = [
        getdata(1, 9),
        getdata(0x4000_0001, 7),
        getdata(5, 8),
        [&[2], &getdata(1, 7)[1..], &getdata(1, 7)[1..]].concat(),
        Vec::new(),
    ];
    for transport in TRANSPORTS {
        for payload in &other {
            let mut exchange = Exchange::announced(transport);
            exchange.say("getdata", payload);
            assert_violates(&exchange, true);
        }
        let mut exchange = Exchange::served(transport);
        exchange.say("getdata", &getdata(1, 9));
        assert_eq!(
            exchange.end,
            Some(DeliveryEnd::Violation { announced: true })
        );
    }
}

#[test]
fn an_old_or_broken_version_ends_it() {
    for transport in TRANSPORTS {
        for payload in [version(70_000, 1), version(-1, 1), vec![0; 20]] {
            let mut exchange = Exchange::begin(transport);
            exchange.say("version", &payload);
            assert_violates(&exchange, false);
            assert_eq!(exchange.names(), ["version"]);
        }
    }
}

#[test]
fn a_frame_that_is_forged_or_too_long_ends_it() {
    for transport in TRANSPORTS {
        for place in [0, 20, 38] {
            let mut exchange = Exchange::announced(transport);
            let mut bytes = exchange.peer.say("getdata", &getdata(1, 7));
            bytes[place] ^= 0x80;
            // A length that was forged is a wait, or a tag that is wrong.
            bytes.extend([0; 20]);
            bytes.resize(limits::PEER_MESSAGE_BYTES_MAX + 1000, 0);
            exchange.receive(&bytes);
            assert_violates(&exchange, true);
        }
        // The last byte belongs to the payload over v1, to the tag over v2.
        let mut exchange = Exchange::announced(transport);
        let mut bytes = exchange.peer.say("getdata", &getdata(1, 7));
        *bytes.last_mut().unwrap() ^= 1;
        exchange.receive(&bytes);
        assert_violates(&exchange, true);

        let mut exchange = Exchange::announced(transport);
        let bytes = exchange
            .peer
            .say("addr", &vec![0; limits::PEER_MESSAGE_BYTES_MAX + 1]);
        exchange.receive(&bytes[..24]);
        assert_violates(&exchange, true);
    }
    let mut exchange = Exchange::begin(Transport::V1);
    exchange.receive(&[&[0xf9, 0xbe, 0xb4, 0xd9][..], &[0; 20]].concat());
    assert_violates(&exchange, false);
}

#[test]
fn garbage_without_end_ends_it() {
    let (mut conversation, first) = open(Transport::V2);
    let (_, answer) = ScriptedPeer::v2(&first, &[5; 4095], &[]);
    assert_eq!(conversation.receive(&answer).end, None);
    let (mut conversation, _) = open(Transport::V2);
    let progress = conversation.receive(&[6; 64 + 4095 + 15]);
    assert_eq!(progress.end, None);
    let violation = Some(DeliveryEnd::Violation { announced: false });
    assert_eq!(conversation.receive(&[6]).end, violation);
}

#[test]
fn messages_are_counted() {
    for transport in TRANSPORTS {
        let mut exchange = Exchange::begin(transport);
        let mut count = usize::from(transport == Transport::V2);
        while count < limits::PEER_HANDSHAKE_MESSAGES_MAX {
            exchange.say("sendaddrv2", &[]);
            count += 1;
        }
        assert_eq!(exchange.end, None);
        exchange.say("sendaddrv2", &[]);
        assert_violates(&exchange, false);

        let mut exchange = Exchange::announced(transport);
        let mut count = 2 + usize::from(transport == Transport::V2);
        while count < limits::PEER_MESSAGES_MAX {
            let decoy = exchange.peer.decoy(&[]);
            if decoy.is_empty() {
                exchange.say("inv", &[]);
            } else {
                exchange.receive(&decoy);
            }
            count += 1;
        }
        assert_eq!(exchange.end, None);
        exchange.say("getdata", &getdata(1, 7));
        assert_violates(&exchange, true);
    }
}

#[test]
fn bytes_are_counted() {
    for transport in TRANSPORTS {
        let mut exchange = Exchange::announced(transport);
        while exchange.heard.len() < limits::PEER_BYTES_MAX - 300_000 {
            exchange.say("headers", &[0; 100_000]);
        }
        let bytes = exchange.peer.say("headers", &[0; 390_000]);
        let room = limits::PEER_BYTES_MAX - exchange.heard.len();
        assert!(room < bytes.len());
        exchange.receive(&bytes[..room]);
        assert_eq!(exchange.end, None);
        exchange.receive(&bytes[room..=room]);
        assert_violates(&exchange, true);
    }
}

/// What a conversation sends for these bytes in pieces of these sizes, in turn, and how it ends.
fn replayed(transport: Transport, heard: &[u8], sizes: &[usize]) -> (Vec<u8>, Option<DeliveryEnd>) {
    let (mut conversation, _) = open(transport);
    let mut sent = Vec::new();
    let mut rest = heard;
    let mut end = None;
    for size in sizes.iter().cycle() {
        let (piece, behind) = rest.split_at((*size).min(rest.len()));
        let progress = conversation.receive(piece);
        sent.extend(progress.send.iter());
        end = progress.end;
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    (sent, end)
}

#[test]
fn any_two_pieces_and_single_bytes_give_the_same() {
    for transport in TRANSPORTS {
        let exchange = Exchange::served(transport);
        let expected = (exchange.sent, exchange.end);
        for first in 0..exchange.heard.len() {
            let sizes = [first.max(1), exchange.heard.len()];
            assert_eq!(replayed(transport, &exchange.heard, &sizes), expected);
        }
        assert_eq!(replayed(transport, &exchange.heard, &[1]), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_pieces_give_the_same(sizes in proptest::collection::vec(1_usize..5000, 1..20)) {
        for transport in TRANSPORTS {
            let exchange = Exchange::whole(transport);
            let expected = (exchange.sent, exchange.end);
            prop_assert_eq!(replayed(transport, &exchange.heard, &sizes), expected);
        }
    }

    #[test]
    fn any_key_is_answered(bytes in proptest::collection::vec(any::<u8>(), 0..6000)) {
        let (mut conversation, _) = open(Transport::V2);
        let progress = conversation.receive(&bytes);
        prop_assert_eq!(progress.send.len(), if bytes.len() < 64 { 0 } else { 169 });
        let is_endless = bytes.len() >= 64 + 4095 + 16;
        prop_assert_eq!(progress.end.is_some(), is_endless);
    }

    #[test]
    fn any_bytes_are_taken_without_panic_and_get_no_transaction(
        bytes in proptest::collection::vec(any::<u8>(), 0..6000),
        stage in 0..3,
        v2 in any::<bool>(),
    ) {
        let transport = TRANSPORTS[usize::from(v2)];
        let mut exchange = match stage {
            0 => Exchange::begin(transport),
            1 => Exchange::announced(transport),
            _ => Exchange::served(transport),
        };
        let progress = exchange.conversation.receive(&bytes);
        prop_assert!(progress.send.is_empty());
        prop_assert_ne!(progress.end, Some(DeliveryEnd::Ponged));
    }
}

#[test]
fn nothing_of_it_can_be_printed_and_what_is_sent_is_wiped() {
    let (conversation, _) = open(Transport::V1);
    assert_eq!(format!("{conversation:?}"), "[scrubbed]");
    static_assertions::assert_not_impl_any!(Conversation: fmt::Display, Clone);
    static_assertions::assert_not_impl_any!(Progress: fmt::Debug, fmt::Display, Clone);
    fn wiped<T: zeroize::ZeroizeOnDrop>(_memory: &T) {}
    let of: fn(&Progress) = |progress| wiped(&progress.send);
    std::hint::black_box(of);
}
