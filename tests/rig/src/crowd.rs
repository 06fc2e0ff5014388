//! Transactions in great number, without a wallet: whoever knows the script of a coin may spend it, so that nothing has
//! to be signed.

use std::collections::VecDeque;

use anyhow::{Context as _, Result};
use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::opcodes::all as op;
use bitcoin::script::Builder;
use bitcoin::transaction::Version;
use bitcoin::{
    Address, Amount, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid,
    Witness,
};
use serde_json::json;

use crate::node::{MATURITY, Node};

/// Outputs of one transaction that makes coins: three quarters of the largest one that nodes relay.
const COINS_EACH: usize = 1_700;
/// Transactions in one call of the node.
const BATCH: usize = 200;
/// Satoshi that a transaction pays at least for each virtual byte.
const FEE_RATE_MIN: u64 = 1;

/// An output of ours.
#[derive(Clone, Copy, Debug)]
pub struct Coin {
    /// Where it is.
    pub outpoint: OutPoint,
    /// What it holds, in satoshi.
    pub amount: u64,
    /// The number of its script.
    pub owner: u64,
}

/// Coins to pay with, and what makes every transaction another one.
#[derive(Debug)]
pub struct Crowd {
    coins: VecDeque<Coin>,
    /// The next script that nobody has yet.
    next: u64,
}

impl Crowd {
    /// Mines at least so many coins.
    pub fn start(node: &Node, coins: usize) -> Result<Self> {
        let mut crowd = Self {
            coins: VecDeque::new(),
            next: 1,
        };
        let home = Address::from_script(&script(0), Network::Regtest)?.to_string();
        let parts = u32::try_from(coins.div_ceil(COINS_EACH))?;
        let blocks = node.mine_to(&home, parts + MATURITY)?;
        for block in blocks.iter().take(usize::try_from(parts)?) {
            let block = node.rpc("getblock", json!([block, 2]))?;
            let coinbase = &block["tx"][0];
            let txid: Txid = coinbase["txid"].as_str().context("no txid")?.parse()?;
            let amount = crate::node::satoshi(&coinbase["vout"][0]["value"]).context("no value")?;
            let coin = Coin {
                outpoint: OutPoint::new(txid, 0),
                amount,
                owner: 0,
            };
            let each = (amount - 100_000) / u64::try_from(COINS_EACH)?;
            let owners: Vec<u64> = (0..COINS_EACH).map(|_| crowd.stranger()).collect();
            let pays: Vec<_> = owners.iter().map(|owner| (*owner, each)).collect();
            let made = spend(&[coin], &pays);
            crowd.coins.extend(outputs(&made, &pays));
            send(node, &[made])?;
        }
        while !node.mempool()?.is_empty() {
            node.mine_to(&home, 1)?;
        }
        Ok(crowd)
    }

    /// A coin that is confirmed and not spent yet.
    pub fn coin(&mut self) -> Result<Coin> {
        self.coins.pop_front().context("no coins left")
    }

    /// A script that nobody has yet, by its number.
    pub fn stranger(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Transactions that pay the same to each of these scripts, as many to each transaction as nodes relay.
    pub fn pay_each(&mut self, owners: &[u64]) -> Result<Vec<Transaction>> {
        let pay = |owners: &[u64]| {
            let coin = self.coin()?;
            // More than a satoshi for each virtual byte of so many outputs.
            let each = coin.amount / u64::try_from(COINS_EACH)? - 60;
            let pays: Vec<_> = owners.iter().map(|owner| (*owner, each)).collect();
            Ok(spend(&[coin], &pays))
        };
        owners.chunks(COINS_EACH).map(pay).collect()
    }

    /// So many payments as wallets make them, parents first: a quarter has two inputs, every fifth spends the change
    /// of the one before, and a third pays to a script that is known already. Fee rates are 1 to 50 sat/vB.
    pub fn payments(&mut self, count: usize) -> Result<Vec<Transaction>> {
        let mut payments = Vec::with_capacity(count);
        let mut change: Option<Coin> = None;
        for number in 0..count {
            let mut coins = Vec::new();
            coins.push(match change.take().filter(|_| number % 5 == 4) {
                Some(change) => change,
                None => self.coin()?,
            });
            if number % 4 == 3 {
                coins.push(self.coin()?);
            }
            let owner = self.stranger();
            let payee = if number % 3 == 0 {
                owner / 2 + 1
            } else {
                owner + 1
            };
            self.next = self.next.max(payee);
            let fee_rate = FEE_RATE_MIN + owner * 7919 % 50;
            let pays = pay(&coins, payee, owner, fee_rate);
            let made = spend(&coins, &pays);
            change = outputs(&made, &pays).last();
            payments.push(made);
        }
        Ok(payments)
    }
}

/// Who gets how much when these coins pay a third to one, and the rest less the fee to another.
pub fn pay(coins: &[Coin], payee: u64, change: u64, fee_rate: u64) -> [(u64, u64); 2] {
    let sum: u64 = coins.iter().map(|coin| coin.amount).sum();
    let third = sum / 3;
    // About what one of two outputs weighs, in virtual bytes.
    let size = 100 + 60 * u64::try_from(coins.len()).unwrap_or(u64::MAX);
    [(payee, third), (change, sum - third - fee_rate * size)]
}

/// Spends coins whole.
pub fn spend(coins: &[Coin], pays: &[(u64, u64)]) -> Transaction {
    let input = |coin: &Coin| TxIn {
        previous_output: coin.outpoint,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: Witness::from_slice(&[lock(coin.owner).as_bytes()]),
    };
    let output = |(owner, amount): &(u64, u64)| TxOut {
        value: Amount::from_sat(*amount),
        script_pubkey: script(*owner),
    };
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: coins.iter().map(input).collect(),
        output: pays.iter().map(output).collect(),
    }
}

/// The coins that a transaction makes, in the order of what it pays.
pub fn outputs(made: &Transaction, pays: &[(u64, u64)]) -> impl Iterator<Item = Coin> {
    let txid = made.compute_txid();
    (0..).zip(pays).map(move |(vout, (owner, amount))| Coin {
        outpoint: OutPoint::new(txid, vout),
        amount: *amount,
        owner: *owner,
    })
}

/// The script of this number.
pub fn script(owner: u64) -> ScriptBuf {
    lock(owner).to_p2wsh()
}

/// Gives transactions to the node, in order.
pub fn send(node: &Node, transactions: &[Transaction]) -> Result<()> {
    for part in transactions.chunks(BATCH) {
        let calls = part.iter().map(|made| json!([serialize_hex(made), 0]));
        node.rpc_batch("sendrawtransaction", &calls.collect::<Vec<_>>())?;
    }
    Ok(())
}

fn lock(owner: u64) -> ScriptBuf {
    Builder::new()
        .push_slice(owner.to_be_bytes())
        .push_opcode(op::OP_DROP)
        .push_opcode(op::OP_PUSHNUM_1)
        .into_script()
}
