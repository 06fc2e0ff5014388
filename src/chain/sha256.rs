//! SHA-256 of what is short, in as few compressions as there can be: most of the time of building an index is
//! spent here.

use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};

const BLOCK_BYTES: usize = 64;
/// What fits into one block together with the padding.
const ONE_BLOCK_MAX: usize = 55;
/// Bytes of the length at the end of the padding.
const LENGTH_BYTES: usize = 8;
/// What follows the last byte of a message.
const END: u8 = 0x80;
/// So many messages are under way at once: a processor finishes a block of one while those of another wait for the
/// block before them. More than two do not get in.
const LANES: usize = 2;
/// So many hashes of one block are worked on together that those written first are out of the way when they are read.
const GROUP: usize = 16;
/// Bytes of messages to be hashed together: as many as stay in the nearest cache.
pub(crate) const WAITING_BYTES_MAX: usize = 16 * 1024;
const START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];
/// The padding of a message of one whole block.
const PADDING_OF_BLOCK: [u8; BLOCK_BYTES] = {
    let mut block = [0; BLOCK_BYTES];
    block[0] = END;
    // 512 bits, big-endian in the last eight bytes.
    block[62] = 2;
    block
};
/// The padding behind a hash, in the block that they share.
const PADDING_OF_HASH: [u8; BLOCK_BYTES] = {
    let mut block = [0; BLOCK_BYTES];
    block[32] = END;
    block[62] = 1;
    block
};

/// SHA-256 of an output script; nearly all fit into one block.
pub(crate) fn of_script(script: &[u8]) -> [u8; 32] {
    match padded(script) {
        Some(block) => {
            let mut state = START;
            compress256(&mut state, &[block]);
            bytes_of(state)
        }
        None => Sha256::digest(script).into(),
    }
}

/// The level above these hashes in a Merkle tree: the double SHA-256 of each pair, in which an odd one is its own
/// sibling.
pub(crate) fn parents(hashes: &[[u8; 32]]) -> Vec<[u8; 32]> {
    let mut parents = Vec::with_capacity(hashes.len().div_ceil(2));
    let (pairs, odd) = hashes.as_chunks::<2>();
    for pairs in pairs.chunks(GROUP) {
        hash_pairs(pairs, &mut parents);
    }
    if let [odd] = odd {
        hash_pairs(&[[*odd, *odd]], &mut parents);
    }
    parents
}

/// The root of the Merkle tree over these hashes; `None` for none.
pub(crate) fn merkle_root(hashes: &[[u8; 32]]) -> Option<[u8; 32]> {
    match hashes {
        [only] => Some(*only),
        _ => merkle_level(hashes, u32::MAX).first().copied(),
    }
}

/// The hashes so many levels, at least one, above these in a Merkle tree, or its root if it ends below.
pub(crate) fn merkle_level(hashes: &[[u8; 32]], levels: u32) -> Vec<[u8; 32]> {
    let mut level = parents(hashes);
    for _ in 1..levels {
        if level.len() <= 1 {
            break;
        }
        level = parents(&level);
    }
    level
}

/// At most [`GROUP`] pairs.
fn hash_pairs(pairs: &[[[u8; 32]; 2]], parents: &mut Vec<[u8; 32]>) {
    let mut states = [START; GROUP];
    for (state, pair) in states.iter_mut().zip(pairs) {
        let (blocks, _) = pair.as_flattened().as_chunks();
        compress256(state, blocks);
    }
    for (state, _) in states.iter_mut().zip(pairs) {
        compress256(state, &[PADDING_OF_BLOCK]);
    }
    if let Some(states) = states.get(..pairs.len()) {
        hash_again(states, parents);
    }
}

/// The hashes of the hashes that are in these states, of which there are at most [`GROUP`].
fn hash_again(states: &[[u32; 8]], hashes: &mut Vec<[u8; 32]>) {
    let mut blocks = [PADDING_OF_HASH; GROUP];
    for (block, state) in blocks.iter_mut().zip(states) {
        let (hash, _) = block.split_at_mut(32);
        hash.copy_from_slice(&bytes_of(*state));
    }
    for (block, _) in blocks.iter().zip(states) {
        let mut state = START;
        compress256(&mut state, std::slice::from_ref(block));
        hashes.push(bytes_of(state));
    }
}

/// Messages that are hashed together, because that takes little more than half the time: a processor works on several
/// that do not wait for each other, and what was just written need not be read at once.
#[derive(Default)]
pub(crate) struct Messages {
    /// Padded.
    blocks: Vec<[u8; BLOCK_BYTES]>,
    /// After the last block of each.
    ends: Vec<usize>,
    states: Vec<[u32; 8]>,
}

impl Messages {
    pub(crate) fn clear(&mut self) {
        self.blocks.clear();
        self.ends.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.blocks.as_flattened().len()
    }

