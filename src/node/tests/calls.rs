//! Calls over real connections: what each misbehaviour of a node becomes.

use std::time::{Duration, Instant};

use bitcoin::Txid;
use bitcoin::hashes::Hash as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::fake::{FakeNode, Seen, http};
use crate::chain::{Height, Network};
use crate::node::rpc::{Lane, Method};
use crate::node::{
    Error, FeeRate, Judge, Judgement, Node, NodeAuth, NodeSettings, SendError, Sender, Trouble,
};
use crate::redact::RawTransaction;

/// Stands for what a client said, or for a secret.
const CANARY: &str = "c4na12yc4na12y";

pub(super) struct Door {
    pub(super) fake: FakeNode,
    cookie: TempDir,
}

impl Door {
    pub(super) fn to(answer: impl Fn(&Seen, usize) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let door = Self {
            fake: FakeNode::start(answer),
            cookie: tempfile::tempdir().unwrap(),
        };
        door.set_cookie("user:first");
        door
    }

    fn set_cookie(&self, content: &str) {
        std::fs::write(self.cookie.path().join("cookie"), content).unwrap();
    }

    pub(super) fn settings(&self) -> NodeSettings {
        NodeSettings {
            address: self.fake.address,
            auth: NodeAuth::cookie_file(self.cookie.path().join("cookie")),
            network: Network::Regtest,
        }
    }

    fn lane(&self, deadline: Duration) -> Lane {
        Lane::new(&self.settings(), deadline, 1)
    }

    /// Calls once and gives the error.
    fn error(&self) -> Error {
        let lane = self.lane(Duration::from_secs(20));
        let arguments = [json!(CANARY)];
        let answer: Result<Value, Error> = lane.call(Method::GetRawTransaction, &arguments);
        answer.unwrap_err()
    }
}

fn result(seen: &Seen, result: &Value) -> Vec<u8> {
    let answer = json!({"jsonrpc": "2.0", "result": result, "id": seen.body["id"]});
    http("200 OK", answer.to_string())
}

fn rpc_error(seen: &Seen, code: i32, status: &str) -> Vec<u8> {
    let error = json!({"code": code, "message": CANARY});
    let answer = json!({"result": null, "error": error, "id": seen.body["id"]});
    http(status, answer.to_string())
}

#[test]
fn a_call_keeps_its_connection_and_a_new_cookie_is_read_once_when_the_old_is_refused() {
    let door = Door::to(|seen, before| match before {
        2 => http("401 Unauthorized", ""),
        _ => result(seen, &json!(7)),
    });
    let lane = door.lane(Duration::from_secs(20));
    for _ in 0..3 {
        let answer: Result<u32, Error> = lane.call(Method::GetBlockHash, &[json!(1)]);
        assert_eq!(answer.unwrap(), 7);
        door.set_cookie("user:second");
    }
    let seen = door.fake.seen();
    assert_eq!(seen.len(), 4);
    assert!(
        seen[..3]
            .iter()
            .all(|seen| seen.authorization == "Basic dXNlcjpmaXJzdA==")
    );
    assert_eq!(seen[3].authorization, "Basic dXNlcjpzZWNvbmQ=");
    assert!(seen[..3].iter().all(|seen| seen.connection == 0));
    assert_eq!(seen[0].body["method"], "getblockhash");
}

#[test]
fn refused_credentials_are_tried_twice_and_no_more() {
    let door = Door::to(|_, _| http("401 Unauthorized", CANARY));
    let error = door.error();
    assert!(matches!(error, Error::Unauthorized { .. }));
    assert_eq!(door.fake.seen().len(), 2);
}

