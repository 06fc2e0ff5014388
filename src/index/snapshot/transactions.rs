//! Transactions by txid, by number and by position, and that they are in their blocks.

use bitcoin::consensus::encode;
use bitcoin::hashes::Hash as _;
use bitcoin::{Transaction, Txid};

use super::super::blocks::Block;
use super::super::error::{BlockFilesFault, Error};
use super::super::groups::{self, Layout};
use super::super::in_files;
use super::super::layer::Layer as _;
use super::super::segment::places::Place;
use super::{DAMAGED_NUMBERS, Snapshot};
use crate::chain::merkle::{GROUP_LEAVES, GROUP_LEVEL, MerkleBranch};
use crate::chain::{BlockPosition, Height, TxNum, sha256};

/// A transaction of a block, and how it leads to the Merkle root in the block's header.
pub struct Proven {
    /// The transaction.
    pub txid: Txid,
    /// Its index in the block.
    pub index: u32,
    /// From it to the root.
    pub branch: MerkleBranch,
}

/// One of the newest blocks in the node's files.
pub(in crate::index) struct FoundBlock {
    pub(in crate::index) file: u32,
    /// Of the first transaction.
    pub(in crate::index) offset: u64,
    pub(in crate::index) layout: Layout,
}

impl Snapshot {
    /// Where a transaction is; the later place of the two that a repeated coinbase has.
    pub fn position(&self, txid: &Txid) -> Result<Option<BlockPosition>, Error> {
        let found = self.number(txid)?;
        Ok(found.map(|(_, position)| position))
    }

    /// All txids of a block in its order; `None` above the tip.
    pub fn block_txids(&self, height: Height) -> Result<Option<Vec<Txid>>, Error> {
        let Some(block) = self.blocks.get(height) else {
            return Ok(None);
        };
        let indexes: Vec<u32> = (0..block.transactions).collect();
        let mut txids = Vec::new();
        self.txids_at(height, &indexes, &mut txids)?;
        Ok(Some(txids))
    }

    /// The txid at a position; `None` where there is no transaction.
    pub fn txid_of(&self, position: BlockPosition) -> Result<Option<Txid>, Error> {
        match self.blocks.get(position.height) {
            Some(block) if position.index < block.transactions => self.txid_at(position).map(Some),
            Some(_) | None => Ok(None),
        }
    }

    /// The transaction at a position, proven to be there; `None` where there is none.
    pub fn proven(&self, position: BlockPosition) -> Result<Option<Proven>, Error> {
        let block = self.blocks.get(position.height);
        let Some(block) = block.filter(|block| position.index < block.transactions) else {
            return Ok(None);
        };
        let whole = usize::try_from(block.transactions).map_err(|_overflow| DAMAGED_NUMBERS)?;
        let index = usize::try_from(position.index).map_err(|_overflow| DAMAGED_NUMBERS)?;
        let nodes = self.merkle_nodes(position.height, block)?;
        let group = match &nodes {
            Some(_) => {
                let first = index - index % GROUP_LEAVES;
                first..whole.min(first + GROUP_LEAVES)
            }
            None => 0..whole,
        };
        let begin = group.start;
        let indexes: Result<Vec<u32>, _> = group.map(u32::try_from).collect();
        let indexes = indexes.map_err(|_overflow| DAMAGED_NUMBERS)?;
        let mut txids = Vec::with_capacity(indexes.len());
        self.txids_at(position.height, &indexes, &mut txids)?;
        let txid = txids.get(index - begin).copied().ok_or(DAMAGED_NUMBERS)?;
        let leaves = txids.iter().map(|txid| txid.to_byte_array()).collect();
        let branch = match nodes {
            Some(nodes) => MerkleBranch::in_group(leaves, nodes, index),
            None => MerkleBranch::of(leaves, index),
        };
        let header = self.header(position.height)?.ok_or(DAMAGED_NUMBERS)?;
        let branch = branch.filter(|branch| header.get(36..68) == Some(branch.root.as_slice()));
        match branch {
            Some(branch) => Ok(Some(Proven {
                txid,
                index: position.index,
                branch,
            })),
            None if self.segments.reads_files(position.height) => Err(Error::BlockFiles {
                fault: BlockFilesFault::Other,
            }),
            None => Err(DAMAGED_NUMBERS),
        }
    }

    /// A transaction of this block, proven to be in it; `None` when it is not.
    pub fn proven_in(&self, txid: &Txid, height: Height) -> Result<Option<Proven>, Error> {
        for number in self.candidates(txid)? {
            let position = self.blocks.position(number).ok_or(DAMAGED_NUMBERS)?;
            if position.height != height {
                continue;
            }
            let proven = self.proven(position)?;
            if let Some(proven) = proven.filter(|proven| proven.txid == *txid) {
                return Ok(Some(proven));
            }
        }
        Ok(None)
    }

    /// Makes sure that the txids of a block lead to the root in its header, by way of the nodes that are kept.
    pub(in crate::index) fn check_root(&self, height: Height) -> Result<(), Error> {
        let block = self.blocks.get(height).ok_or(DAMAGED_NUMBERS)?;
        let txids = self.block_txids(height)?.ok_or(DAMAGED_NUMBERS)?;
        let mut hashes: Vec<[u8; 32]> = txids.iter().map(|txid| txid.to_byte_array()).collect();
        if let Some(nodes) = self.merkle_nodes(height, block)? {
            hashes = sha256::merkle_level(&hashes, GROUP_LEVEL);
            if hashes != nodes {
                return Err(DAMAGED_NUMBERS);
            }
        }
        let root = sha256::merkle_root(&hashes);
        let header = self.header(height)?.ok_or(DAMAGED_NUMBERS)?;
        if header.get(36..68) == root.as_ref().map(<[u8; 32]>::as_slice) {
            Ok(())
        } else {
            Err(DAMAGED_NUMBERS)
        }
    }

