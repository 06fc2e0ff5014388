//! Bounds of sessions at their edge: what has exactly the size is served, and one more gets its defined error.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use claustrum::electrum::ProtocolVersion;
use claustrum::limits;
use claustrum::session::EndReason;
use rig::node::{self, Node};
use rig::server::{Loopback, Options};
use rig::socks::Line;
use serde_json::json;
use tokio::io::AsyncBufReadExt as _;
use tokio::time::timeout;

use crate::client::{self, Client, nothing_indexed};
use crate::fixture::{self, Fixture, script_hash};

const PING: &str = r#"{"id":1,"method":"server.ping"}"#;
const PONG: &str = r#"{"jsonrpc":"2.0","id":1,"result":null}"#;
const SECOND: Duration = Duration::from_secs(1);

/// A ping and so many bytes in all, its end not counted.
fn long_ping(bytes: usize) -> String {
    format!("{PING}{}", " ".repeat(bytes - PING.len()))
}

#[tokio::test]
async fn a_line_one_byte_too_long_is_refused() {
    for (bytes, told) in [
        (limits::LINE_BYTES_MAX, PONG),
        (limits::LINE_BYTES_MAX + 1, "line too long"),
    ] {
        let mut client = Client::connect(&nothing_indexed());
        let line = long_ping(bytes);
        assert!(client.ask(&line).await.contains(told), "{bytes}");
        if told != PONG {
            assert_eq!(client.ended().await, EndReason::LineTooLong);
        }
    }
}

#[tokio::test]
async fn a_batch_with_one_member_too_many_is_refused() {
    let mut client = Client::connect(&nothing_indexed());
    for (count, refused) in [
        (limits::BATCH_ITEMS_MAX, false),
        (limits::BATCH_ITEMS_MAX + 1, true),
    ] {
        let told = client
            .ask(&format!("[{}]", vec![PING; count].join(",")))
            .await;
        assert_eq!(told.contains("Batch limit exceeded"), refused, "{count}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_needs_a_permit_from_one_byte_above_the_free_ones() {
    let services = nothing_indexed();
    let mut holders = Vec::new();
    for _ in 0..limits::LARGE_LINES_MAX {
        let mut holder = Client::connect(&services);
        holder.send(&vec![b' '; limits::LINE_BYTES_FREE + 1]).await;
        holders.push(holder);
    }
    tokio::time::sleep(SECOND).await;
    for (bytes, answered) in [
        (limits::LINE_BYTES_FREE, true),
        (limits::LINE_BYTES_FREE + 1, false),
    ] {
        let mut next = Client::connect(&services);
        next.send(long_ping(bytes).as_bytes()).await;
        // Its end comes later, or it would be a whole line before anybody asked for a permit.
        tokio::time::sleep(SECOND).await;
        next.send(b"\n").await;
        let told = timeout(SECOND, next.line()).await;
        assert_eq!(told.is_ok(), answered, "{bytes}");
    }
}

#[tokio::test]
async fn a_request_more_than_may_be_under_way_waits() {
    let fixture = Fixture::three_blocks();
    let services = client::with_threads(0, fixture.views(), Arc::new(fixture::Node::default()));
    let batch = format!("[{PING},{}]\n", balance(2));
    for (count, answered) in [
        (limits::IN_FLIGHT_MAX - 1, true),
        (limits::IN_FLIGHT_MAX, false),
    ] {
        let mut client = Client::connect(&services);
        // No thread reads the index, so these stay under way.
        client.send(batch.repeat(count).as_bytes()).await;
        client.send(format!("{}\n", balance(7)).as_bytes()).await;
        let told = timeout(SECOND, client.line()).await;
        assert_eq!(told.is_ok(), answered, "{count}");
    }
}

fn balance(id: u8) -> String {
    let method = "blockchain.scripthash.get_balance";
    let script_hash = script_hash(2);
    format!(r#"{{"id":{id},"method":"{method}","params":["{script_hash}"]}}"#)
}

/// The whole of what leaves, spaces included, is never longer than the longest line that Electrum takes.
#[tokio::test]
async fn a_reply_one_byte_too_long_is_refused_and_spaces_never_make_one() {
    let fixture = Fixture::three_blocks();
    let services = fixture.speaking(ProtocolVersion::V1_7);
    let mut client = Client::connect_by(&services, 16 << 20, |theirs| theirs);
    let version = r#"{"id":0,"method":"server.version","params":["x","1.7"]}"#;
    assert!(client.ask(version).await.contains("1.7"));
    let most = limits::REPLY_BYTES_MAX / limits::CELL_BYTES * limits::CELL_BYTES;
    // A reply alone has no bracket of a batch, for which there is room all the same.
    let frame = r#"{"jsonrpc":"2.0","id":1,"result":{"data":""}}"#.len() + "]\n".len();
    let edge = most - frame;
    for (digits, fits) in [(edge - 400, true), (edge, true), (edge + 1, false)] {
        let ping = format!("{{\"id\":1,\"method\":\"server.ping\",\"params\":[{digits}]}}\n");
        client.send(ping.as_bytes()).await;
        let mut line = Vec::new();
        client.reader.read_until(b'\n', &mut line).await.unwrap();
        if fits {
            assert_eq!(line.len(), most);
        } else {
            let told = String::from_utf8(line).unwrap();
            assert!(told.contains("pong_len is above"), "{told}");
        }
    }
}

/// Half a line, a line a moment long, or none at all: what such clients make the process hold.
#[test]
fn slow_writers_cost_little_more_than_their_buffers() -> Result<()> {
    const CLIENTS: usize = 380;
    let node = Node::start(&node::Options::default())?;
    let mut server = Loopback::start(&node, &Options::default())?;
    let mut polite = server.connect()?;
    // Threads and pools are there before it is measured.
    drop(connected(&server, 8)?);
    std::thread::sleep(SECOND);
    let before = server.process().resident_bytes()?;
    let slow = connected(&server, CLIENTS)?;
    polite.call("server.ping", json!([]))?;
    std::thread::sleep(SECOND);
    let grown = server.process().resident_bytes()?.saturating_sub(before);
    let each = grown / u64::try_from(CLIENTS)?;
    println!("{each} bytes for each of {CLIENTS}");
    ensure!(each < 8 << 10, "{each} bytes each");
    drop(slow);
    Ok(())
}

/// Clients that have begun a line.
fn connected(server: &Loopback, count: usize) -> Result<Vec<Line>> {
    let mut clients = Vec::new();
    for number in 0..count {
        let mut client = server.connect()?;
        client.send_bytes(
            PING.get(..number % PING.len())
                .unwrap_or_default()
                .as_bytes(),
        )?;
        clients.push(client);
    }
    Ok(clients)
}