#[test]
fn every_misbehaviour_has_its_name_and_none_is_quoted() {
    type Answer = fn(&Seen, usize) -> Vec<u8>;
    let cases: [(Answer, Trouble); 15] = [
        (
            |_, _| http("401 Unauthorized", CANARY),
            Trouble::Credentials,
        ),
        (|_, _| http("403 Forbidden", CANARY), Trouble::Forbidden),
        (
            |_, _| http("503 Service Unavailable", CANARY),
            Trouble::Busy,
        ),
        (
            |seen, _| rpc_error(seen, -28, "500 Internal Server Error"),
            Trouble::WarmingUp,
        ),
        (|seen, _| rpc_error(seen, -28, "200 OK"), Trouble::WarmingUp),
        (
            |seen, _| rpc_error(seen, -32601, "404 Not Found"),
            Trouble::Incomprehensible,
        ),
        (
            |seen, _| rpc_error(seen, -1, "500 Internal Server Error"),
            Trouble::Incomprehensible,
        ),
        (
            |_, _| http("404 Not Found", "<html>c4na12yc4na12y</html>"),
            Trouble::Incomprehensible,
        ),
        (
            |_, _| http("302 Found\r\nLocation: http://c4na12yc4na12y/", ""),
            Trouble::Incomprehensible,
        ),
        (|_, _| http("200 OK", CANARY), Trouble::Incomprehensible),
        (
            |_, _| http("200 OK", [0xff, 0xfe]),
            Trouble::Incomprehensible,
        ),
        (
            |_, _| http("200 OK", r#"{"result":"c4na12yc4na12y","id":77}"#),
            Trouble::Incomprehensible,
        ),
        (
            |_, _| http("200 OK", "[".repeat(100_000)),
            Trouble::Incomprehensible,
        ),
        (
            |_, _| b"SSH-2.0-c4na12yc4na12y\r\n".to_vec(),
            Trouble::Incomprehensible,
        ),
        (
            |_, _| http("200 OK", vec![b' '; 64 * 1024 * 1024 + 1]),
            Trouble::Incomprehensible,
        ),
    ];
    for (case, (answer, trouble)) in cases.into_iter().enumerate() {
        let door = Door::to(answer);
        let error = door.error();
        assert_eq!(error.trouble(), trouble, "case {case}: {error}");
        let told = format!("{error} {error:?} {}", crate::error::report(&error));
        assert!(!told.contains(CANARY), "case {case}: {told}");
        assert!(!told.contains("first"), "case {case}: {told}");
    }
}

#[test]
fn who_is_not_there_and_who_does_not_answer_is_told_apart_and_in_time() {
    let door = Door::to(|_, _| {
        std::thread::sleep(Duration::from_secs(3));
        Vec::new()
    });
    let lane = door.lane(Duration::from_millis(200));
    let begun = Instant::now();
    let answer: Result<Value, Error> = lane.call(Method::GetBlockchainInfo, &[]);
    assert!(matches!(answer, Err(Error::Silent { .. })));
    assert!(begun.elapsed() < Duration::from_secs(2));
    let nobody = NodeSettings {
        // The discard port: nothing listens there.
        address: ([127, 0, 0, 1], 9).into(),
        ..door.settings()
    };
    let answer: Result<Value, Error> =
        Lane::new(&nobody, Duration::from_secs(20), 1).call(Method::GetBlockchainInfo, &[]);
    assert_eq!(
        answer.unwrap_err().to_string(),
        "connect to the node at 127.0.0.1:9: connection refused; start bitcoind, or name its address with --node-rpc"
    );
}

#[test]
fn an_answer_that_trickles_in_does_not_outlive_the_deadline() {
    let door = Door::to(|_, _| b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec());
    let lane = door.lane(Duration::from_millis(200));
    let begun = Instant::now();
    let answer: Result<Value, Error> = lane.call(Method::GetBlockchainInfo, &[]);
    assert!(matches!(answer, Err(Error::Silent { .. })));
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_closed_lane_breaks_off_what_is_under_way() {
    let door = Door::to(|_, _| {
        std::thread::sleep(Duration::from_secs(20));
        Vec::new()
    });
    let lane = door.lane(Duration::from_secs(20));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| lane.call::<Value>(Method::WaitForNewBlock, &[]).is_err());
        while door.fake.seen().is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        lane.close();
        assert!(call.join().unwrap());
    });
    assert!(lane.call::<Value>(Method::WaitForNewBlock, &[]).is_err());
    assert!(begun.elapsed() < Duration::from_secs(5));
}

