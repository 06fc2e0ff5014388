//! Looking at everything that is stored, and starting over.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bitcoin::Txid;
use bitcoin::hashes::Hash as _;

use super::background::{Background, Pace};
use super::blocks::Block;
use super::commitment::Commitment;
use super::error::{BlockFilesFault, Error, io};
use super::groups::BlockTransactions;
use super::layer::ScriptEntry;
use super::merge::{FingerprintSource as _, ScriptSource as _};
use super::parse::{Parsed, Standing};
use super::segment::store::{Directory, Store as _};
use super::snapshot::{DAMAGED_NUMBERS, Snapshot};
use super::{Index, open, row};
use crate::chain::{BlockPosition, ConnectedBlock, Height, PackedBlock};
use crate::error::ErrorKind;
use crate::limits;

/// What was found whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Blocks.
    pub blocks: u32,
    /// Transactions in them.
    pub transactions: u64,
    /// Scripts that they touch.
    pub scripts: u64,
    /// Pairs of a script and a transaction.
    pub touches: u64,
    /// Outputs that no block spends, and those of which only transactions tell.
    pub unspent: u64,
    /// Transactions that were compared with their fingerprints.
    pub compared: u64,
}

/// Of how many transactions it is seen whether they are where the index has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Two of each block, always the same.
    Sample,
    /// All; where they are read in the node's block files, that reads nearly all of these.
    Full,
}

impl Index {
    /// Reads everything: each blob against its checksum, each spending against its funding, the fingerprints against
    /// the number of transactions, and of each block the transactions that `extent` names against their fingerprints,
    /// and when these are all, their txids against its header. Damage is an error.
    ///
    /// What it says of places in the node's block files needs [`Index::read_from`].
    pub fn check(&self, extent: Extent) -> Result<Checked, Error> {
        let snapshot = self.snapshot();
        let mut checked = Checked {
            transactions: transactions(&snapshot)?,
            ..Checked::default()
        };
        let mut scripts = snapshot.scripts()?;
        let mut entry = ScriptEntry::default();
        while scripts.next(&mut entry)?.is_some() {
            entry.settle(|_| true)?;
            checked.scripts += 1;
            checked.touches += u64::try_from(entry.touches.len()).unwrap_or(u64::MAX);
            checked.unspent += u64::try_from(entry.fundings.len()).unwrap_or(u64::MAX);
            entry.clear();
        }
        for height in (0..).map(Height) {
            let Some(block) = snapshot.blocks().get(height) else {
                checked.blocks = height.0;
                return Ok(checked);
            };
            let indexes: Vec<u32> = match extent {
                Extent::Sample => sample(block),
                Extent::Full => (0..block.transactions).collect(),
            };
            checked.compared += u64::try_from(indexes.len()).unwrap_or(u64::MAX);
            self.compare(&snapshot, height, &indexes)?;
            if extent == Extent::Full {
                snapshot.check_root(height)?;
            }
        }
        Ok(checked)
    }

    /// Whether the node's block files hold the transactions that the index saw in them, by some that are spread evenly.
    pub(super) fn compare_with_files(&self) -> Result<(), Error> {
        let snapshot = self.snapshot();
        let count = self.segments.count();
        let step = (count / limits::PLACES_COMPARED).max(1);
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        let newest = count.checked_sub(1);
        for height in (0..count).step_by(step).chain(newest).map(Height) {
            let block = snapshot.blocks().get(height).ok_or(DAMAGED_NUMBERS)?;
            if self.segments.reads_files(height) {
                self.compare(&snapshot, height, &sample(block))?;
            }
        }
        Ok(())
    }

    /// The txid of each transaction leads to it, or, if a coinbase was mined twice, to the later one.
    fn compare(&self, snapshot: &Snapshot, height: Height, indexes: &[u32]) -> Result<(), Error> {
        let mut txids = Vec::with_capacity(indexes.len());
        snapshot.txids_at(height, indexes, &mut txids)?;
        for (index, txid) in indexes.iter().zip(&txids) {
            let here = BlockPosition {
                height,
                index: *index,
            };
            let found = snapshot.position(txid)?;
            if found == Some(here) || (*index == 0 && found > Some(here)) {
                continue;
            }
            let is_of_node = height.0 < self.segments.count() && self.segments.reads_files(height);
            return Err(if is_of_node {
                Error::BlockFiles {
                    fault: BlockFilesFault::Other,
                }
            } else {
                DAMAGED_NUMBERS
            });
        }
        Ok(())
    }

