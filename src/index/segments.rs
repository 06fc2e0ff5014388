//! The segments that count, and how together they cover the chain from the genesis block on.
//!
//! A segment of scripts or fingerprints covers a rectangle: some heights, some keys. While the base is being merged
//! shard by shard, rectangles overlap: for every key those count that lead up from the genesis block, at each step the
//! one that reaches highest. What no key needs is superseded.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bitcoin::Txid;

use super::blocks::{Block, Blocks};
use super::error::Error;
use super::keys::TxFingerprint;
use super::layer::{Layer, ScriptEntry, Wanted};
use super::merge::{FingerprintSource, ScriptSource};
use super::segment::fingerprints::FingerprintWalk;
use super::segment::scripts::ScriptWalk;
use super::segment::{Kind, Segment, SegmentId, Spec, fingerprints, places, scripts, txids};
use super::{BlockFiles, ScriptPrefix, in_files};
use crate::chain::merkle::GROUP_LEAVES;
use crate::chain::{Height, TxNum};

const DAMAGED: Error = Error::Damaged {
    attempt: "put the segments of the index together",
};

/// The segments at one moment, open for reading.
pub(super) struct Segments {
    /// These three from the lowest first block up, and of those with equal ones from the highest last block down.
    pub(super) scripts: Vec<Arc<Segment>>,
    pub(super) fingerprints: Vec<Arc<Segment>>,
    /// Of txids or places.
    pub(super) numbered: Vec<Arc<Segment>>,
    /// Blocks covered.
    count: u32,
    blocks: Blocks,
    files: Option<Arc<dyn BlockFiles>>,
}

impl Segments {
    /// Refuses segments that leave a gap; `blocks` reaches at least as high as they.
    pub(super) fn assemble(
        mut segments: Vec<Arc<Segment>>,
        blocks: Blocks,
        files: Option<Arc<dyn BlockFiles>>,
    ) -> Result<Self, Error> {
        segments.sort_by_key(|segment| order(&segment.file.spec));
        let (mut scripts, mut fingerprints, mut numbered) = (Vec::new(), Vec::new(), Vec::new());
        for segment in segments {
            match segment.file.spec.kind {
                Kind::Scripts => scripts.push(segment),
                Kind::Fingerprints => fingerprints.push(segment),
                Kind::Places | Kind::Txids => numbered.push(segment),
            }
        }
        let mut assembled = Self {
            scripts,
            fingerprints,
            numbered,
            count: 0,
            blocks,
            files,
        };
        assembled.count = assembled.covered(|_| true).ok_or(DAMAGED)?;
        Ok(assembled)
    }