/// The answers to a batch, in the order that `order` makes of them.
fn batch_answer(seen: &Seen, order: impl Fn(&mut Vec<Value>)) -> Vec<u8> {
    let requests = seen.body.as_array().unwrap();
    let mut answers: Vec<_> = requests
        .iter()
        .map(|request| match request["params"][0].as_u64() {
            Some(height) if height < 5 => {
                let hash = format!("{height:064x}");
                json!({"jsonrpc": "2.0", "result": hash, "id": request["id"]})
            }
            _ => json!({"jsonrpc": "2.0", "error": {"code": -8, "message": CANARY}, "id": request["id"]}),
        })
        .collect();
    order(&mut answers);
    http("200 OK", Value::from(answers).to_string())
}

#[test]
fn a_batch_is_put_in_order_and_what_the_node_lacks_is_none() {
    let door = Door::to(|seen, _| batch_answer(seen, |answers| answers.reverse()));
    let node = Node::new(&door.settings());
    let heights = [4, 5, 0].map(Height);
    let hashes = node.block_hashes(&heights).unwrap();
    let found: Vec<_> = hashes
        .iter()
        .map(|hash| hash.map(|hash| hash.to_string().ends_with('4')))
        .collect();
    assert_eq!(found, [Some(true), None, Some(false)]);
    assert_eq!(door.fake.seen().len(), 1);
    assert_eq!(node.block_hashes(&[]).unwrap(), []);
}

#[test]
fn a_batch_with_answers_missing_doubled_or_foreign_is_no_answer() {
    let orders: [fn(&mut Vec<Value>); 3] = [
        |answers| drop(answers.pop()),
        |answers| answers[1] = answers[0].clone(),
        |answers| answers[1]["id"] = json!("other"),
    ];
    for order in orders {
        let door = Door::to(move |seen, _| batch_answer(seen, order));
        let node = Node::new(&door.settings());
        let answer = node.block_hashes(&[0, 1].map(Height));
        assert!(matches!(answer, Err(Error::Garbled { .. })));
    }
}

#[test]
fn a_batch_whose_answer_is_too_large_is_halved() {
    let door = Door::to(|seen, _| match seen.body.as_array().unwrap().len() {
        1 => batch_answer(seen, |_| {}),
        _ => http("200 OK", vec![b' '; 64 * 1024 * 1024 + 1]),
    });
    let node = Node::new(&door.settings());
    let hashes = node.block_hashes(&[0, 1, 2].map(Height)).unwrap();
    assert!(hashes.iter().all(Option::is_some));
    let sizes: Vec<_> = door
        .fake
        .seen()
        .iter()
        .map(|seen| seen.body.as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [3, 1, 2, 1, 1]);
}

#[test]
fn a_sender_tells_the_node_s_verdict_on_a_transaction_from_trouble_with_the_node() {
    let transaction = RawTransaction::new(vec![0xab, 0xcd]);
    for (code, of_transaction) in [
        (-22, true),
        (-25, true),
        (-26, true),
        (-27, true),
        (-28, false),
        (-1, false),
        (-32601, false),
    ] {
        let door = Door::to(move |seen, _| rpc_error(seen, code, "500 Internal Server Error"));
        let error = Sender::new(&door.settings())
            .send(&transaction)
            .unwrap_err();
        assert!(!format!("{error:?}").contains(CANARY));
        match error {
            SendError::Rejected(reason) => assert!(of_transaction && reason.expose() == CANARY),
            SendError::Node(_) => assert!(!of_transaction),
        }
        let body = &door.fake.seen()[0].body;
        assert_eq!(
            (&body["method"], &body["params"]),
            (&json!("sendrawtransaction"), &json!(["abcd"]))
        );
    }
    let door = Door::to(|seen, _| result(seen, &json!("00ff")));
    assert!(Sender::new(&door.settings()).send(&transaction).is_ok());
}

