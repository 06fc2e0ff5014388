//! The script hash: SHA-256 of an output script, by which clients name what they watch.

use bitcoin::Script;
use bitcoin::hex::{DisplayHex as _, FromHex as _};

use super::sha256;

/// SHA-256 of an output script, in the order the hash function gives it.
///
/// A client's script hash says which coins it holds: `Debug` prints `[scrubbed]`, there is no `Display`; the wire
/// form is spelled [`ScriptHash::to_wire`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScriptHash([u8; 32]);

impl ScriptHash {
    /// The hash of an output script.
    pub fn of(script: &Script) -> Self {
        Self(sha256::of_script(script.as_bytes()))
    }

    /// A hash that was computed elsewhere.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads the protocol's form: 64 hexadecimal digits, last byte first.
    pub fn from_wire(text: &str) -> Option<Self> {
        let mut bytes = <[u8; 32]>::from_hex(text).ok()?;
        bytes.reverse();
        Some(Self(bytes))
    }

    /// The protocol's form: 64 lower-case hexadecimal digits, last byte first.
    pub fn to_wire(&self) -> String {
        let mut bytes = self.0;
        bytes.reverse();
        bytes.to_lower_hex_string()
    }

    /// The 32 bytes in the order of the hash function.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for ScriptHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[scrubbed]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static_assertions::assert_not_impl_any!(ScriptHash: std::fmt::Display, serde::Serialize);

    #[test]
    fn wire_form_is_reversed() {
        // The example of the protocol documents: the first coinbase's address 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa.
        let script =
            bitcoin::ScriptBuf::from_hex("76a91462e907b15cbf27d5425399ebf6f0fb50ebb88f1888ac")
                .unwrap();
        let wire = "8b01df4e368ea28f8dc0423bcf7a4923e3a12d307c875e47a0cfbf90b5c39161";
        assert_eq!(ScriptHash::of(&script).to_wire(), wire);
        assert_eq!(ScriptHash::from_wire(wire), Some(ScriptHash::of(&script)));
        assert_eq!(format!("{:?}", ScriptHash::of(&script)), "[scrubbed]");
    }

    #[test]
    fn other_lengths_and_digits_are_refused() {
        for text in [
            "",
            "00",
            "zz",
            &"0".repeat(63),
            &"0".repeat(65),
            &"g".repeat(64),
        ] {
            assert_eq!(ScriptHash::from_wire(text), None);
        }
    }
}
