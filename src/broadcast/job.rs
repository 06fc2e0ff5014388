//! A transaction on its way: its slots, and what decides over further ones.
//!
//! What the node sees decides over further slots alone. The first ones run to their end whatever comes: a peer that
//! holds the transaction back and shows it to one node must not learn from them whether that node is ours.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::conversation::DeliveryEnd;
use super::peer::{Group, Peer, PeerNetwork};
use super::pool::{PeerPool, SlotKind, Wish};
use super::slot::{Next, Report, Slot, State};
use super::timing::Timing;
use super::transaction::QueuedTransaction;
use crate::limits;

/// What the node says of a transaction that has not come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StaleVerdict {
    /// It would take it: nobody has given it on.
    Acceptable,
    /// It has it, or the chain has.
    Known,
    /// It has another one that spends the same.
    Superseded,
    /// It would not take it any more.
    Rejected,
    /// It did not say.
    Unanswered,
}

/// A transaction and its deliveries.
pub(super) struct Job {
    pub(super) transaction: Arc<QueuedTransaction>,
    admitted: Instant,
    phase: Phase,
    /// Those that are not over, by number.
    slots: BTreeMap<u32, Slot>,
    /// Slots from the start, which have the lowest numbers.
    deliveries: u32,
    /// Slots there have been.
    attempts: u32,
    /// Where the transaction has been, or is going.
    groups: HashSet<Group>,
    last_receipt: Option<Instant>,
    has_new_receipt: bool,
    /// Rounds whose peers took the transaction, one after another, without bringing it back.
    silent_rounds: u32,
    check_at: Instant,
    is_tested: bool,
    /// For what concerns further slots.
    random: StdRng,
}

/// Whether there may be further slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Until it is seen.
    Open,
    /// The network has it.
    Seen,
    /// It is too late for it: superseded, rejected, or given up.
    Closed,
}

/// A slot of a job that is to dial.
pub(super) struct Start {
    pub(super) attempt: u32,
    pub(super) peer: Peer,
}

impl Job {
    /// With its first slots planned. `random` is its own.
    pub(super) fn new(
        transaction: Arc<QueuedTransaction>,
        deliveries: u8,
        timing: &Timing,
        mut random: StdRng,
        now: Instant,
    ) -> Self {
        let mut sources: Vec<StdRng> = (0..deliveries)
            .map(|_| StdRng::from_rng(&mut random))
            .collect();
        let networks = plan(deliveries, &mut random);
        let starts = timing.starts(now, &mut sources);
        let slots: BTreeMap<u32, Slot> = (0..)
            .zip(sources)
            .zip(networks.into_iter().zip(starts))
            .map(|((number, source), (network, start))| (number, Slot::new(source, network, start)))
            .collect();
        let mut job = Self {
            transaction,
            admitted: now,
            phase: Phase::Open,
            slots,
            deliveries: deliveries.into(),
            attempts: deliveries.into(),
            groups: HashSet::new(),
            last_receipt: None,
            has_new_receipt: false,
            silent_rounds: 0,
            check_at: now,
            is_tested: false,
            random,
        };
        job.check_later(timing, now);
        job
    }

    /// Whether nothing is left to do.
    pub(super) fn is_over(&self) -> bool {
        self.phase != Phase::Open && self.slots.is_empty()
    }

    /// Whether the node is still asked for it.
    pub(super) fn is_unseen(&self) -> bool {
        self.phase != Phase::Seen
    }

    /// The next look at it; `None` when there may be no further slots.
    pub(super) fn check_at(&self) -> Option<Instant> {
        (self.phase == Phase::Open).then_some(self.check_at)
    }

    /// Slots that wait, with their times.
    pub(super) fn scheduled(&self) -> impl Iterator<Item = (Instant, u32)> {
        self.slots
            .iter()
            .filter_map(|(number, slot)| Some((slot.scheduled()?, *number)))
    }

    /// Connections of a kind that it has.
    pub(super) fn connections(&self, kind: SlotKind) -> usize {
        self.slots
            .iter()
            .filter(|(number, slot)| self.kind(**number) == kind && slot.scheduled().is_none())
            .count()
    }

    /// Which kind a slot is.
    pub(super) fn kind(&self, slot: u32) -> SlotKind {
        if slot < self.deliveries {
            SlotKind::First
        } else {
            SlotKind::Further
        }
    }

    /// Draws a peer for a slot that waits; without one the slot waits on, or is over.
    pub(super) fn start(
        &mut self,
        number: u32,
        pool: &mut PeerPool,
        timing: &Timing,
        now: Instant,
    ) -> Option<Start> {
        let kind = self.kind(number);
        let slot = self.slots.get_mut(&number)?;
        let wish = Wish {
            kind,
            network: slot.network,
            but: &self.groups,
        };
        let Some(peer) = pool.draw(&wish, &mut slot.random, now) else {
            if slot.without_peer(timing, now) == Next::Over {
                self.slots.remove(&number);
            }
            return None;
        };
        self.groups.insert(peer.address.group());
        slot.run(peer.clone());
        let attempt = slot.attempt;
        Some(Start { attempt, peer })
    }

