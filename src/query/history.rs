//! History, status, balance and unspent outputs of one script, confirmed and unconfirmed together.

use bitcoin::consensus::encode;
use bitcoin::{BlockHash, Transaction, Txid};

use super::{Answer, Error, HistoryRow, NodeReader, UnspentRow, View};
use crate::chain::{EntryHeight, HistoryEntry, ScriptHash, StatusHash};
use crate::index::{Effort, KnownTxids, ScriptPrefix, TransactionReader};

pub(super) fn history(
    view: &View,
    effort: Effort,
    known: Option<&KnownTxids>,
    script_hash: &ScriptHash,
) -> Result<Answer, Error> {
    rows(view, effort, known, script_hash).map(Answer::History)
}

pub(super) fn status(
    view: &View,
    effort: Effort,
    known: Option<&KnownTxids>,
    script_hash: &ScriptHash,
) -> Result<Answer, Error> {
    let rows = rows(view, effort, known, script_hash)?;
    let entries = rows.into_iter().map(|row| HistoryEntry {
        txid: row.txid,
        height: row.height,
    });
    Ok(Answer::Status(StatusHash::of(entries)))
}

fn rows(
    view: &View,
    effort: Effort,
    known: Option<&KnownTxids>,
    script_hash: &ScriptHash,
) -> Result<Vec<HistoryRow>, Error> {
    let prefix = view.snapshot.prefix(script_hash);
    let confirmed = view
        .snapshot
        .history(prefix, effort, known)
        .map_err(Error::Index)?
        .into_iter()
        .map(|entry| HistoryRow {
            txid: entry.txid,
            height: EntryHeight::Confirmed(entry.height),
            fee: None,
        });
    let unconfirmed = unconfirmed_rows(view, prefix);
    Ok(confirmed.chain(unconfirmed).collect())
}

pub(super) fn unconfirmed(view: &View, script_hash: &ScriptHash) -> Answer {
    let prefix = view.snapshot.prefix(script_hash);
    Answer::History(unconfirmed_rows(view, prefix).collect())
}

pub(super) fn unconfirmed_rows(
    view: &View,
    prefix: ScriptPrefix,
) -> impl Iterator<Item = HistoryRow> {
    let entries = view.mempool.history(prefix).into_iter();
    entries.map(|entry| HistoryRow {
        txid: entry.txid,
        height: entry.height,
        fee: Some(entry.fee.to_sat()),
    })
}

pub(super) fn balance(
    view: &View,
    effort: Effort,
    node: &dyn NodeReader,
    script_hash: &ScriptHash,
) -> Result<Answer, Error> {
    let prefix = view.snapshot.prefix(script_hash);
    let confirmed = view
        .snapshot
        .balance(prefix, effort, &ByNode(node))
        .map_err(Error::Index)?;
    Ok(Answer::Balance {
        confirmed: confirmed.to_sat(),
        unconfirmed: view.mempool.balance(prefix),
    })
}

pub(super) fn unspent(
    view: &View,
    effort: Effort,
    known: Option<&KnownTxids>,
    node: &dyn NodeReader,
    script_hash: &ScriptHash,
) -> Result<Answer, Error> {
    let prefix = view.snapshot.prefix(script_hash);
    let confirmed = view
        .snapshot
        .unspent(prefix, effort, known, &ByNode(node))
        .map_err(Error::Index)?;
    let confirmed = confirmed
        .into_iter()
        .filter(|output| !view.mempool.spends(&output.outpoint))
        .map(|output| UnspentRow {
            txid: output.outpoint.txid,
            vout: output.outpoint.vout,
            height: Some(output.height),
            value: output.amount.to_sat(),
        });
    let unconfirmed = view
        .mempool
        .unspent(prefix)
        .into_iter()
        .map(|output| UnspentRow {
            txid: output.outpoint.txid,
            vout: output.outpoint.vout,
            height: None,
            value: output.amount.to_sat(),
        });
    Ok(Answer::Unspent(confirmed.chain(unconfirmed).collect()))
}

/// Reads whole transactions from the node, for the rare case in which the index needs one.
pub(super) struct ByNode<'a>(pub(super) &'a dyn NodeReader);

impl TransactionReader for ByNode<'_> {
    fn transactions(&self, wanted: &[(Txid, BlockHash)]) -> Vec<Option<Transaction>> {
        let read = |(txid, block): &(Txid, BlockHash)| {
            let bytes = self.0.raw_transaction(txid, Some(block)).ok()??;
            encode::deserialize(&bytes).ok()
        };
        wanted.iter().map(read).collect()
    }
}
