//! How the index fails.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::chain::{Height, Network};
use crate::error::ErrorKind;

/// Why the index could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process holds the directory.
    #[error("open the index: another instance is running on the same data directory")]
    Busy,
    /// The directory belongs to another network.
    #[error("open the index for {asked}: it was built for {found}; use another data directory")]
    OtherNetwork {
        /// The network of the settings.
        asked: Network,
        /// The network of the files.
        found: Network,
    },
    /// The files were written by another version of this program.
    #[error(
        "open the index: its format is {found} and this version reads {supported}; delete it with \
         `claustrum index rebuild` and start again, it is rebuilt from the node"
    )]
    OtherFormat {
        /// What the files say.
        found: u32,
        /// What we can read.
        supported: u32,
    },
    /// What was read is not what was written.
    #[error(
        "{attempt}: the file is damaged; stop the server, delete the index with `claustrum index rebuild` and start \
         again, it is rebuilt from the node"
    )]
    Damaged {
        /// What was being done.
        attempt: &'static str,
    },
    /// The disk or the file system refused.
    #[error("{attempt}")]
    Io {
        /// What was being done.
        attempt: &'static str,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// After a failed write nothing is known about the file; only opening it again tells.
    #[error("use the index after a failed write; it has to be opened again")]
    Failed,
    /// A block does not fit the chain; nothing was changed.
    #[error("connect block {height}")]
    Block {
        /// Where it was to stand.
        height: Height,
        /// What is wrong with it.
        #[source]
        fault: BlockFault,
    },
    /// It was told to end before it was done; nothing was changed.
    #[error("build the index: it was told to stop")]
    Stopped,
    /// Not every block was brought in; nothing was changed.
    #[error("build the index: some blocks were not found")]
    Incomplete,
    /// The disk has too little room for what is to be built; nothing was changed.
    #[error(
        "build the index: it needs {needed_gb:.1} GB of free disk and there are {free_gb:.1} GB; free some, or name another --data-dir",
        needed_gb = gigabytes(*needed),
        free_gb = gigabytes(*free)
    )]
    NoSpace {
        /// Bytes needed.
        needed: u64,
        /// Bytes there are.
        free: u64,
    },
    /// A caller asked to keep a block that is not there.
    #[error("keep block {0}, which is above the tip of the index")]
    KeepAboveTip(Height),
    /// A caller asked to keep a block inside a segment, which goes whole or not at all.
    #[error("keep block {0}, which is inside a segment of the index")]
    KeepInsideSegment(Height),
    /// A caller installed segments that do not begin where the index ends.
    #[error("install segments that do not continue the index")]
    Discontinuous,
    /// The node's block files do not hold what the index saw in them.
    #[error(
        "read a transaction from the node's block files: {fault}; if the node was synchronised anew or its files were \
         moved, delete the index with `claustrum index rebuild` and start again, it is rebuilt from the node"
    )]
    BlockFiles {
        /// What is wrong.
        fault: BlockFilesFault,
    },
    /// A caller asked for a transaction number beyond the tip.
    #[error("find a transaction by a number that the index never gave")]
    UnknownNumber,
    /// A caller wanted little effort, and there is more to read than that.
    #[error("answer about a script with little effort")]
    TooMuch,
    /// Two outputs could be told apart only by a transaction that the node did not give.
    #[error("tell two outputs of one script apart without the transaction that spends one of them")]
    TransactionUnavailable,
}

/// What is wrong with the node's block files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockFilesFault {
    /// Nothing was said of where they are.
    #[error("they are not to be had")]
    Missing,
    /// The operating system refused.
    #[error("they cannot be read")]
    Unreadable,
    /// There is something else at the place.
    #[error("there is no such transaction where it was")]
    Other,
}

/// What is wrong with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockFault {
    /// It names another predecessor.
    #[error("it does not follow the block below it")]
    Predecessor,
    /// Its hash is above its own target.
    #[error("its proof of work is not valid")]
    ProofOfWork,
    /// Its header commits to other transactions.
    #[error("its header does not commit to its transactions")]
    MerkleRoot,
    /// Its bytes are no block.
    #[error("it cannot be decoded")]
    Undecodable,
    /// It has another number of transactions than the node said.
    #[error("it has another number of transactions than the node says")]
    TransactionCount,
    /// There is not exactly one spent output for every input, or one is from a later block.
    #[error("the outputs it spends do not fit its inputs")]
    SpentOutputs,
    /// A number in it, or the number of transactions in the chain, exceeds what is stored.
    #[error("it is larger than the index can number")]
    TooLarge,
}

impl Error {
    /// Who has to act.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Busy => ErrorKind::Busy,
            Self::OtherNetwork { .. } => ErrorKind::Operator,
            Self::OtherFormat { .. } | Self::Damaged { .. } => ErrorKind::Corruption,
            Self::Io { .. } | Self::Failed | Self::NoSpace { .. } => ErrorKind::Io,
            Self::Block { .. }
            | Self::TransactionUnavailable
            | Self::BlockFiles { .. }
            | Self::Stopped
            | Self::Incomplete => ErrorKind::Environment,
            Self::KeepAboveTip(_)
            | Self::KeepInsideSegment(_)
            | Self::Discontinuous
            | Self::TooMuch
            | Self::UnknownNumber => ErrorKind::Bug,
        }
    }
}

/// For people; the last digits do not matter.
fn gigabytes(bytes: u64) -> f64 {
    let megabytes = u32::try_from(bytes / 1_000_000).unwrap_or(u32::MAX);
    f64::from(megabytes) / 1000.0
}

/// Translates an error of redb, whose own text may quote the file.
pub(super) fn store<E: Into<redb::Error>>(attempt: &'static str) -> impl Fn(E) -> Error {
    move |error| {
        let error = error.into();
        if is_aftermath(&error) {
            Error::Failed
        } else if let redb::Error::Io(source) = error {
            io(attempt)(source)
        } else if matches!(error, redb::Error::DatabaseAlreadyOpen) {
            Error::Busy
        } else {
            Error::Damaged { attempt }
        }
    }
}

/// Does something to the file; redb trusts what pages say of themselves and panics on some damaged ones.
///
/// Nothing that was half changed is seen again: a read changes nothing of ours, after a failed open there is nothing,
/// and after a failed write the index refuses to go on.
pub(super) fn guarded<T>(
    attempt: &'static str,
    access: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(access)).unwrap_or(Err(Error::Damaged { attempt }))
}

/// Translates an error of the operating system.
pub(super) fn io(attempt: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| {
        // redb says so of a file that is not one of its own or ends too early.
        if matches!(
            source.kind(),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
        ) {
            Error::Damaged { attempt }
        } else {
            Error::Io { attempt, source }
        }
    }
}

fn is_aftermath(error: &redb::Error) -> bool {
    matches!(
        error,
        redb::Error::PreviousIo
            | redb::Error::DatabaseClosed
            | redb::Error::TransactionPoisoned
            | redb::Error::LockPoisoned(_)
    )
}
