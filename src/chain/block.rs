//! A block together with the outputs that it spends, as the index takes it.

use bitcoin::{Amount, Block, ScriptBuf};

use super::Height;

/// A block of the best chain and, for every transaction but the coinbase, the outputs its inputs spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectedBlock {
    /// The block itself.
    pub block: Block,
    /// `spent[t][i]` is what input `i` of transaction `t + 1` spends.
    pub spent: Vec<Vec<SpentOutput>>,
}

/// An output at the moment it is spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpentOutput {
    /// Its script.
    pub script: ScriptBuf,
    /// Its amount.
    pub amount: Amount,
    /// Height of the block that created it.
    pub height: Height,
}
