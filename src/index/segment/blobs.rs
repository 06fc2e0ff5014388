//! The file under every segment: blobs in the order of their keys, each with a checksum.
//!
//! A blob names the key that follows its own. So a search that a damaged page led astray is noticed: what it found ends
//! before what it looked for. The first blob of a segment, which may be empty, has the least key of all.
//!
//! ```text
//! stored = blob, key of the next blob (12; all bits set after the last), checksum (4)
//! ```

use std::ops::{Bound, RangeInclusive};

use redb::{Database, Durability, Range, ReadOnlyTable, ReadableTable as _, TableDefinition};

use super::cache::CacheShare;
use super::store::{Opened, Store};
use super::{Kind, SegmentFile, SegmentId, Shard, Spec};
use crate::chain::{Height, TxNum};
use crate::index::error::{Error, guarded, store};
use crate::limits;

/// Bytes of a key: the first entry of the blob (8, big-endian), and 0 or the number of a blob that a large entry has
/// to itself (4, big-endian).
pub(super) const KEY_BYTES: usize = 12;
/// Bytes of the checksum at the end of each blob.
const CHECKSUM_BYTES: usize = 4;
/// Bytes of a stored blob that are not its own.
pub(super) const FRAME_BYTES: usize = KEY_BYTES + CHECKSUM_BYTES;

const BLOBS: TableDefinition<'_, &[u8; KEY_BYTES], &[u8]> = TableDefinition::new("blobs");

const WRITE: &str = "write a segment of the index";
const READ: &str = "read a segment of the index";
pub(super) const DAMAGED: Error = Error::Damaged { attempt: READ };

/// The place of a blob in the order of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BlobKey {
    /// The first entry of the blob.
    pub(super) first: u64,
    /// 0, or the number of a blob that a large entry has to itself.
    pub(super) part: u32,
}

impl BlobKey {
    /// After all others.
    const END: Self = Self::behind(u64::MAX);

    /// Of the blob that begins with this entry.
    pub(super) const fn of(first: u64) -> Self {
        Self { first, part: 0 }
    }

    /// After all blobs that begin with this entry.
    pub(super) const fn behind(first: u64) -> Self {
        Self {
            first,
            part: u32::MAX,
        }
    }

    /// How many numbers after the first of its blob this one stands.
    pub(super) fn index_of(&self, number: TxNum) -> Option<usize> {
        let index = u64::from(number.0).checked_sub(self.first)?;
        usize::try_from(index).ok()
    }

    fn to_bytes(self) -> [u8; KEY_BYTES] {
        let mut bytes = [0; KEY_BYTES];
        let (first, part) = bytes.split_at_mut(8);
        first.copy_from_slice(&self.first.to_be_bytes());
        part.copy_from_slice(&self.part.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, part @ ..] = bytes;
        Self {
            first: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            part: u32::from_be_bytes(part),
        }
    }
}

/// Guards a blob and what follows it against bit rot and against standing in the wrong place or file, which redb does
/// not look for.
fn checksum(id: SegmentId, key: &[u8; KEY_BYTES], framed: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&id.0.to_be_bytes());
    hasher.update(key);
    hasher.update(framed);
    hasher.finalize().to_be_bytes()
}

/// Writes a segment from its first blob to its last.
pub(super) struct BlobWriter<'a> {
    store: &'a dyn Store,
    spec: Spec,
    id: SegmentId,
    database: Database,
    /// The last blob, until the key of the next one is known.
    last: (BlobKey, Vec<u8>),
    /// Blobs that are not yet in the file.
    waiting: Vec<([u8; KEY_BYTES], Vec<u8>)>,
    waiting_bytes: usize,
    /// Memory of blobs that are in the file.
    spare: Vec<Vec<u8>>,
}

impl<'a> BlobWriter<'a> {
    /// Begins a segment whose least key is `start`.
    pub(super) fn create(store: &'a dyn Store, spec: Spec, start: u64) -> Result<Self, Error> {
        let id = SegmentId::random()?;
        let database = guarded(WRITE, || {
            store.create(id, limits::SEGMENT_WRITE_CACHE_BYTES)
        })?;
        Ok(Self {
            store,
            spec,
            id,
            database,
            last: (BlobKey::of(start), Vec::new()),
            waiting: Vec::new(),
            waiting_bytes: 0,
            spare: Vec::new(),
        })
    }

