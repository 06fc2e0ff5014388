//! The server is killed at the tip again and again, while blocks, reorgs and payments come and a hundred sessions watch:
//! no session ever hears of a status that no tip of the node had, and in the end everything is as if nothing had been.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bitcoin::hashes::{Hash as _, sha256};
use rig::node::{Node, Options};
use rig::oracle::script_hash;
use rig::reorganise::{self, Fate};
use rig::server::{Loopback, Options as ServerOptions};
use rig::socks::Line;
use serde_json::{Value, json};

use super::wire;

/// With `CLAUSTRUM_ALL_FAULTS` set when this is built, as many as a night's test has.
const KILLS: usize = match option_env!("CLAUSTRUM_ALL_FAULTS") {
    Some(_) => 100,
    None => 6,
};
const SESSIONS: usize = 100;
/// A round of blocks and payments takes about as long.
const ROUND_MS: u64 = 400;
const REPLY: Duration = Duration::from_secs(30);

/// A script that is paid once, and everything its status may be.
struct Watched {
    hash: String,
    bitcoin_address: String,
    txid: Option<String>,
    valid: BTreeSet<String>,
}

#[test]
fn kills_at_the_tip_mislead_nobody_who_watches() -> Result<()> {
    let node = Node::start_funded(&Options::default())?;
    let undisturbed = Loopback::start(&node, &ServerOptions::default())?;
    let mut server = Loopback::start(&node, &ServerOptions::default())?;
    let mut watched: Vec<Watched> = Vec::new();
    let mut random = 11_u64;
    let mut told = 0;
    for round in 0..KILLS {
        watched.push(Watched::new(&node, round)?);
        wire::wait_for_tip(&server, &node)?;
        let mut sessions = (0..SESSIONS)
            .map(|_| subscribed(&server, &watched))
            .collect::<Result<Vec<_>>>()?;
        random = random.wrapping_mul(6_364_136_223_846_793_005) + 1;
        let pause = Duration::from_millis((random >> 33) % ROUND_MS);
        let address = &watched[round].bitcoin_address;
        let (txid, blocks) = thread::scope(|scope| {
            let life = scope.spawn(|| live(&node, address, round));
            thread::sleep(pause);
            server.kill()?;
            life.join().expect("it does not panic")
        })?;
        watched[round].txid = Some(txid);
        for hash in blocks {
            let block = node.rpc("getblock", json!([hash, 1]))?;
            watched.iter_mut().for_each(|watched| watched.enter(&block));
        }
        let valid: BTreeMap<_, _> = watched
            .iter()
            .map(|watched| (watched.hash.as_str(), &watched.valid))
            .collect();
        for line in &mut sessions {
            for (hash, status) in heard(line)? {
                let valid = valid.get(hash.as_str()).context("a script of nobody")?;
                ensure!(valid.contains(&status), "round {round}: {status} of {hash}");
                told += usize::from(!status.is_empty());
            }
        }
        server.start_again()?;
    }
    ensure!(
        told > KILLS * SESSIONS,
        "they heard of {told} statuses only"
    );
    println!("{told} statuses heard around {KILLS} kills");
    let expected = rig::oracle::scripts(&node)?;
    wire::assert_equal(&server, &node, &expected)?;
    wire::assert_equal(&undisturbed, &node, &expected)
}

/// Pays, mines and reorganises; the payment to this address, and every block that was the tip for a while.
fn live(node: &Node, bitcoin_address: &str, round: usize) -> Result<(String, Vec<String>)> {
    let txid = node.pay(bitcoin_address, 1_000_000)?;
    node.pay(&node.new_address()?, 2_000_000)?;
    let mut blocks = node.mine(1)?;
    let fate = [Fate::Moved, Fate::Unconfirmed, Fate::Replaced][round % 3];
    let depth = 1 + u32::try_from(round % 4)?;
    blocks.extend(reorganise::reorganise(node, depth, depth + 1, fate)?);
    node.pay(&node.new_address()?, 3_000_000)?;
    blocks.extend(node.mine(1)?);
    Ok((txid, blocks))
}

impl Watched {
    fn new(node: &Node, number: usize) -> Result<Self> {
        let script = format!("0014{number:08x}{}", "d7".repeat(16));
        let decoded = node.rpc("decodescript", json!([script]))?;
        Ok(Self {
            hash: script_hash(&script)?,
            bitcoin_address: decoded["address"]
                .as_str()
                .context("no address")?
                .to_owned(),
            txid: None,
            valid: BTreeSet::from([String::new()]),
        })
    }

    /// Takes note of the statuses that a tip brings with it.
    fn enter(&mut self, block: &Value) {
        let Some(txid) = &self.txid else { return };
        let is_here = block["tx"]
            .as_array()
            .is_some_and(|ids| ids.iter().any(|id| id == txid));
        let height = is_here.then(|| block["height"].as_i64()).flatten();
        for height in height.into_iter().chain([0, -1]) {
            let status = sha256::Hash::hash(format!("{txid}:{height}:").as_bytes());
            self.valid.insert(status.to_string());
        }
    }
}

/// A client that has asked to be told of all of them; what it is told is read later.
fn subscribed(server: &Loopback, watched: &[Watched]) -> Result<Line> {
    let mut line = server.connect()?;
    for watched in watched {
        let hash = &watched.hash;
        let request =
            json!({ "id": hash, "method": "blockchain.scripthash.subscribe", "params": [hash] });
        line.send(&request.to_string())?;
    }
    Ok(line)
}

/// Scripts and their statuses, until the connection ends.
fn heard(line: &mut Line) -> Result<Vec<(String, String)>> {
    let mut heard = Vec::new();
    // A killed server may reset the connection.
    while let Ok(Some(text)) = line.read(REPLY) {
        let message: Value = serde_json::from_str(&text)?;
        let (hash, status) = if message["method"].is_null() {
            ensure!(message["error"].is_null(), "an error: {}", message["error"]);
            (&message["id"], &message["result"])
        } else {
            (&message["params"][0], &message["params"][1])
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        heard.push((text(hash), text(status)));
    }
    Ok(heard)
}
