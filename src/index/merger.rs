//! Small segments become larger ones, in a thread of its own that leaves the machine to others.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::background::{Background, Pace};
use super::blocks::Blocks;
use super::error::Error;
use super::layer::ScriptEntry;
use super::merge::{FingerprintSource, MergedFingerprints, MergedScripts, ScriptSource};
use super::segment::fingerprints::{FingerprintSegmentBuilder, FingerprintWalk};
use super::segment::places::{self, PlaceSegmentBuilder};
use super::segment::scripts::{ScriptSegmentBuilder, ScriptWalk};
use super::segment::store::Store;
use super::segment::txids::{self, TxidSegmentBuilder};
use super::segment::{Kind, Segment, SegmentFile, SegmentId, Shard};
use super::segments::{Segments, chain, pieces, ranges};
use super::shape::Shape;
use crate::chain::{Height, TxNum};

/// A segment and the keys that are read of it.
type Piece = (Arc<Segment>, RangeInclusive<u64>);

/// What is to be merged into one segment of each kind.
pub(super) struct Job {
    heights: RangeInclusive<Height>,
    shard: Shard,
    scripts: Vec<Piece>,
    fingerprints: Vec<Piece>,
    /// Of places, or of txids; empty where they stay as they are.
    numbered: Vec<Arc<Segment>>,
    blocks: Blocks,
}

/// The next merge there is to make.
pub(super) fn plan(segments: &Segments, shape: &Shape, blocks: &Blocks) -> Option<Job> {
    let (target, bits) = match unfinished(segments) {
        Some(unfinished) => unfinished,
        None => {
            let target = shape.next_merge(&ranges(&segments.scripts, 0))?;
            let bits = shape.shard_bits(&target);
            (target, bits)
        }
    };
    let is_made = |shard: &Shard| {
        let key = *shard.keys().start();
        ranges(&segments.scripts, key).contains(&target)
    };
    let shard = Shard::all(bits).find(|shard| !is_made(shard))?;
    let parts = |segments: &[Arc<Segment>]| -> Vec<Piece> {
        let pieces = pieces(segments, shard.keys()).into_iter();
        pieces
            .filter(|(segment, _)| {
                let heights = &segment.file.spec.heights;
                target.contains(heights.start()) && target.contains(heights.end())
            })
            .map(|(segment, keys)| (Arc::clone(segment), keys))
            .collect()
    };
    let numbered: Vec<_> = parts(&segments.numbered)
        .into_iter()
        .map(|(segment, _)| segment)
        .collect();
    let mut kinds = numbered.iter().map(|segment| segment.file.spec.kind);
    let first = kinds.next();
    let numbered = if bits == 0 && kinds.all(|kind| Some(kind) == first) {
        numbered
    } else {
        Vec::new()
    };
    Some(Job {
        scripts: parts(&segments.scripts),
        fingerprints: parts(&segments.fingerprints),
        numbered,
        blocks: blocks.clone(),
        heights: target,
        shard,
    })
}

/// The heights of a merge of which only the first shards are made, and the bits of these.
fn unfinished(segments: &Segments) -> Option<(RangeInclusive<Height>, u8)> {
    let rest = ranges(&segments.scripts, u64::MAX);
    let mut made = chain(&segments.scripts, 0).map(|segment| &segment.file.spec);
    let made = made.find(|spec| !rest.contains(&spec.heights))?;
    Some((made.heights.clone(), made.shard.bits))
}

/// A merge under way; it is called off when this is dropped.
pub(super) struct Merging {
    /// What it reads: when one of these is gone, the outcome is void.
    pub(super) inputs: Vec<SegmentId>,
    pub(super) work: Background<Vec<SegmentFile>>,
}

impl Merging {
    pub(super) fn launch(job: Job, store: Arc<dyn Store>) -> Result<Self, Error> {
        let inputs = job.inputs();
        let merge = move |pace| run(&job, &*store, pace);
        let work = Background::launch("index-merge", merge)?;
        Ok(Self { inputs, work })
    }
}

impl Job {
    /// Number of the first transaction of some of the blocks.
    fn first(&self, heights: &RangeInclusive<Height>) -> TxNum {
        let block = self.blocks.get(*heights.start());
        block.map_or(TxNum(0), |block| block.first)
    }