    /// Begins a segment of something that every transaction in these heights has; `first` is the number of the first.
    pub(super) fn numbered(
        store: &'a dyn Store,
        kind: Kind,
        heights: RangeInclusive<Height>,
        first: TxNum,
    ) -> Result<Self, Error> {
        let shard = Shard::WHOLE;
        let spec = Spec {
            kind,
            heights,
            shard,
        };
        Self::create(store, spec, u64::from(first.0))
    }

    /// Takes what has gathered for the blob that begins with this entry, if anything has.
    pub(super) fn push_gathered(&mut self, first: u64, blob: &mut Vec<u8>) -> Result<(), Error> {
        if blob.is_empty() {
            return Ok(());
        }
        let spare = self.spare.pop();
        let empty = spare.unwrap_or_else(|| Vec::with_capacity(limits::SEGMENT_BLOB_BYTES));
        self.push(BlobKey::of(first), std::mem::replace(blob, empty))
    }

    /// Adds a blob; keys ascend.
    pub(super) fn push(&mut self, key: BlobKey, blob: Vec<u8>) -> Result<(), Error> {
        if key == self.last.0 && self.last.1.is_empty() {
            self.last.1 = blob;
            return Ok(());
        }
        if key <= self.last.0 {
            return Err(Error::Damaged { attempt: WRITE });
        }
        self.frame_last(key);
        self.last = (key, blob);
        if self.waiting_bytes >= limits::SEGMENT_WRITE_CACHE_BYTES / 4 {
            self.flush(Durability::None)?;
        }
        Ok(())
    }

    fn frame_last(&mut self, next: BlobKey) {
        let (key, mut blob) = std::mem::replace(&mut self.last, (BlobKey::END, Vec::new()));
        let key = key.to_bytes();
        blob.extend_from_slice(&next.to_bytes());
        let checksum = checksum(self.id, &key, &blob);
        blob.extend_from_slice(&checksum);
        self.waiting_bytes += blob.len();
        self.waiting.push((key, blob));
    }

    /// Completes the file and makes it outlast a power loss.
    pub(super) fn finish(mut self, entries: u64) -> Result<SegmentFile, Error> {
        self.frame_last(BlobKey::END);
        self.flush(Durability::Immediate)?;
        let Self {
            store,
            spec,
            id,
            mut database,
            ..
        } = self;
        guarded(WRITE, || {
            database.compact().map_err(self::store(WRITE))?;
            drop(database);
            let bytes = store.seal(id)?;
            Ok(SegmentFile {
                id,
                spec,
                bytes,
                entries,
            })
        })
    }

    /// What fills no more than a part of the cache is written to the disk once.
    fn flush(&mut self, durability: Durability) -> Result<(), Error> {
        let (database, waiting) = (&self.database, &self.waiting);
        guarded(WRITE, || {
            let mut transaction = database.begin_write().map_err(store(WRITE))?;
            transaction
                .set_durability(durability)
                .map_err(store(WRITE))?;
            {
                let mut table = transaction.open_table(BLOBS).map_err(store(WRITE))?;
                let end = Bound::<&[u8; KEY_BYTES]>::Unbounded;
                let mut cursor = table.upper_bound_mut(end).map_err(store(WRITE))?;
                for (key, blob) in waiting {
                    cursor
                        .insert_before(key, blob.as_slice())
                        .map_err(|_order_or_disk| Error::Damaged { attempt: WRITE })?;
                }
                cursor.close().map_err(store(WRITE))?;
            }
            transaction.commit().map_err(store(WRITE))
        })?;
        for (_, mut blob) in self.waiting.drain(..) {
            blob.clear();
            self.spare.push(blob);
        }
        self.waiting_bytes = 0;
        Ok(())
    }
}

/// A finished segment, open for reading.
pub(in crate::index) struct Segment {
    pub(in crate::index) file: SegmentFile,
    blobs: ReadOnlyTable<&'static [u8; KEY_BYTES], &'static [u8]>,
    _database: Opened,
    _share: CacheShare,
}

impl Segment {
    /// Opens a segment that the manifest names; refuses one of another length.
    pub(in crate::index) fn open(
        store: &dyn Store,
        file: SegmentFile,
        share: CacheShare,
    ) -> Result<Self, Error> {
        let attempt = "open a segment of the index";
        guarded(attempt, || {
            if store.length(file.id)? != Some(file.bytes) {
                return Err(Error::Damaged { attempt });
            }
            let database = store.open(file.id, share.bytes())?;
            let transaction = database.begin_read().map_err(self::store(attempt))?;
            let blobs = transaction
                .open_table(BLOBS)
                .map_err(self::store(attempt))?;
            Ok(Self {
                file,
                blobs,
                _database: database,
                _share: share,
            })
        })
    }

