//! What a range of heights says about a script, and how what all ranges say becomes one answer.

use bitcoin::Amount;

use super::ScriptPrefix;
use super::error::Error;
use super::keys::{OutPointTag, TxFingerprint};
use crate::chain::{Height, TxNum};
use crate::limits;

/// A part of the index that covers a range of heights and does not change.
///
/// A snapshot holds layers from the oldest to the newest.
pub(super) trait Layer: Send + Sync {
    /// Adds what it knows about a script; it may leave out what is not wanted.
    fn script(
        &self,
        prefix: ScriptPrefix,
        wanted: Wanted,
        entry: &mut ScriptEntry,
    ) -> Result<(), Error>;

    /// Adds the numbers of the transactions with this fingerprint, and perhaps of others.
    fn candidates(&self, fingerprint: TxFingerprint, found: &mut Vec<TxNum>) -> Result<(), Error>;
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

/// What of a script is asked for; a layer may give more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Fundings and spendings.
    Outputs,
    /// The transactions.
    Touches,
}

/// How far an answer about one script may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Effort {
    /// A few steps, or [`Error::TooMuch`]: of each segment one blob, and no more than
    /// [`limits::LITTLE_EFFORT_ENTRIES`] txids.
    Little,
    /// As far as it takes.
    #[default]
    Any,
}

/// What the layers say about one script.
///
/// A layer may leave out outputs both created and consumed inside it.
#[derive(Default)]
pub(super) struct ScriptEntry {
    /// How far layers may go for it.
    pub(super) effort: Effort,
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

impl Effort {
    /// An error when the txids of so many transactions are more than this.
    pub(super) fn allows(self, txids: usize) -> Result<(), Error> {
        match self {
            Self::Little if txids > limits::LITTLE_EFFORT_ENTRIES => Err(Error::TooMuch),
            Self::Little | Self::Any => Ok(()),
        }
    }
}

impl ScriptEntry {
    /// An empty one.
    pub(super) fn sought_with(effort: Effort) -> Self {
        Self {
            effort,
            ..Self::default()
        }
    }

    /// Adds a transaction, which must not come before those already added.
    pub(super) fn touch(&mut self, number: TxNum) {
        if self.touches.last() != Some(&number) {
            self.touches.push(number);
        }
    }

    /// Adds what a newer source says, and empties that.
    pub(super) fn append(&mut self, newer: &mut Self) {
        self.touches.append(&mut newer.touches);
        self.fundings.append(&mut newer.fundings);
        self.spendings.append(&mut newer.spendings);
    }

    /// Forgets everything but the memory.
    pub(super) fn clear(&mut self) {
        self.touches.clear();
        self.fundings.clear();
        self.spendings.clear();
    }

    /// Takes the spent outputs away; a spending without its funding means that the index is damaged.
    pub(super) fn join(mut self) -> Result<Joined, Error> {
        self.settle(|_| true)?;
        let mut joined = Joined {
            unspent: self.fundings,
            ambiguous: Vec::new(),
        };
        // What is left of the spendings is fewer than the fundings with their key.
        for spendings in self.spendings.chunk_by(|a, b| a.key() == b.key()) {
            let Some(key) = spendings.first().map(Spending::key) else {
                continue;
            };
            let fundings = joined
                .unspent
                .extract_if(.., |funding| funding.key() == key);
            joined.ambiguous.push(Ambiguity {
                fundings: fundings.collect(),
                spendings: spendings.to_vec(),
            });
        }
        Ok(joined)
    }

    /// Takes away the outputs that were both created and consumed. Fundings ascend by number before and after.
    ///
    /// Left are the spendings of outputs from heights that are not covered, and, of outputs equal in key of which some
    /// are spent, both sides. Spendings are sorted by their key afterwards.
    pub(super) fn settle(&mut self, covers: impl Fn(Height) -> bool) -> Result<(), Error> {
        if self.spendings.is_empty() {
            return Ok(());
        }
        self.spendings
            .sort_unstable_by_key(|spending| (spending.key(), spending.spender));
        let mut spendings = Vec::new();
        let mut fundings = Vec::with_capacity(self.fundings.len());
        let mut rest = self.fundings.as_mut_slice();
        for spent in self.spendings.chunk_by(|a, b| a.height == b.height) {
            let Some(height) = spent.first().map(|spending| spending.height) else {
                continue;
            };
            let from = rest.partition_point(|funding| funding.height < height);
            let to = rest.partition_point(|funding| funding.height <= height);
            let (created, after) = rest.split_at_mut(to);
            let (below, created) = created.split_at_mut(from);
            rest = after;
            fundings.extend_from_slice(below);
            if created.is_empty() && !covers(height) {
                spendings.extend_from_slice(spent);
                continue;
            }
            let kept = fundings.len();
            settle_block(created, spent, &mut fundings, &mut spendings)?;
            if let Some(kept) = fundings.get_mut(kept..) {
                kept.sort_unstable_by_key(|funding| (funding.number, funding.vout));
            }
        }
        fundings.extend_from_slice(rest);
        self.fundings = fundings;
        self.spendings = spendings;
        Ok(())
    }
}

/// Settles the outputs that one block created; `spent` is sorted by key.
fn settle_block(
    created: &mut [Funding],
    spent: &[Spending],
    fundings: &mut Vec<Funding>,
    spendings: &mut Vec<Spending>,
) -> Result<(), Error> {
    created.sort_unstable_by_key(Funding::key);
    let mut rest = spent;
    for equal in created.chunk_by(|a, b| a.key() == b.key()) {
        let Some(key) = equal.first().map(Funding::key) else {
            continue;
        };
        let matching = rest.iter().take_while(|spending| spending.key() == key);
        let (matching, after) = rest.split_at_checked(matching.count()).unwrap_or_default();
        rest = after;
        if matching.len() > equal.len() {
            return Err(UNMATCHED);
        }
        if matching.len() < equal.len() {
            fundings.extend_from_slice(equal);
            spendings.extend_from_slice(matching);
        }
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(UNMATCHED)
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
            effort: Effort::Any,
            touches: Vec::new(),
            fundings: fundings.to_vec(),
            spendings: spendings.to_vec(),
        };
        let joined = entry.join().ok()?;
        Some((joined.unspent.len(), joined.ambiguous.len()))
    }

    #[test]
    fn little_effort_is_so_many_txids() {
        let most = limits::LITTLE_EFFORT_ENTRIES;
        assert!(Effort::Little.allows(most).is_ok());
        assert!(matches!(
            Effort::Little.allows(most + 1),
            Err(Error::TooMuch)
        ));
        assert!(Effort::Any.allows(usize::MAX).is_ok());
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
