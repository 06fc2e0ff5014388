//! Parents and their child, from a session to the peers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bitcoin::consensus::encode;
use bitcoin::{OutPoint, Transaction};
use tokio::time::sleep;

use super::bench::{Bench, Peers, transaction};
use crate::broadcast::{PackageRefusal, Quota, Refusal, Taken, TakenPackage};
use crate::limits;
use crate::redact::RawTransaction;

const LETTERS: &str = "abcdefghij";

fn child_of(parents: &[&Transaction]) -> Transaction {
    let mut child = transaction(100);
    let [input] = &child.input[..] else {
        panic!("one input");
    };
    let input = input.clone();
    for parent in parents {
        let mut input = input.clone();
        input.previous_output = OutPoint::new(parent.compute_txid(), 0);
        child.input.push(input);
    }
    child
}

fn raw(transaction: &Transaction) -> RawTransaction {
    RawTransaction::new(encode::serialize(transaction))
}

impl Bench {
    fn take_package(&self, package: &[&Transaction]) -> Result<TakenPackage, PackageRefusal> {
        let raw: Vec<RawTransaction> = package.iter().map(|member| raw(member)).collect();
        self.admission.take_package(&raw, &self.quota)
    }

    fn take_one(&self, transaction: &Transaction) -> Result<Taken, Refusal> {
        self.admission.take(&raw(transaction), &Quota::new())
    }

    fn holds(&self, transaction: &Transaction) -> bool {
        let txid = transaction.compute_txid();
        self.admission.dispatcher().holds(&txid)
    }

    fn refuses(&self, reason: &'static str) {
        *self.node.package_reason.lock().unwrap() = Some(reason);
    }

    /// The network has it from now on.
    fn sees(&self, transaction: &Transaction) {
        let mut mempool = self.node.mempool.lock().unwrap();
        mempool.insert(transaction.compute_txid());
    }
}

fn refusals(taken: &TakenPackage) -> Vec<Option<Refusal>> {
    taken.members.iter().map(|member| member.refusal).collect()
}

#[tokio::test(start_paused = true)]
async fn a_package_leaves_as_one_and_is_done_when_its_child_is_back() {
    let bench = Bench::start(LETTERS, Peers::HoldBack, 1).await;
    let (one, two) = (transaction(1), transaction(2));
    let child = child_of(&[&one, &two]);
    let taken = bench.take_package(&[&one, &two, &child]).unwrap();
    assert_eq!(refusals(&taken), [None; 3]);
    let settled = tokio::spawn(taken.settled.unwrap());
    assert!(
        [&one, &two, &child]
            .iter()
            .all(|member| bench.holds(member))
    );
    // Again, and each alone: they are on their way.
    let again = bench.take_package(&[&one, &two, &child]).unwrap();
    assert!(again.settled.is_none() && refusals(&again) == [None; 3]);
    assert!(bench.take_one(&two).unwrap().settled.is_none());
    assert_eq!(bench.node.tests.load(Ordering::Relaxed), 1);

    bench.sees(&one);
    sleep(Duration::from_secs(3)).await;
    assert!(!settled.is_finished(), "only a parent is back");
    bench.sees(&child);
    sleep(Duration::from_secs(3)).await;
    assert!(settled.is_finished());
    sleep(limits::PEER_CONNECTION_MAX * 2).await;
    assert_eq!(bench.connections().len(), 3);
    assert!(!bench.holds(&child) && !bench.holds(&one));
}

