//! How the machine is shared: whoever is alone has all of it, and the greedy do not keep the modest waiting.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bitcoin::{BlockHash, Txid};
use claustrum::limits;
use claustrum::query::{Acceptance, FeeMode, FeeRate, MempoolFees, NodeReader, NodeSilent};
use claustrum::redact::RawTransaction;
use rig::crowd::{self, Crowd};
use rig::node::{Node, Options};
use rig::oracle::script_hash;
use rig::server::Loopback;
use rig::socks::Line;
use serde_json::{Value, json};

use crate::client::{self, Client};
use crate::fixture::Fixture;

const SCRIPTS: u64 = 2_000;
const REPLY: Duration = Duration::from_secs(60);
/// What BlueWallet asks for at a time.
const BATCH: usize = 200;

/// A wallet of so many scripts asks for everything as fast as it can: line by line, in batches, and for transactions.
#[test]
fn a_wallet_that_is_alone_is_never_held_back() -> Result<()> {
    let node = Node::start(&Options::default())?;
    let mut crowd = Crowd::start(&node, usize::try_from(SCRIPTS)?)?;
    crowd::send(&node, &crowd.payments(300)?)?;
    let mut server = Loopback::start(&node, &rig::server::Options::default())?;
    let hashes: Vec<String> = (1..=SCRIPTS)
        .map(|owner| script_hash(&crowd::script(owner).to_hex_string()))
        .collect::<Result<_>>()?;
    let mut wallet = server.connect()?;
    let mut histories = Vec::new();
    let deadline = Instant::now() + REPLY;
    while !wallet.request("blockchain.scripthash.get_history", json!([hashes[0]]))?["error"]
        .is_null()
    {
        ensure!(Instant::now() < deadline, "the index is not built");
        std::thread::sleep(Duration::from_millis(100));
    }
    for method in ["subscribe", "get_history", "get_balance", "listunspent"] {
        let method = format!("blockchain.scripthash.{method}");
        let calls = hashes.iter().map(|hash| (method.as_str(), json!([hash])));
        let calls: Vec<_> = calls.collect();
        let alone = pipelined(&mut wallet, &calls, 1)?;
        ensure!(alone == pipelined(&mut wallet, &calls, BATCH)?, "{method}");
        if method.ends_with("get_history") {
            histories = alone;
        }
    }
    let rows = histories.iter().filter_map(Value::as_array).flatten();
    let txids: BTreeSet<_> = rows.filter_map(|row| row["tx_hash"].as_str()).collect();
    ensure!(txids.len() > 200, "{} transactions", txids.len());
    for verbose in [false, true] {
        let method = "blockchain.transaction.get";
        let calls: Vec<_> = txids
            .iter()
            .map(|txid| (method, json!([txid, verbose])))
            .collect();
        pipelined(&mut wallet, &calls, 1)?;
        pipelined(&mut wallet, &calls, 45)?;
    }
    server.stop()?;
    let said = server.stderr();
    ensure!(said.contains("held back 0 times"), "{said}");
    Ok(())
}

/// Sends all calls before it reads the first answer; their results, in order.
fn pipelined(wallet: &mut Line, calls: &[(&str, Value)], batch: usize) -> Result<Vec<Value>> {
    let mut lines = String::new();
    for (number, part) in calls.chunks(batch).enumerate() {
        let requests = part.iter().enumerate().map(|(place, (method, params))| {
            json!({ "id": number * batch + place, "method": method, "params": params })
        });
        let requests: Vec<_> = requests.collect();
        match requests.as_slice() {
            [alone] if batch == 1 => writeln!(lines, "{alone}")?,
            all => writeln!(lines, "{}", json!(all))?,
        }
    }
    let mut stream = wallet.stream().try_clone()?;
    let sending = std::thread::spawn(move || stream.write_all(lines.as_bytes()));
    let mut results = vec![Value::Null; calls.len()];
    let mut missing = calls.len();
    while missing > 0 {
        let line = wallet
            .read(REPLY)?
            .context("the server closed the stream")?;
        let told: Value = serde_json::from_str(&line)?;
        let replies = told.as_array().cloned().unwrap_or_else(|| vec![told]);
        for mut reply in replies {
            ensure!(reply["error"].is_null(), "{reply}");
            // What is told without having been asked does not count.
            if let Some(id) = reply["id"].as_u64() {
                results[usize::try_from(id)?] = reply["result"].take();
                missing -= 1;
            }
        }
    }
    let sent = sending.join();
    sent.ok().context("the sending thread panicked")??;
    Ok(results)
}

