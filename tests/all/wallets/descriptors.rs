//! Wallets of descriptors by `bdk_wallet` and `bdk_electrum`: of one key, of two keys of three, and one that only watches
//! and has its payments signed elsewhere.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use rig::contents::Contents;
use rig::descriptor_wallet::{Account, DescriptorWallet};
use rig::node::{self, Node, satoshi};
use rig::reorganise::{Fate, reorganise};
use rig::server::{self, Loopback};
use rig::wallet::Way;
use serde_json::json;

use super::wait_until_equal;

#[test]
fn descriptors_see_what_the_node_sees() -> Result<()> {
    let node = Node::start_funded(&node::Options::default())?;
    let server = Loopback::start(&node, &server::Options::default())?;
    let way = Way::Loopback {
        port: server.port(),
    };
    let scene = Scene {
        wallets: wallets(&node, &way)?,
        node,
        began: Instant::now(),
    };
    for wallet in &scene.wallets {
        wallet.scan()?;
        let there = wallet.address()?;
        scene.node.pay(&there, 150_000_000)?;
    }
    scene.compare("a payment in the mempool")?;
    scene.node.mine(1)?;
    scene.compare_with_coins("it has a block")?;

    let mut sent = Vec::new();
    for wallet in &scene.wallets {
        sent.push(wallet.pay(&scene.node.new_address()?, 40_000_000, 2)?);
    }
    scene.has_sent(&sent)?;
    scene.compare("sent")?;
    for (wallet, sent) in scene.wallets.iter().zip(&mut sent) {
        *sent = wallet.bump(sent, 20)?;
    }
    scene.has_sent(&sent)?;
    scene.compare("sent with a higher fee")?;
    scene.node.mine(1)?;
    scene.compare_with_coins("that has a block")?;

    reorganise(&scene.node, 2, 3, Fate::Unconfirmed)?;
    scene.compare("a reorg took both blocks away")?;
    scene.node.mine(1)?;
    scene.compare_with_coins("mined again")?;
    for wallet in &scene.wallets {
        let contents = wallet.restored()?;
        ensure!(contents.transactions.len() == 2, "{contents:?}");
        ensure!(contents == wallet.sync()?, "{}", wallet.name);
    }
    reorganise(&scene.node, 1, 2, Fate::Replaced)?;
    scene.compare_with_coins("a reorg paid somebody else instead")?;
    for wallet in &scene.wallets {
        ensure!(wallet.sync()? == Contents::default(), "{}", wallet.name);
    }
    Ok(())
}

struct Scene {
    wallets: Vec<DescriptorWallet>,
    node: Node,
    began: Instant,
}

impl Scene {
    /// Each wallet shows what the node says of its scripts.
    fn compare(&self, what: &str) -> Result<()> {
        for wallet in &self.wallets {
            let expected = Contents::expected(&self.node, &wallet.scripts)?;
            let what = format!("{what}, {}", wallet.name);
            wait_until_equal(&what, &expected, || wallet.sync())?;
        }
        println!("{:5.1?}: {what}", self.began.elapsed());
        Ok(())
    }

    /// The same, and the node's set of coins has the same sum; while the mempool is empty.
    fn compare_with_coins(&self, what: &str) -> Result<()> {
        self.compare(what)?;
        for wallet in &self.wallets {
            let scan = json!(["start", wallet.public]);
            let coins = self.node.rpc("scantxoutset", scan)?;
            let sum = satoshi(&coins["total_amount"]).context("no total_amount")?;
            ensure!(
                wallet.sync()?.balance == sum,
                "{what}, {}: {sum}",
                wallet.name
            );
        }
        Ok(())
    }

    fn has_sent(&self, txids: &[String]) -> Result<()> {
        let mut mempool = self.node.mempool()?;
        let mut txids = txids.to_vec();
        mempool.sort();
        txids.sort();
        ensure!(mempool == txids, "the node has {mempool:?}");
        Ok(())
    }
}

fn wallets(node: &Node, way: &Way) -> Result<Vec<DescriptorWallet>> {
    let [one, a, b, c, watched] = [1, 2, 3, 4, 5].map(Account::new);
    let on_both_chains = |of: &dyn Fn(&str) -> String| ["0/*", "1/*"].map(of);
    let single = on_both_chains(&|end| format!("wpkh({}/{end})", one.private));
    let two_of_three = on_both_chains(&|end| {
        let keys = [&a, &b, &c].map(|account| format!("{}/{end}", account.public));
        format!("wsh(sortedmulti(2,{}))", keys.join(","))
    });
    let taproot = on_both_chains(&|end| format!("tr({}/{end})", watched.public));
    Ok(vec![
        DescriptorWallet::new(node, way, "single key", single, &[&one])?,
        DescriptorWallet::new(node, way, "two of three", two_of_three, &[&a, &c])?,
        DescriptorWallet::new(node, way, "watch-only", taproot, &[&watched])?,
    ])
}
