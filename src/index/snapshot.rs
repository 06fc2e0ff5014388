//! Reading the index at one moment.

use std::collections::HashSet;

use bitcoin::{BlockHash, OutPoint, Txid};
use redb::ReadOnlyTable;

use super::blocks::Blocks;
use super::commitment::Commitment;
use super::delta_layer::DeltaLayer;
use super::error::{Error, guarded, store};
use super::keys::KeyedHash;
use super::layer::{Ambiguity, Funding, Layer as _, ScriptEntry, UNMATCHED, Wanted};
use super::merge::{MergedFingerprints, MergedScripts};
use super::recent::Recent;
use super::schema::{HEADER_ROW_BYTES, HeaderRow, Tables};
use super::{ConfirmedEntry, ConfirmedUnspent, FundedOutput, ScriptPrefix, TransactionReader};
use crate::chain::{BlockPosition, ChainTip, Height, ScriptHash, TxNum};

const READ_HEADERS: &str = "read headers from the index";
const DAMAGED_NUMBERS: Error = Error::Damaged {
    attempt: "find a transaction of the index by its number",
};

/// The index at one moment. It pins pages of the file, so it is to be held no longer than an answer takes.
pub struct Snapshot {
    keyed: KeyedHash,
    blocks: Blocks,
    headers: ReadOnlyTable<u32, &'static [u8; HEADER_ROW_BYTES]>,
    /// The blocks that have a delta row.
    delta: DeltaLayer,
}

/// A transaction and where it stands.
struct Located {
    number: TxNum,
    position: BlockPosition,
    txid: Txid,
}

impl Snapshot {
    pub(super) fn new(keyed: KeyedHash, blocks: Blocks, recent: Recent, tables: Tables) -> Self {
        Self {
            keyed,
            blocks,
            headers: tables.headers,
            delta: DeltaLayer {
                recent,
                txids: tables.txids,
                keyed,
            },
        }
    }

    /// The last indexed block; `None` while the index is empty.
    pub fn tip(&self) -> Option<ChainTip> {
        let (height, block) = self.blocks.tip()?;
        Some(ChainTip {
            height,
            hash: block.hash,
        })
    }

    /// The 80 bytes of a header; `None` above the tip.
    pub fn header(&self, height: Height) -> Result<Option<[u8; 80]>, Error> {
        Ok(self.header_row(height)?.map(|row| row.header))
    }

    /// Headers from `start`, 80 bytes each, at most `count` and as far as the chain goes.
    pub fn headers(&self, start: Height, count: u32) -> Result<Vec<u8>, Error> {
        let end = start.0.saturating_add(count);
        guarded(READ_HEADERS, || {
            let mut headers = Vec::new();
            let rows = self.headers.range(start.0..end);
            for row in rows.map_err(store(READ_HEADERS))? {
                let (height, row) = row.map_err(store(READ_HEADERS))?;
                headers.extend(decode_header(Height(height.value()), row.value())?.header);
            }
            Ok(headers)
        })
    }

    /// Hash of the block at this height; `None` above the tip.
    pub fn block_hash(&self, height: Height) -> Result<Option<BlockHash>, Error> {
        Ok(self.blocks.get(height).map(|block| block.hash))
    }

    /// The commitment of the chain up to this height; `None` above the tip.
    pub fn commitment(&self, height: Height) -> Result<Option<Commitment>, Error> {
        Ok(self.header_row(height)?.map(|row| row.commitment))
    }

    /// The key of a script in this installation.
    pub fn prefix(&self, script_hash: &ScriptHash) -> ScriptPrefix {
        self.keyed.prefix(script_hash)
    }

    /// All confirmed transactions of a script in chain order, each once.
    pub fn history(&self, prefix: ScriptPrefix) -> Result<Vec<ConfirmedEntry>, Error> {
        let located = self.locate(&self.entry(prefix, Wanted::Touches)?.touches)?;
        let entries = located.into_iter().map(|transaction| ConfirmedEntry {
            txid: transaction.txid,
            height: transaction.position.height,
        });
        Ok(entries.collect())
    }

