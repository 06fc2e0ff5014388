//! The node, its payments, reorgs and shapes, and the oracle on chains small enough to be known by heart.

use anyhow::Result;
use rig::node::{Node, Options};
use rig::oracle;
use rig::reorganise::{Fate, reorganise, rewind};
use rig::shape::Shape;
use serde_json::json;

/// Compares with what the node itself says of its unspent outputs.
fn assert_sums_agree(node: &Node, scripts: &oracle::Scripts) -> Result<()> {
    let said = node.rpc("gettxoutsetinfo", json!(["none"]))?;
    let confirmed: u64 = scripts.values().map(|script| script.confirmed).sum();
    let unspent: usize = scripts.values().map(|script| script.unspent.len()).sum();
    assert_eq!(rig::node::satoshi(&said["total_amount"]), Some(confirmed));
    assert_eq!(said["txouts"], unspent);
    Ok(())
}

fn status(history: &str) -> String {
    use sha2::Digest as _;
    format!("{:x}", sha2::Sha256::digest(history))
}

#[test]
fn a_payment_is_made_replaced_and_mined() -> Result<()> {
    let node = Node::start_funded(&Options::default())?;
    let there = node.new_address()?;
    let first = node.pay(&there, 1_000_000)?;
    assert_eq!(node.mempool()?, [first.as_str()]);

    let second = node.bump(&first)?;
    assert_eq!(node.mempool()?, [second.as_str()]);
    let elsewhere = node.new_address()?;
    let third = node.redirect(&second, &elsewhere, 900_000)?;
    assert_eq!(node.mempool()?, [third.as_str()]);

    let held = node.pay_unsent(&there, 5_000)?;
    assert_eq!(node.mempool()?.len(), 1);
    let fourth = node.send(&held)?;
    node.mine(1)?;
    let block = node.rpc("getblock", json!([node.block_hash(node.height()?)?, 1]))?;
    let mined: Vec<_> = block["tx"].as_array().unwrap().iter().skip(1).collect();
    assert_eq!(mined.len(), 2);
    assert!(mined.contains(&&json!(third)) && mined.contains(&&json!(fourth)));
    Ok(())
}

#[test]
fn the_oracle_knows_a_tiny_chain() -> Result<()> {
    let node = Node::start_funded(&Options::default())?;
    let there = node.new_address()?;
    let script = node.script(&there)?;
    let hash = oracle::script_hash(&script)?;
    assert_eq!(oracle::scripts(&node)?.get(&hash), None);

    let paid = node.pay(&there, 70_000)?;
    let child_raw = node.spend(&[(&paid, node.vout(&paid, &there)?)], &there, 1_000)?;
    let child = node.send(&child_raw)?;
    let found = oracle::scripts(&node)?.remove(&hash).unwrap();
    assert_eq!(
        found
            .history
            .iter()
            .map(|entry| entry.height)
            .collect::<Vec<_>>(),
        [0, -1]
    );
    assert_eq!(found.history[1].fee, Some(1_000));
    assert_eq!((found.confirmed, found.unconfirmed), (0, 69_000));
    assert_eq!(found.unspent.len(), 1);
    assert_eq!(found.status, status(&format!("{paid}:0:{child}:-1:")));

    node.mine(1)?;
    let spend = node.spend(&[(&child, 0)], &node.new_address()?, 2_000)?;
    let gone = node.send(&spend)?;
    let found = oracle::scripts(&node)?.remove(&hash).unwrap();
    assert_eq!((found.confirmed, found.unconfirmed), (69_000, -69_000));
    assert_eq!(found.unspent, []);
    assert_eq!(
        found.status,
        status(&format!("{paid}:111:{child}:111:{gone}:0:"))
    );
    Ok(())
}

#[test]
fn the_oracle_hashes_scripts_as_the_protocol_documents_do() -> Result<()> {
    // Of the address 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa.
    let script = "76a91462e907b15cbf27d5425399ebf6f0fb50ebb88f1888ac";
    let hash = "8b01df4e368ea28f8dc0423bcf7a4923e3a12d307c875e47a0cfbf90b5c39161";
    assert_eq!(oracle::script_hash(script)?, hash);
    Ok(())
}

