//! The chain of a long run: a node, and what happens to it.

use anyhow::Result;
use rig::node::{self, Node};
use rig::oracle;
use rig::reorganise::{Fate, reorganise};
use rig::shape::Shape;

/// Those that are paid and watched.
const ADDRESSES: usize = 40;

/// The node, and what happens to it.
pub(crate) struct Chain {
    pub(crate) node: Node,
    shape: Shape,
    addresses: Vec<String>,
    random: u64,
    pub(crate) told: Told,
}

/// How often what happened.
#[derive(Default)]
pub(crate) struct Told {
    blocks: u32,
    payments: u32,
    reorgs: u32,
    pub(crate) kills: u32,
    restarts: u32,
    refused: u32,
    lost: u32,
}

impl Chain {
    pub(crate) fn start() -> Result<Self> {
        let node = Node::start_funded(&node::Options::default())?;
        let mut shape = Shape::new(1);
        shape.grow(&node, node::MATURITY + 20)?;
        let addresses = (0..ADDRESSES).map(|_| node.new_address());
        Ok(Self {
            addresses: addresses.collect::<Result<_>>()?,
            node,
            shape,
            random: 1,
            told: Told::default(),
        })
    }

    /// Hashes of the scripts that are paid.
    pub(crate) fn watched(&self) -> Result<Vec<String>> {
        let hash = |address: &String| oracle::script_hash(&self.node.script(address)?);
        self.addresses.iter().map(hash).collect()
    }

    /// One thing of what happens on a chain. What the node refuses, for want of coins or by its policy, is counted.
    pub(crate) fn step(&mut self) -> Result<()> {
        let outcome = match self.below(40) {
            0..20 => self.pay(),
            20..30 => self.node.mine(1).map(|_| self.told.blocks += 1),
            30..34 => self.grow(),
            34..38 => self.shape.send_unconfirmed(&self.node, 5).map(drop),
            38 => self.reorganise(6),
            _ => self.reorganise(30),
        };
        self.told.refused += u32::from(outcome.is_err());
        // That it refuses everything would be another matter.
        self.node.height().map(drop)
    }

    fn pay(&mut self) -> Result<()> {
        let address = self.address();
        let satoshi = 10_000 + self.below(1_000_000) as u64;
        let txid = self.node.pay(&address, satoshi)?;
        if self.below(4) == 0 {
            let other = self.address();
            self.node.redirect(&txid, &other, satoshi)?;
        }
        self.told.payments += 1;
        Ok(())
    }

    fn grow(&mut self) -> Result<()> {
        self.shape.forget_lost(&self.node)?;
        self.shape.grow(&self.node, 2)?;
        self.told.blocks += 2;
        Ok(())
    }

    fn reorganise(&mut self, deepest: usize) -> Result<()> {
        let depth = 1 + u32::try_from(self.below(deepest))?;
        let fate = [Fate::Moved, Fate::Unconfirmed, Fate::Replaced][self.below(3)];
        reorganise(&self.node, depth, depth + 1, fate)?;
        self.told.reorgs += 1;
        self.shape.forget_lost(&self.node)
    }

    /// In order, or with what it has not written lost. As a node in use would, it then soon has more work than before:
    /// until then the server keeps what it has.
    pub(crate) fn restart_node(&mut self) -> Result<()> {
        let height = self.node.height()?;
        if self.told.restarts % 2 == 1 {
            self.node.kill()?;
        }
        self.node.restart()?;
        self.told.restarts += 1;
        let lost = height.saturating_sub(self.node.height()?);
        self.node.mine(lost + 1)?;
        self.told.lost += lost;
        self.shape.forget_lost(&self.node)
    }

    fn address(&mut self) -> String {
        let number = self.below(ADDRESSES);
        self.addresses[number].clone()
    }

    /// A number below `limit` (a linear congruential generator's upper half).
    fn below(&mut self, limit: usize) -> usize {
        let next = self.random.wrapping_mul(6_364_136_223_846_793_005);
        self.random = next.wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize % limit
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} blocks, {} payments, {} reorgs, {} refused by the node; node restarted {} times with the loss of {} blocks, \
             server killed {} times",
            self.blocks,
            self.payments,
            self.reorgs,
            self.refused,
            self.restarts,
            self.lost,
            self.kills
        )
    }
}
