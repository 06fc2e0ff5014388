//! Old delta rows become segments, segments are merged: each time files first, then one commit that names them.

use std::ops::RangeInclusive;
use std::sync::Arc;

use bitcoin::hashes::Hash as _;

use super::Index;
use super::background::Pace;
use super::error::{self, Error};
use super::layer::ScriptEntry;
use super::merge::{FingerprintSource as _, ScriptSource as _};
use super::merger::{self, Merging};
use super::recent::Recent;
use super::schema::Tables;
use super::segment::cache::{CacheBudget, SHARE_BYTES_MIN};
use super::segment::fingerprints::FingerprintSegmentBuilder;
use super::segment::places::PlaceSegmentBuilder;
use super::segment::scripts::ScriptSegmentBuilder;
use super::segment::store::Store;
use super::segment::txids::TxidSegmentBuilder;
use super::segment::{Segment, SegmentFile, SegmentId, Shard};
use super::segments::Segments;
use super::snapshot::DAMAGED_NUMBERS;
use super::writer::{self, Manifest};
use crate::chain::{Height, TxNum};

/// A file this small is cached whole; of a larger one the way to its blobs.
const CACHED_WHOLE_BYTES: u64 = 1024 * 1024;
/// Bytes of a large file for each byte of its cache: the way to a blob is shorter than this.
const BYTES_PER_CACHED: u64 = 512;

/// Opens a segment with its share of the memory.
pub(super) fn open_segment(
    store: &dyn Store,
    budget: &Arc<CacheBudget>,
    file: SegmentFile,
) -> Result<Arc<Segment>, Error> {
    let way = file.bytes / BYTES_PER_CACHED;
    let wanted = file.bytes.min(CACHED_WHOLE_BYTES).max(way);
    let wanted = usize::try_from(wanted).unwrap_or(SHARE_BYTES_MIN);
    Segment::open(store, file, budget.share(wanted)).map(Arc::new)
}

/// Deletes the files that no manifest names.
pub(super) fn remove_orphans(store: &dyn Store, segments: &Segments) -> Result<(), Error> {
    for id in store.list()? {
        if !segments.all().any(|segment| segment.file.id == id) {
            store.remove(id)?;
        }
    }
    Ok(())
}

impl Index {
    /// Does what has become due: takes over merges that are done, and begins the next. Returns whether there is a new
    /// snapshot, with the same contents. To be called now and then also when no block comes.
    pub fn tend(&mut self) -> Result<bool, Error> {
        if self.failed {
            return Err(Error::Failed);
        }
        let outcome = self.flush_and_merge();
        self.failed = outcome.is_err();
        outcome
    }

    fn flush_and_merge(&mut self) -> Result<bool, Error> {
        let mut changed = false;
        self.scrub()?;
        while self.delta_count()
            >= self
                .shape
                .delta_blocks
                .saturating_add(self.shape.segment_blocks)
        {
            self.flush()?;
            changed = true;
        }
        if let Some(merging) = self.merging.take_if(|merging| merging.work.is_done()) {
            changed |= self.take_over(merging)?;
        }
        while self.merging.is_none() {
            let blocks = self.snapshot.blocks();
            let Some(job) = merger::plan(&self.segments, &self.shape, blocks) else {
                break;
            };
            if self.shape.merges_at_once {
                let made = merger::run(&job, &*self.store, Pace::full())?;
                self.install_merged(made.unwrap_or_default())?;
                changed = true;
            } else {
                self.merging = Some(Merging::launch(job, Arc::clone(&self.store))?);
            }
        }
        Ok(changed)
    }

    /// Blocks that have delta rows.
    fn delta_count(&self) -> u32 {
        let tip = self.snapshot.tip();
        let count = tip.map_or(0, |tip| tip.height.0.saturating_add(1));
        count.saturating_sub(self.segments.count())
    }

