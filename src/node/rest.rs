//! Blocks over the node's REST interface: as it stores them, so that it has nothing to convert, and without a password.

use bitcoin::{Amount, BlockHash};

use super::permits::Permits;
use super::rpc::Call;
use super::transport::{self, Failure};
use super::{Error, Node, NodeSettings};
use crate::chain::reader::Reader;
use crate::chain::{RawBlock, SpentList};
use crate::limits;

const BLOCK: Call = Call("/rest/block");
const SPENT: Call = Call("/rest/spenttxouts");
/// More inputs and transactions than a block has room for, each of which takes 41 bytes at least.
const INPUTS_MAX: usize = 100_000;

/// Why a block did not come by REST.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// The node does not serve what we ask for.
    #[error(
        "ask the node for blocks by REST: it does not serve {call}; start Bitcoin Core 30 or later with -rest=1"
    )]
    NotServed {
        /// What we asked for.
        call: Call,
    },
    /// What it serves is something else.
    #[error("ask the node for blocks by REST: the answer to {call} cannot be used")]
    Unfit {
        /// What we asked for.
        call: Call,
    },
    /// It does not answer at all.
    #[error(transparent)]
    Node(Error),
}

/// Memory for one block and what it spends, for use again and again.
#[derive(Default)]
pub struct RestBuffer {
    block: Vec<u8>,
    answer: Vec<u8>,
    spent: SpentList,
}

impl RestError {
    /// To be said when a block turned out to be another one, or not to fit what it spends.
    pub fn unfit() -> Self {
        Self::Unfit { call: BLOCK }
    }
}

impl RestBuffer {
    /// As if it had been asked for.
    #[cfg(test)]
    pub(crate) fn fill(&mut self, block: Vec<u8>, spent: SpentList) {
        (self.block, self.spent) = (block, spent);
    }

    /// What was asked for last. Where the outputs that it spends were created is not told.
    pub fn block(&self) -> RawBlock<'_> {
        RawBlock {
            bytes: &self.block,
            spent: &self.spent,
        }
    }
}

/// The way to the REST interface, with connections and a bound of its own.
pub(super) struct Rest {
    settings: NodeSettings,
    agent: ureq::Agent,
    permits: Permits,
}

impl Rest {
    pub(super) fn new(settings: &NodeSettings) -> Self {
        let calls_max = limits::NODE_BULK_CALLS_MAX;
        let deadline = limits::NODE_BLOCKS_CALL_MAX;
        Self {
            settings: settings.clone(),
            agent: transport::agent(settings.address, deadline, calls_max),
            permits: Permits::new(calls_max),
        }
    }

    /// Ends what is under way and all that would still begin.
    pub(super) fn close(&self) {
        self.agent.clone().shutdown();
    }

    fn fetch(
        &self,
        call: Call,
        hash: &BlockHash,
        bytes_max: u64,
        body: &mut Vec<u8>,
    ) -> Result<(), RestError> {
        let address = self.settings.address;
        let url = format!("http://{address}{call}/{hash}.bin");
        match transport::fetch(&self.agent, &url, bytes_max, body) {
            Ok(()) => Ok(()),
            Err(Failure::Status(404)) => Err(RestError::NotServed { call }),
            Err(Failure::Status(_) | Failure::Garbled | Failure::TooLarge) => {
                Err(RestError::Unfit { call })
            }
            Err(failure) => {
                let credentials = self.settings.auth.path().to_owned();
                let error = Error::of_failure(failure, call, address, credentials);
                Err(RestError::Node(error))
            }
        }
    }
}

impl Node {
    /// Asks for a block and what it spends. That it is the one asked for, and that the two fit, is for the index to see.
    pub fn rest_block(&self, hash: &BlockHash, buffer: &mut RestBuffer) -> Result<(), RestError> {
        let call = BLOCK;
        let crowded = RestError::Node(Error::Crowded { call });
        let permit = self.rest.permits.acquire(limits::NODE_TURN_MAX);
        let _permit = permit.ok_or(crowded)?;
        let (block_max, spent_max) = (*limits::BLOCK_BYTES.end(), *limits::UNDO_BYTES.end());
        let RestBuffer {
            block,
            answer,
            spent,
        } = buffer;
        self.rest.fetch(SPENT, hash, spent_max, answer)?;
        decode_spent(answer, spent).ok_or(RestError::Unfit { call: SPENT })?;
        // One block in a million spends so much that its memory is not to be kept.
        answer.clear();
        answer.shrink_to(limits::REST_BUFFER_BYTES);
        self.rest.fetch(BLOCK, hash, block_max, block)
    }
}

/// Reads the answer about what a block spends into `spent`; `None` when it is something else.
///
/// A list for each transaction, that of the coinbase empty; in it, as in a transaction, amount and script of each output.
pub fn decode_spent(bytes: &[u8], spent: &mut SpentList) -> Option<()> {
    spent.clear();
    let mut reader = Reader::new(bytes);
    let mut room = INPUTS_MAX;
    for index in 0..reader.compact_size()? {
        let inputs = usize::try_from(reader.compact_size()?).ok()?;
        room = room.checked_sub(inputs.checked_add(1)?)?;
        if index == 0 {
            if inputs > 0 {
                return None;
            }
            continue;
        }
        spent.begin_transaction(inputs);
        for _ in 0..inputs {
            let amount = Amount::from_sat(u64::from_le_bytes(reader.array()?));
            let length = usize::try_from(reader.compact_size()?).ok()?;
            spent.push_without_height(amount, reader.take(length)?);
        }
    }
    reader.is_empty().then_some(())
}
