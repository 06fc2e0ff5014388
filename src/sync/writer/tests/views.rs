//! Views beside a history that is worked out anew each time: over random payments, replacements, blocks and reorgs,
//! each view is what the node has, and says of every script whose history differs that it may.

use std::collections::BTreeSet;

use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::{OutPoint, Transaction, Txid};
use proptest::prelude::*;

use super::Bench;
use crate::chain::{ScriptHash, StatusHash};
use crate::query::{self, Answer, Changed, NobodyToAsk, Query, View};
use crate::sync::tests::{pay, script};

/// Blocks below all that happens; the coinbases of some of them are spent.
const BASE: u32 = 20;
const OWNERS: u8 = 5;
const REORG_MAX: usize = 4;

/// What happens at the node between two looks at it.
#[derive(Clone, Debug)]
enum Event {
    /// Spends one of the outputs that nothing spends, or what spent it first is replaced.
    Pay {
        coin: usize,
        to: u8,
    },
    Replace {
        coin: usize,
        to: u8,
    },
    /// Mines those of the mempool, as far as their parents are mined too.
    Mine(Vec<bool>),
    /// So many blocks give way to as many and one more, empty ones.
    Reorg(usize),
    /// A block with the mempool but for its last comes while the mempool is read.
    Surprise,
}

fn event() -> impl Strategy<Value = Event> {
    let to = || 1..=OWNERS;
    prop_oneof![
        6 => (any::<usize>(), to()).prop_map(|(coin, to)| Event::Pay { coin, to }),
        2 => (any::<usize>(), to()).prop_map(|(coin, to)| Event::Replace { coin, to }),
        3 => prop::collection::vec(any::<bool>(), 30).prop_map(Event::Mine),
        1 => (1..=REORG_MAX).prop_map(Event::Reorg),
        1 => Just(Event::Surprise),
    ]
}

struct Scene {
    bench: Bench,
    /// Blocks above the base, without their coinbases.
    blocks: Vec<Vec<Transaction>>,
    /// Parents first.
    waiting: Vec<Transaction>,
    coins: Vec<OutPoint>,
    last: View,
}