    /// Makes segments of the oldest delta rows.
    fn flush(&mut self) -> Result<(), Error> {
        let first = self.segments.count();
        let last = first.saturating_add(self.shape.segment_blocks) - 1;
        let heights = Height(first)..=Height(last);
        let store = &*self.store;
        let mut scripts = ScriptSegmentBuilder::create(store, heights.clone(), Shard::WHOLE)?;
        let mut walk = self.recent.walk(heights.clone());
        let mut entry = ScriptEntry::default();
        while let Some(prefix) = walk.next(&mut entry)? {
            entry.settle(|height| heights.contains(&height))?;
            scripts.push(prefix, &entry)?;
            entry.clear();
        }
        // One at a time, for the sake of the pages that each keeps.
        let mut made = vec![scripts.finish()?];
        let mut fingerprints =
            FingerprintSegmentBuilder::create(store, heights.clone(), Shard::WHOLE)?;
        let mut list = self.recent.fingerprints(heights.clone());
        while let Some((fingerprint, number)) = list.next()? {
            fingerprints.push(fingerprint, number)?;
        }
        made.push(fingerprints.finish()?);
        made.push(match self.places(heights.clone())? {
            Some(places) => places,
            None => self.txids(heights)?,
        });
        let mut recent = self.recent.clone();
        recent.drop_front(Height(last))?;
        self.change_segments(made, Vec::new(), Some((Height(last), recent)))
    }

    /// Where the transactions of these blocks, which have delta rows, stand in the node's files; `None` unless all of them
    /// are found there.
    fn places(&self, heights: RangeInclusive<Height>) -> Result<Option<SegmentFile>, Error> {
        let mut blocks = Vec::new();
        for height in (heights.start().0..=heights.end().0).map(Height) {
            match self.snapshot.block_place(height)? {
                Some(block) => blocks.push(block),
                None => return Ok(None),
            }
        }
        let number = self.first_number(&heights)?;
        let mut builder = PlaceSegmentBuilder::create(&*self.store, heights, number)?;
        for block in blocks {
            let layout = &block.layout;
            builder.push_block(block.file, block.offset, &layout.lengths, &layout.nodes)?;
        }
        builder.finish().map(Some)
    }

    fn txids(&self, heights: RangeInclusive<Height>) -> Result<SegmentFile, Error> {
        let number = self.first_number(&heights)?;
        let mut builder = TxidSegmentBuilder::create(&*self.store, heights.clone(), number)?;
        for height in (heights.start().0..=heights.end().0).map(Height) {
            let txids = self.snapshot.block_txids(height)?.ok_or(DAMAGED_NUMBERS)?;
            for txid in txids {
                builder.push(&[txid.to_byte_array()])?;
            }
        }
        builder.finish()
    }

    fn first_number(&self, heights: &RangeInclusive<Height>) -> Result<TxNum, Error> {
        let block = self.snapshot.blocks().get(*heights.start());
        block.map(|block| block.first).ok_or(DAMAGED_NUMBERS)
    }

    /// Whether the merge came to something.
    fn take_over(&mut self, merging: Merging) -> Result<bool, Error> {
        let is_here = |id: &SegmentId| self.segments.all().any(|segment| segment.file.id == *id);
        let all_here = merging.inputs.iter().all(is_here);
        match merging.work.finish()? {
            Some(made) if all_here => {
                self.install_merged(made)?;
                Ok(true)
            }
            Some(_) | None => {
                remove_orphans(&*self.store, &self.segments)?;
                Ok(false)
            }
        }
    }

    fn install_merged(&mut self, made: Vec<SegmentFile>) -> Result<(), Error> {
        self.change_segments(made, Vec::new(), None)
    }

    /// Adds segments, and takes away others and what the new ones supersede; with the first segments of some blocks
    /// their delta rows go.
    pub(super) fn change_segments(
        &mut self,
        made: Vec<SegmentFile>,
        gone: Vec<SegmentId>,
        flushed: Option<(Height, Recent)>,
    ) -> Result<(), Error> {
        let blocks = self.snapshot.blocks().clone();
        let mut open: Vec<Arc<Segment>> = self.segments.all().map(Arc::clone).collect();
        open.retain(|segment| !gone.contains(&segment.file.id));
        for file in &made {
            open.push(open_segment(&*self.store, &self.budget, file.clone())?);
        }
        let overlapping = Segments::assemble(open.clone(), blocks.clone(), None)?;
        let mut removed = overlapping.superseded();
        open.retain(|segment| !removed.contains(&segment.file.id));
        removed.extend(gone);
        let segments = Arc::new(Segments::assemble(
            open,
            blocks.clone(),
            self.files.clone(),
        )?);
        let manifest = Manifest {
            added: made,
            removed,
        };
        let flushed_to = flushed.as_ref().map(|(height, _)| *height);
        let tables = error::guarded("write the index", || {
            writer::commit_manifest(&self.database, &manifest, flushed_to)?;
            Tables::open(&self.database)
        })?;
        if let Some((_, recent)) = flushed {
            self.recent = recent;
        }
        self.segments = segments;
        self.renew(blocks, tables);
        for id in manifest.removed {
            self.store.remove(id)?;
        }
        Ok(())
    }
}
