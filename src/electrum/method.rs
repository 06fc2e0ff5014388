//! The methods of the protocol, with their arguments (protocol methods).

use bitcoin::hex::FromHex as _;
use bitcoin::{OutPoint, ScriptBuf, Txid};

use super::error::WireError;
use super::message::Request;
use super::package::Package;
use super::params::{Argument, Extra, List, Text, bind, optional, required};
use super::version::ProtocolVersion;
use crate::chain::{Height, ScriptHash};
use crate::limits;
use crate::query::{FeeMode, Query};
use crate::redact::{ClientOutpoint, ClientTxid, RawTransaction};

/// What a client wants.
pub(super) enum Method {
    /// `server.version`; `None` when the versions asked for cannot be understood.
    Version(Option<AskedVersions>),
    /// `server.features`
    Features,
    /// `server.banner`
    Banner,
    /// `server.donation_address`
    DonationAddress,
    /// `server.ping`; from 1.7 on with so many digits to answer with.
    Ping(Option<usize>),
    /// `server.peers.subscribe`
    Peers,
    /// `server.add_peer`
    AddPeer,
    /// `blockchain.headers.subscribe`
    WatchTip,
    /// `blockchain.scripthash.subscribe`, `blockchain.scriptpubkey.subscribe`
    Watch(ScriptHash),
    /// `blockchain.scripthash.unsubscribe`, `blockchain.scriptpubkey.unsubscribe`
    Unwatch(ScriptHash),
    /// `blockchain.outpoint.subscribe`, with the script whose changes may be the output's.
    WatchOutpoint(ClientOutpoint, ScriptHash),
    /// `blockchain.outpoint.unsubscribe`
    UnwatchOutpoint(ClientOutpoint),
    /// `blockchain.transaction.broadcast`
    Broadcast(RawTransaction),
    /// `blockchain.transaction.broadcast_package`
    BroadcastPackage(Package),
    /// Everything else: one question, one answer.
    Ask(Query),
}

/// The range of versions a client speaks.
pub(super) struct AskedVersions {
    pub(super) min: String,
    pub(super) max: String,
}

impl AskedVersions {
    fn new(min: &str, max: &str) -> Self {
        Self {
            min: min.to_owned(),
            max: max.to_owned(),
        }
    }
}

impl Method {
    /// Reads name and arguments as `version` defines them.
    pub(super) fn parse(
        request: &Request<'_>,
        version: ProtocolVersion,
    ) -> Result<Self, WireError> {
        let params = request.params;
        let nothing = |method: Self| bind(params, [], Extra::Refused).map(|[]| method);
        match request.method.as_ref() {
            "server.version" => {
                let names = ["client_name", "protocol_version"];
                let [_name, asked] = bind(params, names, Extra::Ignored)?;
                Ok(Self::Version(asked_versions(asked)))
            }
            "server.features" => nothing(Self::Features),
            "server.banner" => nothing(Self::Banner),
            "server.donation_address" => nothing(Self::DonationAddress),
            "server.ping" if version >= ProtocolVersion::V1_7 => {
                let [length, data] = bind(params, ["pong_len", "data"], Extra::Refused)?;
                let _padding: Option<Text<'_>> = optional(data)?;
                let length: u64 = optional(length)?.unwrap_or_default();
                Ok(Self::Ping(Some(
                    usize::try_from(length).unwrap_or(usize::MAX),
                )))
            }
            "server.ping" => nothing(Self::Ping(None)),
            "server.peers.subscribe" => nothing(Self::Peers),
            "server.add_peer" => {
                bind(params, ["features"], Extra::Refused).map(|[_]| Self::AddPeer)
            }
            "blockchain.headers.subscribe" => nothing(Self::WatchTip),
            "blockchain.transaction.broadcast" => {
                let [raw] = bind(params, ["raw_tx"], Extra::Refused)?;
                raw_transaction(&required(raw)?).map(Self::Broadcast)
            }
            "blockchain.transaction.broadcast_package" if version >= ProtocolVersion::V1_6 => {
                Package::parse(request).map(Self::BroadcastPackage)
            }
            "blockchain.relayfee" if version < ProtocolVersion::V1_6 => {
                nothing(Self::Ask(Query::MempoolFees))
            }
            "mempool.get_info" if version >= ProtocolVersion::V1_6 => {
                nothing(Self::Ask(Query::MempoolFees))
            }
            "mempool.recent" if version >= ProtocolVersion::V1_7 => {
                nothing(Self::Ask(Query::Recent))
            }
            "blockchain.transaction.testmempoolaccept" if version.tests_acceptance() => {
                let [raw] = bind(params, ["raw_txs"], Extra::Refused)?;
                raw_transactions(raw).map(|raw| Self::Ask(Query::AcceptTest(raw)))
            }
            "mempool.get_fee_histogram" => nothing(Self::Ask(Query::FeeHistogram)),
            name if name.starts_with("blockchain.outpoint.")
                && version >= ProtocolVersion::V1_7 =>
            {
                of_outpoint(request)
            }
            _ => match of_script(request, version)? {
                Some(method) => Ok(method),
                None => question(request).map(Self::Ask),
            },
        }
    }
}

