//! Work of one session: exchanges and refreshes, answered in the pool.

use std::cell::RefCell;
use std::sync::Arc;

use bitcoin::Txid;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Services;
use super::pool::Account;
use crate::broadcast::{PackageMember, Quota, Settled};
use crate::electrum::{self, Exchange, Findings, Finished, Refresh, Source, WireError};
use crate::limits;
use crate::query::{Answer, CatchUp, Query, SessionMemo, View};
use crate::redact::RawTransaction;

/// Work that was done.
pub(super) enum Done {
    /// A line was answered; a large reply brings the room it takes.
    Exchange(Finished, Option<OwnedSemaphorePermit>),
    /// Watched things were looked at again.
    Refresh(Findings),
}

/// A line that waits for its answer.
pub(super) struct Pending {
    pub(super) exchange: Exchange,
    /// Bytes of the line.
    pub(super) bytes: usize,
    /// For a long line: others of its kind wait until this one is answered, because it may still be in memory.
    pub(super) large_line: Option<OwnedSemaphorePermit>,
}

/// Answers a line; transactions in it count toward the session's quota.
pub(super) async fn answer(
    services: Arc<Services>,
    pending: Pending,
    quota: Arc<Quota>,
    memo: Arc<SessionMemo>,
    account: Arc<Account>,
) -> Done {
    let latest = Instant::now() + limits::REQUEST_MAX;
    let exchange = Arc::new(pending.exchange);
    let lane = exchange.lane();
    let reply_bytes_max = services.reply_bytes_max;
    let answered = {
        let (exchange, services) = (Arc::clone(&exchange), Arc::clone(&services));
        let work = move |abandoned: &CancellationToken| {
            let source = OneView::now(&services, &quota, &memo, abandoned);
            let finished = exchange.answer(&source, reply_bytes_max);
            (finished, source.on_their_way.into_inner())
        };
        account.run(lane, work).await
    };
    let (finished, on_their_way) =
        answered.unwrap_or_else(|error| (exchange.refuse(error), Vec::new()));
    let done = with_room(&services, &exchange, finished);
    // Waiting for the network holds neither a thread nor the line.
    drop(exchange);
    drop(pending.large_line);
    let all_settled = async {
        for settled in on_their_way {
            settled.await;
        }
    };
    // A client that hears nothing would pay again, so the time is up with an answer.
    drop(tokio::time::timeout_at(latest, all_settled).await);
    done
}

/// Answers a line that takes little, where it was read, if nobody else is to go first.
pub(super) fn answer_at_once(
    services: &Services,
    account: &Account,
    memo: &SessionMemo,
    view: Option<&Arc<View>>,
    exchange: &Exchange,
) -> Option<Done> {
    let bytes_max = services.reply_bytes_max;
    let answer = || services.at_once.answer(exchange, memo, view, bytes_max);
    let finished = account.run_here(answer)??;
    Some(with_room(services, exchange, finished))
}

/// Looks at watched things again, where that takes little, if nobody else is to go first.
pub(super) fn refresh_at_once(
    services: &Services,
    account: &Account,
    memo: &SessionMemo,
    view: Option<&Arc<View>>,
    refresh: &Refresh,
) -> Option<Done> {
    let look = || services.at_once.refresh(refresh, memo, view);
    account.run_here(look)?.map(Done::Refresh)
}

/// The reply with the room it takes, or its refusal when there is none.
fn with_room(services: &Services, exchange: &Exchange, finished: Finished) -> Done {
    let bytes = finished.line.len();
    if bytes <= limits::LARGE_REPLY_BYTES {
        return Done::Exchange(finished, None);
    }
    let kibibytes = u32::try_from(electrum::filled_max(bytes).div_ceil(1024)).unwrap_or(u32::MAX);
    match Arc::clone(&services.outbound_room).try_acquire_many_owned(kibibytes) {
        Ok(room) => Done::Exchange(finished, Some(room)),
        Err(_no_room) => Done::Exchange(exchange.refuse(WireError::Busy), None),
    }
}

