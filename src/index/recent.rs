//! Delta rows in memory, and the sorted runs by which a script or a txid is found in them.

use std::collections::HashMap;
use std::iter::Peekable;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::vec;

use super::ScriptPrefix;
use super::error::Error;
use super::keys::TxFingerprint;
use super::layer::{ScriptEntry, Wanted};
use super::merge::{FingerprintSource, ScriptSource};
use super::row::Row;
use super::segment::fingerprints;
use crate::chain::{Height, TxNum};

/// Scripts in so many blocks of a run are settled ahead; the chains of tests are short.
const SETTLED_ROWS_MIN: usize = if cfg!(test) { 2 } else { 16 };

/// The rows of consecutive blocks. A copy shares everything.
///
/// Runs hold neighbouring blocks, each run more than twice as many as the next, so that a lookup asks few of them
/// and a block is copied into a longer run only a logarithmic number of times.
#[derive(Clone, Default)]
pub(super) struct Recent {
    runs: Vec<Arc<Run>>,
}

/// Some blocks and what leads into them.
struct Run {
    /// Not empty.
    rows: Vec<Arc<Row>>,
    scripts: Vec<ScriptSlot>,
    transactions: Vec<TransactionSlot>,
    /// What is left of the outputs of scripts that occur in many of the blocks, so that a balance need not join them
    /// again at each question. Without touches.
    settled: HashMap<ScriptPrefix, ScriptEntry>,
}

/// Where the touches of a script in a block are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ScriptSlot {
    prefix: ScriptPrefix,
    height: Height,
    place: u32,
}

/// Which transaction has a fingerprint that begins so: half of it is enough, because the txid itself is at hand.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct TransactionSlot {
    head: u32,
    number: TxNum,
}

