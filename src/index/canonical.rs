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

/// The rows of one block; see [`super::Commitment`].
#[derive(Default)]
pub(super) struct CanonicalRows {
    rows: Vec<[u8; ROW_BYTES]>,
    /// First bytes and place of each row: to sort these moves less.
    order: Vec<(u64, u32)>,
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
        let mut row = [0; ROW_BYTES];
        let fields: [&[u8]; 6] = [
            touch.script_hash,
            &touch.transaction.to_be_bytes(),
            &[u8::from(touch.is_spending)],
            touch.txid,
            &touch.vout.to_be_bytes(),
            &touch.amount.to_sat().to_be_bytes(),
        ];
        let mut rest = row.as_mut_slice();
        for field in fields {
            if let Some((place, after)) =
                std::mem::take(&mut rest).split_at_mut_checked(field.len())
            {
                place.copy_from_slice(field);
                rest = after;
            }
        }
        let [a, b, c, d, e, f, g, h, ..] = *touch.script_hash;
        let place = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        self.order
            .push((u64::from_be_bytes([a, b, c, d, e, f, g, h]), place));
        self.rows.push(row);
    }

    /// SHA-256 over all rows in their order.
    pub(super) fn hash(&mut self) -> [u8; 32] {
        let rows = &self.rows;
        let row = |place: u32| rows.get(usize::try_from(place).ok()?);
        self.order
            .sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| row(a.1).cmp(&row(b.1))));
        let mut hasher = Sha256::new();
        for (_, place) in &self.order {
            if let Some(row) = row(*place) {
                hasher.update(row);
            }
        }
        hasher.finalize().into()
    }
}
