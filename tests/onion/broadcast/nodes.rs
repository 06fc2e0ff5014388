//! Peers that are nodes: the way round, from a wallet to the own node by the network.

use std::collections::BTreeSet;

use rig::node::{self, Node, RpcUser};
use rig::server::Options;
use rig::tor_network::ONION_PORT;
use rig::wallet::{Wallet, Way};

use super::scene::{Payment, Scene, Settings, behind_exits};
use crate::fixture::{self, PATIENCE};

/// What a wallet gives a server for an answer.
const ANSWER_MILLISECONDS: f64 = 10_000.0;
const AMOUNT: u64 = 70_000;
/// Parts of the names of all methods that show a transaction to the network.
const SENDING: [&str; 4] = ["send", "submit", "rebroadcast", "bump"];

/// A wallet sends through the server's onion service; the peer P1 gets it, P2 fetches it from P1, the own node from P2.
/// The server's own RPC user may call what `check-config` says and nothing else.
pub(super) fn a_payment_goes_round() {
    let listening = node::Options {
        peers: true,
        ..node::Options::default()
    };
    let whitelist = printed_whitelist();
    let own = Node::start_funded(&node::Options {
        peers: true,
        rpc_user: Some(RpcUser {
            whitelist: Some(whitelist.clone()),
        }),
        ..node::Options::default()
    })
    .unwrap();
    let [p1, p2] = [(); 2].map(|()| Node::start(&listening).unwrap());
    p2.join(&own).unwrap();
    p2.join(&p1).unwrap();
    let network = fixture::network();
    let port = p1.peer_port().unwrap();
    let service = network.add_onion_service(port).unwrap();
    let mut peers = behind_exits(port, 5);
    peers.push(format!("{service}:{ONION_PORT}"));
    let settings = Settings {
        peers,
        answer_wait: 8,
        ..Settings::default()
    };
    let cookie = own.user_cookie().display().to_string();
    let scene = Scene::with(
        own,
        &Options {
            config: Some(settings.text()),
            extra: vec!["--node-cookie".to_owned(), cookie],
            ..Options::default()
        },
    );
    let there = scene.node.new_address().unwrap();
    let payment = Payment::new(scene.node.pay_unsent(&there, AMOUNT).unwrap());
    let way = Way::Tor {
        socks_port: network.socks_port(),
        user: "sender".to_owned(),
        onion_address: scene.server.onion_address().unwrap().to_owned(),
    };
    let mut wallet = Wallet::start("send", &way, &["--transaction", &payment.raw]).unwrap();
    let answered = wallet.step("answered", PATIENCE).unwrap();
    assert!(
        answered["milliseconds"].as_f64().unwrap() < ANSWER_MILLISECONDS,
        "{answered}"
    );
    wallet.step("returned", PATIENCE).unwrap();
    wallet.finish(PATIENCE).unwrap();
    for node in [&p1, &p2, &scene.node] {
        assert!(node.has(&payment.txid).unwrap());
    }

    let called = scene.node.called_by_user().unwrap();
    let allowed: BTreeSet<_> = whitelist.split(',').map(str::to_owned).collect();
    assert!(called.is_subset(&allowed), "{called:?}");
    assert!(called.contains("testmempoolaccept"), "{called:?}");
    for method in allowed {
        let sends = SENDING.iter().any(|word| method.contains(word));
        assert!(!sends, "{method} may be called");
    }
}

/// One wants no transactions, one speaks no BIP 324 behind an exit, one is still syncing: what a node does of itself.
pub(super) fn a_payment_passes_nodes_that_are_no_use() {
    let peer = |extra: &str| {
        Node::start(&node::Options {
            peers: true,
            extra: vec![extra.to_owned(), "-debug=net".to_owned()],
            ..node::Options::default()
        })
        .unwrap()
    };
    let own = Node::start_funded(&node::Options {
        peers: true,
        ..node::Options::default()
    })
    .unwrap();
    let [blocksonly, plain, syncing, good] = [
        "-blocksonly",
        "-v2transport=0",
        "-v2transport=1",
        "-v2transport=1",
    ]
    .map(peer);
    for node in [&blocksonly, &plain, &good] {
        node.join(&own).unwrap();
    }
    // Two of them end a slot, so that the third one tries all the others.
    let peers = [&blocksonly, &plain, &syncing, &good].into_iter().zip(1..);
    let addresses = peers.map(|(node, number)| {
        let port = node.peer_port().unwrap();
        format!("127.{number}.0.1:{port}")
    });
    let scene = Scene::beside(own, &Settings::exits(3, addresses.collect()));
    let payment = scene.payment();
    scene.send(&payment);
    let log =
        |node: &Node| std::fs::read_to_string(node.data_dir().join("regtest/debug.log")).unwrap();
    let visited = |node: &Node| log(node).contains("/pynode:0.0.1/");
    fixture::wait_for("visit to each, and the payment", || {
        let refused = log(&plain).contains("Wrong MessageStart");
        let there = good.has(&payment.txid).unwrap() && scene.node.has(&payment.txid).unwrap();
        (visited(&blocksonly) && visited(&syncing) && refused && there).then_some(())
    });
    assert!(!visited(&plain), "an exit heard everything");
    assert!(
        !log(&blocksonly).contains("received: inv"),
        "announced to a node that wants nothing"
    );
}

/// The methods that `check-config` says the server needs, as `-rpcwhitelist` takes them.
fn printed_whitelist() -> String {
    let said = fixture::server().run("check-config").unwrap();
    let text = fixture::said(&said);
    let mut lines = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once("rpcwhitelist=")?;
        let (_, methods) = rest.split_once(':')?;
        Some(methods.trim().to_owned())
    });
    lines
        .next()
        .unwrap_or_else(|| panic!("no line for the node: {text}"))
}
