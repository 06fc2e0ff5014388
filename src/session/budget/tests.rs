use super::*;
use proptest::prelude::*;

const QUANTUM: u64 = limits::BUDGET_QUANTUM.unsigned_abs();

/// A lane whose requests take as long as they cost, and the sessions that ask it.
struct Lane {
    budget: Budget<Request>,
    /// Requests that have their turn, by when they are done.
    running: Vec<(u64, u64, Request)>,
    now: u64,
    tickets: u64,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    units: u64,
    asked: u64,
}

/// What a request met.
struct Served {
    session: u64,
    units: u64,
    waited: u64,
}

impl Lane {
    fn new(threads: usize) -> Self {
        Self {
            budget: Budget::new(threads),
            running: Vec::new(),
            now: 0,
            tickets: 0,
        }
    }

    fn ask(&mut self, session: u64, units: u64) -> u64 {
        self.tickets += 1;
        let asked = self.now;
        let request = Request { units, asked };
        self.budget.ask(session, self.tickets, request);
        self.start();
        self.tickets
    }

    fn start(&mut self) {
        while let Some((session, request)) = self.budget.next() {
            let ends = self.now + request.units;
            self.running.push((ends, session, request));
        }
        let idle = self.running.len() < self.budget.threads;
        assert!(!idle || self.budget.waiting == 0, "a thread is idle");
    }

