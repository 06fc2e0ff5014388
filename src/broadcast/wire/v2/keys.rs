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

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hex::FromHex as _;
    use bitcoin::secp256k1::PublicKey;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    const MAIN: [u8; 4] = [0xf9, 0xbe, 0xb4, 0xd9];

    /// A row of the BIP's `packet_encoding_test_vectors.csv` in which we open the connection.
    struct Vector {
        number: usize,
        secret: &'static str,
        own: &'static str,
        peer: &'static str,
        contents: &'static str,
        own_terminator: &'static str,
        peer_terminator: &'static str,
        packet: &'static str,
    }

    const VECTORS: [Vector; 2] = [
        Vector {
            number: 1,
            secret: "e79f04ad4c684525ff3e3cf7c19f4cdb11193d387d7f3fe82a948a0c3165f5fe",
            own: "4eff53ea1945e57b5d170565e760d771e5d496101c1005c302fd687af80d8b858c5a681c474fc4c0546ee464a1b95899ecb9d4f50c2c0854fe029fc054ae6777",
            peer: "824a1da0530fa695b95b375fee2a56ec96ce375ddd2fcf8367cc8ec1c0b751a3304bbef5dc96543acaac50c24be8cb39906ef8521727de0c6e96c2060a026bd7",
            contents: "1f",
            own_terminator: "38d7b65a6d58a08b2506e799caacd4f6",
            peer_terminator: "d6156094782d98fa27f37758dcd0677f",
            packet: "d88ea86cdd6b61592e038741b474eeef0de0802412",
        },
        Vector {
            number: 512,
            secret: "073f53403256e2b699e32cd4cebadfab63d9076a7cd541d9656e27b1baff66bb",
            own: "5c9c90c4e216f8a4c2642535d1f699364f9054ca01bca0239fa65bcaf0ec0278e5a36bc85eae96850feff889b66c9106c170fe655f973f533ee3557bd3cb6e64",
            peer: "e9221c9698cb69b63c5a4e224132389d346fd2f0f3262218301be51687b8de846c652ea8aa7425a5c08a7bd52078168d28ecf42196e33e155e215553ce6aee83",
            contents: "196391ebfe9af3a9186d82692a00e485d6653c8408050e2efbfd864642860022af68053ee4230f69ea565fee775778bc231307b5b534545878f864364bb2690acc9e8991fed5a777eb2850c3c54cca94a5bc2cb92729bcd4e27c57ebddbdf14974030115bc5a8a600b207a4884f568d6a9d3d9367977410577674601d1cc5f1f672f4e54d4944e1f7807416159eb5ece5b805c8a23e6735351a8cf8de654d87228ba21baf815190ef026b29612498121fe85480d9e0050d4781fa9f0e60cab5195",
            own_terminator: "ece7e13c65def883efc1f0dac6d55974",
            peer_terminator: "efca4cefee7a95602ebab090875e4212",
            packet: "5400e5add3682ea8c5587dbaec8867c54b7dc97e07533db32b5f68ff9eeccf68db30c5013b276374e1b60dd417df516e375a995b45811817b326c6bfbaaec589d82415bc48bc8f1eee5b9ff430b486cc951752e943dccef384a66bc6d906c7f0e839772ffce47928bb73a8f828ac82dca6f8f4f8340f11f4ef849575fd16ed32e5d450249b89004164918fe739a83f2b5dae04f7a8ae32682779f65edaef9c80090f581c7d9000cef48bed0089b5eb8767cc963ee2bda2d00716a463ee5413036bd2a055c0f5e3f72791e0526ac5e35bd269b71117",
        },
    ];

    fn hex(text: &str) -> Vec<u8> {
        Vec::from_hex(text).unwrap()
    }

    #[test]
    fn secrets_and_packets_are_those_of_the_bip() {
        for vector in VECTORS {
            let own = OwnKey {
                secret: SecretKey::from_slice(&hex(vector.secret)).unwrap(),
                public: ElligatorSwift::from_array(hex(vector.own).try_into().unwrap()),
            };
            let mut secrets = own.agree(hex(vector.peer).try_into().unwrap(), MAIN);
            assert_eq!(secrets.own_terminator, *hex(vector.own_terminator));
            assert_eq!(secrets.peer_terminator, *hex(vector.peer_terminator));
            let mut out = Vec::new();
            for _ in 0..vector.number {
                secrets.seal(|_empty| (), &[], &mut out);
            }
            out.clear();
            secrets.seal(|out| out.extend(hex(vector.contents)), &[], &mut out);
            assert_eq!(out, hex(vector.packet));
        }
    }

    #[test]
    fn a_public_key_is_written_in_one_of_many_ways() {
        let mut random = StdRng::seed_from_u64(1);
        for _ in 0..100 {
            let own = OwnKey::draw(&mut random);
            let point = PublicKey::from_ellswift(own.public);
            let (x, _) = point.x_only_public_key();
            assert_eq!(
                x,
                own.secret.x_only_public_key(&Secp256k1::new()).0,
                "another's key"
            );
            // Written so, everyone could tell whose program this is.
            assert_ne!(own.public, ElligatorSwift::from_pubkey(point));
            assert_ne!(
                own.public,
                ElligatorSwift::from_pubkey(point.negate(&Secp256k1::new()))
            );
        }
    }
}
