//! The node's answers in types of our own: only the fields we use, and optional where we can do without.
//!
//! Nodes add and drop fields from version to version; an unknown field is ignored, and a missing one must not empty
//! a mempool. Amounts are read from their decimal digits, never through a float.

use std::collections::BTreeMap;
use std::fmt;

use bitcoin::amount::Denomination;
use bitcoin::consensus::encode;
use bitcoin::{Amount, Block, BlockHash, ScriptBuf, Wtxid};
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// `getblockchaininfo`.
#[derive(Deserialize)]
pub(super) struct BlockchainInfo {
    pub(super) chain: Option<String>,
    pub(super) blocks: u32,
    pub(super) headers: Option<u32>,
    #[serde(rename = "bestblockhash")]
    pub(super) best_block: BlockHash,
    #[serde(default, rename = "initialblockdownload")]
    pub(super) initial_download: bool,
    #[serde(default)]
    pub(super) pruned: bool,
}

/// `getnetworkinfo`.
#[derive(Deserialize)]
pub(super) struct NetworkInfo {
    pub(super) version: Option<u32>,
    #[serde(rename = "localrelay")]
    pub(super) relays: Option<bool>,
    #[serde(default, rename = "localaddresses")]
    pub(super) own_addresses: Vec<OwnAddress>,
}

/// An address under which the node says that peers can reach it.
#[derive(Deserialize)]
pub(super) struct OwnAddress {
    pub(super) address: Option<String>,
}

/// `getblockheader HASH true`.
#[derive(Deserialize)]
pub(super) struct BlockSummary {
    #[serde(rename = "nTx")]
    pub(super) transactions: Option<u32>,
}

/// `getblock HASH 0`.
pub(super) struct WholeBlock(pub(super) Block);

impl<'de> Deserialize<'de> for WholeBlock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(HexOfBlock)
    }
}

/// Decodes the digits where they lie.
struct HexOfBlock;

impl Visitor<'_> for HexOfBlock {
    type Value = WholeBlock;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a block in hexadecimal digits")
    }

    fn visit_str<E: serde::de::Error>(self, hex: &str) -> Result<WholeBlock, E> {
        let block = encode::deserialize_hex(hex);
        block
            .map(WholeBlock)
            .map_err(|_content| E::custom("not a block"))
    }
}

/// `getblock HASH 3`.
#[derive(Deserialize)]
pub(super) struct SpendingBlock {
    #[serde(rename = "tx")]
    pub(super) transactions: Vec<SpendingTransaction>,
}

/// A transaction of [`SpendingBlock`].
#[derive(Deserialize)]
pub(super) struct SpendingTransaction {
    #[serde(rename = "vin")]
    pub(super) inputs: Vec<SpendingInput>,
}

/// An input of [`SpendingTransaction`]; that of a coinbase has no previous output.
#[derive(Deserialize)]
pub(super) struct SpendingInput {
    #[serde(rename = "prevout")]
    pub(super) previous: Option<PreviousOutput>,
}

/// The output that an input spends.
#[derive(Deserialize)]
pub(super) struct PreviousOutput {
    pub(super) height: u32,
    #[serde(rename = "value")]
    pub(super) amount: Bitcoins,
    #[serde(rename = "scriptPubKey")]
    pub(super) script: OutputScript,
}

/// An output script.
#[derive(Deserialize)]
pub(super) struct OutputScript {
    pub(super) hex: ScriptBuf,
}

/// `getmempoolinfo`.
#[derive(Deserialize)]
pub(super) struct MempoolInfo {
    #[serde(rename = "mempoolminfee")]
    pub(super) mempool_minimum: Option<Bitcoins>,
    #[serde(rename = "minrelaytxfee")]
    pub(super) relay_minimum: Bitcoins,
    #[serde(rename = "incrementalrelayfee")]
    pub(super) incremental: Option<Bitcoins>,
}

/// `estimatesmartfee`.
#[derive(Deserialize)]
pub(super) struct FeeEstimate {
    #[serde(rename = "feerate")]
    pub(super) rate: Option<Bitcoins>,
}

/// One answer of `testmempoolaccept`.
#[derive(Deserialize)]
pub(super) struct AcceptTest {
    pub(super) allowed: bool,
    #[serde(rename = "reject-reason")]
    pub(super) reason: Option<String>,
}

/// `submitpackage`.
#[derive(Deserialize)]
pub(super) struct SentPackage {
    #[serde(default, rename = "package_msg")]
    pub(super) message: String,
    /// By transaction id with witnesses.
    #[serde(default, rename = "tx-results")]
    pub(super) members: BTreeMap<Wtxid, SentMember>,
}

/// A transaction of [`SentPackage`].
#[derive(Deserialize)]
pub(super) struct SentMember {
    pub(super) error: Option<String>,
}

/// One answer of `testmempoolaccept` for several transactions, of which some may not have been looked at.
#[derive(Deserialize)]
pub(super) struct PackageTest {
    pub(super) allowed: Option<bool>,
    #[serde(rename = "package-error")]
    pub(super) package_error: Option<String>,
    #[serde(rename = "reject-reason")]
    pub(super) reason: Option<String>,
}

/// `waitfornewblock`.
#[derive(Deserialize)]
pub(super) struct NewBlock {
    pub(super) hash: BlockHash,
}

/// An amount that the node writes as a decimal number of bitcoins.
#[derive(Clone, Copy)]
pub(super) struct Bitcoins(pub(super) Amount);

impl<'de> Deserialize<'de> for Bitcoins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = Box::<RawValue>::deserialize(deserializer)?;
        Amount::from_str_in(digits.get(), Denomination::Bitcoin)
            .map(Self)
            .map_err(|_content| D::Error::custom("not an amount"))
    }
}
