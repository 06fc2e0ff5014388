//! Blobs of a script that is too large for one: unspent outputs, spendings and touches apart, so that a balance does
//! not read a history.
//!
//! ```text
//! parts from 0x00000001: fundings  = varint step of the number, varint vout, varint compressed amount, tag (4)
//! parts from 0x40000000: spendings = varint step of the spender, varint height, varint vout, tag (4)
//! parts from 0x80000000: touches   = wide[1 2 3 5] step of the number
//! ```
//!
//! The first step of a blob counts from zero, so that each can be read alone.

use std::ops::RangeInclusive;

use super::blobs::{BlobKey, DAMAGED};
use super::packed::{self, STEP};
use crate::chain::TxNum;
use crate::index::ScriptPrefix;
use crate::index::blocks::Blocks;
use crate::index::codec::{self, Reader};
use crate::index::error::Error;
use crate::index::layer::{ScriptEntry, Spending, Wanted};

const FUNDINGS: u32 = 1;
const SPENDINGS: u32 = 0x4000_0000;
const TOUCHES: u32 = 0x8000_0000;

/// The keys under which a script has what is wanted.
pub(super) fn keys(prefix: ScriptPrefix, wanted: Wanted) -> RangeInclusive<BlobKey> {
    let (from, to) = match wanted {
        Wanted::Outputs => (FUNDINGS, TOUCHES - 1),
        Wanted::Touches => (TOUCHES, u32::MAX),
    };
    let key = |part| BlobKey {
        first: prefix.0,
        part,
    };
    key(from)..=key(to)
}

/// Packs an entry into blobs of at most `limit` bytes.
pub(super) fn blobs(
    prefix: ScriptPrefix,
    entry: &ScriptEntry,
    limit: usize,
) -> Option<Vec<(BlobKey, Vec<u8>)>> {
    let mut spendings: Vec<&Spending> = entry.spendings.iter().collect();
    spendings.sort_by_key(|spending| spending.spender);
    let mut blobs = Vec::new();
    let mut put = |part, items: &mut dyn Iterator<Item = Item>| {
        put_items(
            BlobKey {
                first: prefix.0,
                part,
            },
            items,
            limit,
            &mut blobs,
        )
    };
    put(
        FUNDINGS,
        &mut entry.fundings.iter().map(|funding| {
            let mut rest = Vec::new();
            packed::put_funding(&mut rest, funding)?;
            Some((funding.number, Some(rest)))
        }),
    )?;
    put(
        SPENDINGS,
        &mut spendings.into_iter().map(|spending| {
            let mut rest = Vec::new();
            packed::put_spending(&mut rest, spending);
            Some((spending.spender, Some(rest)))
        }),
    )?;
    put(
        TOUCHES,
        &mut entry.touches.iter().map(|number| Some((*number, None))),
    )?;
    Some(blobs)
}

/// A number, by which items ascend, and what follows its step; a touch has nothing but the number. `None` for an item
/// that makes no sense.
type Item = Option<(TxNum, Option<Vec<u8>>)>;

fn put_items(
    mut key: BlobKey,
    items: &mut dyn Iterator<Item = Item>,
    limit: usize,
    blobs: &mut Vec<(BlobKey, Vec<u8>)>,
) -> Option<()> {
    let mut blob = Vec::new();
    let mut before = 0;
    let mut packed = Vec::new();
    for item in items {
        let (number, rest) = item?;
        let pack = |packed: &mut Vec<u8>, before: u32| {
            packed.clear();
            let step = u64::from(number.0.checked_sub(before)?);
            match &rest {
                Some(rest) => {
                    codec::put_varint(packed, step);
                    packed.extend_from_slice(rest);
                    Some(())
                }
                None => codec::put_wide(packed, step, STEP),
            }
        };
        pack(&mut packed, before)?;
        if !blob.is_empty() && blob.len() + packed.len() > limit {
            blobs.push((key, std::mem::take(&mut blob)));
            key.part = key.part.checked_add(1)?;
            pack(&mut packed, 0)?;
        }
        blob.extend_from_slice(&packed);
        before = number.0;
    }
    if !blob.is_empty() {
        blobs.push((key, blob));
    }
    Some(())
}

/// Adds what a blob says to an entry.
pub(super) fn read(
    key: BlobKey,
    blob: &[u8],
    blocks: &Blocks,
    entry: &mut ScriptEntry,
) -> Result<(), Error> {
    let mut reader = Reader::new(blob);
    let mut number = 0;
    while !reader.is_empty() {
        read_item(key.part, &mut reader, &mut number, blocks, entry).ok_or(DAMAGED)?;
    }
    Ok(())
}

fn read_item(
    part: u32,
    reader: &mut Reader<'_>,
    number: &mut u32,
    blocks: &Blocks,
    entry: &mut ScriptEntry,
) -> Option<()> {
    let step = if part >= TOUCHES {
        reader.wide(STEP)?
    } else {
        reader.varint()?
    };
    *number = number.checked_add(u32::try_from(step).ok()?)?;
    let number = TxNum(*number);
    if part >= TOUCHES {
        entry.touches.push(number);
    } else if part >= SPENDINGS {
        entry.spendings.push(packed::read_spending(reader, number)?);
    } else {
        let funding = packed::read_funding(reader, number, blocks)?;
        entry.fundings.push(funding);
    }
    Some(())
}
