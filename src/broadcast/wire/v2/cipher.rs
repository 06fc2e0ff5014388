//! The two ciphers of BIP324, each with a new key after every 224 uses.

use chacha20_poly1305::chacha20::ChaCha20;
use chacha20_poly1305::{ChaCha20Poly1305, Key, Nonce};
use zeroize::Zeroizing;

use crate::broadcast::wire::Broken;

/// Bytes of a packet's length.
pub(super) const LENGTH_BYTES: usize = 3;
/// Bytes of the tag that proves a packet.
pub(super) const TAG_BYTES: usize = 16;
/// Uses of one key.
const REKEY_INTERVAL: u32 = 224;
/// Stands for the number of a packet when a key is made.
const REKEY_NUMBER: u32 = u32::MAX;

/// `FSChaCha20`: hides the length of packets.
pub(super) struct LengthCipher {
    key: Zeroizing<[u8; 32]>,
    epoch: u64,
    number: u32,
}

impl LengthCipher {
    pub(super) fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self {
            key,
            epoch: 0,
            number: 0,
        }
    }

    /// Hides the next length, or shows it.
    pub(super) fn apply(&mut self, length: &mut [u8; LENGTH_BYTES]) {
        // One key's lengths lie one behind the other in its key stream.
        let offset = self.number.saturating_mul(3);
        let mut stream = ChaCha20::new(Key::new(*self.key), nonce(0, self.epoch), offset);
        stream.apply_keystream(length);
        self.number = self.number.saturating_add(1);
        if self.number == REKEY_INTERVAL {
            self.key.fill(0);
            stream.apply_keystream(self.key.as_mut_slice());
            self.epoch = self.epoch.saturating_add(1);
            self.number = 0;
        }
    }
}

/// `FSChaCha20Poly1305`: hides and proves the contents of packets.
pub(super) struct PacketCipher {
    key: Zeroizing<[u8; 32]>,
    epoch: u64,
    number: u32,
}

impl PacketCipher {
    pub(super) fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self {
            key,
            epoch: 0,
            number: 0,
        }
    }

    /// Hides the next packet in its place; its tag, which proves `associated` too.
    pub(super) fn seal(&mut self, packet: &mut [u8], associated: &[u8]) -> [u8; TAG_BYTES] {
        self.next_cipher().encrypt(packet, Some(associated))
    }

    /// Shows the next packet in its place, if its tag proves it.
    pub(super) fn open(
        &mut self,
        packet: &mut [u8],
        tag: [u8; TAG_BYTES],
        associated: &[u8],
    ) -> Result<(), Broken> {
        self.next_cipher()
            .decrypt(packet, tag, Some(associated))
            .map_err(|_forged| Broken)
    }

    fn next_cipher(&mut self) -> ChaCha20Poly1305 {
        let key = Key::new(*self.key);
        let cipher = ChaCha20Poly1305::new(key, nonce(self.number, self.epoch));
        self.number = self.number.saturating_add(1);
        if self.number == REKEY_INTERVAL {
            self.key.fill(0);
            ChaCha20::new_from_block(key, nonce(REKEY_NUMBER, self.epoch), 1)
                .apply_keystream(self.key.as_mut_slice());
            self.epoch = self.epoch.saturating_add(1);
            self.number = 0;
        }
        cipher
    }
}

fn nonce(number: u32, epoch: u64) -> Nonce {
    let [a, b, c, d] = number.to_le_bytes();
    let [e, f, g, h, i, j, k, l] = epoch.to_le_bytes();
    Nonce::new([a, b, c, d, e, f, g, h, i, j, k, l])
}
