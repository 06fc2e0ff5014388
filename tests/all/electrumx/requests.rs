//! The requests that both servers are asked: every method with every kind of every argument, and any number of
//! sensible ones.

use std::ops::Range;

use anyhow::Result;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use serde_json::{Value, json};

use super::arguments::{Kind, Sort};
use super::surroundings::Surroundings;

/// A request, and what is special about it.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: &'static str,
    /// Each argument with its kind; `version` is that of the session, `arguments` is how they are passed.
    pub(super) kinds: Vec<(&'static str, Kind)>,
    /// The one argument that need not be sensible.
    pub(super) special: Option<(&'static str, Kind)>,
    /// `None` leaves the member out.
    pub(super) params: Option<Value>,
}

impl Request {
    /// Of a transaction that nobody has seen.
    pub(super) fn sending(raw: &str) -> Self {
        Self {
            method: "blockchain.transaction.broadcast",
            kinds: vec![("raw_tx", "new")],
            special: Some(("raw_tx", "new")),
            params: Some(json!([raw])),
        }
    }

    /// The kinds of its arguments, without how they are passed and in which version.
    pub(super) fn sensible_kinds(&self) -> String {
        let of_arguments = self.kinds.iter();
        let of_arguments =
            of_arguments.filter(|(argument, _)| !["arguments", "version"].contains(argument));
        let shown = of_arguments.map(|(argument, kind)| format!("{argument}: {kind}"));
        shown.collect::<Vec<_>>().join(", ")
    }

    pub(super) fn unsubscribes(&self) -> bool {
        self.method == "blockchain.scripthash.unsubscribe"
    }
}

struct Method {
    name: &'static str,
    arguments: &'static [(&'static str, Sort)],
}

/// All methods of the protocol's versions 1.4 to 1.6, and one that is none.
const METHODS: &[Method] = &[
    method("server.version", &[]),
    method("server.features", &[]),
    method("server.banner", &[]),
    method("server.donation_address", &[]),
    method("server.ping", &[]),
    method("server.peers.subscribe", &[]),
    method("server.add_peer", &[("features", Sort::Features)]),
    method("blockchain.headers.subscribe", &[]),
    method("blockchain.block.header", &[HEIGHT, CHECKPOINT]),
    method(
        "blockchain.block.headers",
        &[
            ("start_height", Sort::Height),
            ("count", Sort::Count),
            CHECKPOINT,
        ],
    ),
    method("blockchain.scripthash.get_balance", &[SCRIPT]),
    method("blockchain.scripthash.get_history", &[SCRIPT]),
    method("blockchain.scripthash.get_mempool", &[SCRIPT]),
    method("blockchain.scripthash.listunspent", &[SCRIPT]),
    method("blockchain.scripthash.subscribe", &[SCRIPT]),
    method("blockchain.scripthash.unsubscribe", &[SCRIPT]),
    method(
        "blockchain.transaction.get",
        &[TXID, ("verbose", Sort::Flag)],
    ),
    method(
        "blockchain.transaction.get_merkle",
        &[TXID, ("height", Sort::HeightOfTransaction)],
    ),
    method(
        "blockchain.transaction.id_from_pos",
        &[HEIGHT, ("tx_pos", Sort::Position), ("merkle", Sort::Flag)],
    ),
    method("blockchain.transaction.broadcast", &[("raw_tx", Sort::Raw)]),
    method(
        "blockchain.transaction.broadcast_package",
        &[("raw_txs", Sort::RawList), ("verbose", Sort::Flag)],
    ),
    method(
        "blockchain.estimatefee",
        &[("number", Sort::Target), ("mode", Sort::Mode)],
    ),
    method("blockchain.relayfee", &[]),
    method("mempool.get_info", &[]),
    method("mempool.get_fee_histogram", &[]),
    method("blockchain.nothing", &[SCRIPT]),
];

const SCRIPT: (&str, Sort) = ("scripthash", Sort::ScriptHash);
const TXID: (&str, Sort) = ("tx_hash", Sort::Txid);
const HEIGHT: (&str, Sort) = ("height", Sort::Height);
const CHECKPOINT: (&str, Sort) = ("cp_height", Sort::Checkpoint);

