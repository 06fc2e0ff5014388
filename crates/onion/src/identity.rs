//! Who an onion service is: a seed, and the onion address that follows from it.

use std::fmt;

use safelog::DisplayRedacted as _;
use tor_hscrypto::pk::{HsId, HsIdKey, HsIdKeypair};
use tor_llcrypto::pk::ed25519::{ExpandedKeypair, Keypair};
use zeroize::Zeroizing;

/// The secret that makes an onion address ours: an ed25519 seed (RFC 8032, section 5.1.5).
///
/// Whoever has the 32 bytes has the address, so they can be backed up and lead back to the same
/// address on any machine. They are wiped from memory when the identity is dropped.
#[derive(Clone)]
pub struct Identity {
    seed: Zeroizing<[u8; 32]>,
}

impl Identity {
    /// Takes a copy of the seed; wiping the original is the caller's business.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self {
            seed: Zeroizing::new(*seed),
        }
    }

    /// The onion address that belongs to this identity.
    pub fn address(&self) -> OnionAddress {
        OnionAddress::from(HsIdKey::from(self.keypair()).id())
    }

    /// The expanded key, as the Tor specification (rend-spec-v3, appendix A) wants it.
    pub(crate) fn keypair(&self) -> HsIdKeypair {
        HsIdKeypair::from(ExpandedKeypair::from(&Keypair::from_bytes(&self.seed)))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity([secret])")
    }
}

/// The public name of an onion service, version 3.
///
/// It is a capability: who knows it can connect. Hence it has no `Display`, and `Debug` never
/// prints it, whatever the state of safe logging.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OnionAddress(HsId);

impl OnionAddress {
    /// The address in full, 56 characters and `.onion`, in lower case.
    pub fn to_text(&self) -> String {
        self.0.display_unredacted().to_string()
    }
}

impl From<HsId> for OnionAddress {
    fn from(id: HsId) -> Self {
        Self(id)
    }
}

impl fmt::Debug for OnionAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnionAddress([scrubbed])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, test 1.
    const SEED: [u8; 32] = [
        0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c,
        0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae,
        0x7f, 0x60,
    ];

    /// What C Tor 0.4.9.11 wrote into `hostname` when it was given an `hs_ed25519_secret_key`
    /// holding the clamped SHA-512 of the seed.
    const ADDRESS: &str = "25njqamcweflpvkl73j4szahhihoc4xt3ktcgjnpaingr5yhkenl5sid.onion";

    #[test]
    fn a_seed_leads_to_the_address_that_c_tor_computes() {
        assert_eq!(Identity::from_seed(&SEED).address().to_text(), ADDRESS);
    }

    #[test]
    fn neither_seed_nor_address_can_be_printed() {
        let identity = Identity::from_seed(&SEED);
        let printed = safelog::with_safe_logging_suppressed(|| {
            format!("{identity:?} {:?}", identity.address())
        });
        assert_eq!(printed, "Identity([secret]) OnionAddress([scrubbed])");
    }
}
