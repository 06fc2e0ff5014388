//! Transactions that a node refuses, each for a reason of its own.

use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
use rig::node::{Node, satoshi};
use serde_json::json;

const FEE: u64 = 2_000;
/// Above a tenth of a bitcoin for 1,000 bytes.
const GIANT_FEE: u64 = 100_000_000;
/// Transactions that hang on each other without a block between them, as many as a node takes.
const CHAIN: usize = 25;

/// Makes transactions of a node's coins.
pub(super) struct Workshop<'a> {
    node: &'a Node,
    coins: Vec<Coin>,
    /// Where all of them pay to.
    script: ScriptBuf,
}

#[derive(Clone, Copy)]
struct Coin {
    outpoint: OutPoint,
    amount: u64,
}

impl<'a> Workshop<'a> {
    pub(super) fn new(node: &'a Node) -> Self {
        let unspent = node.wallet_rpc("listunspent", json!([1])).unwrap();
        let coins = unspent.as_array().unwrap().iter().map(|coin| Coin {
            outpoint: OutPoint::new(
                coin["txid"].as_str().unwrap().parse().unwrap(),
                u32::try_from(coin["vout"].as_u64().unwrap()).unwrap(),
            ),
            amount: satoshi(&coin["amount"]).unwrap(),
        });
        let address = node.new_address().unwrap();
        Self {
            node,
            coins: coins.collect(),
            script: ScriptBuf::from_hex(&node.script(&address).unwrap()).unwrap(),
        }
    }

    /// Raw transactions, and the fixed text of each.
    pub(super) fn refusals(&self) -> Vec<(String, &'static str)> {
        let mut all = self.refused_for_themselves();
        all.extend(self.refused_for_what_is_known());
        all
    }

    /// So many that spend the same coin, each of which the node would take.
    pub(super) fn rivals(&self, count: u64) -> Vec<String> {
        let rival = |number| self.signed(0, |it| it.output[0].value -= Amount::from_sat(number));
        (0..count).map(rival).collect()
    }

    fn refused_for_themselves(&self) -> Vec<(String, &'static str)> {
        let elsewhere = OutPoint::new(self.coins[0].outpoint.txid, 99);
        let first = |change: fn(&mut Transaction)| self.signed(0, change);
        let pays = |amount: u64| self.signed(0, |it| it.output[0].value = Amount::from_sat(amount));
        let amount = self.coins[0].amount;
        vec![
            ("00".to_owned(), "TX decode failed: not a transaction"),
            (
                self.signed(0, |it| it.input[0].previous_output = elsewhere),
                "bad-txns-inputs-missingorspent: an input is unknown or already spent",
            ),
            (
                pays(amount),
                "min relay fee not met: the fee rate is too low",
            ),
            (pays(100), "dust: an output is too small"),
            (
                pays(amount - GIANT_FEE),
                "max-fee-exceeded: fee above this server's limit",
            ),
            (
                pays(amount + 1),
                "Transaction check failed: the transaction is invalid",
            ),
            (
                first(|it| it.output[0].script_pubkey = ScriptBuf::from(vec![0x51])),
                "scriptpubkey: an output type is not relayed",
            ),
            (
                first(|it| it.version = Version(9)),
                "version: not a standard transaction",
            ),
            (
                first(|it| {
                    it.lock_time = LockTime::from_consensus(1_000_000);
                    it.input[0].sequence = Sequence::ZERO;
                }),
                "non-final: lock time not reached",
            ),
            (
                first(|it| it.input[0].sequence = Sequence::from_height(60_000)),
                "non-final: lock time not reached",
            ),
            (
                first(|it| it.output = vec![it.output[0].clone(); 13_000]),
                "tx-size: not a standard transaction",
            ),
            (
                first(|it| it.output[0].script_pubkey = ScriptBuf::from(vec![0x6a])),
                "tx-size-small: not a standard transaction",
            ),
            (
                self.spoiled(|input| input.script_sig = ScriptBuf::from(vec![0x61])),
                "scriptsig-not-pushonly: not a standard transaction",
            ),
            (
                self.spoiled(|input| input.script_sig = ScriptBuf::from(vec![0; 1_700])),
                "scriptsig-size: not a standard transaction",
            ),
            (
                self.spoiled(|input| input.witness = Witness::from_slice(&[[7_u8; 71], [2; 71]])),
                "mandatory-script-verify-flag-failed: a signature or script is invalid",
            ),
        ]
    }

    /// For what the node has in its mempool, where they bring it first.
    fn refused_for_what_is_known(&self) -> Vec<(String, &'static str)> {
        let [taken, rival] = [FEE, FEE]
            .map(|more| self.signed(1, |it| it.output[0].value -= Amount::from_sat(more)));
        let rival = deserialize_hex::<Transaction>(&rival).map(|mut it| {
            it.output[0].value -= Amount::from_sat(1);
            self.sign(&it)
        });
        self.node.send(&taken).unwrap();

        let mut tail = self.signed(2, |_| ());
        for _ in 1..CHAIN {
            self.node.send(&tail).unwrap();
            tail = self.child(&tail, Version::TWO);
        }
        self.node.send(&tail).unwrap();

        let modern = self.signed(3, |it| it.version = Version(3));
        self.node.send(&modern).unwrap();
        vec![
            (
                rival.unwrap(),
                "insufficient fee: this does not replace the other transaction",
            ),
            (
                self.child(&tail, Version::TWO),
                "too-long-mempool-chain: too many unconfirmed ancestors",
            ),
            (
                self.child(&modern, Version::TWO),
                "Transaction rejected by mempool: not accepted by the server's node",
            ),
        ]
    }

    /// A payment of one coin, changed, then signed as far as it can be.
    fn signed(&self, coin: usize, change: impl FnOnce(&mut Transaction)) -> String {
        let Coin { outpoint, amount } = self.coins[coin];
        let mut transaction = self.paying(outpoint, amount - FEE, Version::TWO);
        change(&mut transaction);
        self.sign(&transaction)
    }

    /// The same with an input that was changed after it was signed.
    fn spoiled(&self, spoil: impl FnOnce(&mut TxIn)) -> String {
        let mut transaction: Transaction = deserialize_hex(&self.signed(0, |_| ())).unwrap();
        spoil(&mut transaction.input[0]);
        serialize_hex(&transaction)
    }

    /// Spends the output of a transaction that the node has.
    fn child(&self, parent: &str, version: Version) -> String {
        let parent: Transaction = deserialize_hex(parent).unwrap();
        let amount = parent.output[0].value.to_sat() - FEE;
        self.sign(&self.paying(OutPoint::new(parent.compute_txid(), 0), amount, version))
    }

    fn paying(&self, outpoint: OutPoint, amount: u64, version: Version) -> Transaction {
        Transaction {
            version,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: outpoint,
                sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                ..TxIn::default()
            }],
            output: vec![TxOut {
                value: Amount::from_sat(amount),
                script_pubkey: self.script.clone(),
            }],
        }
    }

    fn sign(&self, transaction: &Transaction) -> String {
        let raw = serialize_hex(transaction);
        let signed = self
            .node
            .wallet_rpc("signrawtransactionwithwallet", json!([raw]));
        signed.unwrap()["hex"].as_str().unwrap().to_owned()
    }
}
