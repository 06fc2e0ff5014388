//! The canonical touches of a block as rows of bytes, in whose order the commitment is over them, independent of any
//! key.
//!
//! ```text
//! row = script hash (32), index of the transaction (4, big-endian), 0 for funding or 1 for spending, txid (32),
//!       vout (4, big-endian), satoshi (8, big-endian)
//! ```

use bitcoin::Amount;
use sha2::{Digest as _, Sha256};

const ROW_BYTES: usize = 81;
/// So many rows are given to the hash function at a time, which is whole blocks of it.
const ROWS_AT_ONCE: usize = 64;

/// The rows of one block; see [`super::Commitment`].
#[derive(Default)]
pub(super) struct CanonicalRows {
    rows: Vec<[u8; ROW_BYTES]>,
    /// First bytes and place of each row: to sort these moves less.
    order: Vec<(u64, u32)>,
    /// Some rows in their order.
    gathered: Vec<[u8; ROW_BYTES]>,
}

/// A touch as the commitment sees it.
pub(super) struct CanonicalTouch<'a> {
    pub(super) script_hash: &'a [u8; 32],
    pub(super) transaction: u32,
    pub(super) is_spending: bool,
    pub(super) txid: &'a [u8; 32],
    pub(super) vout: u32,
    pub(super) amount: Amount,
}

impl CanonicalRows {
    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.order.clear();
    }

    pub(super) fn push(&mut self, touch: &CanonicalTouch<'_>) {
        let place = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        let [a, b, c, d, e, f, g, h, ..] = *touch.script_hash;
        let start = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        self.order.push((start, place));
        let mut row = [0; ROW_BYTES];
        let rest = put(&mut row, touch.script_hash);
        let rest = put(rest, &touch.transaction.to_be_bytes());
        let rest = put(rest, &[u8::from(touch.is_spending)]);
        let rest = put(rest, touch.txid);
        let rest = put(rest, &touch.vout.to_be_bytes());
        put(rest, &touch.amount.to_sat().to_be_bytes());
        self.rows.push(row);
    }

    /// SHA-256 over all rows in their order.
    pub(super) fn hash(&mut self) -> [u8; 32] {
        self.order.sort_unstable_by_key(|(start, _)| *start);
        let row = |place: &u32| self.rows.get(usize::try_from(*place).ok()?);
        for equal in self.order.chunk_by_mut(|a, b| a.0 == b.0) {
            equal.sort_unstable_by_key(|(_, place)| row(place));
        }
        let mut hasher = Sha256::new();
        for places in self.order.chunks(ROWS_AT_ONCE) {
            self.gathered.clear();
            self.gathered
                .extend(places.iter().filter_map(|(_, place)| row(place)));
            hasher.update(self.gathered.as_flattened());
        }
        hasher.finalize().into()
    }
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
