//! Many sessions that wait: whatever a block, a transaction or a reorganisation changes, each is told of each of its
//! scripts and of the tip, once for each final state, and none is forgotten. Counts alone; times are figures of a bench.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Address, Network};
use rig::audience::Audience;
use rig::crowd::{self, Crowd};
use rig::node::{Node, Options};
use rig::server::{self, Loopback};
use serde_json::json;

const SESSIONS: usize = 200;
const SCRIPTS_EACH: usize = 5;
/// Far more than it takes; what has not come by then is lost.
const LOST: Duration = Duration::from_secs(60);
/// So long nobody is told anything more, which is several rounds of the mempool.
const SILENCE: Duration = Duration::from_secs(2);

#[test]
fn nobody_misses_anything_and_nobody_is_told_twice() -> Result<()> {
    let node = Node::start(&Options::default())?;
    let mut crowd = Crowd::start(&node, 20)?;
    let server = Loopback::start(&node, &server::Options::default())?;
    server.connect()?.wait_until_ready(LOST)?;
    let owners: Vec<Vec<u64>> = (0..SESSIONS)
        .map(|_| (0..SCRIPTS_EACH).map(|_| crowd.stranger()).collect())
        .collect();
    let everyone = owners.concat();
    let streams = owners.iter().map(|_| server.open());
    let streams = streams.collect::<Result<_>>()?;
    let mut audience = Audience::start(streams, &owners)?;
    let home = Address::from_script(&crowd::script(0), Network::Regtest)?.to_string();

    // A block that pays nobody, then one that pays all who had heard of nothing before.
    node.mine_to(&home, 1)?;
    hear(&mut audience, SESSIONS)?;
    let paid: Vec<String> = crowd
        .pay_each(&everyone)?
        .iter()
        .map(serialize_hex)
        .collect();
    let block = node.mine_block(&home, &paid)?;
    hear(&mut audience, SESSIONS + everyone.len())?;

    // Transactions, and the block they are in.
    let some: Vec<u64> = owners.iter().map(|own| own[0]).collect();
    crowd::send(&node, &crowd.pay_each(&some)?)?;
    hear(&mut audience, some.len())?;
    node.mine_to(&home, 1)?;
    hear(&mut audience, SESSIONS + some.len())?;
    audience.ensure_all_is_known(&node)?;

    // Another branch without any of them, in which they are unconfirmed again.
    node.rpc("invalidateblock", json!([block]))?;
    for _ in 0..3 {
        node.mine_block(&home, &[])?;
    }
    audience
        .hear(SESSIONS + everyone.len(), LOST)
        .context("something was lost")?;
    // How many states there are in between is the node's affair.
    audience.hear_rest(SILENCE)?;
    audience.ensure_all_is_known(&node)
}

/// So many things, each told once, and nothing more.
fn hear(audience: &mut Audience, count: usize) -> Result<()> {
    let told = audience.hear(count, LOST).context("something was lost")?;
    audience.ensure_told_once(&told, SILENCE)
}