    /// Blocks covered, from the genesis block on.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.kinds().into_iter().flatten()
    }

    /// The most blocks, but no more than `count`, that are left when segments above them are dropped whole.
    pub(super) fn keepable(&self, count: u32) -> u32 {
        if count >= self.count {
            return self.count;
        }
        let ends: BTreeSet<u32> = self
            .all()
            .map(|segment| end(&segment.file.spec))
            .filter(|end| *end <= count)
            .collect();
        let mut ends = ends.into_iter().rev();
        let fits = |end: &u32| self.covered(|spec| self::end(spec) <= *end) == Some(*end);
        ends.find(fits).unwrap_or(0)
    }

    /// Those above so many blocks, which have to go when the chain is cut there.
    pub(super) fn above(&self, count: u32) -> Vec<SegmentId> {
        let above = self.all().filter(|segment| end(&segment.file.spec) > count);
        above.map(|segment| segment.file.id).collect()
    }

    /// Those that no key needs.
    pub(super) fn superseded(&self) -> Vec<SegmentId> {
        let mut superseded = Vec::new();
        for segments in self.kinds() {
            let mut needed = BTreeSet::new();
            for key in corners(segments, |_| true) {
                needed.extend(chain(segments, key).map(|segment| segment.file.id));
            }
            let ids = segments.iter().map(|segment| segment.file.id);
            superseded.extend(ids.filter(|id| !needed.contains(id)));
        }
        superseded
    }

    /// Adds the txids of ascending numbers; each blob is read once, whatever the number of txids wanted from it.
    pub(super) fn txids(&self, numbers: &[TxNum], found: &mut Vec<Txid>) -> Result<(), Error> {
        let mut rest = numbers;
        for segment in &self.numbered {
            let last = self.blocks.get(*segment.file.spec.heights.end());
            let end = last.and_then(Block::end).ok_or(DAMAGED)?;
            let (inside, above) = rest.split_at(rest.partition_point(|number| *number < end));
            rest = above;
            if inside.is_empty() {
                continue;
            }
            if segment.file.spec.kind == Kind::Txids {
                txids::find(segment, inside, found)?;
                continue;
            }
            in_files::txids(self.files.as_deref(), segment, inside, found)?;
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(DAMAGED)
        }
    }

    /// The bytes of a transaction, if the index knows where the node's files have it.
    pub(super) fn transaction(
        &self,
        height: Height,
        number: TxNum,
    ) -> Result<Option<Vec<u8>>, Error> {
        let segment = self.numbered(height)?;
        if segment.file.spec.kind == Kind::Txids {
            return Ok(None);
        }
        in_files::transaction(self.files.as_deref(), segment, number).map(Some)
    }

    /// The Merkle nodes above each 64 transactions of a block; none where there are no more, or they are not kept.
    pub(super) fn nodes(&self, height: Height, block: &Block) -> Result<Vec<[u8; 32]>, Error> {
        let mut found = Vec::new();
        let segment = self.numbered(height)?;
        let end = block.end().ok_or(DAMAGED)?;
        let firsts: Vec<TxNum> = (block.first.0..end.0)
            .step_by(GROUP_LEAVES)
            .map(TxNum)
            .collect();
        if segment.file.spec.kind == Kind::Places && firsts.len() > 1 {
            places::nodes(segment, &firsts, &mut found)?;
        }
        Ok(found)
    }

    /// Whether the txids of this block are those of transactions in the node's files.
    pub(super) fn reads_files(&self, height: Height) -> bool {
        let segment = self.numbered(height);
        segment.is_ok_and(|segment| segment.file.spec.kind == Kind::Places)
    }

    /// The node's files, from which transactions are read.
    pub(super) fn files(&self) -> Option<&dyn BlockFiles> {
        self.files.as_deref()
    }

    fn numbered(&self, height: Height) -> Result<&Segment, Error> {
        let below = |segment: &Arc<Segment>| *segment.file.spec.heights.end() < height;
        let segment = self.numbered.get(self.numbered.partition_point(below));
        segment.map(Arc::as_ref).ok_or(DAMAGED)
    }

    /// The scripts with prefixes in a range, each source ascending, from the oldest to the newest.
    pub(super) fn script_sources(
        &self,
        prefixes: RangeInclusive<u64>,
    ) -> Result<Vec<Box<dyn ScriptSource + '_>>, Error> {
        let mut sources: Vec<Box<dyn ScriptSource + '_>> = Vec::new();
        for (segment, keys) in pieces(&self.scripts, prefixes) {
            sources.push(Box::new(ScriptWalk::over(segment, keys, &self.blocks)?));
        }
        Ok(sources)
    }

    /// All fingerprints, each source ascending.
    pub(super) fn fingerprint_sources(
        &self,
    ) -> Result<Vec<Box<dyn FingerprintSource + '_>>, Error> {
        let mut sources: Vec<Box<dyn FingerprintSource + '_>> = Vec::new();
        for (segment, keys) in pieces(&self.fingerprints, 0..=u64::MAX) {
            sources.push(Box::new(FingerprintWalk::over(segment, keys)?));
        }
        Ok(sources)
    }

    fn kinds(&self) -> [&Vec<Arc<Segment>>; 3] {
        [&self.scripts, &self.fingerprints, &self.numbered]
    }

    /// How many blocks those that are kept cover; `None` when they leave a gap or differ.
    fn covered(&self, is_kept: impl Fn(&Spec) -> bool) -> Option<u32> {
        let mut counts = BTreeSet::new();
        for segments in self.kinds() {
            for key in corners(segments, &is_kept) {
                counts.insert(reach(segments, key, &is_kept)?);
            }
        }
        match counts.pop_first() {
            Some(count) if counts.is_empty() => Some(count),
            Some(_) | None => None,
        }
    }
}

