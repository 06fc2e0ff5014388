//! Where one output stands: who makes it, and who spends it.

use std::cell::Cell;

use bitcoin::{BlockHash, OutPoint, Transaction, Txid};

use super::history::ByNode;
use super::{Answer, Error, NodeReader, OutpointStatus, View};
use crate::chain::{EntryHeight, HistoryEntry};
use crate::index::TransactionReader;
use crate::redact::ClientOutpoint;

pub(super) fn status(
    view: &View,
    node: &dyn NodeReader,
    outpoint: &ClientOutpoint,
) -> Result<Answer, Error> {
    let outpoint = outpoint.expose();
    let funder = match view.mempool.funder(outpoint) {
        Some(unconfirmed) => Some(unconfirmed),
        None => confirmed_funder(view, node, outpoint)?,
    };
    let spender = match (funder, view.mempool.spender(outpoint)) {
        (None, _) => None,
        (Some(_), Some(unconfirmed)) => Some(unconfirmed),
        (Some(EntryHeight::Confirmed(_)), None) => {
            let found = view.snapshot.spender(outpoint, &ByNode(node));
            found.map_err(Error::Index)?.map(HistoryEntry::from)
        }
        (Some(EntryHeight::Unconfirmed | EntryHeight::UnconfirmedParents), None) => None,
    };
    Ok(Answer::Outpoint(OutpointStatus { funder, spender }))
}

fn confirmed_funder(
    view: &View,
    node: &dyn NodeReader,
    outpoint: &OutPoint,
) -> Result<Option<EntryHeight>, Error> {
    let position = view.snapshot.position(&outpoint.txid);
    let Some(position) = position.map_err(Error::Index)? else {
        return Ok(None);
    };
    let reader = Complete {
        reader: ByNode(node),
        missed: Cell::new(false),
    };
    let found = view.snapshot.outputs(&[*outpoint], &reader);
    let found = found.map_err(Error::Index)?.pop().flatten();
    // An output that could not be looked for must not be told as one that does not exist.
    if reader.missed.get() {
        return Err(Error::Node);
    }
    Ok(found.map(|_output| EntryHeight::Confirmed(position.height)))
}

/// Notes whether a transaction was not given.
struct Complete<'a> {
    reader: ByNode<'a>,
    missed: Cell<bool>,
}

impl TransactionReader for Complete<'_> {
    fn transactions(&self, wanted: &[(Txid, BlockHash)]) -> Vec<Option<Transaction>> {
        let found = self.reader.transactions(wanted);
        if found.iter().any(Option::is_none) {
            self.missed.set(true);
        }
        found
    }
}
