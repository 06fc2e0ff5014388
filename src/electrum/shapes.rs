//! Answers as JSON, with exactly the keys of the protocol text: strict readers break on any other.

use std::fmt;

use bitcoin::hex::DisplayHex as _;
use bitcoin::{Txid, Wtxid};
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::value::RawValue;

use super::described::Described;
use super::version::ProtocolVersion;
use crate::broadcast::Refusal;
use crate::chain::{EntryHeight, Height};
use crate::limits;
use crate::query::{
    AcceptTest, Answer, HeaderProof, HistoryRow, MempoolFees, OutpointStatus, RecentTransaction,
    UnspentRow,
};

/// An answer in the shape that a version of the protocol gives it.
pub(super) struct Shaped<'a> {
    pub(super) answer: &'a Answer,
    pub(super) version: ProtocolVersion,
}

impl Serialize for Shaped<'_> {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        let since_1_6 = self.version >= ProtocolVersion::V1_6;
        let since_1_7 = self.version >= ProtocolVersion::V1_7;
        match self.answer {
            Answer::AcceptTests(tests) => json.collect_seq(tests.iter().map(Tested::from)),
            Answer::Balance {
                confirmed,
                unconfirmed,
            } => Balance {
                confirmed: *confirmed,
                unconfirmed: *unconfirmed,
            }
            .serialize(json),
            Answer::Fee(Some(rate)) => Coins(rate.0).serialize(json),
            Answer::Fee(None) => json.serialize_i8(-1),
            Answer::FeeHistogram(bins) => bins.serialize(json),
            Answer::Header { header, proof } => match proof {
                None => Hex(header).serialize(json),
                Some(proof) => ProvenHeader {
                    header: Hex(header),
                    proof: proof.into(),
                }
                .serialize(json),
            },
            Answer::Headers { headers, proof } => Headers {
                count: headers.chunks(HEADER_BYTES).len(),
                max: limits::HEADERS_MAX,
                hex: (!since_1_6).then_some(Hex(headers)),
                headers: since_1_6.then(|| headers.chunks(HEADER_BYTES).map(Hex).collect()),
                proof: proof.as_ref().map(Proof::from),
            }
            .serialize(json),
            Answer::History(rows) if since_1_7 => History {
                history: rows.iter().map(Entry::from).collect(),
            }
            .serialize(json),
            Answer::History(rows) => json.collect_seq(rows.iter().map(Entry::from)),
            Answer::Merkle {
                height,
                siblings,
                index,
            } => Merkle {
                block_height: height.0,
                merkle: siblings.iter().map(Reversed).collect(),
                pos: *index,
            }
            .serialize(json),
            Answer::MempoolFees(fees) if since_1_6 => MempoolInfo::from(fees).serialize(json),
            Answer::MempoolFees(fees) => Coins(fees.relay_minimum.0).serialize(json),
            Answer::Outpoint(status) => Outpoint::from(status).serialize(json),
            Answer::Recent(recent) => json.collect_seq(recent.iter().map(Newcomer::from)),
            Answer::Status(status) => status.map(|status| status.to_wire()).serialize(json),
            Answer::Tip { height, header } => Tip::of(*height, header).serialize(json),
            Answer::Transaction(bytes) => Hex(bytes).serialize(json),
            Answer::TransactionAt { txid, siblings } => match siblings {
                None => Shown(*txid).serialize(json),
                Some(siblings) => TransactionAt {
                    tx_hash: Shown(*txid),
                    merkle: siblings.iter().map(Reversed).collect(),
                }
                .serialize(json),
            },
            Answer::Unspent(rows) if since_1_7 => Utxos {
                utxos: rows.iter().map(Unspent::from).collect(),
            }
            .serialize(json),
            Answer::Unspent(rows) => json.collect_seq(rows.iter().map(Unspent::from)),
            Answer::WholeTransaction(whole) => Described::from(whole.as_ref()).serialize(json),
        }
    }
}

/// The last header, as result and as notification.
#[derive(serde::Serialize)]
pub(super) struct Tip<'a> {
    height: u32,
    hex: Hex<'a>,
}

impl<'a> Tip<'a> {
    pub(super) fn of(height: Height, header: &'a [u8; HEADER_BYTES]) -> Self {
        Self {
            height: height.0,
            hex: Hex(header),
        }
    }
}

/// Where an output stands, as result and in a notification.
#[derive(serde::Serialize)]
pub(super) struct Outpoint {
    #[serde(skip_serializing_if = "Option::is_none")]
    funder_height: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spender_txhash: Option<Shown<Txid>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spender_height: Option<i64>,
}

impl From<&OutpointStatus> for Outpoint {
    fn from(status: &OutpointStatus) -> Self {
        Self {
            funder_height: status.funder.map(EntryHeight::to_wire),
            spender_txhash: status.spender.map(|spender| Shown(spender.txid)),
            spender_height: status.spender.map(|spender| spender.height.to_wire()),
        }
    }
}

/// The answer to a padded ping: so many digits.
#[derive(serde::Serialize)]
pub(super) struct Pong {
    data: Zeros,
}

impl Pong {
    pub(super) fn of(length: usize) -> Self {
        Self {
            data: Zeros(length),
        }
    }
}

