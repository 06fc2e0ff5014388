//! A transaction whose parents the peer may miss.

use super::*;

/// A child of the id 7, and parents of the ids 1 and 2.
fn family() -> Arc<QueuedTransaction> {
    let parent = |id: u8| {
        Arc::new(QueuedTransaction {
            txid: Txid::from_byte_array([id; 32]),
            inputs: Vec::new(),
            raw: Zeroizing::new(vec![id; 100]),
            parents: Vec::new(),
        })
    };
    let child = Arc::into_inner(transaction()).unwrap();
    Arc::new(child.with_parents(vec![parent(1), parent(2)]))
}

fn announced(transport: Transport) -> Exchange {
    let mut random = StdRng::seed_from_u64(1);
    let open = Conversation::open(transport, Network::Regtest, family(), &mut random);
    let mut exchange = Exchange::over(transport, open);
    exchange.say("version", &version(70_016, 1));
    exchange.say("verack", &[]);
    exchange
}

fn asking(ids: &[u8]) -> Vec<u8> {
    let items = ids.iter().flat_map(|id| getdata(1, *id).split_off(1));
    [u8::try_from(ids.len()).unwrap()]
        .into_iter()
        .chain(items)
        .collect()
}

impl Exchange {
    /// Nothing was asked for in a while.
    fn quiet(&mut self) {
        let send = self.conversation.quiet();
        if !send.is_empty() {
            self.said.extend(self.peer.hear(&send));
        }
    }

    fn given(&self) -> Vec<&[u8]> {
        let served = self.said.iter().filter(|(name, _)| name == "tx");
        served.map(|(_, raw)| raw.as_slice()).collect()
    }
}

#[test]
fn the_child_alone_is_announced_and_whoever_misses_parents_gets_them() {
    for transport in TRANSPORTS {
        let mut exchange = announced(transport);
        assert_eq!(exchange.said.last().unwrap().1, getdata(1, 7));
        assert_eq!(exchange.conversation.requests(), None);
        exchange.say("getdata", &asking(&[7]));
        assert_eq!(exchange.conversation.requests(), Some(1));
        exchange.say("getdata", &asking(&[2, 1]));
        // What it has is not given again, and it may still want more.
        exchange.say("getdata", &asking(&[1, 7]));
        assert_eq!(exchange.conversation.requests(), Some(3));
        assert_eq!(exchange.given(), [RAW, &[1; 100], &[2; 100]]);
        assert!(!exchange.names().contains(&"ping"));
        exchange.quiet();
        exchange.quiet();
        assert_eq!(
            exchange.names(),
            ["version", "verack", "inv", "tx", "tx", "tx", "ping"]
        );
        assert_eq!(exchange.conversation.requests(), None);
        let nonce = exchange.ping_nonce();
        exchange.say("pong", &nonce);
        assert_eq!(exchange.end, Some(DeliveryEnd::Ponged));
    }
}

#[test]
fn parents_are_given_whenever_they_are_asked_for() {
    let mut exchange = announced(Transport::V1);
    exchange.say("getdata", &asking(&[1]));
    assert_eq!(exchange.conversation.requests(), None, "it lacks the child");
    exchange.quiet();
    assert_eq!(exchange.names(), ["version", "verack", "inv", "tx"]);
    exchange.say("getdata", &asking(&[7]));
    exchange.quiet();
    let nonce = exchange.ping_nonce();
    exchange.say("getdata", &asking(&[2]));
    assert_eq!(exchange.given(), [&[1; 100], RAW, &[2; 100]]);
    assert_eq!(exchange.end, None);
    exchange.say("pong", &nonce);
    assert_eq!(exchange.end, Some(DeliveryEnd::Ponged));
}

#[test]
fn a_peer_that_asks_for_nothing_is_not_pinged() {
    let mut exchange = announced(Transport::V1);
    exchange.quiet();
    assert_eq!(exchange.names(), ["version", "verack", "inv"]);
    assert_eq!(exchange.conversation.timed_out(), DeliveryEnd::NoGetdata);
    exchange.say("getdata", &asking(&[7]));
    let told = DeliveryEnd::Closed { announced: true };
    assert_eq!(exchange.conversation.timed_out(), told);
    assert_eq!(exchange.conversation.closed(), told);
}

#[test]
fn a_getdata_for_more_than_the_family_ends_it() {
    for ids in [&[9][..], &[7, 9], &[1, 2, 7, 7]] {
        let mut exchange = announced(Transport::V1);
        exchange.say("getdata", &asking(ids));
        assert_violates(&exchange, true);
    }
}
