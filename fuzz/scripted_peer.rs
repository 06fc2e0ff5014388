//! The other end of a delivery, for unit tests and fuzz targets: it understands what is sent, and says what it is told to.
//!
//! Over v2 it is the responder of the crate `bip324`, which shares nothing with the code under test.

use bip324::{
    FillBytes, GarbageResult, Handshake, Initialized, OutboundCipher, PacketType, ReceivedKey,
    Role, SentVersion, VersionResult,
};
use bitcoin::hashes::{Hash as _, sha256d};
use bitcoin::secp256k1::Secp256k1;

/// Of regtest.
pub(crate) const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];
/// Short names of the encrypted transport that occur here.
const IDS: [(u8, &str); 8] = [
    (5, "feefilter"),
    (11, "getdata"),
    (14, "inv"),
    (18, "ping"),
    (19, "pong"),
    (20, "sendcmpct"),
    (21, "tx"),
    (28, "addrv2"),
];

/// One end of a connection that somebody else opened.
pub(crate) enum ScriptedPeer {
    V1 { heard: Vec<u8> },
    V2(Box<Encrypted>),
}

/// The encrypted one.
pub(crate) struct Encrypted {
    heard: Vec<u8>,
    stage: Stage,
}

enum Stage {
    Garbage(Box<Handshake<SentVersion>>),
    Open(Box<bip324::CipherSession>),
    Lost,
}

/// A secret key that is known.
struct Secret([u8; 32]);

impl FillBytes for Secret {
    fn fill_bytes(&mut self, dest: &mut [u8; 32]) {
        *dest = self.0;
    }
}

impl ScriptedPeer {
    /// Speaks the old transport.
    pub(crate) fn v1() -> Self {
        Self::V1 { heard: Vec::new() }
    }

    /// Speaks the encrypted one to who has sent these bytes; with it, the answer: key, garbage, decoys, version packet.
    pub(crate) fn v2(first: &[u8], garbage: &[u8], decoys: &[&[u8]]) -> (Self, Vec<u8>) {
        let (key, their_garbage) = first.split_at(64);
        let curve = Secp256k1::new();
        let handshake = Handshake::<Initialized>::new_with_rng(
            MAGIC,
            Role::Responder,
            &mut Secret([3; 32]),
            &curve,
        );
        let garbage = Some(garbage);
        let mut answer = vec![0; Handshake::<Initialized>::send_key_len(garbage)];
        let handshake = handshake.unwrap().send_key(garbage, &mut answer).unwrap();
        let handshake = handshake.receive_key(key.try_into().unwrap()).unwrap();
        let mut version = vec![0; Handshake::<ReceivedKey<'_>>::send_version_len(Some(decoys))];
        let handshake = handshake.send_version(&mut version, Some(decoys)).unwrap();
        answer.extend(version);
        let peer = Self::V2(Box::new(Encrypted {
            heard: their_garbage.to_vec(),
            stage: Stage::Garbage(Box::new(handshake)),
        }));
        (peer, answer)
    }

    /// The frame of a message.
    pub(crate) fn say(&mut self, name: &str, payload: &[u8]) -> Vec<u8> {
        let mut field = [0; 12];
        field[..name.len()].copy_from_slice(name.as_bytes());
        match self {
            Self::V1 { .. } => {
                let checksum = sha256d::Hash::hash(payload).to_byte_array();
                let length = u32::try_from(payload.len()).unwrap();
                let parts: [&[u8]; 5] = [
                    &MAGIC,
                    &field,
                    &length.to_le_bytes(),
                    &checksum[..4],
                    payload,
                ];
                parts.concat()
            }
            Self::V2(peer) => match IDS.iter().find(|(_, short)| *short == name) {
                Some((id, _)) => peer.packet(&[&[*id], payload].concat(), PacketType::Genuine),
                None => peer.packet(&[&[0], &field[..], payload].concat(), PacketType::Genuine),
            },
        }
    }

    /// A packet without meaning; the old transport has none.
    pub(crate) fn decoy(&mut self, contents: &[u8]) -> Vec<u8> {
        match self {
            Self::V1 { .. } => Vec::new(),
            Self::V2(peer) => peer.packet(contents, PacketType::Decoy),
        }
    }

    /// A packet with these contents, whatever they are; the old transport has none.
    pub(crate) fn contents(&mut self, contents: &[u8]) -> Vec<u8> {
        match self {
            Self::V1 { .. } => Vec::new(),
            Self::V2(peer) => peer.packet(contents, PacketType::Genuine),
        }
    }

    /// The messages in these bytes, by name and payload; what is no whole message is a failure.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
        match self {
            Self::V1 { heard } => {
                heard.extend(bytes);
                let mut messages = Vec::new();
                let mut rest = std::mem::take(heard);
                while !rest.is_empty() {
                    assert_eq!(rest[..4], MAGIC);
                    let name = String::from_utf8(rest[4..16].to_vec()).unwrap();
                    let length = u32::from_le_bytes(rest[16..20].try_into().unwrap());
                    let behind = rest.split_off(24 + usize::try_from(length).unwrap());
                    let payload = rest.split_off(24);
                    assert_eq!(
                        rest[20..],
                        sha256d::Hash::hash(&payload).to_byte_array()[..4]
                    );
                    messages.push((name.trim_end_matches('\0').to_owned(), payload));
                    rest = behind;
                }
                messages
            }
            Self::V2(peer) => peer.hear(bytes),
        }
    }
}

