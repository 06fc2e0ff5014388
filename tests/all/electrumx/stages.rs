//! What the chain goes through between two comparisons.

use anyhow::{Context as _, Result};
use rig::node::{MATURITY, Node};
use rig::reorganise::{Fate, reorganise};
use rig::shape::Shape;
use serde_json::{Value, json};

const SEED: u64 = 20_261_120;
/// Outputs of one transaction of 35 kvB: four of these fill a bin of both fee histograms, the larger of 100 kvB.
const PAYEES: u32 = 1_100;

/// A chain of all kinds of scripts, whose wallet pays.
pub(super) struct Chain<'a> {
    node: &'a Node,
    shape: Shape,
}

impl<'a> Chain<'a> {
    /// Two hundred blocks, and a script with hundreds of transactions.
    pub(super) fn grow(node: &'a Node) -> Result<Self> {
        let mut shape = Shape::new(SEED);
        shape.grow(node, MATURITY + 40)?;
        shape.grow_busy(node, 750)?;
        shape.grow(node, 10)?;
        Ok(Self { node, shape })
    }

    /// Leaves transactions of many kinds in the mempool: chains of them, replacements, notes, large ones.
    pub(super) fn trade(&mut self) -> Result<()> {
        let node = self.node;
        self.shape.forget_lost(node)?;
        self.shape.send_unconfirmed(node, 60)?;
        let there = node.new_address()?;
        let first = node.pay(&there, 1_000_000)?;
        let second = node.pay(&there, 2_000_000)?;
        let third = node.pay(&there, 3_000_000)?;
        node.bump(&first)?;
        node.redirect(&second, &node.new_address()?, 1_500_000)?;
        // Unconfirmed outputs of one script in two transactions, one of which spends the other.
        let fourth = node.spend(&[(&third, node.vout(&third, &there)?)], &there, 5_000)?;
        node.send(&fourth)?;
        node.wallet_rpc("send", json!([[{ there: "0.01" }, { "data": "c0ffee" }]]))?;
        self.pay_many()
    }

    /// Mines what stands in the mempool without an unconfirmed parent; the rest stays.
    pub(super) fn mine_parents(&mut self) -> Result<()> {
        let entries = self.node.rpc("getrawmempool", json!([true]))?;
        let entries = entries.as_object().context("a mempool of no object")?;
        let alone = |entry: &&Value| entry["depends"].as_array().is_some_and(Vec::is_empty);
        let parents = entries.iter().filter(|(_, entry)| alone(entry));
        let txids: Vec<String> = parents.map(|(txid, _)| txid.clone()).collect();
        self.node.mine_block(&self.node.new_address()?, &txids)?;
        Ok(())
    }

    /// Replaces the last blocks by a branch that is one block longer.
    pub(super) fn reorganise(&mut self, depth: u32, fate: Fate) -> Result<()> {
        reorganise(self.node, depth, depth + 1, fate)?;
        Ok(())
    }

    /// Mines everything, and more.
    pub(super) fn settle(&mut self) -> Result<()> {
        self.node.mine(2)?;
        self.shape.forget_lost(self.node)?;
        self.shape.grow(self.node, 3)
    }

    /// Large transactions of different fee rates.
    fn pay_many(&self) -> Result<()> {
        let node = self.node;
        let descriptors = node.wallet_rpc("listdescriptors", json!([]))?;
        let ours = descriptors["descriptors"]
            .as_array()
            .context("no descriptors")?;
        let range = ours.iter().find(|descriptor| {
            descriptor["internal"] == true
                && descriptor["desc"]
                    .as_str()
                    .is_some_and(|text| text.starts_with("wpkh("))
        });
        let range = &range.context("no descriptor of change")?["desc"];
        let payees = node.rpc("deriveaddresses", json!([range, [10_000, 10_000 + PAYEES]]))?;
        let payees = payees.as_array().context("no addresses")?;
        let outputs: Vec<Value> = payees
            .iter()
            .filter_map(|payee| Some(json!({ payee.as_str()?: "0.0001" })))
            .collect();
        for fee_rate in [3, 17, 17, 40, 40] {
            let options = json!({ "fee_rate": fee_rate });
            node.wallet_rpc("send", json!([outputs, null, "unset", null, options]))?;
        }
        Ok(())
    }
}
