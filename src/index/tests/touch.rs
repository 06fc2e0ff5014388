//! What a block does to scripts, told the plain way from the decoded block: what the parser is compared with.

use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, BlockHash, OutPoint, Transaction, Txid};

use crate::chain::{ConnectedBlock, Height, ScriptHash, SpentOutput};
use crate::index::canonical::{self, CanonicalRows};
use crate::index::commitment::Commitment;
use crate::index::error::BlockFault;
use crate::index::event::EventKind;

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
        if !output.script_pubkey.is_op_return() {
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
        if !spent.script.is_op_return() {
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

/// The commitment that these touches lead to.
pub(super) fn followed_by(below: Commitment, hash: &BlockHash, touches: &[Touch]) -> Commitment {
    let canonical = touches.iter().map(|touch| canonical::Touch {
        script_hash: *touch.script_hash.as_bytes(),
        transaction: touch.transaction,
        kind: match touch.event {
            Event::Funding => EventKind::Funding(touch.amount),
            Event::Spending { height } => EventKind::Spending(Some(height)),
        },
        txid: touch.outpoint.txid.to_byte_array(),
        vout: touch.outpoint.vout,
        amount: touch.amount,
    });
    let canonical: Vec<_> = canonical.collect();
    below.followed_by_hash(hash, &CanonicalRows::default().hash(&canonical))
}