#[test]
fn a_reorg_moves_returns_or_replaces_transactions() -> Result<()> {
    let node = Node::start_funded(&Options::default())?;
    let there = node.new_address()?;
    let hash = oracle::script_hash(&node.script(&there)?)?;
    let heights = || -> Result<Vec<i64>> {
        let history = oracle::scripts(&node)?
            .remove(&hash)
            .map(|script| script.history);
        Ok(history
            .unwrap_or_default()
            .iter()
            .map(|entry| entry.height)
            .collect())
    };
    node.pay(&there, 50_000)?;
    node.mine(5)?;
    assert_eq!(heights()?, [111]);

    rewind(&node, 2)?;
    assert_eq!((node.height()?, heights()?), (113, vec![111]));
    reorganise(&node, 3, 4, Fate::Moved)?;
    assert_eq!((node.height()?, heights()?), (114, vec![112]));
    reorganise(&node, 3, 4, Fate::Unconfirmed)?;
    assert_eq!((node.height()?, heights()?), (115, vec![0]));
    node.mine(1)?;
    assert_eq!(heights()?, [116]);
    reorganise(&node, 1, 2, Fate::Replaced)?;
    assert_eq!((node.height()?, heights()?), (117, vec![]));
    assert!(reorganise(&node, 2, 2, Fate::Moved).is_err());
    Ok(())
}

#[test]
fn a_node_comes_back_after_stop_and_kill() -> Result<()> {
    let mut node = Node::start_funded(&Options {
        txindex: true,
        ..Options::default()
    })?;
    let paid = node.pay(&node.new_address()?, 50_000)?;
    node.restart()?;
    assert_eq!((node.height()?, node.mempool()?), (110, vec![paid.clone()]));
    node.mine(1)?;
    node.kill()?;
    assert!(node.height().is_err());
    node.restart()?;
    node.mine(1)?;
    assert_eq!(
        node.rpc("getrawtransaction", json!([paid, 1]))?["txid"],
        paid
    );
    Ok(())
}

#[test]
fn a_shape_holds_what_it_promises() -> Result<()> {
    let node = Node::start(&Options::default())?;
    let mut shape = Shape::new(7);
    let started = std::time::Instant::now();
    let busy = shape.build(&node)?;
    println!(
        "shape: {} blocks in {:.1?}",
        node.height()?,
        started.elapsed()
    );

    let started = std::time::Instant::now();
    let scripts = oracle::scripts(&node)?;
    println!(
        "oracle: {} scripts in {:.1?}",
        scripts.len(),
        started.elapsed()
    );
    assert_sums_agree(&node, &scripts)?;
    let busy = oracle::script_hash(&busy)?;
    assert!(scripts[&busy].history.len() >= 3_000);
    assert!(
        scripts
            .values()
            .filter(|script| script.history.len() > 2)
            .count()
            > 20
    );
    let kinds = |prefix: &str, length: usize| {
        scripts
            .values()
            .filter(|found| found.script.starts_with(prefix) && found.script.len() == 2 * length)
            .count()
    };
    for (prefix, length) in [
        ("2", 35),
        ("76a9", 25),
        ("0014", 22),
        ("a914", 23),
        ("0020", 34),
        ("5120", 34),
        ("51", 71),
    ] {
        assert!(kinds(prefix, length) > 10, "{prefix} {length}");
    }
    let spent = |prefix: &str| {
        scripts
            .values()
            .any(|found| found.script.starts_with(prefix) && found.confirmed == 0)
    };
    for prefix in ["2", "76a9", "0014", "a914", "0020", "5120", "51"] {
        assert!(spent(prefix), "{prefix}");
    }

    Ok(())
}

#[test]
fn a_shape_grows_on_after_a_reorg() -> Result<()> {
    let node = Node::start(&Options::default())?;
    let mut shape = Shape::new(8);
    shape.grow(&node, 210)?;
    let sent = shape.send_unconfirmed(&node, 30)?;
    assert_eq!(sent.len(), 30);
    let heights: Vec<i64> = oracle::scripts(&node)?
        .values()
        .flat_map(|script| &script.history)
        .map(|entry| entry.height)
        .collect();
    assert!(heights.contains(&0) && heights.contains(&-1));
    for (depth, fate) in [
        (1, Fate::Unconfirmed),
        (6, Fate::Moved),
        (100, Fate::Moved),
        (100, Fate::Unconfirmed),
    ] {
        reorganise(&node, depth, depth + 1, fate)?;
        shape.forget_lost(&node)?;
        shape.grow(&node, 3)?;
        node.mine(1)?;
    }
    assert_eq!(node.mempool()?.len(), 0);
    assert_sums_agree(&node, &oracle::scripts(&node)?)
}
