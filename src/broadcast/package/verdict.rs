//! What the node says of a package that it is not to send.

use crate::broadcast::Refusal;
use crate::broadcast::admission::NodeQuestions;
use crate::broadcast::refusal::Verdict;
use crate::node::{self, FeeRate, Judgement};

/// What the node says of each transaction of a package, in their order.
pub(in crate::broadcast) struct PackageVerdict(pub(in crate::broadcast) Vec<Lot>);

/// What the node says of one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broadcast) enum Lot {
    /// It would take it, with those before it.
    Acceptable,
    /// It has it.
    Known,
    /// It would not.
    Refused(Refusal),
    /// It got no further than to another one.
    Unjudged,
}

impl PackageVerdict {
    /// Asks the node, parents before their child. What it has is left out and the rest asked for again, because it gets
    /// no further than to the first that it would not take. Blocking.
    pub(in crate::broadcast) fn ask(
        node: &dyn NodeQuestions,
        members: &[&[u8]],
        fee_rate_max: FeeRate,
    ) -> Result<Self, node::Error> {
        let mut lots = vec![Lot::Unjudged; members.len()];
        loop {
            let open = lots.iter().zip(members);
            let open = open.filter(|(lot, _)| **lot != Lot::Known);
            let open: Vec<&[u8]> = open.map(|(_, raw)| *raw).collect();
            let mut judgements = node.test_together(&open, fee_rate_max)?.into_iter();
            let mut left = 0;
            for lot in lots.iter_mut().filter(|lot| **lot != Lot::Known) {
                *lot = Lot::of(judgements.next().flatten());
                left += usize::from(*lot != Lot::Known);
            }
            if left == 0 || left == open.len() {
                return Ok(Self(lots));
            }
        }
    }

    /// Whether it has the child, and therefore all of them.
    pub(in crate::broadcast) fn is_known(&self) -> bool {
        self.0.last() == Some(&Lot::Known)
    }

    /// Why the package cannot be taken; `None` when the node would take all that it has not.
    pub(in crate::broadcast) fn refusal(&self) -> Option<Refusal> {
        let refused = self.0.iter().find_map(|lot| lot.refusal());
        // Of those that were not judged none is to blame.
        refused.or_else(|| self.0.contains(&Lot::Unjudged).then_some(Refusal::Unlisted))
    }
}

impl Lot {
    fn of(judgement: Option<Judgement>) -> Self {
        match judgement {
            Some(Judgement::Acceptable) => Self::Acceptable,
            Some(Judgement::Rejected(reason)) => match Verdict::of(&reason) {
                Verdict::Known => Self::Known,
                Verdict::Refused(refusal) => Self::Refused(refusal),
            },
            None => Self::Unjudged,
        }
    }

    /// Why it is refused, if it is.
    pub(in crate::broadcast) fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Acceptable | Self::Known | Self::Unjudged => None,
        }
    }
}
