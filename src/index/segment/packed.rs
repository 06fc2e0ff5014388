//! Blobs that hold many scripts, in the order of their prefixes.
//!
//! ```text
//! blob    = scripts; the key of the blob is the prefix of the first
//! script  = wide[4 5 6 9] (prefix - the one before it, or the key), body
//! body    = head (1), [varint touches - 31], [varint fundings - 3], [varint spendings - 1],
//!           number of the first transaction (4, big-endian), wide[1 2 3 5] step for each further one,
//!           fundings, spendings
//! head    = touches up to 31 (5 bits), fundings up to 3 (2 bits), whether there are spendings (top bit)
//! funding = [varint index of the touch], varint vout, varint compressed amount, tag (4)
//! spending = [varint index of the touch], varint height, varint vout, tag (4)
//! ```
//!
//! The index is left out where there is but one touch. An entry holds the outputs that the layer creates and does not
//! consume, and the consumption of outputs that an older layer created (or, among outputs that the index cannot tell
//! apart, both).

use bitcoin::Amount;

use super::blobs::{BlobKey, DAMAGED};
use crate::chain::{Height, TxNum};
use crate::index::ScriptPrefix;
use crate::index::blocks::Blocks;
use crate::index::codec::{self, Reader, Widths};
use crate::index::error::Error;
use crate::index::keys::OutPointTag;
use crate::index::layer::{Funding, ScriptEntry, Spending};

pub(super) const GAP: Widths = [4, 5, 6, 9];
pub(super) const STEP: Widths = [1, 2, 3, 5];
/// Bytes of the widest gap.
pub(super) const GAP_BYTES_MAX: usize = 9;

const TOUCHES_IN_HEAD: u8 = 31;
const FUNDINGS_IN_HEAD: u8 = 3;

/// How many there are of each.
struct Head {
    touches: u64,
    fundings: u64,
    spendings: u64,
}

impl Head {
    fn put(&self, out: &mut Vec<u8>) {
        let capped = |count: u64, most: u8| u8::try_from(count).unwrap_or(most).min(most);
        let touches = capped(self.touches, TOUCHES_IN_HEAD);
        let fundings = capped(self.fundings, FUNDINGS_IN_HEAD);
        out.push(touches | fundings << 5 | u8::from(self.spendings > 0) << 7);
        if touches == TOUCHES_IN_HEAD {
            codec::put_varint(out, self.touches - u64::from(TOUCHES_IN_HEAD));
        }
        if fundings == FUNDINGS_IN_HEAD {
            codec::put_varint(out, self.fundings - u64::from(FUNDINGS_IN_HEAD));
        }
        if let Some(further) = self.spendings.checked_sub(1) {
            codec::put_varint(out, further);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let [head] = reader.array()?;
        let escaped = |reader: &mut Reader<'_>, count: u8, most: u8| {
            let further = if count == most { reader.varint()? } else { 0 };
            u64::from(count).checked_add(further)
        };
        Some(Self {
            touches: escaped(reader, head & TOUCHES_IN_HEAD, TOUCHES_IN_HEAD)?,
            fundings: escaped(reader, (head >> 5) & FUNDINGS_IN_HEAD, FUNDINGS_IN_HEAD)?,
            spendings: if head >> 7 == 0 {
                0
            } else {
                reader.varint()?.checked_add(1)?
            },
        })
    }

    fn has_indexes(&self) -> bool {
        self.touches > 1
    }
}

/// Appends the body of a settled entry; `None` for one that makes no sense.
pub(super) fn put_body(out: &mut Vec<u8>, entry: &ScriptEntry) -> Option<()> {
    let head = Head {
        touches: u64::try_from(entry.touches.len()).ok()?,
        fundings: u64::try_from(entry.fundings.len()).ok()?,
        spendings: u64::try_from(entry.spendings.len()).ok()?,
    };
    head.put(out);
    let (first, further) = entry.touches.split_first()?;
    out.extend_from_slice(&first.0.to_be_bytes());
    let mut before = first.0;
    for number in further {
        let step = number.0.checked_sub(before)?;
        codec::put_wide(out, u64::from(step), STEP)?;
        before = number.0;
    }
    let put_index = |out: &mut Vec<u8>, number: TxNum| {
        let index = entry.touches.binary_search(&number).ok()?;
        if head.has_indexes() {
            codec::put_varint(out, u64::try_from(index).ok()?);
        }
        Some(())
    };
    for funding in &entry.fundings {
        put_index(out, funding.number)?;
        put_funding(out, funding)?;
    }
    for spending in &entry.spendings {
        put_index(out, spending.spender)?;
        put_spending(out, spending);
    }
    Some(())
}

