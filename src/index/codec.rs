//! Bytes of rows: variable-length numbers, checksums, and a reader that cannot run past its end.

use siphasher::sip::SipHasher24;

pub(super) use crate::chain::reader::Reader;

/// Bytes of a checksum.
pub(super) const CHECKSUM_BYTES: usize = 4;

/// Which table a checksum belongs to, so that a row found in the wrong place does not pass.
#[derive(Clone, Copy)]
pub(super) enum Table {
    Headers,
    Delta,
    Segments,
}

/// Guards a row against bit rot, which redb does not look for when it reads; its key is no secret.
pub(super) fn checksum(table: Table, row: u64, bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let table = match table {
        Table::Headers => 1,
        Table::Delta => 2,
        Table::Segments => 3,
    };
    let hash = SipHasher24::new_with_keys(table, row).hash(bytes);
    let [first @ .., _, _, _, _] = hash.to_be_bytes();
    first
}

/// Appends a number, seven bits to a byte, the lowest first; all but the last byte have the high bit set.
///
/// Numbers come in all lengths, and a branch for each byte would be guessed wrong half the time.
#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, value: u64) {
    if value >> 56 == 0 {
        put_short(out, value);
    } else {
        put_long(out, value);
    }
}

/// At most eight bytes.
#[inline]
fn put_short(out: &mut Vec<u8>, value: u64) {
    let bits = u64::BITS - (value | 1).leading_zeros();
    let bytes = bits.div_ceil(7);
    let continued = HIGH_BITS & !(u64::MAX << (8 * (bytes - 1)));
    let spare = usize::try_from(8 - bytes).unwrap_or_default();
    out.extend_from_slice(&(spread(value) | continued).to_le_bytes());
    out.truncate(out.len() - spare);
}

#[cold]
fn put_long(out: &mut Vec<u8>, mut value: u64) {
    while value >> 56 != 0 {
        let [low, ..] = value.to_le_bytes();
        out.push(low | 0x80);
        value >>= 7;
    }
    put_short(out, value);
}

/// The high bit of every byte.
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Seven bits to a byte instead of eight, of 56 bits.
fn spread(value: u64) -> u64 {
    let value = value & 0x0fff_ffff | (value & 0x00ff_ffff_f000_0000) << 4;
    let value = value & 0x0000_3fff_0000_3fff | (value & 0x0fff_c000_0fff_c000) << 2;
    value & 0x007f_007f_007f_007f | (value & 0x3f80_3f80_3f80_3f80) << 1
}

/// The reverse of [`spread`]; the high bits do not count.
fn gathered(value: u64) -> u64 {
    let value = value & 0x007f_007f_007f_007f | (value & 0x7f00_7f00_7f00_7f00) >> 1;
    let value = value & 0x0000_3fff_0000_3fff | (value & 0x3fff_0000_3fff_0000) >> 2;
    value & 0x0fff_ffff | (value & 0x0fff_ffff_0000_0000) >> 4
}

/// Shortens an amount in satoshi that ends in decimal zeros, as most do; `None` for more than there can be.
///
/// With `n = d * 10^e * ...` as in Bitcoin Core's coins database: the exponent (up to 9) becomes the last decimal digit
/// of the result, and the last digit of what remains, which is not zero, is counted from one.
pub(super) fn compress_amount(satoshi: u64) -> Option<u64> {
    if satoshi == 0 {
        return Some(0);
    }
    let (mut rest, mut exponent) = (satoshi, 0);
    while exponent < 9 && rest.is_multiple_of(10) {
        rest /= 10;
        exponent += 1;
    }
    let mantissa = if exponent < 9 {
        (rest / 10).checked_mul(9)?.checked_add(rest % 10)? - 1
    } else {
        rest - 1
    };
    mantissa.checked_mul(10)?.checked_add(exponent + 1)
}

/// The amount that was shortened; `None` for what no amount becomes.
pub(super) fn expand_amount(compressed: u64) -> Option<u64> {
    let Some(digits) = compressed.checked_sub(1) else {
        return Some(0);
    };
    let (mantissa, exponent) = (digits / 10, digits % 10);
    let rest = if exponent < 9 {
        (mantissa / 9).checked_mul(10)? + mantissa % 9 + 1
    } else {
        mantissa + 1
    };
    rest.checked_mul(10_u64.checked_pow(u32::try_from(exponent).ok()?)?)
}

/// Widths in bytes between which the first two bits of a number choose; the rest of the bits are the number.
pub(super) type Widths = [u32; 4];

/// Appends a number in the narrowest of four widths; `None` when it does not fit the widest.
pub(super) fn put_wide(out: &mut Vec<u8>, value: u64, widths: Widths) -> Option<()> {
    let fits = |width: &u32| value.checked_shr(width * 8 - 2).unwrap_or(0) == 0;
    let mut classes = (0..).zip(widths);
    let (class, width): (u64, u32) = classes.find(|(_, width)| fits(width))?;
    let (bytes, class) = match width {
        // The number fills eight bytes, and the class is in one of its own.
        9.. => {
            out.push(u8::try_from(class << 6).ok()?);
            (8, 0)
        }
        _ => (usize::try_from(width).ok()?, class << (width * 8 - 2)),
    };
    let tagged = (class | value).to_be_bytes();
    out.extend_from_slice(tagged.get(tagged.len().checked_sub(bytes)?..)?);
    Some(())
}