#[test]
fn a_header_or_block_other_than_the_one_asked_for_is_no_answer() {
    let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
    let header = bitcoin::consensus::encode::serialize_hex(&genesis.header);
    let block = bitcoin::consensus::encode::serialize_hex(&genesis);
    let door = Door::to(move |seen, _| {
        let request = &seen.body[0];
        let answer = match (
            request["method"].as_str().unwrap(),
            request["params"][1].as_bool(),
        ) {
            ("getblockheader", Some(false)) => json!(header),
            ("getblockheader", _) => json!({"nTx": 1}),
            _ => json!(block),
        };
        let answers = json!([{"result": answer, "error": null, "id": request["id"]}]);
        http("200 OK", answers.to_string())
    });
    let node = Node::new(&door.settings());
    let asked = [genesis.block_hash()];
    assert_eq!(node.headers(&asked).unwrap(), [Some(genesis.header)]);
    assert_eq!(node.blocks(&asked).unwrap()[0].block, genesis);
    let other = [bitcoin::constants::genesis_block(bitcoin::Network::Signet).block_hash()];
    assert!(matches!(node.headers(&other), Err(Error::Garbled { .. })));
    assert!(matches!(node.blocks(&other), Err(Error::Garbled { .. })));
}

/// What a judge makes of this answer to `testmempoolaccept`, and what it asked.
fn judged(
    answer: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static,
) -> (Result<Judgement, Error>, Value) {
    let door = Door::to(move |seen, _| answer(seen));
    let judgement = Judge::new(&door.settings()).test(&[0xab, 0xcd], FeeRate(10_000_000));
    (judgement, door.fake.seen()[0].body.clone())
}

#[test]
fn a_judge_tells_the_node_s_verdict_on_a_transaction_from_trouble_with_the_node() {
    let acceptable = |seen: &Seen| result(seen, &json!([{"allowed": true, "txid": CANARY}]));
    let (judgement, asked) = judged(acceptable);
    assert!(matches!(judgement, Ok(Judgement::Acceptable)));
    assert_eq!(asked["method"], "testmempoolaccept");
    assert_eq!(asked["params"], json!([["abcd"], "0.1"]));
    let canary = |judgement: &Result<Judgement, Error>| {
        assert!(!format!("{judgement:?}").contains(CANARY));
        matches!(judgement, Ok(Judgement::Rejected(reason)) if reason.expose() == CANARY)
    };
    let refused = json!([{"allowed": false, "reject-reason": CANARY}]);
    assert!(canary(&judged(move |seen| result(seen, &refused)).0));
    for (code, of_transaction) in [(-22, true), (-25, true), (-28, false), (-8, false)] {
        let judgement = judged(move |seen| rpc_error(seen, code, "500 Internal Server Error")).0;
        assert_eq!(canary(&judgement), of_transaction);
        assert_eq!(judgement.is_err(), !of_transaction);
    }
    for answer in [json!([]), json!([{}]), json!(CANARY)] {
        let judgement = judged(move |seen| result(seen, &answer)).0;
        assert!(matches!(judgement, Err(Error::Garbled { .. })));
    }
}

#[test]
fn a_judge_asks_for_all_transactions_at_once() {
    let door = Door::to(|seen, _| {
        let requests = seen.body.as_array().unwrap().iter();
        let answers: Vec<_> = requests
            .map(|request| match request["params"][0].as_str().unwrap() {
                txid if txid.starts_with("01") => json!({"result": {}, "id": request["id"]}),
                _ => json!({"error": {"code": -5, "message": CANARY}, "id": request["id"]}),
            })
            .collect();
        http("200 OK", Value::from(answers).to_string())
    });
    let judge = Judge::new(&door.settings());
    let txids = [[1; 32], [2; 32], [1; 32]].map(Txid::from_byte_array);
    assert_eq!(judge.in_mempool(&txids).unwrap(), [true, false, true]);
    let seen = door.fake.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].body[0]["method"], "getmempoolentry");
    assert!(judge.in_mempool(&[]).unwrap().is_empty());
}
