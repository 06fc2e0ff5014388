//! What a wallet is told.

mod crafted;

use std::time::Duration;

use rig::node::{self, Node};
use rig::server::Options;
use rig::wallet::{Wallet, Way};

use super::scene::{
    Payment, Scene, Settings, after_deliveries, answer, peer_behind_exits, refused,
};
use crate::fixture::{self, PATIENCE};
use crafted::Workshop;

const NOT_READY: &str = "Peer-to-peer functionality missing or disabled: private broadcast is not ready, try again later";
const QUEUE_FULL: &str = "Mempool internal error: the send queue is full, try again later";
/// More than the longest random delay in front of a first connection.
const NOTHING_MORE: Duration = Duration::from_secs(5);
/// How many transactions that spend the same output may be on their way.
const RIVALS: u64 = 4;

/// Each by a transaction that the node refuses in words of its own; none of them leaves.
pub(super) fn refusals_have_their_texts() {
    let (peer, addresses) = peer_behind_exits(Vec::new());
    let scene = Scene::new(&Settings::exits(3, addresses));
    let mut line = scene.client();
    let cases = Workshop::new(&scene.node).refusals();
    for (raw, text) in &cases {
        assert_eq!(answer(&mut line, raw), refused(text));
    }
    // The first one no library sends.
    let (raw, text) = &cases[1];
    assert!(wallet_complains(&scene, raw).contains(text));
    std::thread::sleep(NOTHING_MORE);
    assert_eq!(peer.visits().len(), 0);

    let rivals = Workshop::new(&scene.node).rivals(RIVALS + 1);
    for (number, raw) in (0..).zip(&rivals) {
        let answer = answer(&mut line, raw);
        if number < RIVALS {
            assert_eq!(answer, Payment::new(raw.clone()).txid);
        } else {
            assert_eq!(answer, refused(QUEUE_FULL));
        }
    }
}

/// In the words of a wallet's library.
fn wallet_complains(scene: &Scene, raw: &str) -> String {
    let way = Way::Tor {
        socks_port: fixture::network().socks_port(),
        user: fixture::new_user("refused"),
        onion_address: scene.server.onion_address().unwrap().to_owned(),
    };
    let ended = Wallet::run("send", &way, &["--transaction", raw], PATIENCE);
    format!("{:#}", ended.unwrap_err())
}

/// While it is under way, when it is in the mempool, when it is in a block.
pub(super) fn what_is_known_is_not_sent_again() {
    let (peer, addresses) = peer_behind_exits(Vec::new());
    let scene = Scene::new(&Settings::exits(3, addresses));
    let payment = scene.payment();
    scene.send(&payment);
    scene.send(&payment);
    assert_eq!(after_deliveries(&peer, 3).len(), 3);
    scene.send(&payment);
    scene.node.send(&payment.raw).unwrap();
    scene.send(&payment);
    scene.node.mine(1).unwrap();
    scene.send(&payment);
    std::thread::sleep(NOTHING_MORE);
    assert_eq!(peer.visits().len(), 3);
}

/// Nor with fewer than deserve the name.
pub(super) fn without_peers_nothing_is_taken() {
    let (peer, addresses) = peer_behind_exits(Vec::new());
    for few in [0, 2] {
        let peers = addresses.iter().take(few).cloned().collect();
        let options = Options {
            config: Some(Settings::exits(2, peers).text()),
            ..Options::default()
        };
        let node = Node::start_funded(&node::Options::default()).unwrap();
        let scene = Scene::not_ready(node, &options);
        scene.wait_until("broadcast tor-peers: not ready: fewer than three usable peers");
        let answer = answer(&mut scene.client(), &scene.payment().raw);
        assert_eq!(answer, refused(NOT_READY));
        std::thread::sleep(NOTHING_MORE);
        assert_eq!(peer.visits().len(), 0);
    }
}

/// And what was refused is not kept until the node is back.
pub(super) fn without_the_node_nothing_is_taken() {
    let (peer, addresses) = peer_behind_exits(Vec::new());
    let mut scene = Scene::new(&Settings::exits(2, addresses));
    let payment = scene.payment();
    let mut line = scene.client();
    scene.node.stop().unwrap();
    assert_eq!(answer(&mut line, &payment.raw), refused(NOT_READY));
    scene.wait_until("broadcast tor-peers: not ready: the node does not answer");
    scene.node.restart().unwrap();
    scene.wait_until("broadcast tor-peers: ready");
    std::thread::sleep(NOTHING_MORE);
    assert_eq!(peer.visits().len(), 0);
    assert_eq!(answer(&mut line, &payment.raw), payment.txid);
    after_deliveries(&peer, 2);
}