impl Scene {
    fn new() -> Self {
        let mut bench = Bench::behind(BASE);
        let last = bench.settle().pop().unwrap();
        let coins = (1..=10).map(|height| bench.node.coinbase(height)).collect();
        Self {
            bench,
            blocks: Vec::new(),
            waiting: Vec::new(),
            coins,
            last,
        }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Pay { coin, to } => {
                let spent: BTreeSet<_> = self.all().map(spends).collect();
                let made = self.all().map(output);
                let all = self.coins.iter().copied().chain(made);
                let unspent: Vec<_> = all.filter(|it| !spent.contains(it)).collect();
                if let Some(coin) = unspent.get(coin % unspent.len().max(1)) {
                    self.waiting.push(pay(*coin, *to));
                }
            }
            Event::Replace { coin, to } => {
                if let Some(first) = self.waiting.get(coin % self.waiting.len().max(1)).cloned() {
                    let second = pay(spends(&first), *to);
                    if second != first {
                        self.remove_with_children(first.compute_txid());
                        self.waiting.push(second);
                    }
                }
            }
            Event::Mine(chosen) => self.mine(chosen),
            Event::Reorg(depth) => self.reorg(*depth),
            Event::Surprise => {
                self.bench
                    .node
                    .set_mempool(&self.waiting.iter().collect::<Vec<_>>());
                self.bench.node.surprise();
                let rest = self
                    .waiting
                    .split_off((self.waiting.len().max(2) - 1).min(self.waiting.len()));
                self.blocks.push(std::mem::replace(&mut self.waiting, rest));
                return;
            }
        }
        self.bench
            .node
            .set_mempool(&self.waiting.iter().collect::<Vec<_>>());
    }

    fn all(&self) -> impl Iterator<Item = &Transaction> {
        self.blocks.iter().flatten().chain(&self.waiting)
    }

    fn remove_with_children(&mut self, txid: Txid) {
        let mut gone = BTreeSet::from([txid]);
        self.waiting.retain(|other| {
            let txid = other.compute_txid();
            let leaves = gone.contains(&txid) || gone.contains(&spends(other).txid);
            if leaves {
                gone.insert(txid);
            }
            !leaves
        });
    }

    fn mine(&mut self, chosen: &[bool]) {
        let mut left = BTreeSet::new();
        let (mut block, mut rest) = (Vec::new(), Vec::new());
        let chosen = chosen.iter().chain(std::iter::repeat(&false));
        for (waiting, chosen) in std::mem::take(&mut self.waiting).into_iter().zip(chosen) {
            if *chosen && !left.contains(&spends(&waiting).txid) {
                block.push(waiting);
            } else {
                left.insert(waiting.compute_txid());
                rest.push(waiting);
            }
        }
        self.bench.node.mine(1, &block.iter().collect::<Vec<_>>());
        self.waiting = rest;
        self.blocks.push(block);
    }

    fn reorg(&mut self, depth: usize) {
        let kept = self.blocks.len().saturating_sub(depth);
        let back = self.blocks.split_off(kept);
        let depth = u32::try_from(back.len()).unwrap();
        let kept = BASE + u32::try_from(kept).unwrap();
        self.bench.node.roll_back(kept);
        self.bench.node.mine(depth + 1, &[]);
        self.blocks.extend((0..=depth).map(|_| Vec::new()));
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting = back.into_iter().flatten().chain(waiting).collect();
    }

    /// Lets the follower look, and compares what it publishes.
    fn look(&mut self, surprised: bool) {
        let views = self.bench.settle();
        // Everything that goes together comes together.
        assert!(views.len() <= 1 || surprised, "{} views", views.len());
        for view in views {
            assert!(view.readiness.is_ready());
            let changed = view.changed_since(self.last.version);
            for owner in 0..=OWNERS {
                let same = status(&view, owner) == status(&self.last, owner);
                assert!(same || is_named(&view, &changed, owner), "owner {owner}");
            }
            self.last = view;
        }
        for owner in 1..=OWNERS {
            assert_eq!(
                status(&self.last, owner),
                self.status(owner),
                "owner {owner}"
            );
        }
    }

    /// As the protocol describes it.
    fn status(&self, owner: u8) -> Option<String> {
        let all: Vec<&Transaction> = self.all().collect();
        let touches = |made: &Transaction| {
            let spent = all.iter().find(|other| output(other) == spends(made));
            let pays = |made: &Transaction| made.output[0].script_pubkey == script(owner);
            pays(made) || spent.is_some_and(|spent| pays(spent))
        };
        let mut text = String::new();
        for (height, block) in (BASE + 1..).zip(&self.blocks) {
            for made in block.iter().filter(|made| touches(made)) {
                text += &format!("{}:{height}:", made.compute_txid());
            }
        }
        let txids: BTreeSet<_> = self.waiting.iter().map(Transaction::compute_txid).collect();
        let waiting = self.waiting.iter().filter(|made| touches(made));
        let mut rows: Vec<_> = waiting
            .map(|made| {
                (
                    txids.contains(&spends(made).txid),
                    made.compute_txid().to_string(),
                )
            })
            .collect();
        rows.sort();
        for (chained, txid) in rows {
            text += &format!("{txid}:{}:", if chained { -1 } else { 0 });
        }
        (!text.is_empty()).then(|| sha256::Hash::hash(text.as_bytes()).to_string())
    }
}

fn spends(made: &Transaction) -> OutPoint {
    made.input[0].previous_output
}

fn output(made: &Transaction) -> OutPoint {
    OutPoint::new(made.compute_txid(), 0)
}

fn is_named(view: &View, changed: &Changed, owner: u8) -> bool {
    let prefix = view.snapshot.prefix(&ScriptHash::of(&script(owner)));
    match changed {
        Changed::All => true,
        Changed::Some(changes) => changes.iter().any(|changes| changes.contains(prefix)),
    }
}

fn status(view: &View, owner: u8) -> Option<String> {
    let question = Query::Status(ScriptHash::of(&script(owner)));
    let Answer::Status(status) = query::answer(view, &NobodyToAsk, &question).unwrap() else {
        panic!("another answer");
    };
    status.map(|status: StatusHash| status.to_wire())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn each_view_is_what_the_node_has_and_names_what_differs(
        events in prop::collection::vec(prop::collection::vec(event(), 1..4), 1..12),
    ) {
        let mut scene = Scene::new();
        for between_looks in &events {
            let surprised = between_looks.iter().any(|event| matches!(event, Event::Surprise));
            for event in between_looks {
                scene.happen(event);
                // A surprise is one only while nothing else happens.
                if matches!(event, Event::Surprise) {
                    scene.look(true);
                }
            }
            scene.look(surprised);
        }
    }
}
