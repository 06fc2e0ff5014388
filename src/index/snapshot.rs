//! Reading the index at one moment.

mod locate;
mod newer;
mod spender;
mod transactions;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bitcoin::consensus::encode;
use bitcoin::{Amount, BlockHash, OutPoint, Transaction, Txid};
use redb::ReadOnlyTable;

use super::blocks::Blocks;
use super::commitment::Commitment;
use super::delta_layer::DeltaLayer;
use super::error::{Error, guarded, store};
use super::health::Health;
use super::keys::KeyedHash;
use super::known_txids::KnownTxids;
use super::layer::{Ambiguity, Effort, Funding, Layer as _, ScriptEntry, UNMATCHED, Wanted};
use super::merge::{MergedFingerprints, MergedScripts};
use super::newest::NewestPlaces;
use super::parse;
use super::recent::Recent;
use super::schema::{HEADER_ROW_BYTES, HeaderRow, Tables};
use super::segments::Segments;
use super::{ConfirmedEntry, ConfirmedUnspent, FundedOutput, ScriptPrefix, TransactionReader};
use crate::chain::merkle::MerkleBranch;
use crate::chain::{ChainTip, Height, Network, ScriptHash, TxNum};

const READ_HEADERS: &str = "read headers from the index";
pub(super) const DAMAGED_NUMBERS: Error = Error::Damaged {
    attempt: "find a transaction of the index by its number",
};

pub use transactions::Proven;

/// The index at one moment. It pins pages of the file, so it is to be held no longer than an answer takes.
pub struct Snapshot {
    network: Network,
    keyed: KeyedHash,
    blocks: Blocks,
    headers: ReadOnlyTable<u32, &'static [u8; HEADER_ROW_BYTES]>,
    /// The blocks that have no delta row any more.
    segments: Arc<Segments>,
    /// The blocks above them.
    delta: DeltaLayer,
    /// Where these lie in the node's files.
    newest: NewestPlaces,
    health: Health,
}

/// What a snapshot is made of.
pub(super) struct Parts {
    pub(super) blocks: Blocks,
    pub(super) segments: Arc<Segments>,
    pub(super) recent: Recent,
    pub(super) newest: NewestPlaces,
    pub(super) tables: Tables,
}

/// An output asked for, and where its answer goes.
struct WantedOutput<'a> {
    height: Height,
    key: (TxNum, u32),
    txid: Txid,
    slot: &'a mut Option<FundedOutput>,
}

impl Snapshot {
    pub(super) fn new(network: Network, keyed: KeyedHash, health: Health, parts: Parts) -> Self {
        Self {
            network,
            keyed,
            blocks: parts.blocks,
            headers: parts.tables.headers,
            segments: parts.segments,
            delta: DeltaLayer {
                recent: parts.recent,
            },
            newest: parts.newest,
            health,
        }
    }

    /// The network whose blocks are indexed.
    pub fn network(&self) -> Network {
        self.network
    }

