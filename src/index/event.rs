//! What a script does in a transaction, on its way from a block to a delta row or, in a bulk, to its partition.
//!
//! ```text
//! event = prefix without its first byte (7, big-endian), tag (4, big-endian),
//!         zigzag varint (number - the one before it in the chunk), varint 2 * vout + (1 if spending),
//!         varint satoshi | varint height of the block that created the output, plus 1; 0 if it is unknown
//! ```

use bitcoin::Amount;

use crate::chain::{Height, TxNum};
use crate::index::ScriptPrefix;
use crate::index::codec::{self, Reader};
use crate::index::keys::OutPointTag;

/// Bytes of the prefix and the tag.
const FIXED_BYTES: usize = 7 + 4;
/// Bytes of the longest event.
pub(super) const EVENT_BYTES_MAX: usize = FIXED_BYTES + 5 + 5 + 10;

/// Half a cache line, because there are billions of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) prefix: ScriptPrefix,
    pub(super) number: TxNum,
    /// Twice the vout, and one more for a spending.
    vout_and_kind: u32,
    pub(super) tag: OutPointTag,
    value: u64,
}

/// What happens to the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventKind {
    /// It is created with this amount.
    Funding(Amount),
    /// It is consumed; this block created it, if the source of the spending told it.
    Spending(Option<Height>),
}

impl Event {
    /// Fills a place that is written later.
    pub(super) const NONE: Self = Self {
        prefix: ScriptPrefix(0),
        number: TxNum(0),
        vout_and_kind: 0,
        tag: OutPointTag(0),
        value: 0,
    };

    /// `None` for a vout that no block has room for.
    pub(super) fn new(
        prefix: ScriptPrefix,
        number: TxNum,
        vout: u32,
        tag: OutPointTag,
        kind: EventKind,
    ) -> Option<Self> {
        let (is_spending, value) = match kind {
            EventKind::Funding(amount) => (0, amount.to_sat()),
            EventKind::Spending(height) => (1, height.map_or(0, |height| u64::from(height.0) + 1)),
        };
        Some(Self {
            prefix,
            number,
            vout_and_kind: vout.checked_mul(2)? | is_spending,
            tag,
            value,
        })
    }

    pub(super) fn vout(&self) -> u32 {
        self.vout_and_kind >> 1
    }

    pub(super) fn kind(&self) -> EventKind {
        if self.vout_and_kind & 1 == 0 {
            EventKind::Funding(Amount::from_sat(self.value))
        } else {
            let height = self.value.checked_sub(1);
            let height = height.map(|height| Height(u32::try_from(height).unwrap_or(u32::MAX)));
            EventKind::Spending(height)
        }
    }

    pub(super) fn is_spending(&self) -> bool {
        self.vout_and_kind & 1 == 1
    }

    /// Height of the block that created the output which a spending consumes, if it is known.
    pub(super) fn spent_height(&self) -> Option<Height> {
        match self.kind() {
            EventKind::Funding(_) => None,
            EventKind::Spending(height) => height,
        }
    }

    /// The same spending, of an output that this block created.
    pub(super) fn with_height(self, height: Height) -> Self {
        Self {
            value: u64::from(height.0) + 1,
            ..self
        }
    }

    /// By what events are put in order: script and transaction.
    pub(super) fn key(&self) -> u128 {
        u128::from(self.prefix.0) << 32 | u128::from(self.number.0)
    }

    /// Appends it; `before` is the number of the event before it in the chunk.
    #[inline]
    pub(super) fn put(&self, out: &mut Vec<u8>, before: &mut u32) {
        let prefix_and_tag = u128::from(self.prefix.0) << 32 | u128::from(self.tag.0);
        let [_, _, _, _, _, fixed @ ..] = prefix_and_tag.to_be_bytes();
        out.extend_from_slice(&fixed);
        put_step(out, self.number.0, before);
        codec::put_varint(out, u64::from(self.vout_and_kind));
        codec::put_varint(out, self.value);
    }

