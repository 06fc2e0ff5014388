//! The whole path on one machine: a node on regtest and a peer of it, a private Tor network, the release binary between
//! them, and a wallet that is not ours. Stays up until Ctrl-C; with `DEMO_ONCE=1` it ends after the wallet's visits.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rig::node::{self, Node};
use rig::process::Process;
use rig::programs::Program;
use rig::server::{Claustrum, Options};
use rig::shape::Shape;
use rig::tor_network::TorNetwork;
use rig::wallet::{self, Way};
use serde_json::json;

/// What the wallet gets before it comes, and while it watches; in satoshi.
const SAVINGS: [u64; 3] = [150_000_000, 20_000_000, 3_000_000];
const PAYMENT: u64 = 12_345_678;
/// What it sends away.
const SPENDING: u64 = 7_654_321;
/// Addresses behind the private exits at which the peer is reached; each transaction uses three.
const PEER_ADDRESSES: u8 = 30;

/// Enough for a busy machine; an idle one needs three seconds.
const VISIT: Duration = Duration::from_secs(120);

fn main() -> Result<()> {
    let started = Instant::now();
    let say = |text: &str| println!("[{:5.1} s] {text}", started.elapsed().as_secs_f64());
    for program in [Program::Bitcoind, Program::Tor] {
        say(&format!("with {}", program.version()?));
    }
    say("starting a node on regtest, with a history of all kinds of scripts");
    let node = Node::start_funded(&node::Options::default())?;
    let (bitcoin_address, script) = history(&node)?;
    say(&format!("the node is at height {}", node.height()?));
    say("starting another node, its peer in the network");
    let peer = Node::start(&node::Options {
        peers: true,
        ..node::Options::default()
    })?;
    node.join(&peer)?;
    say("starting a private Tor network of 8 relays and a client; this takes 8 to 15 s");
    let network = TorNetwork::start()?;
    say("starting claustrum beside the node, with that network for its Tor");
    let options = Options {
        config: Some(peers(&peer)?),
        ..Options::default()
    };
    let claustrum = Claustrum::start(&node, &network, &options)?;
    say("its onion service is reachable; `claustrum address` says:");
    println!(
        "\n{}",
        String::from_utf8_lossy(&claustrum.run("address")?.stdout)
    );
    say("a wallet comes through Tor (the library electrum-client), and watches while it is paid:");
    let way = Way::Tor {
        socks_port: network.socks_port(),
        user: "demo".to_owned(),
        onion_address: claustrum.onion_address()?.to_owned(),
    };
    visit(&node, &way, &bitcoin_address, &script)?;
    say(
        "the wallet has seen the payment arrive, first unconfirmed, then in a block with a verified proof",
    );
    say(
        "it pays somebody: claustrum tells peers alone, each over a circuit of its own through an exit:",
    );
    spend(&node, &peer, &way)?;
    say("the payment came back to the wallet's node from the network, as everybody else's do");
    println!(
        "\n{}",
        String::from_utf8_lossy(&claustrum.run("status")?.stdout)
    );
    if std::env::var_os("DEMO_ONCE").is_some_and(|value| value == "1") {
        return Ok(());
    }
    println!(
        "Everything stays up until Ctrl-C. A wallet on this machine reaches it through Tor's SOCKS port:"
    );
    println!("  SOCKS      127.0.0.1:{}", network.socks_port());
    println!(
        "  node       {} (cookie {})",
        node.rpc_address(),
        node.cookie().display()
    );
    println!(
        "  log        is empty of clients; see for yourself:\n{}",
        claustrum.stderr()
    );
    loop {
        std::thread::park();
    }
}

/// A chain that looks like use, and on it the savings of a wallet whose keys the node does not have: its Bitcoin
/// address and script.
fn history(node: &Node) -> Result<(String, String)> {
    Shape::new(1).grow(node, 40)?;
    let script = format!("0014{}", "c1".repeat(20));
    let decoded = node.rpc("decodescript", json!([script]))?;
    let bitcoin_address = decoded["address"]
        .as_str()
        .context("a script without an address")?
        .to_owned();
    for satoshi in SAVINGS {
        node.pay(&bitcoin_address, satoshi)?;
        node.mine(1)?;
    }
    Ok((bitcoin_address, script))
}

/// The configuration of a server that hands transactions to this peer.
fn peers(peer: &Node) -> Result<String> {
    let port = peer.peer_port()?;
    let addresses = (1..=PEER_ADDRESSES).map(|number| format!("127.{number}.0.1:{port}"));
    let addresses: Vec<String> = addresses.collect();
    Ok(format!("[broadcast]\npeers = {}\n", json!(addresses)))
}

/// A payment that the wallet sends through the server's onion service and sees come back.
fn spend(node: &Node, peer: &Node, way: &Way) -> Result<()> {
    let raw = node.pay_unsent(&peer.new_address()?, SPENDING)?;
    run("send", way, &["--transaction", &raw], |_| Ok(()))?;
    for txid in node.mempool()? {
        let entry = node.rpc("getmempoolentry", json!([txid]))?;
        ensure!(
            entry["unbroadcast"] == false,
            "the node takes {txid} for its own"
        );
    }
    Ok(())
}

/// The wallet's visit in its own words; pays it when it watches, and mines the payment when it has noticed it.
fn visit(node: &Node, way: &Way, bitcoin_address: &str, script: &str) -> Result<()> {
    let confirmed: u64 = SAVINGS.iter().sum::<u64>() + PAYMENT;
    let [confirmed, none, history] = [confirmed, 0, 4].map(|number| number.to_string());
    let arguments = [
        ["--script", script],
        ["--watch", "2"],
        ["--expect-confirmed", &confirmed],
        ["--expect-unconfirmed", &none],
        ["--expect-history", &history],
    ];
    let mut noticed = 0;
    run("visit", way, &arguments.concat(), |line| {
        if line == "watching" {
            let txid = node.pay(bitcoin_address, PAYMENT)?;
            println!("    node:   pays {PAYMENT} sat with {txid}");
        }
        if line.starts_with("notified: the script") {
            noticed += 1;
            if noticed == 1 {
                println!("    node:   mines block {}", node.mine(1)?.concat());
            }
        }
        Ok(())
    })?;
    ensure!(noticed == 2, "the wallet did not see what it should");
    Ok(())
}

/// Runs a command of the wallet, shows its words, and does something at each of them.
fn run(
    command: &str,
    way: &Way,
    arguments: &[&str],
    mut at: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let mut program = Command::new(wallet::build()?);
    program.arg(command).args(way.arguments()).args(arguments);
    let mut process = Process::start(
        "the wallet",
        program.stdin(Stdio::null()).stdout(Stdio::piped()),
    )?;
    let output = process.stdout().context("a wallet without output")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("    wallet: {line}");
        at(&line)?;
    }
    let status = process.wait(VISIT)?;
    ensure!(status.success(), "the wallet failed");
    Ok(())
}
