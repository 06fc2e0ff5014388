//! Which output a spending consumes when its source does not tell which block created that.
//!
//! Every output that can be meant is at hand: those of the bulk stand in the same partition, those below it in the
//! segments, which are walked through in the same order. Nearly always only one has the vout and the tag of the
//! spending. Where several have them, from blocks of different heights, and some of them stay unspent, the block of the
//! spending is asked for once more.

use bitcoin::BlockHash;

use super::Bulk;
use super::partition::{Joiner, spending};
use super::spill::DAMAGED;
use crate::chain::{ConnectedBlock, Height, ScriptHash};
use crate::index::ScriptPrefix;
use crate::index::error::{BlockFault, Error};
use crate::index::event::Event;
use crate::index::keys::OutPointTag;
use crate::index::layer::{ScriptEntry, UNMATCHED};
use crate::index::merge::{MergedScripts, ScriptSource as _};
use crate::index::segment::Shard;

/// Gives a block of a bulk once more, with the heights of all it spends.
pub type Again<'a> = &'a (dyn Fn(&BlockHash) -> Result<ConnectedBlock, Error> + Sync);

/// What inside a script a spending and the output it consumes have in common.
type Key = (u32, OutPointTag);

/// What one thread knows of outputs outside the partition.
pub(super) struct Placer<'a> {
    bulk: &'a Bulk,
    again: Again<'a>,
    below: Option<Below<'a>>,
}

impl<'a> Placer<'a> {
    /// For the scripts of a shard, in ascending order.
    pub(super) fn new(bulk: &'a Bulk, again: Again<'a>, shard: Shard) -> Result<Self, Error> {
        let segments = bulk.below.as_ref().filter(|_| bulk.lacks_heights());
        let below = segments.map(|segments| {
            let scripts = MergedScripts::new(segments.script_sources(shard.keys())?)?;
            Ok(Below {
                scripts,
                prefix: Some(ScriptPrefix(0)),
                entry: ScriptEntry::default(),
                outputs: Vec::new(),
            })
        });
        Ok(Self {
            bulk,
            again,
            below: below.transpose()?,
        })
    }

    fn outputs_below(&self, key: Key) -> &[(Key, Height)] {
        let outputs = self.below.as_ref().map(|below| below.outputs.as_slice());
        let outputs = outputs.unwrap_or_default();
        let from = outputs.partition_point(|output| output.0 < key);
        let to = outputs.partition_point(|output| output.0 <= key);
        outputs.get(from..to).unwrap_or_default()
    }

    /// The heights of what these spendings, equal in key and in the order of their transactions, consume.
    fn ask(&self, prefix: ScriptPrefix, spendings: &[Event]) -> Result<Vec<Height>, Error> {
        let mut heights = Vec::new();
        for of_one in spendings.chunk_by(|a, b| a.number == b.number) {
            let Some(spending) = of_one.first() else {
                continue;
            };
            let height = self.bulk.numbers.height(spending.number).ok_or(DAMAGED)?;
            let found = self.ask_of(height, prefix, spending)?;
            // The node contradicts what it said before, or gave another block.
            let found = found.filter(|found| found.len() == of_one.len());
            heights.extend(found.ok_or(Error::Block {
                height,
                fault: BlockFault::SpentOutputs,
            })?);
        }
        Ok(heights)
    }

    /// The heights of all outputs of this script, vout and tag that one transaction of the block at `height` consumes.
    fn ask_of(
        &self,
        height: Height,
        prefix: ScriptPrefix,
        spending: &Event,
    ) -> Result<Option<Vec<Height>>, Error> {
        let at = height.0.checked_sub(self.bulk.ground.from.0);
        let planned = at.and_then(|at| self.bulk.block(at)).ok_or(DAMAGED)?;
        let first = self.bulk.numbers.of(height).ok_or(DAMAGED)?.start;
        let index = spending.number.0.checked_sub(first).ok_or(DAMAGED)?;
        let connected = (self.again)(&planned.hash)?;
        let block = &connected.block;
        if block.block_hash() != planned.hash || !block.check_merkle_root() {
            return Ok(None);
        }
        let index = usize::try_from(index).map_err(|_overflow| DAMAGED)?;
        let inputs = block.txdata.get(index).map(|found| &found.input);
        // The coinbase spends nothing and has no list.
        let spent = index.checked_sub(1).and_then(|at| connected.spent.get(at));
        let Some((inputs, spent)) = inputs.zip(spent) else {
            return Ok(None);
        };
        let keyed = &self.bulk.keyed;
        let meant = inputs.iter().zip(spent).filter(|(input, spent)| {
            let outpoint = &input.previous_output;
            let script_hash = ScriptHash::of(&spent.script);
            outpoint.vout == spending.vout()
                && keyed.prefix_and_tag(script_hash.as_bytes(), outpoint) == (prefix, spending.tag)
        });
        Ok(Some(meant.map(|(_, spent)| spent.height).collect()))
    }
}

/// What the segments below the bulk have of one script after the other.
struct Below<'a> {
    scripts: MergedScripts<'a>,
    /// The script that the entry is of; `None` after the last.
    prefix: Option<ScriptPrefix>,
    entry: ScriptEntry,
    /// What the script under way can still consume, sorted; one for each output.
    outputs: Vec<(Key, Height)>,
}