/// A node that remembers who asked, by the blocks in the question, and answers in that order, when it is told to.
#[derive(Default)]
struct Gate {
    state: Mutex<Asked>,
    changed: Condvar,
}

#[derive(Default)]
struct Asked {
    by: Vec<u16>,
    answers: usize,
    open: bool,
}

impl Gate {
    /// Who asked, as soon as these are so many.
    async fn asked(&self, count: usize) -> Vec<u16> {
        let deadline = Instant::now() + REPLY;
        loop {
            let by = self.state.lock().unwrap().by.clone();
            if by.len() >= count {
                return by;
            }
            assert!(Instant::now() < deadline, "{by:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn answer_one(&self) {
        self.state.lock().unwrap().answers += 1;
        self.changed.notify_all();
    }
}

/// Opens the gate at the end of a test, also of one that fails: its threads would keep the program from ending.
struct Open(Arc<Gate>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().open = true;
        self.0.changed.notify_all();
    }
}

impl NodeReader for Gate {
    fn raw_transaction(
        &self,
        _: &Txid,
        _: Option<&BlockHash>,
    ) -> Result<Option<Vec<u8>>, NodeSilent> {
        Err(NodeSilent)
    }

    fn estimate_fee(&self, blocks: u16, _: Option<FeeMode>) -> Result<Option<FeeRate>, NodeSilent> {
        let mut state = self.state.lock().unwrap();
        let place = state.by.len();
        state.by.push(blocks);
        let shut = |state: &mut Asked| !state.open && state.answers <= place;
        drop(self.changed.wait_while(state, shut).unwrap());
        Ok(None)
    }

    fn mempool_fees(&self) -> Result<MempoolFees, NodeSilent> {
        Err(NodeSilent)
    }

    fn test_accept(&self, _: &[RawTransaction]) -> Result<Vec<Acceptance>, NodeSilent> {
        Err(NodeSilent)
    }
}

/// Counted in requests, not in time: alone the modest one's request is the next that starts, and it still is beside a
/// session that always has all the requests under way that it may have.
#[tokio::test]
async fn the_greedy_do_not_keep_the_modest_waiting() {
    const GREEDY: u16 = 3;
    const MODEST: u16 = 2;
    const ROUNDS: usize = 40;
    let fixture = Fixture::three_blocks();
    let gate = Arc::new(Gate::default());
    let _open = Open(Arc::clone(&gate));
    let services = client::services(fixture.views(), Arc::clone(&gate));
    let line = |blocks: u16| {
        format!("{{\"id\":1,\"method\":\"blockchain.estimatefee\",\"params\":[{blocks}]}}\n")
    };
    let mut greedy = Client::connect(&services);
    greedy.send(line(GREEDY).repeat(500).as_bytes()).await;
    let mut modest = Client::connect(&services);
    let threads = limits::NODE_CLIENT_CALLS_MAX;
    let mut started = threads;
    let mut before_it = Vec::new();
    for _ in 0..ROUNDS {
        modest.send(line(MODEST).as_bytes()).await;
        settle().await;
        let already = gate.asked(started).await.len();
        assert_eq!(already, started);
        let mut place = None;
        // Three were under way already: with the third answer from its start the modest one's is there.
        while place.is_none() {
            gate.answer_one();
            started += 1;
            let by = gate.asked(started).await;
            place = by[already..].iter().position(|by| *by == MODEST);
        }
        before_it.push(place.unwrap());
        let mut answered = Box::pin(modest.line());
        loop {
            tokio::select! {
                biased;
                told = &mut answered => {
                    assert!(told.unwrap().contains("-1"));
                    break;
                }
                () = settle() => {
                    gate.answer_one();
                    started += 1;
                    gate.asked(started).await;
                }
            }
        }
    }
    before_it.sort_unstable();
    let p95 = before_it[ROUNDS * 95 / 100];
    assert!(p95 <= 1, "{before_it:?}");
}

/// Lets sessions and threads do what they can do without the gate.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}
