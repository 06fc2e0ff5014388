//! The delta row: everything one block does to scripts, and what is known of its transactions, packed.
//!
//! ```text
//! row      = varint transactions, txids (32 each), groups, scripts, checksum (4)
//! groups   = the transactions of the block, 64 at a time; see `groups`
//! scripts  = for each script in the order of the prefix: wide[5 6 7 9] (prefix - the one before it), varint bytes of
//!            touches, touches
//! touch    = varint 2 * (transaction - the one before it) + (1 if spending), event
//! event    = funding:  varint vout, varint satoshi
//!            spending: varint blocks below this one, varint vout of the output spent, tag (4)
//! ```
//!
//! Fingerprints, and the tags of outputs that the block creates, follow from the txids.

use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, OutPoint, Txid};

use super::ScriptPrefix;
use super::codec::{self, CHECKSUM_BYTES, Reader, Table, Widths};
use super::error::Error;
use super::event::{Event, EventKind};
use super::groups::{self, BlockTransactions, Layout};
use super::keys::{KeyedHash, OutPointTag, TxFingerprint};
use super::layer::{Funding, ScriptEntry, Spending};
use super::parse::Standing;
use super::schema::TXID_BYTES;
use crate::chain::{Height, TxNum};

/// Of the steps from one prefix to the next.
const STEP_WIDTHS: Widths = [5, 6, 7, 9];
const DAMAGED: Error = Error::Damaged {
    attempt: "read a delta row of the index",
};

/// A row in memory, its checksum verified.
pub(super) struct Row {
    pub(super) height: Height,
    /// Number of the block's coinbase.
    pub(super) first: TxNum,
    pub(super) transactions: u32,
    /// Without the checksum.
    bytes: Box<[u8]>,
    /// Where the txids begin.
    txids_at: usize,
    /// Where the groups begin.
    groups_at: usize,
    /// Where the scripts begin.
    scripts_at: usize,
    keyed: KeyedHash,
}

/// A touch as it is stored.
pub(super) struct RowTouch {
    /// Index in the block.
    pub(super) transaction: u32,
    pub(super) event: RowEvent,
}

/// What happens, as it is stored.
pub(super) enum RowEvent {
    Funding {
        vout: u32,
        amount: Amount,
    },
    Spending {
        /// Height of the block that created the output.
        height: Height,
        vout: u32,
        tag: OutPointTag,
    },
}

/// Packs a block; its events get into the order of the row. `None` when the height of a spent output is unknown.
pub(super) fn encode(
    standing: Standing,
    transactions: BlockTransactions<'_>,
    events: &mut [Event],
) -> Option<Vec<u8>> {
    let mut row = Vec::new();
    let count = u64::try_from(transactions.txids.len()).unwrap_or(u64::MAX);
    codec::put_varint(&mut row, count);
    row.extend_from_slice(transactions.txids.as_flattened());
    groups::put_block(&mut row, transactions.lengths, transactions.nodes);
    // Stable, so that a transaction's fundings, and then its spendings, keep the order of its outputs and inputs.
    events.sort_by_key(|event| (event.prefix, event.number, event.is_spending()));
    let mut packed = Vec::new();
    let mut before = 0;
    for script in events.chunk_by(|a, b| a.prefix == b.prefix) {
        packed.clear();
        let mut previous = standing.first;
        for event in script {
            if packed.is_empty() {
                let step = event.prefix.0.wrapping_sub(before);
                codec::put_wide(&mut row, step, STEP_WIDTHS)?;
                before = event.prefix.0;
            }
            put_touch(&mut packed, standing.height, previous, event)?;
            previous = event.number;
        }
        codec::put_varint(&mut row, u64::try_from(packed.len()).unwrap_or(u64::MAX));
        row.extend_from_slice(&packed);
    }
    let checksum = codec::checksum(Table::Delta, standing.height.0.into(), &row);
    row.extend_from_slice(&checksum);
    Some(row)
}

fn put_touch(out: &mut Vec<u8>, height: Height, previous: TxNum, event: &Event) -> Option<()> {
    let step = u64::from(event.number.0.saturating_sub(previous.0)) << 1;
    match event.kind() {
        EventKind::Funding(amount) => {
            codec::put_varint(out, step);
            codec::put_varint(out, u64::from(event.vout()));
            codec::put_varint(out, amount.to_sat());
        }
        EventKind::Spending(funded) => {
            codec::put_varint(out, step | 1);
            codec::put_varint(out, u64::from(height.0.saturating_sub(funded?.0)));
            codec::put_varint(out, u64::from(event.vout()));
            out.extend_from_slice(&event.tag.0.to_be_bytes());
        }
    }
    Some(())
}

