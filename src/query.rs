//! A question about the chain, answered from one view of index and mempool.

mod accept;
mod answers;
mod chain;
mod history;
mod memo;
mod outpoint;
mod reader;

use std::fmt;
use std::sync::Arc;

use bitcoin::{BlockHash, Txid};

use crate::chain::{ChainTip, Height, ScriptHash};
use crate::index::{self, Effort, KnownTxids, ScriptPrefix, Snapshot};
use crate::limits;
use crate::mempool::Mempool;
use crate::redact::{ClientOutpoint, ClientTxid, RawTransaction};

pub use answers::{
    AcceptTest, Answer, BlockOfTransaction, HeaderProof, HistoryRow, OutpointStatus, UnspentRow,
    WholeTransaction,
};
pub use memo::SessionMemo;
pub use reader::NobodyToAsk;

pub use crate::mempool::{MempoolGap, RecentTransaction};
pub use crate::node::{Acceptance, FeeMode, FeeRate, MempoolFees};

/// Index and mempool at one moment, and what changed on the way there.
///
/// Only the publishing slot keeps a view; a session holds one for the time of an answer, never while it waits on
/// its client, because an old view pins pages of the index.
#[derive(Clone)]
pub struct View {
    /// Rises by one with each published view.
    pub version: u64,
    /// The confirmed part.
    pub snapshot: Arc<Snapshot>,
    /// The unconfirmed part.
    pub mempool: Arc<Mempool>,
    /// Whether questions about scripts and transactions may be answered from it.
    pub readiness: Readiness,
    /// Changes of the last versions, the newest last: `changes[len - 1]` led to `version`.
    pub changes: Vec<Arc<Changes>>,
}

/// What one version changed.
#[derive(Default)]
pub struct Changes {
    /// Scripts whose history may differ, sorted.
    pub scripts: Vec<ScriptPrefix>,
}

/// How far an index is that is being built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CatchUp {
    /// Blocks indexed.
    pub indexed: u32,
    /// Blocks the node has.
    pub target: u32,
    /// How fast it goes, once that can be told.
    pub speed: Option<Speed>,
}

/// How fast an index is being built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speed {
    /// Blocks in a minute.
    pub blocks_per_minute: u32,
    /// Until it is built, in minutes, rounded up.
    pub minutes_left: u32,
}

/// Whether a view may be asked about scripts and transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It follows the node.
    Ready,
    /// The same, but for a part of the node's mempool.
    ReadyInPart(MempoolGap),
    /// The index is being built.
    CatchingUp(CatchUp),
    /// The node has been silent for too long: stale is worse than down.
    Stale,
}

/// The scripts a session has to look at again.
pub enum Changed {
    /// Those of its scripts that are among these.
    Some(Vec<Arc<Changes>>),
    /// All of them: it is further behind than the view remembers.
    All,
}

impl Readiness {
    /// Whether questions about scripts and transactions are answered.
    pub fn is_ready(self) -> bool {
        matches!(self, Self::Ready | Self::ReadyInPart(_))
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} blocks a minute, ", self.blocks_per_minute)?;
        match (self.minutes_left / 60, self.minutes_left % 60) {
            (0, minutes) => write!(f, "{minutes} min left"),
            (hours, minutes) => write!(f, "{hours} h {minutes:02} min left"),
        }
    }
}

impl View {
    /// The last block; `None` while the index is empty.
    pub fn tip(&self) -> Option<ChainTip> {
        self.snapshot.tip()
    }

    /// What changed since `version`.
    pub fn changed_since(&self, version: u64) -> Changed {
        let behind = usize::try_from(self.version.saturating_sub(version)).unwrap_or(usize::MAX);
        match self.changes.len().checked_sub(behind) {
            Some(first) => Changed::Some(self.changes.iter().skip(first).map(Arc::clone).collect()),
            None => Changed::All,
        }
    }

