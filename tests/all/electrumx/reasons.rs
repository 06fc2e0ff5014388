//! The differences that have a reason, each with method and kind of argument.
//!
//! A difference that nothing here explains fails the test, and so does a method with a kind that explains none any
//! more.

use serde_json::Value;

use super::arguments::Kind;
use super::explained::Difference::{Codes, Results, TheyRefuse, WeRefuse};
use super::explained::Reason;
use super::openings::{LATER, OPENING};
use super::results;

const INVALID_PARAMS: i64 = -32602;
const INVALID_REQUEST: i64 = -32600;
const UNKNOWN_METHOD: i64 = -32601;
const BAD_REQUEST: i64 = 1;
const NODE: i64 = 2;

const SCRIPTS: &[&str] = &[
    "blockchain.scripthash.get_balance",
    "blockchain.scripthash.get_history",
    "blockchain.scripthash.get_mempool",
    "blockchain.scripthash.listunspent",
    "blockchain.scripthash.subscribe",
    "blockchain.scripthash.unsubscribe",
];
/// Those of them that list transactions.
const LISTS: &[&str] = &[
    "blockchain.scripthash.get_history",
    "blockchain.scripthash.get_mempool",
    "blockchain.scripthash.listunspent",
    "blockchain.scripthash.subscribe",
];
const NO_ARGUMENTS: &[&str] = &[
    "blockchain.headers.subscribe",
    "blockchain.relayfee",
    "mempool.get_fee_histogram",
    "mempool.get_info",
    "server.banner",
    "server.donation_address",
    "server.features",
    "server.peers.subscribe",
    "server.ping",
];
/// Some versions have none of these; the first is in none.
const OFTEN_UNKNOWN: &[&str] = &[
    "blockchain.nothing",
    "blockchain.relayfee",
    "mempool.get_info",
    PACKAGE,
];
const UNSPENT: &str = "blockchain.scripthash.listunspent";
const UNSUBSCRIBE: &str = "blockchain.scripthash.unsubscribe";
const HEADER: &str = "blockchain.block.header";
const HEADERS: &str = "blockchain.block.headers";
const GET: &str = "blockchain.transaction.get";
const MERKLE: &str = "blockchain.transaction.get_merkle";
const FROM_POSITION: &str = "blockchain.transaction.id_from_pos";
const BROADCAST: &str = "blockchain.transaction.broadcast";
const PACKAGE: &str = "blockchain.transaction.broadcast_package";
const FEE: &str = "blockchain.estimatefee";

/// Without any bytes in them.
const NO_HEX: &[Kind] = &[
    "a list",
    "a number",
    "a word",
    "an object",
    "half a byte short",
    "not all hex",
    "null",
    "true",
    "with 0x",
];
const WRONG_LENGTH: &[Kind] = &["a byte long", "a byte short", "an empty string"];
const SPACES: &[Kind] = &["with a space", "with a space before"];
const NO_NUMBER: &[Kind] = &["a list", "a word", "an object", "negative", "null"];
const NO_NUMBER_OR_NONE: &[Kind] = &["a list", "a word", "an object", "negative"];
const LIKE_A_NUMBER: &[Kind] = &[
    "digits in a string",
    "true",
    "with a fraction",
    "with a fraction of zero",
];
const TOO_LARGE: &[Kind] = &["beyond 32 bits", "beyond 63 bits"];
const VERSIONS: &[Kind] = &["1.4", "1.4.2", "1.6"];

