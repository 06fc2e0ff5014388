//! Many blocks at once: their header rows, and everything else of them in segments that were built elsewhere.

use std::sync::Arc;

use bitcoin::block::Header;
use bitcoin::consensus::encode;

use super::Index;
use super::background::Pace;
use super::blocks::Blocks;
use super::error::{self, BlockFault, Error};
use super::merger;
use super::schema::{HeaderRow, Tables};
use super::segment::{Segment, SegmentFile};
use super::segments::Segments;
use super::upkeep::open_segment;
use super::writer;
use crate::chain::{ChainTip, Height, TxNum};

impl Index {
    /// Appends blocks in one commit, whose rows `each_row` gives one after the other. There are no delta rows, and the
    /// segments, which lie in the store of this index, hold these blocks and no others; sealed as a builder leaves them.
    /// Refused without any change if blocks or segments do not continue the index.
    ///
    /// Not for the time while another update may be under way.
    pub(super) fn install(
        &mut self,
        each_row: impl FnOnce(&mut dyn FnMut(HeaderRow) -> Result<(), Error>) -> Result<(), Error>,
        made: &[SegmentFile],
    ) -> Result<(), Error> {
        if self.failed {
            return Err(Error::Failed);
        }
        let before = self.segments.count();
        let mut blocks = self.snapshot.blocks().clone();
        let (mut height, mut tip) = (before, self.snapshot.tip());
        if tip.map_or(0, |tip| tip.height.0.saturating_add(1)) != before {
            return Err(Error::Discontinuous);
        }
        let mut installation = writer::Installation::begin(&self.database, Height(before))?;
        each_row(&mut |row| {
            self.check_row(tip, &blocks, &row)
                .map_err(|fault| Error::Block {
                    height: Height(height),
                    fault,
                })?;
            blocks.push(row.block());
            tip = Some(ChainTip {
                height: Height(height),
                hash: row.hash,
            });
            height = height.checked_add(1).ok_or(Error::Discontinuous)?;
            installation.push(row)
        })?;
        let mut open: Vec<Arc<Segment>> = self.segments.all().map(Arc::clone).collect();
        for file in made {
            open.push(open_segment(&*self.store, &self.budget, file.clone())?);
        }
        let segments = Segments::assemble(open, blocks.clone(), self.files.clone())
            .map_err(|_gap| Error::Discontinuous)?;
        let is_old = |file: &SegmentFile| file.spec.heights.start().0 < before;
        if segments.count() != height || made.iter().any(is_old) {
            return Err(Error::Discontinuous);
        }
        self.failed = true;
        let tables = error::guarded("write the index", || {
            installation.commit(tip, made)?;
            Tables::open(&self.database)
        })?;
        self.segments = Arc::new(segments);
        self.renew(blocks, tables);
        self.failed = false;
        Ok(())
    }

    /// Makes all merges that are due, at full speed.
    pub fn merge_all(&mut self) -> Result<(), Error> {
        self.merging = None;
        while let Some(job) = merger::plan(&self.segments, &self.shape, self.snapshot.blocks()) {
            let made = merger::run(&job, &*self.store, Pace::full())?;
            self.change_segments(made.unwrap_or_default(), Vec::new(), None)?;
        }
        Ok(())
    }

    /// Whether a block stands where it belongs.
    fn check_row(
        &self,
        below: Option<ChainTip>,
        blocks: &Blocks,
        row: &HeaderRow,
    ) -> Result<(), BlockFault> {
        let header: Header =
            encode::deserialize(&row.header).map_err(|_length| BlockFault::ProofOfWork)?;
        let proven = header.validate_pow(header.target());
        if proven != Ok(row.hash) {
            return Err(BlockFault::ProofOfWork);
        }
        let follows = match below {
            Some(below) => header.prev_blockhash == below.hash,
            None => row.hash == self.network.genesis_hash(),
        };
        if !follows {
            return Err(BlockFault::Predecessor);
        }
        let next = match blocks.tip() {
            Some((_, last)) => last.end().ok_or(BlockFault::TooLarge)?,
            None => TxNum(0),
        };
        (row.first == next)
            .then_some(())
            .ok_or(BlockFault::TooLarge)
    }
}
