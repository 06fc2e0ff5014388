//! SHA-256 of what is short, in as few compressions as there can be: most of the time of building an index is
//! spent here.

use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};

const BLOCK_BYTES: usize = 64;
/// What fits into one block together with the padding.
const ONE_BLOCK_MAX: usize = 55;
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
    block[0] = 0x80;
    // 512 bits, big-endian in the last eight bytes.
    block[62] = 2;
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

/// Double SHA-256 of two hashes, which is their parent in a Merkle tree.
pub(crate) fn of_pair(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut pair = [0; BLOCK_BYTES];
    let (first, second) = pair.split_at_mut(32);
    first.copy_from_slice(left);
    second.copy_from_slice(right);
    let mut state = START;
    compress256(&mut state, &[pair, PADDING_OF_BLOCK]);
    of_script(&bytes_of(state))
}

/// The root of the Merkle tree over these hashes, which are used up; `None` for none.
pub(crate) fn merkle_root(hashes: &mut Vec<[u8; 32]>) -> Option<[u8; 32]> {
    while hashes.len() > 1 {
        let mut parents = 0;
        for at in (0..hashes.len()).step_by(2) {
            let left = hashes.get(at)?;
            // An odd one is its own sibling.
            let parent = of_pair(left, hashes.get(at + 1).unwrap_or(left));
            *hashes.get_mut(parents)? = parent;
            parents += 1;
        }
        hashes.truncate(parents);
    }
    hashes.first().copied()
}

/// The one block that a short message becomes.
fn padded(message: &[u8]) -> Option<[u8; BLOCK_BYTES]> {
    if message.len() > ONE_BLOCK_MAX {
        return None;
    }
    let mut block = [0; BLOCK_BYTES];
    let (text, rest) = block.split_at_mut_checked(message.len())?;
    text.copy_from_slice(message);
    *rest.first_mut()? = 0x80;
    let bits = u16::try_from(message.len().checked_mul(8)?).ok()?;
    let [.., high, low] = &mut block;
    [*high, *low] = bits.to_be_bytes();
    Some(block)
}

fn bytes_of(state: [u32; 8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (bytes, word) in bytes.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
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
            let mut some = some.map(|hash| hash.to_byte_array()).collect();
            assert_eq!(
                merkle_root(&mut some),
                expected.map(sha256d::Hash::to_byte_array)
            );
        }
    }
}