impl Recent {
    /// Appends the rows of the next blocks.
    pub(super) fn append(&mut self, rows: Vec<Row>) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut last = Run::of(rows.into_iter().map(Arc::new).collect())?;
        while let Some(before) = self.runs.pop_if(|run| run.rows.len() < 2 * last.rows.len()) {
            last = before.joined_with(&last)?;
        }
        self.runs.push(Arc::new(last));
        Ok(())
    }

    /// Drops the rows above `keep`.
    pub(super) fn truncate(&mut self, keep: Option<Height>) -> Result<(), Error> {
        let is_kept = |height: Height| keep.is_some_and(|keep| height <= keep);
        while let Some(run) = self.runs.pop() {
            if run.rows.last().is_some_and(|row| is_kept(row.height)) {
                self.runs.push(run);
                break;
            }
            if run.rows.first().is_some_and(|row| is_kept(row.height)) {
                self.runs.push(Arc::new(run.filtered(is_kept)?));
                break;
            }
        }
        Ok(())
    }

    /// Drops the rows up to `last`.
    pub(super) fn drop_front(&mut self, last: Height) -> Result<(), Error> {
        let rows: Vec<Arc<Row>> = self.rows().map(Arc::clone).collect();
        let kept: Vec<Arc<Row>> = rows.into_iter().filter(|row| row.height > last).collect();
        self.runs.clear();
        if !kept.is_empty() {
            self.runs.push(Arc::new(Run::of(kept)?));
        }
        Ok(())
    }

    /// Rows from the lowest block up.
    pub(super) fn rows(&self) -> impl DoubleEndedIterator<Item = &Arc<Row>> {
        self.runs.iter().flat_map(|run| &run.rows)
    }

    pub(super) fn row(&self, height: Height) -> Option<&Row> {
        let ends_below = |run: &Arc<Run>| run.rows.last().is_some_and(|last| last.height < height);
        self.runs
            .get(self.runs.partition_point(ends_below))?
            .row(height)
    }

    /// The scripts of some of the rows, in ascending order.
    pub(super) fn walk(&self, heights: RangeInclusive<Height>) -> RowWalk<'_> {
        let slots = self.runs.iter().flat_map(|run| &run.scripts);
        let inside = slots.filter(|slot| heights.contains(&slot.height));
        let mut slots: Vec<ScriptSlot> = inside.copied().collect();
        // The stable sort finds the ascending runs and only merges them.
        slots.sort();
        RowWalk {
            recent: self,
            slots: slots.into_iter().peekable(),
        }
    }

    /// The fingerprints of some of the rows, in ascending order of the part that segments keep.
    pub(super) fn fingerprints(&self, heights: RangeInclusive<Height>) -> FingerprintList {
        let rows = self.rows().filter(|row| heights.contains(&row.height));
        let slots = rows.flat_map(|row| {
            let numbers = (row.first.0..).map(TxNum);
            row.fingerprints().map(fingerprints::kept).zip(numbers)
        });
        let mut slots: Vec<(TxFingerprint, TxNum)> = slots.collect();
        slots.sort_unstable();
        FingerprintList(slots.into_iter())
    }

    /// Adds what the rows say of a script, from the lowest block up. Of outputs that are created and consumed here
    /// neither side may be among it.
    pub(super) fn script(
        &self,
        prefix: ScriptPrefix,
        wanted: Wanted,
        entry: &mut ScriptEntry,
    ) -> Result<(), Error> {
        for run in &self.runs {
            let settled = run
                .settled
                .get(&prefix)
                .filter(|_| wanted == Wanted::Outputs);
            if let Some(settled) = settled {
                entry.fundings.extend_from_slice(&settled.fundings);
                entry.spendings.extend_from_slice(&settled.spendings);
                continue;
            }
            let slots = run.scripts.iter().skip(run.first_of(prefix));
            for slot in slots.take_while(|slot| slot.prefix == prefix) {
                run.add_to(slot, entry)?;
            }
        }
        Ok(())
    }

    /// Adds what the rows above a height say of a script, from the lowest block up.
    pub(super) fn script_above(
        &self,
        prefix: ScriptPrefix,
        below: Height,
        entry: &mut ScriptEntry,
    ) -> Result<(), Error> {
        for run in &self.runs {
            let is_before = |slot: &ScriptSlot| (slot.prefix, slot.height) <= (prefix, below);
            let slots = run
                .scripts
                .iter()
                .skip(run.scripts.partition_point(is_before));
            for slot in slots.take_while(|slot| slot.prefix == prefix) {
                run.add_to(slot, entry)?;
            }
        }
        Ok(())
    }

    /// Numbers of the transactions with this fingerprint, and perhaps of others, ascending.
    pub(super) fn transactions(&self, wanted: TxFingerprint) -> impl Iterator<Item = TxNum> {
        self.runs.iter().flat_map(move |run| {
            let wanted = head(wanted);
            let from = run.transactions.partition_point(|slot| slot.head < wanted);
            let slots = run.transactions.iter().skip(from);
            slots
                .take_while(move |slot| slot.head == wanted)
                .map(|slot| slot.number)
        })
    }
}

/// See [`Recent::walk`].
pub(super) struct RowWalk<'a> {
    recent: &'a Recent,
    slots: Peekable<vec::IntoIter<ScriptSlot>>,
}

impl ScriptSource for RowWalk<'_> {
    fn next(&mut self, entry: &mut ScriptEntry) -> Result<Option<ScriptPrefix>, Error> {
        let Some(prefix) = self.slots.peek().map(|slot| slot.prefix) else {
            return Ok(None);
        };
        while let Some(slot) = self.slots.next_if(|slot| slot.prefix == prefix) {
            if let Some(row) = self.recent.row(slot.height) {
                row.add_to(slot.place, entry)?;
            }
        }
        Ok(Some(prefix))
    }
}

/// See [`Recent::fingerprints`].
pub(super) struct FingerprintList(vec::IntoIter<(TxFingerprint, TxNum)>);

impl FingerprintSource for FingerprintList {
    fn next(&mut self) -> Result<Option<(TxFingerprint, TxNum)>, Error> {
        Ok(self.0.next())
    }
}

