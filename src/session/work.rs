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