const HEADER_BYTES: usize = 80;

#[derive(serde::Serialize)]
struct Balance {
    confirmed: u64,
    unconfirmed: i64,
}

#[derive(serde::Serialize)]
struct ProvenHeader<'a> {
    header: Hex<'a>,
    #[serde(flatten)]
    proof: Proof<'a>,
}

#[derive(serde::Serialize)]
struct Headers<'a> {
    count: usize,
    max: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<Hex<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<Vec<Hex<'a>>>,
    #[serde(flatten)]
    proof: Option<Proof<'a>>,
}

#[derive(serde::Serialize)]
struct Proof<'a> {
    branch: Vec<Reversed<'a>>,
    root: Reversed<'a>,
}

impl<'a> From<&'a HeaderProof> for Proof<'a> {
    fn from(proof: &'a HeaderProof) -> Self {
        Self {
            branch: proof.branch.iter().map(Reversed).collect(),
            root: Reversed(&proof.root),
        }
    }
}

/// A history from 1.7 on.
#[derive(serde::Serialize)]
struct History {
    history: Vec<Entry>,
}

#[derive(serde::Serialize)]
struct Entry {
    tx_hash: Shown<Txid>,
    height: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fee: Option<u64>,
}

impl From<&HistoryRow> for Entry {
    fn from(row: &HistoryRow) -> Self {
        Self {
            tx_hash: Shown(row.txid),
            height: row.height.to_wire(),
            fee: row.fee,
        }
    }
}

/// Unspent outputs from 1.7 on.
#[derive(serde::Serialize)]
struct Utxos {
    utxos: Vec<Unspent>,
}

#[derive(serde::Serialize)]
struct Unspent {
    tx_hash: Shown<Txid>,
    tx_pos: u32,
    height: u32,
    value: u64,
}

impl From<&UnspentRow> for Unspent {
    fn from(row: &UnspentRow) -> Self {
        Self {
            tx_hash: Shown(row.txid),
            tx_pos: row.vout,
            height: row.height.map_or(0, |height| height.0),
            value: row.value,
        }
    }
}

#[derive(serde::Serialize)]
struct Merkle<'a> {
    block_height: u32,
    merkle: Vec<Reversed<'a>>,
    pos: u32,
}

#[derive(serde::Serialize)]
struct TransactionAt<'a> {
    tx_hash: Shown<Txid>,
    merkle: Vec<Reversed<'a>>,
}

/// What the node would make of a transaction.
#[derive(serde::Serialize)]
struct Tested {
    txid: Shown<Txid>,
    wtxid: Shown<Wtxid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl From<&AcceptTest> for Tested {
    fn from(test: &AcceptTest) -> Self {
        Self {
            txid: Shown(test.txid),
            wtxid: Shown(test.wtxid),
            allowed: test.acceptance.allowed,
            reason: test.acceptance.reason.as_ref().map(Refusal::text_for),
        }
    }
}

/// A transaction that came last to the mempool.
#[derive(serde::Serialize)]
struct Newcomer {
    txid: Shown<Txid>,
    fee: u64,
    vsize: u64,
}

impl From<&RecentTransaction> for Newcomer {
    fn from(recent: &RecentTransaction) -> Self {
        Self {
            txid: Shown(recent.txid),
            fee: recent.fee.to_sat(),
            vsize: recent.vsize,
        }
    }
}

#[derive(serde::Serialize)]
struct MempoolInfo {
    mempoolminfee: Coins,
    minrelaytxfee: Coins,
    incrementalrelayfee: Coins,
}

impl From<&MempoolFees> for MempoolInfo {
    fn from(fees: &MempoolFees) -> Self {
        Self {
            mempoolminfee: Coins(fees.mempool_minimum.0),
            minrelaytxfee: Coins(fees.relay_minimum.0),
            incrementalrelayfee: Coins(fees.incremental.0),
        }
    }
}

/// Satoshi as whole coins: all their decimals, which a float would not promise.
pub(super) struct Coins(pub(super) u64);

impl Serialize for Coins {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        let satoshi = self.0;
        let decimal = format!("{}.{:08}", satoshi / 100_000_000, satoshi % 100_000_000);
        RawValue::from_string(decimal)
            .map_err(S::Error::custom)?
            .serialize(json)
    }
}

/// So many digits, which are encrypted on their way, so that all may be the same.
struct Zeros(usize);

impl fmt::Display for Zeros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PIECE: &str = "0000000000000000000000000000000000000000000000000000000000000000";
        for _ in 0..self.0 / PIECE.len() {
            f.write_str(PIECE)?;
        }
        f.write_str(PIECE.get(..self.0 % PIECE.len()).unwrap_or_default())
    }
}

impl Serialize for Zeros {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        json.collect_str(self)
    }
}

/// Bytes in their order.
struct Hex<'a>(&'a [u8]);

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        json.collect_str(&self.0.as_hex())
    }
}

/// A hash, last byte first, as hashes are shown.
struct Reversed<'a>(&'a [u8; 32]);

impl Serialize for Reversed<'_> {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        let mut bytes = *self.0;
        bytes.reverse();
        json.collect_str(&bytes.as_hex())
    }
}

/// What is shown as its own text.
struct Shown<T>(T);

impl<T: fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        json.collect_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
