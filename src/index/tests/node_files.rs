//! The node's files as tests have them: in each a few blocks with something between them.

use std::collections::HashMap;
use std::io;

use bitcoin::consensus::encode;
use bitcoin::{Block, BlockHash};

use crate::chain::BlockPlace;
use crate::index::{BlockFiles, OpenBlockFile};

#[derive(Clone, Default)]
pub(super) struct Files {
    pub(super) bytes: Vec<Vec<u8>>,
    places: HashMap<BlockHash, BlockPlace>,
}

impl Files {
    /// Puts a block into the last file, or into a new one, unless it is there; returns where it is.
    pub(super) fn add(&mut self, block: &Block, new_file: bool) -> BlockPlace {
        if let Some(place) = self.places.get(&block.block_hash()) {
            return *place;
        }
        if new_file || self.bytes.is_empty() {
            self.bytes.push(Vec::new());
        }
        let file = u32::try_from(self.bytes.len() - 1).unwrap();
        let bytes = self.bytes.last_mut().unwrap();
        bytes.extend([0; 8]);
        let offset = u32::try_from(bytes.len()).unwrap();
        bytes.extend(encode::serialize(block));
        let place = BlockPlace {
            file,
            offset,
            length: u32::try_from(bytes.len()).unwrap() - offset,
        };
        self.places.insert(block.block_hash(), place);
        place
    }
}

impl BlockFiles for Files {
    fn open(&self, file: u32) -> io::Result<Box<dyn OpenBlockFile>> {
        let file = self.bytes.get(usize::try_from(file).unwrap());
        Ok(Box::new(OneFile(
            file.ok_or(io::ErrorKind::NotFound)?.clone(),
        )))
    }

    fn places(&self, blocks: &[BlockHash], files_max: u32) -> Vec<Option<BlockPlace>> {
        let count = u32::try_from(self.bytes.len()).unwrap();
        let lowest = count.saturating_sub(files_max);
        let places = blocks.iter().map(|hash| self.places.get(hash).copied());
        places
            .map(|place| place.filter(|place| place.file >= lowest))
            .collect()
    }
}

struct OneFile(Vec<u8>);

impl OpenBlockFile for OneFile {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap();
        let there = self.0.get(from..from + bytes.len());
        bytes.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}
