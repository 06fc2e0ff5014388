//! A table that is cheap to copy, and cheap to change after a copy.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;

/// Number of parts: a change of a few dozen entries in a table of some hundred thousand copies about a thousandth of
/// it for each entry.
const SHARDS: u64 = 1024;
/// A part with more room than for so many times its entries gives some back.
const ROOM_MAX: usize = 4;
/// Below this room nothing is given back.
const ROOM_MIN: usize = 32;

/// An entry, which holds its key or leads to it, so that the table need not.
pub(super) trait Keyed {
    type Key: Eq + Hash;
    fn key(&self) -> Self::Key;
}

/// A hash table in parts. A copy copies no entry, and a change copies only the part it falls into.
#[derive(Clone)]
pub(super) struct Shards<T> {
    hasher: RandomState,
    shards: Vec<Arc<HashTable<T>>>,
    len: usize,
}

impl<T> Default for Shards<T> {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Arc::default()).collect(),
            len: 0,
        }
    }
}

impl<T: Clone + Keyed> Shards<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    pub(super) fn get(&self, key: &T::Key) -> Option<&T> {
        let hash = self.hasher.hash_one(key);
        let shard = self.shards.get(shard_of(hash))?;
        shard.find(hash, |entry| entry.key() == *key)
    }

    pub(super) fn get_mut(&mut self, key: &T::Key) -> Option<&mut T> {
        let hash = self.hasher.hash_one(key);
        let shard = self.shards.get_mut(shard_of(hash))?;
        Arc::make_mut(shard).find_mut(hash, |entry| entry.key() == *key)
    }

    /// Adds an entry; one with the same key gives way.
    pub(super) fn insert(&mut self, entry: T) {
        let key = entry.key();
        self.remove(&key);
        let hash = self.hasher.hash_one(&key);
        if let Some(shard) = self.shards.get_mut(shard_of(hash)) {
            let hasher = &self.hasher;
            let rehash = |entry: &T| hasher.hash_one(entry.key());
            Arc::make_mut(shard).insert_unique(hash, entry, rehash);
            self.len = self.len.saturating_add(1);
        }
    }

    pub(super) fn remove(&mut self, key: &T::Key) -> Option<T> {
        // What is not there must not cost a copy.
        self.get(key)?;
        let hash = self.hasher.hash_one(key);
        let shard = Arc::make_mut(self.shards.get_mut(shard_of(hash))?);
        let found = shard.find_entry(hash, |entry| entry.key() == *key);
        let (removed, _vacant) = found.ok()?.remove();
        self.len = self.len.saturating_sub(1);
        if shard.capacity() > ROOM_MIN && shard.capacity() / ROOM_MAX > shard.len() {
            let hasher = &self.hasher;
            shard.shrink_to(shard.len().saturating_mul(2), |entry| {
                hasher.hash_one(entry.key())
            });
        }
        Some(removed)
    }
}

/// From bits that a part's table does not look at, or it would be crowded.
fn shard_of(hash: u64) -> usize {
    usize::try_from((hash >> 32) % SHARDS).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Pair(u32, u32);

    impl Keyed for Pair {
        type Key = u32;
        fn key(&self) -> u32 {
            self.0
        }
    }

    fn numbers(to: u32) -> Shards<Pair> {
        let mut shards = Shards::default();
        for n in 0..to {
            shards.insert(Pair(n, n));
        }
        shards
    }

    #[test]
    fn a_copy_shares_all_parts_but_the_changed_ones() {
        let first = numbers(10_000);
        let mut second = first.clone();
        second.insert(Pair(1, 7));
        second.remove(&2);
        second.get_mut(&3).unwrap().1 += 1;
        second.insert(Pair(10_000, 5));
        assert_eq!(second.remove(&20_000), None);
        let shared = std::iter::zip(&first.shards, &second.shards);
        let changed = shared.filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
        assert!((1..=4).contains(&changed));
        let values = |shards: &Shards<Pair>| [1, 2, 3].map(|n| shards.get(&n).map(|pair| pair.1));
        assert_eq!(values(&first), [Some(1), Some(2), Some(3)]);
        assert_eq!(values(&second), [Some(7), None, Some(4)]);
        assert_eq!((first.len(), second.len()), (10_000, 10_000));
        assert_eq!(second.iter().count(), second.len());
    }

    #[test]
    fn what_leaves_gives_its_room_back() {
        let mut shards = numbers(100_000);
        let room = |shards: &Shards<Pair>| -> usize {
            shards.shards.iter().map(|shard| shard.capacity()).sum()
        };
        assert!(room(&shards) >= 100_000);
        for n in 0..100_000 {
            assert_eq!(shards.remove(&n), Some(Pair(n, n)));
        }
        assert_eq!((shards.len(), shards.iter().count()), (0, 0));
        assert!(room(&shards) <= 1024 * ROOM_MIN, "{}", room(&shards));
    }
}
