//! Peers that do what nodes do not. Each ends its slot or costs it another peer, as the manner wants it; the transaction
//! leaves all the same, and the server does not grow.

use std::time::Duration;

use rig::node::{self, Node};
use rig::peer::{Manner, Moment, Peer, Visit};

use super::scene::{
    Scene, Settings, after_deliveries, peer_behind_exits, peer_behind_onions, plain,
};

/// Deliveries of a transaction, the fewest that can be asked for.
const DELIVERIES: u8 = 2;
/// Less than one message of a flood, which is sixteen of them.
const GROWTH_MAX: u64 = 3 << 20;
/// A peer that draws another one needs less.
const NOTHING_MORE: Duration = Duration::from_secs(5);
/// More blocks than a peer may be behind.
const BLOCKS: u32 = 150;

/// Another peer takes the place of each, whatever their number.
pub(super) fn nothing_was_said_v2() {
    let manners = vec![
        Manner::NoRelay,
        Manner::Closes(Moment::Start),
        Manner::Floods(Moment::Start),
        Manner::Closes(Moment::Version),
        Manner::Floods(Moment::Version),
        Manner::Garbles(Moment::Version),
    ];
    let (peer, addresses) = peer_behind_exits(manners.clone());
    let visits = deliver(&peer, &Settings::exits(DELIVERIES, addresses));
    assert_replaced(&visits, &manners);
}

/// The same over the transport with checksums.
pub(super) fn nothing_was_said_v1() {
    let manners = vec![
        Manner::NoRelay,
        Manner::Floods(Moment::Start),
        Manner::Closes(Moment::Version),
        Manner::Floods(Moment::Version),
        Manner::Garbles(Moment::Version),
    ];
    let (peer, services) = peer_behind_onions(manners.len() + 2, manners.clone());
    let visits = deliver(&peer, &Settings::onions(DELIVERIES, plain(&services)));
    assert_replaced(&visits, &manners);
}

/// Another one later, because this one knows.
pub(super) fn it_was_announced_v2() {
    let manners = vec![Manner::Closes(Moment::Inv), Manner::Garbles(Moment::Inv)];
    let (peer, addresses) = peer_behind_exits(manners.clone());
    let visits = deliver(&peer, &Settings::exits(DELIVERIES, addresses));
    assert_replaced(&visits, &manners);
}

/// The same over the transport with checksums.
pub(super) fn it_was_announced_v1() {
    let manners = vec![Manner::AsksElse, Manner::Floods(Moment::Inv)];
    let (peer, services) = peer_behind_onions(manners.len() + 2, manners.clone());
    let visits = deliver(&peer, &Settings::onions(DELIVERIES, plain(&services)));
    assert_replaced(&visits, &manners);
}

/// One that never asks is kept, and not replaced either, even when the transaction is back: else its silence would
/// tell what the own node has. One that never ends its version is left.
pub(super) fn silence_is_borne() {
    let (peer, addresses) = peer_behind_exits(vec![Manner::NeverAsks, Manner::Slow]);
    let scene = Scene::new(&Settings::exits(DELIVERIES, addresses));
    let payment = scene.payment();
    scene.send(&payment);
    after_deliveries(&peer, 1);
    scene.node.send(&payment.raw).unwrap();
    std::thread::sleep(NOTHING_MORE);
    let [silent, slow, _] = peer.visits().try_into().expect("three visits");
    assert_eq!(silent.commands(), ["version", "verack", "inv"]);
    assert_eq!(silent.ended, None, "closed before its time");
    let borne = slow.ended.unwrap() - slow.began;
    assert!(borne > Duration::from_secs(30), "{borne:?}");
}

/// It gets everything as others do, and another one gets it later.
pub(super) fn a_peer_that_is_behind() {
    let height = i32::try_from(node::MATURITY + 10 + BLOCKS).unwrap();
    let mut manners = vec![Manner::Honest];
    manners.extend([Manner::Height(height); 19]);
    let (peer, addresses) = peer_behind_exits(manners);
    let node = Node::start_funded(&node::Options::default()).unwrap();
    node.mine(BLOCKS).unwrap();
    let scene = Scene::beside(node, &Settings::exits(DELIVERIES, addresses));
    let payment = scene.payment();
    scene.send(&payment);
    let visits = after_deliveries(&peer, usize::from(DELIVERIES) + 1);
    std::thread::sleep(NOTHING_MORE);
    assert_eq!(peer.visits().len(), visits.len());
    assert!(visits.iter().all(Visit::is_delivery));
}

/// Sends one transaction; all visits, once it was delivered as often as it should be and nothing more happens.
fn deliver(peer: &Peer, settings: &Settings) -> Vec<Visit> {
    let mut scene = Scene::new(settings);
    let before = scene.server.process().peak_bytes().unwrap();
    let payment = scene.payment();
    scene.send(&payment);
    let visits = after_deliveries(peer, usize::from(DELIVERIES));
    let growth = scene.server.process().peak_bytes().unwrap() - before;
    assert!(growth < GROWTH_MAX, "it grew by {growth} bytes");
    for visit in visits.iter().filter(|visit| visit.is_delivery()) {
        assert_eq!(visit.payload("tx"), Some(payment.bytes.as_slice()));
    }
    std::thread::sleep(NOTHING_MORE);
    assert_eq!(
        peer.visits().len(),
        visits.len(),
        "more than there had to be"
    );
    visits
}

/// Every one that misbehaved has cost one visit, ended, and learnt nothing beyond where it failed.
fn assert_replaced(visits: &[Visit], manners: &[Manner]) {
    assert_eq!(
        visits.len(),
        manners.len() + usize::from(DELIVERIES),
        "{visits:#?}"
    );
    let (failed, served) = visits.split_at(manners.len());
    for (visit, manner) in failed.iter().zip(manners) {
        assert_eq!(visit.manner, *manner);
        assert!(visit.ended.is_some(), "{manner:?} goes on");
        let announced = visit.payload("inv").is_some();
        let may_know = matches!(
            manner,
            Manner::AsksElse
                | Manner::Closes(Moment::Inv)
                | Manner::Garbles(Moment::Inv)
                | Manner::Floods(Moment::Inv)
        );
        assert_eq!(announced, may_know, "{visit:?}");
        assert_eq!(visit.payload("tx"), None);
    }
    assert!(served.iter().all(Visit::is_delivery));
}