    /// All unspent outputs of a script in chain order (height, position in block, vout).
    ///
    /// Fails with [`Error::TransactionUnavailable`] in the rare case in which it needs `reader` and gets nothing.
    pub fn unspent(
        &self,
        prefix: ScriptPrefix,
        reader: &dyn TransactionReader,
    ) -> Result<Vec<ConfirmedUnspent>, Error> {
        let joined = self.entry(prefix, Wanted::Outputs)?.join()?;
        let mut unspent = joined.unspent;
        for ambiguity in &joined.ambiguous {
            unspent.extend(self.resolve(ambiguity, reader)?);
        }
        unspent.sort_unstable_by_key(|funding| (funding.number, funding.vout));
        let mut numbers: Vec<TxNum> = unspent.iter().map(|funding| funding.number).collect();
        numbers.dedup();
        let located = self.locate(&numbers)?;
        let unspent = unspent.iter().filter_map(|funding| {
            // A transaction that was repeated later is not among them: its outputs were overwritten.
            let at =
                located.binary_search_by_key(&funding.number, |transaction| transaction.number);
            let txid = located.get(at.ok()?)?.txid;
            Some(ConfirmedUnspent {
                outpoint: OutPoint::new(txid, funding.vout),
                height: funding.height,
                amount: funding.amount,
            })
        });
        Ok(unspent.collect())
    }

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
        self.delta.txids(height, &indexes, &mut txids)?;
        Ok(Some(txids))
    }

    /// Outputs by outpoint, whether or not spent; `None` for those not in the chain or not indexed.
    pub fn outputs(&self, outpoints: &[OutPoint]) -> Result<Vec<Option<FundedOutput>>, Error> {
        let mut found: Vec<Option<FundedOutput>> = outpoints.iter().map(|_| None).collect();
        let mut wanted = Vec::new();
        for (slot, outpoint) in found.iter_mut().zip(outpoints) {
            if let Some((number, position)) = self.number(&outpoint.txid)? {
                wanted.push((position.height, (number, outpoint.vout), slot));
            }
        }
        // Sorted so that each block is read once, whatever the number of outputs wanted from it.
        wanted.sort_unstable_by_key(|(height, key, _)| (*height, *key));
        for wanted in wanted.chunk_by_mut(|a, b| a.0 == b.0) {
            let Some(height) = wanted.first().map(|(height, _, _)| *height) else {
                continue;
            };
            self.delta.fundings(height, &mut |prefix, funding| {
                let key = (funding.number, funding.vout);
                let from = wanted.partition_point(|(_, wanted, _)| *wanted < key);
                let same = wanted.iter_mut().skip(from);
                for (_, _, slot) in same.take_while(|(_, wanted, _)| *wanted == key) {
                    **slot = Some(FundedOutput {
                        prefix,
                        amount: funding.amount,
                    });
                }
            })?;
        }
        Ok(found)
    }

    /// The txid of a transaction number; [`Error::UnknownNumber`] beyond the tip.
    pub fn txid(&self, number: TxNum) -> Result<Txid, Error> {
        let position = self.blocks.position(number).ok_or(Error::UnknownNumber)?;
        self.txid_at(position)
    }

    pub(super) fn header_row(&self, height: Height) -> Result<Option<HeaderRow>, Error> {
        guarded(READ_HEADERS, || {
            let row = self.headers.get(height.0).map_err(store(READ_HEADERS))?;
            row.map(|row| decode_header(height, row.value()))
                .transpose()
        })
    }

    pub(super) fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// Every script in ascending order.
    pub(super) fn scripts(&self) -> Result<MergedScripts<'_>, Error> {
        let all = Height(0)..=Height(u32::MAX);
        MergedScripts::new(vec![Box::new(self.delta.recent.walk(all))])
    }

    /// The kept part of every fingerprint in ascending order.
    pub(super) fn fingerprints(&self) -> Result<MergedFingerprints<'_>, Error> {
        let all = Height(0)..=Height(u32::MAX);
        MergedFingerprints::new(vec![Box::new(self.delta.recent.fingerprints(all))])
    }

    pub(super) fn header_rows(
        &self,
        mut visit: impl FnMut(Height, &[u8; HEADER_ROW_BYTES]),
    ) -> Result<(), Error> {
        guarded(READ_HEADERS, || {
            let rows = self.headers.range::<u32>(..);
            for row in rows.map_err(store(READ_HEADERS))? {
                let (height, row) = row.map_err(store(READ_HEADERS))?;
                visit(Height(height.value()), row.value());
            }
            Ok(())
        })
    }

    fn entry(&self, prefix: ScriptPrefix, wanted: Wanted) -> Result<ScriptEntry, Error> {
        let mut entry = ScriptEntry::default();
        self.delta.script(prefix, wanted, &mut entry)?;
        Ok(entry)
    }

    fn number(&self, txid: &Txid) -> Result<Option<(TxNum, BlockPosition)>, Error> {
        let mut candidates = Vec::new();
        self.delta
            .candidates(self.keyed.fingerprint(txid), &mut candidates)?;
        for number in candidates.into_iter().rev() {
            let position = self.blocks.position(number).ok_or(DAMAGED_NUMBERS)?;
            if self.txid_at(position)? == *txid {
                return Ok(Some((number, position)));
            }
        }
        Ok(None)
    }

    fn txid_at(&self, position: BlockPosition) -> Result<Txid, Error> {
        let mut txids = Vec::with_capacity(1);
        self.delta
            .txids(position.height, &[position.index], &mut txids)?;
        txids.pop().ok_or(DAMAGED_NUMBERS)
    }

    /// Txids and places of ascending numbers. Of a coinbase that was mined twice (BIP 30) only the later is told:
    /// it is the one that the node knows, and a history names a transaction once.
    fn locate(&self, numbers: &[TxNum]) -> Result<Vec<Located>, Error> {
        let mut positions = Vec::with_capacity(numbers.len());
        for number in numbers {
            positions.push(self.blocks.position(*number).ok_or(DAMAGED_NUMBERS)?);
        }
        let mut txids = Vec::with_capacity(numbers.len());
        for block in positions.chunk_by(|a, b| a.height == b.height) {
            if let Some(height) = block.first().map(|position| position.height) {
                let indexes: Vec<u32> = block.iter().map(|position| position.index).collect();
                self.delta.txids(height, &indexes, &mut txids)?;
            }
        }
        let mut located = Vec::with_capacity(numbers.len());
        for ((number, position), txid) in numbers.iter().zip(positions).zip(txids) {
            // Only a coinbase can be repeated: any other transaction spends an output that is gone.
            let is_last =
                position.index != 0 || self.number(&txid)?.is_some_and(|(last, _)| last == *number);
            if is_last {
                located.push(Located {
                    number: *number,
                    position,
                    txid,
                });
            }
        }
        Ok(located)
    }

    /// Which of the outputs are unspent, told by the inputs of the transactions that spend the others.
    fn resolve(
        &self,
        ambiguity: &Ambiguity,
        reader: &dyn TransactionReader,
    ) -> Result<Vec<Funding>, Error> {
        let mut spent = HashSet::new();
        for spending in &ambiguity.spendings {
            let position = self.blocks.position(spending.spender);
            let position = position.ok_or(DAMAGED_NUMBERS)?;
            let block = self.blocks.get(position.height).ok_or(DAMAGED_NUMBERS)?;
            let txid = self.txid_at(position)?;
            let transaction = reader
                .transaction(&txid, &block.hash)
                .filter(|transaction| transaction.compute_txid() == txid)
                .ok_or(Error::TransactionUnavailable)?;
            spent.extend(transaction.input.iter().map(|input| input.previous_output));
        }
        let mut unspent = Vec::new();
        for funding in &ambiguity.fundings {
            let outpoint = OutPoint::new(self.txid(funding.number)?, funding.vout);
            if !spent.contains(&outpoint) {
                unspent.push(*funding);
            }
        }
        if unspent.len() + ambiguity.spendings.len() == ambiguity.fundings.len() {
            Ok(unspent)
        } else {
            Err(UNMATCHED)
        }
    }
}

fn decode_header(height: Height, row: &[u8; HEADER_ROW_BYTES]) -> Result<HeaderRow, Error> {
    HeaderRow::decode(height, row).ok_or(Error::Damaged {
        attempt: READ_HEADERS,
    })
}
