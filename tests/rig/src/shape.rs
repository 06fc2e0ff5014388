//! A chain that looks like use: many kinds of scripts, scripts used again, chains of spends within a block, outputs
//! to one script in one transaction, and a script with thousands of transactions.
//!
//! Its transactions are made and signed here and mined with `generateblock`, so that neither the wallet's pace nor
//! the mempool's policy limits the shape.

mod lock;

use anyhow::{Context as _, Result};
use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::secp256k1::{All, Secp256k1};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
use serde_json::json;

use crate::node::{MATURITY, Node, satoshi, text};
use lock::{Kind, Lock};

/// Enough for the largest transaction here at 10 sat/vB, and below what the node takes for a mistake.
const FEE: u64 = 20_000;
const OUTPUT_MIN: u64 = 10_000;
/// Transactions that one round of payments to the busy script makes.
const ROUND: u32 = 250;
/// Payments to the busy script in the one transaction that closes a round.
const BULK: usize = 40;

/// Makes a chain grow, the same way for the same seed.
pub struct Shape {
    seed: u64,
    random: u64,
    secp: Secp256k1<All>,
    locks: Vec<Lock>,
    coins: Vec<Coin>,
}

/// An output that can be spent.
#[derive(Clone, Copy)]
struct Coin {
    place: OutPoint,
    value: u64,
    /// Index in `locks`.
    lock: usize,
    /// Height of the first block that may spend it.
    mature: u32,
}

