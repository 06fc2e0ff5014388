//! Where the newest blocks, those with delta rows, lie in the node's block files.
//!
//! Nothing of it is stored: it is found again whenever the index is opened.

use std::collections::HashMap;
use std::sync::Arc;

use bitcoin::BlockHash;

use super::BlockFiles;
use crate::chain::BlockPlace;

/// Places by hash. A copy shares them.
#[derive(Clone, Default)]
pub(super) struct NewestPlaces(Arc<HashMap<BlockHash, BlockPlace>>);

impl NewestPlaces {
    /// The places of these blocks: those known before, and those found in the newest files, so many at most.
    pub(super) fn of(
        &self,
        blocks: impl Iterator<Item = BlockHash>,
        files: Option<&dyn BlockFiles>,
        files_max: u32,
    ) -> Self {
        let mut places = HashMap::new();
        let mut missing = Vec::new();
        for hash in blocks {
            match self.0.get(&hash) {
                Some(place) => drop(places.insert(hash, *place)),
                None => missing.push(hash),
            }
        }
        if let Some(files) = files.filter(|_| !missing.is_empty()) {
            let found = files.places(&missing, files_max);
            let found = missing.into_iter().zip(found);
            places.extend(found.filter_map(|(hash, place)| Some((hash, place?))));
        }
        Self(Arc::new(places))
    }

    pub(super) fn get(&self, hash: &BlockHash) -> Option<BlockPlace> {
        self.0.get(hash).copied()
    }
}
