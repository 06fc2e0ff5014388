//! Segments of scripts: what each script did within a range of heights.

use std::ops::RangeInclusive;

use super::blobs::{BlobKey, BlobWriter, DAMAGED, FRAME_BYTES, Segment, Walk};
use super::store::Store;
use super::{Kind, SegmentFile, Shard, Spec, heavy, packed};
use crate::chain::Height;
use crate::index::ScriptPrefix;
use crate::index::blocks::Blocks;
use crate::index::codec::{self, Reader};
use crate::index::error::Error;
use crate::index::layer::{Effort, ScriptEntry, Wanted};
use crate::index::merge::ScriptSource;
use crate::limits;

/// What an entry must not be.
const IMPOSSIBLE: Error = Error::Damaged {
    attempt: "pack a script of the index",
};

/// Writes a segment of scripts.
pub(in crate::index) struct ScriptSegmentBuilder<'a> {
    blobs: BlobWriter<'a>,
    blob_bytes_max: usize,
    blob: Vec<u8>,
    /// Prefix of the first script in the blob.
    first: u64,
    last: Option<ScriptPrefix>,
    body: Vec<u8>,
    entries: u64,
}

impl<'a> ScriptSegmentBuilder<'a> {
    /// Begins a segment of the scripts of one shard.
    pub(in crate::index) fn create(
        store: &'a dyn Store,
        heights: RangeInclusive<Height>,
        shard: Shard,
    ) -> Result<Self, Error> {
        let kind = Kind::Scripts;
        let spec = Spec {
            kind,
            heights,
            shard,
        };
        Ok(Self {
            blobs: BlobWriter::create(store, spec, *shard.keys().start())?,
            blob_bytes_max: limits::SEGMENT_BLOB_BYTES - FRAME_BYTES,
            blob: Vec::new(),
            first: 0,
            last: None,
            body: Vec::new(),
            entries: 0,
        })
    }

    /// Smaller blobs, for tests.
    #[cfg(test)]
    pub(in crate::index) fn with_blobs_of(mut self, bytes: usize) -> Self {
        self.blob_bytes_max = bytes;
        self
    }

    /// Adds a script: prefixes ascend, the entry is settled and has a touch, and its fundings ascend by number.
    pub(in crate::index) fn push(
        &mut self,
        prefix: ScriptPrefix,
        entry: &ScriptEntry,
    ) -> Result<(), Error> {
        let before = self.last.replace(prefix);
        if before.is_some_and(|before| before >= prefix) {
            return Err(IMPOSSIBLE);
        }
        self.entries += 1;
        self.body.clear();
        packed::put_body(&mut self.body, entry).ok_or(IMPOSSIBLE)?;
        if self.body.len() > self.blob_bytes_max - packed::GAP_BYTES_MAX {
            self.flush()?;
            let blobs = heavy::blobs(prefix, entry, self.blob_bytes_max).ok_or(IMPOSSIBLE)?;
            for (key, blob) in blobs {
                self.blobs.push(key, blob)?;
            }
            return Ok(());
        }
        let length = self.blob.len() + packed::GAP_BYTES_MAX + self.body.len();
        if length > self.blob_bytes_max {
            self.flush()?;
        }
        let from = match before {
            Some(before) if !self.blob.is_empty() => before.0,
            _ => {
                self.first = prefix.0;
                prefix.0
            }
        };
        codec::put_wide(&mut self.blob, prefix.0 - from, packed::GAP).ok_or(IMPOSSIBLE)?;
        self.blob.extend_from_slice(&self.body);
        Ok(())
    }

    /// Completes the segment; it counts once the manifest names it.
    pub(in crate::index) fn finish(mut self) -> Result<SegmentFile, Error> {
        self.flush()?;
        self.blobs.finish(self.entries)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.blobs.push_gathered(self.first, &mut self.blob)
    }
}