impl Shape {
    /// A shape without a chain as yet.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            random: seed,
            secp: Secp256k1::new(),
            locks: Vec::new(),
            coins: Vec::new(),
        }
    }

    /// About 300 blocks with everything, and a script with 3,000 transactions; that script, in hexadecimal.
    pub fn build(&mut self, node: &Node) -> Result<String> {
        self.grow(node, MATURITY + 160)?;
        let script = self.grow_busy(node, 3_000)?;
        self.grow(node, 20)?;
        Ok(script)
    }

    /// Mines blocks with some transactions each; the first `MATURITY` ones of a chain are empty.
    pub fn grow(&mut self, node: &Node, blocks: u32) -> Result<()> {
        let tip = node.height()?;
        for height in tip + 1..=tip + blocks {
            let mut transactions = Vec::new();
            for _ in 0..self.below(7) {
                transactions.extend(self.transaction(height, |_| true)?);
            }
            self.mine(node, height, &transactions)?;
        }
        Ok(())
    }

    /// Mines blocks until one more script has at least so many transactions; the script, in hexadecimal.
    ///
    /// It is paid by transactions of one output and of many, and some of what it got is spent together.
    pub fn grow_busy(&mut self, node: &Node, transactions: u32) -> Result<String> {
        let busy = self.lock(Kind::WitnessPublicKeyHash);
        let script = self.locks[busy].script.clone();
        for _ in 0..transactions.div_ceil(ROUND) {
            let anyone = self.lock(Kind::Anyone);
            let height = node.height()? + 1;
            let richest = self
                .coins
                .iter()
                .filter(|coin| coin.mature <= height)
                .max_by_key(|coin| coin.value);
            let richest = richest
                .context("a chain without mature coins: let it grow first")?
                .place;
            let split = self.take(|coin| coin.place == richest, usize::MAX);
            let fan = self.spend(&split, &vec![anyone; ROUND as usize], 4 * FEE)?;
            self.mine(node, height, &[fan])?;

            let coins = self.take(|coin| coin.lock == anyone, usize::MAX);
            let mut payments = Vec::new();
            for coin in coins {
                payments.push(self.spend(&[coin], &[busy], FEE)?);
            }
            let together = self.take(|coin| coin.lock == busy, BULK);
            payments.push(self.spend(&together, &[busy; BULK], FEE)?);
            self.mine(node, height + 1, &payments)?;
        }
        Ok(script.to_hex_string())
    }

    /// Sends transactions, some of which spend each other, and leaves them unconfirmed; their ids.
    pub fn send_unconfirmed(&mut self, node: &Node, count: usize) -> Result<Vec<String>> {
        let height = node.height()? + 1;
        let mut sent = Vec::new();
        while sent.len() < count {
            let transaction = self
                .transaction(height, Kind::is_relayed)?
                .context("a chain without coins to send")?;
            sent.push(node.send(&serialize_hex(&transaction))?);
        }
        // What is unconfirmed cannot be spent in the blocks that are made here.
        self.coins
            .retain(|coin| !sent.contains(&coin.place.txid.to_string()));
        Ok(sent)
    }

    /// Forgets coins that a reorg or the mempool has taken away; to be called after either, before it grows again.
    pub fn forget_lost(&mut self, node: &Node) -> Result<()> {
        let tip = node.height()?;
        let asked = |coin: &Coin| json!([coin.place.txid, coin.place.vout, true]);
        let asked: Vec<_> = self.coins.iter().map(asked).collect();
        let mut outputs = Vec::new();
        for part in asked.chunks(1_000) {
            outputs.extend(node.rpc_batch("gettxout", part)?);
        }
        let mut kept = Vec::new();
        for (coin, output) in self.coins.iter().zip(outputs) {
            // Absent when spent or unknown, 0 when unconfirmed.
            let Some(confirmations @ 1..) = output["confirmations"].as_u64() else {
                continue;
            };
            let height = tip + 1 - u32::try_from(confirmations)?;
            let wait = if output["coinbase"] == true {
                MATURITY
            } else {
                0
            };
            kept.push(Coin {
                mature: height + wait,
                ..*coin
            });
        }
        self.coins = kept;
        Ok(())
    }

    /// A transaction with one to three inputs among the coins that may be spent at `height`, and outputs of such
    /// kinds; `None` without such coins.
    fn transaction(&mut self, height: u32, may: fn(Kind) -> bool) -> Result<Option<Transaction>> {
        let mut coins = Vec::new();
        for _ in 0..=self.below(3) {
            // Often the newest, which makes chains within a block.
            let newest = self.below(3) == 0;
            let skipped = if newest {
                0
            } else {
                self.below(self.coins.len().max(1))
            };
            let usable = |coin: &&Coin| {
                coin.mature <= height
                    && coin.value > FEE + 4 * OUTPUT_MIN
                    && may(self.locks[coin.lock].kind)
            };
            let found = self
                .coins
                .iter()
                .rev()
                .skip(skipped)
                .find(usable)
                .map(|coin| coin.place);
            coins.extend(self.take(|coin| Some(coin.place) == found, 1));
        }
        if coins.is_empty() {
            return Ok(None);
        }
        let mut outputs: Vec<usize> = Vec::new();
        for _ in 0..=self.below(4) {
            let known = match self.below(10) {
                0 => outputs.first().copied(),
                1..4 => Some(self.below(self.locks.len())),
                _ => None,
            };
            let known = known.filter(|lock| may(self.locks[*lock].kind));
            let kind = Kind::ALL[self.below(Kind::ALL.len())];
            let kind = if may(kind) {
                kind
            } else {
                Kind::WitnessPublicKeyHash
            };
            outputs.push(known.unwrap_or_else(|| self.lock(kind)));
        }
        self.spend(&coins, &outputs, FEE).map(Some)
    }

    /// Spends coins to new ones of equal value, sometimes with a note in an output that holds nothing.
    fn spend(&mut self, coins: &[Coin], locks: &[usize], fee: u64) -> Result<Transaction> {
        let total: u64 = coins.iter().map(|coin| coin.value).sum();
        let value = total.checked_sub(fee).context("coins below the fee")? / locks.len() as u64;
        let inputs = coins.iter().map(|coin| TxIn {
            previous_output: coin.place,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            witness: Witness::new(),
        });
        let outputs = locks.iter().map(|lock| TxOut {
            value: Amount::from_sat(value),
            script_pubkey: self.locks[*lock].script.clone(),
        });
        let mut transaction = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: inputs.collect(),
            output: outputs.collect(),
        };
        if self.below(20) == 0 {
            let script_pubkey = ScriptBuf::new_op_return(self.random.to_be_bytes());
            transaction.output.push(TxOut {
                value: Amount::ZERO,
                script_pubkey,
            });
        }
        let spent: Vec<TxOut> = coins
            .iter()
            .map(|coin| TxOut {
                value: Amount::from_sat(coin.value),
                script_pubkey: self.locks[coin.lock].script.clone(),
            })
            .collect();
        for (index, coin) in coins.iter().enumerate() {
            self.locks[coin.lock].open(&self.secp, &mut transaction, index, &spent)?;
        }
        let txid = transaction.compute_txid();
        for (vout, lock) in (0..).zip(locks) {
            self.coins.push(Coin {
                place: OutPoint { txid, vout },
                value,
                lock: *lock,
                mature: 0,
            });
        }
        Ok(transaction)
    }

    /// One block with these transactions and a coinbase of any kind.
    fn mine(&mut self, node: &Node, height: u32, transactions: &[Transaction]) -> Result<()> {
        let kind = Kind::ALL[self.below(Kind::ALL.len())];
        let lock = self.lock(kind);
        let output = format!("raw({})", self.locks[lock].script.to_hex_string());
        let raw: Vec<String> = transactions.iter().map(serialize_hex).collect();
        let hash = node.mine_block(&output, &raw)?;
        let txid = text(&node.rpc("getblock", json!([hash, 1]))?["tx"][0])?;
        let coinbase = node.rpc("gettxout", json!([txid, 0]))?;
        let value = satoshi(&coinbase["value"]).context("a block without a coinbase")?;
        let place = OutPoint {
            txid: txid.parse()?,
            vout: 0,
        };
        self.coins.push(Coin {
            place,
            value,
            lock,
            mature: height + MATURITY,
        });
        Ok(())
    }

    /// A script that was not used before; its index.
    fn lock(&mut self, kind: Kind) -> usize {
        let number = self.locks.len();
        self.locks
            .push(Lock::new(&self.secp, kind, self.seed, number as u64));
        number
    }

    /// Takes out the first `count` coins that fit.
    fn take(&mut self, fits: impl Fn(&Coin) -> bool, count: usize) -> Vec<Coin> {
        let mut taken = Vec::new();
        self.coins.retain(|coin| {
            let take = taken.len() < count && fits(coin);
            if take {
                taken.push(*coin);
            }
            !take
        });
        taken
    }

    /// A number below `limit` (SplitMix64; its bias is of no matter here).
    fn below(&mut self, limit: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % limit as u64) as usize
    }
}
