//! The canonical touches of a block as rows of bytes, in whose order the commitment is over them, independent of any
//! key.
//!
//! ```text
//! row = script hash (32), index of the transaction (4, big-endian), 0 for funding or 1 for spending, txid (32),
//!       vout (4, big-endian), satoshi (8, big-endian)
//! ```

use bitcoin::Amount;

use super::event::EventKind;
use crate::chain::sha256::Messages;

const ROW_BYTES: usize = 81;

/// What a transaction does to an output.
pub(super) struct Touch {
    /// Of the output's script.
    pub(super) script_hash: [u8; 32],
    /// Index in the block.
    pub(super) transaction: u32,
    pub(super) kind: EventKind,
    /// The output's.
    pub(super) txid: [u8; 32],
    /// The output's.
    pub(super) vout: u32,
    pub(super) amount: Amount,
}

/// Puts the touches of a block in order; memory for one block after the other.
#[derive(Default)]
pub(super) struct CanonicalRows {
    /// First bytes of the script hash, and the place of each touch: to sort these moves less.
    order: Vec<(u64, u32)>,
    /// After the last of each part of the order.
    ends: Vec<usize>,
}

impl CanonicalRows {
    /// SHA-256 over all rows in their order; see [`super::Commitment`].
    pub(super) fn hash(&mut self, touches: &[Touch]) -> [u8; 32] {
        let (mut messages, mut hashes) = (Messages::default(), Vec::new());
        self.put(touches, &mut messages);
        messages.hash(&mut hashes);
        hashes.first().copied().unwrap_or_default()
    }

    /// Adds a message of all rows in their order: hashed with that of another block, it takes little more than half
    /// the time.
    pub(super) fn put(&mut self, touches: &[Touch], messages: &mut Messages) {
        self.sort(touches);
        let touch = |place: u32| touches.get(usize::try_from(place).ok()?);
        for equal in self.order.chunk_by_mut(|a, b| a.0 == b.0) {
            if equal.len() > 1 {
                equal.sort_by_cached_key(|(_, place)| {
                    let mut bytes = [0; ROW_BYTES];
                    if let Some(touch) = touch(*place) {
                        write(touch, &mut bytes);
                    }
                    bytes
                });
            }
        }
        messages.push_with(touches.len() * ROW_BYTES, |rows| {
            let rows = rows.as_chunks_mut().0.iter_mut();
            for (row, (_, place)) in rows.zip(&self.order) {
                if let Some(touch) = touch(*place) {
                    write(touch, row);
                }
            }
        });
    }

    /// Puts the places in order by the first bytes alone. These differ from one script to the next and are spread
    /// evenly, so that in as many parts as there are touches hardly anything is left to sort.
    fn sort(&mut self, touches: &[Touch]) {
        let bits = touches.len().max(2).ilog2();
        let part = |start: u64| usize::try_from(start >> (u64::BITS - bits)).unwrap_or(0);
        self.ends.clear();
        self.ends.resize(1 << bits, 0);
        for touch in touches {
            if let Some(count) = self.ends.get_mut(part(start(touch))) {
                *count += 1;
            }
        }
        let mut total = 0;
        // Each begins where the one before it ends, and its end is moved on by every touch that comes in.
        for end in &mut self.ends {
            total += std::mem::replace(end, total);
        }
        self.order.clear();
        self.order.resize(touches.len(), (0, 0));
        for (touch, place) in touches.iter().zip(0..) {
            let start = start(touch);
            let end = self.ends.get_mut(part(start));
            if let Some((at, end)) = end.and_then(|end| Some((self.order.get_mut(*end)?, end))) {
                *at = (start, place);
                *end += 1;
            }
        }
        let mut begin = 0;
        for end in &self.ends {
            if let Some(part) = self.order.get_mut(begin..*end) {
                part.sort_unstable_by_key(|(start, _)| *start);
            }
            begin = *end;
        }
    }
}

/// The first bytes of the script hash.
fn start(touch: &Touch) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = touch.script_hash;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn write(touch: &Touch, row: &mut [u8; ROW_BYTES]) {
    let rest = put(row, &touch.script_hash);
    let rest = put(rest, &touch.transaction.to_be_bytes());
    let is_spending = matches!(touch.kind, EventKind::Spending(_));
    let rest = put(rest, &[u8::from(is_spending)]);
    let rest = put(rest, &touch.txid);
    let rest = put(rest, &touch.vout.to_be_bytes());
    put(rest, &touch.amount.to_sat().to_be_bytes());
}

/// Writes a field, and gives what is behind it.
fn put<'a, const BYTES: usize>(row: &'a mut [u8], field: &[u8; BYTES]) -> &'a mut [u8] {
    match row.split_first_chunk_mut() {
        Some((place, rest)) => {
            *place = *field;
            rest
        }
        None => &mut [],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::{Hash as _, sha256};
    use proptest::prelude::*;

    /// Script hash, index of the transaction, whether it is a spending, first byte of the txid, vout.
    type Parts = ([u8; 32], u32, bool, u8, u32);

    fn parts() -> impl Strategy<Value = Parts> {
        // Script hashes of which some are equal, and some in their first bytes alone.
        let script_hash = (0..3_u8, any::<[u8; 2]>(), 0..2_u8).prop_map(|(kind, varied, last)| {
            let mut hash = [7; 32];
            match kind {
                0 => hash[0..2].copy_from_slice(&varied),
                1 => hash[7..9].copy_from_slice(&varied),
                _ => hash[31] = last,
            }
            hash
        });
        (script_hash, 0..3_u32, any::<bool>(), 0..2_u8, 0..3_u32)
    }

    fn touch((script_hash, transaction, is_spending, txid, vout): &Parts) -> Touch {
        let amount = Amount::from_sat(u64::from(*vout) << 20);
        Touch {
            script_hash: *script_hash,
            transaction: *transaction,
            kind: if *is_spending {
                EventKind::Spending(None)
            } else {
                EventKind::Funding(amount)
            },
            txid: [*txid; 32],
            vout: *vout,
            amount,
        }
    }

    fn expected_row((script_hash, transaction, is_spending, txid, vout): &Parts) -> Vec<u8> {
        [
            script_hash.as_slice(),
            &transaction.to_be_bytes(),
            &[u8::from(*is_spending)],
            &[*txid; 32],
            &vout.to_be_bytes(),
            &(u64::from(*vout) << 20).to_be_bytes(),
        ]
        .concat()
    }

    proptest! {
        #[test]
        fn rows_are_hashed_in_their_order(
            blocks in prop::collection::vec(prop::collection::vec(parts(), 0..90), 1..4),
        ) {
            let (mut rows, mut messages) = (CanonicalRows::default(), Messages::default());
            let touches = |block: &Vec<Parts>| -> Vec<_> { block.iter().map(touch).collect() };
            for block in &blocks {
                rows.put(&touches(block), &mut messages);
            }
            let mut hashes = Vec::new();
            messages.hash(&mut hashes);
            prop_assert_eq!(hashes.len(), blocks.len());
            for (block, hash) in blocks.iter().zip(hashes) {
                let mut expected: Vec<_> = block.iter().map(expected_row).collect();
                expected.sort();
                prop_assert_eq!(hash, sha256::Hash::hash(&expected.concat()).to_byte_array());
                prop_assert_eq!(hash, rows.hash(&touches(block)));
            }
        }
    }
}
