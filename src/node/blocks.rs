//! Whole blocks together with the outputs they spend.

use bitcoin::{Block, BlockHash};
use serde_json::json;

use super::answers::{
    BlockSummary, PreviousOutput, SpendingBlock, SpendingTransaction, WholeBlock,
};
use super::rpc::Method;
use super::{Error, Node};
use crate::chain::{ConnectedBlock, Height, SpentOutput};
use crate::limits;

impl Node {
    /// How many transactions each of these blocks has; `None` for a block that the node does not have.
    pub fn transaction_counts(&self, hashes: &[BlockHash]) -> Result<Vec<Option<u32>>, Error> {
        let mut counts = Vec::with_capacity(hashes.len());
        for part in hashes.chunks(limits::NODE_BATCH_ITEMS_MAX) {
            for summary in self.summaries(part)? {
                let count = summary.map(|summary| {
                    let call = Method::GetBlockHeader.into();
                    summary.transactions.ok_or(Error::Garbled { call })
                });
                counts.push(count.transpose()?);
            }
        }
        Ok(counts)
    }

    fn summaries(&self, hashes: &[BlockHash]) -> Result<Vec<Option<BlockSummary>>, Error> {
        let arguments: Vec<_> = hashes.iter().map(|hash| vec![json!(hash)]).collect();
        self.follow.batch(Method::GetBlockHeader, &arguments)
    }

    /// The first of these blocks, at least one, and as many as [`limits::COMMIT_TRANSACTIONS_MAX`] and
    /// [`limits::COMMIT_BYTES_MAX`] allow. An empty list when the node no longer has them all. That a block has the hash asked for is checked here; the index checks
    /// the rest.
    pub fn blocks(&self, hashes: &[BlockHash]) -> Result<Vec<ConnectedBlock>, Error> {
        let summaries = self.summaries(hashes)?;
        let Some(summaries) = summaries.into_iter().collect::<Option<Vec<_>>>() else {
            return Ok(Vec::new());
        };
        let sizes: Vec<u32> = summaries
            .iter()
            .map(|summary| {
                let unknown = limits::BLOCK_BATCH_TRANSACTIONS_MAX;
                summary.transactions.unwrap_or(unknown)
            })
            .collect();
        let mut rest = fitting(hashes, &sizes, limits::COMMIT_TRANSACTIONS_MAX).0;
        let mut sizes = sizes.as_slice();
        let mut blocks = Vec::with_capacity(rest.len());
        // The node does not tell how many bytes a block has, and a few transactions may be as large as many.
        let mut together = limits::BLOCK_BATCH_TRANSACTIONS_MAX;
        let mut bytes = 0_usize;
        while !rest.is_empty() && bytes < limits::COMMIT_BYTES_MAX {
            let (part, beyond) = fitting(rest, sizes, together);
            let connected = match self.connected_blocks(part) {
                Err(Error::TooLarge { .. }) if part.len() > 1 => {
                    together = 0;
                    continue;
                }
                outcome => outcome?,
            };
            let Some(connected) = connected else {
                return Ok(Vec::new());
            };
            sizes = sizes.get(part.len()..).unwrap_or_default();
            rest = beyond;
            bytes = connected
                .iter()
                .map(memory_of)
                .fold(bytes, usize::saturating_add);
            blocks.extend(connected);
        }
        Ok(blocks)
    }