    /// Lets time pass until the next request is done.
    fn step(&mut self) -> Option<Served> {
        let place = (0..self.running.len()).min_by_key(|place| self.running[*place].0)?;
        let (ends, session, request) = self.running.swap_remove(place);
        self.now = ends;
        self.budget.finished(session, request.units);
        self.start();
        Some(Served {
            session,
            units: request.units,
            waited: ends - request.units - request.asked,
        })
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap()
}

fn place(session: u64) -> usize {
    usize::try_from(session).unwrap()
}

/// What sessions got that always have so many requests of such costs waiting, until this much time has passed.
fn greedy(threads: usize, costs: &[(usize, u64)], until: u64) -> Vec<u64> {
    let mut lane = Lane::new(threads);
    for (session, (count, units)) in (0..).zip(costs) {
        for _ in 0..*count {
            lane.ask(session, *units);
        }
    }
    let mut got = vec![0; costs.len()];
    while lane.now < until {
        let served = lane.step().unwrap();
        got[place(served.session)] += served.units;
        lane.ask(served.session, served.units);
    }
    assert!(lane.budget.accounts.len() <= costs.len());
    got
}

proptest! {
    #[test]
    fn nobody_waits_below_the_free_part(
        threads in 1..20_usize,
        requests in prop::collection::vec((0..4_u64, 1..10_000_u64), 1..200),
    ) {
        let mut lane = Lane::new(threads);
        for (session, units) in requests {
            while !lane.budget.is_free() {
                let served = lane.step().unwrap();
                prop_assert_eq!(served.waited, 0);
            }
            lane.budget.spend(session, units * 1_000);
            lane.ask(session, units);
            prop_assert_eq!(lane.budget.waiting, 0);
        }
        prop_assert_eq!(lane.budget.pauses(), 0);
    }

    #[test]
    fn who_is_alone_is_never_held_back(
        threads in 1..5_usize,
        costs in prop::collection::vec(1..100_000_u64, 1..100),
        sent in 0..100_000_u64,
    ) {
        let mut lane = Lane::new(threads);
        for units in costs {
            lane.ask(7, units);
            lane.budget.spend(7, sent);
            prop_assert!(lane.budget.may_go_first(7));
            if lane.budget.waiting > 16 {
                lane.step();
            }
        }
        while lane.step().is_some() {}
        prop_assert_eq!(lane.budget.pauses(), 0);
        prop_assert!(lane.budget.accounts.is_empty());
    }

    /// Whatever one request of theirs takes, and however many they ask at a time beyond one for each thread.
    #[test]
    fn the_greedy_get_the_same(
        threads in 1..4_usize,
        costs in prop::collection::vec((5..17_usize, 1..5_000_u64), 2..6),
    ) {
        let until = 2_000_000;
        let got = greedy(threads, &costs, until);
        let dearest = costs.iter().map(|(_, units)| *units).max().unwrap();
        let (least, most) = (got.iter().min().unwrap(), got.iter().max().unwrap());
        // A request is paid when it is done, and each thread may have one.
        let apart = QUANTUM + (number(threads) + 1) * dearest;
        prop_assert!(most - least <= apart, "{got:?}, {apart}");
    }

    /// A session with one small request at a time goes first, but for those that come just when its units are spent.
    #[test]
    fn the_modest_wait_for_one_thread_alone(
        threads in 1..4_usize,
        others in prop::collection::vec((1..17_usize, 10..5_000_u64), 1..6),
        own in 1..10_u64,
    ) {
        let modest = number(others.len());
        let mut lane = Lane::new(threads);
        for (session, (count, units)) in (0..).zip(&others) {
            for _ in 0..*count {
                lane.ask(session, *units);
            }
        }
        let dearest = others.iter().map(|(_, units)| *units).max().unwrap();
        lane.ask(modest, own);
        let mut waits = Vec::new();
        while waits.len() < 500 {
            let served = lane.step().unwrap();
            if served.session == modest {
                waits.push(served.waited);
            }
            lane.ask(served.session, served.units);
        }
        let late = waits.iter().filter(|waited| **waited > dearest).count();
        prop_assert!(late * 10 < waits.len(), "{late}");
    }

    /// Whatever is asked, withdrawn, spent and left, all turns come to an end and nothing is kept.
    #[test]
    fn everybody_has_a_turn_and_nothing_stays(
        threads in 1..4_usize,
        steps in prop::collection::vec((0..6_u8, 0..5_u64, 0..3_000_u64), 1..300),
    ) {
        let mut lane = Lane::new(threads);
        for (kind, session, number) in steps {
            match kind {
                0..=2 => drop(lane.ask(session, number)),
                3 => lane.budget.withdraw(session, lane.tickets.saturating_sub(number % 8)),
                4 => lane.budget.spend(session, number),
                _ => lane.budget.leave(session),
            }
            lane.start();
            let waiting: usize = lane.budget.accounts.values().map(|it| it.waiting.len()).sum();
            prop_assert_eq!(waiting, lane.budget.waiting);
            prop_assert!(lane.budget.accounts.values().all(|it| it.credit <= limits::BUDGET_QUANTUM));
            if kind == 2 {
                lane.step();
            }
        }
        while lane.step().is_some() {}
        prop_assert_eq!(lane.budget.waiting, 0);
        prop_assert!(lane.budget.accounts.is_empty());
    }
}

#[test]
fn the_free_part_is_seventy_percent() {
    for (threads, most_free) in [(1, 0), (2, 1), (3, 2), (4, 2), (10, 6)] {
        let mut lane = Lane::new(threads);
        for _ in 0..most_free {
            assert!(lane.budget.is_free());
            lane.ask(0, 1);
        }
        assert!(lane.budget.is_free());
        lane.ask(0, 1);
        assert!(!lane.budget.is_free());
    }
}

#[test]
fn bytes_and_time_have_one_price() {
    assert_eq!(units_of_time(Duration::from_millis(10)), QUANTUM);
    assert_eq!(units_of_time(Duration::from_micros(19)), 1);
    assert_eq!(units_of_bytes(1024 * 1024), 1024);
}

#[test]
fn bytes_are_paid_like_time() {
    let mut lane = Lane::new(1);
    let mut got = [0_u64; 2];
    for session in [0, 0, 1, 1] {
        lane.ask(session, 100);
    }
    for _ in 0..4_000 {
        let served = lane.step().unwrap();
        // One of them gets nine times as much in bytes.
        let sent = if served.session == 0 { 900 } else { 0 };
        lane.budget.spend(served.session, sent);
        got[place(served.session)] += served.units;
        lane.ask(served.session, served.units);
    }
    assert!(got[1].abs_diff(got[0] * 10) <= 2 * QUANTUM, "{got:?}");
    assert!(lane.budget.pauses() > 0);
}

#[test]
fn who_has_spent_its_part_answers_nothing_before_others() {
    let mut lane = Lane::new(1);
    lane.ask(0, 10);
    lane.budget.spend(0, 2 * QUANTUM);
    assert!(lane.budget.may_go_first(0));
    lane.ask(1, 10);
    assert!(!lane.budget.may_go_first(0));
    assert!(lane.budget.may_go_first(1) && lane.budget.may_go_first(2));
}

#[test]
fn coming_again_buys_nothing() {
    let mut lane = Lane::new(1);
    for session in 0..3 {
        lane.ask(session, 10);
    }
    // Each time it comes it is a new session.
    for session in 3..100 {
        lane.ask(session, 10);
        let served = lane.step().unwrap().session;
        lane.budget.leave(served);
        assert!(served <= 2, "{served} before the others");
        if served == 2 {
            break;
        }
    }
}

#[test]
fn who_has_fewer_threads_goes_next() {
    let mut lane = Lane::new(3);
    for units in [1_000, 2_000, 100] {
        lane.ask(0, units);
    }
    lane.ask(0, 100);
    lane.ask(1, 100);
    lane.step();
    assert_eq!(lane.running.last().unwrap().1, 1);
}
