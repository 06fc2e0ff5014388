//! What may go wrong, as clients see it: a closed set of codes and texts.

use std::borrow::Cow;

use super::version::ProtocolVersion;
use crate::broadcast::{PackageRefusal, Refusal};
use crate::query::{self, CatchUp, MempoolGap, Query, Readiness};

/// Every error a client can get. Nothing that a client, the node or a peer said can become part of its text.
///
/// -32603, -101 and -102 are not used: Electrum takes them for a reason to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The line is not JSON.
    Parse,
    /// It is JSON, but not a request.
    InvalidRequest,
    /// A method that this version of the protocol does not have.
    UnknownMethod,
    /// Arguments of the wrong number, name, type or range.
    InvalidParams,
    /// A line without an end.
    LineTooLong,
    /// More members than a batch may have.
    BatchLimit,
    /// `server.version` a second time.
    VersionAlreadySent,
    /// No protocol version in common.
    UnsupportedVersion,
    /// More script hashes than a session may watch.
    SubscriptionLimit,
    /// The index is being built.
    CatchingUp(CatchUp),
    /// The node has been silent for too long.
    Stale,
    /// No block at this height.
    HeightOutOfRange,
    /// Neither chain nor mempool has this transaction.
    UnknownTransaction,
    /// It is not in the block of this height.
    NotInBlock,
    /// The node did not answer.
    NodeSilent,
    /// The node did not answer when asked for a fee rate.
    NoFeeEstimate,
    /// The index could not be read, or the answer could not be made.
    Unanswerable,
    /// A history beyond the limit for replies; its code is of this version.
    HistoryTooLarge(ProtocolVersion),
    /// More padding asked for than a reply may have.
    PongTooLarge,
    /// Any other reply beyond it, or a batch whose members before have used it up.
    ReplyTooLarge,
    /// No time or room to answer now.
    Busy,
    /// A transaction that was not taken.
    Refused(Refusal),
    /// A package that was not judged.
    PackageRefused(PackageRefusal),
}

impl WireError {
    /// The error for a question that has no answer.
    pub fn of(query: &Query, error: &query::Error) -> Self {
        match error {
            query::Error::CatchingUp(catch_up) => Self::CatchingUp(*catch_up),
            query::Error::Stale => Self::Stale,
            query::Error::HeightOutOfRange => Self::HeightOutOfRange,
            query::Error::UnknownTransaction => Self::UnknownTransaction,
            query::Error::NotInBlock => Self::NotInBlock,
            query::Error::NotATransaction => Self::Refused(Refusal::NotATransaction),
            query::Error::Node if matches!(query, Query::EstimateFee { .. }) => Self::NoFeeEstimate,
            query::Error::Node => Self::NodeSilent,
            query::Error::Index(_) => Self::Unanswerable,
        }
    }

    /// The code: those of JSON-RPC 2.0, else 1 for what the client asked and 2 for what the node said.
    pub const fn code(self) -> i32 {
        match self {
            Self::Parse => -32700,
            // BlueWallet takes -32600 in a batch for "ask for this one alone".
            Self::InvalidRequest | Self::ReplyTooLarge => -32600,
            Self::UnknownMethod => -32601,
            Self::InvalidParams => -32602,
            Self::UnknownTransaction | Self::NodeSilent | Self::NoFeeEstimate => 2,
            Self::HistoryTooLarge(ProtocolVersion::V1_7) => 10_001,
            Self::LineTooLong
            | Self::BatchLimit
            | Self::VersionAlreadySent
            | Self::UnsupportedVersion
            | Self::SubscriptionLimit
            | Self::CatchingUp(_)
            | Self::Stale
            | Self::HeightOutOfRange
            | Self::NotInBlock
            | Self::Unanswerable
            | Self::HistoryTooLarge(_)
            | Self::PongTooLarge
            | Self::Busy
            | Self::Refused(_)
            | Self::PackageRefused(_) => 1,
        }
    }

