//! Whose turn it is when sessions want more of a lane than it has: deficit round robin, which decides and does nothing.
//!
//! While less than [`limits::LANE_FREE_PERCENT`] of a lane's threads are in use, nobody waits and nothing is counted.
//! Beyond that every session gets [`limits::BUDGET_QUANTUM`] units a round, and pays what its requests took once that is
//! known. Of those who have something left, the one with the fewest threads goes next, then the one that
//! has most left. A round ends as soon as nobody who waits has anything left, so that no thread is idle while somebody
//! waits, and whoever waits alone never waits for its units.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::limits;

/// Enough to ask once without having waited for a round, and no more: coming again buys nothing.
const NEWCOMER: i64 = 1;

/// Units of this much time on a thread.
pub(super) fn units_of_time(took: Duration) -> u64 {
    let tens_of_micros = took.as_micros() / 10;
    u64::try_from(tens_of_micros).unwrap_or(u64::MAX)
}

/// Units of so many bytes that were sent.
pub(super) fn units_of_bytes(bytes: usize) -> u64 {
    u64::try_from(bytes / 1024).unwrap_or(u64::MAX)
}

/// The turns of one lane. `T` is what starts a request.
#[derive(Debug)]
pub(super) struct Budget<T> {
    threads: usize,
    running: usize,
    waiting: usize,
    /// Sessions that wait, or that spent something since the lane was last free.
    accounts: BTreeMap<u64, Account<T>>,
    /// Counts turns.
    turn: u64,
    pauses: u64,
}

#[derive(Debug)]
struct Account<T> {
    /// What is left of its units; below zero it has spent more.
    credit: i64,
    /// When it had its last turn; for a new one, when it came.
    last_turn: u64,
    running: usize,
    /// In the order of asking, each with its ticket.
    waiting: VecDeque<(u64, T)>,
}

impl<T> Budget<T> {
    pub(super) fn new(threads: usize) -> Self {
        Self {
            threads,
            running: 0,
            waiting: 0,
            accounts: BTreeMap::new(),
            turn: 0,
            pauses: 0,
        }
    }

    /// Lets a request wait for its turn, which [`Self::next`] may give it at once.
    pub(super) fn ask(&mut self, session: u64, ticket: u64, start: T) {
        self.waiting = self.waiting.saturating_add(1);
        self.account(session).waiting.push_back((ticket, start));
    }

    /// A request does not wait any more; nothing happens if it had its turn.
    pub(super) fn withdraw(&mut self, session: u64, ticket: u64) {
        if let Some(account) = self.accounts.get_mut(&session) {
            let before = account.waiting.len();
            account.waiting.retain(|(other, _)| *other != ticket);
            let fewer = before.saturating_sub(account.waiting.len());
            self.waiting = self.waiting.saturating_sub(fewer);
        }
        self.forgive();
    }

    /// The session whose turn it is now, and what starts its request; `None` when no thread is free or nobody waits.
    /// To be called after every change until it is `None`.
    pub(super) fn next(&mut self) -> Option<(u64, T)> {
        if self.running >= self.threads || self.waiting == 0 {
            return None;
        }
        self.begin_round();
        let waiting = self.accounts.iter_mut().filter(|(_, it)| it.waits());
        let (session, account) = waiting
            .filter(|(_, account)| account.credit > 0)
            .min_by_key(|(_, it)| (it.running, Reverse(it.credit), it.last_turn))?;
        let session = *session;
        let (_, start) = account.waiting.pop_front()?;
        account.running = account.running.saturating_add(1);
        self.turn = self.turn.saturating_add(1);
        let before = std::mem::replace(&mut account.last_turn, self.turn);
        let passed_over = |it: &&Account<T>| it.waits() && it.last_turn < before;
        let passed_over = self.accounts.values().filter(passed_over).count();
        let passed_over = u64::try_from(passed_over).unwrap_or(u64::MAX);
        self.pauses = self.pauses.saturating_add(passed_over);
        self.waiting = self.waiting.saturating_sub(1);
        self.running = self.running.saturating_add(1);
        Some((session, start))
    }

    /// A request that had its turn is done, and took so many units.
    pub(super) fn finished(&mut self, session: u64, units: u64) {
        let free = self.is_free();
        // There is no account any more if the session has ended.
        if let Some(account) = self.accounts.get_mut(&session) {
            account.running = account.running.saturating_sub(1);
            if !free {
                account.spend(units);
            }
        }
        self.running = self.running.saturating_sub(1);
        self.forgive();
    }

    /// A session spent units beside its turns.
    pub(super) fn spend(&mut self, session: u64, units: u64) {
        if units > 0 && !self.is_free() {
            self.account(session).spend(units);
        }
    }

    /// Whether a session may do now what needs no turn. If not, another one waits that has spent less.
    pub(super) fn may_go_first(&self, session: u64) -> bool {
        let account = self.accounts.get(&session);
        let own = account.map_or(0, |account| account.waiting.len());
        self.waiting == own || account.is_none_or(|account| account.credit > 0)
    }

    /// A session has ended.
    pub(super) fn leave(&mut self, session: u64) {
        let left = self.accounts.remove(&session);
        let fewer = left.map_or(0, |account| account.waiting.len());
        self.waiting = self.waiting.saturating_sub(fewer);
    }

    /// Whether so little is in use that nobody needs a budget.
    pub(super) fn is_free(&self) -> bool {
        let free = self.threads.saturating_mul(limits::LANE_FREE_PERCENT);
        self.running.saturating_mul(100) < free
    }

    /// How often a session that waited was passed over for one that had its turn later, because it had taken more.
    pub(super) fn pauses(&self) -> u64 {
        self.pauses
    }

    fn account(&mut self, session: u64) -> &mut Account<T> {
        let last_turn = self.turn;
        self.accounts.entry(session).or_insert_with(|| Account {
            credit: NEWCOMER,
            last_turn,
            running: 0,
            waiting: VecDeque::new(),
        })
    }

    /// Gives everybody a quantum for each round that it takes until one of those who wait can pay. Who does not wait at
    /// the moment has the round too, but keeps no more than one quantum.
    fn begin_round(&mut self) {
        let rounds_of = |credit: i64| {
            let missing = 1_i64.saturating_sub(credit).max(0);
            let quantum = limits::BUDGET_QUANTUM;
            missing.saturating_add(quantum.saturating_sub(1)) / quantum
        };
        let waiting = self.accounts.values().filter(|it| it.waits());
        let rounds = waiting.map(|account| rounds_of(account.credit)).min();
        let more = rounds.unwrap_or(0).saturating_mul(limits::BUDGET_QUANTUM);
        for account in self.accounts.values_mut() {
            let credit = account.credit.saturating_add(more);
            account.credit = credit.min(limits::BUDGET_QUANTUM);
        }
    }

    /// Forgets what was spent once the machine is free again.
    fn forgive(&mut self) {
        if self.waiting == 0 && self.is_free() {
            self.accounts.retain(|_, account| {
                account.credit = NEWCOMER;
                account.running > 0
            });
        }
    }
}

impl<T> Account<T> {
    fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn spend(&mut self, units: u64) {
        self.credit = self.credit.saturating_sub_unsigned(units);
    }
}

#[cfg(test)]
mod tests;
