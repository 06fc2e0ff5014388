//! Further slots: when there is one, when there is none any more, and when the operator is told.

use super::*;

/// A world with one transaction whose deliveries all end alike.
fn world(end: DeliveryEnd, lasts: Duration) -> (World, JobNumber) {
    let mut world = World::new(3, peers(200, 200));
    world.peers = always(end, lasts);
    let job = world.admit(1);
    (world, job)
}

fn silent() -> (World, JobNumber) {
    world(DeliveryEnd::NoGetdata, seconds(180))
}

fn ponged() -> (World, JobNumber) {
    world(DeliveryEnd::Ponged, seconds(5))
}

#[test]
fn a_minute_after_the_last_receipt_the_node_is_asked_at_the_next_look() {
    for (last, at) in [(5, 120..=180), (110, 170..=360)] {
        for seed in 0..50 {
            let mut world = World::new(seed, peers(20, 20));
            world.peers = Box::new(move |number| {
                let lasts = if number.slot == 2 { last } else { 5 };
                (DeliveryEnd::Ponged, None, seconds(lasts))
            });
            world.admit(1);
            world.run(seconds(360));
            let receipt = world.dialled[2].at + seconds(last);
            let (asked, _) = world.tests[0];
            assert!(
                asked >= receipt + seconds(60),
                "{asked:?} after {receipt:?}"
            );
            assert!(at.contains(&asked.as_secs()), "{asked:?}");
        }
    }
}

#[test]
fn without_receipt_the_node_is_asked_after_five_minutes() {
    for seed in 0..50 {
        let mut world = World::new(seed, peers(20, 20));
        world.peers = always(DeliveryEnd::NoGetdata, seconds(180));
        world.admit(1);
        world.run(seconds(480));
        let (asked, _) = world.tests[0];
        assert!((seconds(300)..=seconds(480)).contains(&asked), "{asked:?}");
    }
}

#[test]
fn a_round_is_one_slot() {
    let (mut world, _) = ponged();
    world.run(seconds(600));
    assert!(world.tests.len() >= 3);
    let further = world.dials(SlotKind::Further);
    let times: Vec<Duration> = further.iter().map(|dial| dial.at).collect();
    let asked: Vec<Duration> = world.tests.iter().map(|(at, _)| *at).collect();
    assert_eq!(
        times, asked,
        "each at once when the node would take it, and no other"
    );
}

#[test]
fn no_further_slot_while_a_first_one_lives() {
    let (mut world, _) = ponged();
    world.peers = Box::new(|number| {
        let lasts = if number.slot == 2 { 1_000 } else { 5 };
        (DeliveryEnd::Ponged, None, seconds(lasts))
    });
    world.run(seconds(990));
    assert!(world.tests.is_empty());
    world.run(seconds(300));
    assert!(!world.tests.is_empty());
}

#[test]
fn a_verdict_decides_over_further_slots() {
    for (verdict, lives) in [
        (StaleVerdict::Known, false),
        (StaleVerdict::Superseded, false),
        (StaleVerdict::Rejected, false),
        (StaleVerdict::Unanswered, true),
    ] {
        let (mut world, _) = ponged();
        world.node = Box::new(move |_| verdict);
        world.run(seconds(700));
        assert!(world.dials(SlotKind::Further).is_empty(), "{verdict:?}");
        assert_eq!(world.jobs(), usize::from(lives), "{verdict:?}");
        let asked = if lives { 4..=6 } else { 1..=1 };
        assert!(asked.contains(&world.tests.len()), "{verdict:?}");
    }
}

#[test]
fn what_is_seen_has_no_further_slot_but_ends_those_that_live() {
    let (mut world, job) = silent();
    world.run(seconds(500));
    assert_eq!(world.dials(SlotKind::Further).len(), 1);
    world.peers = always(DeliveryEnd::Closed { announced: true }, seconds(1));
    world.queue.seen(job);
    assert_eq!((world.jobs(), world.running.len()), (1, 1));
    world.run(HOUR);
    assert_eq!((world.jobs(), world.running.len()), (0, 0));
    assert_eq!(world.dials(SlotKind::Further).len(), 1);
}

#[test]
fn a_transaction_that_came_too_late_is_still_asked_for() {
    let (mut world, job) = ponged();
    world.run(seconds(100));
    let mut slots = world.now;
    while world.queue.stale(slots).is_empty() {
        slots += seconds(1);
    }
    world.queue.tested(job, StaleVerdict::Acceptable, slots);
    world.now = slots;
    world.peers = always(DeliveryEnd::NoGetdata, seconds(400));
    world.dial();
    while world.queue.stale(slots).is_empty() {
        slots += seconds(1);
    }
    world.queue.tested(job, StaleVerdict::Superseded, slots);
    assert_eq!(world.queue.unseen(), [(job, transaction(1).txid)]);
    world.queue.seen(job);
    assert!(world.queue.unseen().is_empty());
}

