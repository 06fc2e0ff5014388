//! The requests of one line that need the chain, and the reply to all of them together.

use bitcoin::Txid;
use serde_json::value::RawValue;

use super::error::WireError;
use super::package::Package;
use super::reply::{Reply, TooLarge};
use super::shapes::{Pong, Shaped};
use super::subscriptions::Findings;
use super::version::ProtocolVersion;
use crate::broadcast::PackageMember;
use crate::chain::ScriptHash;
use crate::query::{Answer, Query};
use crate::redact::{ClientOutpoint, RawTransaction};

/// Where answers come from: one view of the chain, and what stands around it. May block.
pub trait Source {
    /// Version of the view.
    fn view_version(&self) -> u64;
    /// Answers one question.
    fn ask(&self, query: &Query) -> Result<Answer, WireError>;
    /// Hands a transaction on.
    fn broadcast(&self, transaction: &RawTransaction) -> Result<Txid, WireError>;
    /// Hands transactions on together; what was said of each.
    fn broadcast_package(
        &self,
        transactions: &[RawTransaction],
    ) -> Result<Vec<PackageMember>, WireError>;
}

/// What an exchange waits for, so that what is slow does not hold up what is fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// The index.
    Index,
    /// The node.
    Node,
    /// A transaction on its way out.
    Broadcast,
}

/// The requests of one line: one, or a batch. It is answered from one [`Source`], as one line.
pub struct Exchange {
    batch: bool,
    slots: Vec<Slot>,
}

/// An exchange that was answered.
pub struct Finished {
    /// The reply, with the end of its line.
    pub line: Vec<u8>,
    /// What it tells about watched scripts and the tip.
    pub findings: Findings,
}

/// One request of a line, in its place.
pub(super) struct Slot {
    /// Echoed; unknown for what is no request.
    pub(super) id: Option<Box<RawValue>>,
    /// The protocol version its answer is shaped by.
    pub(super) version: ProtocolVersion,
    /// What is left to do for it.
    pub(super) task: Task,
}

/// What is left to do for a request.
pub(super) enum Task {
    /// Nothing: here is the result.
    Answered(Result<Box<RawValue>, WireError>),
    /// A question.
    Ask(Query),
    /// The first status of a script that is watched from now on.
    Watch(ScriptHash),
    /// Where an output stands that is watched from now on.
    WatchOutpoint(ClientOutpoint),
    /// The tip, watched from now on.
    WatchTip,
    /// A transaction to hand on.
    Broadcast(RawTransaction),
    /// Transactions to hand on together.
    BroadcastPackage(Package),
    /// A ping to answer with so many digits.
    Pong(usize),
}

impl Exchange {
    pub(super) fn new(batch: bool, slots: Vec<Slot>) -> Self {
        Self { batch, slots }
    }

    /// What it waits for.
    pub fn lane(&self) -> Lane {
        let lanes = self.slots.iter().map(|slot| match &slot.task {
            Task::Broadcast(_) | Task::BroadcastPackage(_) => Lane::Broadcast,
            Task::Ask(
                Query::AcceptTest(_)
                | Query::EstimateFee { .. }
                | Query::MempoolFees
                | Query::Outpoint(_)
                | Query::Transaction(_)
                | Query::WholeTransaction(_),
            )
            | Task::WatchOutpoint(_) => Lane::Node,
            Task::Answered(_) | Task::Ask(_) | Task::Watch(_) | Task::WatchTip | Task::Pong(_) => {
                Lane::Index
            }
        });
        lanes.max().unwrap_or(Lane::Index)
    }

    /// Whether it is one request, so that an answer in a few steps is all that it may take.
    pub fn is_single(&self) -> bool {
        !self.batch
    }

