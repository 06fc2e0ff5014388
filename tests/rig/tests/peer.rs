//! The peer that is no node, visited by a real node.

use std::time::Duration;

use anyhow::Result;
use rig::node::{Node, Options};
use rig::peer::{Manner, Moment, Peer, Transport, Visit};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);

fn node(v2: bool) -> Result<Node> {
    Node::start_funded(&Options {
        extra: vec![format!("-v2transport={}", u8::from(v2))],
        ..Options::default()
    })
}

fn dial(node: &Node, peer: &Peer, at: u8) -> Result<()> {
    let address = format!("127.{at}.0.1:{}", peer.port());
    node.rpc("addnode", json!([address, "onetry"]))?;
    Ok(())
}

fn ended(visits: &[Visit]) -> bool {
    visits.last().is_some_and(|visit| visit.ended.is_some())
}

#[test]
fn a_node_hands_it_transactions_over_both_transports() -> Result<()> {
    for (v2, transport) in [(false, Transport::V1), (true, Transport::V2)] {
        let (node, peer) = (node(v2)?, Peer::honest()?);
        dial(&node, &peer, 77)?;
        peer.visits_when(PATIENCE, |visits| {
            visits
                .last()
                .is_some_and(|visit| visit.payload("verack").is_some())
        })?;
        let raw = node.pay_unsent(&node.new_address()?, 50_000)?;
        node.send(&raw)?;
        let visits = peer.visits_when(PATIENCE, |visits| visits[0].payload("tx").is_some())?;
        assert_eq!(visits.len(), 1);
        let visit = &visits[0];
        assert_eq!(visit.transport, Some(transport));
        assert_eq!(
            visit.reached_at.to_string(),
            format!("127.77.0.1:{}", peer.port())
        );
        assert_eq!(visit.commands()[0], "version");
        assert_eq!(hex(visit.payload("tx").unwrap()), raw);
        drop(node);
        let visits = peer.visits_when(PATIENCE, ended)?;
        assert_eq!(visits[0].fault, None);
    }
    Ok(())
}

#[test]
fn a_node_leaves_a_peer_that_talks_nonsense() -> Result<()> {
    let node = node(true)?;
    for manner in [
        Manner::Closes(Moment::Start),
        Manner::Closes(Moment::Version),
        Manner::Floods(Moment::Start),
        Manner::Garbles(Moment::Version),
    ] {
        let peer = Peer::start(1, move |_| manner)?;
        dial(&node, &peer, 78)?;
        let visits = peer.visits_when(PATIENCE, ended)?;
        let at_start = [Manner::Closes(Moment::Start), Manner::Floods(Moment::Start)];
        assert_eq!(visits[0].messages.is_empty(), at_start.contains(&manner));
    }
    Ok(())
}

#[test]
fn a_node_believes_what_its_version_says() -> Result<()> {
    let node = node(true)?;
    let manners = [Manner::Height(7), Manner::NoRelay];
    let peer = Peer::start(1, move |number| manners[number])?;
    for (at, height, relay) in [(81, 7, true), (82, 0, false)] {
        dial(&node, &peer, at)?;
        let address = format!("127.{at}.0.1:{}", peer.port());
        peer.visits_when(PATIENCE, |visits| {
            let visit = visits
                .iter()
                .find(|visit| visit.reached_at.to_string() == address);
            visit.is_some_and(|visit| visit.payload("ping").is_some())
        })?;
        let peers = node.rpc("getpeerinfo", json!([]))?;
        let known = peers
            .as_array()
            .unwrap()
            .iter()
            .find(|peer| peer["addr"] == address.as_str());
        let known = known.unwrap();
        assert_eq!(
            (&known["startingheight"], &known["relaytxes"]),
            (&json!(height), &json!(relay))
        );
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
