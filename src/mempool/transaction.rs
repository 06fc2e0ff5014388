//! What is kept of an unconfirmed transaction, and the entries that lead to it.

use std::sync::Arc;

use bitcoin::{Amount, OutPoint, Txid};

use super::shards::Keyed;
use crate::index::ScriptPrefix;

/// What is kept of a transaction.
pub(super) struct UnconfirmedTransaction {
    pub(super) txid: Txid,
    pub(super) fee: Amount,
    pub(super) vsize: u64,
    pub(super) inputs: Box<[Spending]>,
    /// By rising `vout`; those that are not indexed are missing.
    pub(super) outputs: Box<[Funding]>,
}

/// An input: what it spends, and whose that was.
pub(super) struct Spending {
    pub(super) outpoint: OutPoint,
    pub(super) prefix: ScriptPrefix,
    pub(super) amount: Amount,
}

/// An output: whose it is.
pub(super) struct Funding {
    pub(super) vout: u32,
    pub(super) prefix: ScriptPrefix,
    pub(super) amount: Amount,
}

/// Who spends an output.
#[derive(Clone)]
pub(super) struct Spender {
    pub(super) transaction: Arc<UnconfirmedTransaction>,
    /// Index of the input that does.
    input: u32,
}

/// Who funds or spends a script, each once.
#[derive(Clone)]
pub(super) struct ScriptUse {
    prefix: ScriptPrefix,
    by: Users,
}

/// Most scripts have one, which needs no list; there are so many that a list is kept elsewhere.
#[derive(Clone)]
enum Users {
    One(Arc<UnconfirmedTransaction>),
    #[expect(
        clippy::box_collection,
        reason = "it makes every entry a third smaller"
    )]
    Many(Box<Vec<Arc<UnconfirmedTransaction>>>),
}

/// What an allocator and a counted pointer add to what is allocated.
const ALLOCATED: usize = 2 * size_of::<usize>();
/// An entry takes so many times its size: tables are two thirds full, there twice while a copy is changed, and not all
/// that they give back is used again.
const ENTRY_FACTOR: usize = 4;

impl UnconfirmedTransaction {
    /// The scripts it funds or spends, each once.
    pub(super) fn prefixes(&self) -> Vec<ScriptPrefix> {
        let spent = self.inputs.iter().map(|spending| spending.prefix);
        let funded = self.outputs.iter().map(|funding| funding.prefix);
        let mut prefixes: Vec<_> = spent.chain(funded).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        prefixes
    }

    /// The output of this index.
    pub(super) fn output(&self, vout: u32) -> Option<&Funding> {
        let place = self
            .outputs
            .binary_search_by_key(&vout, |funding| funding.vout);
        self.outputs.get(place.ok()?)
    }

    /// Entries that lead to it by what it spends.
    pub(super) fn spenders(self: &Arc<Self>) -> impl Iterator<Item = Spender> {
        let inputs = (0_u32..).zip(&self.inputs);
        inputs.map(|(input, _)| Spender {
            transaction: Arc::clone(self),
            input,
        })
    }

    /// Thousandths of a satoshi for each virtual byte.
    pub(super) fn fee_rate(&self) -> u64 {
        let rate = self.fee.to_sat().saturating_mul(1_000);
        rate.checked_div(self.vsize).unwrap_or_default()
    }

    /// Memory that it takes with all entries that lead to it, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let own = size_of::<Self>() + 3 * ALLOCATED;
        let inputs = self.inputs.len();
        let outputs = self.outputs.len();
        let lists = inputs * size_of::<Spending>() + outputs * size_of::<Funding>();
        let entries = size_of::<Arc<Self>>()
            + inputs * size_of::<Spender>()
            // An entry of its own for each script, or a place in the list of a script that others use too.
            + (inputs + outputs) * size_of::<ScriptUse>();
        own + lists + entries * ENTRY_FACTOR
    }
}

impl ScriptUse {
    pub(super) fn new(prefix: ScriptPrefix, transaction: &Arc<UnconfirmedTransaction>) -> Self {
        Self {
            prefix,
            by: Users::One(Arc::clone(transaction)),
        }
    }

    pub(super) fn transactions(&self) -> &[Arc<UnconfirmedTransaction>] {
        match &self.by {
            Users::One(transaction) => std::slice::from_ref(transaction),
            Users::Many(transactions) => transactions,
        }
    }

    /// Adds one that is not there yet.
    pub(super) fn add(&mut self, transaction: &Arc<UnconfirmedTransaction>) {
        match &mut self.by {
            Users::One(first) => {
                let both = vec![Arc::clone(first), Arc::clone(transaction)];
                self.by = Users::Many(Box::new(both));
            }
            Users::Many(transactions) => transactions.push(Arc::clone(transaction)),
        }
    }

    /// Takes one out; whether there is none left.
    pub(super) fn remove(&mut self, transaction: &Arc<UnconfirmedTransaction>) -> bool {
        match &mut self.by {
            Users::One(only) => Arc::ptr_eq(only, transaction),
            Users::Many(transactions) => {
                let place = transactions
                    .iter()
                    .position(|other| Arc::ptr_eq(other, transaction));
                if let Some(place) = place {
                    transactions.swap_remove(place);
                }
                transactions.is_empty()
            }
        }
    }
}

impl Keyed for Arc<UnconfirmedTransaction> {
    type Key = Txid;
    fn key(&self) -> Txid {
        self.txid
    }
}

impl Keyed for Spender {
    type Key = OutPoint;
    fn key(&self) -> OutPoint {
        let input = usize::try_from(self.input).unwrap_or(usize::MAX);
        let spending = self.transaction.inputs.get(input);
        spending.map_or_else(OutPoint::null, |spending| spending.outpoint)
    }
}

impl Keyed for ScriptUse {
    type Key = ScriptPrefix;
    fn key(&self) -> ScriptPrefix {
        self.prefix
    }
}
