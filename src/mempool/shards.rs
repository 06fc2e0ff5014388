//! A map whose copies share what they do not change.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Arc;

/// Number of parts: a change of a few dozen entries in a map of some hundred thousand copies about a thousandth of
/// it for each entry.
const SHARDS: u64 = 1024;

/// A hash map in parts. A clone copies no entry, and a change copies only the part it falls into.
#[derive(Clone)]
pub(super) struct Shards<K, V> {
    selector: RandomState,
    shards: Vec<Arc<HashMap<K, V>>>,
    len: usize,
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Self {
            selector: RandomState::new(),
            shards: (0..SHARDS).map(|_| Arc::default()).collect(),
            len: 0,
        }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Shards<K, V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.shards.get(self.shard_of(key))?.get(key)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.shards.iter().flat_map(|shard| shard.keys())
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if let Some(shard) = self.shard_mut(&key)
            && shard.insert(key, value).is_none()
        {
            self.len = self.len.saturating_add(1);
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let removed = self.shard_mut(key)?.remove(key);
        if removed.is_some() {
            self.len = self.len.saturating_sub(1);
        }
        removed
    }

    /// Changes the value of `key`, absent before or after as the case may be.
    pub(super) fn update(&mut self, key: K, change: impl FnOnce(Option<V>) -> Option<V>) {
        let value = self.remove(&key);
        if let Some(value) = change(value) {
            self.insert(key, value);
        }
    }

    fn shard_mut(&mut self, key: &K) -> Option<&mut HashMap<K, V>> {
        let shard = self.shard_of(key);
        self.shards.get_mut(shard).map(Arc::make_mut)
    }

    /// The parts hash with keys of their own, so that entries of one part do not crowd in its table.
    fn shard_of<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        let hash = self.selector.hash_one(key);
        usize::try_from(hash % SHARDS).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_shares_all_parts_but_the_changed_ones() {
        let mut first = Shards::default();
        for n in 0..10_000_u32 {
            first.insert(n, n);
        }
        let mut second = first.clone();
        second.insert(1, 7);
        second.remove(&2);
        second.update(3, |value| value.map(|n| n + 1));
        second.update(10_000, |absent| absent.or(Some(5)));
        let shared = std::iter::zip(&first.shards, &second.shards);
        let changed = shared.filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
        assert!((1..=4).contains(&changed));
        assert_eq!(
            [first.get(&1), first.get(&2), first.get(&3)],
            [Some(&1), Some(&2), Some(&3)]
        );
        assert_eq!(
            [second.get(&1), second.get(&2), second.get(&3)],
            [Some(&7), None, Some(&4)]
        );
        assert_eq!((first.len(), second.len()), (10_000, 10_000));
        assert_eq!(second.keys().count(), second.len());
    }
}
