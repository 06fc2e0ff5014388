//! Arguments of every kind, each with the name of its kind.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngExt as _};
use serde_json::{Value, json};

use super::surroundings::Surroundings;

/// What a kind of argument is called in the list of explained differences.
pub(super) type Kind = &'static str;

/// What an argument is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    ScriptHash,
    Txid,
    /// Of a block.
    Height,
    /// Of the block that the transaction before it is in.
    HeightOfTransaction,
    /// Of a block up to which a header is proved; may be left out.
    Checkpoint,
    /// Of headers.
    Count,
    /// In the block whose height stands before it.
    Position,
    /// Blocks within which a transaction is to be mined.
    Target,
    /// Of estimating; may be left out.
    Mode,
    /// May be left out.
    Flag,
    Raw,
    RawList,
    /// A server's description of itself.
    Features,
}

impl Sort {
    pub(super) fn may_be_absent(self) -> bool {
        matches!(self, Self::Checkpoint | Self::Mode | Self::Flag)
    }

    /// Every kind there is in these surroundings, with a value of it; `before` is the argument in front of it.
    /// The sensible ones come first; their number is the second result.
    pub(super) fn kinds(
        self,
        around: &Surroundings,
        before: &Value,
        random: &mut StdRng,
    ) -> (Vec<(Kind, Value)>, usize) {
        let mut kinds = self.sensible(around, before, random);
        let sensible = kinds.len();
        kinds.extend(self.odd(around, random));
        kinds.extend(
            WRONG_TYPES
                .iter()
                .filter(|(kind, _)| !self.takes(kind))
                .map(|(kind, value)| (*kind, value())),
        );
        (kinds, sensible)
    }

    fn sensible(
        self,
        around: &Surroundings,
        before: &Value,
        random: &mut StdRng,
    ) -> Vec<(Kind, Value)> {
        match self {
            Self::ScriptHash => one_of_each(&around.script_hashes, 32, random),
            Self::Txid => one_of_each(&around.txids, 32, random),
            Self::Raw => one_of_each(&around.raw, 60, random),
            Self::Height => heights(around, random),
            Self::HeightOfTransaction | Self::Checkpoint | Self::Count | Self::Position => {
                self.in_the_chain(around, before, random)
            }
            Self::Target => vec![
                ("one", json!(1)),
                ("some", json!(random.random_range(2..1008))),
                ("above 1008", json!(random.random_range(1009..100_000))),
                ("beyond 32 bits", json!(u64::from(u32::MAX) + 2)),
            ],
            Self::Mode => vec![
                ("CONSERVATIVE", json!("CONSERVATIVE")),
                ("ECONOMICAL", json!("ECONOMICAL")),
                ("economical", json!("economical")),
            ],
            Self::Flag => vec![("false", json!(false)), ("true", json!(true))],
            Self::RawList => packages(around, random),
            Self::Features => vec![("of a server", features())],
        }
    }

    /// Heights, counts and positions that depend on the argument before.
    fn in_the_chain(
        self,
        around: &Surroundings,
        before: &Value,
        random: &mut StdRng,
    ) -> Vec<(Kind, Value)> {
        let tip = around.tip;
        let height = before.as_u64().unwrap_or_default().min(tip);
        let mut below = |range: std::ops::RangeInclusive<u64>| json!(random.random_range(range));
        match self {
            Self::HeightOfTransaction => {
                let own = before.as_str().and_then(|txid| around.places.get(txid));
                let own = own.map_or(0, |(height, _)| *height);
                let other = below(1..=tip).as_u64().unwrap_or_default();
                vec![
                    ("its own", json!(own)),
                    ("the one before", json!(own.saturating_sub(1))),
                    ("another", json!((own + other) % (tip + 1))),
                ]
            }
            Self::Checkpoint => vec![
                ("zero", json!(0)),
                ("the tip", json!(tip)),
                ("the height itself", json!(height)),
                ("in between", below(height..=tip)),
            ],
            Self::Count => vec![
                ("one", json!(1)),
                ("some", below(2..=60)),
                ("none", json!(0)),
                ("2016", json!(2016)),
                ("above 2016", below(2017..=100_000)),
                ("beyond 32 bits", json!(u64::from(u32::MAX) + 2)),
            ],
            Self::Position => {
                let size = around.sizes[usize::try_from(height).unwrap_or_default()];
                vec![
                    ("first", json!(0)),
                    ("within", below(0..=size - 1)),
                    ("last", json!(size - 1)),
                    ("behind the last", json!(size)),
                    ("far behind the last", below(10_000..=1 << 31)),
                ]
            }
            Self::Height
            | Self::ScriptHash
            | Self::Txid
            | Self::Target
            | Self::Mode
            | Self::Flag
            | Self::Raw
            | Self::RawList
            | Self::Features => Vec::new(),
        }
    }

