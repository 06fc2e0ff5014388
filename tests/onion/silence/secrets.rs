//! What a client of the tests says, each part of it a canary.

use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::transaction::Version;
use bitcoin::{
    Address, Amount, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid,
    WPubkeyHash, Witness,
};
use rig::node::Node;

use super::canary::Canary;

/// What only the client knows, so that no trace of it may be anywhere; and what is public, but what the client asked
/// for must not show in the log.
pub(super) struct Secrets {
    /// Scripts that the chain does not know, and one that it does.
    pub(super) unknown_script: Canary,
    pub(super) known_script: Canary,
    pub(super) address: Canary,
    pub(super) unknown_txid: Canary,
    /// A transaction that no node takes, its id, and a part of it.
    pub(super) transaction: String,
    sent_txid: Canary,
    output: Canary,
    pub(super) client_name: Canary,
    pub(super) method: Canary,
    pub(super) argument: Canary,
    pub(super) id: Canary,
    pub(super) batch: Canary,
    pub(super) malformed: Canary,
    pub(super) giant: Canary,
    /// Of the payment to the known script.
    pub(super) known_txid: Canary,
    pub(super) known_address: String,
}

impl Secrets {
    /// Makes them, and pays the known script in a block.
    pub(super) fn new(node: &Node) -> Self {
        let output = Canary::new("output of a transaction", &Canary::random("").bytes[..20]);
        let program = WPubkeyHash::from_slice(&output.bytes).unwrap();
        let script = ScriptBuf::new_p2wpkh(&program);
        let address = Address::from_script(&script, Network::Regtest).unwrap();
        let transaction = refused(script.clone());
        let known_address = node.new_address().unwrap();
        let known_script = ScriptBuf::from_hex(&node.script(&known_address).unwrap()).unwrap();
        let known_txid = node.pay(&known_address, 100_000).unwrap();
        node.mine(1).unwrap();
        Self {
            unknown_script: script_hash("script hash", &script),
            known_script: script_hash("script hash of the chain", &known_script),
            address: Canary::new("address", address.to_string()),
            unknown_txid: Canary::random("txid"),
            sent_txid: txid("txid of a transaction sent", transaction.compute_txid()),
            transaction: serialize_hex(&transaction),
            output,
            client_name: Canary::text("client name"),
            method: Canary::text("unknown method"),
            argument: Canary::text("argument"),
            id: Canary::text("id of a request"),
            batch: Canary::text("member of a batch"),
            malformed: Canary::text("malformed line"),
            giant: Canary::text("giant line"),
            known_txid: txid("txid of the chain", known_txid.parse().unwrap()),
            known_address,
        }
    }

    /// Those that may be nowhere.
    pub(super) fn of_client(&self) -> Vec<&Canary> {
        vec![
            &self.unknown_script,
            &self.known_script,
            &self.address,
            &self.unknown_txid,
            &self.sent_txid,
            &self.output,
            &self.client_name,
            &self.method,
            &self.argument,
            &self.id,
            &self.batch,
            &self.malformed,
            &self.giant,
        ]
    }
}

/// The password of the node's cookie as it is now.
pub(super) fn cookie(node: &Node) -> Canary {
    let cookie = std::fs::read_to_string(node.cookie()).unwrap();
    let (_, password) = cookie.split_once(':').unwrap();
    Canary::new("password of the node", password)
}

/// In the order of the protocol, which is that of the hash reversed.
fn script_hash(name: &'static str, script: &ScriptBuf) -> Canary {
    let mut hash = sha256::Hash::hash(script.as_bytes()).to_byte_array();
    hash.reverse();
    Canary::new(name, hash)
}

pub(super) fn txid(name: &'static str, txid: Txid) -> Canary {
    let mut bytes = txid.to_byte_array();
    bytes.reverse();
    Canary::new(name, bytes)
}

/// It spends what does not exist.
fn refused(script_pubkey: ScriptBuf) -> Transaction {
    let spent = Canary::random("").bytes;
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(Txid::from_slice(&spent).unwrap(), 0),
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[[1_u8; 71].as_slice(), &[2; 33]]),
        }],
        output: vec![TxOut {
            value: Amount::from_sat(50_000),
            script_pubkey,
        }],
    }
}
