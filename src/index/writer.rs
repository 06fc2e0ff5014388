//! Writing: an update is worked out and checked first, then committed as a whole.

use bitcoin::BlockHash;
use redb::{Database, Durability, Table, WriteTransaction};

use super::ScriptPrefix;
use super::commitment::Commitment;
use super::error::{self, BlockFault, Error, store};
use super::groups::BlockTransactions;
use super::keys::KeyedHash;
use super::parse::{Parsed, Standing};
use super::recent::Recent;
use super::row::{self, Row};
use super::schema::{self, HeaderRow};
use super::segment::{SegmentFile, SegmentId};
use super::snapshot::Snapshot;
use crate::chain::{ChainTip, Height, Network, RawBlock, TxNum};

const WRITE: &str = "write the index";
/// Header rows that are held in memory before they are written.
const INSTALLED_AT_ONCE: usize = 4096;

/// Segments that begin to count, and segments that no longer do.
#[derive(Default)]
pub(super) struct Manifest {
    pub(super) added: Vec<SegmentFile>,
    pub(super) removed: Vec<SegmentId>,
}

/// What an update is going to do.
pub(super) struct Plan {
    /// The last block that stays.
    keep: Option<Height>,
    /// The last block of all when it is done.
    tip: Option<ChainTip>,
    blocks: Vec<NewBlock>,
}

/// A block as it will be stored.
struct NewBlock {
    height: Height,
    header: HeaderRow,
    delta: Vec<u8>,
}

/// What the next block has to follow.
#[derive(Clone, Copy)]
struct Below {
    hash: BlockHash,
    height: Height,
    commitment: Commitment,
    /// Number of the next transaction.
    next: TxNum,
}

/// Works out an update; refuses blocks that do not fit before anything is changed.
pub(super) fn plan(
    current: &Snapshot,
    network: Network,
    keyed: &KeyedHash,
    keep: Option<Height>,
    connect: &[RawBlock<'_>],
) -> Result<Plan, Error> {
    let mut below = keep.map(|height| below(current, height)).transpose()?;
    let mut blocks = Vec::with_capacity(connect.len());
    let mut parsed = Parsed::default();
    for block in connect {
        let height = match below {
            Some(below) => below.height.next().ok_or(Error::Block {
                height: below.height,
                fault: BlockFault::TooLarge,
            })?,
            None => Height(0),
        };
        let block = new_block(network, keyed, height, below, *block, &mut parsed)
            .map_err(|fault| Error::Block { height, fault })?;
        let end = block.header.block().end();
        below = Some(Below {
            hash: block.header.hash,
            height,
            commitment: block.header.commitment,
            next: end.ok_or(Error::Block {
                height,
                fault: BlockFault::TooLarge,
            })?,
        });
        blocks.push(block);
    }
    let tip = below.map(|below| ChainTip {
        height: below.height,
        hash: below.hash,
    });
    Ok(Plan { keep, tip, blocks })
}

fn below(current: &Snapshot, height: Height) -> Result<Below, Error> {
    let row = current
        .header_row(height)?
        .ok_or(Error::KeepAboveTip(height))?;
    Ok(Below {
        hash: row.hash,
        height,
        commitment: row.commitment,
        next: row.block().end().ok_or(Error::Block {
            height,
            fault: BlockFault::TooLarge,
        })?,
    })
}

fn new_block(
    network: Network,
    keyed: &KeyedHash,
    height: Height,
    below: Option<Below>,
    block: RawBlock<'_>,
    parsed: &mut Parsed,
) -> Result<NewBlock, BlockFault> {
    let header = block.header().ok_or(BlockFault::Undecodable)?;
    let hash = header
        .validate_pow(header.target())
        .map_err(|_error| BlockFault::ProofOfWork)?;
    let follows = match below {
        Some(below) => header.prev_blockhash == below.hash,
        None => hash == network.genesis_hash(),
    };
    if !follows {
        return Err(BlockFault::Predecessor);
    }
    let first = below.map_or(TxNum(0), |below| below.next);
    let standing = Standing { height, first };
    parsed.read(standing, block, keyed)?;
    let commitment = below.map_or(Commitment::START, |below| below.commitment);
    let touches_hash = parsed.touches_hash();
    let header = block.bytes.first_chunk();
    let transactions = BlockTransactions {
        txids: &parsed.txids,
        lengths: &parsed.lengths,
        nodes: &parsed.nodes,
    };
    let delta = row::encode(standing, transactions, &mut parsed.events);
    Ok(NewBlock {
        height,
        header: HeaderRow {
            header: *header.ok_or(BlockFault::Undecodable)?,
            hash,
            first,
            transactions: u32::try_from(parsed.txids.len())
                .map_err(|_overflow| BlockFault::TooLarge)?,
            commitment: commitment.followed_by_hash(&hash, &touches_hash),
        },
        delta: delta.ok_or(BlockFault::SpentOutputs)?,
    })
}

impl Plan {
    /// Whether it would leave everything as it is.
    pub(super) fn is_empty(&self, current: Option<ChainTip>) -> bool {
        self.blocks.is_empty() && self.keep == current.map(|tip| tip.height)
    }

    /// The state that `current` becomes, and the scripts touched by what is dropped and by what is added.
    pub(super) fn apply(
        &self,
        current: &Snapshot,
        recent: &Recent,
        keyed: &KeyedHash,
    ) -> Result<(super::blocks::Blocks, Recent, Vec<ScriptPrefix>), Error> {
        let mut touched = Vec::new();
        for row in recent.rows().rev() {
            if self.keep.is_some_and(|keep| row.height <= keep) {
                break;
            }
            add_scripts(&mut touched, row)?;
        }
        let mut blocks = current.blocks().clone();
        blocks.truncate(self.keep);
        let mut rows = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            let row = Row::encoded(block.height, block.header.first, &block.delta, keyed)?;
            add_scripts(&mut touched, &row)?;
            rows.push(row);
            blocks.push(block.header.block());
        }
        let mut recent = recent.clone();
        recent.truncate(self.keep)?;
        recent.append(rows)?;
        touched.sort_unstable();
        touched.dedup();
        Ok((blocks, recent, touched))
    }

    /// Writes it in one transaction, in which also the dropped segments cease to count.
    pub(super) fn commit(&self, database: &Database, dropped: &[SegmentId]) -> Result<(), Error> {
        let transaction = begin(database)?;
        {
            let mut headers = transaction
                .open_table(schema::HEADERS)
                .map_err(store(WRITE))?;
            let mut delta = transaction
                .open_table(schema::DELTA)
                .map_err(store(WRITE))?;
            let mut segments = transaction
                .open_table(schema::SEGMENTS)
                .map_err(store(WRITE))?;
            for id in dropped {
                segments.remove(id.0).map_err(store(WRITE))?;
            }
            if let Some(first) = self.keep.map_or(Some(Height(0)), Height::next) {
                let headers = headers.retain_in(first.0.., |_, _| false);
                headers.map_err(store(WRITE))?;
                let delta = delta.retain_in((first.0, 0).., |_, _| false);
                delta.map_err(store(WRITE))?;
            }
            for block in &self.blocks {
                let height = block.height.0;
                headers
                    .insert(height, &block.header.encode(block.height))
                    .map_err(store(WRITE))?;
                for (number, piece) in schema::pieces(&block.delta) {
                    delta
                        .insert((height, number), piece)
                        .map_err(store(WRITE))?;
                }
            }
            let mut meta = transaction.open_table(schema::META).map_err(store(WRITE))?;
            match &self.tip {
                Some(tip) => meta.insert(schema::META_TIP, schema::encode_tip(tip).as_slice()),
                None => meta.remove(schema::META_TIP),
            }
            .map_err(store(WRITE))?;
        }
        transaction.commit().map_err(store(WRITE))
    }
}