    /// These blocks; `None` when the node does not have them all.
    fn connected_blocks(&self, hashes: &[BlockHash]) -> Result<Option<Vec<ConnectedBlock>>, Error> {
        let call = Method::GetBlock;
        let arguments = |hashes: &[BlockHash], verbosity: u8| -> Vec<_> {
            hashes
                .iter()
                .map(|hash| vec![json!(hash), json!(verbosity)])
                .collect()
        };
        let asked = arguments(hashes, 0);
        let answers: Vec<Option<WholeBlock>> =
            self.follow
                .batch_within(call, &asked, limits::BLOCKS_ANSWER_BYTES_MAX)?;
        let blocks: Option<Vec<_>> = answers.into_iter().map(|answer| Some(answer?.0)).collect();
        let Some(blocks) = blocks else {
            return Ok(None);
        };
        let mut both = hashes.iter().zip(&blocks);
        if !both.all(|(hash, block)| block.block_hash() == *hash) {
            return Err(Error::Garbled { call: call.into() });
        }
        // A block with a coinbase alone spends nothing, the genesis block among them.
        let spending: Vec<_> = hashes
            .iter()
            .zip(&blocks)
            .filter(|(_hash, block)| block.txdata.len() > 1)
            .map(|(hash, _block)| *hash)
            .collect();
        let bytes_max = match hashes {
            [_one] => limits::BLOCK_ANSWER_BYTES_MAX,
            _ => limits::NODE_ANSWER_BYTES_MAX,
        };
        let asked = arguments(&spending, 3);
        let answers: Vec<Option<SpendingBlock>> =
            self.follow.batch_within(call, &asked, bytes_max)?;
        let Some(answers) = answers.into_iter().collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let mut answers = answers.into_iter();
        let connected: Option<Vec<_>> = blocks
            .into_iter()
            .map(|block| {
                if block.txdata.len() > 1 {
                    connect(block, answers.next()?)
                } else {
                    let spent = Vec::new();
                    Some(ConnectedBlock { block, spent })
                }
            })
            .collect();
        connected
            .map(Some)
            .ok_or(Error::Garbled { call: call.into() })
    }
}

/// The hashes whose sizes together stay within `size_max`, at least one of them, and the rest.
fn fitting<'a>(
    hashes: &'a [BlockHash],
    sizes: &[u32],
    size_max: u32,
) -> (&'a [BlockHash], &'a [BlockHash]) {
    let mut sum = 0_u32;
    let count = sizes
        .iter()
        .take_while(|size| {
            sum = sum.saturating_add(**size);
            sum <= size_max
        })
        .count();
    hashes
        .split_at_checked(count.max(1))
        .unwrap_or((hashes, &[]))
}

/// Bytes of a block and of the scripts that it spends.
fn memory_of(connected: &ConnectedBlock) -> usize {
    let spent = connected.spent.iter().flatten();
    let scripts: usize = spent.map(|output| output.script.len()).sum();
    connected.block.total_size().saturating_add(scripts)
}

/// Joins a block with what it spends; `None` when the two do not fit.
pub(super) fn connect(block: Block, spending: SpendingBlock) -> Option<ConnectedBlock> {
    if spending.transactions.len() != block.txdata.len() {
        return None;
    }
    let spent: Option<Vec<_>> = spending
        .transactions
        .into_iter()
        .zip(&block.txdata)
        .skip(1)
        .map(|(spending, transaction)| {
            (spending.inputs.len() == transaction.input.len())
                .then(|| spent(spending))
                .flatten()
        })
        .collect();
    spent.map(|spent| ConnectedBlock { block, spent })
}

fn spent(transaction: SpendingTransaction) -> Option<Vec<SpentOutput>> {
    let output = |previous: PreviousOutput| SpentOutput {
        script: previous.script.hex,
        amount: previous.amount.0,
        height: Height(previous.height),
    };
    transaction
        .inputs
        .into_iter()
        .map(|input| input.previous.map(output))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::Hash as _;

    #[test]
    fn a_batch_holds_at_least_one_block_and_no_more_than_fits() {
        let hashes: Vec<_> = (0..5)
            .map(|n| BlockHash::from_byte_array([n; 32]))
            .collect();
        let sizes = [3, 4, 9, 1, 1];
        let counts = |size_max| {
            let (part, rest) = fitting(&hashes, &sizes, size_max);
            (part.len(), rest.len())
        };
        assert_eq!(counts(0), (1, 4));
        assert_eq!(counts(7), (2, 3));
        assert_eq!(counts(8), (2, 3));
        assert_eq!(counts(100), (5, 0));
        assert_eq!(fitting(&[], &[], 1), (&[][..], &[][..]));
    }
}
