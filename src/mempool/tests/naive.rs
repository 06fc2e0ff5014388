//! A mempool beside one that is worked out anew each time, over random payments, replacements, blocks and reorgs.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin::hashes::Hash as _;
use bitcoin::{OutPoint, Transaction, Txid};
use proptest::prelude::*;

use super::world::{World, output, pay};
use crate::chain::EntryHeight;
use crate::mempool::{Mempool, Poller};

const OWNERS: u8 = 5;
const COINS: u8 = 12;
const AMOUNT: u64 = 1_000_000;

/// What happens between two rounds.
#[derive(Clone, Debug)]
enum Event {
    /// Spends outputs that nothing spends, chosen by these numbers; pays these owners.
    Pay(Vec<usize>, Vec<u8>),
    /// The same with an output that is spent: what spent it leaves with its children.
    Replace(usize, u8),
    /// A part of the mempool is mined, each with its parents.
    Mine(Vec<bool>),
    /// The last block is taken back.
    TakeBack,
    /// The node forgets what is unconfirmed.
    Clear,
}

fn event() -> impl Strategy<Value = Event> {
    let owners = prop::collection::vec(1..=OWNERS, 1..4);
    let coins = prop::collection::vec(any::<usize>(), 1..4);
    prop_oneof![
        8 => (coins, owners).prop_map(|(coins, owners)| Event::Pay(coins, owners)),
        2 => (any::<usize>(), 1..=OWNERS).prop_map(|(coin, owner)| Event::Replace(coin, owner)),
        2 => prop::collection::vec(any::<bool>(), 40).prop_map(Event::Mine),
        1 => Just(Event::TakeBack),
        1 => Just(Event::Clear),
    ]
}

/// The truth: what is in blocks, what is not, and who owns what.
#[derive(Default)]
struct Truth {
    blocks: Vec<Vec<Transaction>>,
    /// Parents first.
    unconfirmed: Vec<Transaction>,
    /// Owner and amount of every output there ever was.
    outputs: BTreeMap<OutPoint, (u8, u64)>,
    /// Outputs of transactions that are in no block and no mempool.
    made: u64,
}

impl Truth {
    fn new() -> Self {
        let mut truth = Self::default();
        for number in 1..=COINS {
            let coin = OutPoint::new(Txid::from_byte_array([number; 32]), 0);
            truth.outputs.insert(coin, (number % OWNERS + 1, AMOUNT));
        }
        truth
    }

    fn coins() -> impl Iterator<Item = OutPoint> {
        (1..=COINS).map(|number| OutPoint::new(Txid::from_byte_array([number; 32]), 0))
    }

    fn all(&self) -> impl Iterator<Item = &Transaction> {
        self.blocks.iter().flatten().chain(&self.unconfirmed)
    }

    fn unspent(&self) -> Vec<OutPoint> {
        let spent: BTreeSet<_> = self.all().flat_map(spends).collect();
        let made = self.all().flat_map(outpoints);
        let all = Self::coins().chain(made);
        all.filter(|outpoint| !spent.contains(outpoint)).collect()
    }

    fn add(&mut self, from: &[OutPoint], owners: &[u8]) {
        let sum: u64 = from.iter().map(|outpoint| self.outputs[outpoint].1).sum();
        self.made += 1;
        let fee = 1 + self.made;
        let each = (sum - fee) / u64::try_from(owners.len()).unwrap();
        let pays: Vec<_> = owners.iter().map(|owner| (*owner, each)).collect();
        let made = pay(from, &pays);
        for (outpoint, pay) in outpoints(&made).zip(pays) {
            self.outputs.insert(outpoint, pay);
        }
        self.unconfirmed.push(made);
    }

