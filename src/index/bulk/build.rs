//! From partitions to segments.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::partition::{Joiner, Partition};
use super::placing::{Again, Placer};
use super::records::Records;
use super::spill::{self, DAMAGED};
use super::{Bulk, Contribution};
use crate::chain::{Height, TxNum};
use crate::index::error::Error;
use crate::index::event;
use crate::index::keys::TxFingerprint;
use crate::index::schema::HeaderRow;
use crate::index::segment::fingerprints::FingerprintSegmentBuilder;
use crate::index::segment::places::PlaceSegmentBuilder;
use crate::index::segment::scripts::ScriptSegmentBuilder;
use crate::index::segment::txids::TxidSegmentBuilder;
use crate::index::segment::{Kind, SegmentFile, Shard};

/// Segments and header rows for a range of heights, which count once they are installed.
pub struct Built {
    pub(in crate::index) heights: RangeInclusive<Height>,
    pub(in crate::index) segments: Vec<SegmentFile>,
    pub(in crate::index) totals: Totals,
    records: Records,
    bulk: Arc<Bulk>,
}

/// What went into the segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Scripts.
    pub scripts: u64,
    /// Pairs of a script and a transaction.
    pub touches: u64,
    /// Outputs created.
    pub fundings: u64,
    /// Outputs consumed.
    pub spendings: u64,
    /// Outputs created that are in the segments.
    pub fundings_kept: u64,
    /// Outputs consumed that are in the segments: created below the range, or not to be told from others.
    pub spendings_kept: u64,
}

impl Totals {
    fn add(&mut self, other: &Self) {
        self.scripts += other.scripts;
        self.touches += other.touches;
        self.fundings += other.fundings;
        self.spendings += other.spendings;
        self.fundings_kept += other.fundings_kept;
        self.spendings_kept += other.spendings_kept;
    }
}

/// What a thread can do next.
#[derive(Clone, Copy)]
enum Task {
    /// Places or txids.
    Transactions,
    Scripts(Shard),
    Fingerprints(Shard),
}

/// What the tasks have brought so far.
#[derive(Default)]
struct Harvest {
    segments: Vec<SegmentFile>,
    totals: Totals,
    failed: Option<Error>,
}

impl Bulk {
    /// Sorts what all threads brought in, with so many threads, and writes the segments. Of every output spent, the
    /// source of the blocks has told the height.
    pub fn build(
        self: &Arc<Self>,
        contributions: Vec<Contribution>,
        jobs: usize,
    ) -> Result<Built, Error> {
        self.build_asking(contributions, jobs, &|_hash| Err(Error::Incomplete))
    }

    /// The same for blocks of which `again` gives a few once more, where heights of outputs spent are missing.
    pub fn build_asking(
        self: &Arc<Self>,
        contributions: Vec<Contribution>,
        jobs: usize,
        again: Again<'_>,
    ) -> Result<Built, Error> {
        let files = contributions.into_iter().map(|part| part.0).collect();
        let last = u32::try_from(self.blocks.len())
            .ok()
            .and_then(|count| self.ground.from.0.checked_add(count)?.checked_sub(1));
        let heights = self.ground.from..=Height(last.ok_or(Error::Incomplete)?);
        let records = Records::new(self.ground.from, self.blocks.len(), self.shape.txids, files);
        let records = records.ok_or(Error::Incomplete)?;
        let tasks = self.tasks();
        let next = AtomicUsize::new(0);
        let harvest = Mutex::new(Harvest::default());
        let work = || {
            while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                let outcome = self.run(*task, &heights, &records, again);
                let mut harvest = harvest.lock().unwrap_or_else(PoisonError::into_inner);
                match outcome {
                    Ok((segment, totals)) => {
                        harvest.segments.push(segment);
                        harvest.totals.add(&totals);
                    }
                    Err(error) => {
                        // The others end at their next partition; theirs is then only an echo.
                        self.stop();
                        harvest.failed.get_or_insert(error);
                    }
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..jobs {
                scope.spawn(work);
            }
            work();
        });
        let harvest = harvest.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = harvest.failed {
            return Err(error);
        }
        let events = self.progress.events.load(Ordering::Relaxed);
        if harvest.totals.fundings + harvest.totals.spendings != events {
            return Err(DAMAGED);
        }
        Ok(Built {
            heights,
            segments: harvest.segments,
            totals: harvest.totals,
            records,
            bulk: Arc::clone(self),
        })
    }

    fn tasks(&self) -> Vec<Task> {
        let shards = || Shard::all(self.shape.shard_bits);
        // The longest first, so that no thread is left alone with it.
        let mut tasks = vec![Task::Transactions];
        tasks.extend(shards().map(Task::Scripts));
        tasks.extend(shards().map(Task::Fingerprints));
        tasks
    }

    fn run(
        &self,
        task: Task,
        heights: &RangeInclusive<Height>,
        records: &Records,
        again: Again<'_>,
    ) -> Result<(SegmentFile, Totals), Error> {
        let segment = match task {
            Task::Scripts(shard) => return self.scripts(heights, shard, again),
            Task::Fingerprints(shard) => self.fingerprints(heights, shard)?,
            Task::Transactions if self.shape.txids => self.txids(heights, records)?,
            Task::Transactions => self.places(heights, records)?,
        };
        Ok((segment, Totals::default()))
    }

