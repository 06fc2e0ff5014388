//! What the node has seen must not show in what peers see.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use super::bench::{Bench, Connection, Peers};
use crate::limits;

const LETTERS: &str = "abcdefghij";

/// The connections of one transaction up to the end of its first three.
async fn connections(peers: Peers, seen_after: Option<u64>, seed: u64) -> Vec<Connection> {
    let bench = Bench::start(LETTERS, peers, seed).await;
    drop(bench.take(1).unwrap());
    if let Some(seconds) = seen_after {
        sleep(Duration::from_secs(seconds)).await;
        bench.see(1);
        sleep(Duration::from_secs(230 - seconds)).await;
    } else {
        sleep(Duration::from_secs(230)).await;
    }
    bench.connections()
}

#[tokio::test(start_paused = true)]
async fn a_held_connection_lasts_its_time_and_all_deliveries_begin_whatever_the_node_has_seen() {
    let life = limits::PEER_CONNECTION_MAX.as_secs_f64();
    for seed in 0..20 {
        let unseen = connections(Peers::HoldBack, None, seed).await;
        assert_eq!(unseen.len(), 3);
        for connection in &unseen {
            let lasted = connection.until.unwrap() - connection.from;
            assert!((lasted - life).abs() < 0.01, "{lasted}");
        }
        for seen_after in [0, 2, 30] {
            let seen = connections(Peers::HoldBack, Some(seen_after), seed).await;
            assert_same(&seen, &unseen);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_first_deliveries_do_about_absent_peers_does_not_depend_on_it_either() {
    for seed in 0..20 {
        let unseen = connections(Peers::Away, None, seed).await;
        assert!(unseen.len() >= 10);
        let seen = connections(Peers::Away, Some(1), seed).await;
        assert_same(&seen, &unseen);
    }
}

#[tokio::test(start_paused = true)]
async fn starts_are_apart_and_nobody_waits_for_another() {
    for seed in 0..50 {
        let starts: Vec<f64> = connections(Peers::HoldBack, Some(1), seed)
            .await
            .iter()
            .map(|connection| connection.from)
            .collect();
        assert!(starts[0] <= limits::SLOT_START_MAX.as_secs_f64() + 0.01);
        let max = limits::SLOT_STAGGER_MAX.as_secs_f64() + 0.01;
        assert!(
            starts
                .windows(2)
                .all(|pair| (0.0..=max).contains(&(pair[1] - pair[0])))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_node_is_asked_only_while_something_has_not_come_back() {
    let bench = Bench::start(LETTERS, Peers::HoldBack, 1).await;
    let looks = || bench.node.looks.load(Ordering::Relaxed);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(looks(), 0);
    drop(bench.take(1).unwrap());
    sleep(Duration::from_millis(10_500)).await;
    assert_eq!(looks(), 10);
    bench.see(1);
    sleep(Duration::from_secs(100)).await;
    assert_eq!(looks(), 11);
}

/// The runtime's clock counts in milliseconds.
fn assert_same(some: &[Connection], others: &[Connection]) {
    assert_eq!(some.len(), others.len());
    for (one, other) in some.iter().zip(others) {
        assert_eq!(one.to, other.to);
        assert!((one.from - other.from).abs() < 0.01, "{one:?} {other:?}");
        let (until, until_other) = (one.until.unwrap_or(0.0), other.until.unwrap_or(0.0));
        assert!((until - until_other).abs() < 0.01, "{one:?} {other:?}");
    }
}
