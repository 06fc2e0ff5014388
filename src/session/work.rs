//! Work of one session: exchanges and refreshes, answered in the pool.

use std::sync::Arc;

use bitcoin::Txid;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::Services;
use crate::electrum::{Exchange, Findings, Finished, Lane, Refresh, Source, WireError};
use crate::limits;
use crate::query::{self, Answer, Query, View};
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

/// Answers a line.
pub(super) async fn answer(services: Arc<Services>, pending: Pending) -> Done {
    let exchange = Arc::new(pending.exchange);
    let reply_bytes_max = services.reply_bytes_max;
    let finished = {
        let (exchange, services) = (Arc::clone(&exchange), Arc::clone(&services));
        let pool = services.pool.clone();
        pool.run(exchange.lane(), move |abandoned| {
            exchange.answer(&OneView::now(&services, abandoned), reply_bytes_max)
        })
        .await
    };
    let finished = finished.unwrap_or_else(|error| exchange.refuse(error));
    drop(pending.large_line);
    let bytes = finished.line.len();
    if bytes <= limits::LARGE_REPLY_BYTES {
        return Done::Exchange(finished, None);
    }
    let kibibytes = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
    match Arc::clone(&services.outbound_room).try_acquire_many_owned(kibibytes) {
        Ok(room) => Done::Exchange(finished, Some(room)),
        Err(_no_room) => Done::Exchange(exchange.refuse(WireError::Busy), None),
    }
}

/// Looks at watched things again.
pub(super) async fn refresh(services: Arc<Services>, refresh: Refresh) -> Done {
    let refresh = Arc::new(refresh);
    let findings = {
        let refresh = Arc::clone(&refresh);
        let pool = services.pool.clone();
        pool.run(Lane::Index, move |abandoned| {
            refresh.answer(&OneView::now(&services, abandoned))
        })
        .await
    };
    Done::Refresh(findings.unwrap_or_else(|_not_done| refresh.refuse()))
}

/// The view of the moment, for the time of one answer.
struct OneView<'a> {
    view: Option<Arc<View>>,
    services: &'a Services,
    abandoned: &'a CancellationToken,
}

impl<'a> OneView<'a> {
    fn now(services: &'a Services, abandoned: &'a CancellationToken) -> Self {
        Self {
            view: services.view(),
            services,
            abandoned,
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
            return Err(WireError::CatchingUp {
                indexed: 0,
                target: 0,
            });
        };
        let answer = query::answer(view, self.services.node.as_ref(), query);
        answer.map_err(|error| WireError::of(query, &error))
    }

    fn broadcast(&self, transaction: &RawTransaction) -> Result<Txid, WireError> {
        if self.abandoned.is_cancelled() {
            return Err(WireError::Busy);
        }
        let broadcaster = &self.services.broadcaster;
        broadcaster
            .broadcast(transaction)
            .map_err(WireError::Refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broadcast::NotReady;
    use crate::chain::Network;
    use crate::electrum::{Conversation, Identity, Next};
    use crate::query::{FeeMode, FeeRate, MempoolFees, NodeReader, NodeSilent, Readiness};
    use crate::session::ReadPool;
    use bitcoin::BlockHash;
    use tokio::sync::watch;

    struct NoNode;

    impl NodeReader for NoNode {
        fn raw_transaction(
            &self,
            _: &Txid,
            _: Option<&BlockHash>,
        ) -> Result<Option<Vec<u8>>, NodeSilent> {
            Err(NodeSilent)
        }
        fn estimate_fee(&self, _: u16, _: Option<FeeMode>) -> Result<Option<FeeRate>, NodeSilent> {
            Err(NodeSilent)
        }
        fn mempool_fees(&self) -> Result<MempoolFees, NodeSilent> {
            Err(NodeSilent)
        }
    }

    /// A batch whose reply is large, because all its members are errors with long ids.
    fn large(conversation: &mut Conversation) -> Pending {
        let id = "7".repeat(limits::ID_BYTES_MAX);
        let member = format!("{{\"id\":{id},\"method\":\"blockchain.headers.subscribe\"}}");
        let line = format!("[{}]", vec![member; 100].join(","));
        match conversation.hear(line.as_bytes(), Readiness::Ready).next {
            Next::Work(exchange) => Pending {
                exchange,
                bytes: line.len(),
                large_line: None,
            },
            Next::Nothing | Next::Send(_) => panic!("no work"),
        }
    }

    async fn answered(services: &Arc<Services>, pending: Pending) -> (String, bool) {
        match answer(Arc::clone(services), pending).await {
            Done::Exchange(finished, room) => {
                (String::from_utf8(finished.line).unwrap(), room.is_some())
            }
            Done::Refresh(_) => panic!("a refresh"),
        }
    }

    #[tokio::test]
    async fn large_replies_need_room_that_all_sessions_share() {
        let services = Arc::new(Services::new(
            watch::channel(None).1,
            Arc::new(NoNode),
            Arc::new(NotReady),
            ReadPool::new(1),
            Identity::of(Network::Regtest),
            limits::REPLY_BYTES_MAX,
        ));
        let mut conversation = Conversation::new(Arc::clone(&services.identity));
        let before = services.outbound_room.available_permits();
        let (line, room) = answered(&services, large(&mut conversation)).await;
        assert!(room && line.len() > limits::LARGE_REPLY_BYTES);
        assert!(line.contains("being built"));
        // Given back with the reply.
        assert_eq!(services.outbound_room.available_permits(), before);

        let all = u32::try_from(before).unwrap();
        let _taken = services.outbound_room.acquire_many(all).await.unwrap();
        let (line, room) = answered(&services, large(&mut conversation)).await;
        assert!(!room && line.contains("too much to do"));
    }
}