    /// Compares blocks, the first at a height, with what was indexed of them; a difference is damage. Of blocks that
    /// are not in the index nothing is said.
    pub fn verify(&self, from: Height, blocks: &[ConnectedBlock]) -> Result<(), Error> {
        let snapshot = self.snapshot();
        let mut parsed = Parsed::default();
        for (height, connected) in (from.0..).map(Height).zip(blocks) {
            let Some(stored) = snapshot.header_row(height)? else {
                return Ok(());
            };
            let hash = connected.block.block_hash();
            if stored.hash != hash {
                return Ok(());
            }
            let standing = Standing {
                height,
                first: stored.first,
            };
            let packed = PackedBlock::from(connected);
            parsed
                .read(standing, packed.raw(), &self.keyed)
                .map_err(|fault| Error::Block { height, fault })?;
            let below = height.0.checked_sub(1).map(Height);
            let below = below.map(|below| snapshot.commitment(below)).transpose()?;
            let below = below.flatten().unwrap_or(Commitment::START);
            let commitment = below.followed_by_hash(&hash, &parsed.touches_hash());
            let transactions = BlockTransactions {
                txids: &parsed.txids,
                lengths: &parsed.lengths,
                nodes: &parsed.nodes,
            };
            let delta = row::encode(standing, transactions, &mut parsed.events);
            let txids = parsed.txids.iter().copied().map(Txid::from_byte_array);
            let txids: Vec<Txid> = txids.collect();
            let row = self.recent.row(height);
            if stored.commitment != commitment
                || snapshot.block_txids(height)? != Some(txids)
                || row.is_some_and(|row| delta.is_none_or(|delta| !row.is_stored_as(&delta)))
            {
                return Err(Error::Damaged {
                    attempt: "compare the newest blocks with the index",
                });
            }
        }
        Ok(())
    }

    /// Looks, from time to time and in the background, at every blob of every segment. Damage is noted and ends nothing:
    /// each blob is looked at again whenever it is read.
    pub(super) fn scrub(&mut self) -> Result<(), Error> {
        if let Some(scrubbing) = self.scrubbing.take_if(|work| work.is_done()) {
            match scrubbing.finish() {
                Err(error) if error.kind() == ErrorKind::Corruption => self.health.note(&error),
                outcome => drop(outcome?),
            }
            self.scrubbed = Instant::now();
        }
        if self.scrubbing.is_none() && self.scrubbed.elapsed() >= limits::SCRUB_INTERVAL {
            let segments = Arc::clone(&self.segments);
            let work = move |mut pace: Pace| {
                for segment in segments.all() {
                    segment.verify(|| pace.goes_on())?;
                }
                Ok(Some(()))
            };
            self.scrubbing = Some(Background::launch("index-scrub", work)?);
        }
        Ok(())
    }

    /// Deletes the index in this directory, which no server may have open; the next start builds it anew.
    pub fn delete(dir: &Path) -> Result<(), Error> {
        let _lock: File = open::lock(dir)?;
        let attempt = "delete the index";
        // First what makes the rest count, so that a crash in between leaves no index at all.
        for name in [open::FILE, open::FILE_IN_THE_MAKING] {
            open::remove_if_there(&dir.join(name)).map_err(io(attempt))?;
        }
        let segments = Directory::open(dir.join(open::SEGMENTS))?;
        for id in segments.list()? {
            segments.remove(id)?;
        }
        Ok(())
    }
}

/// As many fingerprints as numbers, and each number once.
fn transactions(snapshot: &Snapshot) -> Result<u64, Error> {
    let expected = snapshot.blocks().tip().and_then(|(_, last)| last.end());
    let expected = expected.map_or(0, |end| u64::from(end.0));
    let mut fingerprints = snapshot.fingerprints()?;
    let (mut count, mut sum) = (0, 0);
    while let Some((_, number)) = fingerprints.next()? {
        count += 1;
        sum += u64::from(number.0);
    }
    if count == expected && sum == expected * expected.saturating_sub(1) / 2 {
        Ok(count)
    } else {
        Err(DAMAGED_NUMBERS)
    }
}

/// The coinbase, and one of the others.
fn sample(block: &Block) -> Vec<u32> {
    let [a, b, c, d, ..] = block.hash.to_byte_array();
    let others = block.transactions.saturating_sub(1);
    let other = u32::from_be_bytes([a, b, c, d]).checked_rem(others);
    let other = other.map(|other| other.saturating_add(1));
    [Some(0), other].into_iter().flatten().collect()
}