/// The methods about one script, which is named by its hash, from 1.7 on by itself.
fn of_script(request: &Request<'_>, version: ProtocolVersion) -> Result<Option<Method>, WireError> {
    let by_hash = version < ProtocolVersion::V1_7;
    let family = if by_hash {
        "blockchain.scripthash."
    } else {
        "blockchain.scriptpubkey."
    };
    let method = match request.method.strip_prefix(family) {
        Some("get_balance") => |script_hash| Method::Ask(Query::Balance(script_hash)),
        Some("get_history") => |script_hash| Method::Ask(Query::History(script_hash)),
        Some("get_mempool") => |script_hash| Method::Ask(Query::Unconfirmed(script_hash)),
        Some("listunspent") => |script_hash| Method::Ask(Query::Unspent(script_hash)),
        Some("subscribe") => Method::Watch,
        Some("unsubscribe") => Method::Unwatch,
        Some(_) | None => return Ok(None),
    };
    let script_hash = if by_hash {
        script_hash(request)
    } else {
        let [script] = bind(request.params, ["scriptpubkey"], Extra::Refused)?;
        hash_of_script(script)
    };
    script_hash.map(|script_hash| Some(method(script_hash)))
}

/// The methods about one output.
fn of_outpoint(request: &Request<'_>) -> Result<Method, WireError> {
    let hinted = || {
        let names = ["tx_hash", "txout_idx", "spk_hint"];
        let [txid, vout, hint] = bind(request.params, names, Extra::Refused)?;
        Ok((client_outpoint(txid, vout)?, hash_of_script(hint)?))
    };
    match request.method.as_ref() {
        "blockchain.outpoint.get_status" => {
            hinted().map(|(outpoint, _hint)| Method::Ask(Query::Outpoint(outpoint)))
        }
        "blockchain.outpoint.subscribe" => {
            hinted().map(|(outpoint, hint)| Method::WatchOutpoint(outpoint, hint))
        }
        "blockchain.outpoint.unsubscribe" => {
            let [txid, vout] = bind(request.params, ["tx_hash", "txout_idx"], Extra::Refused)?;
            client_outpoint(txid, vout).map(Method::UnwatchOutpoint)
        }
        _ => Err(WireError::UnknownMethod),
    }
}

/// The methods that are one question with arguments.
fn question(request: &Request<'_>) -> Result<Query, WireError> {
    let params = request.params;
    match request.method.as_ref() {
        "blockchain.block.header" => {
            let [height, checkpoint] = bind(params, ["height", "cp_height"], Extra::Refused)?;
            Ok(Query::Header {
                height: Height(required(height)?),
                checkpoint: checkpoint_height(checkpoint)?,
            })
        }
        "blockchain.block.headers" => {
            let names = ["start_height", "count", "cp_height"];
            let [start, count, checkpoint] = bind(params, names, Extra::Refused)?;
            let count: u64 = required(count)?;
            Ok(Query::Headers {
                start: Height(required(start)?),
                count: u32::try_from(count).unwrap_or(u32::MAX),
                checkpoint: checkpoint_height(checkpoint)?,
            })
        }
        "blockchain.transaction.get" => {
            let [txid, verbose] = bind(params, ["tx_hash", "verbose"], Extra::Refused)?;
            let txid = client_txid(txid)?;
            match optional(verbose)? {
                Some(true) => Ok(Query::WholeTransaction(txid)),
                Some(false) | None => Ok(Query::Transaction(txid)),
            }
        }
        "blockchain.transaction.get_merkle" => {
            let [txid, height] = bind(params, ["tx_hash", "height"], Extra::Refused)?;
            Ok(Query::Merkle {
                txid: client_txid(txid)?,
                height: Height(required(height)?),
            })
        }
        "blockchain.transaction.id_from_pos" => {
            let names = ["height", "tx_pos", "merkle"];
            let [height, index, proof] = bind(params, names, Extra::Refused)?;
            Ok(Query::TransactionAt {
                height: Height(required(height)?),
                index: required(index)?,
                proof: optional(proof)?.unwrap_or(false),
            })
        }
        "blockchain.estimatefee" => {
            let [blocks, mode] = bind(params, ["number", "mode"], Extra::Refused)?;
            Ok(Query::EstimateFee {
                blocks: fee_target(required(blocks)?)?,
                mode: optional(mode)?.map(fee_mode).transpose()?,
            })
        }
        _ => Err(WireError::UnknownMethod),
    }
}