impl Below<'_> {
    fn turn_to(&mut self, prefix: ScriptPrefix) -> Result<(), Error> {
        while self.prefix.is_some_and(|at| at < prefix) {
            self.entry.clear();
            self.prefix = self.scripts.next(&mut self.entry)?;
        }
        self.outputs.clear();
        if self.prefix == Some(prefix) {
            self.entry.settle(|_| true)?;
            let created = self.entry.fundings.iter();
            let created = created.map(|output| ((output.vout, output.tag), output.height));
            self.outputs.extend(created);
            self.outputs.sort_unstable();
            let consumed = self.entry.spendings.iter();
            let consumed = consumed.map(|output| ((output.vout, output.tag), output.height));
            let mut consumed: Vec<_> = consumed.collect();
            consumed.sort_unstable();
            self.outputs = without(&self.outputs, &consumed).ok_or(UNMATCHED)?;
        }
        Ok(())
    }
}

impl Joiner {
    /// Gives each spending without a height the height of its output. A pair that can only belong together vanishes at
    /// once, as nearly all do.
    pub(super) fn place(
        &mut self,
        prefix: ScriptPrefix,
        placer: &mut Placer<'_>,
    ) -> Result<(), Error> {
        if let Some(below) = &mut placer.below {
            below.turn_to(prefix)?;
        }
        let mut created = std::mem::take(&mut self.created);
        let mut unplaced = std::mem::take(&mut self.unplaced);
        created.sort_unstable_by_key(|event| (key(event), event.number));
        unplaced.sort_unstable_by_key(|event| (key(event), event.number));
        let mut rest = created.as_slice();
        for equal in unplaced.chunk_by(|a, b| key(a) == key(b)) {
            let Some(spending) = equal.first() else {
                continue;
            };
            let key = key(spending);
            let from = rest.partition_point(|event| self::key(event) < key);
            let (before, others) = rest.split_at_checked(from).ok_or(UNMATCHED)?;
            let to = others.partition_point(|event| self::key(event) == key);
            let (outputs, after) = others.split_at_checked(to).ok_or(UNMATCHED)?;
            self.created.extend_from_slice(before);
            rest = after;
            let is_pair = outputs.len() == 1 && equal.len() == 1;
            if !is_pair || !placer.outputs_below(key).is_empty() {
                self.place_equal(prefix, outputs, equal, placer)?;
                self.created.extend_from_slice(outputs);
            }
        }
        self.created.extend_from_slice(rest);
        Ok(())
    }

    /// Places spendings equal in key, of which there is at least one; `outputs` are those of the bulk with this key.
    fn place_equal(
        &mut self,
        prefix: ScriptPrefix,
        outputs: &[Event],
        spendings: &[Event],
        placer: &Placer<'_>,
    ) -> Result<(), Error> {
        let numbers = &placer.bulk.numbers;
        let key = spendings.first().map(key).ok_or(UNMATCHED)?;
        let below = placer.outputs_below(key).iter().map(|output| output.1);
        let here = outputs
            .iter()
            .filter_map(|event| numbers.height(event.number));
        let mut candidates = below.chain(here);
        let first = candidates.next().ok_or(UNMATCHED)?;
        let heights = if candidates.all(|height| height == first) {
            vec![first; spendings.len()]
        } else if let Some(heights) = self.all_consumed(key, outputs, spendings, placer) {
            heights
        } else {
            placer.ask(prefix, spendings)?
        };
        for (event, height) in spendings.iter().zip(heights) {
            if numbers.is_below(height) {
                self.entry.spendings.push(spending(event, height));
            } else {
                self.consumed.push(event.with_height(height));
            }
        }
        Ok(())
    }

    /// The heights of all outputs of a key, when nothing below the bulk has it and all are consumed in the bulk: which
    /// spending consumes which does not matter then, because none of them is kept.
    fn all_consumed(
        &self,
        key: Key,
        outputs: &[Event],
        spendings: &[Event],
        placer: &Placer<'_>,
    ) -> Option<Vec<Height>> {
        if !placer.outputs_below(key).is_empty() {
            return None;
        }
        let heights = outputs
            .iter()
            .map(|event| placer.bulk.numbers.height(event.number));
        let heights: Vec<Height> = heights.collect::<Option<_>>()?;
        let known = self.consumed.iter().filter(|event| self::key(event) == key);
        let mut known: Vec<Height> = known.filter_map(Event::spent_height).collect();
        known.sort_unstable();
        // Outputs ascend by their number, and so by their height.
        without(&heights, &known).filter(|rest| rest.len() == spendings.len())
    }
}

fn key(event: &Event) -> Key {
    (event.vout(), event.tag)
}

/// Takes one of its equals away for each of `gone`; both ascend. `None` when one has no equal.
fn without<T: Ord + Copy>(all: &[T], gone: &[T]) -> Option<Vec<T>> {
    let mut gone = gone.iter().peekable();
    let rest = all.iter().filter(|one| gone.next_if_eq(one).is_none());
    let rest = rest.copied().collect();
    gone.next().is_none().then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_one_taken_away_has_its_equal() {
        assert_eq!(without(&[1, 2, 2, 3], &[2, 3]), Some(vec![1, 2]));
        assert_eq!(without(&[1, 2], &[]), Some(vec![1, 2]));
        assert_eq!(without(&[1, 3], &[2]), None);
        assert_eq!(without(&[1], &[1, 1]), None);
    }
}
