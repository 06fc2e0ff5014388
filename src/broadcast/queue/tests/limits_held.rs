//! What the queue takes, and what it takes no notice of.

use super::*;
use crate::limits;

fn queue() -> Queue {
    Queue::new(Timing::standard(), DELIVERIES, StdRng::seed_from_u64(1))
}

#[test]
fn a_hundred_transactions_fit() {
    let (mut queue, now) = (queue(), Instant::now());
    for number in 0..100 {
        assert!(queue.admit(transaction(number), now).is_ok(), "{number}");
    }
    assert_eq!(queue.admit(transaction(100), now), Err(Full));
    assert_eq!(queue.summary(now).jobs, limits::JOBS_MAX);
}

#[test]
fn eight_megabytes_fit() {
    let (mut queue, now) = (queue(), Instant::now());
    for number in 0..20 {
        let large = spending(number, number, 400_000);
        assert!(queue.admit(large, now).is_ok(), "{number}");
    }
    assert_eq!(queue.admit(spending(20, 20, 1), now), Err(Full));
}

#[test]
fn four_transactions_may_spend_one_output() {
    let (mut queue, now) = (queue(), Instant::now());
    for number in 0..4 {
        assert!(queue.admit(spending(number, 7, 1), now).is_ok(), "{number}");
    }
    assert_eq!(queue.admit(spending(4, 7, 1), now), Err(Full));
    assert!(queue.admit(spending(5, 8, 1), now).is_ok());
}

/// A child of these numbers and parents.
fn child_of(
    number: u32,
    bytes: usize,
    parents: &[&Arc<QueuedTransaction>],
) -> Arc<QueuedTransaction> {
    let child = Arc::into_inner(spending(number, number, bytes)).unwrap();
    let parents = parents.iter().map(|&parent| Arc::clone(parent));
    Arc::new(child.with_parents(parents.collect()))
}

#[test]
fn parents_count_where_their_child_counts() {
    let (mut queue, now) = (queue(), Instant::now());
    for number in 0..18 {
        let large = spending(number, number, 400_000);
        assert!(queue.admit(large, now).is_ok(), "{number}");
    }
    let (small, large) = (spending(20, 20, 400_000), spending(21, 21, 400_001));
    assert_eq!(
        queue.admit(child_of(30, 400_000, &[&large]), now),
        Err(Full)
    );
    assert!(queue.admit(child_of(30, 400_000, &[&small]), now).is_ok());

    let mut queue = self::queue();
    for number in 0..3 {
        assert!(queue.admit(spending(number, 7, 1), now).is_ok());
    }
    let parent = spending(3, 7, 1);
    assert!(queue.admit(child_of(30, 1, &[&parent]), now).is_ok());
    assert_eq!(queue.admit(spending(4, 7, 1), now), Err(Full));
    assert_eq!(
        queue.admit(child_of(31, 1, &[&spending(5, 7, 1)]), now),
        Err(Full)
    );
}

#[test]
fn parents_on_their_way_are_found_alone_and_in_packages() {
    let (mut queue, now) = (queue(), Instant::now());
    let (alone, served) = (transaction(1), transaction(2));
    queue.admit(Arc::clone(&alone), now).unwrap();
    let job = queue
        .admit(child_of(3, 1, &[&alone, &served]), now)
        .unwrap();
    assert_eq!(queue.admit(transaction(2), now), Ok(job));
    let found = |txids: &[Txid]| -> Vec<Txid> {
        let inputs: Vec<OutPoint> = txids.iter().map(|txid| OutPoint::new(*txid, 0)).collect();
        let parents = queue.parents_of(&inputs);
        parents.iter().map(|parent| parent.txid).collect()
    };
    assert_eq!(found(&[alone.txid, served.txid]), [alone.txid, served.txid]);
    assert_eq!(found(&[transaction(3).txid]), [transaction(3).txid]);
    assert_eq!(found(&[transaction(4).txid]), []);
}

#[test]
fn a_transaction_keeps_its_job() {
    let (mut queue, now) = (queue(), Instant::now());
    let number = queue.admit(transaction(1), now).unwrap();
    assert_eq!(queue.admit(spending(1, 2, 3), now), Ok(number));
    assert_eq!(queue.summary(now).jobs, 1);
    assert!(queue.find(&transaction(1).txid) && !queue.find(&transaction(2).txid));
}