/// Looks at watched things again.
pub(super) async fn refresh(
    services: Arc<Services>,
    refresh: Refresh,
    quota: Arc<Quota>,
    memo: Arc<SessionMemo>,
    account: Arc<Account>,
) -> Done {
    let refresh = Arc::new(refresh);
    let findings = {
        let refresh = Arc::clone(&refresh);
        let lane = refresh.lane();
        let work = move |abandoned: &CancellationToken| {
            refresh.answer(&OneView::now(&services, &quota, &memo, abandoned))
        };
        account.run(lane, work).await
    };
    Done::Refresh(findings.unwrap_or_else(|_not_done| refresh.refuse()))
}

/// The view of the moment, for the time of one answer.
struct OneView<'a> {
    view: Option<Arc<View>>,
    services: &'a Services,
    quota: &'a Quota,
    memo: &'a SessionMemo,
    abandoned: &'a CancellationToken,
    /// Transactions that were taken, to be waited for.
    on_their_way: RefCell<Vec<Settled>>,
}

impl<'a> OneView<'a> {
    fn now(
        services: &'a Services,
        quota: &'a Quota,
        memo: &'a SessionMemo,
        abandoned: &'a CancellationToken,
    ) -> Self {
        Self {
            view: services.view(),
            services,
            quota,
            memo,
            abandoned,
            on_their_way: RefCell::default(),
        }
    }
}

