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

fn newest(answer: &Answer) -> String {
    json(answer, ProtocolVersion::V1_7)
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
fn lists_of_a_script_are_objects_from_1_7_on() {
    let hash = shown();
    let history = Answer::History(vec![HistoryRow {
        txid: txid(),
        height: EntryHeight::Unconfirmed,
        fee: Some(200),
    }]);
    assert_eq!(
        newest(&history),
        format!(r#"{{"history":[{{"tx_hash":"{hash}","height":0,"fee":200}}]}}"#)
    );
    assert_eq!(newest(&Answer::History(vec![])), r#"{"history":[]}"#);
    let unspent = Answer::Unspent(vec![UnspentRow {
        txid: txid(),
        vout: 3,
        height: Some(Height(7)),
        value: 5,
    }]);
    assert_eq!(
        newest(&unspent),
        format!(r#"{{"utxos":[{{"tx_hash":"{hash}","tx_pos":3,"height":7,"value":5}}]}}"#)
    );
}

#[test]
fn an_outpoint_has_the_keys_of_what_is_known_of_it() {
    let standing = |funder, spender: Option<EntryHeight>| {
        newest(&Answer::Outpoint(OutpointStatus {
            funder,
            spender: spender.map(|height| HistoryEntry {
                txid: txid(),
                height,
            }),
        }))
    };
    let confirmed = Some(EntryHeight::Confirmed(Height(7)));
    assert_eq!(standing(None, None), "{}");
    assert_eq!(standing(confirmed, None), r#"{"funder_height":7}"#);
    let unconfirmed = Some(EntryHeight::Unconfirmed);
    assert_eq!(standing(unconfirmed, None), r#"{"funder_height":0}"#);
    let hash = shown();
    assert_eq!(
        standing(confirmed, Some(EntryHeight::UnconfirmedParents)),
        format!(r#"{{"funder_height":7,"spender_txhash":"{hash}","spender_height":-1}}"#)
    );
}

#[test]
fn a_pong_has_as_many_digits_as_were_asked_for() {
    for length in [0, 1, 63, 64, 65, 1000] {
        let json = serde_json::to_string(&Pong::of(length)).unwrap();
        assert_eq!(json, format!(r#"{{"data":"{}"}}"#, "0".repeat(length)));
    }
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
