//! Answers recorded from a node (Bitcoin Knots 29.5, regtest), whole and without each of their fields.

use std::collections::BTreeMap;

use bitcoin::Amount;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::chain::{ConnectedBlock, Height};
use crate::node::answers::{
    AcceptTest, BlockSummary, BlockchainInfo, FeeEstimate, MempoolInfo, NetworkInfo, NewBlock,
    SpendingBlock,
};
use crate::node::blocks;

const BLOCK: &str = include_str!("../../../tests/fixtures/node/getblock-3.json");
const RAW_BLOCK: &str = include_str!("../../../tests/fixtures/node/getblock-0.hex");
const BLOCK_HEADER: &str = include_str!("../../../tests/fixtures/node/getblockheader.json");
const CHAIN_INFO: &str = include_str!("../../../tests/fixtures/node/getblockchaininfo.json");
const NETWORK_INFO: &str = include_str!("../../../tests/fixtures/node/getnetworkinfo.json");
const REACHABLE: &str = include_str!("../../../tests/fixtures/node/getnetworkinfo-reachable.json");
const ACCEPTABLE: &str = include_str!("../../../tests/fixtures/node/testmempoolaccept.json");
const REFUSED: &str = include_str!("../../../tests/fixtures/node/testmempoolaccept-refused.json");
const MEMPOOL_INFO: &str = include_str!("../../../tests/fixtures/node/getmempoolinfo.json");
const ESTIMATE: &str = include_str!("../../../tests/fixtures/node/estimatesmartfee.json");
const NO_ESTIMATE: &str =
    include_str!("../../../tests/fixtures/node/estimatesmartfee-unknown.json");
const NEW_BLOCK: &str = include_str!("../../../tests/fixtures/node/waitfornewblock.json");

/// The fields of a recorded answer without which `understood` says no. List items are all called `*`.
fn needed(recorded: &str, understood: impl Fn(&str) -> bool) -> Vec<String> {
    assert!(understood(recorded));
    let mut needed: Vec<_> = without_each_field(recorded)
        .into_iter()
        .filter(|(_field, answer)| !understood(answer))
        .map(|(field, _answer)| field)
        .collect();
    needed.sort();
    needed.dedup();
    needed
}

/// The answer without each of its fields, those inside of it included. Numbers keep their digits.
fn without_each_field(answer: &str) -> Vec<(String, String)> {
    let mut variants = Vec::new();
    if let Ok(object) = serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(answer) {
        for (name, child) in &object {
            let mut other = object.clone();
            other.remove(name);
            variants.push((format!("/{name}"), serde_json::to_string(&other).unwrap()));
            for (field, child) in without_each_field(child.get()) {
                other.insert(name.clone(), RawValue::from_string(child).unwrap());
                let answer = serde_json::to_string(&other).unwrap();
                variants.push((format!("/{name}{field}"), answer));
            }
        }
    } else if let Ok(items) = serde_json::from_str::<Vec<Box<RawValue>>>(answer) {
        for (place, child) in items.iter().enumerate() {
            for (field, child) in without_each_field(child.get()) {
                let mut other = items.clone();
                other[place] = RawValue::from_string(child).unwrap();
                let answer = serde_json::to_string(&other).unwrap();
                variants.push((format!("/*{field}"), answer));
            }
        }
    }
    variants
}

fn parses<T: DeserializeOwned>(answer: &str) -> bool {
    serde_json::from_str::<T>(answer).is_ok()
}

fn block(answer: &str) -> Option<ConnectedBlock> {
    let spending: SpendingBlock = serde_json::from_str(answer).ok()?;
    let block = bitcoin::consensus::encode::deserialize_hex(RAW_BLOCK.trim()).unwrap();
    blocks::connect(block, spending)
}