impl Row {
    /// Takes stored bytes; refuses them when the checksum does not fit.
    pub(super) fn parse(
        height: Height,
        first: TxNum,
        stored: &[u8],
        keyed: &KeyedHash,
    ) -> Result<Self, Error> {
        let (bytes, checksum) = stored.split_last_chunk::<CHECKSUM_BYTES>().ok_or(DAMAGED)?;
        if codec::checksum(Table::Delta, height.0.into(), bytes) != *checksum {
            return Err(DAMAGED);
        }
        Self::read(height, first, bytes, keyed)
    }

    /// As [`Row::parse`], for what [`encode`] has just made: nothing can have happened to it.
    pub(super) fn encoded(
        height: Height,
        first: TxNum,
        made: &[u8],
        keyed: &KeyedHash,
    ) -> Result<Self, Error> {
        let (bytes, _) = made.split_last_chunk::<CHECKSUM_BYTES>().ok_or(DAMAGED)?;
        Self::read(height, first, bytes, keyed)
    }

    fn read(height: Height, first: TxNum, bytes: &[u8], keyed: &KeyedHash) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let transactions = reader.varint_u32().ok_or(DAMAGED)?;
        let txids_at = bytes.len() - reader.remaining();
        usize::try_from(transactions)
            .ok()
            .and_then(|count| count.checked_mul(TXID_BYTES))
            .and_then(|length| reader.take(length))
            .ok_or(DAMAGED)?;
        let groups_at = bytes.len() - reader.remaining();
        let (_, rest) = Layout::read(reader, transactions).ok_or(DAMAGED)?;
        Ok(Self {
            height,
            first,
            transactions,
            bytes: bytes.into(),
            txids_at,
            groups_at,
            scripts_at: bytes.len() - rest.remaining(),
            keyed: *keyed,
        })
    }

    /// The groups of its transactions.
    pub(super) fn layout(&self) -> Result<Layout, Error> {
        let groups = self.bytes.get(self.groups_at..self.scripts_at);
        let layout = Layout::read(Reader::new(groups.unwrap_or_default()), self.transactions);
        layout.map(|(layout, _)| layout).ok_or(DAMAGED)
    }

    /// Whether these are its bytes, with the checksum.
    pub(super) fn is_stored_as(&self, stored: &[u8]) -> bool {
        let stored = stored.split_last_chunk::<CHECKSUM_BYTES>();
        stored.is_some_and(|(bytes, _)| *bytes == *self.bytes)
    }

    /// The transaction at this index of the block, by its number in the chain.
    pub(super) fn number(&self, transaction: u32) -> Result<TxNum, Error> {
        let number = self.first.0.checked_add(transaction).map(TxNum);
        number.ok_or(DAMAGED)
    }

    /// Fingerprints of all txids in the order of the block.
    pub(super) fn fingerprints(&self) -> impl Iterator<Item = TxFingerprint> {
        let txids = self.txids().iter().map(|txid| Txid::from_byte_array(*txid));
        txids.map(|txid| self.keyed.fingerprint(&txid))
    }

    /// The txid at an index of the block.
    pub(super) fn txid(&self, transaction: u32) -> Option<Txid> {
        let index = usize::try_from(transaction).ok()?;
        let txid = self.txids().get(index);
        txid.map(|txid| Txid::from_byte_array(*txid))
    }

    fn txids(&self) -> &[[u8; TXID_BYTES]] {
        let bytes = self.bytes.get(self.txids_at..self.groups_at);
        let (txids, _) = bytes.unwrap_or_default().as_chunks();
        txids
    }

    /// Every script of the block, in order, with the place of its touches for [`Row::touches`].
    pub(super) fn scripts(&self) -> impl Iterator<Item = Result<(ScriptPrefix, u32), Error>> {
        let mut reader = Reader::new(self.bytes.get(self.scripts_at..).unwrap_or_default());
        let mut before = ScriptPrefix(0);
        std::iter::from_fn(move || {
            if reader.is_empty() {
                return None;
            }
            let script = self.next_script(&mut reader, before);
            match script {
                Some((prefix, _)) => before = prefix,
                None => reader = Reader::new(&[]),
            }
            Some(script.ok_or(DAMAGED))
        })
    }

    fn next_script(
        &self,
        reader: &mut Reader<'_>,
        before: ScriptPrefix,
    ) -> Option<(ScriptPrefix, u32)> {
        let prefix = before.0.checked_add(reader.wide(STEP_WIDTHS)?);
        let prefix = prefix.map(ScriptPrefix)?;
        let place = self.bytes.len() - reader.remaining();
        let length = usize::try_from(reader.varint()?).ok()?;
        reader.take(length)?;
        Some((prefix, u32::try_from(place).ok()?))
    }

    /// The touches of the script at a place, in the order of the block.
    pub(super) fn touches(&self, place: u32) -> impl Iterator<Item = Result<RowTouch, Error>> {
        let mut reader = self.packed(place);
        let mut transaction = 0;
        std::iter::from_fn(move || {
            if reader.is_some_and(|rest| rest.is_empty()) {
                return None;
            }
            let touch = reader
                .as_mut()
                .and_then(|rest| self.next_touch(rest, transaction));
            match &touch {
                Some(touch) => transaction = touch.transaction,
                None => reader = Some(Reader::new(&[])),
            }
            Some(touch.ok_or(DAMAGED))
        })
    }

    /// Adds the touches of the script at a place to an entry.
    pub(super) fn add_to(&self, place: u32, entry: &mut ScriptEntry) -> Result<(), Error> {
        for touch in self.touches(place) {
            let touch = touch?;
            let number = self.number(touch.transaction)?;
            entry.touch(number);
            match touch.event {
                RowEvent::Funding { vout, amount } => {
                    let txid = self.txid(touch.transaction).ok_or(DAMAGED)?;
                    entry.fundings.push(Funding {
                        height: self.height,
                        number,
                        vout,
                        tag: self.keyed.tag(&OutPoint::new(txid, vout)),
                        amount,
                    });
                }
                RowEvent::Spending { height, vout, tag } => entry.spendings.push(Spending {
                    height,
                    vout,
                    tag,
                    spender: number,
                }),
            }
        }
        Ok(())
    }

    fn packed(&self, place: u32) -> Option<Reader<'_>> {
        let mut reader = Reader::new(self.bytes.get(usize::try_from(place).ok()?..)?);
        let length = usize::try_from(reader.varint()?).ok()?;
        reader.take(length).map(Reader::new)
    }

    fn next_touch(&self, reader: &mut Reader<'_>, previous: u32) -> Option<RowTouch> {
        let head = reader.varint()?;
        let transaction = previous.checked_add(u32::try_from(head >> 1).ok()?)?;
        let event = if head & 1 == 0 {
            RowEvent::Funding {
                vout: reader.varint_u32()?,
                amount: Amount::from_sat(reader.varint()?),
            }
        } else {
            RowEvent::Spending {
                height: Height(self.height.0.checked_sub(reader.varint_u32()?)?),
                vout: reader.varint_u32()?,
                tag: OutPointTag(u32::from_be_bytes(reader.array()?)),
            }
        };
        (transaction < self.transactions).then_some(RowTouch { transaction, event })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::ScriptHash;
    use crate::index::keys::Keys;
    use bitcoin::{OutPoint, ScriptBuf};
    use proptest::prelude::*;

    const HEIGHT: Height = Height(1000);
    const STANDING: Standing = Standing {
        height: HEIGHT,
        first: TxNum(7),
    };

    fn keyed() -> KeyedHash {
        KeyedHash::new(Keys::from_bytes(&[3; Keys::BYTES]), 32)
    }

    fn txids(count: u8) -> Vec<[u8; 32]> {
        (0..count).map(|n| [n; 32]).collect()
    }

    /// Of so many transactions; each call is of a block that is the same.
    fn encoded(count: u8, events: &mut [Event]) -> Vec<u8> {
        let txids = txids(count);
        let lengths: Vec<u32> = (0..count).map(|n| 60 + u32::from(n)).collect();
        let nodes = match count {
            0..=64 => vec![],
            _ => vec![[9; 32]; usize::from(count.div_ceil(64))],
        };
        let transactions = BlockTransactions {
            txids: &txids,
            lengths: &lengths,
            nodes: &nodes,
        };
        encode(STANDING, transactions, events).unwrap()
    }

    fn fingerprints(count: u8) -> impl Iterator<Item = TxFingerprint> {
        let txids = txids(count).into_iter().map(Txid::from_byte_array);
        txids.map(|txid| keyed().fingerprint(&txid))
    }

    fn event(script: u8, transaction: u8, spends: Option<u32>, vout: u32, amount: u64) -> Event {
        let script_hash = ScriptHash::of(&ScriptBuf::from_bytes(vec![script]));
        let of = if spends.is_some() {
            script
        } else {
            transaction
        };
        let outpoint = OutPoint::new(Txid::from_byte_array([of; 32]), vout);
        let kind = spends.map_or(EventKind::Funding(Amount::from_sat(amount)), |height| {
            EventKind::Spending(Some(Height(height)))
        });
        let number = TxNum(STANDING.first.0 + u32::from(transaction));
        let (prefix, tag) = (keyed().prefix(&script_hash), keyed().tag(&outpoint));
        Event::new(prefix, number, vout, tag, kind).unwrap()
    }

    /// Transaction, height when spending, vout and amount when funding, tag.
    type Told = (u64, u32, Option<u32>, u32, Option<u64>, u32);

    fn tell(row: &Row) -> Vec<Told> {
        let mut told = Vec::new();
        for script in row.scripts() {
            let (prefix, place) = script.unwrap();
            let mut entry = ScriptEntry::default();
            row.add_to(place, &mut entry).unwrap();
            let mut tags = entry.fundings.iter().map(|funding| funding.tag.0);
            for touch in row.touches(place) {
                let RowTouch { transaction, event } = touch.unwrap();
                told.push(match event {
                    RowEvent::Funding { vout, amount } => (
                        prefix.0,
                        transaction,
                        None,
                        vout,
                        Some(amount.to_sat()),
                        tags.next().unwrap(),
                    ),
                    RowEvent::Spending { height, vout, tag } => {
                        (prefix.0, transaction, Some(height.0), vout, None, tag.0)
                    }
                });
            }
        }
        told
    }

    proptest! {
        #[test]
        fn rows_survive(
            raw in prop::collection::vec(
                (0..9_u8, 0..20_u8, prop::option::of(0..=1000_u32), 0..=u32::MAX / 2, any::<u64>()),
                0..60,
            ),
            count in 20..200_u8,
        ) {
            let events: Vec<Event> = raw
                .into_iter()
                .map(|(script, transaction, spends, vout, amount)| {
                    event(script, transaction, spends, vout, amount)
                })
                .collect();
            let bytes = encoded(count, &mut events.clone());
            let row = Row::parse(HEIGHT, STANDING.first, &bytes, &keyed()).unwrap();
            prop_assert!(row.fingerprints().eq(fingerprints(count)));
            let layout = row.layout().unwrap();
            prop_assert_eq!(layout.lengths.len(), usize::from(count));
            prop_assert_eq!(layout.nodes.len(), if count > 64 { usize::from(count.div_ceil(64)) } else { 0 });
            let mut expected: Vec<Told> = events
                .iter()
                .map(|event| {
                    let amount = match event.kind() {
                        EventKind::Funding(amount) => Some(amount.to_sat()),
                        EventKind::Spending(_) => None,
                    };
                    let height = event.spent_height().map(|height| height.0);
                    let transaction = event.number.0 - STANDING.first.0;
                    (event.prefix.0, transaction, height, event.vout(), amount, event.tag.0)
                })
                .collect();
            expected.sort_by_key(|told| (told.0, told.1, told.2.is_some()));
            prop_assert_eq!(tell(&row), expected);
        }

        #[test]
        fn any_changed_byte_and_any_other_height_is_refused(at in 0..200_usize, mask in 1..=255_u8) {
            let mut events = [event(1, 0, None, 0, 5_000_000_000), event(2, 1, Some(3), 1, 9)];
            let mut bytes = encoded(2, &mut events);
            prop_assert!(Row::parse(Height(1001), TxNum(0), &bytes, &keyed()).is_err());
            let at = at % bytes.len();
            bytes[at] ^= mask;
            prop_assert!(Row::parse(HEIGHT, TxNum(0), &bytes, &keyed()).is_err());
            bytes.truncate(at);
            prop_assert!(Row::parse(HEIGHT, TxNum(0), &bytes, &keyed()).is_err());
        }

        #[test]
        fn nonsense_under_a_good_checksum_does_not_panic(mut bytes: Vec<u8>) {
            let checksum = codec::checksum(Table::Delta, HEIGHT.0.into(), &bytes);
            bytes.extend_from_slice(&checksum);
            if let Ok(row) = Row::parse(HEIGHT, TxNum(0), &bytes, &keyed()) {
                for (_, place) in row.scripts().flatten() {
                    let _count = row.touches(place).count();
                }
            }
        }
    }
}
