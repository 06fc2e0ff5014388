//! Blocks by REST: what is asked, and what each misbehaviour of a node becomes.

use std::thread;
use std::time::Duration;

use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, BlockHash};
use proptest::prelude::*;

use super::calls::Door;
use super::fake::{Seen, http};
use crate::chain::{RawBlock, SpentList};
use crate::limits;
use crate::node::{Error, Node, RestBuffer, RestError, decode_spent};

/// A coinbase, a transaction with an input that spends 5 satoshi of OP_TRUE, and one that spends nothing.
const SPENT: &[u8] = &[3, 0, 1, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0x51, 0];
const BLOCK: &[u8] = b"whatever a block is";

fn hash() -> BlockHash {
    BlockHash::from_byte_array([7; 32])
}

/// Serves both.
fn serve(seen: &Seen) -> Vec<u8> {
    if seen.path == format!("/rest/spenttxouts/{}.bin", hash()) {
        http("200 OK", SPENT)
    } else if seen.path == format!("/rest/block/{}.bin", hash()) {
        http("200 OK", BLOCK)
    } else {
        http("404 Not Found", "")
    }
}

/// Asks once a node that answers both questions so.
fn asked(answer: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> Result<(), RestError> {
    let door = Door::to(move |seen, _| answer(seen));
    Node::new(&door.settings()).rest_block(&hash(), &mut RestBuffer::default())
}

#[test]
fn a_block_and_what_it_spends_come_over_kept_connections_without_a_password() {
    let door = Door::to(|seen, _| serve(seen));
    let node = Node::new(&door.settings());
    let ask = || {
        let mut buffer = RestBuffer::default();
        for _ in 0..5 {
            node.rest_block(&hash(), &mut buffer).unwrap();
            let RawBlock { bytes, spent } = buffer.block();
            assert_eq!((bytes, spent.counts()), (BLOCK, [1, 0].as_slice()));
            let output = spent.iter().next().unwrap();
            assert_eq!(output.amount, Amount::from_sat(5));
            assert_eq!(
                (output.script.as_bytes(), output.height),
                (&[0x51][..], None)
            );
            assert!(spent.lacks_heights());
        }
    };
    thread::scope(|scope| {
        for _ in 0..2 * limits::NODE_BULK_CALLS_MAX {
            scope.spawn(ask);
        }
    });
    let seen = door.fake.seen();
    assert!(seen.iter().all(|seen| seen.authorization.is_empty()));
    let connections = seen.iter().map(|seen| seen.connection).max().unwrap() + 1;
    assert!(
        connections <= limits::NODE_BULK_CALLS_MAX,
        "{connections} connections"
    );
}

#[test]
fn what_is_not_served_and_what_cannot_be_used_is_told_apart() {
    let not_served = asked(|_| http("404 Not Found", ""));
    let text = not_served.unwrap_err().to_string();
    assert_eq!(
        text,
        "ask the node for blocks by REST: it does not serve /rest/spenttxouts; start Bitcoin Core 30 or later with \
         -rest=1"
    );
    let without_the_block = asked(|seen| {
        if seen.path.contains("/block/") {
            http("404 Not Found", "")
        } else {
            serve(seen)
        }
    });
    assert!(matches!(
        without_the_block,
        Err(RestError::NotServed { .. })
    ));
    let unfit: [fn() -> Vec<u8>; 4] = [
        || http("500 Internal Server Error", ""),
        || http("200 OK", [SPENT, &[0]].concat()),
        || http("200 OK", "Work queue depth exceeded"),
        || b"nothing like HTTP\r\n\r\n".to_vec(),
    ];
    for answer in unfit {
        let outcome = asked(move |_| answer());
        assert!(
            matches!(outcome, Err(RestError::Unfit { .. })),
            "{outcome:?}"
        );
    }
}

#[test]
fn a_node_that_is_busy_silent_or_gone_is_to_be_waited_for() {
    let busy = asked(|_| http("503 Service Unavailable", ""));
    assert!(matches!(
        busy,
        Err(RestError::Node(Error::Overloaded { .. }))
    ));
    let forbidden = asked(|_| http("403 Forbidden", ""));
    assert!(matches!(
        forbidden,
        Err(RestError::Node(Error::Forbidden { .. }))
    ));
    let door = Door::to(|_, _| Vec::new());
    let node = Node::new(&door.settings());
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(100));
            node.stop_following();
        });
        let stopped = node.rest_block(&hash(), &mut RestBuffer::default());
        assert!(matches!(stopped, Err(RestError::Node(_))), "{stopped:?}");
    });
}

#[test]
fn more_inputs_than_a_block_has_room_for_are_refused() {
    let mut spent = SpentList::default();
    assert!(decode_spent(SPENT, &mut spent).is_some());
    let many = [&[0xfe][..], &200_000_u32.to_le_bytes(), &[0; 200_000]].concat();
    assert!(decode_spent(&many, &mut spent).is_none());
    assert!(
        decode_spent(&[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], &mut spent).is_none(),
        "a coinbase spends"
    );
}

proptest! {
    #[test]
    fn nothing_read_makes_it_panic(bytes: Vec<u8>, count in 0..4_u8) {
        let mut spent = SpentList::default();
        let framed = [&[count, 0], bytes.as_slice()].concat();
        for bytes in [bytes, framed] {
            if decode_spent(&bytes, &mut spent).is_some() {
                prop_assert_eq!(spent.counts().iter().sum::<usize>(), spent.iter().len());
            }
        }
    }
}