const fn method(name: &'static str, arguments: &'static [(&'static str, Sort)]) -> Method {
    Method { name, arguments }
}

/// Of the kinds of a sort, the one that gets on with whatever the other arguments are.
const PLAIN: usize = 0;

/// Every kind of every argument of every method once, the other arguments being plain; then `more` sensible
/// requests. In any order.
pub(super) fn requests(
    around: &Surroundings,
    version: Kind,
    more: usize,
    random: &mut StdRng,
) -> Vec<Request> {
    let mut requests = Vec::new();
    for method in METHODS {
        requests.extend(method.with_odd_lists(around, random));
        for (index, (_, sort)) in method.arguments.iter().enumerate() {
            for kind in 0..sort.kinds(around, &json!(0), random).0.len() {
                requests.push(method.request(around, Some((index, kind)), random));
            }
        }
    }
    for _ in 0..more {
        let method = METHODS.choose(random).expect("methods");
        requests.push(method.request(around, None, random));
    }
    requests.shuffle(random);
    for request in &mut requests {
        request.kinds.push(("version", version));
    }
    requests
}

impl Method {
    /// A request of sensible arguments, or one of plain ones but for one that is the `kind`th of its sort.
    fn request(
        &self,
        around: &Surroundings,
        special: Option<(usize, usize)>,
        random: &mut StdRng,
    ) -> Request {
        let mut kinds = Vec::new();
        let mut values = Vec::new();
        let mut before = Value::Null;
        for (index, (name, sort)) in self.arguments.iter().enumerate() {
            let is_special = special.is_some_and(|(at, _)| at == index);
            let left_out = special.is_some() || random.random_bool(0.5);
            if sort.may_be_absent() && !is_special && left_out {
                kinds.push((*name, "absent"));
                break;
            }
            let (mut of_sort, sensible) = sort.kinds(around, &before, random);
            let chosen = match special {
                Some((at, kind)) if at == index => kind,
                Some(_) => PLAIN,
                None => random.random_range(0..sensible),
            };
            let (kind, value) = of_sort.swap_remove(chosen);
            kinds.push((*name, kind));
            before = if matches!(sort, Sort::Count) {
                last_of(&before, &value, around)
            } else {
                value.clone()
            };
            values.push((*name, value));
        }
        let (style, params) = if values.is_empty() {
            no_arguments(random)
        } else if random.random_bool(0.3) {
            let named = values
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value));
            ("by name", Some(Value::Object(named.collect())))
        } else {
            let listed: Vec<Value> = values.into_iter().map(|(_, value)| value).collect();
            ("by position", Some(Value::Array(listed)))
        };
        kinds.push(("arguments", style));
        Request {
            method: self.name,
            special: special.and_then(|(at, _)| kinds.get(at).copied()),
            kinds,
            params,
        }
    }

    /// Too few arguments, too many, with a wrong name, and what is no list of arguments.
    fn with_odd_lists(&self, around: &Surroundings, random: &mut StdRng) -> Vec<Request> {
        let mut values = Vec::new();
        for (name, sort) in self.arguments {
            let before = values
                .last()
                .map_or(Value::Null, |(_, value): &(_, Value)| value.clone());
            let (mut kinds, _) = sort.kinds(around, &before, random);
            values.push((*name, kinds.swap_remove(PLAIN).1));
        }
        let list: Vec<Value> = values.iter().map(|(_, value)| value.clone()).collect();
        let mut named: serde_json::Map<String, Value> = values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        let needed = self
            .arguments
            .iter()
            .filter(|(_, sort)| !sort.may_be_absent())
            .count();
        let mut odd = vec![
            (
                "one too many",
                Some(json!([list.as_slice(), &[json!(0)]].concat())),
            ),
            ("a word", Some(json!("word"))),
            ("a number", Some(json!(7))),
            ("null", Some(Value::Null)),
        ];
        if needed > 0 {
            odd.push(("one too few", Some(json!(list[..needed - 1]))));
            odd.push(("left out", None));
        }
        named.insert("surprise".to_owned(), json!(0));
        odd.push(("with a name too many", Some(Value::Object(named))));
        odd.into_iter()
            .map(|(kind, params)| Request {
                method: self.name,
                kinds: vec![("arguments", kind)],
                special: Some(("arguments", kind)),
                params,
            })
            .collect()
    }
}

fn no_arguments(random: &mut StdRng) -> (Kind, Option<Value>) {
    let ways = [
        ("by position", Some(json!([]))),
        ("by name", Some(json!({}))),
        ("left out", None),
    ];
    ways.choose(random).cloned().expect("ways")
}

/// The height of the last header that is asked for.
fn last_of(start: &Value, count: &Value, around: &Surroundings) -> Value {
    let start = start.as_u64().unwrap_or_default().min(around.tip);
    let count = count.as_u64().unwrap_or_default().clamp(1, 2016);
    json!((start + count - 1).min(around.tip))
}

/// Some requests of a session as lines, some of them together in a batch; the ids are their places.
pub(super) fn lines(
    requests: &[Request],
    places: Range<usize>,
    random: &mut StdRng,
) -> Result<String> {
    let mut lines = String::new();
    let mut id = places.start;
    while id < places.end {
        let together = if random.random_bool(0.1) {
            random.random_range(1..12)
        } else {
            0
        };
        let end = (id + together.max(1)).min(places.end);
        let members: Vec<Value> = (id..end).map(|id| message(&requests[id], id)).collect();
        let line = if together == 0 {
            serde_json::to_string(&members[0])?
        } else {
            serde_json::to_string(&members)?
        };
        lines.push_str(&line);
        lines.push('\n');
        id = end;
    }
    Ok(lines)
}

fn message(request: &Request, id: usize) -> Value {
    let mut message = json!({ "jsonrpc": "2.0", "id": id, "method": request.method });
    if let Some(params) = &request.params {
        message["params"] = params.clone();
    }
    message
}
