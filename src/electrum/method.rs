//! The methods of the protocol, with their arguments (protocol methods).

use bitcoin::hex::FromHex as _;
use bitcoin::{ScriptBuf, Txid};

use super::error::WireError;
use super::message::Request;
use super::package::Package;
use super::params::{Argument, Extra, Text, bind, optional, required};
use super::version::ProtocolVersion;
use crate::chain::{Height, ScriptHash};
use crate::query::{FeeMode, Query};
use crate::redact::{ClientTxid, RawTransaction};

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
                let Text(digits) = required(raw)?;
                let bytes = Vec::from_hex(&digits).map_err(|_not_hex| WireError::InvalidParams)?;
                Ok(Self::Broadcast(RawTransaction::new(bytes)))
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
            "mempool.get_fee_histogram" => nothing(Self::Ask(Query::FeeHistogram)),
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
mod tests {
    use super::*;
    use crate::electrum::message::{Message, parse};

    const SCRIPT: &str = "8b01df4e368ea28f8dc0423bcf7a4923e3a12d307c875e47a0cfbf90b5c39161";

    fn read<T>(
        [name, params]: [&str; 2],
        version: ProtocolVersion,
        look: impl FnOnce(Result<Method, WireError>) -> T,
    ) -> T {
        let line = format!("{{\"id\":1,\"method\":\"{name}\",\"params\":{params}}}");
        match parse(line.as_bytes()) {
            Ok(Message::Single(Ok(request))) => look(Method::parse(&request, version)),
            _ => panic!("not a request"),
        }
    }

    fn fault(name: &str, params: &str) -> Option<WireError> {
        read([name, params], ProtocolVersion::V1_4, Result::err)
    }

