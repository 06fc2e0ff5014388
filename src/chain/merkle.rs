//! Merkle branches in Bitcoin's form: a level of odd length repeats its last hash.

use super::sha256;

/// A root and the siblings that lead from one leaf to it, deepest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MerkleBranch {
    /// Siblings from the leaf's level upward.
    pub siblings: Vec<[u8; 32]>,
    /// The root.
    pub root: [u8; 32],
}

impl MerkleBranch {
    /// The branch of the leaf at `index`; `None` when there is no such leaf.
    pub fn of(leaves: Vec<[u8; 32]>, index: usize) -> Option<Self> {
        Self::of_part(leaves, index, 0)
    }

    /// The same in the last part of a larger tree, which is cut into parts of 2^`depth` leaves: its root stands that
    /// high, however few leaves it has.
    pub fn of_part(mut level: Vec<[u8; 32]>, index: usize, depth: usize) -> Option<Self> {
        if index >= level.len() {
            return None;
        }
        let mut at = index;
        let mut siblings = Vec::new();
        while level.len() > 1 || siblings.len() < depth {
            let sibling = level.get(at ^ 1).or_else(|| level.last())?;
            siblings.push(*sibling);
            level = sha256::parents(&level);
            at /= 2;
        }
        Some(Self {
            siblings,
            root: *level.first()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::{Hash as _, sha256d};

    /// Folds a branch upward as a wallet does.
    fn climb(leaf: [u8; 32], index: usize, siblings: &[[u8; 32]]) -> [u8; 32] {
        siblings
            .iter()
            .enumerate()
            .fold(leaf, |hash, (depth, sibling)| {
                let pair = if index >> depth & 1 == 1 {
                    [*sibling, hash]
                } else {
                    [hash, *sibling]
                };
                sha256d::Hash::hash(&pair.concat()).to_byte_array()
            })
    }

    #[test]
    fn every_leaf_climbs_to_the_root_of_the_bitcoin_crate() {
        for count in 1..=17_u8 {
            let leaves: Vec<[u8; 32]> = (0..count).map(|n| [n; 32]).collect();
            let hashes = leaves
                .iter()
                .map(|leaf| bitcoin::Txid::from_byte_array(*leaf));
            let root = bitcoin::merkle_tree::calculate_root(hashes)
                .unwrap()
                .to_byte_array();
            for index in 0..leaves.len() {
                let branch = MerkleBranch::of(leaves.clone(), index).unwrap();
                assert_eq!(branch.root, root);
                assert_eq!(climb(leaves[index], index, &branch.siblings), root);
            }
        }
        assert_eq!(MerkleBranch::of(vec![[0; 32]], 1), None);
        assert_eq!(MerkleBranch::of(vec![], 0), None);
    }
}
