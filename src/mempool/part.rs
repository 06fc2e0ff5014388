//! How much of the node's mempool is known.

/// How much of the node's mempool is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MempoolPart {
    /// Transactions that are known.
    pub known: usize,
    /// Transactions that the node has.
    pub listed: usize,
    /// Transactions that pay least, and are left out because all together take too much memory.
    pub left_out: usize,
    /// Whether more than one round's transactions have still to be read.
    pub loading: bool,
}

/// What is not known of the node's mempool. What is known is what a node with a smaller mempool would have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MempoolGap {
    /// So many per cent are known so far.
    Loading(u8),
    /// Transactions that pay least, because all together take too much memory.
    PayingLeast,
}

impl MempoolPart {
    /// What is missing, if clients should be told of it.
    pub fn gap(self) -> Option<MempoolGap> {
        if self.loading {
            let known = self.known.saturating_add(self.left_out).min(self.listed);
            let percent = known.saturating_mul(100).checked_div(self.listed);
            let percent = percent.and_then(|percent| u8::try_from(percent).ok());
            return Some(MempoolGap::Loading(percent.unwrap_or_default()));
        }
        (self.left_out > 0).then_some(MempoolGap::PayingLeast)
    }

    /// The same in words, for the operator.
    pub fn text(self) -> String {
        let Self {
            known,
            listed,
            left_out,
            ..
        } = self;
        match self.gap() {
            None => format!("{known} transactions"),
            Some(MempoolGap::Loading(_)) => {
                format!("{known} of {listed} transactions so far")
            }
            Some(MempoolGap::PayingLeast) => format!(
                "{known} of {listed} transactions: the {left_out} that pay least are left out, for they \
                 would take too much memory; clients are told so in the banner"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_in_words() {
        let mut part = MempoolPart {
            known: 30,
            listed: 90,
            left_out: 0,
            loading: true,
        };
        assert_eq!(part.gap(), Some(MempoolGap::Loading(33)));
        assert_eq!(part.text(), "30 of 90 transactions so far");
        part.left_out = 60;
        part.loading = false;
        assert_eq!(part.gap(), Some(MempoolGap::PayingLeast));
        assert!(part.text().contains("the 60 that pay least are left out"));
        part.left_out = 0;
        assert_eq!(
            (part.gap(), part.text().as_str()),
            (None, "30 transactions")
        );
        assert_eq!(MempoolPart::default().gap(), None);
    }
}