impl Source for OneView<'_> {
    fn view_version(&self) -> u64 {
        self.view.as_ref().map_or(0, |view| view.version)
    }

    fn ask(&self, query: &Query) -> Result<Answer, WireError> {
        if self.abandoned.is_cancelled() {
            return Err(WireError::Busy);
        }
        let Some(view) = &self.view else {
            return Err(WireError::CatchingUp(CatchUp::default()));
        };
        let node = self.services.node.as_ref();
        let answer = self.memo.answer(view, node, query);
        answer.map_err(|error| WireError::of(query, &error))
    }

    fn broadcast(&self, transaction: &RawTransaction) -> Result<Txid, WireError> {
        if self.abandoned.is_cancelled() {
            return Err(WireError::Busy);
        }
        let taken = self.services.broadcaster.take(transaction, self.quota);
        let taken = taken.map_err(WireError::Refused)?;
        self.on_their_way.borrow_mut().extend(taken.settled);
        Ok(taken.txid)
    }

    fn broadcast_package(
        &self,
        transactions: &[RawTransaction],
    ) -> Result<Vec<PackageMember>, WireError> {
        if self.abandoned.is_cancelled() {
            return Err(WireError::Busy);
        }
        let broadcaster = &self.services.broadcaster;
        let taken = broadcaster.take_package(transactions, self.quota);
        let taken = taken.map_err(WireError::PackageRefused)?;
        self.on_their_way.borrow_mut().extend(taken.settled);
        Ok(taken.members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broadcast::{Broadcaster, NotReady, PackageRefusal, Refusal, Taken, TakenPackage};
    use crate::chain::Network;
    use crate::electrum::{Conversation, Identity, Next};
    use crate::query::{NobodyToAsk, Readiness};
    use crate::session::ReadPool;
    use bitcoin::hashes::Hash as _;
    use std::time::Duration;
    use tokio::sync::watch;

    /// A batch whose reply is large, because all its members are errors with long ids.
    fn large(conversation: &mut Conversation) -> Pending {
        let id = "7".repeat(limits::ID_BYTES_MAX);
        let member = format!("{{\"id\":{id},\"method\":\"blockchain.headers.subscribe\"}}");
        let line = format!("[{}]", vec![member; 100].join(","));
        pending(conversation, line.as_bytes())
    }

    fn pending(conversation: &mut Conversation, line: &[u8]) -> Pending {
        match conversation.hear(line, Readiness::Ready).next {
            Next::Work(exchange) => Pending {
                exchange,
                bytes: line.len(),
                large_line: None,
            },
            Next::Nothing | Next::Send(_) => panic!("no work"),
        }
    }

    async fn answered(services: &Arc<Services>, pending: Pending) -> (String, usize) {
        match answer(
            Arc::clone(services),
            pending,
            Arc::default(),
            Arc::default(),
            Arc::new(services.pool.account()),
        )
        .await
        {
            Done::Exchange(finished, room) => {
                let room = room.map_or(0, |room| room.num_permits());
                (String::from_utf8(finished.line).unwrap(), room)
            }
            Done::Refresh(_) => panic!("a refresh"),
        }
    }

    fn services(broadcaster: impl Broadcaster + 'static) -> Arc<Services> {
        Arc::new(Services::new(
            watch::channel(None).1,
            Arc::new(NobodyToAsk),
            Arc::new(broadcaster),
            ReadPool::new(1),
            Identity::of(Network::Regtest),
            limits::REPLY_BYTES_MAX,
        ))
    }

    /// Takes everything, and settles after this time.
    struct Taking(Duration);

    impl Broadcaster for Taking {
        fn take(&self, _: &RawTransaction, _: &Quota) -> Result<Taken, Refusal> {
            let settled: Settled = Box::pin(tokio::time::sleep(self.0));
            Ok(Taken {
                txid: Txid::all_zeros(),
                settled: Some(settled),
            })
        }
        fn take_package(
            &self,
            _: &[RawTransaction],
            _: &Quota,
        ) -> Result<TakenPackage, PackageRefusal> {
            let settled: Settled = Box::pin(tokio::time::sleep(self.0));
            Ok(TakenPackage {
                members: Vec::new(),
                settled: Some(settled),
            })
        }
    }

    /// Hands over so many transactions at once, each in a line of its own; the replies, and when the last came.
    async fn hand_over(count: usize, settling: Duration) -> (Vec<String>, Duration) {
        let services = services(Taking(settling));
        let mut conversation = Conversation::new(Arc::clone(&services.identity));
        let begun = Instant::now();
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..count {
            let line = br#"{"id":1,"method":"blockchain.transaction.broadcast","params":["00"]}"#;
            let pending = pending(&mut conversation, line);
            let services = Arc::clone(&services);
            waiting.spawn(async move { answered(&services, pending).await.0 });
        }
        (waiting.join_all().await, begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_the_network_takes_no_turn_from_others() {
        let settling = Duration::from_secs(8);
        let (replies, took) = hand_over(limits::BROADCASTS_MAX * 5, settling).await;
        assert!(
            replies
                .iter()
                .all(|reply| reply.contains("\"result\":\"00"))
        );
        assert!(took >= settling && took < settling * 2, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_transaction_that_was_taken_is_answered_in_time_whatever_becomes_of_it() {
        let (replies, took) = hand_over(1, limits::REQUEST_MAX * 10).await;
        assert!(replies[0].contains("\"result\":\"00"), "{replies:?}");
        assert_eq!(took, limits::REQUEST_MAX);
    }

    #[tokio::test]
    async fn large_replies_need_room_that_all_sessions_share() {
        let services = services(NotReady);
        let mut conversation = Conversation::new(Arc::clone(&services.identity));
        let before = services.outbound_room.available_permits();
        let (line, room) = answered(&services, large(&mut conversation)).await;
        assert!(line.len() > limits::LARGE_REPLY_BYTES);
        assert!(room * 1024 >= electrum::filled(line.len()));
        assert!(line.contains("being built"));
        // Given back with the reply.
        assert_eq!(services.outbound_room.available_permits(), before);

        let all = u32::try_from(before).unwrap();
        let _taken = services.outbound_room.acquire_many(all).await.unwrap();
        let (line, room) = answered(&services, large(&mut conversation)).await;
        assert!(room == 0 && line.contains("too much to do"));
    }

    #[tokio::test]
    async fn a_reply_needs_room_from_one_byte_above_the_free_ones() {
        let services = services(NotReady);
        let mut conversation = Conversation::new(Arc::clone(&services.identity));
        let exchange = large(&mut conversation).exchange;
        for (bytes, needs_room) in [
            (limits::LARGE_REPLY_BYTES, false),
            (limits::LARGE_REPLY_BYTES + 1, true),
        ] {
            let finished = Finished {
                line: vec![b'0'; bytes],
                ..exchange.refuse(WireError::Busy)
            };
            let Done::Exchange(_, room) = with_room(&services, &exchange, finished) else {
                panic!("a refresh");
            };
            assert_eq!(room.is_some(), needs_room, "{bytes}");
        }
    }
}
