//! What must not be found anywhere, and every form it could have taken.

use std::io::Read as _;

use bitcoin::hex::DisplayHex as _;

/// Something secret with a name for messages.
#[derive(Clone, Debug)]
pub(super) struct Canary {
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
}

const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64_URL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE32_LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Digits at the start and end of a number that a short form keeps, as people do.
const SHORT_DIGITS: usize = 12;
/// Bytes that it keeps, as an index would.
const SHORT_BYTES: usize = 8;

impl Canary {
    pub(super) fn new(name: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self { name, bytes }
    }

    /// Letters that are nowhere else.
    pub(super) fn text(name: &'static str) -> Self {
        Self::new(name, digits(&random(), 0, BASE32_LOWER, 5))
    }

    /// Bytes that are nowhere else.
    pub(super) fn random(name: &'static str) -> Self {
        Self::new(name, random())
    }

    /// As a client would write it.
    pub(super) fn hex(&self) -> String {
        self.bytes.to_lower_hex_string()
    }

    /// A canary that is text.
    pub(super) fn as_text(&self) -> &str {
        std::str::from_utf8(&self.bytes).expect("a canary that is no text")
    }

    /// The bytes in each form, with the form's name.
    pub(super) fn forms(&self) -> Vec<(&'static str, Vec<u8>)> {
        let mut forms = forms(&self.bytes);
        let reversed: Vec<u8> = self.bytes.iter().rev().copied().collect();
        let reversed = self::forms(&reversed);
        forms.extend(reversed.into_iter().map(|(_, form)| ("reversed", form)));
        forms
    }
}

fn forms(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut forms = vec![("raw", bytes.to_vec())];
    if bytes.len() > SHORT_BYTES {
        forms.push(("raw", bytes[..SHORT_BYTES].into()));
        forms.push(("raw", bytes[bytes.len() - SHORT_BYTES..].into()));
    }
    let (start, end) = (
        &bytes[..SHORT_DIGITS / 2],
        &bytes[bytes.len() - SHORT_DIGITS / 2..],
    );
    for part in [bytes, start, end] {
        forms.push(("hexadecimal", part.to_lower_hex_string().into()));
        forms.push(("HEXADECIMAL", part.to_upper_hex_string().into()));
    }
    for (name, alphabet, bits) in [
        ("base64", BASE64, 6),
        ("base64 for addresses", BASE64_URL, 6),
        ("base32", BASE32, 5),
        ("base32 in small letters", BASE32_LOWER, 5),
    ] {
        let alignments = if bits == 6 { 3 } else { 5 };
        forms.extend((0..alignments).map(|before| (name, digits(bytes, before, alphabet, bits))));
    }
    let joined = |each: fn(&u8) -> String, between: &str| {
        let each: Vec<_> = bytes.iter().map(each).collect();
        each.join(between).into_bytes()
    };
    forms.push((
        "escaped as JSON",
        joined(|byte| format!("\\u{byte:04x}"), ""),
    ));
    forms.push(("escaped", joined(|byte| format!("\\x{byte:02x}"), "")));
    forms.push(("list of numbers", joined(u8::to_string, ", ")));
    forms.push(("dense list of numbers", joined(u8::to_string, ",")));
    forms
}

/// Those digits in a power of two that the bytes alone decide, when `before` other bytes stand before them.
fn digits(bytes: &[u8], before: usize, alphabet: &[u8], bits: usize) -> Vec<u8> {
    let bit = |place: usize| bytes[place / 8 - before] >> (7 - place % 8) & 1;
    let first = (before * 8).div_ceil(bits);
    let end = (before + bytes.len()) * 8 / bits;
    let value = |digit: usize| {
        (digit * bits..(digit + 1) * bits)
            .fold(0, |value, place| value << 1 | usize::from(bit(place)))
    };
    (first..end).map(|digit| alphabet[value(digit)]).collect()
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut source = std::fs::File::open("/dev/urandom").expect("no source of randomness");
    source.read_exact(&mut bytes).expect("no randomness");
    bytes
}

#[test]
fn a_canary_is_written_in_every_form() {
    let forms = Canary::new("text", "canary").forms();
    for expected in [
        "canary",
        "yranac",
        "63616e617279",
        "63616E617279",
        "7972616e6163",
        // After 0, 1 and 2 other bytes in base64, without the digits that those decide too.
        "Y2FuYXJ5",
        "NhbmFye",
        "jYW5hcn",
        "MNQW4YLSP",
        "mnqw4ylsp",
        "\\u0063\\u0061\\u006e\\u0061\\u0072\\u0079",
        "99, 97, 110, 97, 114, 121",
    ] {
        let found = forms.iter().any(|(_, form)| form == expected.as_bytes());
        assert!(found, "{expected}");
    }
    let long = Canary::new("long", *b"a canary that is longer than its short forms").forms();
    for expected in ["612063616e61", "20666f726d73"] {
        let found = long.iter().any(|(_, form)| form == expected.as_bytes());
        assert!(found, "{expected}");
    }
}
