//! Headers, proofs and whole transactions.

use bitcoin::block::Header;
use bitcoin::consensus::encode;

use super::{
    Answer, BlockOfTransaction, CatchUp, Error, HeaderProof, NodeReader, NodeSilent, View,
    WholeTransaction,
};
use crate::chain::{BlockPosition, Height};
use crate::limits;
use crate::redact::ClientTxid;

pub(super) fn tip(view: &View) -> Result<Answer, Error> {
    let tip = view.tip().ok_or(Error::CatchingUp(CatchUp::default()))?;
    let header = view
        .snapshot
        .header(tip.height)
        .map_err(Error::Index)?
        .ok_or(Error::HeightOutOfRange)?;
    Ok(Answer::Tip {
        height: tip.height,
        header,
    })
}

pub(super) fn header(
    view: &View,
    height: Height,
    checkpoint: Option<Height>,
) -> Result<Answer, Error> {
    let header = view
        .snapshot
        .header(height)
        .map_err(Error::Index)?
        .ok_or(Error::HeightOutOfRange)?;
    let proof = checkpoint
        .map(|checkpoint| header_proof(view, height, checkpoint))
        .transpose()?;
    Ok(Answer::Header { header, proof })
}

pub(super) fn headers(
    view: &View,
    start: Height,
    count: u32,
    checkpoint: Option<Height>,
) -> Result<Answer, Error> {
    let headers = view
        .snapshot
        .headers(start, count.min(limits::HEADERS_MAX))
        .map_err(Error::Index)?;
    let found = u32::try_from(headers.len() / 80).unwrap_or(limits::HEADERS_MAX);
    let last = found
        .checked_sub(1)
        .and_then(|offset| start.0.checked_add(offset))
        .map(Height);
    let proof = match (last, checkpoint) {
        (Some(last), Some(checkpoint)) => Some(header_proof(view, last, checkpoint)?),
        _ => None,
    };
    Ok(Answer::Headers { headers, proof })
}

/// The branch of one header in the tree over all header hashes from 0 to `checkpoint`.
fn header_proof(view: &View, height: Height, checkpoint: Height) -> Result<HeaderProof, Error> {
    let branch = view
        .snapshot
        .header_branch(height, checkpoint)
        .ok_or(Error::HeightOutOfRange)?;
    Ok(HeaderProof {
        branch: branch.siblings,
        root: branch.root,
    })
}

pub(super) fn merkle(view: &View, txid: &ClientTxid, height: Height) -> Result<Answer, Error> {
    let proven = view.snapshot.proven_in(txid.expose(), height);
    let Some(proven) = proven.map_err(Error::Index)? else {
        return Err(not_there(view, height));
    };
    Ok(Answer::Merkle {
        height,
        siblings: proven.branch.siblings,
        index: proven.index,
    })
}

pub(super) fn transaction_at(
    view: &View,
    height: Height,
    index: u32,
    proof: bool,
) -> Result<Answer, Error> {
    let position = BlockPosition { height, index };
    let found = if proof {
        let proven = view.snapshot.proven(position).map_err(Error::Index)?;
        proven.map(|proven| (proven.txid, Some(proven.branch.siblings)))
    } else {
        let txid = view.snapshot.txid_of(position).map_err(Error::Index)?;
        txid.map(|txid| (txid, None))
    };
    let (txid, siblings) = found.ok_or_else(|| not_there(view, height))?;
    Ok(Answer::TransactionAt { txid, siblings })
}

/// Why a block does not have a transaction.
fn not_there(view: &View, height: Height) -> Error {
    match view.tip() {
        Some(tip) if height <= tip.height => Error::NotInBlock,
        Some(_) | None => Error::HeightOutOfRange,
    }
}

pub(super) fn transaction(
    view: &View,
    node: &dyn NodeReader,
    txid: &ClientTxid,
) -> Result<Answer, Error> {
    bytes(view, node, txid).map(Answer::Transaction)
}

pub(super) fn whole_transaction(
    view: &View,
    node: &dyn NodeReader,
    txid: &ClientTxid,
) -> Result<Answer, Error> {
    let bytes = bytes(view, node, txid)?;
    let transaction = encode::deserialize(&bytes).map_err(|_undecodable| Error::Node)?;
    let position = view
        .snapshot
        .position(txid.expose())
        .map_err(Error::Index)?;
    let block = position.map(|position| block_at(view, position.height));
    Ok(Answer::WholeTransaction(Box::new(WholeTransaction {
        transaction,
        block: block.transpose()?,
        network: view.snapshot.network(),
    })))
}

fn block_at(view: &View, height: Height) -> Result<BlockOfTransaction, Error> {
    let tip = view.tip().ok_or(Error::HeightOutOfRange)?;
    let bytes = view.snapshot.header(height).map_err(Error::Index)?;
    let header: Header = bytes
        .and_then(|bytes| encode::deserialize(&bytes).ok())
        .ok_or(Error::HeightOutOfRange)?;
    Ok(BlockOfTransaction {
        hash: header.block_hash(),
        confirmations: tip.height.0.saturating_sub(height.0).saturating_add(1),
        time: header.time,
    })
}

fn bytes(view: &View, node: &dyn NodeReader, txid: &ClientTxid) -> Result<Vec<u8>, Error> {
    let own = view.snapshot.transaction(txid.expose());
    if let Some(bytes) = own.map_err(Error::Index)? {
        return Ok(bytes);
    }
    let position = view
        .snapshot
        .position(txid.expose())
        .map_err(Error::Index)?;
    let block = match position {
        Some(position) => view
            .snapshot
            .block_hash(position.height)
            .map_err(Error::Index)?,
        None if view.mempool.contains(txid.expose()) => None,
        None => return Err(Error::UnknownTransaction),
    };
    let found = node
        .raw_transaction(txid.expose(), block.as_ref())
        .map_err(|NodeSilent| Error::Node)?;
    found.ok_or(Error::UnknownTransaction)
}
