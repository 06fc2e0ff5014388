//! What reaches a server, against a stand-in for one.

mod stand_in;

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rig::node::{Node, Options};
use rig::server::{self, Claustrum};
use rig::socks::Line;
use rig::tor_network::TorNetwork;
use rig::trace::Trace;
use rig::wallet::{Wallet, Way};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);

fn node() -> Result<Arc<Node>> {
    Ok(Arc::new(Node::start_funded(&Options {
        txindex: true,
        ..Options::default()
    })?))
}

#[test]
fn a_visit_through_tor_sees_a_payment_come_and_confirm() -> Result<()> {
    let node = node()?;
    let network = TorNetwork::shared()?;
    let onion_address = network.add_onion_service(stand_in::start(Arc::clone(&node))?)?;
    let way = Way::Tor {
        socks_port: network.socks_port(),
        user: "visit".to_owned(),
        onion_address,
    };
    let there = node.new_address()?;
    let script = node.script(&there)?;
    let expected = [
        "--expect-confirmed",
        "70000",
        "--expect-unconfirmed",
        "0",
        "--expect-history",
        "1",
    ];
    let arguments = [&["--script", &script, "--watch", "2"][..], &expected].concat();
    let mut wallet = Wallet::start("visit", &way, &arguments)?;

    assert_eq!(wallet.step("version", LIMIT)?["protocol"], "1.4");
    assert_eq!(wallet.step("tip", LIMIT)?["hash"], node.block_hash(110)?);
    assert_eq!(wallet.step("history", LIMIT)?["entries"], json!([]));
    wallet.step("watching", LIMIT)?;
    let txid = node.pay(&there, 70_000)?;
    assert_eq!(wallet.step("balance", LIMIT)?["unconfirmed"], 70_000);
    let seen = wallet.step("history", LIMIT)?;
    assert_eq!(
        (&seen["entries"][0][0], &seen["entries"][0][1]),
        (&json!(txid), &json!(0))
    );
    assert_eq!(seen["status_holds"], true);
    node.mine(1)?;
    let proof = wallet.step("proof", LIMIT)?;
    assert_eq!(
        proof,
        json!({ "step": "proof", "txid": txid, "height": 111, "verified": true })
    );
    assert_eq!(wallet.finish(LIMIT)?, [json!({ "step": "done" })]);

    let told = Wallet::run("ping", &way, &["--count", "5"], LIMIT)?;
    assert_eq!(told[0]["milliseconds"].as_array().map(Vec::len), Some(5));
    let told = Wallet::run("burst", &way, &["--n", "8"], LIMIT)?;
    assert_eq!(told[0]["milliseconds"].as_array().map(Vec::len), Some(8));
    Ok(())
}

#[test]
fn a_server_is_started_reached_traced_and_ended() -> Result<()> {
    let node = node()?;
    let network = TorNetwork::shared()?;
    let onion_address = network.add_onion_service(stand_in::start(Arc::clone(&node))?)?;
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("stand-in");
    let script = format!(
        "#!/bin/sh\n\
         echo \"$@\"\n\
         [ \"$1\" != address ] || {{ echo 'tor {onion_address}:50001:t'; exit; }}\n\
         [ \"$1\" != status ] || {{ echo 'door      reachable'; exit; }}\n\
         trap 'kill $child; exit 3' TERM\n\
         sleep 1000 & child=$!\n\
         wait\n"
    );
    std::fs::write(&program, script)?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    let trace = folder.path().join("trace");
    let options = server::Options {
        program: Some(program),
        extra: vec!["--protocol-max".to_owned(), "1.7".to_owned()],
        trace: Some(Trace {
            file: trace.clone(),
            calls: "execve",
        }),
        ..server::Options::default()
    };
    let mut claustrum = Claustrum::start(&node, network, &options)?;
    assert_eq!(claustrum.onion_address()?, onion_address);
    claustrum
        .connect(network, "somebody")?
        .call("server.ping", json!([]))?;
    let arguments = claustrum.stdout();
    for expected in [
        format!("--data-dir {}", claustrum.data_dir().display()),
        format!("--node-rpc 127.0.0.1:{}", node.rpc_port()),
        format!("--node-cookie {}", node.cookie().display()),
        format!("--tor-config {}", network.arti_config().display()),
        "--network regtest".to_owned(),
        "--protocol-max 1.7".to_owned(),
    ] {
        assert!(arguments.contains(&expected), "{expected}: {arguments}");
    }
    assert!(claustrum.start_again(network).is_err());
    assert_eq!(claustrum.stop()?.code(), Some(3));
    // The trace goes on to the exit of the program.
    assert!(std::fs::read_to_string(&trace)?.contains("+++ exited with 3 +++"));
    claustrum.start_again(network)?;
    assert!(!claustrum.kill()?.success());
    Ok(())
}

#[test]
fn a_wallet_that_sees_something_else_fails() -> Result<()> {
    let node = node()?;
    let way = Way::Loopback {
        port: stand_in::start(Arc::clone(&node))?,
    };
    let script = node.script(&node.new_address()?)?;
    Wallet::run(
        "visit",
        &way,
        &["--script", &script, "--expect-history", "0"],
        LIMIT,
    )?;
    for expected in [
        "--expect-history",
        "--expect-confirmed",
        "--expect-unconfirmed",
    ] {
        let failed = Wallet::run("visit", &way, &["--script", &script, expected, "1"], LIMIT);
        assert!(
            failed.unwrap_err().to_string().contains("expected 1"),
            "{expected}"
        );
    }
    Ok(())
}

#[test]
fn lines_of_json_are_asked_and_answered() -> Result<()> {
    let node = node()?;
    let port = stand_in::start(Arc::clone(&node))?;
    let mut line = Line::new(std::net::TcpStream::connect(("127.0.0.1", port))?);
    let there = node.new_address()?;
    let hash = rig::oracle::script_hash(&node.script(&there)?)?;
    assert!(
        line.call("blockchain.scripthash.subscribe", json!([hash]))?
            .is_null()
    );
    assert_eq!(line.request("no.such", json!([]))?["error"]["code"], 1);
    assert!(line.call("no.such", json!([])).is_err());
    node.pay(&there, 5_000)?;
    line.call("server.ping", json!([]))?;
    assert_eq!(line.notification(LIMIT)?["params"][0], hash);
    assert!(line.read(Duration::from_millis(100)).is_err());
    Ok(())
}
