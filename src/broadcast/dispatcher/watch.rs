//! Asks the node: what of ours has come back, what it would still take, how far it is, and where.
//!
//! What it says reaches further slots and the sessions that wait, never a first slot or an open connection.

use std::sync::Arc;

use bitcoin::Txid;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{NodeState, Shared, State, now};
use crate::broadcast::admission::NodeQuestions;
use crate::broadcast::job::StaleVerdict;
use crate::broadcast::package::PackageVerdict;
use crate::broadcast::peer::Host;
use crate::broadcast::queue::JobNumber;
use crate::broadcast::refusal::{Refusal, Verdict};
use crate::limits;
use crate::node::{self, Judgement};

/// Asks until it is aborted.
pub(super) async fn run(shared: Arc<Shared>, node: Arc<dyn NodeQuestions>, own: Vec<Host>) {
    let mut tick = interval(limits::BROADCAST_WATCH_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut look_at = Instant::now();
    loop {
        tick.tick().await;
        if look_at <= Instant::now() {
            look_at = Instant::now() + limits::BROADCAST_NODE_INTERVAL;
            look(&shared, &node, &own).await;
        }
        let unseen = shared.state().queue.unseen();
        if !unseen.is_empty() {
            look_for(&shared, &node, unseen).await;
        }
        let stale = std::mem::take(&mut shared.state().stale);
        for (job, transaction) in stale {
            let fee_rate_max = shared.settings.fee_rate_max;
            let verdict = asked(&node, move |node| {
                if transaction.parents.is_empty() {
                    return node.test(&transaction.raw, fee_rate_max).map(stale_verdict);
                }
                let members = transaction.members().map(|member| member.raw.as_slice());
                let members: Vec<&[u8]> = members.collect();
                PackageVerdict::ask(node, &members, fee_rate_max)
                    .map(|verdict| of_package(&verdict))
            });
            let verdict = verdict.await.unwrap_or(StaleVerdict::Unanswered);
            shared.state().tested(job, verdict);
            shared.changed.notify_one();
        }
    }
}

/// How far the node is, and where: it must not be drawn as a peer.
async fn look(shared: &Shared, node: &Arc<dyn NodeQuestions>, own: &[Host]) {
    let found = asked(node, |node| Ok((node.chain_state()?, node.surroundings()?))).await;
    let mut state = shared.state();
    let Some((chain, surroundings)) = found else {
        state.node = NodeState::Silent;
        return;
    };
    // Of other networks are those that no peer of ours can have.
    let theirs = surroundings.own_hosts.iter().flat_map(|host| host.parse());
    state
        .pool
        .set_own(own.iter().cloned().chain(theirs).collect());
    state.node = if chain.initial_download {
        NodeState::InitialDownload
    } else {
        NodeState::At(chain.tip.height)
    };
}

/// Which of these have come back.
async fn look_for(shared: &Shared, node: &Arc<dyn NodeQuestions>, unseen: Vec<(JobNumber, Txid)>) {
    let (jobs, txids): (Vec<JobNumber>, Vec<Txid>) = unseen.into_iter().unzip();
    let found = asked(node, move |node| node.in_mempool(&txids)).await;
    let mut state = shared.state();
    for (job, _) in jobs
        .into_iter()
        .zip(found.unwrap_or_default())
        .filter(|(_, is_there)| *is_there)
    {
        state.queue.seen(job);
        state.settle(job);
    }
}

/// Asks on a thread; `None` when the node does not answer.
async fn asked<T: Send + 'static>(
    node: &Arc<dyn NodeQuestions>,
    question: impl FnOnce(&dyn NodeQuestions) -> Result<T, node::Error> + Send + 'static,
) -> Option<T> {
    let node = Arc::clone(node);
    // A panic was told where it happened.
    spawn_blocking(move || question(&*node)).await.ok()?.ok()
}

fn stale_verdict(judgement: Judgement) -> StaleVerdict {
    let Judgement::Rejected(reason) = judgement else {
        return StaleVerdict::Acceptable;
    };
    match Verdict::of(&reason) {
        Verdict::Known => StaleVerdict::Known,
        Verdict::Refused(refusal) => refused(refusal),
    }
}

fn of_package(verdict: &PackageVerdict) -> StaleVerdict {
    match verdict.refusal() {
        _ if verdict.is_known() => StaleVerdict::Known,
        None => StaleVerdict::Acceptable,
        Some(refusal) => refused(refusal),
    }
}

fn refused(refusal: Refusal) -> StaleVerdict {
    if matches!(
        refusal,
        Refusal::Conflict | Refusal::InsufficientReplacement
    ) {
        StaleVerdict::Superseded
    } else {
        StaleVerdict::Rejected
    }
}

impl State {
    fn tested(&mut self, job: JobNumber, verdict: StaleVerdict) {
        self.queue.tested(job, verdict, now());
        if verdict == StaleVerdict::Known {
            self.settle(job);
        }
    }

    /// Lets the sessions answer that wait for it: they notice that nothing can tell them any more.
    fn settle(&mut self, job: JobNumber) {
        self.waiting.retain(|(other, _)| *other != job);
    }
}