impl Run {
    /// The place of the first slot that is not before a script.
    ///
    /// Keyed prefixes are spread evenly, so that the place can be guessed; a search from the middle would wait for
    /// memory several times as often.
    fn first_of(&self, prefix: ScriptPrefix) -> usize {
        let slots = self.scripts.as_slice();
        let is_before = |slot: &ScriptSlot| slot.prefix < prefix;
        let product = u128::from(prefix.0).saturating_mul(slots.len().try_into().unwrap_or(0));
        let guess = usize::try_from(product >> 64).unwrap_or(0);
        let mut reach = slots.len().isqrt();
        loop {
            let from = guess.saturating_sub(reach);
            let to = guess.saturating_add(reach).min(slots.len());
            let begins = from == 0 || slots.get(from).is_some_and(is_before);
            let ends = to == slots.len() || !slots.get(to).is_some_and(is_before);
            if begins && ends {
                let window = slots.get(from..to).unwrap_or_default();
                return from.saturating_add(window.partition_point(is_before));
            }
            // Many slots of one script are in between.
            reach = reach.saturating_mul(8).saturating_add(8);
        }
    }

    fn of(rows: Vec<Arc<Row>>) -> Result<Self, Error> {
        let mut scripts = Vec::new();
        let mut transactions = Vec::new();
        for row in &rows {
            for script in row.scripts() {
                let (prefix, place) = script?;
                scripts.push(ScriptSlot {
                    prefix,
                    height: row.height,
                    place,
                });
            }
            for (index, fingerprint) in (0..).zip(row.fingerprints()) {
                let number = row.number(index)?;
                let head = head(fingerprint);
                transactions.push(TransactionSlot { head, number });
            }
        }
        scripts.sort_unstable();
        transactions.sort_unstable();
        Self::assembled(rows, scripts, transactions)
    }

    fn assembled(
        rows: Vec<Arc<Row>>,
        scripts: Vec<ScriptSlot>,
        transactions: Vec<TransactionSlot>,
    ) -> Result<Self, Error> {
        let mut run = Self {
            rows,
            scripts,
            transactions,
            settled: HashMap::new(),
        };
        let first = run.rows.first().map_or(Height(0), |row| row.height);
        let mut settled = HashMap::new();
        for slots in run.scripts.chunk_by(|a, b| a.prefix == b.prefix) {
            let Some(slot) = slots.first().filter(|_| slots.len() >= SETTLED_ROWS_MIN) else {
                continue;
            };
            let mut entry = ScriptEntry::default();
            for slot in slots {
                run.add_to(slot, &mut entry)?;
            }
            entry.touches = Vec::new();
            entry.settle(|height| height >= first)?;
            entry.fundings.shrink_to_fit();
            entry.spendings.shrink_to_fit();
            settled.insert(slot.prefix, entry);
        }
        run.settled = settled;
        Ok(run)
    }

    fn add_to(&self, slot: &ScriptSlot, entry: &mut ScriptEntry) -> Result<(), Error> {
        match self.row(slot.height) {
            Some(row) => row.add_to(slot.place, entry),
            None => Ok(()),
        }
    }

    fn joined_with(&self, next: &Self) -> Result<Self, Error> {
        let rows = self.rows.iter().chain(&next.rows).map(Arc::clone).collect();
        let mut scripts = [self.scripts.as_slice(), &next.scripts].concat();
        let mut transactions = [self.transactions.as_slice(), &next.transactions].concat();
        // The stable sort finds the two ascending halves and only merges them.
        scripts.sort();
        transactions.sort();
        Self::assembled(rows, scripts, transactions)
    }

    /// What is left when only the lower blocks stay; at least one does.
    fn filtered(&self, is_kept: impl Fn(Height) -> bool) -> Result<Self, Error> {
        let kept = self.rows.partition_point(|row| is_kept(row.height));
        let end = self.rows.get(kept).map_or(TxNum(u32::MAX), |row| row.first);
        let rows = self.rows.iter().take(kept).map(Arc::clone).collect();
        let scripts = self.scripts.iter().filter(|slot| is_kept(slot.height));
        let transactions = self.transactions.iter().filter(|slot| slot.number < end);
        Self::assembled(
            rows,
            scripts.copied().collect(),
            transactions.copied().collect(),
        )
    }

    fn row(&self, height: Height) -> Option<&Row> {
        let index = height.0.checked_sub(self.rows.first()?.height.0)?;
        let row = self.rows.get(usize::try_from(index).ok()?)?;
        Some(row.as_ref())
    }
}

