//! What bad clients can make the server hold, by the resident memory of a real process, while a polite one is served.

use std::time::Duration;

use anyhow::{Result, ensure};
use rig::node::{self, Node};
use rig::server::{Loopback, Options};
use rig::socks::Line;
use serde_json::json;

/// Clients of each kind at a time.
const CLIENTS: usize = 8;
/// What one of them sends; held whole, eight of them would be five times what is allowed.
const SENT: usize = 40_000_000;
/// Four long lines of 2 MB, 256 KiB of answers for each of eight sessions, and what an allocator keeps.
const GROWTH_MAX: u64 = 24 << 20;
/// A client that is not read from any more stops writing after this.
const WRITE: Duration = Duration::from_secs(1);

#[test]
fn bad_clients_cost_a_bounded_amount_and_a_polite_one_does_not_notice() -> Result<()> {
    let node = Node::start_funded(&node::Options::default())?;
    let mut server = Loopback::start(&node, &Options::default())?;
    let mut polite = server.connect()?;
    let before = server.process().resident_bytes()?;
    let ping = "{\"id\":1,\"method\":\"server.ping\"}\n";
    let batch = format!(
        "[{}]\n",
        vec!["{\"id\":1,\"method\":\"server.ping\"}"; 10_000].join(",")
    );
    let kinds: [(&str, Vec<u8>); 5] = [
        ("a line without an end", vec![b'a'; SENT]),
        ("nesting", vec![b'['; SENT]),
        (
            "pings whose answers are not read",
            ping.repeat(SENT / ping.len()).into_bytes(),
        ),
        (
            "batches whose answers are not read",
            batch.repeat(SENT / batch.len()).into_bytes(),
        ),
        ("bytes that are no text", vec![0xff; SENT]),
    ];
    for (kind, bytes) in &kinds {
        let clients: Vec<Line> = (0..CLIENTS)
            .map(|_| server.connect())
            .collect::<Result<_>>()?;
        std::thread::scope(|scope| {
            for mut client in clients {
                scope.spawn(move || {
                    client.stream().set_write_timeout(Some(WRITE)).unwrap();
                    // The server closes, or stops reading; both are its defence.
                    client.send_bytes(bytes).err()
                });
            }
            polite.call("server.ping", json!([])).unwrap();
        });
        polite.call("blockchain.headers.subscribe", json!([]))?;
        let grown = server.process().resident_bytes()?.saturating_sub(before);
        println!("after {kind}: {} MiB more", grown >> 20);
        ensure!(grown < GROWTH_MAX, "{kind}: {} MiB more", grown >> 20);
    }
    Ok(())
}
