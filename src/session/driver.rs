//! The loop of one session: reads lines, starts work, writes what is ready.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::deadlines::{Deadlines, Faults};
use super::memo_room::MemoRoom;
use super::outbound::Outbound;
use super::pool::Account;
use super::ticks::Ticks;
use super::work::{self, Done, Pending};
use super::{EndReason, Services};
use crate::broadcast::Quota;
use crate::chain::ScriptHash;
use crate::electrum::{self, Conversation, Heard, LineBuffer, LineTooLong, Next};
use crate::limits;
use crate::query::{Changed, SessionMemo, View};

/// One client's stream.
pub(super) struct Session<'a> {
    services: &'a Arc<Services>,
    conversation: Conversation,
    quota: Arc<Quota>,
    memo: Arc<SessionMemo>,
    memo_room: MemoRoom,
    account: Arc<Account>,
    input: LineBuffer,
    /// Held while a long line arrives.
    large_line: Option<OwnedSemaphorePermit>,
    /// Lines that wait for their turn.
    backlog: VecDeque<Pending>,
    backlog_bytes: usize,
    /// Lines read, and lines answered at once, since others had the thread.
    turn_lines: usize,
    jobs: JoinSet<Done>,
    refreshing: bool,
    /// Not before this is anything looked at again.
    refresh_from: Instant,
    ticks: Ticks,
    outbound: Outbound,
    deadlines: Deadlines,
    faults: Faults,
    /// Why nothing more is read; what was asked until then is still answered.
    closing: Option<EndReason>,
    /// When the session ends at the latest, once it was cancelled.
    cancelled: Option<Instant>,
}

/// What a session waits for.
enum Event {
    Cancelled,
    Written(io::Result<usize>),
    Done(Option<Result<Done, JoinError>>),
    View(bool),
    LargeLine(Option<OwnedSemaphorePermit>),
    Read(io::Result<usize>),
    MoreToDo,
    Deadline,
}

impl<'a> Session<'a> {
    pub(super) fn new(services: &'a Arc<Services>) -> Self {
        Self {
            services,
            conversation: Conversation::new(Arc::clone(&services.identity)),
            quota: Arc::default(),
            memo: Arc::default(),
            memo_room: MemoRoom::new(&services.memos),
            account: Arc::new(services.pool.account()),
            input: LineBuffer::new(limits::LINE_BYTES_MAX),
            large_line: None,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            turn_lines: 0,
            jobs: JoinSet::new(),
            refreshing: false,
            refresh_from: Instant::now(),
            ticks: Ticks::new(services.uniform_ticks),
            outbound: Outbound::new(),
            deadlines: Deadlines::new(),
            faults: Faults::new(),
            closing: None,
            cancelled: None,
        }
    }

