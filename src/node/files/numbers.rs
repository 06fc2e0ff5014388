//! Numbers as Bitcoin Core writes them, read from the front of a slice.

use crate::chain::reader::Reader;

impl Reader<'_> {
    /// The length prefix of the peer-to-peer protocol (`CompactSize`).
    pub(in crate::node) fn compact_size(&mut self) -> Option<u64> {
        let [first] = self.array()?;
        match first {
            0xfd => Some(u64::from(u16::from_le_bytes(self.array()?))),
            0xfe => Some(u64::from(u32::from_le_bytes(self.array()?))),
            0xff => Some(u64::from_le_bytes(self.array()?)),
            small => Some(u64::from(small)),
        }
    }

    /// The number of Core's own files (`VARINT`): seven bits to a byte, the highest first, and one is added for each
    /// further byte, so that every number has one form.
    pub(super) fn core_varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        loop {
            let [byte] = self.array()?;
            value = value
                .checked_mul(128)?
                .checked_add(u64::from(byte & 0x7f))?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
            value = value.checked_add(1)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_core_writes_them() {
        let varint = |bytes: &[u8]| Reader::new(bytes).core_varint();
        // The examples in Bitcoin Core's serialize.h.
        assert_eq!(varint(&[0x00]), Some(0));
        assert_eq!(varint(&[0x7f]), Some(127));
        assert_eq!(varint(&[0x80, 0x00]), Some(128));
        assert_eq!(varint(&[0x80, 0x7f]), Some(255));
        assert_eq!(varint(&[0x81, 0x00]), Some(256));
        assert_eq!(varint(&[0xfe, 0x7f]), Some(16383));
        assert_eq!(varint(&[0xff, 0x00]), Some(16384));
        assert_eq!(varint(&[0x82, 0xfe, 0x7f]), Some(65535));
        assert_eq!(varint(&[0x8e, 0xfe, 0xfe, 0xff, 0x00]), Some(1 << 32));
        assert_eq!(varint(&[0xff; 11]), None);
        assert_eq!(varint(&[0x80]), None);
        let compact = |bytes: &[u8]| Reader::new(bytes).compact_size();
        assert_eq!(compact(&[0xfc]), Some(252));
        assert_eq!(compact(&[0xfd, 1, 2]), Some(0x201));
        assert_eq!(compact(&[0xfe, 1, 2, 3, 4]), Some(0x0403_0201));
        assert_eq!(
            compact(&[0xff, 1, 0, 0, 0, 0, 0, 0, 1]),
            Some((1 << 56) | 1)
        );
        assert_eq!(compact(&[0xfd, 1]), None);
    }
}
