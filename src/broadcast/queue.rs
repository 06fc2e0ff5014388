//! All transactions on their way. Pure: time, randomness and what happened come in; dials and questions go out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bitcoin::{OutPoint, Txid};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::job::{Job, StaleVerdict};
use super::peer::Peer;
use super::pool::{PeerPool, SlotKind};
use super::slot::Report;
use super::timing::Timing;
use super::transaction::QueuedTransaction;
use crate::limits;

/// Counts transactions since the start; says nothing of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct JobNumber(u64);

/// One connection: its transaction, its slot, and which attempt of that slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct DialNumber {
    pub(super) job: JobNumber,
    slot: u32,
    attempt: u32,
}

/// A connection that is to be made now; its end is told to [`Queue::ended`], whatever it is.
pub(super) struct Dial {
    pub(super) number: DialNumber,
    pub(super) peer: Peer,
    pub(super) transaction: Arc<QueuedTransaction>,
}

/// There is no room for a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// What the operator may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueueSummary {
    /// Transactions that are not done with.
    pub(super) jobs: usize,
    /// Connections that are being made or open.
    pub(super) connections: usize,
    /// What needs the operator.
    pub(super) alarm: Option<Alarm>,
}

/// What needs the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// A transaction finds no peers that take it, or has used up its attempts.
    Stalled,
    /// Peers take a transaction, round after round, and it does not come back: they may be one spy's.
    NeverSeen,
}

impl Alarm {
    /// For people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Stalled => {
                "a transaction waits, because peers cannot be reached or do not take it; check Tor and broadcast.peers"
            }
            Self::NeverSeen => {
                "peers took a transaction, and it never came back; check that the node has peers of its own, and choose other broadcast.peers"
            }
        }
    }
}

/// The queue.
pub(super) struct Queue {
    timing: Timing,
    /// First slots of each transaction.
    deliveries: u8,
    random: StdRng,
    jobs: BTreeMap<JobNumber, Job>,
    next: u64,
}

impl Queue {
    /// Empty.
    pub(super) fn new(timing: Timing, deliveries: u8, random: StdRng) -> Self {
        Self {
            timing,
            deliveries,
            random,
            jobs: BTreeMap::new(),
            next: 0,
        }
    }

    /// Whether a transaction of this id is on its way, alone or in a package.
    pub(super) fn find(&self, txid: &Txid) -> bool {
        self.number_of(txid).is_some()
    }

    /// Takes a transaction; one whose id is on its way already keeps its job and the bytes it has.
    pub(super) fn admit(
        &mut self,
        transaction: Arc<QueuedTransaction>,
        now: Instant,
    ) -> Result<JobNumber, Full> {
        if let Some(number) = self.number_of(&transaction.txid) {
            return Ok(number);
        }
        if !self.has_room(&transaction) {
            return Err(Full);
        }
        let number = JobNumber(self.next);
        self.next += 1;
        let random = StdRng::from_rng(&mut self.random);
        let job = Job::new(transaction, self.deliveries, &self.timing, random, now);
        self.jobs.insert(number, job);
        Ok(number)
    }

    /// The connections to make now.
    pub(super) fn due(&mut self, pool: &mut PeerPool, now: Instant) -> Vec<Dial> {
        let due: Vec<(JobNumber, u32)> = self
            .jobs
            .iter()
            .flat_map(|(number, job)| {
                let due = job.scheduled().filter(|(at, _)| *at <= now);
                due.map(|(_, slot)| (*number, slot))
            })
            .collect();
        let mut dials = Vec::new();
        for (number, slot) in due {
            let kind = self.jobs.get(&number).map(|job| job.kind(slot));
            if !kind.is_some_and(|kind| self.has_connection(kind)) {
                continue;
            }
            let Some(job) = self.jobs.get_mut(&number) else {
                continue;
            };
            if let Some(start) = job.start(slot, pool, &self.timing, now) {
                dials.push(Dial {
                    number: DialNumber {
                        job: number,
                        slot,
                        attempt: start.attempt,
                    },
                    peer: start.peer,
                    transaction: Arc::clone(&job.transaction),
                });
            }
        }
        self.forget();
        dials
    }

    /// A connection has ended, or was never made.
    pub(super) fn ended(
        &mut self,
        dial: DialNumber,
        report: Report,
        pool: &mut PeerPool,
        now: Instant,
    ) {
        if let Some(job) = self.jobs.get_mut(&dial.job) {
            let slot = (dial.slot, dial.attempt);
            job.ended(slot, report, pool, &self.timing, now);
        }
        self.forget();
    }