#[test]
fn answers_are_understood_without_every_field_that_we_can_do_without() {
    assert_eq!(
        needed(CHAIN_INFO, parses::<BlockchainInfo>),
        ["/bestblockhash", "/blocks"]
    );
    assert_eq!(needed(NETWORK_INFO, parses::<NetworkInfo>), [""; 0]);
    assert_eq!(needed(BLOCK_HEADER, parses::<BlockSummary>), [""; 0]);
    assert_eq!(
        needed(MEMPOOL_INFO, parses::<MempoolInfo>),
        ["/minrelaytxfee"]
    );
    assert_eq!(needed(ESTIMATE, parses::<FeeEstimate>), [""; 0]);
    assert_eq!(needed(NO_ESTIMATE, parses::<FeeEstimate>), [""; 0]);
    assert_eq!(needed(NEW_BLOCK, parses::<NewBlock>), ["/hash"]);
    assert_eq!(needed(REACHABLE, parses::<NetworkInfo>), [""; 0]);
    let allowed = ["/*/allowed"];
    assert_eq!(needed(ACCEPTABLE, parses::<[AcceptTest; 1]>), allowed);
    assert_eq!(needed(REFUSED, parses::<[AcceptTest; 1]>), allowed);
    let of_block = needed(BLOCK, |answer| block(answer).is_some());
    let expected = [
        "/tx",
        "/tx/*/vin",
        "/tx/*/vin/*/prevout",
        "/tx/*/vin/*/prevout/height",
        "/tx/*/vin/*/prevout/scriptPubKey",
        "/tx/*/vin/*/prevout/scriptPubKey/hex",
        "/tx/*/vin/*/prevout/value",
    ];
    assert_eq!(of_block, expected);
}

#[test]
fn a_block_is_joined_with_what_it_spends() {
    let connected = block(BLOCK).unwrap();
    let whole: Value = serde_json::from_str(BLOCK).unwrap();
    assert_eq!(connected.spent.len() + 1, connected.block.txdata.len());
    for (number, spent) in connected.spent.iter().enumerate() {
        for (place, output) in spent.iter().enumerate() {
            let told = &whole["tx"][number + 1]["vin"][place]["prevout"];
            assert_eq!(
                output.height,
                Height(u32::try_from(told["height"].as_u64().unwrap()).unwrap())
            );
            assert_eq!(output.script.to_hex_string(), told["scriptPubKey"]["hex"]);
            assert_eq!(
                output.amount,
                Amount::from_btc(told["value"].as_f64().unwrap()).unwrap()
            );
        }
    }
}

#[test]
fn where_a_node_can_be_reached_and_why_it_refuses_is_found() {
    let info: NetworkInfo = serde_json::from_str(REACHABLE).unwrap();
    let hosts: Vec<_> = info
        .own_addresses
        .iter()
        .filter_map(|own| own.address.as_deref())
        .collect();
    let onion = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";
    assert_eq!(hosts, ["1.2.3.4", "2001:470::1", onion]);
    assert_eq!(info.relays, Some(true));
    let [refused]: [AcceptTest; 1] = serde_json::from_str(REFUSED).unwrap();
    assert!(!refused.allowed);
    assert!(
        refused
            .reason
            .unwrap()
            .contains("script-verify-flag-failed")
    );
}

#[test]
fn a_block_and_outputs_that_do_not_fit_are_refused() {
    let whole: Value = serde_json::from_str(BLOCK).unwrap();
    let changes: [&dyn Fn(&mut Value); 3] = [
        &|answer| drop(answer["tx"].as_array_mut().unwrap().pop()),
        &|answer| answer["tx"][1]["vin"].as_array_mut().unwrap().clear(),
        &|answer| answer["tx"][1]["vin"][0]["prevout"]["value"] = "1.5".into(),
    ];
    for change in changes {
        let mut answer = whole.clone();
        change(&mut answer);
        assert!(block(&answer.to_string()).is_none());
    }
}

#[test]
fn amounts_are_read_digit_by_digit() {
    let amount = |digits: &str| {
        let answer = format!(r#"{{"feerate":{digits}}}"#);
        let estimate: FeeEstimate = serde_json::from_str(&answer).ok()?;
        estimate.rate.map(|rate| rate.0.to_sat())
    };
    assert_eq!(amount("20999999.97690000"), Some(2_099_999_997_690_000));
    assert_eq!(amount("0.1"), Some(10_000_000));
    assert_eq!(amount("0.00000001"), Some(1));
    for digits in [
        "-0.1",
        "1e-5",
        "0.000000001",
        "\"0.1\"",
        "[]",
        "99999999999999999999",
    ] {
        assert_eq!(amount(digits), None, "{digits}");
    }
}
