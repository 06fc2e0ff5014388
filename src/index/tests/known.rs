//! Txids that are known are those that would be read, whatever becomes of the chain.

use proptest::prelude::*;

use super::chain::{self, Chain};
use super::in_memory_with;
use super::layout::{follow, options_with, small_shape, step};
use super::model::advance;
use crate::chain::ScriptHash;
use crate::index::{ConfirmedEntry, ConfirmedUnspent, Effort, KnownTxids, Snapshot};

const SCRIPTS: std::ops::Range<u8> = 1..7;

type Told = Vec<(Vec<ConfirmedEntry>, Vec<ConfirmedUnspent>)>;

fn told(snapshot: &Snapshot, chain: &Chain, known: Option<&KnownTxids>) -> Told {
    let of = |script| {
        let prefix = snapshot.prefix(&ScriptHash::of(&chain::script(script)));
        let history = snapshot.history(prefix, Effort::Any, known).unwrap();
        let unspent = snapshot.unspent(prefix, Effort::Any, known, chain);
        (history, unspent.unwrap())
    };
    SCRIPTS.map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn who_knows_txids_is_told_the_same(
        steps in prop::collection::vec(step(), 1..12),
        shape in small_shape(),
    ) {
        let mut index = in_memory_with(&options_with(32, shape));
        let mut chain = Chain::new();
        index.update(None, &chain.blocks).unwrap();
        let known = KnownTxids::default();
        let mut before = (index.snapshot(), chain.clone());
        for step in &steps {
            let (kept, _) = advance(&mut chain, step);
            follow(&mut index, &chain, kept);
            let snapshot = index.snapshot();
            // A question under way may still hold the view before.
            for (snapshot, chain) in [(&snapshot, &chain), (&before.0, &before.1), (&snapshot, &chain)] {
                let whole = told(snapshot, chain, None);
                for _ in ["learnt", "known"] {
                    prop_assert!(told(snapshot, chain, Some(&known)) == whole);
                }
                prop_assert!(!known.is_empty() || whole.iter().all(|(history, _)| history.is_empty()));
            }
            before = (snapshot, chain.clone());
        }
    }
}