    /// Reads what [`Event::put`] wrote into the partition whose prefixes begin with `first`.
    pub(super) fn read(reader: &mut Reader<'_>, first: u8, before: &mut u32) -> Option<Self> {
        let [a, b, c, d, e, f, g, tag @ ..]: [u8; FIXED_BYTES] = reader.array()?;
        let prefix = ScriptPrefix(u64::from_be_bytes([first, a, b, c, d, e, f, g]));
        let number = TxNum(read_step(reader, before)?);
        let vout_and_kind = reader.varint_u32()?;
        Some(Self {
            prefix,
            number,
            vout_and_kind,
            tag: OutPointTag(u32::from_be_bytes(tag)),
            value: reader.varint()?,
        })
    }

    /// Passes over an event; the second and the third byte of its prefix.
    pub(super) fn skip(reader: &mut Reader<'_>) -> Option<[u8; 2]> {
        let [second, third, ..]: [u8; FIXED_BYTES] = reader.array()?;
        reader.skip_varint()?;
        reader.skip_varint()?;
        reader.skip_varint()?;
        Some([second, third])
    }
}

/// Appends how far a number is from the one before it, either way.
#[inline]
pub(super) fn put_step(out: &mut Vec<u8>, number: u32, before: &mut u32) {
    let step = if number >= *before {
        u64::from(number - *before) << 1
    } else {
        u64::from(*before - number) << 1 | 1
    };
    codec::put_varint(out, step);
    *before = number;
}

/// What [`put_step`] wrote.
pub(super) fn read_step(reader: &mut Reader<'_>, before: &mut u32) -> Option<u32> {
    let step = reader.varint()?;
    let distance = u32::try_from(step >> 1).ok()?;
    let number = if step & 1 == 0 {
        before.checked_add(distance)?
    } else {
        before.checked_sub(distance)?
    };
    *before = number;
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    struct Parts(u64, u32, u32, u32, EventKind);

    fn parts() -> impl Strategy<Value = Parts> {
        let kind = prop_oneof![
            (0..=21_000_000 * 100_000_000_u64)
                .prop_map(|satoshi| EventKind::Funding(Amount::from_sat(satoshi))),
            any::<Option<u32>>().prop_map(|height| EventKind::Spending(height.map(Height))),
        ];
        (
            any::<u64>(),
            any::<u32>(),
            0..=u32::MAX / 2,
            any::<u32>(),
            kind,
        )
            .prop_map(|(prefix, number, vout, tag, kind)| Parts(prefix, number, vout, tag, kind))
    }

    fn event(Parts(prefix, number, vout, tag, kind): &Parts) -> Event {
        let (prefix, tag) = (ScriptPrefix(*prefix), OutPointTag(*tag));
        Event::new(prefix, TxNum(*number), *vout, tag, *kind).unwrap()
    }

    proptest! {
        #[test]
        fn events_survive(parts in prop::collection::vec(parts(), 0..20), first: u8) {
            let events: Vec<_> = parts.iter().map(event).collect();
            let (mut bytes, mut before) = (Vec::new(), 0);
            for event in &events {
                let length = bytes.len();
                event.put(&mut bytes, &mut before);
                prop_assert!(bytes.len() - length <= EVENT_BYTES_MAX);
            }
            let (mut reader, mut skipper, mut before) = (Reader::new(&bytes), Reader::new(&bytes), 0);
            for event in &events {
                let mut expected = *event;
                let [_, rest @ ..] = event.prefix.0.to_be_bytes();
                let mut prefix = [first; 8];
                prefix[1..].copy_from_slice(&rest);
                expected.prefix = ScriptPrefix(u64::from_be_bytes(prefix));
                prop_assert!(Event::read(&mut reader, first, &mut before) == Some(expected));
                prop_assert_eq!(Event::skip(&mut skipper), Some([rest[0], rest[1]]));
            }
            prop_assert!(reader.is_empty() && skipper.is_empty());
        }
    }

    #[test]
    fn an_event_takes_half_a_cache_line() {
        assert_eq!(size_of::<Event>(), 32);
        let (prefix, tag) = (ScriptPrefix(0), OutPointTag(0));
        let kind = EventKind::Spending(None);
        assert!(Event::new(prefix, TxNum(0), 1 << 31, tag, kind).is_none());
    }
}