    fn inputs(&self) -> Vec<SegmentId> {
        let keyed = self.scripts.iter().chain(&self.fingerprints);
        let keyed = keyed.map(|(segment, _)| segment);
        keyed
            .chain(&self.numbered)
            .map(|segment| segment.file.id)
            .collect()
    }
}

/// Makes the segments of a job; `None` when it is called off.
pub(super) fn run(
    job: &Job,
    store: &dyn Store,
    mut pace: Pace,
) -> Result<Option<Vec<SegmentFile>>, Error> {
    let Some(scripts) = merge_scripts(job, store, &mut pace)? else {
        return Ok(None);
    };
    let Some(fingerprints) = merge_fingerprints(job, store, &mut pace)? else {
        return Ok(None);
    };
    let mut made = vec![scripts, fingerprints];
    if job.numbered.len() > 1 {
        let joined = match job.numbered.first().map(|segment| segment.file.spec.kind) {
            Some(Kind::Places) => join_places(job, store, &mut pace)?,
            _ => join_txids(job, store, &mut pace)?,
        };
        let Some(joined) = joined else {
            return Ok(None);
        };
        made.push(joined);
    }
    Ok(Some(made))
}

fn merge_scripts(
    job: &Job,
    store: &dyn Store,
    pace: &mut Pace,
) -> Result<Option<SegmentFile>, Error> {
    let mut builder = ScriptSegmentBuilder::create(store, job.heights.clone(), job.shard)?;
    let mut sources: Vec<Box<dyn ScriptSource + '_>> = Vec::new();
    for (segment, keys) in &job.scripts {
        let walk = ScriptWalk::over(segment, keys.clone(), &job.blocks)?;
        sources.push(Box::new(walk));
    }
    let mut merged = MergedScripts::new(sources)?;
    let mut entry = ScriptEntry::default();
    while let Some(prefix) = merged.next(&mut entry)? {
        entry.settle(|height| job.heights.contains(&height))?;
        builder.push(prefix, &entry)?;
        entry.clear();
        if !pace.goes_on() {
            return Ok(None);
        }
    }
    builder.finish().map(Some)
}

fn merge_fingerprints(
    job: &Job,
    store: &dyn Store,
    pace: &mut Pace,
) -> Result<Option<SegmentFile>, Error> {
    let mut builder = FingerprintSegmentBuilder::create(store, job.heights.clone(), job.shard)?;
    let mut sources: Vec<Box<dyn FingerprintSource + '_>> = Vec::new();
    for (segment, keys) in &job.fingerprints {
        sources.push(Box::new(FingerprintWalk::over(segment, keys.clone())?));
    }
    let mut merged = MergedFingerprints::new(sources)?;
    while let Some((fingerprint, number)) = merged.next()? {
        builder.push(fingerprint, number)?;
        if !pace.goes_on() {
            return Ok(None);
        }
    }
    builder.finish().map(Some)
}

fn join_txids(job: &Job, store: &dyn Store, pace: &mut Pace) -> Result<Option<SegmentFile>, Error> {
    let first = job.first(&job.heights);
    let mut builder = TxidSegmentBuilder::create(store, job.heights.clone(), first)?;
    for segment in &job.numbered {
        let mut goes_on = true;
        txids::each(segment, job.first(&segment.file.spec.heights), |txids| {
            builder.push(txids)?;
            goes_on = goes_on && pace.goes_on();
            Ok(())
        })?;
        if !goes_on {
            return Ok(None);
        }
    }
    builder.finish().map(Some)
}

fn join_places(
    job: &Job,
    store: &dyn Store,
    pace: &mut Pace,
) -> Result<Option<SegmentFile>, Error> {
    let first = job.first(&job.heights);
    let mut builder = PlaceSegmentBuilder::create(store, job.heights.clone(), first)?;
    for segment in &job.numbered {
        let mut goes_on = true;
        let first = job.first(&segment.file.spec.heights);
        places::each(segment, first, |file, offset, group| {
            builder.push_group(file, offset, group)?;
            goes_on = goes_on && pace.goes_on();
            Ok(())
        })?;
        if !goes_on {
            return Ok(None);
        }
    }
    builder.finish().map(Some)
}
