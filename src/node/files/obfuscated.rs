//! A file of Bitcoin Core whose bytes are combined with a short key, so that no virus scanner finds anything in them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const KEY_BYTES: usize = 8;
/// To be compared with, which is faster than to look at each byte.
static BLANK: [u8; 64 * 1024] = [0; 64 * 1024];

/// The key of a blocks directory (`xor.dat`); zero where the bytes lie plain.
#[derive(Clone, Copy)]
pub(super) struct ObfuscationKey([u8; KEY_BYTES]);

impl ObfuscationKey {
    /// Reads the key; a directory without that file is older than the key and lies plain.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        match std::fs::read(path) {
            Ok(bytes) => {
                let key = bytes.try_into();
                key.map(Self)
                    .map_err(|_length| io::ErrorKind::InvalidData.into())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self([0; KEY_BYTES])),
            Err(error) => Err(error),
        }
    }

    /// Gives the bytes that stood at this place of the file their own values.
    fn apply(self, place: u64, bytes: &mut [u8]) {
        let mut key = self.0;
        let turn = usize::try_from(place % 8).unwrap_or_default();
        key.rotate_left(turn);
        let key_word = u64::from_le_bytes(key);
        let (words, rest) = bytes.as_chunks_mut::<KEY_BYTES>();
        for word in words {
            *word = (u64::from_le_bytes(*word) ^ key_word).to_le_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(key) {
            *byte ^= key;
        }
    }
}

/// Whether there are only zeros.
pub(super) fn is_blank(bytes: &[u8]) -> bool {
    bytes
        .chunks(BLANK.len())
        .all(|part| BLANK.get(..part.len()) == Some(part))
}

/// An open file, read by place.
pub(super) struct ObfuscatedFile {
    file: File,
    key: ObfuscationKey,
}

impl ObfuscatedFile {
    pub(super) fn open(path: &Path, key: ObfuscationKey) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(Self { file, key })
    }

    pub(super) fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Fills `bytes` from this place on.
    pub(super) fn read_exact(&self, place: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, place)?;
        self.key.apply(place, bytes);
        Ok(())
    }

    /// Fills as much of `bytes` as the file has from this place on; how much that is.
    pub(super) fn read(&self, place: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let filled = self.read_hidden(place, bytes)?;
        if let Some(read) = bytes.get_mut(..filled) {
            self.key.apply(place, read);
        }
        Ok(filled)
    }

    /// The same, but room that the node keeps for later and never wrote to is left as it is: zeros.
    pub(super) fn read_unless_blank(&self, place: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let filled = self.read_hidden(place, bytes)?;
        if let Some(read) = bytes.get_mut(..filled)
            && !is_blank(read)
        {
            self.key.apply(place, read);
        }
        Ok(filled)
    }

    fn read_hidden(&self, place: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let from = place.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
            match self.file.read_at(rest, from) {
                Ok(0) => break,
                Ok(count) => filled = filled.saturating_add(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_part_reads_as_in_the_whole(
            plain in prop::collection::vec(any::<u8>(), 0..200),
            key: [u8; 8],
            place in 0..250_usize,
            length in 0..100_usize,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let (xor, data) = (dir.path().join("xor.dat"), dir.path().join("blk00000.dat"));
            std::fs::write(&xor, key).unwrap();
            let hidden: Vec<u8> = plain.iter().zip(key.iter().cycle()).map(|(a, b)| a ^ b).collect();
            std::fs::write(&data, hidden).unwrap();
            let file = ObfuscatedFile::open(&data, ObfuscationKey::read(&xor).unwrap()).unwrap();
            let mut bytes = vec![0; length];
            let there = plain.get(place..).unwrap_or_default();
            let there = &there[..length.min(there.len())];
            let count = file.read(u64::try_from(place).unwrap(), &mut bytes).unwrap();
            prop_assert_eq!(&bytes[..count], there);
            prop_assert_eq!(file.read_exact(u64::try_from(place).unwrap(), &mut bytes).is_ok(), there.len() == length);
        }
    }

    #[test]
    fn a_key_of_another_length_is_refused_and_none_is_zero() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("xor.dat");
        assert_eq!(ObfuscationKey::read(&path).unwrap().0, [0; 8]);
        std::fs::write(&path, [1; 7]).unwrap();
        assert!(ObfuscationKey::read(&path).is_err());
    }
}
