//! Wallets that are not ours, each on its way through Tor as its user sets it up: they receive, send a payment that leaves
//! through the server's own circuits, see it return, and find everything again from their keys.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rig::contents::Contents;
use rig::descriptor_wallet::{Account, DescriptorWallet};
use rig::electrum_wallet::ElectrumWallet;
use rig::node::{self, Node};
use rig::server::{Claustrum, Options};
use rig::sparrow::Sparrow;
use rig::wallet::Way;
use serde_json::json;

use crate::fixture::{self, PATIENCE, Script};

/// What one wallet does.
type Scenario = fn(&Scene) -> Result<()>;

const POLL: Duration = Duration::from_millis(500);

#[test]
fn electrum_descriptors_and_sparrow_receive_send_and_restore() {
    let scene = Scene::start().unwrap();
    let scenarios: [(&str, Scenario); 3] = [
        ("Electrum", electrum),
        ("descriptors", descriptors),
        ("Sparrow", sparrow),
    ];
    for (name, scenario) in scenarios {
        let began = Instant::now();
        scenario(&scene).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        println!("{name}: {:.1?}", began.elapsed());
    }
}

fn electrum(scene: &Scene) -> Result<()> {
    let electrum = ElectrumWallet::start(&scene.way("electrum")?)?;
    let seed = electrum.create("first")?;
    let addresses = electrum.addresses("first")?;
    let scripts = addresses.iter().map(|address| scene.node.script(address));
    let scripts: Vec<_> = scripts.collect::<Result<_>>()?;
    let compare = |name: &str, what: &str| {
        let shown = || electrum.contents(name);
        scene
            .compare(what, &scripts, shown)
            .with_context(|| electrum.last_words())
    };
    scene
        .node
        .pay(&electrum.unused_address("first")?, 150_000_000)?;
    compare("first", "a payment in the mempool")?;
    scene.node.mine(1)?;
    compare("first", "it has a block")?;
    let there = scene.node.new_address()?;
    let payment = electrum.pay("first", &there, 40_000_000, 2)?;
    let txid = electrum.broadcast(&payment)?;
    scene.wait_for_return(&txid)?;
    compare("first", "sent and back")?;
    electrum.restore("second", &seed)?;
    compare("second", "restored")
}

fn descriptors(scene: &Scene) -> Result<()> {
    let account = Account::new(9);
    let descriptors = ["0/*", "1/*"].map(|end| format!("wpkh({}/{end})", account.public));
    let way = scene.way("descriptors")?;
    let wallet = DescriptorWallet::new(&scene.node, &way, "descriptors", descriptors, &[&account])?;
    let compare = |what: &str| scene.compare(what, &wallet.scripts, || wallet.sync());
    wallet.scan()?;
    scene.node.pay(&wallet.address()?, 150_000_000)?;
    compare("a payment in the mempool")?;
    scene.node.mine(1)?;
    compare("it has a block")?;
    let txid = wallet.pay(&scene.node.new_address()?, 40_000_000, 2)?;
    scene.wait_for_return(&txid)?;
    compare("sent and back")?;
    ensure!(wallet.restored()? == wallet.sync()?);
    Ok(())
}

fn sparrow(scene: &Scene) -> Result<()> {
    let line = scene.server.connect(fixture::network(), "sparrow")?;
    let (mut sparrow, _) = Sparrow::connect(line)?;
    let script = Script::new(&scene.node);
    let hashes = [script.hash.clone()];
    ensure!(sparrow.subscribe(&hashes)? == [json!(null)]);
    let raw = scene.node.pay_unsent(&script.bitcoin_address, 40_000_000)?;
    let txid = sparrow.broadcast(&raw)?;
    let told = sparrow.notification(PATIENCE)?;
    ensure!(told["params"][0] == script.hash, "{told}");
    scene.wait_for_return(&txid)?;
    let history = sparrow.histories(&hashes)?.concat();
    ensure!(history.len() == 1 && history[0].txid == txid, "{history:?}");
    scene.node.mine(1)?;
    while sparrow.notification(PATIENCE)?["params"][0] != script.hash {}
    let history = sparrow.histories(&hashes)?.concat();
    ensure!(
        history[0].height == i64::from(scene.node.height()?),
        "{history:?}"
    );
    sparrow.prove(&history).map(drop)
}

/// A server that gives transactions to one peer, which gives them to the server's own node.
struct Scene {
    node: Node,
    _peer: Node,
    server: Claustrum,
}

impl Scene {
    fn start() -> Result<Self> {
        let listening = node::Options {
            peers: true,
            ..node::Options::default()
        };
        let node = Node::start_funded(&listening)?;
        let peer = Node::start(&listening)?;
        peer.join(&node)?;
        let port = peer.peer_port().context("a peer without a port")?;
        // All of them are this one peer, behind exits.
        let peers: Vec<_> = (1..=9).map(|n| format!("127.{n}.0.1:{port}")).collect();
        let peers = json!(peers);
        let config =
            format!("[broadcast]\nnetworks = [\"exit\"]\ndeliveries = 2\npeers = {peers}\n");
        let options = Options {
            config: Some(config),
            ..Options::default()
        };
        let server = Claustrum::start(&node, fixture::network(), &options)?;
        fixture::wait_for("a server that takes transactions", || {
            let status = fixture::said(&server.run("status").unwrap());
            status.contains("broadcast tor-peers: ready").then_some(())
        });
        Ok(Self {
            node,
            _peer: peer,
            server,
        })
    }

    fn way(&self, user: &str) -> Result<Way> {
        Ok(Way::Tor {
            socks_port: fixture::network().socks_port(),
            user: user.to_owned(),
            onion_address: self.server.onion_address()?.to_owned(),
        })
    }

    /// Until a wallet shows what the node says of its scripts.
    fn compare(
        &self,
        what: &str,
        scripts: &[String],
        look: impl Fn() -> Result<Contents>,
    ) -> Result<()> {
        let expected = Contents::expected(&self.node, scripts)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shown = look()?;
            if shown == expected {
                return Ok(());
            }
            let late = Instant::now() > deadline;
            ensure!(!late, "{what}: {shown:?} instead of {expected:?}");
            std::thread::sleep(POLL);
        }
    }

    fn wait_for_return(&self, txid: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.node.has(txid)? {
            ensure!(Instant::now() < deadline, "{txid} does not come back");
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}
