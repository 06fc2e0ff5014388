//! Electrum, which proves every transaction to itself and leaves a server whose answers contradict each other.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use rig::contents::Contents;
use rig::electrum_wallet::ElectrumWallet;
use rig::node::{self, Node};
use rig::reorganise::{Fate, reorganise};
use rig::server::{self, Loopback};
use rig::wallet::Way;

use super::wait_until_equal;

#[test]
fn electrum_receives_sends_bumps_and_comes_through_a_reorg() -> Result<()> {
    let node = Node::start_funded(&node::Options::default())?;
    let server = Loopback::start(&node, &server::Options::default())?;
    let way = Way::Loopback {
        port: server.port(),
    };
    let scene = Scene {
        electrum: ElectrumWallet::start(&way)?,
        node,
        began: Instant::now(),
    };
    let seed = scene.electrum.create("first")?;
    scene.compare("first", "empty")?;
    let savings = scene.electrum.unused_address("first")?;
    scene.node.pay(&savings, 150_000_000)?;
    scene.compare("first", "one payment in the mempool")?;
    scene.node.mine(1)?;
    scene.compare("first", "it has a block")?;

    let there = scene.node.new_address()?;
    let payment = scene.electrum.pay("first", &there, 40_000_000, 2)?;
    let sent = scene.electrum.broadcast(&payment)?;
    scene.has_sent(&sent)?;
    scene.compare("first", "sent")?;
    let higher = scene.electrum.bump("first", &sent, 20)?;
    let bumped = scene.electrum.broadcast(&higher)?;
    scene.has_sent(&bumped)?;
    scene.compare("first", "sent with a higher fee")?;
    scene.node.mine(1)?;
    scene.compare("first", "that has a block")?;

    reorganise(&scene.node, 2, 3, Fate::Unconfirmed)?;
    scene.compare("first", "a reorg took both blocks away")?;
    reorganise(&scene.node, 1, 2, Fate::Unconfirmed)?;
    scene.node.mine(1)?;
    scene.compare("first", "mined again")?;
    reorganise(&scene.node, 1, 2, Fate::Moved)?;
    scene.compare("first", "a reorg moved them up a block")?;

    scene.electrum.restore("second", &seed)?;
    scene.compare("second", "restored from the seed")?;
    let first = scene.electrum.contents("first")?;
    ensure!(first.transactions.len() == 2, "{first:?}");
    ensure!(first == scene.electrum.contents("second")?);
    let departures = scene.electrum.departures();
    ensure!(departures.is_empty(), "it left the server: {departures:?}");
    Ok(())
}

struct Scene {
    electrum: ElectrumWallet,
    node: Node,
    began: Instant,
}

impl Scene {
    /// The wallet shows what the node says of its addresses, once it says it is up to date.
    fn compare(&self, wallet: &str, what: &str) -> Result<()> {
        let addresses = self.electrum.addresses(wallet)?;
        let scripts = addresses.iter().map(|address| self.node.script(address));
        let scripts = scripts.collect::<Result<Vec<_>>>()?;
        let expected = Contents::expected(&self.node, &scripts)?;
        wait_until_equal(what, &expected, || self.electrum.contents(wallet))
            .with_context(|| format!("{:?}", self.electrum.departures()))
            .with_context(|| self.electrum.last_words())?;
        println!("{:5.1?}: {what}", self.began.elapsed());
        Ok(())
    }

    fn has_sent(&self, txid: &str) -> Result<()> {
        let mempool = self.node.mempool()?;
        ensure!(mempool == [txid], "the node has {mempool:?}");
        Ok(())
    }
}