#[tokio::test(start_paused = true)]
async fn a_package_is_taken_whole_or_not_at_all() {
    let bench = Bench::start(LETTERS, Peers::HoldBack, 1).await;
    let parent = transaction(1);
    let child = child_of(&[&parent]);
    bench.refuses("min relay fee not met, 0 < 110");
    let taken = bench.take_package(&[&parent, &child]).unwrap();
    assert_eq!(refusals(&taken), [Some(Refusal::BelowRelayFee), None]);
    assert!(taken.settled.is_none() && !bench.holds(&child) && !bench.holds(&parent));
    // A parent that is there is no obstacle, and what is all there is known.
    bench.sees(&parent);
    bench.refuses("dust");
    let taken = bench.take_package(&[&parent, &child]).unwrap();
    assert_eq!(refusals(&taken), [None, Some(Refusal::Dust)]);
    *bench.node.package_reason.lock().unwrap() = None;
    let taken = bench.take_package(&[&parent, &child]).unwrap();
    assert!(taken.settled.is_some() && bench.holds(&child) && !bench.holds(&parent));
    bench.sees(&child);
    sleep(limits::PEER_CONNECTION_MAX * 2).await;
    bench.tor.is_ready.store(false, Ordering::Relaxed);
    let taken = bench.take_package(&[&parent, &child]).unwrap();
    assert!(taken.settled.is_none() && refusals(&taken) == [None; 2]);

    let other = transaction(2);
    let not_ready = Some(PackageRefusal::NotTaken(Refusal::NotReady));
    assert_eq!(bench.take_package(&[&other]).err(), not_ready);
    let not_a_family = Some(PackageRefusal::NotAFamily);
    assert_eq!(bench.take_package(&[&other, &child]).err(), not_a_family);
}

#[tokio::test(start_paused = true)]
async fn a_package_counts_as_one_toward_what_a_session_may_queue() {
    let bench = Bench::start(LETTERS, Peers::HoldBack, 1).await;
    let parent = transaction(1);
    let child = child_of(&[&parent]);
    assert!(bench.take_package(&[&parent, &child]).is_ok());
    let rest = u8::try_from(limits::SESSION_TRANSACTIONS_MAX).unwrap();
    for number in 2..=rest {
        assert!(bench.take(number).is_ok(), "{number}");
    }
    let (parent, full) = (
        transaction(50),
        PackageRefusal::NotTaken(Refusal::QueueFull),
    );
    let child = child_of(&[&parent]);
    assert_eq!(bench.take_package(&[&parent, &child]).err(), Some(full));
}

#[tokio::test(start_paused = true)]
async fn a_child_whose_parent_is_on_its_way_leaves_with_it() {
    let bench = Bench::start(LETTERS, Peers::HoldBack, 1).await;
    let parent = transaction(1);
    let child = child_of(&[&parent]);
    let missing = || *bench.node.reason.lock().unwrap() = Some("bad-txns-inputs-missingorspent");
    missing();
    assert_eq!(bench.take_one(&child).err(), Some(Refusal::MissingInputs));
    *bench.node.reason.lock().unwrap() = None;
    assert!(bench.take_one(&parent).is_ok());
    missing();
    bench.refuses("dust");
    assert_eq!(bench.take_one(&child).err(), Some(Refusal::Dust));
    *bench.node.package_reason.lock().unwrap() = None;
    assert!(
        bench
            .take_one(&child)
            .is_ok_and(|taken| taken.settled.is_some())
    );
    assert!(bench.holds(&child));
    let inputs: Vec<OutPoint> = [&parent, &child]
        .iter()
        .map(|member| OutPoint::new(member.compute_txid(), 0))
        .collect();
    let found = bench.admission.dispatcher().parents_of(&inputs);
    let with_parents = found.iter().filter(|member| !member.parents.is_empty());
    assert_eq!(with_parents.count(), 1, "the child has its parent with it");
}

#[tokio::test(start_paused = true)]
async fn a_package_that_does_not_come_back_is_tested_whole() {
    let bench = Bench::start(LETTERS, Peers::Honest, 1).await;
    let parent = transaction(1);
    let child = child_of(&[&parent]);
    drop(bench.take_package(&[&parent, &child]).unwrap());
    sleep(Duration::from_secs(250)).await;
    assert_eq!(bench.connections().len(), 4);
    bench.refuses("txn-mempool-conflict");
    sleep(Duration::from_secs(3_000)).await;
    assert!(!bench.holds(&child));
}