    /// Answers every request in it; results with which the line would pass `reply_bytes_max` become errors.
    pub fn answer(&self, source: &dyn Source, reply_bytes_max: usize) -> Finished {
        let mut reply = Reply::new(self.batch, self.slots.len(), reply_bytes_max);
        let mut findings = Findings::at(source.view_version());
        for slot in &self.slots {
            let id = slot.id.as_deref();
            let outcome = match &slot.task {
                Task::Answered(Ok(result)) => written(reply.result(id, result)),
                Task::Answered(Err(error)) => Err(*error),
                Task::Broadcast(transaction) => source
                    .broadcast(transaction)
                    .and_then(|txid| written(reply.result(id, &txid.to_string()))),
                Task::BroadcastPackage(package) => source
                    .broadcast_package(&package.transactions)
                    .and_then(|members| written(reply.result(id, &package.told(&members)))),
                Task::Ask(query) => slot.ask(query, source, &mut reply, self.batch),
                Task::Pong(length) => reply
                    .result(id, &Pong::of(*length))
                    .map_err(|TooLarge| WireError::PongTooLarge),
                Task::Watch(script_hash) => {
                    let found = source.ask(&Query::Status(*script_hash));
                    let told = slot.tell(&found, &mut reply);
                    findings.status(*script_hash, &told.and(found));
                    told
                }
                Task::WatchOutpoint(outpoint) => {
                    let found = source.ask(&Query::Outpoint(*outpoint));
                    let told = slot.tell(&found, &mut reply);
                    findings.outpoint(*outpoint, &told.and(found));
                    told
                }
                Task::WatchTip => {
                    let found = source.ask(&Query::Tip);
                    let told = slot.tell(&found, &mut reply);
                    findings.tip(&told.and(found));
                    told
                }
            };
            if let Err(error) = outcome {
                reply.error(id, error);
            }
        }
        Finished {
            line: reply.into_line(),
            findings,
        }
    }

    /// Answers with this error whatever is not answered already.
    pub fn refuse(&self, error: WireError) -> Finished {
        self.answer(&Refusing(error), usize::MAX)
    }

    /// The reply when nothing is left to do.
    pub(super) fn reply(&self) -> Option<Vec<u8>> {
        let answered = |slot: &Slot| matches!(slot.task, Task::Answered(_));
        self.slots
            .iter()
            .all(answered)
            .then(|| self.refuse(WireError::Busy).line)
    }
}

impl Slot {
    fn shaped<'a>(&self, answer: &'a Answer) -> Shaped<'a> {
        Shaped {
            answer,
            version: self.version,
        }
    }

    fn tell(&self, found: &Result<Answer, WireError>, reply: &mut Reply) -> Result<(), WireError> {
        let answer = found.as_ref().map_err(|error| *error)?;
        written(reply.result(self.id.as_deref(), &self.shaped(answer)))
    }

    fn ask(
        &self,
        query: &Query,
        source: &dyn Source,
        reply: &mut Reply,
        batch: bool,
    ) -> Result<(), WireError> {
        let answer = source.ask(query)?;
        let written = reply.result(self.id.as_deref(), &self.shaped(&answer));
        // In a batch the limit may have been used up by others: asked for alone, it may fit.
        let history = matches!(answer, Answer::History(_) | Answer::Unspent(_)) && !batch;
        written.map_err(|TooLarge| {
            if history {
                WireError::HistoryTooLarge(self.version)
            } else {
                WireError::ReplyTooLarge
            }
        })
    }
}

fn written(result: Result<(), TooLarge>) -> Result<(), WireError> {
    result.map_err(|TooLarge| WireError::ReplyTooLarge)
}

/// Answers nothing.
pub(super) struct Refusing(pub(super) WireError);

impl Source for Refusing {
    fn view_version(&self) -> u64 {
        0
    }

    fn ask(&self, _query: &Query) -> Result<Answer, WireError> {
        Err(self.0)
    }

    fn broadcast(&self, _transaction: &RawTransaction) -> Result<Txid, WireError> {
        Err(self.0)
    }

