//! Whom a block paid cannot be seen from what leaves, where the operator wants that.

use std::sync::Arc;
use std::time::Duration;

use claustrum::chain::ScriptHash;
use claustrum::limits;
use claustrum::query::{Changes, Readiness, View};
use tokio::sync::watch;
use tokio::time::Instant;

use super::STREAM_BYTES;
use super::recording::{Record, Recording};
use crate::client::Client;
use crate::fixture::{Fixture, script, script_hash};

const PAID: u8 = 20;
const STEP: Duration = Duration::from_millis(50);
const STEPS: usize = 60;

/// The sizes of what left in each step of time after a block, for a wallet with the script that it paid and one without.
async fn seen_at_a_block(uniform: bool, watches_tip: bool) -> [Vec<Vec<usize>>; 2] {
    let mut fixture = Fixture::three_blocks();
    let mut services = fixture.services();
    Arc::get_mut(&mut services).unwrap().uniform_ticks = uniform;
    let mut wallets = Vec::new();
    for script in [PAID, PAID + 1] {
        let record = Record::default();
        let mut client = Client::connect_by(&services, STREAM_BYTES, |stream| Recording {
            stream,
            taken: usize::MAX,
            record: record.clone(),
        });
        let hash = script_hash(script);
        let subscribe = "blockchain.scripthash.subscribe";
        client
            .ask(&format!(
                r#"{{"id":1,"method":"{subscribe}","params":["{hash}"]}}"#
            ))
            .await;
        if watches_tip {
            client
                .ask(r#"{"id":2,"method":"blockchain.headers.subscribe"}"#)
                .await;
        }
        wallets.push((client, record));
    }
    // Beyond the first look at the mempool.
    tokio::time::sleep(limits::MEMPOOL_TICK_MAX).await;
    for (_, record) in &wallets {
        drop(record.take());
    }
    fixture.mine(PAID, &[]);
    let mut seen = [Vec::new(), Vec::new()];
    for _ in 0..STEPS {
        tokio::time::sleep(STEP).await;
        for ((_, record), seen) in wallets.iter().zip(&mut seen) {
            let sizes = record
                .take()
                .iter()
                .map(|parts| parts.concat().len())
                .collect();
            seen.push(sizes);
        }
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn a_block_looks_alike_to_whom_it_paid_and_to_whom_it_did_not() {
    for watches_tip in [false, true] {
        let [paid, other] = seen_at_a_block(true, watches_tip).await;
        assert_eq!(paid, other, "{watches_tip}");
        assert_eq!(paid.concat(), [limits::BLOCK_TICK_BYTES]);
    }
}

#[tokio::test(start_paused = true)]
async fn by_default_a_script_that_was_paid_is_told_at_once() {
    let [paid, other] = seen_at_a_block(false, false).await;
    assert_eq!((paid[0].as_slice(), other.concat().len()), (&[488][..], 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_leaves_after_what_is_held() {
    let mut fixture = Fixture::three_blocks();
    let mut services = fixture.services();
    Arc::get_mut(&mut services).unwrap().uniform_ticks = true;
    let mut client = Client::connect(&services);
    let hash = script_hash(PAID);
    let scripts = |method: &str| {
        format!(r#"{{"id":1,"method":"blockchain.scripthash.{method}","params":["{hash}"]}}"#)
    };
    for method in ["get_balance", "unsubscribe"] {
        client.ask(&scripts("subscribe")).await;
        fixture.mine(PAID, &[]);
        tokio::time::sleep(STEP).await;
        let told = client.ask(&scripts(method)).await;
        assert!(told.contains("\"method\""), "{method}: {told}");
        let answer = client.line().await.unwrap();
        assert!(answer.contains("\"result\""), "{method}: {answer}");
        tokio::time::sleep(limits::BLOCK_TICK).await;
        if method == "get_balance" {
            assert_eq!(client.line().await.unwrap(), told, "repeated at the tick");
        }
    }
}

/// After a change without a block, how long a session's word of it takes.
async fn told_of_the_mempool_after(uniform: bool) -> Duration {
    let mut fixture = Fixture::three_blocks();
    let mut services = fixture.services();
    let begun = fixture.views().borrow().clone().unwrap();
    let (publish, views) = watch::channel(Some(Arc::clone(&begun)));
    let shared = Arc::get_mut(&mut services).unwrap();
    (shared.views, shared.uniform_ticks) = (views, uniform);
    let mut client = Client::connect(&services);
    let hash = script_hash(PAID);
    client
        .ask(&format!(
            r#"{{"id":1,"method":"blockchain.scripthash.subscribe","params":["{hash}"]}}"#
        ))
        .await;
    fixture.mine(PAID, &[]);
    let mined = fixture.views().borrow().clone().unwrap();
    // A block of which the session learns later, with the same tip, that it paid to the script.
    let follow = |view: &View, changes| {
        let (snapshot, mempool) = (Arc::clone(&mined.snapshot), Arc::clone(&view.mempool));
        Arc::new(view.followed_by(snapshot, mempool, Readiness::Ready, changes))
    };
    let silent = follow(&begun, Changes::default());
    publish.send_replace(Some(Arc::clone(&silent)));
    // Past the tick of the block, before the first look at the mempool.
    tokio::time::sleep(limits::BLOCK_TICK + STEP).await;
    if uniform {
        let repeated = client.line().await.unwrap();
        assert!(repeated.contains("null"), "{repeated}");
    }
    let scripts = vec![mined.snapshot.prefix(&ScriptHash::of(&script(PAID)))];
    publish.send_replace(Some(follow(&silent, Changes { scripts })));
    let published = Instant::now();
    let told = client.line().await.unwrap();
    assert!(told.contains(&hash) && !told.contains("null"), "{told}");
    published.elapsed()
}

#[tokio::test(start_paused = true)]
async fn the_mempool_is_told_at_ticks() {
    let waited = told_of_the_mempool_after(true).await;
    let first = limits::MEMPOOL_TICK_MIN.saturating_sub(limits::BLOCK_TICK + 2 * STEP);
    assert!(
        waited >= first && waited <= limits::MEMPOOL_TICK_MAX,
        "{waited:?}"
    );
    assert_eq!(told_of_the_mempool_after(false).await, Duration::ZERO);
}
