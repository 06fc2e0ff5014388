//! The events of one part of the key space, sorted, and what each script in it is left with.
//!
//! The sort does the join: the creation and the consumption of an output meet in the events of its script, and both
//! vanish.

use super::numbers::Numbers;
use super::placing::Placer;
use super::spill::{self, DAMAGED};
use crate::chain::{Height, TxNum};
use crate::index::ScriptPrefix;
use crate::index::error::Error;
use crate::index::event::{Event, EventKind};
use crate::index::layer::{Funding, ScriptEntry, Spending, UNMATCHED};

/// Parts in which a partition is sorted, so that each stays in the cache of a core.
const BUCKETS: usize = 256;

/// Memory for one partition after the other.
#[derive(Default)]
pub(super) struct Partition {
    /// Sorted by prefix and number.
    events: Vec<Event>,
    ends: Vec<usize>,
}

impl Partition {
    /// Takes the events of a partition: those whose prefix begins with these bits, of which there are 8 to 16.
    pub(super) fn load(&mut self, bytes: &[u8], index: usize, bits: u32) -> Result<(), Error> {
        let further = bits.checked_sub(8).ok_or(DAMAGED)?;
        let first = u8::try_from(index >> further).map_err(|_overflow| DAMAGED)?;
        let bucket = |second_and_third: [u8; 2]| {
            let [bucket, _] = (u16::from_be_bytes(second_and_third) << further).to_be_bytes();
            usize::from(bucket)
        };
        let mut counts = vec![0_usize; BUCKETS];
        spill::each_chunk(bytes, |mut chunk| {
            while !chunk.is_empty() {
                *counts.get_mut(bucket(Event::skip(&mut chunk)?))? += 1;
            }
            Some(())
        })?;
        self.ends.clear();
        let mut total = 0;
        // Each begins where the one before it ends, and its end is moved on by every event that comes in.
        for count in counts {
            self.ends.push(total);
            total += count;
        }
        self.events.clear();
        self.events.resize(total, Event::NONE);
        spill::each_chunk(bytes, |mut chunk| {
            let mut before = 0;
            while !chunk.is_empty() {
                let event = Event::read(&mut chunk, first, &mut before)?;
                let [_, second, third, ..] = event.prefix.0.to_be_bytes();
                let end = self.ends.get_mut(bucket([second, third]))?;
                *self.events.get_mut(*end)? = event;
                *end += 1;
            }
            Some(())
        })?;
        let mut begin = 0;
        for end in &self.ends {
            if let Some(bucket) = self.events.get_mut(begin..*end) {
                bucket.sort_unstable_by_key(Event::key);
            }
            begin = *end;
        }
        Ok(())
    }

    /// The events of each script, in the order of the prefixes.
    pub(super) fn scripts(&self) -> impl Iterator<Item = &[Event]> {
        self.events.chunk_by(|a, b| a.prefix == b.prefix)
    }
}

/// What one script is left with; memory for use again and again.
#[derive(Default)]
pub(super) struct Joiner {
    pub(super) entry: ScriptEntry,
    pub(super) created: Vec<Event>,
    /// Of outputs created within the range.
    pub(super) consumed: Vec<Event>,
    /// Of outputs of which the source of the block does not tell where they were created.
    pub(super) unplaced: Vec<Event>,
}

impl Joiner {
    /// Joins the events of one script, sorted, of which there is at least one. In the entry are then all touches, the
    /// outputs that stay, the consumption of outputs from below the range, and, where outputs are equal in all that the
    /// index knows and only some of them are consumed, both.
    pub(super) fn join(
        &mut self,
        events: &[Event],
        numbers: &Numbers,
        placer: &mut Placer<'_>,
    ) -> Result<ScriptPrefix, Error> {
        let entry = &mut self.entry;
        entry.touches.clear();
        entry.fundings.clear();
        entry.spendings.clear();
        self.created.clear();
        self.consumed.clear();
        self.unplaced.clear();
        let prefix = events.first().map(|event| event.prefix).ok_or(DAMAGED)?;
        for event in events {
            entry.touch(event.number);
            match event.kind() {
                EventKind::Funding(_) => self.created.push(*event),
                EventKind::Spending(None) => self.unplaced.push(*event),
                EventKind::Spending(Some(height)) if numbers.is_below(height) => {
                    entry.spendings.push(spending(event, height));
                }
                EventKind::Spending(Some(_)) => self.consumed.push(*event),
            }
        }
        if !self.unplaced.is_empty() {
            self.place(prefix, placer)?;
        }
        self.settle(numbers)?;
        let entry = &mut self.entry;
        entry
            .fundings
            .sort_unstable_by_key(|funding| (funding.number, funding.vout));
        entry.spendings.sort_unstable_by_key(|spending| {
            let key = (spending.height, spending.vout, spending.tag);
            (key, spending.spender)
        });
        Ok(prefix)
    }

    /// Lets what was created and consumed within the range meet.
    fn settle(&mut self, numbers: &Numbers) -> Result<(), Error> {
        if !self.consumed.is_empty() {
            self.created
                .sort_unstable_by_key(|event| (event.vout(), event.tag, event.number));
            self.consumed
                .sort_unstable_by_key(|event| (event.vout(), event.tag, event.spent_height()));
        }
        let mut created = self.created.as_slice();
        let same = |a: &Event, b: &Event| {
            (a.vout(), a.tag, a.spent_height()) == (b.vout(), b.tag, b.spent_height())
        };
        for consumed in self.consumed.chunk_by(same) {
            let Some((first, height)) = consumed
                .first()
                .and_then(|first| Some((first, first.spent_height()?)))
            else {
                continue;
            };
            let block = numbers.of(height).ok_or(UNMATCHED)?;
            let key = |event: &Event, number: u32| (event.vout(), event.tag, TxNum(number));
            let from = created
                .partition_point(|event| key(event, event.number.0) < key(first, block.start));
            let (before, rest) = created.split_at_checked(from).ok_or(UNMATCHED)?;
            keep(&mut self.entry, before, numbers)?;
            let to =
                rest.partition_point(|event| key(event, event.number.0) < key(first, block.end));
            let (equal, after) = rest.split_at_checked(to).ok_or(UNMATCHED)?;
            created = after;
            if consumed.len() > equal.len() {
                return Err(UNMATCHED);
            }
            if consumed.len() < equal.len() {
                keep(&mut self.entry, equal, numbers)?;
                let spendings = consumed.iter().map(|event| spending(event, height));
                self.entry.spendings.extend(spendings);
            }
        }
        keep(&mut self.entry, created, numbers)
    }
}

fn keep(entry: &mut ScriptEntry, created: &[Event], numbers: &Numbers) -> Result<(), Error> {
    for event in created {
        let EventKind::Funding(amount) = event.kind() else {
            return Err(DAMAGED);
        };
        entry.fundings.push(Funding {
            height: numbers.height(event.number).ok_or(DAMAGED)?,
            number: event.number,
            vout: event.vout(),
            tag: event.tag,
            amount,
        });
    }
    Ok(())
}

pub(super) fn spending(event: &Event, height: Height) -> Spending {
    Spending {
        height,
        vout: event.vout(),
        tag: event.tag,
        spender: event.number,
    }
}
