//! Merkle branches in Bitcoin's form: a level of odd length repeats its last hash.

use super::sha256;

/// Levels above the leaves at which nodes are kept, so that a branch needs no more than a group of the leaves.
pub const GROUP_LEVEL: u32 = 6;
/// Leaves below such a node.
pub const GROUP_LEAVES: usize = 1 << GROUP_LEVEL;

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
    pub fn of_part(mut level: Vec<[u8; 32]>, index: usize, depth: u32) -> Option<Self> {
        if index >= level.len() {
            return None;
        }
        let mut at = index;
        let mut siblings = Vec::new();
        let mut height = 0;
        while level.len() > 1 || height < depth {
            let sibling = level.get(at ^ 1).or_else(|| level.last())?;
            siblings.push(*sibling);
            level = sha256::parents(&level);
            at /= 2;
            height += 1;
        }
        Some(Self {
            siblings,
            root: *level.first()?,
        })
    }

    /// The branch of the leaf at `index`, from all nodes of [`GROUP_LEVEL`], of which there are several, and the leaves
    /// below one of them: those of the same group of [`GROUP_LEAVES`]. `None` when they do not fit together.
    pub fn in_group(group: Vec<[u8; 32]>, nodes: Vec<[u8; 32]>, index: usize) -> Option<Self> {
        let number = index / GROUP_LEAVES;
        let mut branch = Self::of_part(group, index % GROUP_LEAVES, GROUP_LEVEL)?;
        if nodes.get(number) != Some(&branch.root) {
            return None;
        }
        let above = Self::of(nodes, number)?;
        branch.siblings.extend(above.siblings);
        branch.root = above.root;
        Some(branch)
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

    #[test]
    fn a_branch_needs_only_the_group_of_its_leaf() {
        for count in [65, 66, 127, 128, 129, 160, 191, 192, 193, 300, 321] {
            let leaves: Vec<[u8; 32]> = (0..count)
                .map(|n: u32| sha256d::Hash::hash(&n.to_be_bytes()).to_byte_array())
                .collect();
            let nodes = sha256::merkle_level(&leaves, GROUP_LEVEL);
            for index in 0..leaves.len() {
                let group = leaves
                    .chunks(GROUP_LEAVES)
                    .nth(index / GROUP_LEAVES)
                    .unwrap();
                let branch = MerkleBranch::in_group(group.to_vec(), nodes.clone(), index);
                assert_eq!(
                    branch,
                    MerkleBranch::of(leaves.clone(), index),
                    "{count}, {index}"
                );
            }
            let mut other = leaves[..GROUP_LEAVES].to_vec();
            assert_eq!(
                MerkleBranch::in_group(other.clone(), nodes.clone(), leaves.len()),
                None
            );
            other[5][0] ^= 1;
            assert_eq!(MerkleBranch::in_group(other, nodes, 7), None);
        }
    }
}