    /// The view that follows this one.
    pub fn followed_by(
        &self,
        snapshot: Arc<Snapshot>,
        mempool: Arc<Mempool>,
        readiness: Readiness,
        changes: Changes,
    ) -> Self {
        let all = self.changes.iter().map(Arc::clone);
        let all = all.chain([Arc::new(changes)]).rev();
        let mut scripts = 0_usize;
        // The last change is kept whatever it names: it is bounded by itself.
        let within = |changes: &Arc<Changes>| {
            let is_last = scripts == 0;
            scripts = scripts.saturating_add(changes.scripts.len());
            is_last || scripts <= limits::VIEW_SCRIPTS_MAX
        };
        let kept = all.take(limits::VIEW_CHANGES_MAX).take_while(within);
        let mut changes: Vec<_> = kept.collect();
        changes.reverse();
        Self {
            version: self.version.saturating_add(1),
            snapshot,
            mempool,
            readiness,
            changes,
        }
    }
}

impl Changes {
    /// Whether this script is among those changed.
    pub fn contains(&self, prefix: ScriptPrefix) -> bool {
        self.scripts.binary_search(&prefix).is_ok()
    }
}

/// A question; its fields are what a client said.
#[derive(Clone, Debug)]
pub enum Query {
    /// What the node would make of these transactions.
    AcceptTest(Vec<RawTransaction>),
    /// Confirmed and unconfirmed balance of a script.
    Balance(ScriptHash),
    /// Fee rate for confirmation within so many blocks.
    EstimateFee {
        /// Number of blocks.
        blocks: u16,
        /// The node's way of estimating.
        mode: Option<FeeMode>,
    },
    /// One header.
    Header {
        /// Its height.
        height: Height,
        /// Prove it against the header chain up to here.
        checkpoint: Option<Height>,
    },
    /// Consecutive headers.
    Headers {
        /// The first one.
        start: Height,
        /// How many.
        count: u32,
        /// Prove the last one against the header chain up to here.
        checkpoint: Option<Height>,
    },
    /// Fee rates by size of the mempool.
    FeeHistogram,
    /// History of a script.
    History(ScriptHash),
    /// Proof that a transaction is in a block.
    Merkle {
        /// The transaction.
        txid: ClientTxid,
        /// The block.
        height: Height,
    },
    /// Fee rates below which the node takes nothing.
    MempoolFees,
    /// Where an output stands.
    Outpoint(ClientOutpoint),
    /// The transactions that came last to the mempool.
    Recent,
    /// Status of a script.
    Status(ScriptHash),
    /// The last header.
    Tip,
    /// A whole transaction.
    Transaction(ClientTxid),
    /// The transaction at a place in a block.
    TransactionAt {
        /// The block.
        height: Height,
        /// Index in the block.
        index: u32,
        /// Whether it is to be proven.
        proof: bool,
    },
    /// The unconfirmed part of a script's history.
    Unconfirmed(ScriptHash),
    /// Unspent outputs of a script.
    Unspent(ScriptHash),
    /// A whole transaction, and the block it is in.
    WholeTransaction(ClientTxid),
}

/// Why there is no answer. Each variant becomes one fixed text for the client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The index is being built.
    #[error("answer while the index is being built")]
    CatchingUp(CatchUp),
    /// The node has been silent for too long.
    #[error("answer without a node")]
    Stale,
    /// A height above the tip, or a checkpoint below the header.
    #[error("find a block at this height")]
    HeightOutOfRange,
    /// Neither the chain nor the mempool has it.
    #[error("find this transaction")]
    UnknownTransaction,
    /// It is not in the block of this height.
    #[error("find this transaction in this block")]
    NotInBlock,
    /// Its bytes cannot be read.
    #[error("decode this transaction")]
    NotATransaction,
    /// The node did not answer.
    #[error("ask the node")]
    Node,
    /// The index could not be read.
    #[error("read the index")]
    Index(#[source] index::Error),
}

/// What only the node can tell. Implemented by the node's lane for clients.
pub trait NodeReader: Send + Sync {
    /// A transaction's bytes; `block` says where to look for a confirmed one. `Ok(None)`: the node has none.
    fn raw_transaction(
        &self,
        txid: &Txid,
        block: Option<&BlockHash>,
    ) -> Result<Option<Vec<u8>>, NodeSilent>;
    /// A fee rate for confirmation within so many blocks; `None` when the node cannot tell.
    fn estimate_fee(
        &self,
        blocks: u16,
        mode: Option<FeeMode>,
    ) -> Result<Option<FeeRate>, NodeSilent>;
    /// The node's fee limits.
    fn mempool_fees(&self) -> Result<MempoolFees, NodeSilent>;
    /// What the node would make of these transactions together; as many answers.
    fn test_accept(&self, transactions: &[RawTransaction]) -> Result<Vec<Acceptance>, NodeSilent>;
}

