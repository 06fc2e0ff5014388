//! What a client hears without asking, and when.

use std::sync::Arc;
use std::time::Duration;

use claustrum::limits;
use claustrum::query::{Changes, NobodyToAsk, Readiness};
use tokio::time::timeout;

use crate::client::{self, Client};
use crate::fixture::{Fixture, script_hash};

const PING: &str = r#"{"id":0,"method":"server.ping"}"#;
const PONG: &str = r#"{"jsonrpc":"2.0","id":0,"result":null}"#;

fn subscribe(n: u8) -> String {
    let script_hash = script_hash(n);
    format!(r#"{{"id":{n},"method":"blockchain.scripthash.subscribe","params":["{script_hash}"]}}"#)
}

fn unsubscribe(n: u8) -> String {
    subscribe(n).replace(".subscribe", ".unsubscribe")
}

/// The result of a reply.
fn result(reply: &str) -> serde_json::Value {
    let reply: serde_json::Value = serde_json::from_str(reply).unwrap();
    reply["result"].clone()
}

/// Method and parameters of the next line, which is a notification.
async fn notified(client: &mut Client) -> (String, serde_json::Value) {
    let line = client.line().await.unwrap();
    let notification: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(notification.get("id").is_none(), "{line}");
    let method = notification["method"].as_str().unwrap().to_owned();
    (method, notification["params"].clone())
}

/// Nothing is on its way: the next line is the answer to what is asked now.
async fn assert_silent(client: &mut Client) {
    let silence = timeout(Duration::from_millis(100), client.line()).await;
    assert!(silence.is_err(), "{silence:?}");
    assert_eq!(client.ask(PING).await, PONG);
}

#[tokio::test]
async fn a_block_is_told_to_those_it_touches() {
    let mut fixture = Fixture::three_blocks();
    let services = fixture.services();
    let mut touched = Client::connect(&services);
    let mut other = Client::connect(&services);
    let before = result(&touched.ask(&subscribe(2)).await);
    let tip = r#"{"id":9,"method":"blockchain.headers.subscribe"}"#;
    assert_eq!(result(&touched.ask(tip).await)["height"], 3);
    assert!(result(&other.ask(&subscribe(7)).await).is_null());

    fixture.mine(2, &[]);
    let (method, params) = notified(&mut touched).await;
    assert_eq!(method, "blockchain.headers.subscribe");
    assert_eq!(params[0].as_object().unwrap().len(), 2);
    assert_eq!(params[0]["height"], 4);
    let (method, params) = notified(&mut touched).await;
    assert_eq!(method, "blockchain.scripthash.subscribe");
    assert_eq!(params[0], script_hash(2));
    assert_ne!(params[1], before);
    // The status is that of the history on the same stream.
    assert_eq!(result(&touched.ask(&subscribe(2)).await), params[1]);
    assert_silent(&mut touched).await;
    assert_silent(&mut other).await;
}

#[tokio::test]
async fn what_did_not_change_is_not_told() {
    let fixture = Fixture::three_blocks();
    let mut client = Client::connect(&fixture.services());
    client.ask(&subscribe(2)).await;
    client
        .ask(r#"{"id":9,"method":"blockchain.headers.subscribe"}"#)
        .await;
    fixture.touch(2);
    assert_silent(&mut client).await;
}

#[tokio::test]
async fn who_unsubscribes_hears_nothing_more() {
    let mut fixture = Fixture::three_blocks();
    let mut client = Client::connect(&fixture.services());
    client.ask(&subscribe(2)).await;
    assert_eq!(result(&client.ask(&unsubscribe(2)).await), true);
    assert_eq!(result(&client.ask(&unsubscribe(2)).await), false);
    fixture.mine(2, &[]);
    assert_silent(&mut client).await;
}

#[tokio::test]
async fn changes_of_many_views_are_told_together() {
    let mut fixture = Fixture::three_blocks();
    let mut client = Client::connect(&fixture.services());
    client.ask(&subscribe(2)).await;
    // More versions than a view remembers, none of which the session had time to look at.
    fixture.mine(2, &[]);
    for _ in 0..100 {
        fixture.publish(Readiness::Ready, Changes::default());
    }
    assert_eq!(notified(&mut client).await.1[0], script_hash(2));
    assert_silent(&mut client).await;
}

#[tokio::test]
async fn what_cannot_be_told_now_is_told_later() {
    let mut fixture = Fixture::three_blocks();
    let mut client = Client::connect(&fixture.services());
    client.ask(&subscribe(2)).await;
    fixture.mine(2, &[]);
    fixture.publish(Readiness::Stale, Changes::default());
    assert_silent(&mut client).await;
    fixture.publish(Readiness::Ready, Changes::default());
    assert_eq!(notified(&mut client).await.1[0], script_hash(2));
}

/// The paused clock runs only while nobody works: this ends because retries leave pauses.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_told_is_not_tried_without_pause() {
    let mut fixture = Fixture::three_blocks();
    let mut client = Client::connect(&fixture.services());
    client.ask(&subscribe(2)).await;
    fixture.mine(2, &[]);
    fixture.publish(Readiness::Stale, Changes::default());
    let silence = timeout(10 * limits::REFRESH_RETRY, client.line()).await;
    assert!(silence.is_err(), "{silence:?}");
}

/// With no thread for reads, nothing else is ever told.
#[tokio::test]
async fn few_things_are_looked_at_again_without_a_thread_for_it() {
    let mut fixture = Fixture::three_blocks();
    let services = client::with_threads(0, fixture.views(), Arc::new(NobodyToAsk));
    let mut client = Client::connect(&services);
    for n in [2, 3] {
        client.ask(&subscribe(n)).await;
    }
    for n in [2, 3, 2] {
        fixture.mine(n, &[]);
        assert_eq!(notified(&mut client).await.1[0], script_hash(n));
    }
    assert_silent(&mut client).await;
}

#[tokio::test]
async fn a_subscription_in_a_batch_counts() {
    let mut fixture = Fixture::three_blocks();
    let mut client = Client::connect(&fixture.services());
    let batch = format!("[{},{}]", subscribe(1), subscribe(2));
    let reply: serde_json::Value = serde_json::from_str(&client.ask(&batch).await).unwrap();
    assert_eq!(reply.as_array().unwrap().len(), 2);
    fixture.mine(1, &[]);
    assert_eq!(notified(&mut client).await.1[0], script_hash(1));
    assert_silent(&mut client).await;
}

/// As many things as one session may have waiting for it, and as many sessions: each is told of each script, in its
/// last state, and once for each block at most; somebody else is answered meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_touches_all_that_many_watch_is_told_to_each_once() {
    const SESSIONS: usize = 40;
    const SCRIPTS: u8 = 250;
    let mut fixture = Fixture::new();
    let funds: Vec<_> = (0..2).map(|_| fixture.mine(255, &[])[0]).collect();
    let services = fixture.services();
    let mut watching = Vec::new();
    for _ in 0..SESSIONS {
        let mut client = Client::connect(&services);
        let members: Vec<String> = (0..SCRIPTS).map(subscribe).collect();
        client.ask(&format!("[{}]", members.join(","))).await;
        watching.push(client);
    }
    let mut other = Client::connect(&services);
    let pays: Vec<(u8, u64)> = (0..SCRIPTS).map(|n| (n, 1000)).collect();
    // Nobody reads between the two.
    for funding in funds {
        fixture.mine(255, &[(funding, &pays)]);
        assert_eq!(other.ask(PING).await, PONG);
    }
    let mut statuses = serde_json::Map::new();
    for n in 0..SCRIPTS {
        let status = result(&other.ask(&subscribe(n)).await);
        statuses.insert(script_hash(n), status);
    }
    let mut told = 0;
    for client in &mut watching {
        let mut last = serde_json::Map::new();
        while last != statuses {
            let (_, params) = notified(client).await;
            last.insert(params[0].as_str().unwrap().to_owned(), params[1].clone());
            told += 1;
        }
        assert_silent(client).await;
    }
    let once = SESSIONS * usize::from(SCRIPTS);
    assert!((once..=2 * once).contains(&told), "{told}");
}