    /// The last indexed block; `None` while the index is empty.
    pub fn tip(&self) -> Option<ChainTip> {
        self.blocks.chain_tip()
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

    /// Takes note of why a question had no answer, for the operator.
    pub fn note(&self, error: &Error) {
        self.health.note(error);
    }

    /// Hash of the block at this height; `None` above the tip.
    pub fn block_hash(&self, height: Height) -> Result<Option<BlockHash>, Error> {
        Ok(self.blocks.get(height).map(|block| block.hash))
    }

    /// The branch of one block's hash in the Merkle tree over all of them up to `checkpoint`; `None` when either is
    /// too high.
    pub fn header_branch(&self, height: Height, checkpoint: Height) -> Option<MerkleBranch> {
        self.blocks.branch(height, checkpoint)
    }

    /// The commitment of the chain up to this height; `None` above the tip.
    pub fn commitment(&self, height: Height) -> Result<Option<Commitment>, Error> {
        Ok(self.header_row(height)?.map(|row| row.commitment))
    }

    /// The key of a script in this installation.
    pub fn prefix(&self, script_hash: &ScriptHash) -> ScriptPrefix {
        self.keyed.prefix(script_hash)
    }

    /// All confirmed transactions of a script in chain order, each once; txids that are not `known` are read.
    pub fn history(
        &self,
        prefix: ScriptPrefix,
        effort: Effort,
        known: Option<&KnownTxids>,
    ) -> Result<Vec<ConfirmedEntry>, Error> {
        let touches = self.entry(prefix, Wanted::Touches, effort)?.touches;
        effort.allows(touches.len())?;
        let located = self.locate(&touches, known)?;
        let entries = located.into_iter().map(|transaction| ConfirmedEntry {
            txid: transaction.txid,
            height: transaction.position.height,
        });
        Ok(entries.collect())
    }

    /// All unspent outputs of a script in chain order (height, position in block, vout); txids that are not `known`
    /// are read.
    ///
    /// Fails with [`Error::TransactionUnavailable`] in the rare case in which it needs `reader` and gets nothing.
    pub fn unspent(
        &self,
        prefix: ScriptPrefix,
        effort: Effort,
        known: Option<&KnownTxids>,
        reader: &dyn TransactionReader,
    ) -> Result<Vec<ConfirmedUnspent>, Error> {
        let unspent = self.unspent_fundings(prefix, effort, reader)?;
        let mut numbers: Vec<TxNum> = unspent.iter().map(|funding| funding.number).collect();
        numbers.dedup();
        effort.allows(numbers.len())?;
        let located = self.locate(&numbers, known)?;
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

    /// The sum of all unspent outputs of a script; fails as [`Snapshot::unspent`] does.
    pub fn balance(
        &self,
        prefix: ScriptPrefix,
        effort: Effort,
        reader: &dyn TransactionReader,
    ) -> Result<Amount, Error> {
        let mut sum = 0_u64;
        for funding in self.unspent_fundings(prefix, effort, reader)? {
            let position = self.blocks.position(funding.number);
            let position = position.ok_or(DAMAGED_NUMBERS)?;
            // Only where it could have been repeated later does it matter which transaction it is.
            if !self.is_repeatable(position) || !self.locate(&[funding.number], None)?.is_empty() {
                // The sum of all amounts ever is below 2^51 satoshi, so this never saturates.
                sum = sum.saturating_add(funding.amount.to_sat());
            }
        }
        Ok(Amount::from_sat(sum))
    }

    /// Outputs by outpoint, whether or not spent; `None` for those not in the chain, not indexed, or in an old
    /// transaction that `reader` does not give.
    pub fn outputs(
        &self,
        outpoints: &[OutPoint],
        reader: &dyn TransactionReader,
    ) -> Result<Vec<Option<FundedOutput>>, Error> {
        let mut found: Vec<Option<FundedOutput>> = outpoints.iter().map(|_| None).collect();
        let mut wanted = Vec::new();
        for (slot, outpoint) in found.iter_mut().zip(outpoints) {
            if let Some((number, position)) = self.number(&outpoint.txid)? {
                wanted.push(WantedOutput {
                    height: position.height,
                    key: (number, outpoint.vout),
                    txid: outpoint.txid,
                    slot,
                });
            }
        }
        // Sorted so that each block or transaction is read once, whatever the number of outputs wanted from it.
        wanted.sort_unstable_by_key(|wanted| (wanted.height, wanted.key));
        let old = wanted.partition_point(|wanted| wanted.height.0 < self.segments.count());
        let (old, new) = wanted.split_at_mut(old);
        self.read_old_outputs(old, reader)?;
        for wanted in new.chunk_by_mut(|a, b| a.height == b.height) {
            let Some(height) = wanted.first().map(|wanted| wanted.height) else {
                continue;
            };
            self.delta.fundings(height, &mut |prefix, key, amount| {
                let from = wanted.partition_point(|wanted| wanted.key < key);
                let same = wanted.iter_mut().skip(from);
                for wanted in same.take_while(|wanted| wanted.key == key) {
                    *wanted.slot = Some(FundedOutput { prefix, amount });
                }
            })?;
        }
        Ok(found)
    }

    /// Segments do not know outputs that are spent, so whole transactions tell.
    fn read_old_outputs(
        &self,
        wanted: &mut [WantedOutput<'_>],
        reader: &dyn TransactionReader,
    ) -> Result<(), Error> {
        let mut transactions: HashMap<Txid, Transaction> = HashMap::new();
        let mut elsewhere = Vec::new();
        for same in wanted.chunk_by(|a, b| a.key.0 == b.key.0) {
            // The genesis coinbase has no output that counts.
            let Some(wanted) = same.first().filter(|wanted| wanted.height > Height(0)) else {
                continue;
            };
            let bytes = self.segments.transaction(wanted.height, wanted.key.0)?;
            match bytes.and_then(|bytes| encode::deserialize(&bytes).ok()) {
                Some(transaction) => drop(transactions.insert(wanted.txid, transaction)),
                None => {
                    let block = self.blocks.get(wanted.height).ok_or(DAMAGED_NUMBERS)?;
                    elsewhere.push((wanted.txid, block.hash));
                }
            }
        }
        let read = read_transactions(reader, &elsewhere);
        let read = elsewhere.iter().zip(read);
        transactions.extend(read.filter_map(|((txid, _), found)| Some((*txid, found?))));
        for wanted in wanted {
            let vout = usize::try_from(wanted.key.1).unwrap_or(usize::MAX);
            let transaction = transactions.get(&wanted.txid);
            let output = transaction.and_then(|transaction| transaction.output.get(vout));
            *wanted.slot = output
                .filter(|output| parse::is_indexed(&output.script_pubkey))
                .map(|output| FundedOutput {
                    prefix: self.prefix(&ScriptHash::of(&output.script_pubkey)),
                    amount: output.value,
                });
        }
        Ok(())
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
        let mut sources = self.segments.script_sources(0..=u64::MAX)?;
        sources.push(Box::new(self.delta.recent.walk(all)));
        MergedScripts::new(sources)
    }

    /// The kept part of every fingerprint in ascending order.
    pub(super) fn fingerprints(&self) -> Result<MergedFingerprints<'_>, Error> {
        let all = Height(0)..=Height(u32::MAX);
        let mut sources = self.segments.fingerprint_sources()?;
        sources.push(Box::new(self.delta.recent.fingerprints(all)));
        MergedFingerprints::new(sources)
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

    fn unspent_fundings(
        &self,
        prefix: ScriptPrefix,
        effort: Effort,
        reader: &dyn TransactionReader,
    ) -> Result<Vec<Funding>, Error> {
        let joined = self.entry(prefix, Wanted::Outputs, effort)?.join()?;
        let mut unspent = joined.unspent;
        for ambiguity in &joined.ambiguous {
            unspent.extend(self.resolve(ambiguity, reader)?);
        }
        unspent.sort_unstable_by_key(|funding| (funding.number, funding.vout));
        Ok(unspent)
    }

    fn entry(
        &self,
        prefix: ScriptPrefix,
        wanted: Wanted,
        effort: Effort,
    ) -> Result<ScriptEntry, Error> {
        let mut entry = ScriptEntry::sought_with(effort);
        self.segments.script(prefix, wanted, &mut entry)?;
        self.delta.script(prefix, wanted, &mut entry)?;
        Ok(entry)
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
            let transaction = read_transactions(reader, &[(txid, block.hash)])
                .pop()
                .flatten()
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

/// What the reader gives, as far as it is what was asked for.
fn read_transactions(
    reader: &dyn TransactionReader,
    wanted: &[(Txid, BlockHash)],
) -> Vec<Option<Transaction>> {
    let mut transactions = reader.transactions(wanted);
    transactions.resize(wanted.len(), None);
    for ((txid, _), transaction) in wanted.iter().zip(&mut transactions) {
        if transaction
            .as_ref()
            .is_some_and(|found| found.compute_txid() != *txid)
        {
            *transaction = None;
        }
    }
    transactions
}

fn decode_header(height: Height, row: &[u8; HEADER_ROW_BYTES]) -> Result<HeaderRow, Error> {
    HeaderRow::decode(height, row).ok_or(Error::Damaged {
        attempt: READ_HEADERS,
    })
}