/// The node did not answer, or not with what was asked; why is logged where it was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeSilent;

/// Answers one question from one view; the operator is told of an index that cannot be read.
pub fn answer(view: &View, node: &dyn NodeReader, query: &Query) -> Result<Answer, Error> {
    noted(view, answer_with(view, Effort::Any, None, node, query))
}

fn noted(view: &View, answered: Result<Answer, Error>) -> Result<Answer, Error> {
    answered.inspect_err(|error| {
        if let Error::Index(error) = error {
            view.snapshot.note(error);
        }
    })
}

fn answer_with(
    view: &View,
    effort: Effort,
    known: Option<&KnownTxids>,
    node: &dyn NodeReader,
    query: &Query,
) -> Result<Answer, Error> {
    match query {
        Query::AcceptTest(transactions) => accept::test(node, transactions),
        Query::Balance(script_hash) => history::balance(ready(view)?, effort, node, script_hash),
        Query::EstimateFee { blocks, mode } => node
            .estimate_fee(*blocks, *mode)
            .map(Answer::Fee)
            .map_err(silent),
        Query::FeeHistogram => Ok(Answer::FeeHistogram(ready(view)?.mempool.fee_histogram())),
        Query::Header { height, checkpoint } => chain::header(fresh(view)?, *height, *checkpoint),
        Query::Headers {
            start,
            count,
            checkpoint,
        } => chain::headers(fresh(view)?, *start, *count, *checkpoint),
        Query::History(script_hash) => history::history(ready(view)?, effort, known, script_hash),
        Query::MempoolFees => node.mempool_fees().map(Answer::MempoolFees).map_err(silent),
        Query::Merkle { txid, height } => chain::merkle(ready(view)?, txid, *height),
        Query::Outpoint(outpoint) => outpoint::status(ready(view)?, node, outpoint),
        Query::Recent => Ok(Answer::Recent(ready(view)?.mempool.recent())),
        Query::Status(script_hash) => history::status(ready(view)?, effort, known, script_hash),
        Query::Tip => chain::tip(fresh(view)?),
        Query::Transaction(txid) => chain::transaction(ready(view)?, node, txid),
        Query::TransactionAt {
            height,
            index,
            proof,
        } => chain::transaction_at(ready(view)?, *height, *index, *proof),
        Query::Unconfirmed(script_hash) => Ok(history::unconfirmed(ready(view)?, script_hash)),
        Query::Unspent(script_hash) => {
            history::unspent(ready(view)?, effort, known, node, script_hash)
        }
        Query::WholeTransaction(txid) => chain::whole_transaction(ready(view)?, node, txid),
    }
}

impl Query {
    /// Whether the answer is about one thing, whatever the arguments.
    fn is_little(&self) -> bool {
        match self {
            Self::Balance(_)
            | Self::Header {
                checkpoint: None, ..
            }
            | Self::History(_)
            | Self::Status(_)
            | Self::Tip
            | Self::Transaction(_)
            | Self::Unconfirmed(_)
            | Self::Unspent(_) => true,
            Self::AcceptTest(_)
            | Self::EstimateFee { .. }
            | Self::FeeHistogram
            | Self::Header { .. }
            | Self::Headers { .. }
            | Self::Merkle { .. }
            | Self::MempoolFees
            | Self::Outpoint(_)
            | Self::Recent
            | Self::TransactionAt { .. }
            | Self::WholeTransaction(_) => false,
        }
    }
}

fn silent(_: NodeSilent) -> Error {
    Error::Node
}

/// The view, if it may be asked about headers: also while the index is built, but not when it is stale.
fn fresh(view: &View) -> Result<&View, Error> {
    match view.readiness {
        Readiness::Ready | Readiness::ReadyInPart(_) | Readiness::CatchingUp(_) => Ok(view),
        Readiness::Stale => Err(Error::Stale),
    }
}

/// The view, if it may be asked about scripts and transactions.
fn ready(view: &View) -> Result<&View, Error> {
    match view.readiness {
        Readiness::Ready | Readiness::ReadyInPart(_) => Ok(view),
        Readiness::CatchingUp(catch_up) => Err(Error::CatchingUp(catch_up)),
        Readiness::Stale => Err(Error::Stale),
    }
}