/// One version means exactly that one; none means 1.4, as the protocol has it.
fn asked_versions(asked: Argument<'_>) -> Option<AskedVersions> {
    let Some(asked) = asked else {
        return Some(AskedVersions::new("1.4", "1.4"));
    };
    if let Ok(Text(exact)) = serde_json::from_str(asked.get()) {
        return Some(AskedVersions::new(&exact, &exact));
    }
    let [Text(min), Text(max)] = serde_json::from_str(asked.get()).ok()?;
    Some(AskedVersions::new(&min, &max))
}

fn script_hash(request: &Request<'_>) -> Result<ScriptHash, WireError> {
    let [script_hash] = bind(request.params, ["scripthash"], Extra::Refused)?;
    let Text(digits) = required(script_hash)?;
    ScriptHash::from_wire(&digits).ok_or(WireError::InvalidParams)
}

fn hash_of_script(argument: Argument<'_>) -> Result<ScriptHash, WireError> {
    let Text(digits) = required(argument)?;
    let script = ScriptBuf::from_hex(&digits).map_err(|_not_hex| WireError::InvalidParams)?;
    Ok(ScriptHash::of(&script))
}

fn client_txid(argument: Argument<'_>) -> Result<ClientTxid, WireError> {
    let Text(digits) = required(argument)?;
    let txid: Result<Txid, _> = digits.parse();
    txid.map(ClientTxid::new)
        .map_err(|_not_a_txid| WireError::InvalidParams)
}

fn raw_transaction(Text(digits): &Text<'_>) -> Result<RawTransaction, WireError> {
    let bytes = Vec::from_hex(digits).map_err(|_not_hex| WireError::InvalidParams)?;
    Ok(RawTransaction::new(bytes))
}

/// One or more.
fn raw_transactions(argument: Argument<'_>) -> Result<Vec<RawTransaction>, WireError> {
    let List(raw): List<'_, { limits::ACCEPT_TEST_MAX }> = required(argument)?;
    if raw.is_empty() {
        return Err(WireError::InvalidParams);
    }
    raw.iter().map(raw_transaction).collect()
}

fn client_outpoint(txid: Argument<'_>, vout: Argument<'_>) -> Result<ClientOutpoint, WireError> {
    let txid = *client_txid(txid)?.expose();
    let vout = required(vout)?;
    Ok(ClientOutpoint::new(OutPoint { txid, vout }))
}

/// A checkpoint of 0 asks for no proof.
fn checkpoint_height(argument: Argument<'_>) -> Result<Option<Height>, WireError> {
    let height: Option<u32> = optional(argument)?;
    Ok(height.filter(|height| *height > 0).map(Height))
}

/// The node estimates for 1 to 1008 blocks; whoever wants to wait longer gets the last of them.
fn fee_target(blocks: u64) -> Result<u16, WireError> {
    let blocks = u16::try_from(blocks.min(1008)).unwrap_or(1008);
    Some(blocks)
        .filter(|blocks| *blocks > 0)
        .ok_or(WireError::InvalidParams)
}

fn fee_mode(Text(name): Text<'_>) -> Result<FeeMode, WireError> {
    if name.eq_ignore_ascii_case("conservative") {
        Ok(FeeMode::Conservative)
    } else if name.eq_ignore_ascii_case("economical") {
        Ok(FeeMode::Economical)
    } else {
        Err(WireError::InvalidParams)
    }
}

#[cfg(test)]
mod tests;
