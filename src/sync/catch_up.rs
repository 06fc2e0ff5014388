//! The newest blocks from the node's block files.

use std::collections::HashMap;

use bitcoin::BlockHash;

use crate::chain::PackedBlock;
use crate::limits;
use crate::node::{BlockBuffer, BlockFile, BlockFiles, FilesError, FoundBlock};

/// Blocks by hash, found from the last file down.
pub(super) struct NewestBlocks {
    files: BlockFiles,
    found: HashMap<BlockHash, FoundBlock>,
    /// The lowest file looked through, and so all above it.
    lowest: Option<u32>,
    /// The file read last; blocks that follow each other tend to lie in one.
    open: Option<(u32, BlockFile)>,
}

impl NewestBlocks {
    pub(super) fn new(files: BlockFiles) -> Self {
        Self {
            files,
            found: HashMap::new(),
            lowest: None,
            open: None,
        }
    }

    /// As many of these blocks as [`limits::COMMIT_TRANSACTIONS_MAX`] and [`limits::COMMIT_BYTES_MAX`] allow, at least one;
    /// `None` when the next one is not in the newest files.
    pub(super) fn blocks(
        &mut self,
        hashes: &[BlockHash],
    ) -> Result<Option<Vec<PackedBlock>>, FilesError> {
        let mut blocks = Vec::new();
        let mut transactions = 0_u64;
        let mut bytes = 0_usize;
        for hash in hashes {
            if bytes >= limits::COMMIT_BYTES_MAX {
                break;
            }
            let Some(found) = self.find(hash)? else {
                break;
            };
            transactions = transactions.saturating_add(found.transactions);
            if transactions > u64::from(limits::COMMIT_TRANSACTIONS_MAX) && !blocks.is_empty() {
                break;
            }
            let block = self.read(&found)?;
            bytes = bytes.saturating_add(block.bytes.len());
            blocks.push(block);
        }
        Ok((!blocks.is_empty()).then_some(blocks))
    }

    fn find(&mut self, hash: &BlockHash) -> Result<Option<FoundBlock>, FilesError> {
        while !self.found.contains_key(hash) {
            let last = self.files.last()?;
            let number = match self.lowest {
                None => Some(last),
                Some(lowest) if last.saturating_sub(lowest) >= limits::NEWEST_FILES_MAX => None,
                Some(lowest) => lowest.checked_sub(1),
            };
            let Some(number) = number else {
                return Ok(None);
            };
            let mut file = self.files.file(number)?;
            while let Some(found) = file.next_block()? {
                self.found.insert(found.hash, found);
            }
            self.lowest = Some(number);
        }
        Ok(self.found.get(hash).copied())
    }

    /// To be said when the index found that a block is not what the node once wrote.
    pub(super) fn unfit(&self) -> FilesError {
        self.files.incomplete()
    }

    fn read(&mut self, found: &FoundBlock) -> Result<PackedBlock, FilesError> {
        let number = found.place.file;
        let file = match &mut self.open {
            Some((open, file)) if *open == number => file,
            open => &mut open.insert((number, self.files.file(number)?)).1,
        };
        let mut buffer = BlockBuffer::default();
        file.read(found, &mut buffer)?;
        Ok(buffer.take())
    }
}
