//! A parent and its child, judged by a real node, which is not to send them.

use super::*;
use crate::packages::Family;
use bitcoin::transaction::Version;
use claustrum::broadcast::{PackageRefusal, TakenPackage};

impl Bench {
    fn take_package(&self, family: &Family) -> Result<TakenPackage, PackageRefusal> {
        let raw = [&family.parent, &family.child]
            .map(|transaction| RawTransaction::new(encode::serialize(transaction)));
        self.broadcaster.take_package(&raw, &Quota::new())
    }
}

/// Why each is refused, and whether anything is on its way.
fn outcome(taken: Result<TakenPackage, PackageRefusal>) -> Result<(Vec<Option<Refusal>>, bool)> {
    let taken = taken.map_err(|refusal| anyhow::anyhow!(refusal.text()))?;
    let refusals = taken.members.iter().map(|member| member.refusal);
    Ok((refusals.collect(), taken.settled.is_some()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_family_leaves_when_each_of_it_pays_for_itself() -> Result<()> {
    let bench = Bench::start(&[]).await?;
    let family =
        |coin, version, fees| Family::new(&bench.node, coin, Version::non_standard(version), fees);
    let poor = outcome(bench.take_package(&family(0, 3, [0, 20_000])?))?;
    ensure!(poor == (vec![Some(Refusal::BelowRelayFee), None], false));
    let mut broken = family(0, 2, [1_000, 1_000])?;
    broken.child.output[0].value += Amount::from_sat(1);
    let broken = outcome(bench.take_package(&broken))?;
    ensure!(broken == (vec![None, Some(Refusal::ScriptFailed)], false));

    let whole = family(1, 2, [1_000, 1_000])?;
    ensure!(outcome(bench.take_package(&whole))? == (vec![None, None], true));
    ensure!(outcome(bench.take_package(&whole))? == (vec![None, None], false));
    ensure!(
        bench
            .take(&whole.parent)
            .is_ok_and(|taken| taken.settled.is_none())
    );

    // A child finds its parent on its way, in the mempool, and nowhere.
    let single = family(2, 2, [1_000, 1_000])?;
    bench.assert_answer(&single.child, Refusal::MissingInputs)?;
    ensure!(
        bench
            .take(&single.parent)
            .is_ok_and(|taken| taken.settled.is_some())
    );
    ensure!(
        bench
            .take(&single.child)
            .is_ok_and(|taken| taken.settled.is_some())
    );
    let known = family(3, 2, [1_000, 1_000])?;
    bench.node.send(&known.raw()[0])?;
    ensure!(outcome(bench.take_package(&known))? == (vec![None, None], true));
    bench.node.send(&known.raw()[1])?;
    ensure!(outcome(bench.take_package(&known))? == (vec![None, None], false));
    bench.node.mine(1)?;

    // They left for peers, and not by the node.
    let deadline = Instant::now() + READY;
    while bench.dials() == 0 {
        ensure!(Instant::now() < deadline, "nobody was dialled");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!(bench.node.mempool()?.is_empty(), "the node has it");
    Ok(())
}