pub(super) const REASONS: &[Reason] = &[
    Reason {
        why: "arguments of the wrong form or range have the code of JSON-RPC here, and 1 there",
        difference: Codes {
            ours: INVALID_PARAMS,
            theirs: BAD_REQUEST,
        },
        classes: &[
            (SCRIPTS, "scripthash", NO_HEX),
            (SCRIPTS, "scripthash", WRONG_LENGTH),
            (&[HEADER, MERKLE, FROM_POSITION], "height", NO_NUMBER),
            (&[HEADER, MERKLE, FROM_POSITION], "height", TOO_LARGE),
            (&[FROM_POSITION], "tx_pos", NO_NUMBER),
            (
                &[FROM_POSITION],
                "merkle",
                &["a list", "a word", "an object"],
            ),
            (&[MERKLE], "height", LIKE_A_NUMBER),
            (&[HEADERS], "start_height", NO_NUMBER),
            (&[HEADERS], "count", NO_NUMBER),
            (&[HEADER, HEADERS], "cp_height", NO_NUMBER_OR_NONE),
            (&[HEADER, HEADERS], "cp_height", TOO_LARGE),
            (&[HEADER, HEADERS], "cp_height", LIKE_A_NUMBER),
            (&[GET, MERKLE], "tx_hash", NO_HEX),
            (&[GET, MERKLE], "tx_hash", WRONG_LENGTH),
            (&[MERKLE], "tx_hash", SPACES),
            (&[GET], "verbose", &["a list", "a word", "an object"]),
            (&[BROADCAST], "raw_tx", NO_HEX),
            (&[BROADCAST], "raw_tx", SPACES),
            (
                &[PACKAGE],
                "raw_txs",
                &["a number", "a word", "an object", "null", "true"],
            ),
            (&[FEE], "number", NO_NUMBER),
            (&[FEE], "mode", &["a word", "an empty string", "of no name"]),
        ],
    },
    Reason {
        why: "they take for a number, for hex or for nothing what Python can make one of",
        difference: WeRefuse(INVALID_PARAMS),
        classes: &[
            (SCRIPTS, "scripthash", SPACES),
            (&[HEADER, FROM_POSITION], "height", LIKE_A_NUMBER),
            (&[FROM_POSITION], "tx_pos", LIKE_A_NUMBER),
            (&[FROM_POSITION], "merkle", &["0", "1"]),
            (&[HEADERS], "start_height", LIKE_A_NUMBER),
            (&[HEADERS], "count", LIKE_A_NUMBER),
            (&[GET], "verbose", &["0", "1"]),
            (
                &[PACKAGE],
                "verbose",
                &["0", "1", "a list", "a word", "an object"],
            ),
            (&[FEE], "number", LIKE_A_NUMBER),
            (&[FEE], "mode", &["a list", "a number", "an object", "true"]),
        ],
    },
    Reason {
        why: "they let the node refuse a transaction id with a space",
        difference: Codes {
            ours: INVALID_PARAMS,
            theirs: NODE,
        },
        classes: &[(&[GET], "tx_hash", SPACES)],
    },
    Reason {
        why: "no height has more than 32 bits here; there are no headers above the tip there",
        difference: WeRefuse(INVALID_PARAMS),
        classes: &[(&[HEADERS], "start_height", TOO_LARGE)],
    },
    Reason {
        why: "nothing can be mined within no blocks; they ask the node about one",
        difference: WeRefuse(INVALID_PARAMS),
        classes: &[(&[FEE], "number", &["zero"])],
    },
    Reason {
        why: "null stands for an argument that is left out",
        difference: TheyRefuse(BAD_REQUEST),
        classes: &[
            (&[HEADER, HEADERS], "cp_height", &["null"]),
            (&[GET], "verbose", &["null"]),
            (&[FROM_POSITION], "merkle", &["null"]),
        ],
    },
    Reason {
        why: "null stands for no arguments",
        difference: TheyRefuse(INVALID_PARAMS),
        classes: &[(NO_ARGUMENTS, "arguments", &["null"])],
    },
    Reason {
        why: "null stands for no arguments",
        difference: Codes {
            ours: BAD_REQUEST,
            theirs: INVALID_PARAMS,
        },
        classes: &[(&["server.version"], "arguments", &["null"])],
    },
    Reason {
        why: "a method that is not there is told before its arguments are looked at",
        difference: Codes {
            ours: UNKNOWN_METHOD,
            theirs: INVALID_PARAMS,
        },
        classes: &[(OFTEN_UNKNOWN, "arguments", &["a number", "a word", "null"])],
    },
    Reason {
        why: "no peer is ever taken, however it is offered",
        difference: TheyRefuse(INVALID_PARAMS),
        classes: &[(
            &["server.add_peer"],
            "arguments",
            &["one too few", "left out", "null"],
        )],
    },
    Reason {
        why: "unsubscribing is served to clients of 1.4 too",
        difference: TheyRefuse(UNKNOWN_METHOD),
        classes: &[(&[UNSUBSCRIBE], "version", &["1.4"])],
    },
    Reason {
        why: "unsubscribing is served to clients of 1.4 too",
        difference: Codes {
            ours: INVALID_PARAMS,
            theirs: UNKNOWN_METHOD,
        },
        classes: &[(&[UNSUBSCRIBE], "version", &["1.4"])],
    },
    Reason {
        why: "they keep unconfirmed transactions for scripts with OP_RETURN, and none once confirmed",
        difference: Results(results::we_have_none),
        classes: &[(LISTS, "scripthash", &["of an unconfirmed OP_RETURN output"])],
    },
    Reason {
        why: "they list unconfirmed outputs in any order",
        difference: Results(results::same_but_for_the_order_of_what_is_unconfirmed),
        classes: &[(&[UNSPENT], "scripthash", &["with unconfirmed outputs"])],
    },
    Reason {
        why: "they cannot find the transactions of the genesis block",
        difference: TheyRefuse(BAD_REQUEST),
        classes: &[
            (&[MERKLE], "tx_hash", &["genesis coinbase"]),
            (&[FROM_POSITION], "height", &["genesis"]),
        ],
    },
    Reason {
        why: "they ask the node, which does not give the transaction of the genesis block",
        difference: TheyRefuse(NODE),
        classes: &[(&[GET], "tx_hash", &["genesis coinbase"])],
    },
    Reason {
        why: "what is in the chain is taken for sent: a wallet that lost the answer asks again",
        difference: TheyRefuse(BAD_REQUEST),
        classes: &[(
            &[BROADCAST],
            "raw_tx",
            &[
                "coinbase, with unspent outputs",
                "confirmed, with unspent outputs",
            ],
        )],
    },
    Reason {
        why: "the fee rates at which to divide are each server's choice",
        difference: Results(results::same_staircase),
        classes: &[(&["mempool.get_fee_histogram"], "version", VERSIONS)],
    },
    Reason {
        why: "the text is each server's own",
        difference: Results(|ours, theirs| ours.is_string() && theirs.is_string()),
        classes: &[(&["server.banner"], "version", VERSIONS)],
    },
    Reason {
        why: "they tell their services, which the protocol does not know, and write 1.6 as 1.6.0",
        difference: Results(results::same_but_for_services),
        classes: &[(&["server.features"], "version", VERSIONS)],
    },
    // Packages.
    Reason {
        why: "what is in the chain is taken for sent: a wallet that lost the answer asks again",
        difference: Results(|ours, theirs| ours["success"] == true && theirs["success"] == false),
        classes: &[(&[PACKAGE], "raw_txs", &["confirmed, with unspent outputs"])],
    },
    Reason {
        why: "why a transaction is refused is told in texts of each server's own",
        difference: Results(results::same_package_but_for_texts),
        classes: &[(
            &[PACKAGE],
            "raw_txs",
            &[
                "coinbase, spent",
                "coinbase, with unspent outputs",
                "confirmed, spent",
            ],
        )],
    },
    Reason {
        why: "they repeat all that the node says of a package; we say what we know of it",
        difference: Results(results::same_package_told_in_less_words),
        classes: &[(&[PACKAGE], "verbose", &["true"])],
    },
    // Sessions and lines.
    Reason {
        why: "a client that says no version is served as 1.4",
        difference: Results(|ours, theirs| {
            ours["goes on"] == true && *theirs == results::refused(BAD_REQUEST, false)
        }),
        classes: &[(
            &[OPENING],
            "line",
            &["no version", "no version, unknown method"],
        )],
    },
    Reason {
        why: "there is no 1.5",
        difference: Results(|ours, theirs| {
            *ours == results::refused(BAD_REQUEST, false) && theirs["goes on"] == true
        }),
        classes: &[(&[OPENING], "line", &["1.5", "from 1.5 to 1.5.3"])],
    },
    Reason {
        why: "they write 1.6 as 1.6.0",
        difference: Results(|ours, theirs| {
            let version = |said: &Value| said["said"][0]["result"][1].clone();
            version(ours) == "1.6" && version(theirs) == "1.6.0"
        }),
        classes: &[(&[OPENING], "line", &["1.6.0", "from 1.6 to beyond"])],
    },
    Reason {
        why: "requests of older JSON-RPC are answered",
        difference: Results(|ours, theirs| {
            ours["said"][0]["result"] == "" && *theirs == results::refused(INVALID_REQUEST, true)
        }),
        classes: &[(&[LATER], "line", &["jsonrpc 1.0", "without jsonrpc"])],
    },
    Reason {
        why: "any id is an id, and comes back as it came",
        difference: Results(|ours, theirs| {
            ours["said"][0]["result"] == "" && theirs["said"][0]["result"].is_null()
        }),
        classes: &[(&[LATER], "line", &["an id of a list", "an id of null"])],
    },
    Reason {
        why: "what is no request is told so; they are silent",
        difference: Results(|ours, theirs| {
            let silent = theirs["said"].as_array().is_some_and(Vec::is_empty);
            ours["said"][0]["error"] == INVALID_REQUEST && silent
        }),
        classes: &[(
            &[LATER],
            "line",
            &[
                "a reply nobody waits for",
                "an empty object",
                "without a method",
            ],
        )],
    },
    Reason {
        why: "what is no request is told so; they look for the method",
        difference: Results(|ours, theirs| {
            *ours == results::refused(INVALID_REQUEST, true)
                && *theirs == results::refused(UNKNOWN_METHOD, true)
        }),
        classes: &[(&[LATER], "line", &["a method that is a number"])],
    },
];
