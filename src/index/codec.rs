//! Bytes of rows: variable-length numbers, checksums, and a reader that cannot run past its end.

use siphasher::sip::SipHasher24;

/// Bytes of a checksum.
pub(super) const CHECKSUM_BYTES: usize = 4;

/// Which table a checksum belongs to, so that a row found in the wrong place does not pass.
#[derive(Clone, Copy)]
pub(super) enum Table {
    Headers,
    Delta,
}

/// Guards a row against bit rot, which redb does not look for when it reads; its key is no secret.
pub(super) fn checksum(table: Table, height: u32, bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let table = match table {
        Table::Headers => 1,
        Table::Delta => 2,
    };
    let hash = SipHasher24::new_with_keys(table, u64::from(height)).hash(bytes);
    let [first @ .., _, _, _, _] = hash.to_be_bytes();
    first
}

/// Appends a number, seven bits to a byte, the lowest first; all but the last byte have the high bit set.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        let [low, ..] = value.to_le_bytes();
        out.push(low | 0x80);
        value >>= 7;
    }
    let [low, ..] = value.to_le_bytes();
    out.push(low);
}

/// Reads from the front of a slice; `None` where the bytes end or make no sense.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes not yet read.
    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return None;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn varint_u32(&mut self) -> Option<u32> {
        self.varint()?.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_survive(value: u64, shift in 0..64_u32) {
            let value = value >> shift;
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.varint(), Some(value));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn nothing_read_makes_it_panic(bytes: Vec<u8>, count: usize) {
            let mut reader = Reader::new(&bytes);
            while reader.varint().is_some() {}
            let _rest: Option<[u8; 4]> = reader.array();
            prop_assert!(Reader::new(&bytes).take(count).is_none_or(|taken| taken.len() == count));
        }
    }

    #[test]
    fn numbers_beyond_64_bits_are_refused() {
        assert_eq!(Reader::new(&[0xff; 9]).varint(), None);
        assert_eq!(Reader::new(&[0xff; 10]).varint(), None);
        let mut most = [0xff; 10];
        most[9] = 1;
        assert_eq!(Reader::new(&most).varint(), Some(u64::MAX));
        most[9] = 2;
        assert_eq!(Reader::new(&most).varint(), None);
    }
}