/// Changes which segments count; with the first segments of some blocks, up to `flushed`, their delta rows go.
pub(super) fn commit_manifest(
    database: &Database,
    manifest: &Manifest,
    flushed: Option<Height>,
) -> Result<(), Error> {
    let transaction = begin(database)?;
    {
        let mut segments = add_segments(&transaction, &manifest.added)?;
        for id in &manifest.removed {
            segments.remove(id.0).map_err(store(WRITE))?;
        }
        if let Some(last) = flushed {
            let mut delta = transaction
                .open_table(schema::DELTA)
                .map_err(store(WRITE))?;
            delta
                .retain_in(..=(last.0, u32::MAX), |_, _| false)
                .map_err(store(WRITE))?;
        }
    }
    transaction.commit().map_err(store(WRITE))
}

/// Appends header rows, and the segments that hold their blocks, in one commit; without it nothing is changed.
pub(super) struct Installation {
    transaction: WriteTransaction,
    next: Height,
    /// Rows that are not yet written: there may be more of them than there is memory.
    waiting: Vec<HeaderRow>,
}

impl Installation {
    /// `from` is the height of the first row.
    pub(super) fn begin(database: &Database, from: Height) -> Result<Self, Error> {
        Ok(Self {
            transaction: error::guarded(WRITE, || begin(database))?,
            next: from,
            waiting: Vec::new(),
        })
    }

    /// Appends the row of the next block.
    pub(super) fn push(&mut self, row: HeaderRow) -> Result<(), Error> {
        self.waiting.push(row);
        if self.waiting.len() >= INSTALLED_AT_ONCE {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Error> {
        error::guarded(WRITE, || {
            let headers = self.transaction.open_table(schema::HEADERS);
            let mut headers = headers.map_err(store(WRITE))?;
            for row in self.waiting.drain(..) {
                headers
                    .insert(self.next.0, &row.encode(self.next))
                    .map_err(store(WRITE))?;
                self.next = self.next.next().ok_or(Error::Discontinuous)?;
            }
            Ok(())
        })
    }

    pub(super) fn commit(
        mut self,
        tip: Option<ChainTip>,
        added: &[SegmentFile],
    ) -> Result<(), Error> {
        self.write()?;
        add_segments(&self.transaction, added)?;
        if let Some(tip) = tip {
            let mut meta = self
                .transaction
                .open_table(schema::META)
                .map_err(store(WRITE))?;
            meta.insert(schema::META_TIP, schema::encode_tip(&tip).as_slice())
                .map_err(store(WRITE))?;
        }
        self.transaction.commit().map_err(store(WRITE))
    }
}

fn add_segments<'a>(
    transaction: &'a WriteTransaction,
    added: &[SegmentFile],
) -> Result<Table<'a, u64, &'static [u8; schema::SEGMENT_ROW_BYTES]>, Error> {
    let mut segments = transaction
        .open_table(schema::SEGMENTS)
        .map_err(store(WRITE))?;
    for file in added {
        segments
            .insert(file.id.0, &schema::encode_segment(file))
            .map_err(store(WRITE))?;
    }
    Ok(segments)
}

/// A transaction that is on the disk when it is committed, and that leaves a file which opens at once after a crash.
pub(super) fn begin(database: &Database) -> Result<WriteTransaction, Error> {
    let mut transaction = database.begin_write().map_err(store(WRITE))?;
    transaction
        .set_durability(Durability::Immediate)
        .map_err(store(WRITE))?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

fn add_scripts(touched: &mut Vec<ScriptPrefix>, row: &Row) -> Result<(), Error> {
    for script in row.scripts() {
        let (prefix, _) = script?;
        touched.push(prefix);
    }
    Ok(())
}