    /// A delivery has ended.
    pub(super) fn ended(
        &mut self,
        (number, attempt): (u32, u32),
        report: Report,
        pool: &mut PeerPool,
        timing: &Timing,
        now: Instant,
    ) {
        let Some(slot) = self.slots.get_mut(&number) else {
            return;
        };
        let State::Running(peer) = &slot.state else {
            return;
        };
        if slot.attempt != attempt {
            return;
        }
        if report.end == DeliveryEnd::DialFailed {
            self.groups.remove(&peer.address.group());
            pool.give_back(&peer.address, now);
        }
        if report.end == DeliveryEnd::Ponged {
            self.last_receipt = Some(now);
            self.has_new_receipt = true;
        }
        if slot.ended(report, timing, now) == Next::Over {
            self.slots.remove(&number);
        }
    }

    /// The network has it: no further slots.
    pub(super) fn seen(&mut self) {
        self.phase = Phase::Seen;
    }

    /// Looks at it when it is time to; whether the node is to test it.
    pub(super) fn check(&mut self, timing: &Timing, now: Instant) -> bool {
        if self.phase != Phase::Open || now < self.check_at {
            return false;
        }
        if now >= self.admitted + timing.give_up {
            self.phase = Phase::Closed;
            return false;
        }
        self.check_later(timing, now);
        // No further slot while a first one lives: what it draws would be missing there.
        let has_first = self.slots.keys().any(|slot| *slot < self.deliveries);
        let stale_from = match self.last_receipt {
            Some(receipt) => receipt + timing.stale_received,
            None => self.admitted + timing.stale_unreceived,
        };
        self.is_tested = !has_first && now >= stale_from;
        self.is_tested
    }

    /// What the node said to the last [`Job::check`].
    pub(super) fn tested(&mut self, verdict: StaleVerdict, timing: &Timing, now: Instant) {
        if self.phase != Phase::Open || !self.is_tested {
            return;
        }
        self.is_tested = false;
        match verdict {
            StaleVerdict::Acceptable => self.add_slot(timing, now),
            StaleVerdict::Known => self.phase = Phase::Seen,
            StaleVerdict::Superseded | StaleVerdict::Rejected => self.phase = Phase::Closed,
            StaleVerdict::Unanswered => {}
        }
    }

    /// Gives new times to slots whose time has passed while nothing could be dialled.
    pub(super) fn resume(&mut self, timing: &Timing, now: Instant) {
        let late: Vec<&mut Slot> = self
            .slots
            .values_mut()
            .filter(|slot| slot.scheduled().is_some_and(|at| at < now))
            .collect();
        let mut sources = Vec::new();
        let mut states = Vec::new();
        for slot in late {
            sources.push(&mut slot.random);
            states.push(&mut slot.state);
        }
        for (state, start) in states.into_iter().zip(timing.starts(now, sources)) {
            *state = State::Scheduled(start);
        }
    }

    /// Whether so much was in vain, or so long nobody took it, that the operator should know.
    pub(super) fn is_stalled(&self, timing: &Timing, now: Instant) -> bool {
        let quiet_since = self.last_receipt.unwrap_or(self.admitted);
        self.phase == Phase::Open
            && (self.attempts >= limits::ATTEMPTS_STALLED || now >= quiet_since + timing.alarm)
    }

    /// Whether peers take it and nobody gives it on.
    pub(super) fn is_never_seen(&self) -> bool {
        self.phase == Phase::Open && self.silent_rounds >= limits::SILENT_ROUNDS_ALARM
    }

    fn add_slot(&mut self, timing: &Timing, now: Instant) {
        if std::mem::take(&mut self.has_new_receipt) {
            self.silent_rounds += 1;
        }
        let network = any_network(&mut self.random);
        let source = StdRng::from_rng(&mut self.random);
        self.slots
            .insert(self.attempts, Slot::new(source, network, now));
        self.attempts += 1;
        self.check_later(timing, now);
    }

    fn check_later(&mut self, timing: &Timing, now: Instant) {
        let wait = if self.attempts < limits::ATTEMPTS_FREE {
            timing.stale_check.draw(&mut self.random)
        } else if self.attempts < limits::ATTEMPTS_STALLED {
            timing.back_off.draw(&mut self.random)
        } else {
            timing.stalled_check
        };
        self.check_at = (now + wait).min(self.admitted + timing.give_up);
    }
}

/// A network for each of the first slots, at least one of them onion.
fn plan(deliveries: u8, random: &mut StdRng) -> Vec<PeerNetwork> {
    let mut networks: Vec<PeerNetwork> = (0..deliveries).map(|_| any_network(random)).collect();
    let forced = random.random_range(0..usize::from(deliveries.max(1)));
    if !networks.contains(&PeerNetwork::Onion)
        && let Some(network) = networks.get_mut(forced)
    {
        *network = PeerNetwork::Onion;
    }
    networks
}

/// A pool without the network drawn falls back to the other one, so that which are enabled is its business alone.
fn any_network(random: &mut StdRng) -> PeerNetwork {
    if random.random() {
        PeerNetwork::Onion
    } else {
        PeerNetwork::Exit
    }
}