    pub(super) async fn run(
        mut self,
        mut reader: impl AsyncRead + Unpin,
        mut writer: impl AsyncWrite + Unpin,
        cancel: &CancellationToken,
    ) -> EndReason {
        let mut views = self.services.views.clone();
        let mut views_open = true;
        self.look_at(&mut views);
        loop {
            self.take_lines();
            self.start_work();
            // After what was looked at again just now, without a request.
            self.forget();
            self.tick();
            if self.may_read() && self.input.holds_unheard() {
                // What was started made room for what has arrived; reading now would find no space for more.
                continue;
            }
            if let Some(reason) = self.ended() {
                return reason;
            }
            let unfinished = self.may_work();
            let deadline = self.deadline();
            let needs_permit = self.needs_permit();
            let reads = self.reads();
            let large_lines = &self.services.large_lines;
            let event = tokio::select! {
                biased;
                () = cancel.cancelled(), if self.cancelled.is_none() => Event::Cancelled,
                written = self.outbound.write(&mut writer), if !self.outbound.is_empty() => {
                    Event::Written(written)
                }
                done = self.jobs.join_next(), if !self.jobs.is_empty() => Event::Done(done),
                changed = views.changed(), if views_open => Event::View(changed.is_ok()),
                permit = Arc::clone(large_lines).acquire_owned(), if needs_permit => {
                    Event::LargeLine(permit.ok())
                }
                read = reader.read(self.input.space()), if reads => Event::Read(read),
                () = std::future::ready(()), if unfinished => Event::MoreToDo,
                () = tokio::time::sleep_until(deadline) => Event::Deadline,
            };
            match event {
                Event::Cancelled => {
                    self.cancelled = Some(Instant::now() + limits::SHUTDOWN_SESSIONS_MAX);
                    self.closing.get_or_insert(EndReason::Cancelled);
                }
                Event::Written(Err(_)) | Event::Read(Err(_)) => return EndReason::ClientLeft,
                Event::Written(Ok(bytes)) => self.account.sent(bytes),
                Event::MoreToDo | Event::Deadline => {}
                Event::Done(done) => self.done(done),
                Event::View(open) => {
                    views_open = open;
                    self.look_at(&mut views);
                }
                Event::LargeLine(permit) => self.large_line = permit,
                // Whoever ends its sending side may still wait for answers.
                Event::Read(Ok(0)) => self.closing = Some(EndReason::ClientLeft),
                Event::Read(Ok(count)) => self.input.filled(count),
            }
            // A stream that always has more never makes this task wait.
            if self.turn_lines >= limits::TURN_LINES_MAX {
                self.turn_lines = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    /// Whether there is room for what more requests lead to.
    fn may_read(&self) -> bool {
        self.closing.is_none()
            && self.backlog_bytes < limits::BACKLOG_BYTES_MAX
            && self.outbound.bytes() < limits::OUTBOUND_BYTES_SOFT
    }

    fn needs_permit(&self) -> bool {
        let long = self.input.begun_bytes() > limits::LINE_BYTES_FREE;
        long && self.large_line.is_none() && self.may_read()
    }

    fn reads(&self) -> bool {
        self.may_read() && !self.needs_permit()
    }

    /// Hears every line that has arrived, as far as there is room for what it leads to.
    fn take_lines(&mut self) {
        while self.may_read() {
            let Some(line) = self.input.next_line() else {
                self.deadlines.line_begun(self.input.begun_bytes());
                break;
            };
            self.deadlines.heard();
            self.turn_lines = self.turn_lines.saturating_add(1);
            match line {
                Ok(line) => {
                    let heard = self.conversation.hear(&line, self.services.readiness());
                    let bytes = line.len();
                    let reason = heard.close.then_some(EndReason::VersionRefused);
                    self.act(heard, bytes, reason);
                }
                Err(LineTooLong) => {
                    let heard = self.conversation.line_too_long();
                    self.act(heard, 0, Some(EndReason::LineTooLong));
                }
            }
        }
        if !self.reads() {
            self.deadlines.paused();
        }
    }

    fn act(&mut self, heard: Heard, bytes: usize, mut reason: Option<EndReason>) {
        self.services.counters.heard(heard.requests, heard.faults);
        if self.faults.add(heard.faults) {
            reason = reason.or(Some(EndReason::ProtocolErrors));
        }
        let large_line = self.large_line.take();
        match heard.next {
            Next::Nothing => {}
            Next::Send(line) => {
                self.outbound.push(self.ticks.release(), None);
                self.outbound.push(line, None);
            }
            Next::Work(exchange) => {
                self.backlog_bytes = self.backlog_bytes.saturating_add(bytes);
                self.backlog.push_back(Pending {
                    exchange,
                    bytes,
                    large_line,
                });
            }
        }
        self.closing = self.closing.or(reason);
    }

    /// Whether the next line that waits may be answered now, as far as the client takes its answers.
    fn may_work(&self) -> bool {
        !self.backlog.is_empty()
            && self.jobs.len() < limits::IN_FLIGHT_MAX
            && self.outbound.bytes() < limits::OUTBOUND_BYTES_SOFT
    }

    /// Answers what waits, or has it answered.
    fn start_work(&mut self) {
        let mut view = None;
        while self.may_work()
            && self.turn_lines < limits::TURN_LINES_MAX
            && let Some(pending) = self.backlog.pop_front()
        {
            self.turn_lines = self.turn_lines.saturating_add(1);
            self.backlog_bytes = self.backlog_bytes.saturating_sub(pending.bytes);
            let view = view.get_or_insert_with(|| self.services.view());
            let (account, memo) = (&self.account, &self.memo);
            let exchange = &pending.exchange;
            match work::answer_at_once(self.services, account, memo, view.as_ref(), exchange) {
                Some(done) => self.take(done),
                None => self.start(pending),
            }
        }
        while !self.refreshing
            && self.may_read()
            && self.refresh_from <= Instant::now()
            && let Some(refresh) = self.conversation.refresh()
        {
            let view = view.get_or_insert_with(|| self.services.view());
            let (account, memo) = (&self.account, &self.memo);
            if let Some(done) =
                work::refresh_at_once(self.services, account, memo, view.as_ref(), &refresh)
            {
                self.take(done);
                continue;
            }
            self.refreshing = true;
            let services = Arc::clone(self.services);
            self.jobs.spawn(work::refresh(
                services,
                refresh,
                Arc::clone(&self.quota),
                Arc::clone(&self.memo),
                Arc::clone(&self.account),
            ));
        }
        if !self.refreshing && self.may_read() && self.refresh_from <= Instant::now() {
            self.refresh_from = self.ticks.next_look().unwrap_or(self.refresh_from);
        }
    }

    /// Tells what a block changed when its moment has come, in a write of the size that all sessions write then: one
    /// that has nothing to tell repeats what the client knows.
    fn tick(&mut self) {
        if !self.ticks.come() {
            return;
        }
        let mut lines = self.ticks.release();
        if lines.is_empty() && self.may_read() {
            self.conversation.repeat(&mut lines);
        }
        electrum::pad_from(&mut lines, limits::BLOCK_TICK_BYTES);
        self.outbound.push(lines, None);
    }

    fn start(&mut self, pending: Pending) {
        let services = Arc::clone(self.services);
        self.jobs.spawn(work::answer(
            services,
            pending,
            Arc::clone(&self.quota),
            Arc::clone(&self.memo),
            Arc::clone(&self.account),
        ));
    }

    /// Takes this result and all others that are there, so that they leave together.
    fn done(&mut self, first: Option<Result<Done, JoinError>>) {
        let mut next = first;
        while let Some(done) = next {
            match done {
                Ok(done) => self.take(done),
                Err(_panicked) => self.refreshing = false,
            }
            next = self.jobs.try_join_next();
        }
    }

    /// Keeps nothing of its answers for a client that asks no more, or when there is no room for it.
    fn forget(&mut self) {
        let is_over = self.forgets_at().is_some_and(|at| at <= Instant::now());
        if is_over || !self.memo_room.take(self.memo.bytes()) {
            self.memo.clear();
            self.memo_room.take(self.memo.bytes());
        }
    }

    fn forgets_at(&self) -> Option<Instant> {
        let heard = self.deadlines.last_heard()?;
        (!self.memo.is_empty()).then(|| heard + limits::MEMO_IDLE_MAX)
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::Exchange(finished, room) => {
                let line = self.conversation.finished(finished);
                self.outbound.push(self.ticks.release(), None);
                self.outbound.push(line, room);
            }
            Done::Refresh(findings) => {
                self.refreshing = false;
                if !findings.is_complete() {
                    self.refresh_from = Instant::now() + limits::REFRESH_RETRY;
                }
                let mut lines = Vec::new();
                self.conversation.refreshed(&findings, &mut lines);
                self.outbound.push(self.ticks.hold(lines), None);
            }
        }
    }

    /// Takes note of what changed with the current view. The view itself is not kept.
    fn look_at(&mut self, views: &mut watch::Receiver<Option<Arc<View>>>) {
        let Some(view) = views.borrow_and_update().clone() else {
            return;
        };
        let changed = view.changed_since(self.conversation.seen());
        let affected = |script_hash: &ScriptHash| match &changed {
            Changed::All => true,
            Changed::Some(changes) => {
                let prefix = view.snapshot.prefix(script_hash);
                changes.iter().any(|changes| changes.contains(prefix))
            }
        };
        self.conversation
            .view_published(view.version, view.tip(), affected);
        if self.ticks.view(view.tip().map(|tip| tip.hash)) {
            self.refresh_from = Instant::now();
        }
    }

    /// Whether it is over, and why.
    fn ended(&self) -> Option<EndReason> {
        let now = Instant::now();
        let due = self.waits().filter(|(at, _)| *at <= now);
        let overdue = due.filter_map(|(_, reason)| reason).next();
        let answered = self.jobs.is_empty() && self.backlog.is_empty() && self.outbound.is_empty();
        let closed = self.closing.filter(|_| answered);
        overdue.or(closed)
    }

    /// When to look again although nothing happened.
    fn deadline(&self) -> Instant {
        let now = Instant::now();
        let later = self.waits().map(|(at, _)| at).filter(|at| *at > now);
        later.min().unwrap_or(now + limits::IDLE_MAX)
    }

    /// Moments that are waited for, and how the session ends when they have come.
    fn waits(&self) -> impl Iterator<Item = (Instant, Option<EndReason>)> {
        let reading = self.reads().then(|| {
            let (at, reason) = self.deadlines.next(self.input.begun_bytes());
            (at, Some(reason))
        });
        let writing = (!self.outbound.is_empty()).then(|| {
            let at = self.outbound.progressed() + limits::NO_DRAIN_MAX;
            (at, Some(EndReason::NoDrain))
        });
        let cancelled = self.cancelled.map(|at| (at, Some(EndReason::Cancelled)));
        let refresh = Some((self.refresh_from, None));
        let forget = self.forgets_at().map(|at| (at, None));
        let tick = self.ticks.due_at().map(|at| (at, None));
        let all = [cancelled, writing, reading, refresh, forget, tick];
        all.into_iter().flatten()
    }
}
