//! What a chain and a server go through.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rig::node::{Node, bitcoins};
use rig::reorganise::{self, Fate};
use rig::server::Loopback;
use rig::shape::Shape;
use serde_json::{Value, json};

use super::wire;

/// More than one commit of blocks has to be missing for a kill to hit the middle.
const KILLS_WHILE_CATCHING_UP: usize = 4;
/// A block is committed within this time.
const COMMIT: u64 = 80;
const FEE: u64 = 2_000;

/// A shaped chain with a wallet that pays.
pub(super) struct Trial<'a> {
    node: &'a Node,
    shape: Shape,
    random: u64,
}

impl<'a> Trial<'a> {
    /// Some 400 blocks; the wallet of the node has some coins of the first ones.
    pub(super) fn new(node: &'a Node, seed: u64) -> Result<Self> {
        let mut shape = Shape::new(seed);
        shape.build(node)?;
        Ok(Self {
            node,
            shape,
            random: seed,
        })
    }

    /// Mines blocks with transactions of all kinds.
    pub(super) fn grow(&mut self, blocks: u32) -> Result<()> {
        self.shape.forget_lost(self.node)?;
        self.shape.grow(self.node, blocks)
    }

    /// Leaves transactions in the mempool: of all kinds, chains of them, replacements.
    pub(super) fn trade(&mut self) -> Result<()> {
        let node = self.node;
        self.shape.forget_lost(node)?;
        self.shape.send_unconfirmed(node, 40)?;
        let there = node.new_address()?;
        let first = node.pay(&there, 1_000_000)?;
        let second = node.pay(&there, 2_000_000)?;
        node.pay(&there, 3_000_000)?;
        node.bump(&first)?;
        node.redirect(&second, &node.new_address()?, 1_500_000)?;
        Ok(())
    }

    /// Mines a block that spends otherwise what a transaction of the mempool and its child spend.
    pub(super) fn evict_by_block(&mut self) -> Result<()> {
        let node = self.node;
        let coin = self.confirmed_coin()?;
        let spent = [(coin["txid"].as_str().context("no txid")?, vout(&coin)?)];
        let (here, there) = (node.new_address()?, node.new_address()?);
        let in_block = node.spend(&spent, &here, 2 * FEE)?;
        let parent = node.send(&node.spend(&spent, &there, FEE)?)?;
        let child = node.send(&node.spend(&[(&parent, 0)], &here, FEE)?)?;
        node.mine_block(&here, &[in_block])?;
        let left = node.mempool()?;
        ensure!(
            !left.contains(&parent) && !left.contains(&child),
            "the block evicts nothing"
        );
        ensure!(!left.is_empty(), "the block evicts everything");
        Ok(())
    }

    /// Mines what is in the mempool, pays again, and reorganises.
    pub(super) fn reorganise(&mut self, depth: u32, fate: Fate) -> Result<()> {
        self.node.mine(1)?;
        self.node.pay(&self.node.new_address()?, 1_234_567)?;
        reorganise::reorganise(self.node, depth, depth + 1, fate)?;
        Ok(())
    }

    /// Kills the server again and again while it has some of the chain, until it has all of it.
    pub(super) fn kill_while_it_catches_up(&mut self, server: &mut Loopback) -> Result<()> {
        let tip = u64::from(self.node.height()?);
        let mut hit: Vec<u64> = Vec::new();
        while hit.len() < KILLS_WHILE_CATCHING_UP && hit.last().is_none_or(|height| *height < tip) {
            let deadline = Instant::now() + Duration::from_secs(20);
            let mut line = server.connect()?;
            let seen = hit.last().copied();
            loop {
                let height = wire::tip(&mut line)?["height"].as_u64();
                if height > seen && height > Some(0) {
                    break;
                }
                ensure!(
                    Instant::now() < deadline,
                    "it does not catch up: {}",
                    server.stderr()
                );
            }
            self.sleep(30);
            hit.push(
                wire::tip(&mut line)?["height"]
                    .as_u64()
                    .context("a tip that went away")?,
            );
            server.kill()?;
            server.start_again()?;
        }
        println!("killed at heights {hit:?} of {tip}");
        ensure!(
            hit.iter().any(|height| *height < tip),
            "every kill came too late: {hit:?} of {tip}"
        );
        Ok(())
    }

    /// Kills the server just after a block came, and while it is starting.
    pub(super) fn kill_at_the_tip(&mut self, server: &mut Loopback, times: usize) -> Result<()> {
        for _ in 0..times {
            self.grow(1)?;
            self.sleep(COMMIT);
            server.kill()?;
            server.start_again()?;
        }
        Ok(())
    }

    /// Kills the server while it goes over to another branch.
    pub(super) fn kill_in_a_reorg(
        &mut self,
        server: &mut Loopback,
        depth: u32,
        fate: Fate,
    ) -> Result<()> {
        self.reorganise(depth, fate)?;
        for _ in 0..3 {
            self.sleep(COMMIT);
            server.kill()?;
            server.start_again()?;
        }
        Ok(())
    }

    /// A coin of the wallet that no transaction of the mempool spends.
    fn confirmed_coin(&self) -> Result<Value> {
        let least = json!({ "minimumAmount": bitcoins(10 * FEE) });
        let coins = self
            .node
            .wallet_rpc("listunspent", json!([1, 9_999_999, [], true, least]))?;
        Ok(coins[0].clone())
    }

    fn sleep(&mut self, milliseconds_max: u64) {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        std::thread::sleep(Duration::from_millis(
            (self.random >> 33) % milliseconds_max,
        ));
    }
}

fn vout(coin: &Value) -> Result<u32> {
    Ok(u32::try_from(coin["vout"].as_u64().context("no vout")?)?)
}
