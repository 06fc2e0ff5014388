//! Whether a difference has a reason, and which reasons still hold for something.

use serde_json::Value;

use super::arguments::Kind;
use super::pair::{Replies, Reply};
use super::reasons::REASONS;
use super::requests::Request;

/// Why two servers say different things about the same.
pub(super) struct Reason {
    pub(super) why: &'static str,
    pub(super) difference: Difference,
    /// Methods, one of their arguments, and kinds of it.
    pub(super) classes: &'static [(&'static [&'static str], &'static str, &'static [Kind])],
}

/// How two replies differ.
pub(super) enum Difference {
    /// Two errors with these codes.
    Codes { ours: i64, theirs: i64 },
    /// They answer; we say this code.
    WeRefuse(i64),
    /// We answer; they say this code.
    TheyRefuse(i64),
    /// Two results, ours first, of which this is true.
    Results(fn(&Value, &Value) -> bool),
}

/// One method and one kind of an argument, out of a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// Index in `REASONS`.
    pub(super) reason: usize,
    pub(super) method: &'static str,
    pub(super) argument: &'static str,
    pub(super) kind: Kind,
}

/// Every entry.
pub(super) fn entries() -> impl Iterator<Item = Entry> {
    let classes = REASONS
        .iter()
        .enumerate()
        .flat_map(|(reason, of)| of.classes.iter().map(move |class| (reason, class)));
    classes.flat_map(|(reason, (methods, argument, kinds))| {
        methods.iter().flat_map(move |method| {
            kinds.iter().map(move |kind| Entry {
                reason,
                method,
                argument,
                kind,
            })
        })
    })
}

/// The entries that explain why the replies to a request differ.
pub(super) fn explain(request: &Request, replies: &Replies) -> Vec<Entry> {
    let fits = |entry: &Entry| {
        entry.method == request.method
            && request.kinds.contains(&(entry.argument, entry.kind))
            && REASONS[entry.reason].difference.is(replies)
    };
    entries().filter(fits).collect()
}

impl Difference {
    fn is(&self, Replies { ours, theirs }: &Replies) -> bool {
        match (self, ours, theirs) {
            (Self::Codes { ours: a, theirs: b }, Reply::Error(ours), Reply::Error(theirs)) => {
                a == ours && b == theirs
            }
            (Self::WeRefuse(code), Reply::Error(ours), Reply::Result(_)) => code == ours,
            (Self::TheyRefuse(code), Reply::Result(_), Reply::Error(theirs)) => code == theirs,
            (Self::Results(holds), Reply::Result(ours), Reply::Result(theirs)) => {
                holds(ours, theirs)
            }
            _ => false,
        }
    }
}