#[test]
fn what_is_done_is_forgotten_and_its_memory_is_let_go() {
    let mut world = World::new(1, peers(20, 20));
    let transaction = transaction(1);
    let memory = Arc::downgrade(&transaction);
    let job = world.queue.admit(transaction, world.now).unwrap();
    world.run(seconds(1));
    world.queue.seen(job);
    assert!(world.queue.unseen().is_empty());
    world.run(seconds(120));
    assert_eq!(world.dialled.len(), 3, "it was seen, and goes on");
    assert_eq!(world.jobs(), 0);
    assert!(memory.upgrade().is_none());
    assert!(!world.queue.find(&super::transaction(1).txid));
}

#[test]
fn late_words_change_nothing() {
    let mut world = World::new(1, peers(20, 20));
    world.peers = always(DeliveryEnd::DialFailed, seconds(10));
    let job = world.admit(1);
    world.run(seconds(15));
    let first = world.dialled[0].number;
    let newer = world
        .dialled
        .iter()
        .find(|dial| dial.number.slot == first.slot && dial.number != first);
    assert!(newer.is_some(), "the slot has gone on");
    let before = world.queue.wake_at();
    let report = Report {
        end: DeliveryEnd::Ponged,
        peer_height: None,
        tip: TIP,
    };
    let (pool, now) = (&mut world.pool, world.now);
    world.queue.ended(first, report, pool, now);
    let gone = DialNumber {
        job: JobNumber(9),
        ..first
    };
    world.queue.ended(gone, report, pool, now);
    world.queue.seen(JobNumber(9));
    world.queue.tested(job, StaleVerdict::Acceptable, now);
    world.queue.tested(job, StaleVerdict::Rejected, now);
    assert_eq!(world.queue.unseen(), [(job, transaction(1).txid)]);
    assert_eq!(world.queue.wake_at(), before);
    world.check();
}

#[test]
fn a_connection_more_than_there_may_be_waits_for_another_to_end() {
    let mut world = World::new(1, peers(60, 60));
    world.peers = always(DeliveryEnd::NoGetdata, seconds(180));
    for number in 0..10 {
        world.admit(number);
    }
    world.run(seconds(100));
    assert_eq!(world.dialled.len(), limits::FIRST_CONNECTIONS_MAX);
    world.run(seconds(110));
    assert_eq!(world.dialled.len(), 30);
}

#[test]
fn after_a_pause_nothing_begins_all_at_once() {
    let mut world = World::new(1, peers(60, 60));
    for number in 0..5 {
        world.admit(number);
    }
    let planned = world.queue.wake_at();
    world.queue.resume(world.now);
    assert_eq!(world.queue.wake_at(), planned, "nothing is late");
    world.now += HOUR / 12;
    world.queue.resume(world.now);
    world.run(seconds(60));
    let mut times: Vec<Duration> = world
        .dials(SlotKind::First)
        .iter()
        .map(|dial| dial.at)
        .collect();
    assert_eq!(times.len(), 15);
    times.dedup();
    assert_eq!(times.len(), 15, "each at a time of its own");
    assert!(times.iter().all(|at| *at > HOUR / 12));
}

#[test]
fn there_are_first_slots_for_each_number_of_deliveries() {
    for deliveries in 2..=5 {
        let mut random = StdRng::seed_from_u64(4);
        let timing = Timing::standard();
        let both = Networks::Both;
        let mut pool = PeerPool::new(peers(20, 20), both, Vec::new(), &timing, &mut random);
        let mut queue = Queue::new(timing, deliveries, random);
        let now = Instant::now();
        queue.admit(transaction(1), now).unwrap();
        let dials = queue.due(&mut pool, now + seconds(103));
        assert_eq!(dials.len(), usize::from(deliveries));
    }
}

#[test]
fn one_slot_at_least_is_onion_and_the_others_are_as_they_fall() {
    let mut count: HashMap<Vec<u32>, u32> = HashMap::new();
    for seed in 0..2_000 {
        let mut world = World::new(seed, peers(10, 10));
        world.admit(1);
        world.run(seconds(60));
        let onions = world
            .dialled
            .iter()
            .filter(|dial| dial.address.network() == PeerNetwork::Onion)
            .map(|dial| dial.number.slot)
            .collect();
        *count.entry(onions).or_default() += 1;
    }
    // Of eight equally likely triples the one without onion becomes one with one, anywhere.
    assert_eq!(count.len(), 7);
    for (onions, times) in count {
        let expected = if onions.len() == 1 { 333 } else { 250 };
        assert!(times.abs_diff(expected) < 70, "{onions:?}: {times}");
    }
}
