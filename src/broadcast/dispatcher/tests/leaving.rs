//! From a session to the end.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::bench::{Bench, Node, Peers, host, transaction};
use crate::broadcast::{Alarm, Hindrance, Refusal};
use crate::limits;

const LETTERS: &str = "abcdefghij";

async fn wait(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_transaction_goes_to_three_peers_and_its_client_hears_when_it_is_back() {
    let bench = Bench::start(LETTERS, Peers::Honest, 1).await;
    bench.see(1);
    let answered = bench.answered_after(1).await;
    assert!(answered <= 1.01, "{answered}");
    wait(60).await;
    let connections = bench.connections();
    let peers: HashSet<_> = connections
        .iter()
        .map(|connection| &connection.to)
        .collect();
    assert_eq!((connections.len(), peers.len()), (3, 3));
    // Nothing is left of it, and the network's copy answers for it.
    assert!(
        !bench
            .admission
            .dispatcher()
            .holds(&transaction(1).compute_txid())
    );
}

#[tokio::test(start_paused = true)]
async fn its_client_waits_so_long_at_most_and_hears_no_error() {
    for peers in [Peers::HoldBack, Peers::Away] {
        let bench = Bench::start(LETTERS, peers, 1).await;
        let answered = bench.answered_after(1).await;
        assert!((answered - limits::ANSWER_WAIT.as_secs_f64()).abs() < 0.01);
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_come_back_is_tested_and_goes_to_one_more_peer() {
    let bench = Bench::start(LETTERS, Peers::Honest, 1).await;
    drop(bench.take(1).unwrap());
    let tests = || bench.node.tests.load(Ordering::Relaxed);
    wait(60).await;
    assert_eq!((bench.connections().len(), tests()), (3, 1));
    // The first look comes after two to three minutes.
    wait(130).await;
    assert_eq!((bench.connections().len(), tests()), (4, 2));
    wait(400).await;
    assert!(bench.connections().len() > 5);
    assert_eq!(bench.admission.dispatcher().alarm(), Some(Alarm::NeverSeen));
    bench.see(1);
    wait(5).await;
    assert_eq!(bench.admission.dispatcher().alarm(), None);
    let connections = bench.connections().len();
    wait(2_000).await;
    assert_eq!(bench.connections().len(), connections);
}

#[tokio::test(start_paused = true)]
async fn what_the_node_would_not_take_any_more_goes_to_nobody_else() {
    let gone = [
        "txn-mempool-conflict",
        "insufficient fee, rejecting replacement",
        "bad-txns-inputs-missingorspent",
        "txn-already-known",
    ];
    for reason in gone {
        let bench = Bench::start(LETTERS, Peers::Honest, 1).await;
        drop(bench.take(1).unwrap());
        wait(30).await;
        *bench.node.reason.lock().unwrap() = Some(reason);
        wait(3_000).await;
        assert_eq!(bench.connections().len(), 3, "{reason}");
        assert!(
            !bench
                .admission
                .dispatcher()
                .holds(&transaction(1).compute_txid())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_node_there_are_no_further_peers_until_it_is_back() {
    let bench = Bench::start(LETTERS, Peers::Honest, 1).await;
    drop(bench.take(1).unwrap());
    bench.node.is_silent.store(true, Ordering::Relaxed);
    wait(1_000).await;
    // The first deliveries do not need it.
    assert_eq!(bench.connections().len(), 3);
    assert_eq!(
        bench.admission.dispatcher().readiness(),
        Err(Hindrance::NoNode)
    );
    bench.node.is_silent.store(false, Ordering::Relaxed);
    wait(200).await;
    assert!(bench.connections().len() > 3);
}

#[tokio::test(start_paused = true)]
async fn it_never_goes_to_the_node_itself_to_us_or_to_whom_the_operator_excludes() {
    let node = Node {
        own_hosts: Mutex::new(vec![host('a'), "an i2p name".into(), "10.0.0.1".into()]),
        ..Node::default()
    };
    let bench = Bench::start_beside(node, "abcdexy", Peers::Away, 1).await;
    for number in 0..10 {
        drop(bench.take(number).unwrap());
    }
    wait(2_000).await;
    let peers: HashSet<_> = bench
        .connections()
        .into_iter()
        .map(|dial| dial.to)
        .collect();
    assert_eq!(peers, "bcde".chars().map(host).collect());

    // What it learns of itself later counts from then on.
    let bench = Bench::start(LETTERS, Peers::Away, 1).await;
    *bench.node.own_hosts.lock().unwrap() = "abcdefgh".chars().map(host).collect();
    wait(15).await;
    assert_eq!(
        bench.admission.dispatcher().readiness(),
        Err(Hindrance::FewPeers)
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_taken_that_would_not_leave() {
    let bench = Bench::start(LETTERS, Peers::Honest, 1).await;
    let refused = || bench.take(1).err();
    let readiness = || bench.admission.dispatcher().readiness().err();
    bench.tor.is_ready.store(false, Ordering::Relaxed);
    assert_eq!(
        (refused(), readiness()),
        (Some(Refusal::NotReady), Some(Hindrance::NoTor))
    );
    bench.tor.is_ready.store(true, Ordering::Relaxed);

    // A node that fetches the chain does not know what was spent.
    bench.node.is_downloading.store(true, Ordering::Relaxed);
    *bench.node.reason.lock().unwrap() = Some("missing-inputs");
    wait(15).await;
    assert_eq!(refused(), Some(Refusal::NotReady));
    assert_eq!(readiness(), Some(Hindrance::InitialDownload));
    bench.node.is_downloading.store(false, Ordering::Relaxed);
    wait(15).await;
    assert_eq!(
        (refused(), readiness()),
        (Some(Refusal::MissingInputs), None)
    );

    // What the network has is known, ready or not.
    *bench.node.reason.lock().unwrap() = Some("txn-already-in-mempool");
    bench.tor.is_ready.store(false, Ordering::Relaxed);
    assert!(bench.take(1).unwrap().settled.is_none());
    bench.node.is_silent.store(true, Ordering::Relaxed);
    assert_eq!(refused(), Some(Refusal::NotReady));
    wait(60).await;
    assert!(bench.connections().is_empty());

    let bench = Bench::start("abxy", Peers::Honest, 1).await;
    assert_eq!(bench.take(1).err(), Some(Refusal::NotReady));
    assert_eq!(
        bench.admission.dispatcher().readiness(),
        Err(Hindrance::FewPeers)
    );
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_is_on_its_way_is_not_taken_again() {
    let bench = Bench::start(LETTERS, Peers::HoldBack, 1).await;
    assert!(bench.take(1).unwrap().settled.is_some());
    for _ in 0..20 {
        assert!(bench.take(1).unwrap().settled.is_none());
    }
    assert_eq!(bench.node.tests.load(Ordering::Relaxed), 1);
    // They did not count.
    let rest = u8::try_from(limits::SESSION_TRANSACTIONS_MAX).unwrap();
    for number in 2..=rest {
        assert!(bench.take(number).is_ok());
    }
    assert_eq!(bench.take(200).err(), Some(Refusal::QueueFull));
    assert!(bench.take(1).is_ok());
}

#[tokio::test(start_paused = true)]
async fn without_tor_nobody_is_dialled_and_with_it_again_not_all_at_once() {
    let bench = Bench::start("abcdefghijklmnopqrstuvw", Peers::HoldBack, 1).await;
    for number in 0..3 {
        drop(bench.take(number).unwrap());
    }
    bench.tor.is_ready.store(false, Ordering::Relaxed);
    wait(300).await;
    assert_eq!(bench.connections().len(), 0);
    bench.tor.is_ready.store(true, Ordering::Relaxed);
    wait(60).await;
    let mut starts: Vec<f64> = bench.connections().iter().map(|dial| dial.from).collect();
    starts.dedup();
    assert_eq!(starts.len(), 9, "{starts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_defect_of_ours_counts_as_a_peer_that_was_told_and_left() {
    let bench = Bench::start(LETTERS, Peers::Deadly, 1).await;
    drop(bench.take(1).unwrap());
    wait(120).await;
    let replaced = usize::try_from(limits::REPLACEMENTS_MAX).unwrap();
    assert_eq!(bench.connections().len(), 3 * (1 + replaced));
}

#[tokio::test(start_paused = true)]
async fn an_end_waits_for_open_deliveries_but_not_long() {
    let bench = Bench::start(LETTERS, Peers::HoldBack, 1).await;
    drop(bench.take(1).unwrap());
    wait(60).await;
    let begun = Instant::now();
    bench.admission.dispatcher().stop().await;
    assert_eq!(begun.elapsed(), limits::SHUTDOWN_BROADCAST_MAX);
    assert_eq!(bench.take(2).err(), Some(Refusal::NotReady));
    wait(1).await;
    assert!(bench.connections().iter().all(|dial| dial.until.is_some()));

    // Nobody is dialled any more, also who should have been.
    let bench = Bench::start(LETTERS, Peers::HoldBack, 1).await;
    drop(bench.take(1).unwrap());
    while bench.connections().is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    bench.admission.dispatcher().stop().await;
    assert_eq!(bench.connections().len(), 1);
    let bench = Bench::start(LETTERS, Peers::Honest, 1).await;
    drop(bench.take(1).unwrap());
    let begun = Instant::now();
    bench.admission.dispatcher().stop().await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    wait(600).await;
    assert_eq!(bench.connections().len(), 0);
}
