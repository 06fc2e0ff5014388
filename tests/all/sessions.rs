//! How a session shares out its attention.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bitcoin::{BlockHash, Txid};
use claustrum::limits;
use claustrum::query::{Acceptance, FeeMode, FeeRate, MempoolFees, NodeReader, NodeSilent};
use claustrum::redact::RawTransaction;
use claustrum::session::{EndReason, serve};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::{self, Client};
use crate::fixture::{Fixture, script_hash};

const PING: &str = r#"{"id":0,"method":"server.ping"}"#;
const PONG: &str = r#"{"jsonrpc":"2.0","id":0,"result":null}"#;
const RELAYFEE: &str = r#"{"id":1,"method":"blockchain.relayfee"}"#;

/// A node that does not answer before it is let go.
struct StuckNode {
    free: Mutex<bool>,
    freed: Condvar,
    /// One permit for every question.
    asked: Semaphore,
}

impl StuckNode {
    fn new() -> (Arc<Self>, LetGo) {
        let node = Arc::new(Self {
            free: Mutex::new(false),
            freed: Condvar::new(),
            asked: Semaphore::new(0),
        });
        (Arc::clone(&node), LetGo(node))
    }

    fn let_go(&self) {
        *self.free.lock().unwrap() = true;
        self.freed.notify_all();
    }

    async fn was_asked(&self) {
        self.asked.acquire().await.unwrap().forget();
    }
}

/// Lets the node go at the end of a test, also of one that fails: its threads would keep the program from ending.
struct LetGo(Arc<StuckNode>);

impl Drop for LetGo {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

impl NodeReader for StuckNode {
    fn raw_transaction(
        &self,
        _: &Txid,
        _: Option<&BlockHash>,
    ) -> Result<Option<Vec<u8>>, NodeSilent> {
        Err(NodeSilent)
    }

    fn estimate_fee(&self, _: u16, _: Option<FeeMode>) -> Result<Option<FeeRate>, NodeSilent> {
        Err(NodeSilent)
    }

    fn mempool_fees(&self) -> Result<MempoolFees, NodeSilent> {
        self.asked.add_permits(1);
        let free = self.free.lock().unwrap();
        drop(self.freed.wait_while(free, |free| !*free).unwrap());
        Err(NodeSilent)
    }