    #[test]
    fn the_names_of_arguments_are_those_of_the_protocol() {
        for (name, params) in [
            (
                "server.version",
                r#"{"client_name":"x","protocol_version":["1.4","1.6"]}"#.to_owned(),
            ),
            ("server.add_peer", r#"{"features":{}}"#.to_owned()),
            (
                "blockchain.scripthash.get_balance",
                format!("{{\"scripthash\":\"{SCRIPT}\"}}"),
            ),
            (
                "blockchain.scripthash.get_history",
                format!("{{\"scripthash\":\"{SCRIPT}\"}}"),
            ),
            (
                "blockchain.scripthash.get_mempool",
                format!("{{\"scripthash\":\"{SCRIPT}\"}}"),
            ),
            (
                "blockchain.scripthash.listunspent",
                format!("{{\"scripthash\":\"{SCRIPT}\"}}"),
            ),
            (
                "blockchain.scripthash.subscribe",
                format!("{{\"scripthash\":\"{SCRIPT}\"}}"),
            ),
            (
                "blockchain.scripthash.unsubscribe",
                format!("{{\"scripthash\":\"{SCRIPT}\"}}"),
            ),
            (
                "blockchain.block.header",
                r#"{"height":5,"cp_height":8}"#.to_owned(),
            ),
            (
                "blockchain.block.headers",
                r#"{"start_height":0,"count":2016,"cp_height":0}"#.to_owned(),
            ),
            (
                "blockchain.transaction.get",
                format!("{{\"tx_hash\":\"{SCRIPT}\",\"verbose\":false}}"),
            ),
            (
                "blockchain.transaction.get_merkle",
                format!("{{\"tx_hash\":\"{SCRIPT}\",\"height\":1}}"),
            ),
            (
                "blockchain.transaction.id_from_pos",
                r#"{"height":1,"tx_pos":0,"merkle":true}"#.to_owned(),
            ),
            (
                "blockchain.transaction.broadcast",
                r#"{"raw_tx":"00ff"}"#.to_owned(),
            ),
            (
                "blockchain.transaction.broadcast_package",
                r#"{"raw_txs":["00ff"],"verbose":true}"#.to_owned(),
            ),
            (
                "blockchain.estimatefee",
                r#"{"number":2,"mode":"ECONOMICAL"}"#.to_owned(),
            ),
        ] {
            let fault = read([name, &params], ProtocolVersion::V1_6, Result::err);
            assert_eq!(fault, None, "{name}");
        }
    }

    #[test]
    fn scripts_are_named_by_themselves_from_1_7_on() {
        let methods = [
            "get_balance",
            "get_history",
            "get_mempool",
            "listunspent",
            "subscribe",
            "unsubscribe",
        ];
        let hash = ScriptHash::of(&ScriptBuf::from_bytes(vec![0x51, 7])).to_wire();
        for method in methods {
            let by_hash = format!("blockchain.scripthash.{method}");
            let by_script = format!("blockchain.scriptpubkey.{method}");
            let known =
                |name: &str, params: &str, version| read([name, params], version, Result::err);
            let hash = format!("[\"{hash}\"]");
            assert_eq!(known(&by_hash, &hash, ProtocolVersion::V1_6), None);
            let unknown = Some(WireError::UnknownMethod);
            assert_eq!(known(&by_hash, &hash, ProtocolVersion::V1_7), unknown);
            for params in [r#"["5107"]"#, r#"{"scriptpubkey":"5107"}"#, r#"[""]"#] {
                assert_eq!(known(&by_script, params, ProtocolVersion::V1_7), None);
                assert_eq!(known(&by_script, params, ProtocolVersion::V1_6), unknown);
            }
            for params in [r#"["510"]"#, "[]", "[5]", r#"["xy"]"#, r#"["51","51"]"#] {
                let fault = known(&by_script, params, ProtocolVersion::V1_7);
                assert_eq!(fault, Some(WireError::InvalidParams), "{method} {params}");
            }
        }
    }

    #[test]
    fn faulty_arguments_are_refused() {
        for (name, params) in [
            ("server.ping", "[1]"),
            ("blockchain.transaction.id_from_pos", "[1]"),
            ("blockchain.transaction.id_from_pos", "[1,-1]"),
            ("blockchain.transaction.id_from_pos", "[1,0,1]"),
            ("server.features", r#"{"x":1}"#),
            ("blockchain.scripthash.subscribe", "[]"),
            ("blockchain.scripthash.subscribe", "[5]"),
            ("blockchain.scripthash.subscribe", r#"["00"]"#),
            ("blockchain.scripthash.subscribe", "[null]"),
            ("blockchain.block.header", "[]"),
            ("blockchain.block.header", "[-1]"),
            ("blockchain.block.header", "[9223372036854775808]"),
            ("blockchain.block.header", "[1.5]"),
            ("blockchain.block.header", r#"["1"]"#),
            ("blockchain.block.header", "[true]"),
            ("blockchain.block.header", "[1,1,1]"),
            ("blockchain.block.headers", "[0]"),
            ("blockchain.block.headers", "[0,-1]"),
            ("blockchain.block.headers", "[0,1e999999]"),
            ("blockchain.transaction.get", r#"["zz"]"#),
            ("blockchain.transaction.get", r#"["zz",true]"#),
            ("blockchain.transaction.get_merkle", "[]"),
            ("blockchain.transaction.broadcast", r#"["0"]"#),
            ("blockchain.transaction.broadcast", r#"["xy"]"#),
            ("blockchain.transaction.broadcast", "[[]]"),
            ("blockchain.estimatefee", "[0]"),
            ("blockchain.estimatefee", "[-5]"),
            ("blockchain.estimatefee", r#"[2,"fast"]"#),
            ("blockchain.scripthash.get_balance", "5"),
            ("blockchain.scripthash.get_balance", "\"x\""),
        ] {
            assert_eq!(
                fault(name, params),
                Some(WireError::InvalidParams),
                "{name} {params}"
            );
        }
    }

    #[test]
    fn some_methods_depend_on_the_version() {
        let known = |name, version| read([name, "[]"], version, |method| method.is_ok());
        assert!(known("blockchain.relayfee", ProtocolVersion::V1_4_3));
        assert!(!known("blockchain.relayfee", ProtocolVersion::V1_6));
        assert!(!known("mempool.get_info", ProtocolVersion::V1_4_3));
        assert!(known("mempool.get_info", ProtocolVersion::V1_6));
        let package = "blockchain.transaction.broadcast_package";
        let list = |version| read([package, "[[]]"], version, |method| method.is_ok());
        assert!(!list(ProtocolVersion::V1_4_3) && list(ProtocolVersion::V1_6));
        assert_eq!(
            fault("mempool.get_info", "[]"),
            Some(WireError::UnknownMethod)
        );
        assert_eq!(fault("no.such.method", "5"), Some(WireError::UnknownMethod));
    }

    #[test]
    fn versions_are_one_or_a_range() {
        let asked = |params| {
            let name = "server.version";
            read(
                [name, params],
                ProtocolVersion::V1_4,
                |method| match method {
                    Ok(Method::Version(asked)) => asked.map(|asked| (asked.min, asked.max)),
                    _ => panic!("not a version"),
                },
            )
        };
        let pair = |min: &str, max: &str| Some((min.to_owned(), max.to_owned()));
        assert_eq!(asked(r#"["x",["1.4","1.6"],1,{}]"#), pair("1.4", "1.6"));
        assert_eq!(asked(r#"["x","1.4.2"]"#), pair("1.4.2", "1.4.2"));
        assert_eq!(asked("[]"), pair("1.4", "1.4"));
        assert_eq!(asked(r#"["x",null]"#), pair("1.4", "1.4"));
        assert_eq!(asked(r#"["x",5]"#), None);
        assert_eq!(asked(r#"["x",["1.4"]]"#), None);
        assert_eq!(asked(r#"["x",["1.4","1.5","1.6"]]"#), None);
    }

    #[test]
    fn targets_beyond_a_week_are_a_week() {
        assert_eq!(fee_target(1), Ok(1));
        assert_eq!(fee_target(u64::MAX), Ok(1008));
    }
}