    /// The text. Wallets look for some of these words: "Batch limit exceeded", "history too large", "response too
    /// large", "cannot estimate fee" and the first line of a refused transaction.
    pub fn message(self) -> Cow<'static, str> {
        let text = match self {
            Self::Parse => "parse error",
            Self::InvalidRequest => "invalid request",
            Self::UnknownMethod => "unknown method",
            Self::InvalidParams => "invalid params",
            Self::LineTooLong => "line too long",
            Self::BatchLimit => "Batch limit exceeded",
            Self::VersionAlreadySent => "server.version was already sent",
            Self::UnsupportedVersion => "unsupported protocol version",
            Self::SubscriptionLimit => "subscription limit reached",
            Self::CatchingUp(catch_up) => {
                return Cow::Owned(format!("{}; try again later", progress(catch_up)));
            }
            Self::Stale => "the server's node is silent; try again later",
            Self::HeightOutOfRange => "height out of range",
            Self::UnknownTransaction => "unknown transaction",
            Self::NotInBlock => "the transaction is not in the block of this height",
            Self::NodeSilent => "the server's node did not answer; try again later",
            Self::NoFeeEstimate => "cannot estimate fee: the server's node did not answer",
            Self::Unanswerable => "the server cannot answer this",
            Self::HistoryTooLarge(_) => "history too large",
            Self::PongTooLarge => "pong_len is above this server's limit",
            Self::ReplyTooLarge => "response too large",
            Self::Busy => "the server has too much to do; try again later",
            Self::Refused(refusal) => {
                return Cow::Owned(format!(
                    "the transaction was rejected by network rules.\n\n{}",
                    refusal.text()
                ));
            }
            Self::PackageRefused(refusal) => {
                return Cow::Owned(format!(
                    "the tx package was rejected by network rules.\n\n{}",
                    refusal.text()
                ));
            }
        };
        Cow::Borrowed(text)
    }

    /// Whether it tells of a fault in the client's use of the protocol.
    pub(super) const fn is_fault(self) -> bool {
        matches!(
            self,
            Self::Parse
                | Self::InvalidRequest
                | Self::UnknownMethod
                | Self::InvalidParams
                | Self::LineTooLong
                | Self::BatchLimit
                | Self::VersionAlreadySent
                | Self::UnsupportedVersion
        )
    }
}

/// What to tell beside the banner; `None` when there is nothing to tell.
pub(super) fn notice(readiness: Readiness) -> Option<String> {
    match readiness {
        Readiness::Ready => None,
        Readiness::ReadyInPart(MempoolGap::Loading(percent)) => {
            Some(format!("the mempool is being read: {percent} %"))
        }
        Readiness::ReadyInPart(MempoolGap::PayingLeast) => Some(
            "the mempool is too large: unconfirmed transactions that pay least are not known here"
                .to_owned(),
        ),
        Readiness::CatchingUp(catch_up) => Some(progress(catch_up)),
        Readiness::Stale => Some("the server's node is silent".to_owned()),
    }
}

fn progress(catch_up: CatchUp) -> String {
    let CatchUp {
        indexed,
        target,
        speed,
    } = catch_up;
    let percent = u64::from(indexed)
        .saturating_mul(100)
        .checked_div(u64::from(target))
        .unwrap_or(0)
        .min(100);
    let speed = speed.map_or_else(String::new, |speed| format!(", {speed}"));
    format!("the index is being built: block {indexed} of {target} ({percent} %){speed}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{FeeMode, Speed};

    #[test]
    fn progress_is_the_only_variable_part() {
        let text = |indexed, target| {
            let speed = None;
            WireError::CatchingUp(CatchUp {
                indexed,
                target,
                speed,
            })
            .message()
        };
        assert_eq!(
            text(430_000, 860_000),
            "the index is being built: block 430000 of 860000 (50 %); try again later"
        );
        assert!(text(0, 0).contains("block 0 of 0 (0 %)"));
        assert!(text(u32::MAX, 1).contains("(100 %)"));
        let fast = CatchUp {
            indexed: 1,
            target: 4,
            speed: Some(Speed {
                blocks_per_minute: 70,
                minutes_left: 125,
            }),
        };
        assert_eq!(
            WireError::CatchingUp(fast).message(),
            "the index is being built: block 1 of 4 (25 %), 70 blocks a minute, 2 h 05 min left; try again later"
        );
    }

    #[test]
    fn what_is_missing_of_the_mempool_is_told() {
        let notice = |gap| notice(Readiness::ReadyInPart(gap)).unwrap();
        let loading = notice(MempoolGap::Loading(40));
        assert_eq!(loading, "the mempool is being read: 40 %");
        assert!(notice(MempoolGap::PayingLeast).contains("that pay least are not known"));
        assert_eq!(super::notice(Readiness::Ready), None);
    }

    #[test]
    fn a_silent_node_has_no_fee_estimate() {
        let fee = Query::EstimateFee {
            blocks: 2,
            mode: Some(FeeMode::Economical),
        };
        let error = WireError::of(&fee, &query::Error::Node);
        assert!(error.message().contains("cannot estimate fee"));
        let error = WireError::of(&Query::MempoolFees, &query::Error::Node);
        assert_eq!(error, WireError::NodeSilent);
    }

    #[test]
    fn a_refusal_is_framed_as_wallets_expect() {
        let text = WireError::Refused(Refusal::NotReady).message();
        let lines: Vec<&str> = text.split('\n').collect();
        assert_eq!(lines[0], "the transaction was rejected by network rules.");
        assert_eq!(lines[1], "");
        assert_eq!(lines[2], Refusal::NotReady.text());
    }
}
