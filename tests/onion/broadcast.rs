//! Transactions that leave: by peers that are real nodes and by one that misbehaves, all of them reached through the
//! private Tor network alone, as onion services and on loopback addresses behind its exits.
//!
//! Most of a scenario is waiting: for random delays, and for peers. So those of one test run at the same time, each
//! with a server and a node of its own.

mod answers;
mod circuits;
mod conversation;
mod misbehaviour;
mod nodes;
mod scene;

use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn a_transaction_leaves_and_returns() {
    at_once(&[
        ("a wallet's payment returns", nodes::a_payment_goes_round),
        (
            "nodes that are no use",
            nodes::a_payment_passes_nodes_that_are_no_use,
        ),
        (
            "the conversation",
            conversation::peers_hear_what_they_must_and_no_more,
        ),
        ("no other way out", conversation::there_is_no_other_way_out),
        ("circuits and addresses", circuits::nothing_is_used_twice),
        (
            "the own addresses",
            circuits::the_own_addresses_are_never_dialled,
        ),
    ]);
}

#[test]
fn peers_that_misbehave_stop_nothing() {
    use misbehaviour as m;
    at_once(&[
        ("before the announcement, v2", m::nothing_was_said_v2),
        ("before the announcement, v1", m::nothing_was_said_v1),
        ("after the announcement, v2", m::it_was_announced_v2),
        ("after the announcement, v1", m::it_was_announced_v1),
        ("silence", m::silence_is_borne),
        ("a peer that is behind", m::a_peer_that_is_behind),
    ]);
}

#[test]
fn wallets_are_told_what_happens() {
    at_once(&[
        ("refusals", answers::refusals_have_their_texts),
        ("sent again", answers::what_is_known_is_not_sent_again),
        ("no peers", answers::without_peers_nothing_is_taken),
        ("no node", answers::without_the_node_nothing_is_taken),
    ]);
}

/// Runs all, each in a thread, and fails if one did; its own words stand above.
fn at_once(scenarios: &[(&'static str, fn())]) {
    let failed: Vec<&str> = std::thread::scope(|scope| {
        let running: Vec<_> = scenarios
            .iter()
            .map(|(name, scenario)| {
                (
                    name,
                    scope.spawn(move || catch_unwind(AssertUnwindSafe(scenario))),
                )
            })
            .collect();
        let ended = running
            .into_iter()
            .map(|(name, thread)| (name, thread.join()));
        ended
            .filter(|(_, result)| !matches!(result, Ok(Ok(()))))
            .map(|(name, _)| *name)
            .collect()
    });
    assert_eq!(failed, [""; 0]);
}