    fn odd(self, around: &Surroundings, random: &mut StdRng) -> Vec<(Kind, Value)> {
        let tip = around.tip;
        let mut kinds = match self {
            Self::ScriptHash => of_hex(&around.script_hashes["confirmed"], random),
            Self::Txid => of_hex(&around.txids["confirmed"], random),
            Self::Raw => of_hex(&around.raw["confirmed, spent"], random),
            Self::RawList => vec![
                ("an empty list", json!([])),
                ("no hex in a list", json!(["xy"])),
            ],
            Self::Height | Self::HeightOfTransaction | Self::Checkpoint => vec![
                ("behind the tip", json!(tip + 1)),
                (
                    "far behind the tip",
                    json!(random.random_range(1_u64 << 20..1 << 31)),
                ),
                (
                    "beyond 32 bits",
                    json!((1_u64 << 32) + random.random_range(0..tip)),
                ),
                (
                    "beyond 63 bits",
                    json!(u64::MAX - random.random_range(0..tip)),
                ),
            ],
            Self::Target => vec![("zero", json!(0))],
            Self::Mode => vec![
                ("of no name", json!("fast")),
                ("an empty string", json!("")),
            ],
            Self::Flag => vec![("0", json!(0)), ("1", json!(1))],
            Self::Features => vec![("of no server", json!({"hosts": 5}))],
            Self::Count | Self::Position => Vec::new(),
        };
        if self.is_number() {
            kinds.extend([
                ("negative", json!(-random.random_range(1..1_i64 << 40))),
                ("with a fraction", json!(1.5)),
                ("with a fraction of zero", json!(2.0)),
                ("digits in a string", json!("2")),
            ]);
        }
        if self == Self::Checkpoint {
            // 1 is below any height but two.
            kinds.push(("below the height", json!(1)));
        }
        kinds
    }

    fn is_number(self) -> bool {
        matches!(
            self,
            Self::Height
                | Self::HeightOfTransaction
                | Self::Checkpoint
                | Self::Count
                | Self::Position
                | Self::Target
        )
    }

    /// Whether what is of the wrong type for others is of the right one here.
    fn takes(self, kind: Kind) -> bool {
        match kind {
            "a list" => self == Self::RawList,
            "an object" => self == Self::Features,
            "true" => self == Self::Flag,
            "a number" => self == Self::Flag || self.is_number(),
            _ => false,
        }
    }
}

/// Those that come first lie, and have positions, above what something else than a number may be taken for.
fn heights(around: &Surroundings, random: &mut StdRng) -> Vec<(Kind, Value)> {
    vec![
        ("of a full block", json!(around.full_blocks.choose(random))),
        ("in the chain", json!(random.random_range(3..around.tip))),
        ("genesis", json!(0)),
        ("the tip", json!(around.tip)),
    ]
}

const WRONG_TYPES: [(Kind, fn() -> Value); 6] = [
    ("null", || Value::Null),
    ("true", || json!(true)),
    ("a number", || json!(7)),
    ("a word", || json!("word")),
    ("a list", || json!([1])),
    ("an object", || json!({"a": 1})),
];

/// One of each kind there is, and one of so many bytes that there is not.
fn one_of_each(
    kinds: &BTreeMap<Kind, Vec<String>>,
    bytes: usize,
    random: &mut StdRng,
) -> Vec<(Kind, Value)> {
    let mut chosen = Vec::new();
    for (kind, values) in kinds {
        chosen.push((*kind, json!(values.choose(random))));
    }
    chosen.push(("unknown", json!(hex(random, bytes))));
    chosen
}

/// Each transaction alone, and some together.
fn packages(around: &Surroundings, random: &mut StdRng) -> Vec<(Kind, Value)> {
    let mut packages: Vec<(Kind, Value)> = one_of_each(&around.raw, 60, random)
        .into_iter()
        .map(|(kind, raw)| (kind, json!([raw])))
        .collect();
    let spent = &around.raw["confirmed, spent"];
    packages.push(("of no family", json!([spent.choose(random), spent.last()])));
    if let Some(family) = around.families.choose(random) {
        packages.push(("unconfirmed parent and child", json!(family)));
    }
    packages
}

/// Ways to write bytes badly.
fn of_hex(values: &[String], random: &mut StdRng) -> Vec<(Kind, Value)> {
    let good = values.choose(random).expect("nothing to write badly");
    // Not of a known script: who takes this would watch that.
    let unknown = hex(random, 32);
    let (head, tail) = unknown.split_at(2);
    let (first, rest) = good.split_at(2);
    let (_, most) = good.split_at(1);
    vec![
        ("in upper case", json!(good.to_uppercase())),
        ("with a space", json!(format!("{head} {tail}"))),
        ("with a space before", json!(format!(" {unknown}"))),
        ("a byte short", json!(rest)),
        ("a byte long", json!(format!("{good}{first}"))),
        ("half a byte short", json!(most)),
        ("an empty string", json!("")),
        ("with 0x", json!(format!("0x{rest}"))),
        ("not all hex", json!(format!("xy{rest}"))),
    ]
}

fn features() -> Value {
    json!({
        "hosts": { "electrum.example": { "tcp_port": 50001, "ssl_port": 50002 } },
        "genesis_hash": "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206",
        "hash_function": "sha256", "server_version": "Test 1.0", "protocol_min": "1.4", "protocol_max": "1.6",
        "pruning": null,
    })
}

fn hex(random: &mut StdRng, bytes: usize) -> String {
    (0..bytes)
        .map(|_| format!("{:02x}", random.next_u32() & 0xff))
        .collect()
}
