//! The canonical touches of a block as rows of bytes, in whose order the commitment is over them, independent of any
//! key.
//!
//! ```text
//! row = script hash (32), index of the transaction (4, big-endian), 0 for funding or 1 for spending, txid (32),
//!       vout (4, big-endian), satoshi (8, big-endian)
//! ```

use bitcoin::Amount;
use sha2::{Digest as _, Sha256};

use super::event::EventKind;

const ROW_BYTES: usize = 81;
/// So many rows are given to the hash function at a time, which is whole blocks of it.
const ROWS_AT_ONCE: usize = 64;

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

/// Puts the touches of a block in order and hashes them; memory for one block after the other.
#[derive(Default)]
pub(super) struct CanonicalRows {
    /// First bytes of the script hash, and the place of each touch: to sort these moves less.
    order: Vec<(u64, u32)>,
    /// Some rows in their order.
    rows: Vec<[u8; ROW_BYTES]>,
}

impl CanonicalRows {
    /// SHA-256 over all rows in their order; see [`super::Commitment`].
    pub(super) fn hash(&mut self, touches: &[Touch]) -> [u8; 32] {
        let starts = touches.iter().map(|touch| {
            let [a, b, c, d, e, f, g, h, ..] = touch.script_hash;
            u64::from_be_bytes([a, b, c, d, e, f, g, h])
        });
        self.order.clear();
        self.order.extend(starts.zip(0..));
        self.order.sort_unstable_by_key(|(start, _)| *start);
        let row = |place: u32| Some(row(touches.get(usize::try_from(place).ok()?)?));
        for equal in self.order.chunk_by_mut(|a, b| a.0 == b.0) {
            if equal.len() > 1 {
                equal.sort_by_cached_key(|(_, place)| row(*place));
            }
        }
        let mut hasher = Sha256::new();
        for places in self.order.chunks(ROWS_AT_ONCE) {
            self.rows.clear();
            self.rows
                .extend(places.iter().filter_map(|(_, place)| row(*place)));
            hasher.update(self.rows.as_flattened());
        }
        hasher.finalize().into()
    }
}

fn row(touch: &Touch) -> [u8; ROW_BYTES] {
    let mut row = [0; ROW_BYTES];
    let rest = put(&mut row, &touch.script_hash);
    let rest = put(rest, &touch.transaction.to_be_bytes());
    let is_spending = matches!(touch.kind, EventKind::Spending(_));
    let rest = put(rest, &[u8::from(is_spending)]);
    let rest = put(rest, &touch.txid);
    let rest = put(rest, &touch.vout.to_be_bytes());
    put(rest, &touch.amount.to_sat().to_be_bytes());
    row
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