/// Adds what a segment says about a script.
pub(in crate::index) fn find(
    segment: &Segment,
    prefix: ScriptPrefix,
    wanted: Wanted,
    blocks: &Blocks,
    entry: &mut ScriptEntry,
) -> Result<(), Error> {
    let is_heavy = segment.at(BlobKey::behind(prefix.0), |key, blob| {
        if key.part == 0 {
            packed::find(key, blob, prefix, blocks, entry)?;
            return Ok(false);
        }
        Ok(key.first == prefix.0)
    })?;
    if is_heavy {
        if entry.effort == Effort::Little {
            return Err(Error::TooMuch);
        }
        let mut walk = segment.walk(heavy::keys(prefix, wanted))?;
        while let Some(()) = walk.next(|key, blob| heavy::read(key, blob, blocks, entry))? {}
    }
    Ok(())
}

/// The scripts of a segment one after the other.
pub(in crate::index) struct ScriptWalk<'a> {
    walk: Walk<'a>,
    blocks: &'a Blocks,
    prefixes: RangeInclusive<u64>,
    /// The blob being read, and its key; `None` at the end.
    key: Option<BlobKey>,
    blob: Vec<u8>,
    at: usize,
    prefix: u64,
}

impl<'a> ScriptWalk<'a> {
    /// Those with prefixes in a range.
    pub(in crate::index) fn over(
        segment: &'a Segment,
        prefixes: RangeInclusive<u64>,
        blocks: &'a Blocks,
    ) -> Result<Self, Error> {
        // The blob in which the range begins may begin before it.
        let start = segment.at(BlobKey::of(*prefixes.start()), |key, _| Ok(key))?;
        let end = BlobKey::behind(*prefixes.end());
        let mut walk = Self {
            walk: segment.walk(start..=end)?,
            blocks,
            prefixes,
            key: None,
            blob: Vec::new(),
            at: 0,
            prefix: 0,
        };
        walk.load()?;
        Ok(walk)
    }

    fn next_packed(&mut self, entry: &mut ScriptEntry) -> Option<u64> {
        let mut reader = Reader::new(self.blob.get(self.at..)?);
        self.prefix = self.prefix.checked_add(reader.wide(packed::GAP)?)?;
        packed::read_body(&mut reader, self.blocks, entry)?;
        self.at = self.blob.len() - reader.remaining();
        Some(self.prefix)
    }

    fn next_heavy(&mut self, prefix: u64, entry: &mut ScriptEntry) -> Result<u64, Error> {
        while let Some(key) = self.key.filter(|key| key.part > 0 && key.first == prefix) {
            heavy::read(key, &self.blob, self.blocks, entry)?;
            self.load()?;
        }
        Ok(prefix)
    }

    fn load(&mut self) -> Result<(), Error> {
        let buffer = &mut self.blob;
        buffer.clear();
        self.key = self.walk.next(|key, blob| {
            buffer.extend_from_slice(blob);
            Ok(key)
        })?;
        self.at = 0;
        self.prefix = self.key.map_or(0, |key| key.first);
        Ok(())
    }
}

impl ScriptSource for ScriptWalk<'_> {
    fn next(&mut self, entry: &mut ScriptEntry) -> Result<Option<ScriptPrefix>, Error> {
        while let Some(key) = self.key {
            let before = (
                entry.touches.len(),
                entry.fundings.len(),
                entry.spendings.len(),
            );
            let prefix = if key.part > 0 {
                self.next_heavy(key.first, entry)?
            } else if self.at == self.blob.len() {
                self.load()?;
                continue;
            } else {
                self.next_packed(entry).ok_or(DAMAGED)?
            };
            if self.prefixes.contains(&prefix) {
                return Ok(Some(ScriptPrefix(prefix)));
            }
            entry.touches.truncate(before.0);
            entry.fundings.truncate(before.1);
            entry.spendings.truncate(before.2);
        }
        Ok(None)
    }
}