    fn remove_with_children(&mut self, txid: Txid) {
        let mut gone = BTreeSet::from([txid]);
        self.unconfirmed.retain(|other| {
            let leaves = gone.contains(&other.compute_txid())
                || spends(other).any(|outpoint| gone.contains(&outpoint.txid));
            if leaves {
                gone.insert(other.compute_txid());
            }
            !leaves
        });
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Pay(numbers, owners) => {
                let mut unspent = self.unspent();
                let mut from = Vec::new();
                for number in numbers {
                    if !unspent.is_empty() {
                        from.push(unspent.swap_remove(number % unspent.len()));
                    }
                }
                if !from.is_empty() {
                    self.add(&from, owners);
                }
            }
            Event::Replace(number, owner) => {
                let spent: Vec<_> = self.unconfirmed.iter().flat_map(spends).collect();
                if let Some(outpoint) = spent.get(number % spent.len().max(1)).copied() {
                    let first = self.unconfirmed.iter();
                    let mut first = first.filter(|other| spends(other).any(|it| it == outpoint));
                    let replaced = first.next().unwrap().compute_txid();
                    self.remove_with_children(replaced);
                    self.add(&[outpoint], &[*owner]);
                }
            }
            Event::Mine(chosen) => {
                let mut block = Vec::new();
                let mut left = BTreeSet::new();
                let chosen = chosen.iter().chain(std::iter::repeat(&false));
                for (made, chosen) in self.unconfirmed.iter().zip(chosen) {
                    if *chosen && !spends(made).any(|outpoint| left.contains(&outpoint.txid)) {
                        block.push(made.clone());
                    } else {
                        left.insert(made.compute_txid());
                    }
                }
                self.unconfirmed
                    .retain(|made| left.contains(&made.compute_txid()));
                self.blocks.push(block);
            }
            Event::TakeBack => {
                let mut back = self.blocks.pop().unwrap_or_default();
                back.append(&mut self.unconfirmed);
                self.unconfirmed = back;
            }
            Event::Clear => self.unconfirmed.clear(),
        }
    }

    /// Shows it to the poller.
    fn set(&self, world: &World) {
        world.confirmed.borrow_mut().clear();
        let mined = self.blocks.iter().flatten().flat_map(outpoints);
        for outpoint in Self::coins().chain(mined) {
            let (owner, amount) = self.outputs[&outpoint];
            world.confirm(outpoint, owner, amount);
        }
        // A node tends to list parents first; nothing may depend on it.
        world.set(&self.unconfirmed.iter().rev().collect::<Vec<_>>());
    }

    fn compare(&self, world: &World, mempool: &Mempool) {
        assert_eq!(mempool.len(), self.unconfirmed.len());
        for owner in 1..=OWNERS {
            let prefix = world.of(owner);
            assert_eq!(told(mempool, world, owner), self.history(owner));
            assert_eq!(mempool.balance(prefix), self.balance(owner));
            let unspent: BTreeSet<_> = mempool
                .unspent(prefix)
                .iter()
                .map(|it| it.outpoint)
                .collect();
            let made = self.unconfirmed.iter().flat_map(outpoints);
            let made: BTreeSet<_> = made.filter(|it| self.outputs[it].0 == owner).collect();
            let all: BTreeSet<_> = self.unspent().into_iter().collect();
            assert_eq!(unspent, &made & &all);
        }
    }

    /// Height as in the protocol, displayed txid, fee.
    fn history(&self, owner: u8) -> Vec<(i64, String, u64)> {
        let txids: BTreeSet<_> = self
            .unconfirmed
            .iter()
            .map(Transaction::compute_txid)
            .collect();
        let mut history = Vec::new();
        for made in &self.unconfirmed {
            let touched = spends(made).chain(outpoints(made));
            if !touched.into_iter().any(|it| self.outputs[&it].0 == owner) {
                continue;
            }
            let chained = spends(made).any(|it| txids.contains(&it.txid));
            let spent: u64 = spends(made).map(|it| self.outputs[&it].1).sum();
            let paid: u64 = made.output.iter().map(|output| output.value.to_sat()).sum();
            let height = if chained { -1 } else { 0 };
            history.push((height, made.compute_txid().to_string(), spent - paid));
        }
        history.sort_by_key(|(height, txid, _)| (-height, txid.clone()));
        history
    }

    fn balance(&self, owner: u8) -> i64 {
        let of_owner = |outpoint: &OutPoint| {
            let (its, amount) = self.outputs[outpoint];
            if its == owner {
                i64::try_from(amount).unwrap()
            } else {
                0
            }
        };
        let made = self.unconfirmed.iter().flat_map(outpoints);
        let spent = self.unconfirmed.iter().flat_map(spends);
        let made: i64 = made.map(|outpoint| of_owner(&outpoint)).sum();
        made - spent.map(|outpoint| of_owner(&outpoint)).sum::<i64>()
    }
}

fn spends(made: &Transaction) -> impl Iterator<Item = OutPoint> {
    made.input.iter().map(|input| input.previous_output)
}

fn outpoints(made: &Transaction) -> impl Iterator<Item = OutPoint> {
    (0..).zip(&made.output).map(|(vout, _)| output(made, vout))
}

fn told(mempool: &Mempool, world: &World, owner: u8) -> Vec<(i64, String, u64)> {
    let entries = mempool.history(world.of(owner)).into_iter();
    let told = entries.map(|entry| {
        let height = match entry.height {
            EntryHeight::UnconfirmedParents => -1,
            EntryHeight::Unconfirmed | EntryHeight::Confirmed(_) => 0,
        };
        (height, entry.txid.to_string(), entry.fee.to_sat())
    });
    told.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_followed_is_what_there_is_and_each_change_is_named(
        events in prop::collection::vec(prop::collection::vec(event(), 1..6), 1..20),
    ) {
        let world = World::default();
        let mut truth = Truth::new();
        let mut poller = Poller::default();
        let mut before: Vec<_> = (1..=OWNERS).map(|_| Vec::new()).collect();
        for between_rounds in &events {
            for event in between_rounds {
                truth.happen(event);
                if matches!(event, Event::TakeBack) {
                    poller.chain_went_back();
                }
            }
            truth.set(&world);
            let changed = world.round(&mut poller);
            truth.compare(&world, poller.mempool());
            for (owner, before) in (1..=OWNERS).zip(&mut before) {
                let after = told(poller.mempool(), &world, owner);
                prop_assert!(after == *before || changed.contains(&owner));
                *before = after;
            }
        }
    }
}
