//! What clients must not do: each gets its defined error or its end, and nobody else notices.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use claustrum::limits;
use claustrum::session::EndReason;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, timeout};

use crate::client::{Client, STREAM_BYTES, nothing_indexed};

const PING: &str = r#"{"id":1,"method":"server.ping"}"#;
const PONG: &str = r#"{"jsonrpc":"2.0","id":1,"result":null}"#;
const PARSE_ERROR: &str =
    r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse error"}}"#;

/// A ping with so many spaces in it that its line has this length.
fn long_ping(bytes: usize) -> String {
    let spaces = " ".repeat(bytes - PING.len());
    PING.replace('}', &format!("{spaces}}}"))
}

#[tokio::test]
async fn a_giant_line_is_an_error_and_an_end() {
    let mut client = Client::connect(&nothing_indexed());
    assert_eq!(client.ask(&long_ping(limits::LINE_BYTES_MAX)).await, PONG);
    client
        .send(&vec![b'x'; limits::LINE_BYTES_MAX + 2 * STREAM_BYTES])
        .await;
    let told = client.line().await.unwrap();
    assert!(told.contains("line too long"), "{told}");
    assert_eq!(client.line().await, None);
    assert_eq!(client.ended().await, EndReason::LineTooLong);
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_session_in_its_time() {
    let services = nothing_indexed();
    let started = Instant::now();
    let nothing = Client::connect(&services);
    assert_eq!(nothing.ended().await, EndReason::NoFirstLine);
    assert_eq!(
        started.elapsed().as_secs(),
        limits::FIRST_LINE_MAX.as_secs()
    );

    let started = Instant::now();
    let mut half = Client::connect(&services);
    half.send(b"{\"id\":1,").await;
    assert_eq!(half.ended().await, EndReason::SlowLine);
    assert_eq!(
        started.elapsed().as_secs(),
        limits::LINE_COMPLETION_MAX.as_secs()
    );

    let mut idle = Client::connect(&services);
    assert_eq!(idle.ask(PING).await, PONG);
    let started = Instant::now();
    assert_eq!(idle.ended().await, EndReason::Idle);
    assert_eq!(started.elapsed().as_secs(), limits::IDLE_MAX.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_trickle_of_bytes_buys_no_time() {
    let mut client = Client::connect(&nothing_indexed());
    assert_eq!(client.ask(PING).await, PONG);
    let started = Instant::now();
    while client.writer.write_all(b" ").await.is_ok() {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    assert_eq!(client.ended().await, EndReason::SlowLine);
    let most = limits::LINE_COMPLETION_MAX + Duration::from_secs(10);
    assert!(started.elapsed() <= most, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_slow_but_steady_long_line_is_heard() {
    let mut client = Client::connect(&nothing_indexed());
    assert_eq!(client.ask(PING).await, PONG);
    let line = long_ping(400_000) + "\n";
    for piece in line
        .as_bytes()
        .chunks(2 * limits::LINE_BYTES_PER_SECOND_MIN)
    {
        client.send(piece).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(client.line().await.as_deref(), Some(PONG));
}

#[tokio::test(start_paused = true)]
async fn long_lines_wait_for_each_other() {
    let services = nothing_indexed();
    let begun = vec![b' '; 2 * limits::LINE_BYTES_FREE];
    let mut holders = Vec::new();
    for _ in 0..limits::LARGE_LINES_MAX {
        let mut holder = Client::connect(&services);
        holder.send(&begun).await;
        holders.push(holder);
    }
    let mut next = Client::connect(&services);
    let line = long_ping(begun.len()) + "\n";
    let second = Duration::from_secs(1);
    assert!(timeout(second, next.send(line.as_bytes())).await.is_err());
    // Those without long lines do not wait.
    let mut other = Client::connect(&services);
    assert_eq!(other.ask(PING).await, PONG);
    let mut holder = holders.pop().unwrap();
    assert_eq!(holder.ask(PING).await, PONG);
    // What `next` had sent before it was held up is a part of the line.
    next.send(b"\n").await;
    assert!(next.line().await.is_some());
}

#[tokio::test]
async fn bytes_that_are_no_text_are_a_parse_error() {
    let mut client = Client::connect(&nothing_indexed());
    for line in [
        &b"\xff\xfe"[..],
        b"\0\0\0",
        b"",
        b"\r",
        b"{\"id\":1,\"method\":\"\xc3\x28\"}",
    ] {
        client.send(line).await;
        client.send(b"\n").await;
        assert_eq!(
            client.line().await.as_deref(),
            Some(PARSE_ERROR),
            "{line:?}"
        );
    }
    assert_eq!(client.ask(&format!("{PING}\r")).await, PONG);
}

#[tokio::test]
async fn nesting_is_harmless() {
    let mut client = Client::connect(&nothing_indexed());
    let deep = "[".repeat(100_000);
    assert_eq!(client.ask(&deep).await, PARSE_ERROR);
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let params = format!(r#"{{"id":1,"method":"server.ping","params":{nested}}}"#);
    assert!(client.ask(&params).await.contains("-32602"));
    let id = format!(r#"{{"id":{nested},"method":"server.ping"}}"#);
    assert_eq!(
        client.ask(&id).await,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"invalid request"}}"#
    );
}

#[tokio::test]
async fn a_batch_beyond_the_limit_is_refused_as_a_whole() {
    let mut client = Client::connect(&nothing_indexed());
    let batch = |count: usize| format!("[{}]", vec![PING; count].join(","));
    let told = client.ask(&batch(limits::BATCH_ITEMS_MAX)).await;
    assert_eq!(told.matches(PONG).count(), limits::BATCH_ITEMS_MAX);
    let told = client.ask(&batch(10_000)).await;
    assert_eq!(
        told,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"Batch limit exceeded"}}"#
    );
    assert_eq!(client.ask(PING).await, PONG);
}

#[tokio::test]
async fn faults_are_forgiven_up_to_a_number() {
    let services = nothing_indexed();
    let mut client = Client::connect(&services);
    for _ in 0..limits::PROTOCOL_ERRORS_PER_MINUTE_MAX {
        assert_eq!(client.ask("x").await, PARSE_ERROR);
    }
    assert_eq!(client.ask(PING).await, PONG);
    assert_eq!(client.ask("x").await, PARSE_ERROR);
    assert_eq!(client.line().await, None);
    assert_eq!(client.ended().await, EndReason::ProtocolErrors);
    let most = u64::try_from(limits::PROTOCOL_ERRORS_PER_MINUTE_MAX).unwrap();
    assert_eq!(services.counters.protocol_errors(), most + 1);
    assert_eq!(services.counters.requests(), most + 2);
    assert_eq!(services.counters.sessions_open(), 0);
}

#[tokio::test(start_paused = true)]
async fn faults_are_forgotten_after_a_minute() {
    let mut client = Client::connect(&nothing_indexed());
    for _ in 0..3 {
        for _ in 0..limits::PROTOCOL_ERRORS_PER_MINUTE_MAX {
            assert_eq!(client.ask("x").await, PARSE_ERROR);
        }
        tokio::time::sleep(Duration::from_secs(61)).await;
    }
    assert_eq!(client.ask(PING).await, PONG);
}

#[tokio::test]
async fn a_flood_of_empty_lines_ends() {
    let mut client = Client::connect(&nothing_indexed());
    client.send(&vec![b'\n'; 1_000_000]).await;
    let mut told = 0;
    while client.line().await.is_some() {
        told += 1;
    }
    assert_eq!(told, limits::PROTOCOL_ERRORS_PER_MINUTE_MAX + 1);
    assert_eq!(client.ended().await, EndReason::ProtocolErrors);
}

#[tokio::test(start_paused = true)]
async fn who_never_reads_costs_only_itself() {
    let services = nothing_indexed();
    let mut deaf = Client::connect(&services);
    let mut other = Client::connect(&services);
    let started = Instant::now();
    let ping = format!("{PING}\n");
    let mut taken = 0;
    // The session stops reading when its answers do not leave.
    while let Ok(Ok(())) = timeout(
        Duration::from_secs(1),
        deaf.writer.write_all(ping.as_bytes()),
    )
    .await
    {
        taken += 1;
        if taken % 1000 == 0 {
            assert_eq!(other.ask(PING).await, PONG);
        }
    }
    let answers = taken * (PONG.len() + 1);
    // What waits for it, what the stream holds in both directions, and what was read with the last line.
    let most = limits::OUTBOUND_BYTES_SOFT + 3 * STREAM_BYTES + 2 * limits::READ_BYTES;
    assert!(
        answers > limits::OUTBOUND_BYTES_SOFT && answers < most,
        "{answers}"
    );
    assert_eq!(other.ask(PING).await, PONG);
    assert_eq!(deaf.ended().await, EndReason::NoDrain);
    let waited = started.elapsed();
    assert!(
        waited >= limits::NO_DRAIN_MAX && waited < limits::NO_DRAIN_MAX + Duration::from_secs(5)
    );
    assert_eq!(other.ask(PING).await, PONG);
}

#[tokio::test]
async fn what_was_asked_before_the_sending_side_ended_is_answered() {
    let mut client = Client::connect(&nothing_indexed());
    let mut lines = String::new();
    for id in 0..100 {
        writeln!(
            lines,
            r#"{{"id":{id},"method":"blockchain.block.header","params":[0]}}"#
        )
        .unwrap();
    }
    client.send(lines.as_bytes()).await;
    client.finish_sending().await;
    let mut told = 0;
    while client.line().await.is_some() {
        told += 1;
    }
    assert_eq!(told, 100);
    assert_eq!(client.ended().await, EndReason::ClientLeft);
}

#[tokio::test]
async fn a_cancelled_session_ends() {
    let services = nothing_indexed();
    let mut client = Client::connect(&services);
    assert_eq!(client.ask(PING).await, PONG);
    assert_eq!(services.counters.sessions_open(), 1);
    client.cancel.cancel();
    assert_eq!(client.ended().await, EndReason::Cancelled);
    assert_eq!(Arc::strong_count(&services), 1);
}
