//! The secrets of one BIP324 connection, from our side: the side that opened it.
//!
//! The crate `bip324` does the same and is the other side in tests. It is not used here because it writes its public
//! key with no randomness but the key itself, by which anyone who sees the 64 bytes knows that it is not Bitcoin Core;
//! because it gives out its ciphers only after the peer's version packet, behind which Core does not wait; and because
//! its states borrow what was received, so that they cannot wait for more.

use bitcoin::hashes::{Hash as _, HashEngine as _, Hmac, HmacEngine, sha256};
use bitcoin::secp256k1::ellswift::{ElligatorSwift, ElligatorSwiftParty};
use bitcoin::secp256k1::{Secp256k1, SecretKey};
use rand::Rng;
use zeroize::Zeroizing;

use super::cipher::{LengthCipher, PacketCipher};

/// Bytes of a public key, which look like any random bytes.
pub(super) const PUBLIC_KEY_BYTES: usize = 64;
/// Bytes that end the garbage.
pub(super) const TERMINATOR_BYTES: usize = 16;

/// The key of one connection.
pub(super) struct OwnKey {
    secret: SecretKey,
    public: ElligatorSwift,
}

/// What both sides know once each has the other's public key.
pub(super) struct Secrets {
    pub(super) own_terminator: [u8; TERMINATOR_BYTES],
    pub(super) peer_terminator: [u8; TERMINATOR_BYTES],
    pub(super) own_lengths: LengthCipher,
    pub(super) own_packets: PacketCipher,
    pub(super) peer_lengths: LengthCipher,
    pub(super) peer_packets: PacketCipher,
}

impl OwnKey {
    pub(super) fn draw(random: &mut impl Rng) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        // All but one of 2^128 draws are a key, so that this does not turn.
        let secret = loop {
            random.fill_bytes(bytes.as_mut_slice());
            if let Ok(secret) = SecretKey::from_slice(bytes.as_slice()) {
                break secret;
            }
        };
        let mut encoding = [0; 32];
        random.fill_bytes(&mut encoding);
        let mut blinding = Zeroizing::new([0; 32]);
        random.fill_bytes(blinding.as_mut_slice());
        let mut curve = Secp256k1::new();
        curve.seeded_randomize(&blinding);
        let public = ElligatorSwift::from_seckey(&curve, secret, Some(encoding));
        Self { secret, public }
    }

    /// The public key as it is sent.
    pub(super) fn public(&self) -> [u8; PUBLIC_KEY_BYTES] {
        self.public.to_array()
    }

    /// The secrets shared with the owner of a public key.
    pub(super) fn agree(&self, peer: [u8; PUBLIC_KEY_BYTES], magic: [u8; 4]) -> Secrets {
        let shared = ElligatorSwift::shared_secret(
            self.public,
            ElligatorSwift::from_array(peer),
            self.secret,
            ElligatorSwiftParty::A,
            None,
        );
        let salt = [b"bitcoin_v2_shared_secret".as_slice(), &magic].concat();
        let root = hmac(&salt, shared.as_secret_bytes());
        let derived = |name: &[u8]| hmac(root.as_slice(), &[name, &[1]].concat());
        let [own_terminator, peer_terminator] = halves(&derived(b"garbage_terminators"));
        Secrets {
            own_terminator,
            peer_terminator,
            own_lengths: LengthCipher::new(derived(b"initiator_L")),
            own_packets: PacketCipher::new(derived(b"initiator_P")),
            peer_lengths: LengthCipher::new(derived(b"responder_L")),
            peer_packets: PacketCipher::new(derived(b"responder_P")),
        }
    }
}

impl Drop for OwnKey {
    fn drop(&mut self) {
        self.secret.non_secure_erase();
    }
}

/// HKDF with SHA-256 is two rounds of this: one of the salt and the secret, one of its result and a name.
fn hmac(key: &[u8], message: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut engine = HmacEngine::<sha256::Hash>::new(key);
    engine.input(message);
    Zeroizing::new(Hmac::from_engine(engine).to_byte_array())
}

fn halves(bytes: &[u8; 32]) -> [[u8; TERMINATOR_BYTES]; 2] {
    let mut halves = [[0; TERMINATOR_BYTES]; 2];
    halves
        .as_flattened_mut()
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
    halves
}
