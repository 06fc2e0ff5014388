//! What a block does to scripts, from the block and the outputs it spends alone; pure.

use bitcoin::{Amount, OutPoint, Script, Transaction, Txid};

use super::error::BlockFault;
use crate::chain::{ConnectedBlock, Height, ScriptHash, SpentOutput};

/// One output of a script created or consumed, before any key is applied.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Touch {
    pub(super) script_hash: ScriptHash,
    /// Index in the block of the transaction that does it.
    pub(super) transaction: u32,
    pub(super) event: Event,
    /// The output created or consumed.
    pub(super) outpoint: OutPoint,
    pub(super) amount: Amount,
}

/// What happens to the output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Funding,
    Spending {
        /// Height of the block that created it.
        height: Height,
    },
}

/// The touches of a block in its order; those of the genesis coinbase, which nobody can spend, do not count.
pub(super) fn touches(
    height: Height,
    connected: &ConnectedBlock,
    txids: &[Txid],
) -> Result<Vec<Touch>, BlockFault> {
    let transactions = &connected.block.txdata;
    if connected.spent.len().checked_add(1) != Some(transactions.len()) {
        return Err(BlockFault::SpentOutputs);
    }
    let mut touches = Vec::new();
    if height == Height(0) {
        return Ok(touches);
    }
    // The coinbase spends nothing.
    let spent = std::iter::once(None).chain(connected.spent.iter().map(Some));
    for (((index, transaction), txid), spent) in (0..).zip(transactions).zip(txids).zip(spent) {
        add_fundings(&mut touches, index, transaction, *txid);
        if let Some(spent) = spent {
            add_spendings(&mut touches, height, index, transaction, spent)?;
        }
    }
    Ok(touches)
}

fn add_fundings(touches: &mut Vec<Touch>, index: u32, transaction: &Transaction, txid: Txid) {
    for (vout, output) in (0..).zip(&transaction.output) {
        if is_indexed(&output.script_pubkey) {
            touches.push(Touch {
                script_hash: ScriptHash::of(&output.script_pubkey),
                transaction: index,
                event: Event::Funding,
                outpoint: OutPoint { txid, vout },
                amount: output.value,
            });
        }
    }
}

fn add_spendings(
    touches: &mut Vec<Touch>,
    height: Height,
    index: u32,
    transaction: &Transaction,
    spent: &[SpentOutput],
) -> Result<(), BlockFault> {
    if spent.len() != transaction.input.len() {
        return Err(BlockFault::SpentOutputs);
    }
    for (input, spent) in transaction.input.iter().zip(spent) {
        if spent.height > height {
            return Err(BlockFault::SpentOutputs);
        }
        if is_indexed(&spent.script) {
            touches.push(Touch {
                script_hash: ScriptHash::of(&spent.script),
                transaction: index,
                event: Event::Spending {
                    height: spent.height,
                },
                outpoint: input.previous_output,
                amount: spent.amount,
            });
        }
    }
    Ok(())
}

/// Outputs that begin with OP_RETURN can never be spent, and nobody's balance holds them.
pub(super) fn is_indexed(script: &Script) -> bool {
    !script.is_op_return()
}
