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
        let known = |name: &str, params: &str, version| read([name, params], version, Result::err);
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
fn outpoints_are_named_by_transaction_index_and_script() {
    let fault = |method: &str, params: &str, version| {
        let name = format!("blockchain.outpoint.{method}");
        read([&name, params], version, Result::err)
    };
    let newest = ProtocolVersion::V1_7;
    let full = format!(r#"["{SCRIPT}",1,"51"]"#);
    let named = format!(r#"{{"tx_hash":"{SCRIPT}","txout_idx":1,"spk_hint":"51"}}"#);
    let short = format!(r#"["{SCRIPT}",1]"#);
    for method in ["subscribe", "get_status"] {
        assert_eq!(fault(method, &full, newest), None);
        assert_eq!(fault(method, &named, newest), None);
        let unknown = Some(WireError::UnknownMethod);
        assert_eq!(fault(method, &full, ProtocolVersion::V1_6), unknown);
        for params in [
            short.clone(),
            full.replace("51", "5"),
            full.replace("\",1", "\",-1"),
            full.replace("\",1", "\",4294967296"),
            "[]".to_owned(),
        ] {
            let invalid = Some(WireError::InvalidParams);
            assert_eq!(fault(method, &params, newest), invalid, "{params}");
        }
    }
    assert_eq!(fault("unsubscribe", &short, newest), None);
    assert_eq!(
        fault("unsubscribe", &full, newest),
        Some(WireError::InvalidParams)
    );
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