    /// Reads every blob, until `goes_on` wants no more.
    pub(in crate::index) fn verify(&self, mut goes_on: impl FnMut() -> bool) -> Result<(), Error> {
        let first = guarded(READ, || {
            let first = self.blobs.first().map_err(store(READ))?.ok_or(DAMAGED)?;
            Ok(BlobKey::from_bytes(*first.0.value()))
        })?;
        let mut walk = self.walk(first..=BlobKey::END)?;
        while goes_on() && walk.next(|_, _| Ok(()))?.is_some() {}
        Ok(())
    }

    /// Reads the blob that holds a key, which is the last one at or before it.
    pub(super) fn at<T>(
        &self,
        key: BlobKey,
        read: impl FnOnce(BlobKey, &[u8]) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.framed(key, |found, blob, next| {
            if key < next {
                read(found, blob)
            } else {
                Err(DAMAGED)
            }
        })
    }

    /// Reads what a segment made by [`BlobWriter::numbered`] has of ascending numbers, each blob once. `read` gets the
    /// numbers that are left, and says how many of them its blob has.
    pub(super) fn of_numbers(
        &self,
        numbers: &[TxNum],
        mut read: impl FnMut(BlobKey, &[u8], &[TxNum]) -> Result<usize, Error>,
    ) -> Result<(), Error> {
        let mut rest = numbers;
        while let Some(wanted) = rest.first() {
            let key = BlobKey::of(u64::from(wanted.0));
            rest = match self.at(key, |key, blob| read(key, blob, rest))? {
                0 => return Err(DAMAGED),
                taken => rest.get(taken..).unwrap_or_default(),
            };
        }
        Ok(())
    }

    /// A walk over the blobs of a range of keys.
    pub(super) fn walk(&self, keys: RangeInclusive<BlobKey>) -> Result<Walk<'_>, Error> {
        let (start, end) = keys.into_inner();
        let expected = self.framed(start, |key, _, next| {
            Ok(if key == start { key } else { next })
        })?;
        guarded(READ, || {
            let (first, last) = (start.to_bytes(), end.to_bytes());
            let range = self.blobs.range::<&[u8; KEY_BYTES]>(&first..=&last);
            Ok(Walk {
                segment: self,
                range: range.map_err(store(READ))?,
                expected,
                end,
            })
        })
    }

    fn framed<T>(
        &self,
        key: BlobKey,
        read: impl FnOnce(BlobKey, &[u8], BlobKey) -> Result<T, Error>,
    ) -> Result<T, Error> {
        guarded(READ, || {
            let mut range = self
                .blobs
                .range::<&[u8; KEY_BYTES]>(..=&key.to_bytes())
                .map_err(store(READ))?;
            let found = range.next_back().ok_or(DAMAGED)?;
            let (key, stored) = found.map_err(store(READ))?;
            let (blob, next) = self.verified(key.value(), stored.value())?;
            read(BlobKey::from_bytes(*key.value()), blob, next)
        })
    }

    fn verified<'b>(
        &self,
        key: &[u8; KEY_BYTES],
        stored: &'b [u8],
    ) -> Result<(&'b [u8], BlobKey), Error> {
        let (framed, sum) = stored.split_last_chunk::<CHECKSUM_BYTES>().ok_or(DAMAGED)?;
        let (blob, next) = framed.split_last_chunk::<KEY_BYTES>().ok_or(DAMAGED)?;
        if checksum(self.file.id, key, framed) == *sum {
            Ok((blob, BlobKey::from_bytes(*next)))
        } else {
            Err(DAMAGED)
        }
    }
}

/// Blobs one after the other, none left out.
pub(super) struct Walk<'a> {
    segment: &'a Segment,
    range: Range<'static, &'static [u8; KEY_BYTES], &'static [u8]>,
    /// The key of the next blob.
    expected: BlobKey,
    end: BlobKey,
}

impl Walk<'_> {
    /// Reads the next blob; `None` after the last.
    pub(super) fn next<T>(
        &mut self,
        read: impl FnOnce(BlobKey, &[u8]) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        guarded(READ, || {
            let Some(next) = self.range.next() else {
                let is_complete = self.expected > self.end || self.expected == BlobKey::END;
                return if is_complete { Ok(None) } else { Err(DAMAGED) };
            };
            let (key, stored) = next.map_err(store(READ))?;
            let (blob, next) = self.segment.verified(key.value(), stored.value())?;
            let key = BlobKey::from_bytes(*key.value());
            if key != self.expected {
                return Err(DAMAGED);
            }
            self.expected = next;
            read(key, blob).map(Some)
        })
    }
}