impl Layer for Segments {
    fn script(
        &self,
        prefix: ScriptPrefix,
        wanted: Wanted,
        entry: &mut ScriptEntry,
    ) -> Result<(), Error> {
        for segment in chain(&self.scripts, prefix.0) {
            scripts::find(segment, prefix, wanted, &self.blocks, entry)?;
        }
        Ok(())
    }

    fn candidates(&self, fingerprint: TxFingerprint, found: &mut Vec<TxNum>) -> Result<(), Error> {
        for segment in chain(&self.fingerprints, fingerprint.0) {
            fingerprints::find(segment, fingerprint, found)?;
        }
        Ok(())
    }
}

/// The segments that count for a key, from the oldest to the newest.
pub(super) fn chain(segments: &[Arc<Segment>], key: u64) -> impl Iterator<Item = &Arc<Segment>> {
    let mut count = 0;
    segments.iter().filter(move |segment| {
        let spec = &segment.file.spec;
        let counts = spec.shard.keys().contains(&key) && spec.heights.start().0 >= count;
        if counts {
            count = end(spec);
        }
        counts
    })
}

/// The heights of the segments that count for a key.
pub(super) fn ranges(segments: &[Arc<Segment>], key: u64) -> Vec<RangeInclusive<Height>> {
    chain(segments, key)
        .map(|segment| segment.file.spec.heights.clone())
        .collect()
}

/// The segments with those of some keys for which they count; for each key from the oldest to the newest.
pub(super) fn pieces(
    segments: &[Arc<Segment>],
    keys: RangeInclusive<u64>,
) -> Vec<(&Arc<Segment>, RangeInclusive<u64>)> {
    let inside = |corner: &u64| keys.contains(corner);
    let mut firsts: BTreeSet<u64> = corners(segments, |_| true);
    firsts.retain(inside);
    firsts.insert(*keys.start());
    let lasts = firsts.iter().skip(1).map(|next| next - 1);
    let lasts: Vec<u64> = lasts.chain([*keys.end()]).collect();
    let mut pieces = Vec::new();
    for (first, last) in firsts.into_iter().zip(lasts) {
        pieces.extend(chain(segments, first).map(|segment| (segment, first..=last)));
    }
    pieces
}

fn reach(segments: &[Arc<Segment>], key: u64, is_kept: impl Fn(&Spec) -> bool) -> Option<u32> {
    let mut count = 0;
    for segment in segments {
        let spec = &segment.file.spec;
        if !is_kept(spec) || !spec.shard.keys().contains(&key) || spec.heights.start().0 < count {
            continue;
        }
        if spec.heights.start().0 > count {
            return None;
        }
        count = end(spec);
    }
    Some(count)
}

/// Keys of which every other key has one in the same segments.
fn corners(segments: &[Arc<Segment>], is_kept: impl Fn(&Spec) -> bool) -> BTreeSet<u64> {
    let mut corners = BTreeSet::from([0]);
    for segment in segments
        .iter()
        .filter(|segment| is_kept(&segment.file.spec))
    {
        let (first, last) = segment.file.spec.shard.keys().into_inner();
        corners.insert(first);
        corners.extend(last.checked_add(1));
    }
    corners
}

fn order(spec: &Spec) -> (Height, std::cmp::Reverse<Height>, u64) {
    let first_key = *spec.shard.keys().start();
    (
        *spec.heights.start(),
        std::cmp::Reverse(*spec.heights.end()),
        first_key,
    )
}

/// Blocks up to the last one of a segment.
fn end(spec: &Spec) -> u32 {
    spec.heights.end().0.saturating_add(1)
}