    fn broadcast_package(
        &self,
        _transactions: &[RawTransaction],
    ) -> Result<Vec<PackageMember>, WireError> {
        Err(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::{EntryHeight, Height};
    use crate::query::HistoryRow;
    use bitcoin::hashes::Hash as _;

    /// Knows one history of so many rows, for every script.
    struct Rows(usize);

    impl Source for Rows {
        fn view_version(&self) -> u64 {
            1
        }
        fn ask(&self, query: &Query) -> Result<Answer, WireError> {
            if let Query::Transaction(_) = query {
                return Ok(Answer::Transaction(vec![0; self.0]));
            }
            Ok(Answer::History(vec![row(); self.0]))
        }
        fn broadcast(&self, _: &RawTransaction) -> Result<Txid, WireError> {
            Ok(Txid::all_zeros())
        }
        fn broadcast_package(&self, _: &[RawTransaction]) -> Result<Vec<PackageMember>, WireError> {
            Ok(Vec::new())
        }
    }

    fn row() -> HistoryRow {
        HistoryRow {
            txid: Txid::all_zeros(),
            height: EntryHeight::Confirmed(Height(1)),
            fee: None,
        }
    }

    fn script_hash() -> ScriptHash {
        ScriptHash::of(&bitcoin::ScriptBuf::new())
    }

    fn slot(task: Task) -> Slot {
        Slot {
            id: None,
            version: ProtocolVersion::V1_4,
            task,
        }
    }

    fn history() -> Task {
        Task::Ask(Query::History(script_hash()))
    }

    fn text(exchange: &Exchange, source: &dyn Source, bytes_max: usize) -> String {
        String::from_utf8(exchange.answer(source, bytes_max).line).unwrap()
    }

    #[test]
    fn a_history_that_is_too_large_is_an_error_and_never_cut() {
        let alone = Exchange::new(false, vec![slot(history())]);
        assert!(text(&alone, &Rows(5), 1000).contains("\"result\":[{"));
        let refused = text(&alone, &Rows(50), 1000);
        assert!(
            refused.contains("\"code\":1,\"message\":\"history too large\""),
            "{refused}"
        );
        let newest = Slot {
            version: ProtocolVersion::V1_7,
            ..slot(history())
        };
        let refused = text(&Exchange::new(false, vec![newest]), &Rows(50), 1000);
        assert!(
            refused.contains("\"code\":10001,\"message\":\"history too large\""),
            "{refused}"
        );
        let txid = crate::redact::ClientTxid::new(Txid::all_zeros());
        let transaction = Exchange::new(false, vec![slot(Task::Ask(Query::Transaction(txid)))]);
        let refused = text(&transaction, &Rows(1000), 1000);
        assert!(refused.contains("\"code\":-32600,\"message\":\"response too large\""));
    }

    #[test]
    fn pongs_share_the_limit_of_replies() {
        let pongs =
            |count| Exchange::new(true, (0..count).map(|_| slot(Task::Pong(2000))).collect());
        let line = text(&pongs(3), &Rows(0), 5000);
        assert_eq!(line.matches("\"data\":\"0000").count(), 2);
        assert_eq!(line.matches("\"code\":1,\"message\":\"pong_len").count(), 1);
        let endless = Exchange::new(false, vec![slot(Task::Pong(usize::MAX))]);
        assert!(text(&endless, &Rows(0), 5000).len() < 200);
    }

    #[test]
    fn members_of_a_batch_share_the_limit() {
        let batch = Exchange::new(
            true,
            vec![slot(history()), slot(history()), slot(history())],
        );
        let line = text(&batch, &Rows(5), 900);
        assert_eq!(line.matches("\"result\":[{").count(), 1);
        assert_eq!(line.matches("response too large").count(), 2);
        assert!(line.starts_with("[{") && line.ends_with("}]\n"));
    }

    #[test]
    fn the_slowest_member_decides_the_lane() {
        let lane =
            |tasks: Vec<Task>| Exchange::new(true, tasks.into_iter().map(slot).collect()).lane();
        let node = || Task::Ask(Query::MempoolFees);
        let broadcast = || Task::Broadcast(RawTransaction::new(vec![]));
        assert_eq!(lane(vec![history(), Task::WatchTip]), Lane::Index);
        assert_eq!(lane(vec![history(), node()]), Lane::Node);
        assert_eq!(lane(vec![broadcast(), node()]), Lane::Broadcast);
    }

    #[test]
    fn refusing_keeps_what_is_answered() {
        let ready = Task::Answered(Ok(RawValue::from_string("7".to_owned()).unwrap()));
        let batch = Exchange::new(true, vec![slot(ready), slot(history())]);
        let line = String::from_utf8(batch.refuse(WireError::Busy).line).unwrap();
        assert!(line.contains("\"result\":7"));
        assert!(line.contains("too much to do"));
    }
}
