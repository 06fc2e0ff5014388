//! The server beside nodes that are not as they should be: it waits for what may mend and says what to do, and it ends
//! with a sentence where waiting would not help.

use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use claustrum::limits;
use rig::node::{Node, Options};
use rig::server::Loopback;
use serde_json::{Value, json};

/// A node that came back is noticed within a second; the rest is catching up.
const READY: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// Starts the server with these arguments after the usual ones.
fn start(node: &Node, extra: &[&str]) -> Result<Loopback> {
    let extra = extra.iter().map(|&argument| argument.to_owned()).collect();
    Loopback::start(
        node,
        &rig::server::Options {
            extra,
            ..Default::default()
        },
    )
}

/// Balance of a script that nobody uses: the reply to a question that only a ready server answers.
fn ask(server: &Loopback) -> Result<Value> {
    server.connect()?.request(
        "blockchain.scripthash.get_balance",
        json!(["00".repeat(32)]),
    )
}

/// Waits until questions are answered and the tip is at this height.
fn wait_until_ready(server: &Loopback, height: u32) -> Result<()> {
    let deadline = Instant::now() + READY;
    loop {
        let tip = server
            .connect()?
            .request("blockchain.headers.subscribe", json!([]))?;
        if ask(server)?["error"].is_null() && tip["result"]["height"] == height {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "it is not ready: {}",
            server.stderr()
        );
        std::thread::sleep(POLL);
    }
}

/// Waits until the server has said all of these words.
fn wait_until_said(server: &Loopback, words: &[&str]) -> Result<()> {
    let deadline = Instant::now() + READY;
    while let Some(word) = words.iter().find(|word| !server.stderr().contains(**word)) {
        ensure!(
            Instant::now() < deadline,
            "no word of `{word}` in: {}",
            server.stderr()
        );
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Waits until something listens there.
#[expect(clippy::disallowed_types, reason = "no call would be answered yet")]
fn wait_until_connected(port: u16) -> Result<()> {
    let deadline = Instant::now() + READY;
    while std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        ensure!(Instant::now() < deadline, "the node does not start");
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// The server ends by itself, in failure, and its last line has all of these words.
fn assert_ends(node: &Node, extra: &[&str], words: &[&str]) -> Result<()> {
    let refusal = match start(node, extra) {
        Err(error) => format!("{error:#}"),
        // It answered once before it knew its node.
        Ok(mut server) => {
            let status = server.process().wait(READY)?;
            ensure!(!status.success(), "it ends as if all were well");
            server.stderr()
        }
    };
    for word in words {
        ensure!(refusal.contains(word), "no word of `{word}` in: {refusal}");
    }
    Ok(())
}

#[test]
fn a_node_that_starts_later_or_again_is_followed() -> Result<()> {
    let mut node = Node::start_funded(&Options::default())?;
    // Stopped once, it has written down its chain; killed, it leaves its cookie.
    node.restart()?;
    node.kill()?;
    let server = start(&node, &[])?;
    wait_until_said(
        &server,
        &["connection refused", "start bitcoind", "--node-rpc"],
    )?;
    let error = ask(&server)?["error"].take();
    ensure!(error["code"] == 1, "{error}");
    let text = error["message"].as_str().unwrap_or_default();
    ensure!(
        text.contains("index is being built") && text.contains("try again later"),
        "{text}"
    );
    node.restart()?;
    wait_until_ready(&server, 110)?;
    wait_until_said(&server, &["the node answers again"])?;

    let cookie = fs::read(node.cookie())?;
    node.restart()?;
    ensure!(
        cookie != fs::read(node.cookie())?,
        "the node has kept its password"
    );
    node.mine(1)?;
    wait_until_ready(&server, 111)?;
    node.kill()?;
    // What is indexed is still served.
    ensure!(
        ask(&server)?["error"].is_null(),
        "a short absence is told to clients"
    );
    node.restart()?;
    // It may have lost its last block; the server waits until it has more than before.
    node.mine(2)?;
    wait_until_ready(&server, node.height()?)
}

#[test]
fn a_cookie_that_cannot_be_read_is_waited_for() -> Result<()> {
    let node = Node::start_funded(&Options::default())?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("cookie");
    let argument = path.display().to_string();
    let server = start(&node, &["--node-cookie", &argument])?;
    wait_until_said(
        &server,
        &[&argument, "--node-cookie", "-rpccookieperms=group"],
    )?;
    fs::write(&path, "no line of name and password")?;
    std::thread::sleep(limits::NODE_RETRY_MIN);
    ensure!(
        !ask(&server)?["error"].is_null(),
        "it is ready without credentials"
    );
    fs::write(&path, "name:of another node")?;
    std::thread::sleep(limits::NODE_RETRY_MIN);
    ensure!(
        !ask(&server)?["error"].is_null(),
        "it is ready with credentials of another node"
    );
    fs::copy(node.cookie(), &path)?;
    wait_until_ready(&server, 110)
}

#[test]
fn unsuitable_nodes_are_refused_with_a_sentence() -> Result<()> {
    let node = Node::start(&Options::default())?;
    let words = [
        "it is on regtest, we are on main",
        "--node-rpc",
        "--network",
    ];
    assert_ends(&node, &["--network", "main"], &words)?;
    let pruned = Node::start(&Options {
        extra: vec!["-prune=550".to_owned(), "-fastprune".to_owned()],
        ..Options::default()
    })?;
    assert_ends(&pruned, &[], &["it is pruned", "prune=0", "-reindex"])
}

#[test]
fn a_node_that_is_starting_is_waited_for() -> Result<()> {
    let mut node = Node::start_funded(&Options::default())?;
    let port = node.rpc_port();
    node.stop()?;
    // The node reads this file when it already takes calls, and a pipe makes it wait there.
    let bans = node.data_dir().join("regtest/banlist.json");
    if bans.try_exists()? {
        fs::remove_file(&bans)?;
    }
    let made = Command::new("mkfifo").arg(&bans).status()?;
    ensure!(made.success(), "no pipe at {}", bans.display());
    let release = || -> Result<()> {
        let mut pipe = fs::File::options().write(true).open(&bans)?;
        // The node will write a file of this name.
        fs::remove_file(&bans)?;
        Ok(pipe.write_all(br#"{"banned_nets":[]}"#)?)
    };
    std::thread::scope(|scope| {
        let cookie = node.cookie().clone();
        // The node is the thread's; the server is made for another one and led to it.
        let other = Node::start(&Options::default())?;
        let restarted = scope.spawn(|| node.restart());
        wait_until_connected(port)?;
        let address = format!("127.0.0.1:{port}");
        let cookie = cookie.display().to_string();
        let server = start(&other, &["--node-rpc", &address, "--node-cookie", &cookie])?;
        let said = wait_until_said(&server, &["the node is starting", "wait until"]);
        release()?;
        said?;
        restarted
            .join()
            .map_err(|_panic| anyhow!("restarting panicked"))??;
        wait_until_ready(&server, 110)
    })
}