    fn test_accept(&self, _: &[RawTransaction]) -> Result<Vec<Acceptance>, NodeSilent> {
        Err(NodeSilent)
    }
}

#[tokio::test]
async fn pings_and_other_sessions_overtake_what_waits_for_the_node() {
    let fixture = Fixture::three_blocks();
    let (node, _let_go) = StuckNode::new();
    let services = client::services(fixture.views(), Arc::clone(&node));
    let mut waiting = Client::connect(&services);
    for _ in 0..100 {
        waiting.send(format!("{RELAYFEE}\n").as_bytes()).await;
    }
    assert_eq!(waiting.ask(PING).await, PONG);
    let mut other = Client::connect(&services);
    let header = r#"{"id":2,"method":"blockchain.block.header","params":[0]}"#;
    assert!(other.ask(header).await.contains("result"));
    node.let_go();
    for _ in 0..100 {
        let told = waiting.line().await.unwrap();
        assert!(told.contains("the server's node did not answer"), "{told}");
    }
}

#[tokio::test]
async fn everything_that_is_pipelined_is_answered_once() {
    let fixture = Fixture::three_blocks();
    let client = Client::connect(&fixture.services());
    let mut lines = String::new();
    let count = 3000;
    for id in 0..count {
        let script_hash = script_hash(u8::try_from(id % 4).unwrap());
        let method = "blockchain.scripthash.get_history";
        writeln!(
            lines,
            r#"{{"id":{id},"method":"{method}","params":["{script_hash}"]}}"#
        )
        .unwrap();
    }
    let Client {
        reader, mut writer, ..
    } = client;
    let writing = tokio::spawn(async move { writer.write_all(lines.as_bytes()).await });
    let mut replies = reader.lines();
    let mut answered = BTreeSet::new();
    for _ in 0..count {
        let line = replies.next_line().await.unwrap().unwrap();
        let reply: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(reply["result"].is_array());
        answered.insert(reply["id"].as_u64().unwrap());
    }
    assert_eq!(answered.len(), count);
    writing.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_takes_a_few_steps_needs_no_thread_and_what_takes_more_does() {
    let fixture = Fixture::three_blocks();
    let services = client::with_threads(0, fixture.views(), StuckNode::new().0);
    let mut client = Client::connect(&services);
    let script_hash = script_hash(2);
    for method in ["get_balance", "get_history", "listunspent", "subscribe"] {
        let line = format!(
            r#"{{"id":7,"method":"blockchain.scripthash.{method}","params":["{script_hash}"]}}"#
        );
        let told = client.ask(&line).await;
        assert!(
            told.starts_with(r#"{"jsonrpc":"2.0","id":7,"result":"#),
            "{told}"
        );
        let told = client.ask(&format!("[{line}]")).await;
        assert!(told.contains("too much to do"), "{told}");
    }
    let headers = r#"{"id":8,"method":"blockchain.block.headers","params":[0,2]}"#;
    let told = client.ask(headers).await;
    assert!(told.contains("too much to do"), "{told}");
}

/// A stream on which requests never end, and which takes every answer; unlike tokio's own it never asks its reader to
/// let others go on.
struct Endless(String);

impl AsyncRead for Endless {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while room.remaining() >= self.0.len() {
            room.put_slice(self.0.as_bytes());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endless {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_flood_without_a_pause_leaves_the_thread_to_others() {
    let fixture = Fixture::three_blocks();
    let services = fixture.services();
    let cancel = CancellationToken::new();
    // Of a length that fills what is read at a time, so that no line is left half read.
    let balance = format!(
        r#"{{"id":1,"method":"blockchain.scripthash.get_balance","params":["{}"]}}"#,
        script_hash(2)
    );
    for line in [balance.as_str(), PING] {
        let endless = Endless(format!("{line:<255}\n"));
        let flood = serve(endless, Arc::clone(&services), cancel.clone());
        let flood = tokio::spawn(flood);
        let mut other = Client::connect(&services);
        for _ in 0..10 {
            assert_eq!(other.ask(PING).await, PONG);
        }
        flood.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_is_an_error() {
    let fixture = Fixture::three_blocks();
    let (node, _let_go) = StuckNode::new();
    let services = client::services(fixture.views(), Arc::clone(&node));
    let mut client = Client::connect(&services);
    client.send(format!("{RELAYFEE}\n").as_bytes()).await;
    node.was_asked().await;
    tokio::time::advance(limits::REQUEST_MAX).await;
    let told = client.line().await.unwrap();
    assert!(
        told.contains(r#""code":1,"message":"the server has too much to do"#),
        "{told}"
    );
}

#[tokio::test(start_paused = true)]
async fn shutting_down_waits_for_answers_but_not_for_ever() {
    let fixture = Fixture::three_blocks();
    let (node, _let_go) = StuckNode::new();
    let services = client::services(fixture.views(), Arc::clone(&node));
    let mut patient = Client::connect(&services);
    patient.send(format!("{RELAYFEE}\n").as_bytes()).await;
    node.was_asked().await;
    patient.cancel.cancel();
    let cancelled = Instant::now();
    let reason = tokio::select! {
        reason = patient.ended() => reason,
        () = time_passes() => panic!("time ended"),
    };
    assert_eq!(reason, EndReason::Cancelled);
    let most = limits::SHUTDOWN_SESSIONS_MAX + Duration::from_millis(100);
    let waited = cancelled.elapsed();
    assert!(
        waited >= limits::SHUTDOWN_SESSIONS_MAX && waited <= most,
        "{waited:?}"
    );

    let mut lucky = Client::connect(&services);
    lucky.send(format!("{RELAYFEE}\n").as_bytes()).await;
    node.was_asked().await;
    lucky.cancel.cancel();
    node.let_go();
    assert!(lucky.line().await.unwrap().contains("did not answer"));
    assert_eq!(lucky.line().await, None);
    assert_eq!(lucky.ended().await, EndReason::Cancelled);
}

/// Lets the paused clock run, which it does not by itself while a thread is busy.
async fn time_passes() {
    loop {
        tokio::time::advance(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_has_arrived_while_there_was_no_room_is_heard_when_there_is() {
    let fixture = Fixture::three_blocks();
    let (node, _let_go) = StuckNode::new();
    let services = client::services(fixture.views(), Arc::clone(&node));
    let mut client = Client::connect(&services);
    // Answers that fill the stream, as nobody takes them yet.
    let pings = 2 * client::STREAM_BYTES / PONG.len();
    let mut lines = format!("{PING}\n").repeat(pings);
    lines += &format!("{RELAYFEE}\n").repeat(limits::IN_FLIGHT_MAX);
    // Waits, and takes all the room for what waits.
    let digits = "00".repeat(limits::BACKLOG_BYTES_MAX / 2);
    writeln!(
        lines,
        r#"{{"id":1,"method":"blockchain.transaction.broadcast","params":["{digits}"]}}"#
    )
    .unwrap();
    // More than is read at once.
    let more = 2 * limits::READ_BYTES / PING.len();
    lines += &format!("{PING}\n").repeat(more);
    client.send(lines.as_bytes()).await;
    node.let_go();
    tokio::time::sleep(Duration::from_millis(200)).await;
    for answered in 0..pings + limits::IN_FLIGHT_MAX + 1 + more {
        assert!(client.line().await.is_some(), "the end after {answered}");
    }
}
