//! Answers as JSON, with exactly the keys of the protocol text: strict readers break on any other.

use std::fmt;

use bitcoin::Txid;
use bitcoin::hex::DisplayHex as _;
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::value::RawValue;

use super::described::Described;
use super::version::ProtocolVersion;
use crate::chain::Height;
use crate::limits;
use crate::query::{Answer, HeaderProof, HistoryRow, MempoolFees, UnspentRow};

/// An answer in the shape that a version of the protocol gives it.
pub(super) struct Shaped<'a> {
    pub(super) answer: &'a Answer,
    pub(super) version: ProtocolVersion,
}

impl Serialize for Shaped<'_> {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        let since_1_6 = self.version >= ProtocolVersion::V1_6;
        match self.answer {
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
mod tests {
    use super::*;
    use crate::chain::{EntryHeight, HistoryEntry, StatusHash};
    use crate::query::FeeRate;
    use bitcoin::hashes::Hash as _;

    fn json(answer: &Answer, version: ProtocolVersion) -> String {
        serde_json::to_string(&Shaped { answer, version }).unwrap()
    }

    fn old(answer: &Answer) -> String {
        json(answer, ProtocolVersion::V1_4)
    }

    fn new(answer: &Answer) -> String {
        json(answer, ProtocolVersion::V1_6)
    }

    fn txid() -> Txid {
        let mut bytes = [0; 32];
        bytes[0] = 0xaa;
        Txid::from_byte_array(bytes)
    }

    fn shown() -> String {
        format!("{}aa", "00".repeat(31))
    }

    #[test]
    fn rows_have_the_keys_of_the_protocol_and_no_other() {
        let row = |height, fee| HistoryRow {
            txid: txid(),
            height,
            fee,
        };
        let answer = Answer::History(vec![
            row(EntryHeight::Confirmed(Height(7)), None),
            row(EntryHeight::UnconfirmedParents, Some(200)),
        ]);
        let hash = shown();
        assert_eq!(
            old(&answer),
            format!(
                r#"[{{"tx_hash":"{hash}","height":7}},{{"tx_hash":"{hash}","height":-1,"fee":200}}]"#
            )
        );
        let unspent = Answer::Unspent(vec![UnspentRow {
            txid: txid(),
            vout: 3,
            height: None,
            value: 45_318_048,
        }]);
        assert_eq!(
            old(&unspent),
            format!(r#"[{{"tx_hash":"{hash}","tx_pos":3,"height":0,"value":45318048}}]"#)
        );
        assert_eq!(old(&Answer::History(vec![])), "[]");
        let balance = Answer::Balance {
            confirmed: 5,
            unconfirmed: -3,
        };
        assert_eq!(old(&balance), r#"{"confirmed":5,"unconfirmed":-3}"#);
    }

    #[test]
    fn a_transaction_at_a_place_is_a_string_or_comes_with_its_proof() {
        let answer = |siblings| Answer::TransactionAt {
            txid: txid(),
            siblings,
        };
        let hash = shown();
        assert_eq!(old(&answer(None)), format!("\"{hash}\""));
        assert_eq!(
            old(&answer(Some(vec![txid().to_byte_array()]))),
            format!(r#"{{"tx_hash":"{hash}","merkle":["{hash}"]}}"#)
        );
    }

    #[test]
    fn headers_change_their_shape_with_1_6() {
        let headers = [[1; 80], [2; 80]].concat();
        let (first, second) = ("01".repeat(80), "02".repeat(80));
        let answer = Answer::Headers {
            headers,
            proof: None,
        };
        assert_eq!(
            old(&answer),
            format!(r#"{{"count":2,"max":2016,"hex":"{first}{second}"}}"#)
        );
        assert_eq!(
            new(&answer),
            format!(r#"{{"count":2,"max":2016,"headers":["{first}","{second}"]}}"#)
        );
        let none = Answer::Headers {
            headers: vec![],
            proof: None,
        };
        assert_eq!(old(&none), r#"{"count":0,"max":2016,"hex":""}"#);
        assert_eq!(new(&none), r#"{"count":0,"max":2016,"headers":[]}"#);
    }

    #[test]
    fn proofs_show_hashes_last_byte_first() {
        let proof = || HeaderProof {
            branch: vec![txid().to_byte_array()],
            root: txid().to_byte_array(),
        };
        let hash = shown();
        let shown_proof = format!(r#""branch":["{hash}"],"root":"{hash}"}}"#);
        let header = Answer::Header {
            header: [0; 80],
            proof: Some(proof()),
        };
        let zeros = "00".repeat(80);
        assert_eq!(
            old(&header),
            format!(r#"{{"header":"{zeros}",{shown_proof}"#)
        );
        let headers = Answer::Headers {
            headers: vec![0; 80],
            proof: Some(proof()),
        };
        assert_eq!(
            old(&headers),
            format!(r#"{{"count":1,"max":2016,"hex":"{zeros}",{shown_proof}"#)
        );
        let merkle = Answer::Merkle {
            height: Height(9),
            siblings: vec![txid().to_byte_array()],
            index: 1,
        };
        assert_eq!(
            old(&merkle),
            format!(r#"{{"block_height":9,"merkle":["{hash}"],"pos":1}}"#)
        );
    }

    #[test]
    fn fee_rates_are_exact() {
        let fee = |rate| old(&Answer::Fee(rate));
        assert_eq!(fee(None), "-1");
        assert_eq!(fee(Some(FeeRate(1000))), "0.00001000");
        assert_eq!(fee(Some(FeeRate(123_456_789))), "1.23456789");
        assert_eq!(fee(Some(FeeRate(0))), "0.00000000");
        let fees = Answer::MempoolFees(MempoolFees {
            mempool_minimum: FeeRate(2000),
            relay_minimum: FeeRate(1000),
            incremental: FeeRate(100),
        });
        assert_eq!(old(&fees), "0.00001000");
        assert_eq!(
            new(&fees),
            r#"{"mempoolminfee":0.00002000,"minrelaytxfee":0.00001000,"incrementalrelayfee":0.00000100}"#
        );
        let histogram = Answer::FeeHistogram(vec![(12.5, 1000), (1.0, 5)]);
        assert_eq!(old(&histogram), "[[12.5,1000],[1.0,5]]");
    }

    #[test]
    fn simple_results_are_text_or_null() {
        let tip = Answer::Tip {
            height: Height(5),
            header: [0; 80],
        };
        let zeros = "00".repeat(80);
        assert_eq!(old(&tip), format!(r#"{{"height":5,"hex":"{zeros}"}}"#));
        assert_eq!(old(&Answer::Transaction(vec![0, 255])), r#""00ff""#);
        assert_eq!(old(&Answer::Status(None)), "null");
        let status = StatusHash::of([HistoryEntry {
            txid: txid(),
            height: EntryHeight::Unconfirmed,
        }]);
        assert_eq!(
            old(&Answer::Status(status)),
            format!("\"{}\"", status.unwrap().to_wire())
        );
    }
}