#[test]
fn attempts_slow_down_twice_and_end_after_two_days() {
    let (mut world, _) = ponged();
    world.run(49 * HOUR);
    assert_eq!(world.jobs(), 0);
    let times: Vec<Duration> = world
        .dials(SlotKind::Further)
        .iter()
        .map(|dial| dial.at)
        .collect();
    assert!(times.iter().all(|at| *at < 48 * HOUR));
    // Three were there from the start, so that the first of these is the fourth.
    for (place, two) in times.windows(2).enumerate() {
        let (attempts, gap) = (place + 4, two[1].saturating_sub(two[0]));
        let allowed = match attempts {
            ..10 => seconds(120)..=seconds(180),
            10..30 => seconds(600)..=seconds(900),
            _ => HOUR..=HOUR,
        };
        assert!(allowed.contains(&gap), "{gap:?} after {attempts} attempts");
    }
    assert!((65..80).contains(&times.len()), "{}", times.len());
}

#[test]
fn half_an_hour_without_delivery_is_an_alarm_until_there_is_one() {
    let (mut world, job) = silent();
    world.run(seconds(1_799));
    assert_eq!(world.alarm(), None);
    world.run(seconds(1));
    assert_eq!(world.alarm(), Some(Alarm::Stalled));
    world.peers = always(DeliveryEnd::Ponged, seconds(5));
    world.run(seconds(900));
    assert_eq!(world.alarm(), None);
    world.queue.seen(job);
    world.run(HOUR);
    assert_eq!(world.alarm(), None);
}

#[test]
fn delivered_twice_and_never_seen_is_an_alarm() {
    let (mut world, job) = ponged();
    world.run(seconds(200));
    assert_eq!((world.tests.len(), world.alarm()), (1, None));
    world.run(seconds(170));
    assert_eq!(
        (world.tests.len(), world.alarm()),
        (2, Some(Alarm::NeverSeen))
    );
    world.queue.seen(job);
    assert_eq!(world.alarm(), None);
}

#[test]
fn a_round_that_nobody_took_is_none_of_those() {
    let (mut world, _) = ponged();
    world.peers = Box::new(|number| match kind(number) {
        SlotKind::First => (DeliveryEnd::Ponged, None, seconds(5)),
        SlotKind::Further => (DeliveryEnd::NoGetdata, None, seconds(5)),
    });
    world.run(seconds(1_200));
    assert!(world.tests.len() > 3);
    assert_eq!(world.alarm(), None);
}

#[test]
fn a_node_that_does_not_answer_makes_no_alarm_of_peers() {
    let (mut world, _) = ponged();
    world.node = Box::new(|_| StaleVerdict::Unanswered);
    world.run(seconds(900));
    assert!(world.tests.len() > 3);
    assert_eq!(world.alarm(), None);
}

#[test]
fn used_up_attempts_are_an_alarm() {
    let (mut world, _) = silent();
    world.peers = Box::new(|number| {
        // One receipt late, so that it is not the time without one that alarms.
        let end = if number.slot > 27 {
            DeliveryEnd::Ponged
        } else {
            DeliveryEnd::NoGetdata
        };
        (end, None, seconds(5))
    });
    while world.dialled.len() < 29 {
        world.run(seconds(60));
    }
    world.run(seconds(60));
    assert_eq!(world.alarm(), None);
    while world.dialled.len() < 30 {
        world.run(seconds(60));
    }
    world.run(seconds(60));
    assert_eq!(world.alarm(), Some(Alarm::Stalled));
}

#[test]
fn peers_that_could_not_be_reached_are_tried_again_later() {
    let mut world = World::new(3, peers(3, 0));
    world.peers = always(DeliveryEnd::DialFailed, seconds(1));
    world.admit(1);
    world.run(HOUR / 2);
    let times: Vec<Duration> = world.dialled.iter().map(|dial| dial.at).collect();
    assert!((6..=9).contains(&times.len()), "{}", times.len());
    assert!(times[3] >= times[0] + seconds(601), "{times:?}");
}

#[test]
fn without_peers_everything_ends_as_well() {
    let mut world = World::new(3, peers(0, 4));
    world.admit(1);
    world.run(HOUR);
    assert_eq!(world.dialled.len(), 2);
    assert_eq!(world.alarm(), Some(Alarm::Stalled));
    world.run(49 * HOUR);
    assert_eq!((world.dialled.len(), world.jobs()), (2, 0));
}
