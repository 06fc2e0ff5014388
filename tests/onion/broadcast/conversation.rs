//! What a peer hears, and what the kernel hears.

use std::collections::BTreeSet;

use bitcoin::hex::FromHex as _;
use rig::node::{self, Node};
use rig::peer::{Manner, Moment, Transport, Visit};
use rig::ports;
use rig::server::Options;

use super::scene::{
    Payment, Scene, Settings, after_deliveries, peer_behind_exits, peer_behind_onions, plain,
};
use crate::fixture;
use crate::no_listener::{local, peers, trace, violations};

/// Of every payload of a version, in front of its nonce: protocol 70016, no services, no time, no addresses.
const BEFORE_NONCE: [u8; 72] = {
    let mut bytes = [0; 72];
    [bytes[0], bytes[1], bytes[2]] = [0x80, 0x11, 0x01];
    bytes
};
/// Behind it: the name, height 0, no relay.
const BEHIND_NONCE: &[u8; 20] = b"\x0e/pynode:0.0.1/\0\0\0\0\0";
/// How many bytes stand in front of what an inventory is about: one entry, a transaction.
const INVENTORY: [u8; 5] = [1, 1, 0, 0, 0];

/// By each of the ways there are: onion services over both transports, and exits.
pub(super) fn peers_hear_what_they_must_and_no_more() {
    let (by_v1, services) = peer_behind_onions(3, Vec::new());
    let v1 = (Transport::V1, by_v1, Settings::onions(3, plain(&services)));
    let (by_v2, services) = peer_behind_onions(3, Vec::new());
    let v2 = (Transport::V2, by_v2, Settings::onions(3, services));
    let (by_exits, addresses) = peer_behind_exits(Vec::new());
    let exits = (Transport::V2, by_exits, Settings::exits(3, addresses));
    let mut nonces = BTreeSet::new();
    let under_way = [v1, v2, exits].map(|(transport, peer, settings)| {
        let scene = Scene::new(&settings);
        let payment = scene.payment();
        scene.send(&payment);
        (transport, peer, scene, payment)
    });
    for (transport, peer, _scene, payment) in under_way {
        let visits = after_deliveries(&peer, 3);
        assert_eq!(visits.len(), 3);
        for visit in &visits {
            assert_conversation(visit, transport, &payment);
            nonces.insert(visit.payload("version").unwrap()[72..80].to_vec());
            nonces.insert(visit.payload("ping").unwrap().to_vec());
        }
    }
    assert_eq!(nonces.len(), 18, "a nonce came twice");
}

/// Everything that came, byte for byte.
fn assert_conversation(visit: &Visit, transport: Transport, payment: &Payment) {
    assert_eq!(visit.transport, Some(transport));
    assert_eq!(visit.commands(), ["version", "verack", "inv", "tx", "ping"]);
    assert_eq!(visit.fault, None);
    let [version, verack, inv, tx, ping] = [0, 1, 2, 3, 4].map(|number| &visit.messages[number]);
    let (before, rest) = version.payload.split_at(BEFORE_NONCE.len());
    let (nonce, behind) = rest.split_at(8);
    assert_eq!(before, BEFORE_NONCE);
    assert_ne!(nonce, [0; 8]);
    assert_eq!(behind, BEHIND_NONCE);
    assert!(verack.payload.is_empty());
    let mut txid = Vec::from_hex(&payment.txid).unwrap();
    txid.reverse();
    assert_eq!(inv.payload, [INVENTORY.as_slice(), &txid].concat());
    assert_eq!(tx.payload, payment.bytes);
    assert_eq!(ping.payload.len(), 8);
    // A name of twelve characters where there is no short one, and nothing that need not be there.
    let lengths = [version, verack, inv, tx, ping].map(|one| one.bytes.len() - one.payload.len());
    match transport {
        Transport::V1 => assert_eq!(lengths, [24; 5]),
        Transport::V2 => assert_eq!(lengths, [13, 13, 1, 1, 1]),
    }
}

/// While peers fail in all ways there are: no BIP 324, no relay, a closed connection, nobody there any more.
pub(super) fn there_is_no_other_way_out() {
    let (by_exits, addresses) = peer_behind_exits(vec![
        Manner::Closes(Moment::Start),
        Manner::NoRelay,
        Manner::Closes(Moment::Inv),
        Manner::Garbles(Moment::Version),
    ]);
    let (by_onions, services) = peer_behind_onions(
        6,
        vec![Manner::Closes(Moment::Version), Manner::Closes(Moment::Inv)],
    );
    let vanished = ports::free().unwrap();
    let gone = (201..=204).map(|number| format!("127.{number}.0.1:{vanished}"));
    let peers_of_all_kinds = addresses.into_iter().take(12).chain(services).chain(gone);

    let folder = tempfile::tempdir().unwrap();
    let trace = trace(&folder);
    let settings = Settings {
        deliveries: 5,
        peers: peers_of_all_kinds.collect(),
        ..Settings::default()
    };
    let node = Node::start_funded(&node::Options::default()).unwrap();
    let mut scene = Scene::with(
        node,
        &Options {
            config: Some(settings.text()),
            trace: Some(trace.clone()),
            ..Options::default()
        },
    );
    let payments = [scene.payment(), scene.payment()];
    payments.iter().for_each(|payment| scene.send(payment));
    // More slots than there are onion services, so that every manner shows; then the rest is left where it is.
    fixture::wait_for("delivery of both transactions, by both ways", || {
        let ways = [by_exits.visits(), by_onions.visits()];
        let delivered = |visits: &Vec<Visit>| visits.iter().any(Visit::is_delivery);
        let arrived = |payment: &Payment| {
            let mut visits = ways.iter().flatten();
            visits.any(|visit| visit.payload("tx") == Some(&payment.bytes))
        };
        (ways.iter().all(delivered) && payments.iter().all(arrived)).then_some(())
    });
    assert!(scene.server.stop().unwrap().success());

    let listing = trace.read().unwrap();
    assert_eq!(listing.exit_status, Some(0), "not listed to its end");
    let relays = local(fixture::network().relay_ports().unwrap());
    let rpc = local([scene.node.rpc_port()]);
    let allowed = relays.union(&rpc).copied().collect();
    assert_eq!(violations(&listing, &allowed), Vec::<String>::new());
    let reached = peers(&listing);
    assert!(
        !reached.is_disjoint(&relays) && !reached.is_disjoint(&rpc),
        "{reached:?}"
    );
}
