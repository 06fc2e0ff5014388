//! Over which circuits, and to whom.

use std::collections::BTreeSet;
use std::time::Duration;

use rig::node::{self, Node};
use rig::peer::{Manner, Visit};
use rig::tor_network::{CircuitWatch, ONION_PORT};
use serde_json::json;

use super::scene::{Scene, Settings, behind_exits, peer_behind_exits, peer_behind_onions};
use crate::fixture;

const TRANSACTIONS: usize = 4;
const SLOTS: usize = 3;
/// Longer than a slot needs to draw another peer; what does not happen has to be waited for.
const NOTHING_MORE: Duration = Duration::from_secs(5);

/// Several transactions at once: each delivery over a circuit of its own, to an address that had none before.
pub(super) fn nothing_is_used_twice() {
    let network = fixture::network();
    // So that several are under way at a time.
    let manners = vec![Manner::Hesitates; TRANSACTIONS * SLOTS];
    let (by_exits, addresses) = peer_behind_exits(manners.clone());
    let (by_onions, services) = peer_behind_onions(TRANSACTIONS * SLOTS, manners);
    let exits = network.watch_exits(by_exits.port()).unwrap();
    let onions: Vec<_> = services
        .iter()
        .map(|service| service.trim_end_matches(&format!(":{ONION_PORT}")))
        .map(|name| network.watch_onion_service(name).unwrap())
        .collect();
    let scene = Scene::new(&Settings {
        peers: [addresses, services].concat(),
        ..Settings::default()
    });
    let payments: Vec<_> = (0..TRANSACTIONS).map(|_| scene.payment()).collect();
    payments.iter().for_each(|payment| scene.send(payment));
    let visits = fixture::wait_for("delivery of all", || {
        let visits = [by_exits.visits(), by_onions.visits()].concat();
        let whole = |visit: &&Visit| visit.is_delivery() && visit.ended.is_some();
        let count = visits.iter().filter(whole).count();
        (count >= TRANSACTIONS * SLOTS).then_some(visits)
    });
    assert_eq!(visits.len(), TRANSACTIONS * SLOTS, "{visits:#?}");
    let addresses: BTreeSet<_> = visits.iter().map(|visit| visit.reached_at).collect();
    assert_eq!(addresses.len(), visits.len(), "an address was used twice");
    for payment in &payments {
        let of_it = |visit: &&Visit| visit.payload("tx") == Some(&payment.bytes);
        assert_eq!(visits.iter().filter(of_it).count(), SLOTS);
        let by_onions = by_onions.visits();
        assert!(
            by_onions.iter().any(|visit| of_it(&visit)),
            "none by an onion service"
        );
    }

    let mut used = exits.count().unwrap().used;
    assert_eq!(used, by_exits.visits().len(), "exits");
    for onion in &onions {
        let here = onion.count().unwrap().used;
        assert!(here <= 1, "{here} circuits to one onion service");
        used += here;
    }
    assert_eq!(used, TRANSACTIONS * SLOTS);
    fixture::wait_for("end of all circuits", || {
        let open = |watch: &CircuitWatch| watch.count().unwrap().open;
        (open(&exits) + onions.iter().map(open).sum::<usize>() == 0).then_some(())
    });
}

/// Not the onion service of the own node, not what the operator excludes, and nothing else is left.
pub(super) fn the_own_addresses_are_never_dialled() {
    let network = fixture::network();
    let (own, own_address) = peer_behind_onions(1, Vec::new());
    let name = own_address[0].trim_end_matches(&format!(":{ONION_PORT}"));
    let (excluded, _) = peer_behind_exits(Vec::new());
    let (others, _) = peer_behind_exits(vec![Manner::NoRelay; 100]);
    let node = Node::start_funded(&node::Options {
        peers: true,
        extra: vec![
            format!("-externalip={name}"),
            // Without a way to onion services a node takes none for its own.
            format!("-onion=127.0.0.1:{}", network.socks_port()),
        ],
        ..node::Options::default()
    })
    .unwrap();
    let known = node.rpc("getnetworkinfo", json!([])).unwrap();
    assert_eq!(known["localaddresses"][0]["address"], name, "{known}");

    let excluded_address = format!("127.200.0.1:{}", excluded.port());
    let dialled = behind_exits(others.port(), 4);
    let scene = Scene::beside(
        node,
        &Settings {
            peers: [dialled.clone(), own_address, vec![excluded_address]].concat(),
            exclude: vec!["127.200.0.1".to_owned()],
            ..Settings::default()
        },
    );
    scene.send(&scene.payment());
    others
        .visits_when(fixture::PATIENCE, |visits| visits.len() >= dialled.len())
        .unwrap();
    std::thread::sleep(NOTHING_MORE);
    for peer in [&own, &excluded] {
        assert!(peer.visits().is_empty(), "{:?}", peer.visits());
    }
    assert_eq!(others.visits().len(), dialled.len());
}
