//! The mempool of a real node: chains, replacements, one that is emptied, one that takes nothing of others, and one that
//! is too large to hold. After each the server tells of every script what the node's own answers lead to.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bitcoin::Transaction;
use rig::crowd::{self, Coin, Crowd};
use rig::node::{Node, Options};
use rig::oracle::{self, script_hash};
use rig::server::{self, Loopback};
use rig::socks::Line;
use serde_json::{Value, json};

const FOLLOWED: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// Unconfirmed transactions in a row that nodes relay, the first and the last among them.
const CHAIN_MAX: usize = 25;

/// A coin pays to the same owner again and again.
fn chain(coin: Coin, fee_rate: u64) -> Vec<Transaction> {
    let mut coin = coin;
    let mut made = Vec::new();
    for _ in 0..CHAIN_MAX {
        let pays = [(coin.owner, coin.amount - fee_rate * 200)];
        let payment = crowd::spend(&[coin], &pays);
        coin = crowd::outputs(&payment, &pays).next().expect("it pays one");
        made.push(payment);
    }
    made
}

/// Waits until the server tells of every script what the node's answers lead to.
fn agree(server: &Loopback, node: &Node, what: &str) -> Result<()> {
    let mut line = server.connect()?;
    let deadline = Instant::now() + FOLLOWED;
    loop {
        let differs = match differs(&mut line, node) {
            Ok(()) => return Ok(()),
            Err(differs) => differs,
        };
        if Instant::now() > deadline {
            return Err(differs.context(format!("{what}: {}", server.stderr())));
        }
        thread::sleep(POLL);
    }
}

fn differs(line: &mut Line, node: &Node) -> Result<()> {
    for (hash, script) in oracle::scripts(node)? {
        let status = line.call("blockchain.scripthash.subscribe", json!([hash]))?;
        ensure!(status == json!(script.status), "another status of {hash}");
        line.call("blockchain.scripthash.unsubscribe", json!([hash]))?;
    }
    let info = node.rpc("getmempoolinfo", json!([]))?;
    let histogram = line.call("mempool.get_fee_histogram", json!([]))?;
    let bins = histogram.as_array().context("no histogram")?;
    let bytes: u64 = bins.iter().filter_map(|bin| bin[1].as_u64()).sum();
    ensure!(
        info["bytes"] == bytes,
        "{} and {bytes} bytes",
        info["bytes"]
    );
    Ok(())
}

/// Heights of the mempool entries of an owner, in the server's order.
fn heights(line: &mut Line, owner: u64) -> Result<Vec<Value>> {
    let hash = script_hash(&crowd::script(owner).to_hex_string())?;
    let entries = line.call("blockchain.scripthash.get_mempool", json!([hash]))?;
    let entries = entries.as_array().context("no list")?;
    Ok(entries
        .iter()
        .map(|entry| entry["height"].clone())
        .collect())
}

#[test]
fn chains_replacements_and_an_emptied_mempool_are_followed() -> Result<()> {
    let mut node = Node::start(&Options::default())?;
    let mut crowd = Crowd::start(&node, 400)?;
    let server = Loopback::start(&node, &server::Options::default())?;
    let coins: Vec<Coin> = (0..8).map(|_| crowd.coin()).collect::<Result<_>>()?;
    let chains: Vec<_> = coins.iter().map(|coin| chain(*coin, 2)).collect();
    for made in &chains {
        crowd::send(&node, made)?;
    }
    crowd::send(&node, &crowd.payments(100)?)?;
    agree(&server, &node, "chains")?;
    let mut line = server.connect()?;
    let told = heights(&mut line, coins[0].owner)?;
    let mut expected = vec![json!(0)];
    expected.resize(CHAIN_MAX, json!(-1));
    ensure!(told == expected, "a chain at {told:?}");

    // A storm: every first transaction is replaced, with all that followed it, several times.
    for round in 1..=5 {
        for coin in &coins[1..] {
            let fee_rate = 2 * 25 * 10 * round;
            let pays = crowd::pay(&[*coin], coin.owner, coin.owner + 1, fee_rate);
            crowd::send(&node, &[crowd::spend(&[*coin], &pays)])?;
        }
    }
    agree(&server, &node, "a storm")?;

    // The first of the other chain alone is mined: the second has no unconfirmed parent any more.
    let first = bitcoin::consensus::encode::serialize_hex(&chains[0][0]);
    node.mine_block(&node.new_address()?, &[first])?;
    agree(&server, &node, "a block")?;
    let told = heights(&mut line, coins[0].owner)?;
    ensure!(
        told.len() == CHAIN_MAX - 1 && told[0] == 0,
        "then at {told:?}"
    );

    node.restart_with(&["-persistmempool=0"])?;
    ensure!(node.mempool()?.is_empty(), "the node has kept its mempool");
    agree(&server, &node, "an emptied mempool")?;
    let told = heights(&mut line, coins[0].owner)?;
    ensure!(told.is_empty(), "of an empty mempool {told:?}");
    crowd::send(&node, &crowd.payments(20)?)?;
    agree(&server, &node, "afterwards")
}

#[test]
fn a_node_that_takes_nothing_of_others_is_served_all_the_same() -> Result<()> {
    let node = Node::start(&Options {
        extra: vec!["-blocksonly".to_owned()],
        ..Options::default()
    })?;
    let mut crowd = Crowd::start(&node, 100)?;
    let server = Loopback::start(&node, &server::Options::default())?;
    agree(&server, &node, "blocks alone")?;
    let mut line = server.connect()?;
    let histogram = line.call("mempool.get_fee_histogram", json!([]))?;
    ensure!(histogram == json!([]), "{histogram}");
    // Its own transactions it has.
    crowd::send(&node, &crowd.payments(5)?)?;
    agree(&server, &node, "its own")?;
    node.mine(1)?;
    agree(&server, &node, "in a block")
}
