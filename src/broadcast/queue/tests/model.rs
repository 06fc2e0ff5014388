//! Random histories, and what holds in all of them.

use std::cell::RefCell;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;

/// A history: transactions that come, peers of every kind, and when the node sees what.
#[derive(Clone, Debug)]
struct History {
    seed: u64,
    /// Seconds since the one before, and after how many seconds it is seen.
    jobs: Vec<(u64, Option<u64>)>,
    /// Out of a hundred.
    stale_ends: u32,
}

fn histories() -> impl Strategy<Value = History> {
    let job = (0_u64..600, proptest::option::of(0_u64..4_000));
    let jobs = proptest::collection::vec(job, 1..6);
    (any::<u64>(), jobs, 0_u32..10).prop_map(|(seed, jobs, stale_ends)| History {
        seed,
        jobs,
        stale_ends,
    })
}

/// Peers of all kinds, each connection's by its number alone, whatever else happens.
fn of_all_kinds(seed: u64) -> Behaviour {
    Box::new(move |number| {
        let own = (number.job.0 << 32) | u64::from(number.slot << 8) | u64::from(number.attempt);
        let mut random = StdRng::seed_from_u64(seed ^ own.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let announced = random.random();
        let lasts = seconds(random.random_range(1..60));
        let (end, lasts) = match random.random_range(0..10) {
            0..4 => (DeliveryEnd::Ponged, lasts),
            4 => (DeliveryEnd::NoGetdata, seconds(180)),
            5 => (DeliveryEnd::NoRelay, lasts),
            6 => (DeliveryEnd::Violation { announced }, lasts),
            7 => (DeliveryEnd::Closed { announced }, lasts),
            8 => (DeliveryEnd::DialFailed, lasts),
            _ => (DeliveryEnd::HandshakeTimedOut, seconds(40)),
        };
        let height = random.random_range(799_800..800_010);
        (end, Some(height), lasts)
    })
}

/// Lives through a history; `sees` says whether the node sees anything.
fn lived(history: &History, sees: bool, candidates: Vec<Peer>, on: Duration) -> World {
    let mut world = World::new(history.seed, candidates);
    world.peers = of_all_kinds(history.seed);
    let verdicts = Rc::new(RefCell::new(StdRng::seed_from_u64(history.seed)));
    let ending = history.stale_ends;
    if sees {
        world.node = Box::new(move |_| match verdicts.borrow_mut().random_range(0..100) {
            drawn if drawn < ending => StaleVerdict::Superseded,
            drawn if drawn < 2 * ending => StaleVerdict::Rejected,
            drawn if drawn < 3 * ending => StaleVerdict::Known,
            90.. => StaleVerdict::Unanswered,
            _ => StaleVerdict::Acceptable,
        });
    }
    let mut seen_at = Vec::new();
    for (number, (wait, seen)) in (0..).zip(&history.jobs) {
        run_seeing(&mut world, &mut seen_at, seconds(*wait));
        let job = world.admit(number);
        if let (true, Some(seen)) = (sees, seen) {
            seen_at.push((world.now + seconds(*seen), job));
        }
    }
    run_seeing(&mut world, &mut seen_at, on);
    world
}

/// Lets time pass; transactions are seen when it is their time.
fn run_seeing(world: &mut World, seen_at: &mut Vec<(Instant, JobNumber)>, duration: Duration) {
    let until = world.now + duration;
    seen_at.sort();
    while let Some((at, job)) = seen_at.first().copied().filter(|(at, _)| *at <= until) {
        seen_at.remove(0);
        world.run(at - world.now);
        world.queue.seen(job);
        world.check();
    }
    world.run(until - world.now);
}

/// What an observer may compare: the dials of first slots, each with its time and its peer.
fn firsts(world: &World) -> Vec<(Duration, DialNumber, PeerAddress)> {
    let dials = world.dials(SlotKind::First).into_iter();
    dials
        .map(|dial| (dial.at, dial.number, dial.address.clone()))
        .collect()
}

fn hold_for_every_transaction(world: &World, transactions: usize) {
    let mut given: HashMap<PeerAddress, JobNumber> = HashMap::new();
    let mut groups = HashSet::new();
    for dial in &world.dialled {
        if dial.end == DeliveryEnd::DialFailed {
            continue;
        }
        let job = dial.number.job;
        let before = given.insert(dial.address.clone(), job);
        assert!(before.is_none(), "an address was given a second one");
        assert!(groups.insert((job, dial.address.group())), "a group twice");
    }
    for job in (0..).take(transactions).map(JobNumber) {
        let mut has_onion = false;
        for slot in 0..u32::from(DELIVERIES) {
            let mut dials = world
                .dialled
                .iter()
                .filter(|dial| (dial.number.job, dial.number.slot) == (job, slot))
                .peekable();
            assert!(dials.peek().is_some(), "a first slot never happened");
            has_onion |= dials.all(|dial| dial.address.network() == PeerNetwork::Onion);
        }
        assert!(has_onion, "no slot was onion throughout");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn first_slots_do_not_know_what_the_node_sees(history in histories()) {
        let alone = lived(&history, false, peers(400, 400), HOUR);
        let seen = lived(&history, true, peers(400, 400), HOUR);
        prop_assert!(firsts(&alone) == firsts(&seen));
        hold_for_every_transaction(&seen, history.jobs.len());
    }

    #[test]
    fn every_transaction_ends(history in histories(), onions in 0_u16..60, exits in 0_u16..60) {
        let world = lived(&history, true, peers(onions, exits), 49 * HOUR);
        prop_assert_eq!(world.jobs(), 0);
        prop_assert!(world.running.is_empty());
        prop_assert_eq!(world.queue.wake_at(), None);
    }
}

#[test]
fn seen_at_any_moment_the_first_slots_run_to_their_end() {
    for at in 0..60 {
        let mut history = History {
            seed: 11,
            jobs: vec![(0, None)],
            stale_ends: 0,
        };
        let alone = firsts(&lived(&history, false, peers(100, 100), HOUR / 4));
        history.jobs = vec![(0, Some(at * 5))];
        let seen = lived(&history, true, peers(100, 100), HOUR / 4);
        assert!(alone == firsts(&seen), "seen after {} s", at * 5);
        assert_eq!(seen.jobs(), 0);
    }
}

#[test]
fn further_slots_of_many_never_delay_a_first_one() {
    let crowd = |node: fn(JobNumber) -> StaleVerdict| {
        let mut world = World::new(5, peers(500, 500));
        world.node = Box::new(node);
        // Further slots last for ever, as good as.
        world.peers = Box::new(|number| match kind(number) {
            SlotKind::First => (DeliveryEnd::Ponged, None, seconds(20)),
            SlotKind::Further => (DeliveryEnd::NoGetdata, None, HOUR),
        });
        for number in 0..40 {
            world.admit(number);
            world.run(seconds(30));
        }
        world
    };
    let many = crowd(|_| StaleVerdict::Acceptable);
    let none = crowd(|_| StaleVerdict::Known);
    assert!(many.dials(SlotKind::Further).len() >= 8);
    assert!(none.dials(SlotKind::Further).is_empty());
    assert!(firsts(&many) == firsts(&none));
}
