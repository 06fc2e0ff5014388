//! Bounds of sessions at their edge: what has exactly the size is served, and one more gets its defined error.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bitcoin::constants::genesis_block;
use bitcoin::{OutPoint, consensus};
use claustrum::chain::{ConnectedBlock, Network, PackedBlock};
use claustrum::electrum::ProtocolVersion;
use claustrum::index::Index;
use claustrum::limits;
use claustrum::query::{Readiness, View};
use claustrum::session::EndReason;
use rig::node::{self, Node};
use rig::server::{Loopback, Options};
use rig::socks::Line;
use serde_json::{Value, json};
use tokio::io::AsyncBufReadExt as _;
use tokio::sync::watch;
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

#[tokio::test]
async fn of_more_headers_than_fit_in_an_answer_the_first_are_told() {
    let most = limits::HEADERS_MAX;
    let mut blocks = vec![genesis_block(bitcoin::Network::Regtest)];
    for height in 1..=most {
        let mut coinbase = fixture::transaction(OutPoint::null(), &[(1, 100)]);
        coinbase.input[0].script_sig = height.to_be_bytes().to_vec().into();
        let before = blocks.last().unwrap().block_hash();
        blocks.push(fixture::solved(before, vec![coinbase]));
    }
    let blocks = blocks.into_iter().map(|block| {
        let spent = vec![Vec::new(); block.txdata.len() - 1];
        PackedBlock::from(&ConnectedBlock { block, spent })
    });
    let blocks: Vec<PackedBlock> = blocks.collect();
    let raw: Vec<_> = blocks.iter().map(PackedBlock::raw).collect();
    let dir = tempfile::tempdir().unwrap();
    let mut index = Index::open(dir.path(), Network::Regtest).unwrap();
    index.update_raw(None, &raw).unwrap();
    let view = View {
        version: 1,
        snapshot: index.snapshot(),
        mempool: Arc::default(),
        readiness: Readiness::Ready,
        changes: Vec::new(),
    };
    let (_sender, views) = watch::channel(Some(Arc::new(view)));
    let services = client::services(views, Arc::new(fixture::Node::default()));
    let mut client = Client::connect(&services);
    for (asked, told) in [(most - 1, most - 1), (most, most), (most + 1, most)] {
        let line =
            format!(r#"{{"id":1,"method":"blockchain.block.headers","params":[0,{asked}]}}"#);
        let reply: Value = serde_json::from_str(&client.ask(&line).await).unwrap();
        let result = &reply["result"];
        assert_eq!(
            (&result["count"], &result["max"]),
            (&told.into(), &most.into())
        );
        let digits = result["hex"].as_str().unwrap().len();
        assert_eq!(digits, usize::try_from(told).unwrap() * 160);
    }
}

#[tokio::test]
async fn acceptance_of_one_transaction_too_many_is_not_tested() {
    let fixture = Fixture::three_blocks();
    let mut client = Client::connect(&fixture.speaking(ProtocolVersion::V1_7));
    let version = r#"{"id":0,"method":"server.version","params":["x","1.7"]}"#;
    assert!(client.ask(version).await.contains("1.7"));
    let raw = consensus::encode::serialize_hex(&fixture::transaction(OutPoint::null(), &[(1, 1)]));
    for (count, code) in [
        (limits::ACCEPT_TEST_MAX, None),
        (limits::ACCEPT_TEST_MAX + 1, Some(-32602)),
    ] {
        let method = "blockchain.transaction.testmempoolaccept";
        let line = json!({ "id": 1, "method": method, "params": [vec![&raw; count]] });
        let reply: Value = serde_json::from_str(&client.ask(&line.to_string()).await).unwrap();
        assert_eq!(reply["error"]["code"].as_i64(), code, "{reply}");
        let told = reply["result"].as_array().map(Vec::len);
        assert_eq!(told, code.is_none().then_some(count), "{reply}");
    }
}

/// A connection without a descriptor waits until there is one, and nobody who is served notices.
#[test]
fn without_descriptors_connections_wait() -> Result<()> {
    const DESCRIPTORS: usize = 64;
    let node = Node::start(&node::Options::default())?;
    let options = Options {
        launcher: vec!["prlimit".into(), format!("--nofile={DESCRIPTORS}")],
        ..Options::default()
    };
    let mut server = Loopback::start(&node, &options)?;
    let mut polite = server.connect()?;
    polite.call("server.ping", json!([]))?;
    let many = connected(&server, DESCRIPTORS)?;
    // One more, beyond all that there are.
    let mut waiting = server.connect()?;
    let descriptors = format!("/proc/{}/fd", server.process().id());
    let open = || Ok::<_, std::io::Error>(std::fs::read_dir(&descriptors)?.count());
    let deadline = Instant::now() + 60 * SECOND;
    while open()? < DESCRIPTORS {
        ensure!(Instant::now() < deadline, "{} are in use", open()?);
        std::thread::sleep(SECOND / 10);
    }
    ensure!(server.process().ended()?.is_none(), "{}", server.stderr());
    polite.call("server.ping", json!([]))?;
    node.mine(1)?;
    std::thread::sleep(SECOND);
    drop(many);
    waiting.call("server.ping", json!([]))?;
    let deadline = Instant::now() + 60 * SECOND;
    let tip = |line: &mut Line| line.call("blockchain.headers.subscribe", json!([]));
    while tip(&mut waiting)?["height"] != 1 {
        ensure!(Instant::now() < deadline, "{}", server.stderr());
        std::thread::sleep(SECOND / 10);
    }
    ensure!(server.stop()?.success(), "{}", server.stderr());
    Ok(())
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
