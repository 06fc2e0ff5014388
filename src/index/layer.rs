//! What a range of heights says about a script, and how what all ranges say becomes one answer.

use std::ops::RangeInclusive;

use bitcoin::{Amount, Txid};

use super::ScriptPrefix;
use super::error::Error;
use super::keys::{OutPointTag, TxFingerprint};
use crate::chain::{Height, TxNum};

/// A part of the index that covers a range of heights and does not change.
///
/// A snapshot holds layers from the oldest to the newest; queries see nothing below this trait.
pub(super) trait Layer: Send + Sync {
    /// The heights it covers.
    fn heights(&self) -> RangeInclusive<Height>;

    /// Adds what it knows about a script.
    fn script(&self, prefix: ScriptPrefix, entry: &mut ScriptEntry) -> Result<(), Error>;

    /// Adds the numbers of the transactions with this fingerprint.
    fn candidates(&self, fingerprint: TxFingerprint, found: &mut Vec<TxNum>) -> Result<(), Error>;

    /// Adds the txids of the transactions at these indexes of a block.
    fn txids(&self, height: Height, indexes: &[u32], found: &mut Vec<Txid>) -> Result<(), Error>;

    /// Visits every indexed output that a block creates.
    fn fundings(
        &self,
        height: Height,
        visit: &mut dyn FnMut(ScriptPrefix, &Funding),
    ) -> Result<(), Error>;
}

/// An output created.
#[derive(Clone, Copy)]
pub(super) struct Funding {
    /// Height of the block that created it.
    pub(super) height: Height,
    pub(super) number: TxNum,
    pub(super) vout: u32,
    pub(super) tag: OutPointTag,
    pub(super) amount: Amount,
}

/// An output consumed.
#[derive(Clone, Copy)]
pub(super) struct Spending {
    /// Height of the block that created it.
    pub(super) height: Height,
    pub(super) vout: u32,
    pub(super) tag: OutPointTag,
    /// The transaction that consumes it.
    pub(super) spender: TxNum,
}

/// By what a spending finds its funding among those of one script.
type Match = (Height, u32, OutPointTag);

impl Funding {
    fn key(&self) -> Match {
        (self.height, self.vout, self.tag)
    }
}

impl Spending {
    fn key(&self) -> Match {
        (self.height, self.vout, self.tag)
    }
}

/// What the layers say about one script.
///
/// A layer may leave out outputs both created and consumed inside it.
#[derive(Default)]
pub(super) struct ScriptEntry {
    /// Each once, in chain order.
    pub(super) touches: Vec<TxNum>,
    pub(super) fundings: Vec<Funding>,
    pub(super) spendings: Vec<Spending>,
}

/// Unspent outputs, and groups of which only some are spent but the index does not say which.
pub(super) struct Joined {
    /// In no order.
    pub(super) unspent: Vec<Funding>,
    pub(super) ambiguous: Vec<Ambiguity>,
}

/// Outputs equal in script, height, vout and tag, and the fewer spendings that consume some of them.
pub(super) struct Ambiguity {
    pub(super) fundings: Vec<Funding>,
    pub(super) spendings: Vec<Spending>,
}

impl ScriptEntry {
    /// Adds a transaction, which must not come before those already added.
    pub(super) fn touch(&mut self, number: TxNum) {
        if self.touches.last() != Some(&number) {
            self.touches.push(number);
        }
    }

    /// Takes the spent outputs away; a spending without its funding means that the index is damaged.
    pub(super) fn join(mut self) -> Result<Joined, Error> {
        self.fundings.sort_unstable_by_key(Funding::key);
        self.spendings.sort_unstable_by_key(Spending::key);
        let mut rest = self.spendings.as_slice();
        let mut joined = Joined {
            unspent: Vec::new(),
            ambiguous: Vec::new(),
        };
        for fundings in self.fundings.chunk_by(|a, b| a.key() == b.key()) {
            let Some(key) = fundings.first().map(Funding::key) else {
                continue;
            };
            let matching = rest.iter().take_while(|spending| spending.key() == key);
            let (spendings, after) = rest.split_at_checked(matching.count()).unwrap_or_default();
            rest = after;
            if spendings.is_empty() {
                joined.unspent.extend_from_slice(fundings);
            } else if spendings.len() < fundings.len() {
                joined.ambiguous.push(Ambiguity {
                    fundings: fundings.to_vec(),
                    spendings: spendings.to_vec(),
                });
            } else if spendings.len() > fundings.len() {
                return Err(UNMATCHED);
            }
        }
        if rest.is_empty() {
            Ok(joined)
        } else {
            Err(UNMATCHED)
        }
    }
}

pub(super) const UNMATCHED: Error = Error::Damaged {
    attempt: "match spent outputs in the index",
};

#[cfg(test)]
mod tests {
    use super::*;

    fn funding(height: u32, vout: u32, tag: u32) -> Funding {
        Funding {
            height: Height(height),
            number: TxNum(height),
            vout,
            tag: OutPointTag(tag),
            amount: Amount::ONE_SAT,
        }
    }

    fn spending(height: u32, vout: u32, tag: u32) -> Spending {
        Spending {
            height: Height(height),
            vout,
            tag: OutPointTag(tag),
            spender: TxNum(9),
        }
    }

    fn join(fundings: &[Funding], spendings: &[Spending]) -> Option<(usize, usize)> {
        let entry = ScriptEntry {
            touches: Vec::new(),
            fundings: fundings.to_vec(),
            spendings: spendings.to_vec(),
        };
        let joined = entry.join().ok()?;
        Some((joined.unspent.len(), joined.ambiguous.len()))
    }

    #[test]
    fn spendings_meet_their_fundings() {
        let twins = [funding(1, 0, 5), funding(1, 0, 5)];
        let twin = spending(1, 0, 5);
        assert_eq!(join(&twins, &[]), Some((2, 0)));
        assert_eq!(join(&twins, &[twin]), Some((0, 1)));
        assert_eq!(join(&twins, &[twin, twin]), Some((0, 0)));
        let others = [
            funding(1, 0, 5),
            funding(1, 0, 6),
            funding(1, 1, 5),
            funding(2, 0, 5),
        ];
        assert_eq!(join(&others, &[twin]), Some((3, 0)));
    }

    #[test]
    fn a_spending_without_funding_is_damage() {
        let known = [funding(1, 0, 5)];
        assert_eq!(join(&known, &[spending(1, 0, 5), spending(1, 0, 5)]), None);
        assert_eq!(join(&known, &[spending(0, 0, 5)]), None);
        assert_eq!(join(&known, &[spending(1, 0, 4)]), None);
        assert_eq!(join(&known, &[spending(2, 0, 5)]), None);
        assert_eq!(join(&[], &[spending(1, 0, 5)]), None);
    }
}