    fn scripts(
        &self,
        heights: &RangeInclusive<Height>,
        shard: Shard,
        again: Again<'_>,
    ) -> Result<(SegmentFile, Totals), Error> {
        let mut builder = ScriptSegmentBuilder::create(&*self.store, heights.clone(), shard)?;
        let mut partition = Partition::default();
        let mut joiner = Joiner::default();
        let mut placer = Placer::new(self, again, shard)?;
        let mut totals = Totals::default();
        let mut chunks = Vec::new();
        for part in parts(shard, self.events.parts()) {
            self.go_on()?;
            self.events.read(part, &mut chunks)?;
            partition.load(&chunks, part, self.shape.partition_bits)?;
            for events in partition.scripts() {
                let prefix = joiner.join(events, &self.numbers, &mut placer)?;
                builder.push(prefix, &joiner.entry)?;
                joiner.count(events, &mut totals);
            }
            self.progress.parts.fetch_add(1, Ordering::Relaxed);
        }
        Ok((builder.finish()?, totals))
    }

    fn fingerprints(
        &self,
        heights: &RangeInclusive<Height>,
        shard: Shard,
    ) -> Result<SegmentFile, Error> {
        let mut builder = FingerprintSegmentBuilder::create(&*self.store, heights.clone(), shard)?;
        let (mut chunks, mut sorted) = (Vec::new(), Vec::new());
        for part in parts(shard, self.fingerprints.parts()) {
            self.go_on()?;
            let first = u8::try_from(part).map_err(|_overflow| DAMAGED)?;
            sorted.clear();
            self.fingerprints.read(part, &mut chunks)?;
            spill::each_chunk(&chunks, |mut chunk| {
                let mut before = 0;
                while !chunk.is_empty() {
                    let [a, b, c, d] = chunk.array()?;
                    let fingerprint = u64::from_be_bytes([first, a, b, c, d, 0, 0, 0]);
                    sorted.push((fingerprint, event::read_step(&mut chunk, &mut before)?));
                }
                Some(())
            })?;
            sorted.sort_unstable();
            for (fingerprint, number) in &sorted {
                builder.push(TxFingerprint(*fingerprint), TxNum(*number))?;
            }
        }
        builder.finish()
    }

    fn places(
        &self,
        heights: &RangeInclusive<Height>,
        records: &Records,
    ) -> Result<SegmentFile, Error> {
        let first = self.ground.first;
        let mut builder = PlaceSegmentBuilder::create(&*self.store, heights.clone(), first)?;
        records.each(|record| {
            self.go_on()?;
            let (file, offset) = record.first.ok_or(DAMAGED)?;
            builder.push_block(file, offset, &record.lengths, &record.hashes)
        })?;
        builder.finish()
    }

    fn txids(
        &self,
        heights: &RangeInclusive<Height>,
        records: &Records,
    ) -> Result<SegmentFile, Error> {
        let first = self.ground.first;
        let mut builder = TxidSegmentBuilder::create(&*self.store, heights.clone(), first)?;
        records.each(|record| {
            self.go_on()?;
            builder.push(&record.hashes)
        })?;
        builder.finish()
    }
}

impl Built {
    /// The header rows, from the lowest block up.
    pub(in crate::index) fn each_header(
        &self,
        mut visit: impl FnMut(HeaderRow) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut commitment = self.bulk.ground.commitment;
        let mut blocks = (self.heights.start().0..).zip(&self.bulk.blocks);
        self.records.each_head(|header, touches_hash| {
            let (height, block) = blocks.next().ok_or(DAMAGED)?;
            let height = Height(height);
            commitment = commitment.followed_by_hash(&block.hash, &touches_hash);
            let first = self.bulk.numbers.of(height).ok_or(DAMAGED)?.start;
            visit(HeaderRow {
                header,
                hash: block.hash,
                first: TxNum(first),
                transactions: block.transactions,
                commitment,
            })
        })
    }

    /// What went into the segments.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Bytes of the segments of scripts, and of all segments.
    pub fn segment_bytes(&self) -> (u64, u64) {
        let scripts = self.segments.iter();
        let scripts = scripts.filter(|segment| segment.spec.kind == Kind::Scripts);
        let all = self.segments.iter().map(|segment| segment.bytes).sum();
        (scripts.map(|segment| segment.bytes).sum(), all)
    }

    /// Takes the working space away.
    pub(in crate::index) fn clear(self) -> Result<(), Error> {
        spill::remove_directory(&self.bulk.dir)
    }
}

impl Joiner {
    fn count(&self, events: &[event::Event], totals: &mut Totals) {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let spendings = events.iter().filter(|event| event.is_spending());
        let spendings = count(spendings.count());
        totals.add(&Totals {
            scripts: 1,
            touches: count(self.entry.touches.len()),
            fundings: count(events.len()) - spendings,
            spendings,
            fundings_kept: count(self.entry.fundings.len()),
            spendings_kept: count(self.entry.spendings.len()),
        });
    }
}

/// The parts, of so many, that make up a shard.
fn parts(shard: Shard, parts: usize) -> std::ops::Range<usize> {
    let each = parts >> shard.bits;
    let begin = usize::from(shard.index) * each;
    begin..begin + each
}