/// Reads a body and adds it to an entry.
pub(super) fn read_body(
    reader: &mut Reader<'_>,
    blocks: &Blocks,
    entry: &mut ScriptEntry,
) -> Option<()> {
    let head = Head::read(reader)?;
    let first_touch = entry.touches.len();
    let mut number = u32::from_be_bytes(reader.array()?);
    entry.touches.push(TxNum(number));
    for _ in 1..head.touches {
        number = number.checked_add(u32::try_from(reader.wide(STEP)?).ok()?)?;
        entry.touches.push(TxNum(number));
    }
    let touches = entry.touches.get(first_touch..)?;
    let read_number = |reader: &mut Reader<'_>| {
        let index = if head.has_indexes() {
            reader.varint()?
        } else {
            0
        };
        touches.get(usize::try_from(index).ok()?).copied()
    };
    for _ in 0..head.fundings {
        let number = read_number(reader)?;
        entry.fundings.push(read_funding(reader, number, blocks)?);
    }
    for _ in 0..head.spendings {
        let spender = read_number(reader)?;
        entry.spendings.push(read_spending(reader, spender)?);
    }
    Some(())
}

/// Appends what a funding says beside its number; `None` for an amount that there cannot be.
pub(super) fn put_funding(out: &mut Vec<u8>, funding: &Funding) -> Option<()> {
    codec::put_varint(out, u64::from(funding.vout));
    codec::put_varint(out, codec::compress_amount(funding.amount.to_sat())?);
    out.extend_from_slice(&funding.tag.0.to_be_bytes());
    Some(())
}

/// Reads what [`put_funding`] wrote.
pub(super) fn read_funding(
    reader: &mut Reader<'_>,
    number: TxNum,
    blocks: &Blocks,
) -> Option<Funding> {
    Some(Funding {
        height: blocks.position(number)?.height,
        number,
        vout: reader.varint_u32()?,
        amount: Amount::from_sat(codec::expand_amount(reader.varint()?)?),
        tag: OutPointTag(u32::from_be_bytes(reader.array()?)),
    })
}

/// Appends what a spending says beside its spender.
pub(super) fn put_spending(out: &mut Vec<u8>, spending: &Spending) {
    codec::put_varint(out, u64::from(spending.height.0));
    codec::put_varint(out, u64::from(spending.vout));
    out.extend_from_slice(&spending.tag.0.to_be_bytes());
}

/// Reads what [`put_spending`] wrote.
pub(super) fn read_spending(reader: &mut Reader<'_>, spender: TxNum) -> Option<Spending> {
    Some(Spending {
        spender,
        height: Height(reader.varint_u32()?),
        vout: reader.varint_u32()?,
        tag: OutPointTag(u32::from_be_bytes(reader.array()?)),
    })
}

/// Passes over a body.
fn skip_body(reader: &mut Reader<'_>) -> Option<()> {
    let head = Head::read(reader)?;
    reader.take(4)?;
    for _ in 1..head.touches {
        reader.skip_wide(STEP)?;
    }
    for _ in 0..head.fundings.checked_add(head.spendings)? {
        if head.has_indexes() {
            reader.skip_varint()?;
        }
        reader.skip_varint()?;
        reader.skip_varint()?;
        reader.take(4)?;
    }
    Some(())
}

/// Adds what a blob says about a script, if it is there.
pub(super) fn find(
    key: BlobKey,
    blob: &[u8],
    wanted: ScriptPrefix,
    blocks: &Blocks,
    entry: &mut ScriptEntry,
) -> Result<(), Error> {
    let mut reader = Reader::new(blob);
    let mut prefix = key.first;
    while !reader.is_empty() {
        let gap = reader.wide(GAP).ok_or(DAMAGED)?;
        prefix = prefix.checked_add(gap).ok_or(DAMAGED)?;
        if prefix == wanted.0 {
            return read_body(&mut reader, blocks, entry).ok_or(DAMAGED);
        }
        if prefix > wanted.0 {
            return Ok(());
        }
        skip_body(&mut reader).ok_or(DAMAGED)?;
    }
    Ok(())
}