    /// When [`Queue::due`] or [`Queue::stale`] has something next, unless a connection ends before.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let mut open = vec![SlotKind::First, SlotKind::Further];
        open.retain(|kind| self.has_connection(*kind));
        let dials = self.jobs.values().flat_map(|job| {
            job.scheduled()
                .filter(|(_, slot)| open.contains(&job.kind(*slot)))
                .map(|(at, _)| at)
        });
        let checks = self.jobs.values().filter_map(Job::check_at);
        dials.chain(checks).min()
    }

    /// What the node is to be asked for.
    pub(super) fn unseen(&self) -> Vec<(JobNumber, Txid)> {
        self.jobs
            .iter()
            .filter(|(_, job)| job.is_unseen())
            .map(|(number, job)| (*number, job.transaction.txid))
            .collect()
    }

    /// The network has the transaction. Its first slots go on as if nothing had happened.
    pub(super) fn seen(&mut self, job: JobNumber) {
        if let Some(job) = self.jobs.get_mut(&job) {
            job.seen();
        }
        self.forget();
    }

    /// What has not come back for too long: to be tested by the node, and the verdict told to [`Queue::tested`].
    pub(super) fn stale(&mut self, now: Instant) -> Vec<(JobNumber, Arc<QueuedTransaction>)> {
        let mut stale = Vec::new();
        for (number, job) in &mut self.jobs {
            if job.check(&self.timing, now) {
                stale.push((*number, Arc::clone(&job.transaction)));
            }
        }
        self.forget();
        stale
    }

    /// What the node said of a stale transaction; if it would take it, there is one more slot.
    pub(super) fn tested(&mut self, job: JobNumber, verdict: StaleVerdict, now: Instant) {
        if let Some(job) = self.jobs.get_mut(&job) {
            job.tested(verdict, &self.timing, now);
        }
        self.forget();
    }

    /// Dials are possible again: what should have begun meanwhile begins at new times, not all at once.
    pub(super) fn resume(&mut self, now: Instant) {
        for job in self.jobs.values_mut() {
            job.resume(&self.timing, now);
        }
    }

    /// What the operator may know.
    pub(super) fn summary(&self, now: Instant) -> QueueSummary {
        let alarm = if self.jobs.values().any(Job::is_never_seen) {
            Some(Alarm::NeverSeen)
        } else if self
            .jobs
            .values()
            .any(|job| job.is_stalled(&self.timing, now))
        {
            Some(Alarm::Stalled)
        } else {
            None
        };
        QueueSummary {
            jobs: self.jobs.len(),
            connections: self.connections(SlotKind::First) + self.connections(SlotKind::Further),
            alarm,
        }
    }

    /// Transactions on their way of which this one, given by what it spends, is a child.
    pub(super) fn parents_of(&self, inputs: &[OutPoint]) -> Vec<Arc<QueuedTransaction>> {
        let queued = self.jobs.values().map(|job| &job.transaction);
        let members =
            queued.flat_map(|transaction| transaction.parents.iter().chain([transaction]));
        let mut parents: Vec<Arc<QueuedTransaction>> = Vec::new();
        for member in members {
            let is_parent = inputs.iter().any(|input| input.txid == member.txid);
            if is_parent && parents.iter().all(|parent| parent.txid != member.txid) {
                parents.push(Arc::clone(member));
            }
        }
        parents
    }

    fn number_of(&self, txid: &Txid) -> Option<JobNumber> {
        let is_member = |job: &Job| job.transaction.members().any(|member| member.txid == *txid);
        self.jobs
            .iter()
            .find(|(_, job)| is_member(job))
            .map(|(number, _)| *number)
    }

    fn has_room(&self, new: &QueuedTransaction) -> bool {
        let queued = || self.jobs.values().map(|job| &*job.transaction);
        let bytes = queued().chain([new]).flat_map(QueuedTransaction::members);
        let bytes: usize = bytes.map(|member| member.raw.len()).sum();
        let spends = |transaction: &QueuedTransaction, input| {
            transaction
                .members()
                .any(|member| member.inputs.contains(input))
        };
        let mut inputs = new.members().flat_map(|member| &member.inputs);
        self.jobs.len() < limits::JOBS_MAX
            && bytes <= limits::QUEUE_BYTES_MAX
            && inputs.all(|input| {
                let spending = queued().filter(|transaction| spends(transaction, input));
                spending.count() < limits::JOBS_PER_OUTPOINT_MAX
            })
    }

    fn connections(&self, kind: SlotKind) -> usize {
        self.jobs.values().map(|job| job.connections(kind)).sum()
    }

    /// Further slots have connections of their own, so that they never delay a first one.
    fn has_connection(&self, kind: SlotKind) -> bool {
        let max = match kind {
            SlotKind::First => limits::FIRST_CONNECTIONS_MAX,
            SlotKind::Further => limits::FURTHER_CONNECTIONS_MAX,
        };
        self.connections(kind) < max
    }

    fn forget(&mut self) {
        self.jobs.retain(|_, job| !job.is_over());
    }
}

#[cfg(test)]
mod tests;
