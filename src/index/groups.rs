//! The transactions of a block in groups of 64: how long each is, and the Merkle node above them. So one of them is
//! read, and proven to be in the block, without the others.
//!
//! ```text
//! group = varint (least length), varint (length - least) for each transaction,
//!         Merkle node (32), if the block has more than one group
//! ```

use super::codec::{self, Reader};
use crate::chain::merkle::GROUP_LEAVES;

/// Bytes of a Merkle node.
pub(super) const NODE_BYTES: usize = 32;

/// The transactions of a block, without their bytes.
#[derive(Clone, Copy)]
pub(super) struct BlockTransactions<'a> {
    pub(super) txids: &'a [[u8; 32]],
    /// Bytes of each.
    pub(super) lengths: &'a [u32],
    /// Above each group; none where there is but one.
    pub(super) nodes: &'a [[u8; NODE_BYTES]],
}

/// Some transactions of a block that follow each other, and the node above them.
#[derive(Clone, Copy)]
pub(super) struct Group<'a> {
    pub(super) lengths: &'a [u32],
    pub(super) node: Option<&'a [u8; NODE_BYTES]>,
}

/// Splits a block into its groups.
pub(super) fn of_block<'a>(
    lengths: &'a [u32],
    nodes: &'a [[u8; NODE_BYTES]],
) -> impl Iterator<Item = Group<'a>> {
    let nodes = nodes.iter().map(Some).chain(std::iter::repeat(None));
    let groups = lengths.chunks(GROUP_LEAVES).zip(nodes);
    groups.map(|(lengths, node)| Group { lengths, node })
}

/// Appends all groups of a block.
pub(super) fn put_block(out: &mut Vec<u8>, lengths: &[u32], nodes: &[[u8; NODE_BYTES]]) {
    for group in of_block(lengths, nodes) {
        put(out, group);
    }
}

/// Appends a group.
pub(super) fn put(out: &mut Vec<u8>, group: Group<'_>) {
    let least = group.lengths.iter().min().copied().unwrap_or(0);
    codec::put_varint(out, u64::from(least));
    for length in group.lengths {
        codec::put_varint(out, u64::from(length - least));
    }
    out.extend_from_slice(group.node.map_or(&[], |node| node.as_slice()));
}

/// The lengths of a group, one after the other, without an end: how many there are is known to whoever reads them.
pub(super) struct Lengths<'a> {
    reader: Reader<'a>,
    least: u64,
}

impl<'a> Lengths<'a> {
    /// Begins a group.
    pub(super) fn begin(mut reader: Reader<'a>) -> Option<Self> {
        let least = reader.varint()?;
        Some(Self { reader, least })
    }

    pub(super) fn next(&mut self) -> Option<u32> {
        let length = self.reader.varint()?.checked_add(self.least)?;
        u32::try_from(length).ok()
    }

    /// What follows those that were read.
    pub(super) fn into_rest(self) -> Reader<'a> {
        self.reader
    }
}

/// The groups of a whole block.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bytes of each transaction.
    pub(super) lengths: Vec<u32>,
    /// Above each group; none where there is but one.
    pub(super) nodes: Vec<[u8; NODE_BYTES]>,
}

impl Layout {
    /// Reads the groups of a block with so many transactions, and what follows them.
    pub(super) fn read(mut reader: Reader<'_>, transactions: u32) -> Option<(Self, Reader<'_>)> {
        let transactions = usize::try_from(transactions).ok()?;
        let mut layout = Self {
            lengths: Vec::new(),
            nodes: Vec::new(),
        };
        while let Some(rest) = transactions
            .checked_sub(layout.lengths.len())
            .filter(|rest| *rest > 0)
        {
            let mut lengths = Lengths::begin(reader)?;
            for _ in 0..rest.min(GROUP_LEAVES) {
                layout.lengths.push(lengths.next()?);
            }
            reader = lengths.into_rest();
            if transactions > GROUP_LEAVES {
                layout.nodes.push(reader.array()?);
            }
        }
        Some((layout, reader))
    }

    /// How many bytes stand before a transaction in its block, and how many it has itself.
    pub(super) fn extent(&self, transaction: u32) -> Option<(u64, u32)> {
        let index = usize::try_from(transaction).ok()?;
        let before = self.lengths.get(..index)?;
        let before: u64 = before.iter().map(|length| u64::from(*length)).sum();
        let head = head_bytes(self.lengths.len());
        Some((before.saturating_add(head), *self.lengths.get(index)?))
    }
}

/// Bytes of a block before its first transaction: the header and how many there are (`CompactSize`).
pub(super) fn head_bytes(transactions: usize) -> u64 {
    let count = match transactions {
        0..=0xfc => 1,
        0xfd..=0xffff => 3,
        _ => 5,
    };
    80 + count
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn groups_survive(
            lengths in prop::collection::vec(60..=u32::MAX, 1..300),
            rest in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            let nodes: Vec<[u8; NODE_BYTES]> = match lengths.len().div_ceil(GROUP_LEAVES) {
                1 => Vec::new(),
                count => (0_u8..).map(|n| [n; NODE_BYTES]).take(count).collect(),
            };
            let mut bytes = Vec::new();
            put_block(&mut bytes, &lengths, &nodes);
            let groups = bytes.len();
            bytes.extend(&rest);
            let count = u32::try_from(lengths.len()).unwrap();
            let (layout, after) = Layout::read(Reader::new(&bytes), count).unwrap();
            prop_assert_eq!(after.remaining(), rest.len());
            let sum: u64 = lengths[..lengths.len() - 1].iter().copied().map(u64::from).sum();
            let head = if lengths.len() < 253 { 81 } else { 83 };
            prop_assert_eq!(layout.extent(count - 1), Some((head + sum, lengths[lengths.len() - 1])));
            prop_assert_eq!(layout.extent(count), None);
            prop_assert_eq!(layout, Layout { lengths, nodes });
            prop_assert!(Layout::read(Reader::new(&bytes[..groups - 1]), count).is_none());
        }
    }
}