    /// Adds a message that is made up of these parts.
    pub(crate) fn push(&mut self, parts: &[&[u8]]) {
        let length = parts.iter().map(|part| part.len()).sum();
        self.push_with(length, |mut rest| {
            for part in parts {
                let pending = std::mem::take(&mut rest);
                if let Some((place, after)) = pending.split_at_mut_checked(part.len()) {
                    place.copy_from_slice(part);
                    rest = after;
                }
            }
        });
    }

    /// Adds a message of so many bytes, zero until they are written.
    pub(crate) fn push_with(&mut self, length: usize, write: impl FnOnce(&mut [u8])) {
        let begin = self.blocks.len();
        let blocks = (length + 1 + LENGTH_BYTES).div_ceil(BLOCK_BYTES);
        self.blocks.resize(begin + blocks, [0; BLOCK_BYTES]);
        let added = self.blocks.get_mut(begin..).unwrap_or_default();
        let added = added.as_flattened_mut().split_at_mut_checked(length);
        let (text, padding) = added.unwrap_or_default();
        write(text);
        if let Some(first) = padding.first_mut() {
            *first = END;
        }
        let bits = u64::try_from(length).unwrap_or(u64::MAX).saturating_mul(8);
        if let Some(last) = padding.last_chunk_mut() {
            *last = bits.to_be_bytes();
        }
        self.ends.push(self.blocks.len());
    }

    /// Appends the SHA-256 of each, and forgets them.
    pub(crate) fn hash(&mut self, hashes: &mut Vec<[u8; 32]>) {
        self.compress();
        hashes.extend(self.states.iter().map(|state| bytes_of(*state)));
    }

    /// Appends the double SHA-256 of each, and forgets them.
    pub(crate) fn hash_twice(&mut self, hashes: &mut Vec<[u8; 32]>) {
        self.compress();
        for states in self.states.chunks(GROUP) {
            hash_again(states, hashes);
        }
    }

    fn compress(&mut self) {
        self.states.clear();
        self.states.resize(self.ends.len(), START);
        let mut rest = self.blocks.as_slice();
        let mut begin = 0;
        let mut messages = self.states.iter_mut().zip(&self.ends).map(|(state, end)| {
            let (message, after) = rest.split_at_checked(end - begin).unwrap_or_default();
            (rest, begin) = (after, *end);
            (state, message)
        });
        let mut lanes: [_; LANES] = std::array::from_fn(|_| messages.next());
        while lanes.iter().any(Option::is_some) {
            for lane in &mut lanes {
                let Some((state, message)) = lane else {
                    continue;
                };
                if let Some((block, after)) = message.split_first() {
                    compress256(state, std::slice::from_ref(block));
                    *message = after;
                }
                if message.is_empty() {
                    *lane = messages.next();
                }
            }
        }
        self.clear();
    }
}

/// The one block that a short message becomes.
fn padded(message: &[u8]) -> Option<[u8; BLOCK_BYTES]> {
    if message.len() > ONE_BLOCK_MAX {
        return None;
    }
    let mut block = [0; BLOCK_BYTES];
    let (text, rest) = block.split_at_mut_checked(message.len())?;
    text.copy_from_slice(message);
    *rest.first_mut()? = END;
    let bits = u16::try_from(message.len().checked_mul(8)?).ok()?;
    let [.., high, low] = &mut block;
    [*high, *low] = bits.to_be_bytes();
    Some(block)
}

fn bytes_of(state: [u32; 8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::{Hash as _, sha256, sha256d};
    use bitcoin::merkle_tree;

    #[test]
    fn hashes_are_those_of_another_implementation() {
        for length in 0..130 {
            let script: Vec<u8> = (0..length).collect();
            let expected = sha256::Hash::hash(&script).to_byte_array();
            assert_eq!(of_script(&script), expected, "{length} bytes");
        }
        let hashes: Vec<_> = (0..40_u8).map(|n| sha256d::Hash::hash(&[n])).collect();
        for count in 0..hashes.len() {
            let some = hashes.iter().take(count);
            let expected = merkle_tree::calculate_root(some.clone().copied());
            let some: Vec<_> = some.map(|hash| hash.to_byte_array()).collect();
            assert_eq!(
                merkle_root(&some),
                expected.map(sha256d::Hash::to_byte_array)
            );
        }
    }

    #[test]
    fn messages_are_hashed_together_as_each_alone() {
        let text: Vec<u8> = (0..200).collect();
        let cut = |length: usize| {
            let (first, rest) = text[..length].split_at(length.min(4));
            [first, rest, &text[..length / 9]]
        };
        let (mut messages, mut once, mut twice) = (Messages::default(), vec![], vec![]);
        for count in [0, 1, 15, 16, 17, 190] {
            (0..count).for_each(|length| messages.push(&cut(length)));
            messages.hash(&mut once);
            (0..count).for_each(|length| messages.push(&cut(length)));
            messages.hash_twice(&mut twice);
            for (length, (once, twice)) in once.drain(..).zip(twice.drain(..)).enumerate() {
                let hash = sha256::Hash::hash(&cut(length).concat());
                assert_eq!(once, hash.to_byte_array());
                assert_eq!(twice, hash.hash_again().to_byte_array());
            }
        }
    }
}
