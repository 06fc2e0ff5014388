//! Headers, proofs and whole transactions.

use bitcoin::block::Header;
use bitcoin::consensus::encode;
use bitcoin::hashes::Hash as _;

use super::{
    Answer, BlockOfTransaction, CatchUp, Error, HeaderProof, NodeReader, NodeSilent, View,
    WholeTransaction,
};
use crate::chain::Height;
use crate::chain::merkle::MerkleBranch;
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
    let txids = view
        .snapshot
        .block_txids(height)
        .map_err(Error::Index)?
        .ok_or(Error::HeightOutOfRange)?;
    let position = txids
        .iter()
        .position(|found| found == txid.expose())
        .ok_or(Error::NotInBlock)?;
    let leaves = txids.iter().map(|found| found.to_byte_array()).collect();
    let branch = MerkleBranch::of(leaves, position).ok_or(Error::NotInBlock)?;
    let index = u32::try_from(position).map_err(|_overflow| Error::NotInBlock)?;
    Ok(Answer::Merkle {
        height,
        siblings: branch.siblings,
        index,
    })
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
