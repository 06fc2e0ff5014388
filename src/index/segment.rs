//! Segments: files that hold a part of the index for a range of heights, written once and never changed.
//!
//! A segment is a redb file with one table of blobs of about eight kilobytes, in the order of their keys. What a blob
//! holds depends on the kind: scripts with what they did, fingerprints of txids, places of transactions in the node's
//! block files, or txids. A segment counts only once the manifest in `main.redb` names it.

mod blobs;
pub(super) mod cache;
pub(super) mod fingerprints;
mod heavy;
mod packed;
pub(super) mod places;
pub(super) mod scripts;
pub(super) mod store;
#[cfg(test)]
pub(super) mod tests;
pub(super) mod txids;

use std::fmt;
use std::ops::RangeInclusive;

use super::error::Error;
use crate::chain::Height;

pub(super) use blobs::Segment;

/// What the blobs of a segment hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Scripts by prefix; see `scripts`.
    Scripts,
    /// Transaction numbers by fingerprint; see `fingerprints`.
    Fingerprints,
    /// Places in block files by transaction number; see `places`.
    Places,
    /// Txids by transaction number; see `txids`.
    Txids,
}

/// Name of a file; drawn at random, so that what a crash leaves behind never meets a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SegmentId(pub(super) u64);

/// The part of the key space that a segment holds: the keys whose first `bits` bits are `index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shard {
    pub(super) bits: u8,
    pub(super) index: u8,
}

/// What a segment is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) kind: Kind,
    pub(super) heights: RangeInclusive<Height>,
    pub(super) shard: Shard,
}

/// A finished segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentFile {
    pub(super) id: SegmentId,
    pub(super) spec: Spec,
    /// Length of the file.
    pub(super) bytes: u64,
    /// Scripts, or transactions.
    pub(super) entries: u64,
}

impl Kind {
    /// The byte that stands for it in the manifest.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Scripts => 1,
            Self::Fingerprints => 2,
            Self::Places => 3,
            Self::Txids => 4,
        }
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        let all = [Self::Scripts, Self::Fingerprints, Self::Places, Self::Txids];
        all.into_iter().find(|kind| kind.code() == code)
    }
}

impl SegmentId {
    pub(super) fn random() -> Result<Self, Error> {
        getrandom::u64().map(Self).map_err(|error| Error::Io {
            attempt: "draw the name of a segment of the index",
            source: std::io::Error::other(error),
        })
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Shard {
    /// All keys.
    pub(super) const WHOLE: Self = Self { bits: 0, index: 0 };

    /// The shards of `2^bits`.
    pub(super) fn all(bits: u8) -> impl Iterator<Item = Self> {
        let last = u8::MAX.checked_shr(8_u32.saturating_sub(u32::from(bits)));
        (0..=last.unwrap_or(0)).map(move |index| Self { bits, index })
    }

    /// First and last key.
    pub(super) fn keys(&self) -> RangeInclusive<u64> {
        let rest = u64::BITS.saturating_sub(u32::from(self.bits));
        let first = u64::from(self.index).checked_shl(rest).unwrap_or(0);
        first..=first | u64::MAX.checked_shr(u32::from(self.bits)).unwrap_or(0)
    }
}