/// Numbers as the index writes them.
impl Reader<'_> {
    /// What [`put_varint`] wrote.
    #[inline]
    pub(super) fn varint(&mut self) -> Option<u64> {
        let Some((word, bytes)) = self.short_varint() else {
            return self.long_varint();
        };
        self.take(bytes)?;
        Some(gathered(word << (64 - 8 * bytes) >> (64 - 8 * bytes)))
    }

    /// A number of at most eight bytes that is not among the last eight: the bytes in which it is, and how many it has.
    #[inline]
    fn short_varint(&self) -> Option<(u64, usize)> {
        let word = u64::from_le_bytes(*self.rest().first_chunk()?);
        let ends = !word & HIGH_BITS;
        let bytes = usize::try_from(ends.trailing_zeros() / 8).ok()? + 1;
        (ends != 0).then_some((word, bytes))
    }

    fn long_varint(&mut self) -> Option<u64> {
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

    /// What [`put_wide`] wrote.
    #[inline]
    pub(super) fn wide(&mut self, widths: Widths) -> Option<u64> {
        let head = *self.rest().first()?;
        let width = *widths.get(usize::from(head >> 6))?;
        let bytes = usize::try_from(width).ok()?;
        if let Some(word) = self.rest().first_chunk().filter(|_| width <= 8) {
            self.take(bytes)?;
            return Some(u64::from_be_bytes(*word) << 2 >> (64 - 8 * width + 2));
        }
        let (last, front) = self.take(bytes)?.split_last()?;
        let Some((first, middle)) = front.split_first() else {
            return Some(u64::from(last & 0x3f));
        };
        let mut value = u64::from(first & 0x3f);
        for byte in middle {
            value = (value << 8) | u64::from(*byte);
        }
        // In the widest of all, nine bytes, the top six bits have no room and are zero.
        (value >> 56 == 0).then_some((value << 8) | u64::from(*last))
    }

    /// Passes over what [`put_wide`] wrote.
    pub(super) fn skip_wide(&mut self, widths: Widths) -> Option<()> {
        let width = *widths.get(usize::from(*self.rest().first()? >> 6))?;
        self.take(usize::try_from(width).ok()?).map(drop)
    }

    /// Passes over what [`put_varint`] wrote.
    pub(super) fn skip_varint(&mut self) -> Option<()> {
        if let Some((_, bytes)) = self.short_varint() {
            return self.take(bytes).map(drop);
        }
        let last = self.rest().iter().position(|byte| *byte < 0x80)?;
        self.take(last + 1).map(drop)
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
            bytes.extend([0xff; 8]);
            let (mut reader, mut skipper) = (Reader::new(&bytes), Reader::new(&bytes));
            prop_assert_eq!(reader.varint(), Some(value));
            prop_assert_eq!(skipper.skip_varint(), Some(()));
            prop_assert_eq!((reader.remaining(), skipper.remaining()), (8, 8));
        }

        #[test]
        fn numbers_of_any_bytes_are_read_alike_at_the_end_and_before(bytes: [u8; 10], zeros in 0..10_usize) {
            let mut bytes = bytes.to_vec();
            bytes.iter_mut().take(zeros).for_each(|byte| *byte |= 0x80);
            let mut alone = Reader::new(&bytes);
            let value = alone.long_varint();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.varint(), value);
            if value.is_some() {
                prop_assert_eq!(reader.remaining(), alone.remaining());
            }
        }

        #[test]
        fn amounts_survive(satoshi in 0..=2_100_000_000_000_000_u64, zeros in 0..16_u32) {
            let satoshi = satoshi / 10_u64.pow(zeros) * 10_u64.pow(zeros);
            let compressed = compress_amount(satoshi).unwrap();
            prop_assert_eq!(expand_amount(compressed), Some(satoshi));
        }

        #[test]
        fn any_amount_survives_or_is_refused(any: u64) {
            if let Some(compressed) = compress_amount(any) {
                prop_assert_eq!(expand_amount(compressed), Some(any));
            }
            if let Some(satoshi) = expand_amount(any) {
                prop_assert!(compress_amount(satoshi).is_some());
            }
        }

        #[test]
        fn numbers_of_four_widths_survive(value: u64, shift in 0..64_u32) {
            let value = value >> shift;
            for widths in [[1, 2, 3, 5], [4, 5, 6, 9]] {
                let mut bytes = Vec::new();
                if put_wide(&mut bytes, value, widths).is_none() {
                    prop_assert!(value >> 38 != 0 && widths[3] == 5);
                    continue;
                }
                let mut reader = Reader::new(&bytes);
                prop_assert_eq!(reader.wide(widths), Some(value));
                prop_assert!(reader.is_empty());
                let followed = [bytes.as_slice(), &[0xff; 8]].concat();
                let mut reader = Reader::new(&followed);
                prop_assert_eq!(reader.wide(widths), Some(value));
                prop_assert_eq!(reader.remaining(), 8);
                let mut reader = Reader::new(&bytes);
                reader.skip_wide(widths).unwrap();
                prop_assert!(reader.is_empty());
            }
        }

        #[test]
        fn nothing_read_makes_it_panic(bytes: Vec<u8>, count: usize) {
            let mut reader = Reader::new(&bytes);
            while reader.varint().is_some() {}
            let mut wide = Reader::new(&bytes);
            while wide.wide([4, 5, 6, 9]).is_some() {}
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
