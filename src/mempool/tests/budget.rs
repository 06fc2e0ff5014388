//! What stays when not all of it may.

use bitcoin::hashes::Hash as _;
use bitcoin::{OutPoint, Transaction, Txid};

use super::world::{World, output, pay};
use crate::mempool::{MempoolGap, Poller};

/// Payments that spend a coin of their own; the one of number `n` pays `1000 + n` satoshi.
fn payments(world: &World, count: u32) -> Vec<Transaction> {
    let payment = |n: u32| {
        let mut txid = [7; 32];
        txid[..4].copy_from_slice(&n.to_be_bytes());
        let coin = OutPoint::new(Txid::from_byte_array(txid), 0);
        world.confirm(coin, 1, 100_000);
        pay(&[coin], &[(2, 99_000 - u64::from(n))])
    };
    (0..count).map(payment).collect()
}

fn is_known(poller: &Poller, transaction: &Transaction) -> bool {
    poller.mempool().contains(&transaction.compute_txid())
}

/// Bytes of a mempool of one such payment.
fn bytes_of_one() -> usize {
    let world = World::default();
    let one = payments(&world, 1);
    world.set(&[&one[0]]);
    let mut poller = Poller::default();
    world.round(&mut poller);
    poller.mempool().bytes()
}

#[test]
fn the_best_paying_stay_and_their_number_is_told() {
    let bytes_max = 80 * bytes_of_one();
    let world = World::default();
    let many = payments(&world, 200);
    world.set(&many.iter().collect::<Vec<_>>());
    let mut poller = Poller::within(bytes_max);
    world.round(&mut poller);
    let part = poller.part();
    assert!(poller.mempool().bytes() <= bytes_max);
    assert_eq!((part.listed, part.known + part.left_out), (200, 200));
    assert!((60..=80).contains(&part.known), "{part:?}");
    assert_eq!(part.gap(), Some(MempoolGap::PayingLeast));
    // At most one part in eight has come since the last time that something was left out.
    assert!(
        many.iter()
            .rev()
            .take(60)
            .all(|best| is_known(&poller, best))
    );
    let histogram: u64 = poller
        .mempool()
        .fee_histogram()
        .iter()
        .map(|bin| bin.1)
        .sum();
    let size: u64 = many[0].weight().to_vbytes_ceil();
    assert_eq!(histogram, size * u64::try_from(part.known).unwrap());

    // They are not fetched again and again.
    let fetched = world.fetched.get();
    world.round(&mut poller);
    assert_eq!(world.fetched.get(), fetched);

    // When there is room, those that were left out come in.
    world.set(&many.iter().take(50).collect::<Vec<_>>());
    world.round(&mut poller);
    assert_eq!((poller.part().known, poller.part().gap()), (50, None));
    world.set(&[]);
    world.round(&mut poller);
    assert!(poller.mempool().is_empty());
    assert_eq!(poller.mempool().bytes(), 0);
}

#[test]
fn a_parent_stays_for_the_sake_of_its_child_and_a_child_leaves_with_its_parent() {
    let bytes_max = 40 * bytes_of_one();
    let world = World::default();
    let many = payments(&world, 100);
    let poor = &many[0];
    let rich = pay(&[output(poor, 0)], &[(3, 1)]);
    let neglected = pay(&[output(&many[1], 0)], &[(4, 98_998)]);
    let mut all: Vec<_> = many.iter().collect();
    all.extend([&rich, &neglected]);
    world.set(&all);
    let mut poller = Poller::within(bytes_max);
    world.round(&mut poller);
    assert!(is_known(&poller, poor) && is_known(&poller, &rich));
    assert!(!is_known(&poller, &many[1]) && !is_known(&poller, &neglected));

    // A child that pays for a parent that was left out brings it back.
    let saviour = pay(&[output(&many[2], 0)], &[(5, 1)]);
    all.push(&saviour);
    world.set(&all);
    world.round(&mut poller);
    world.round(&mut poller);
    assert!(is_known(&poller, &many[2]) && is_known(&poller, &saviour));
    assert!(poller.mempool().bytes() <= bytes_max);
}