impl Encrypted {
    fn packet(&mut self, contents: &[u8], kind: PacketType) -> Vec<u8> {
        let Stage::Open(session) = &mut self.stage else {
            panic!("there is no session yet");
        };
        let mut packet = vec![0; OutboundCipher::encryption_buffer_len(contents.len())];
        session
            .outbound()
            .encrypt(contents, &mut packet, kind, None)
            .unwrap();
        packet
    }

    fn hear(&mut self, bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
        self.heard.extend(bytes);
        self.stage = match std::mem::replace(&mut self.stage, Stage::Lost) {
            Stage::Garbage(handshake) => Stage::Open(Box::new(self.complete(*handshake))),
            other @ (Stage::Open(_) | Stage::Lost) => other,
        };
        let Stage::Open(session) = &mut self.stage else {
            panic!("the handshake failed before");
        };
        let mut messages = Vec::new();
        while !self.heard.is_empty() {
            let hidden = self.heard[..3].try_into().unwrap();
            let length = session.inbound().decrypt_packet_len(hidden);
            let behind = self.heard.split_off(3 + length);
            let (kind, packet) = session
                .inbound()
                .decrypt_to_vec(&self.heard[3..], None)
                .unwrap();
            assert_eq!(kind, PacketType::Genuine);
            messages.push(named(&packet[1..]));
            self.heard = behind;
        }
        messages
    }

    /// Reads garbage and version packet; what comes behind them stays.
    fn complete(&mut self, handshake: Handshake<SentVersion>) -> bip324::CipherSession {
        let heard = std::mem::take(&mut self.heard);
        let found = handshake.receive_garbage(&heard).unwrap();
        let GarbageResult::FoundGarbage {
            mut handshake,
            consumed_bytes,
        } = found
        else {
            panic!("the garbage does not end");
        };
        let mut packet = heard[consumed_bytes..].to_vec();
        let hidden = packet[..3].try_into().unwrap();
        let length = handshake.decrypt_packet_len(hidden).unwrap();
        self.heard = packet.split_off(3 + length);
        match handshake.receive_version(&mut packet[3..]).unwrap() {
            VersionResult::Complete { cipher } => cipher,
            VersionResult::Decoy(_) => panic!("a decoy"),
        }
    }
}

/// Name and payload of the contents of a packet.
fn named(contents: &[u8]) -> (String, Vec<u8>) {
    let (id, rest) = contents.split_first().unwrap();
    if *id == 0 {
        let (field, payload) = rest.split_at(12);
        let name = String::from_utf8(field.to_vec()).unwrap();
        return (name.trim_end_matches('\0').to_owned(), payload.to_vec());
    }
    let (_, name) = IDS.iter().find(|(short, _)| short == id).unwrap();
    ((*name).to_owned(), rest.to_vec())
}
