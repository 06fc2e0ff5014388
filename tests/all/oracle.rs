//! Every script's history, unspent outputs, balance and status are those that follow from the node's JSON, whatever
//! the chain and the server have been through.

mod behind;
mod bulk;
mod comparison;
mod direct;
mod disk;
mod killed;
mod large;
mod rest;
mod tampering;
mod trial;
mod wire;

pub(crate) use wire::wait_for_tip;

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use rig::node::{Node, Options};
use rig::reorganise::Fate;
use rig::server::Loopback;

use direct::Direct;
use trial::Trial;

/// The same trial in every run.
const SEED: u64 = 20_260_801;

#[test]
fn every_script_is_as_the_node_tells_through_reorgs_restarts_and_kills() -> Result<()> {
    let node = Node::start_funded(&Options::default())?;
    let mut trial = Trial::new(&node, SEED)?;
    let mut subjects = Subjects::start(&node, &mut trial)?;
    subjects.check("after catching up")?;
    trial.trade()?;
    subjects.check("with payments in the mempool")?;
    trial.evict_by_block()?;
    subjects.check("after a block that evicts")?;

    trial.reorganise(1, Fate::Unconfirmed)?;
    subjects.check("after a reorg of 1 block into the mempool")?;
    trial.grow(3)?;
    trial.reorganise(6, Fate::Replaced)?;
    subjects.check("after a reorg of 6 blocks with replacements")?;
    subjects.stop()?;
    trial.reorganise(100, Fate::Moved)?;
    subjects.start_again()?;
    subjects.check("after a reorg of 100 blocks while it was stopped")?;
    trial.kill_at_the_tip(&mut subjects.server, 6)?;
    subjects.check("after being killed between a block and its commit")?;
    trial.kill_in_a_reorg(&mut subjects.server, 100, Fate::Unconfirmed)?;
    subjects.check("after being killed in a reorg of 100 blocks")?;
    trial.grow(3)?;
    trial.trade()?;
    subjects.stop()?;
    subjects.start_again()?;
    subjects.check("after a restart with a full mempool")?;
    subjects.assert_only_the_tip_matters()
}

/// What is held against the oracle: the server as a process, and the index alone.
struct Subjects<'a> {
    node: &'a Node,
    server: Loopback,
    direct: Direct,
    began: Instant,
}

impl<'a> Subjects<'a> {
    fn start(node: &'a Node, trial: &mut Trial<'_>) -> Result<Self> {
        let mut server = Loopback::start(node, &rig::server::Options::default())?;
        trial.kill_while_it_catches_up(&mut server)?;
        Ok(Self {
            node,
            server,
            direct: Direct::start(node)?,
            began: Instant::now(),
        })
    }

    fn check(&self, what: &str) -> Result<()> {
        let expected = rig::oracle::scripts(self.node)?;
        wire::assert_equal(&self.server, self.node, &expected)
            .with_context(|| format!("the server, {what}"))?;
        self.direct
            .assert_equal(self.node, &expected)
            .with_context(|| format!("the index, {what}"))?;
        let elapsed = self.began.elapsed();
        println!("{elapsed:5.1?}: {} scripts, {what}", expected.len());
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        self.direct.stop();
        let status = self.server.stop()?;
        ensure!(status.success(), "it does not end well: {status}");
        Ok(())
    }

    fn start_again(&mut self) -> Result<()> {
        self.server.start_again()?;
        self.direct.start_again()
    }

    /// An index that went through everything and one that saw the last chain alone hold the same.
    fn assert_only_the_tip_matters(&mut self) -> Result<()> {
        let mut fresh = Direct::start(self.node)?;
        fresh.assert_equal(self.node, &rig::oracle::scripts(self.node)?)?;
        fresh.stop();
        self.direct.stop();
        let (old, new) = (self.direct.digests()?, fresh.digests()?);
        ensure!(
            old == new,
            "the path to the tip has left its mark: {old:?}, not {new:?}"
        );
        Ok(())
    }
}