fn head(fingerprint: TxFingerprint) -> u32 {
    let [a, b, c, d, ..] = fingerprint.0.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::ScriptHash;
    use crate::index::event::{Event, EventKind};
    use crate::index::groups::BlockTransactions;
    use crate::index::keys::{KeyedHash, Keys};
    use crate::index::parse::Standing;
    use crate::index::row;
    use bitcoin::hashes::Hash as _;
    use bitcoin::{Amount, OutPoint, ScriptBuf, Txid};
    use proptest::prelude::*;

    fn keyed() -> KeyedHash {
        KeyedHash::new(Keys::from_bytes(&[3; Keys::BYTES]), 32)
    }

    fn txid(height: u32) -> Txid {
        Txid::hash(&height.to_be_bytes())
    }

    fn script_hash(n: u32) -> ScriptHash {
        ScriptHash::of(&ScriptBuf::from_bytes(n.to_be_bytes().to_vec()))
    }

    /// One transaction, which touches the scripts 0 and `height % 7 + 1`.
    fn block(height: u32) -> Row {
        let standing = Standing {
            height: Height(height),
            first: TxNum(height),
        };
        let mut events = [0, height % 7 + 1].map(|n| {
            let tag = keyed().tag(&OutPoint::new(txid(height), n));
            let kind = EventKind::Funding(Amount::ONE_SAT);
            Event::new(
                keyed().prefix(&script_hash(n)),
                standing.first,
                n,
                tag,
                kind,
            )
            .unwrap()
        });
        let txids = [txid(height).to_byte_array()];
        let transactions = BlockTransactions {
            txids: &txids,
            lengths: &[60],
            nodes: &[],
        };
        let bytes = row::encode(standing, transactions, &mut events).unwrap();
        Row::parse(Height(height), TxNum(height), &bytes, &keyed()).unwrap()
    }

    fn heights(recent: &Recent, n: u32) -> Vec<u32> {
        let prefix = keyed().prefix(&script_hash(n));
        let [touches, outputs] = [Wanted::Touches, Wanted::Outputs].map(|wanted| {
            let mut entry = ScriptEntry::default();
            recent.script(prefix, wanted, &mut entry).unwrap();
            entry
        });
        let created = outputs.fundings.iter().map(|funding| funding.number);
        assert!(touches.touches.iter().copied().eq(created));
        touches.touches.iter().map(|number| number.0).collect()
    }

    #[test]
    fn a_guessed_place_is_the_one_that_a_search_finds() {
        let rows = |count| (1..=count).map(|height| Arc::new(block(height))).collect();
        for count in [1, 2, 7, 40, 200] {
            let run = Run::of(rows(count)).unwrap();
            let prefixes = run.scripts.iter().flat_map(|slot| {
                let prefix = slot.prefix.0;
                [prefix.wrapping_sub(1), prefix, prefix.wrapping_add(1)]
            });
            for prefix in prefixes.chain([0, u64::MAX]).map(ScriptPrefix) {
                let expected = run.scripts.partition_point(|slot| slot.prefix < prefix);
                assert_eq!(run.first_of(prefix), expected);
            }
        }
    }

    proptest! {
        #[test]
        fn lookups_equal_a_scan_after_any_sequence(
            steps in prop::collection::vec((0..40_u32, 0..20_u32), 1..20),
        ) {
            let mut recent = Recent::default();
            let mut count = 0_u32;
            for (drops, adds) in steps {
                count = count.saturating_sub(drops);
                recent.truncate(count.checked_sub(1).map(Height)).unwrap();
                recent.append((count..count + adds).map(block).collect()).unwrap();
                count += adds;
                prop_assert!(recent.rows().map(|row| row.height.0).eq(0..count));
                prop_assert_eq!(heights(&recent, 0), (0..count).collect::<Vec<_>>());
                prop_assert_eq!(
                    heights(&recent, 3),
                    (0..count).filter(|height| height % 7 == 2).collect::<Vec<_>>()
                );
                for height in 0..=count {
                    let found: Vec<_> = recent.transactions(keyed().fingerprint(&txid(height))).collect();
                    let expected = (height < count).then_some(TxNum(height));
                    prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
                    prop_assert_eq!(recent.row(Height(height)).is_some(), height < count);
                }
                let sizes: Vec<_> = recent.runs.iter().map(|run| run.rows.len()).collect();
                prop_assert!(sizes.windows(2).all(|pair| pair[0] >= 2 * pair[1]), "{:?}", sizes);
            }
        }
    }
}