    /// The bytes of a transaction, witness included, if the node's block files have it where the index knows of.
    pub fn transaction(&self, txid: &Txid) -> Result<Option<Vec<u8>>, Error> {
        match self.number(txid)? {
            Some((number, position)) if position.height.0 < self.segments.count() => {
                self.segments.transaction(position.height, number)
            }
            Some((_, position)) => self.newest_transaction(txid, position),
            None => Ok(None),
        }
    }

    /// Of these the node is there to be asked, so what its files lack is no error.
    pub(super) fn newest_transaction(
        &self,
        txid: &Txid,
        position: BlockPosition,
    ) -> Result<Option<Vec<u8>>, Error> {
        let Some(place) = self.place(position)? else {
            return Ok(None);
        };
        let bytes = in_files::bytes(self.segments.files(), place).ok();
        Ok(bytes.filter(|bytes| {
            let read: Result<Transaction, _> = encode::deserialize(bytes);
            read.is_ok_and(|read| read.compute_txid() == *txid)
        }))
    }

    /// Where the node's files have one of the newest blocks, if that is known and it can be read there.
    pub(in crate::index) fn block_place(
        &self,
        height: Height,
    ) -> Result<Option<FoundBlock>, Error> {
        let block = self.blocks.get(height).ok_or(DAMAGED_NUMBERS)?;
        let Some(place) = self.newest.get(&block.hash) else {
            return Ok(None);
        };
        let layout = self.delta.recent.row(height).ok_or(DAMAGED_NUMBERS)?;
        let layout = layout.layout()?;
        let head = groups::head_bytes(layout.lengths.len());
        let offset = u64::from(place.offset).saturating_add(head);
        let mut next = offset;
        let places = layout.lengths.iter().map(|length| {
            let place = Place {
                file: place.file,
                offset: next,
                length: *length,
            };
            next = next.saturating_add(u64::from(*length));
            place
        });
        let places: Vec<Place> = places.collect();
        let read = in_files::txids_at(self.segments.files(), &places).ok();
        let is_whole = read.is_some() && read == self.block_txids(height)?;
        Ok(is_whole.then_some(FoundBlock {
            file: place.file,
            offset,
            layout,
        }))
    }

    /// Where the node's files have a transaction of one of the newest blocks, if that is known.
    fn place(&self, position: BlockPosition) -> Result<Option<Place>, Error> {
        let block = self.blocks.get(position.height).ok_or(DAMAGED_NUMBERS)?;
        let Some(place) = self.newest.get(&block.hash) else {
            return Ok(None);
        };
        let row = self.delta.recent.row(position.height);
        let layout = row.ok_or(DAMAGED_NUMBERS)?.layout()?;
        let (before, length) = layout.extent(position.index).ok_or(DAMAGED_NUMBERS)?;
        Ok(Some(Place {
            file: place.file,
            offset: u64::from(place.offset).saturating_add(before),
            length,
        }))
    }

    /// The Merkle nodes above each group of 64; `None` where they are not kept or there is but one group.
    pub(super) fn merkle_nodes(
        &self,
        height: Height,
        block: &Block,
    ) -> Result<Option<Vec<[u8; 32]>>, Error> {
        let nodes = if height.0 < self.segments.count() {
            self.segments.nodes(height, block)?
        } else {
            let row = self.delta.recent.row(height).ok_or(DAMAGED_NUMBERS)?;
            row.layout()?.nodes
        };
        Ok(Some(nodes).filter(|nodes| !nodes.is_empty()))
    }

    /// The txid of a transaction number; [`Error::UnknownNumber`] beyond the tip.
    pub fn txid(&self, number: TxNum) -> Result<Txid, Error> {
        let position = self.blocks.position(number).ok_or(Error::UnknownNumber)?;
        self.txid_at(position)
    }

    pub(super) fn candidates(&self, txid: &Txid) -> Result<Vec<TxNum>, Error> {
        let mut candidates = Vec::new();
        let fingerprint = self.keyed.fingerprint(txid);
        self.segments.candidates(fingerprint, &mut candidates)?;
        self.delta.candidates(fingerprint, &mut candidates)?;
        Ok(candidates)
    }

    pub(super) fn number(&self, txid: &Txid) -> Result<Option<(TxNum, BlockPosition)>, Error> {
        for number in self.candidates(txid)?.into_iter().rev() {
            let position = self.blocks.position(number).ok_or(DAMAGED_NUMBERS)?;
            if self.txid_at(position)? == *txid {
                return Ok(Some((number, position)));
            }
        }
        Ok(None)
    }

    pub(super) fn txid_at(&self, position: BlockPosition) -> Result<Txid, Error> {
        let mut txids = Vec::with_capacity(1);
        self.txids_at(position.height, &[position.index], &mut txids)?;
        txids.pop().ok_or(DAMAGED_NUMBERS)
    }

    pub(in crate::index) fn txids_at(
        &self,
        height: Height,
        indexes: &[u32],
        found: &mut Vec<Txid>,
    ) -> Result<(), Error> {
        if height.0 >= self.segments.count() {
            return self.delta.txids(height, indexes, found);
        }
        let first = self.blocks.get(height).ok_or(DAMAGED_NUMBERS)?.first;
        let number = |index: &u32| first.0.checked_add(*index).map(TxNum);
        let numbers: Option<Vec<TxNum>> = indexes.iter().map(number).collect();
        let numbers = numbers.ok_or(DAMAGED_NUMBERS)?;
        self.segments.txids(&numbers, found)
    }
}
