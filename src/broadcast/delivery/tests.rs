use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::far_end::FarEnd;
use super::*;
use crate::broadcast::peer::Peer;
use crate::broadcast::queue::Queue;
use crate::broadcast::transaction::QueuedTransaction;
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::{Amount, OutPoint, ScriptBuf, TxIn, TxOut, Txid, absolute, transaction};
use rand::SeedableRng as _;
use tokio::io::DuplexStream;
use tokio::time::sleep;

/// Bytes that the connection holds, as a circuit would.
const STREAM_BYTES: usize = 1024;

/// Gives one connection, fails, or never answers.
struct OneDialer(Mutex<Option<Result<DuplexStream, DialFailed>>>);

impl Dialer for OneDialer {
    type Stream = DuplexStream;

    async fn dial(&self, _: &PeerAddress) -> Result<DuplexStream, DialFailed> {
        let answer = self.0.lock().unwrap().take();
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    fn is_ready(&self) -> bool {
        true
    }
}

fn onion() -> Peer {
    format!("{}.onion:8333 v1", "a".repeat(56)).parse().unwrap()
}

/// A transaction that is larger than [`STREAM_BYTES`].
fn large() -> bitcoin::Transaction {
    bitcoin::Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(Txid::all_zeros(), 1),
            ..TxIn::default()
        }],
        output: vec![TxOut {
            value: Amount::from_sat(1),
            script_pubkey: ScriptBuf::from(vec![0x6a; 5000]),
        }],
    }
}

/// What [`large`] may be given out with.
fn parent() -> bitcoin::Transaction {
    bitcoin::Transaction {
        lock_time: absolute::LockTime::from_consensus(7),
        ..large()
    }
}

fn queued(transaction: &bitcoin::Transaction) -> QueuedTransaction {
    let raw = Zeroizing::new(bitcoin::consensus::serialize(transaction));
    QueuedTransaction::new(transaction, raw)
}

/// The first dial that a queue with this transaction makes, led to this peer.
fn dial_to(peer: Peer) -> Dial {
    dial_with(queued(&large()), peer)
}

fn dial_with(transaction: QueuedTransaction, peer: Peer) -> Dial {
    use crate::broadcast::pool::{Networks, PeerPool};
    let timing = Timing::standard();
    let mut random = StdRng::seed_from_u64(1);
    let peers = vec![peer];
    let mut pool = PeerPool::new(peers, Networks::Both, Vec::new(), &timing, &mut random);
    let mut queue = Queue::new(timing, 2, random);
    let now = std::time::Instant::now();
    queue.admit(Arc::new(transaction), now).unwrap();
    queue.due(&mut pool, now + timing.start_max).remove(0)
}

/// How a delivery over this dialer ends, and after how long.
async fn ended(dialer: OneDialer, peer: Peer) -> (Outcome, Duration) {
    ended_for(dial_to(peer), dialer).await
}

async fn ended_for(dial: Dial, dialer: OneDialer) -> (Outcome, Duration) {
    let begun = Instant::now();
    let timing = Timing::standard();
    let random = StdRng::seed_from_u64(2);
    let outcome = deliver(&dialer, dial, Network::Regtest, &timing, random).await;
    (outcome, begun.elapsed())
}

type Script = fn(FarEnd) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// How a delivery to a peer ends that does this, and after how many seconds.
async fn with(script: Script) -> (DeliveryEnd, f64) {
    let (ours, theirs) = tokio::io::duplex(STREAM_BYTES);
    let peer = tokio::spawn(script(FarEnd::new(theirs)));
    let (outcome, took) = ended(OneDialer(Mutex::new(Some(Ok(ours)))), onion()).await;
    // With the delivery its connection has ended.
    peer.await.unwrap();
    (outcome.end, took.as_secs_f64())
}

#[tokio::test(start_paused = true)]
async fn an_honest_peer_gets_the_transaction_and_the_connection_ends_with_its_pong() {
    let (ours, theirs) = tokio::io::duplex(STREAM_BYTES);
    let peer = tokio::spawn(FarEnd::new(theirs).take());
    let (outcome, took) = ended(OneDialer(Mutex::new(Some(Ok(ours)))), onion()).await;
    assert_eq!(outcome.end, DeliveryEnd::Ponged);
    assert_eq!(outcome.peer_height, Some(1_000));
    assert_eq!(took, Duration::ZERO);
    assert!(peer.await.unwrap().unwrap() == large());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_misses_a_parent_has_time_to_ask_for_it() {
    for (asks_after, took) in [(None, 10), (Some(4), 14), (Some(9), 19)] {
        let (ours, theirs) = tokio::io::duplex(STREAM_BYTES);
        let peer = tokio::spawn(async move {
            let mut peer = FarEnd::new(theirs);
            let txid = peer.shake_hands().await.unwrap();
            assert_eq!(txid, large().compute_txid());
            peer.ask_for(txid).await;
            assert_eq!(peer.next().await, Some(NetworkMessage::Tx(large())));
            if let Some(seconds) = asks_after {
                sleep(Duration::from_secs(seconds)).await;
                peer.ask_for(parent().compute_txid()).await;
                assert_eq!(peer.next().await, Some(NetworkMessage::Tx(parent())));
            }
            let Some(NetworkMessage::Ping(nonce)) = peer.next().await else {
                panic!("no ping");
            };
            peer.say(NetworkMessage::Pong(nonce)).await;
        });
        let family = queued(&large()).with_parents(vec![Arc::new(queued(&parent()))]);
        let dialer = OneDialer(Mutex::new(Some(Ok(ours))));
        let (outcome, lasted) = ended_for(dial_with(family, onion()), dialer).await;
        peer.await.unwrap();
        assert_eq!(outcome.end, DeliveryEnd::Ponged);
        assert_eq!(lasted.as_secs(), took, "asked after {asks_after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dial_ends_in_time() {
    let exit: Peer = "1.2.3.4:8333".parse().unwrap();
    for (peer, max) in [
        (onion(), limits::DIAL_ONION_MAX),
        (exit, limits::DIAL_EXIT_MAX),
    ] {
        let (outcome, took) = ended(OneDialer(Mutex::new(None)), peer).await;
        assert_eq!((outcome.end, took), (DeliveryEnd::DialFailed, max));
    }
    let fails = OneDialer(Mutex::new(Some(Err(DialFailed))));
    let (outcome, took) = ended(fails, onion()).await;
    assert_eq!(
        (outcome.end, took),
        (DeliveryEnd::DialFailed, Duration::ZERO)
    );
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_its_own_time() {
    let late = Ok::<_, ()>((DeliveryEnd::HandshakeTimedOut, 40.0));
    let silent: Script = |mut peer| Box::pin(async move { peer.listen().await });
    assert_eq!(Ok(with(silent).await), late);
    let trickling: Script = |mut peer| {
        Box::pin(async move {
            for byte in [0xfa, 0xbf, 0xb5, 0xda, b'v'] {
                peer.say_bytes(&[byte]).await;
                sleep(Duration::from_secs(10)).await;
            }
        })
    };
    let (end, took) = with(trickling).await;
    assert_eq!((end, took), (DeliveryEnd::HandshakeTimedOut, 40.0));
    let too_late: Script = |mut peer| {
        Box::pin(async move {
            peer.say_version(true, 0).await;
            sleep(Duration::from_millis(40_001)).await;
            peer.say(NetworkMessage::Verack).await;
            peer.listen().await;
        })
    };
    assert_eq!(Ok(with(too_late).await), late);
}

#[tokio::test(start_paused = true)]
async fn a_connection_lasts_its_time_when_nobody_asks_or_confirms() {
    let never_asks: Script = |mut peer| {
        Box::pin(async move {
            peer.say_version(true, 0).await;
            sleep(Duration::from_secs(39)).await;
            peer.say(NetworkMessage::Verack).await;
            peer.listen().await;
        })
    };
    // From the connection, not from the announcement.
    assert_eq!(with(never_asks).await, (DeliveryEnd::NoGetdata, 180.0));
    let keeps_talking: Script = |mut peer| {
        Box::pin(async move {
            peer.shake_hands().await;
            for nonce in 0..200 {
                peer.say(NetworkMessage::Ping(nonce)).await;
                sleep(Duration::from_secs(1)).await;
            }
        })
    };
    assert_eq!(with(keeps_talking).await, (DeliveryEnd::NoGetdata, 180.0));
    let told = DeliveryEnd::Closed { announced: true };
    let never_confirms: Script = |mut peer| {
        Box::pin(async move {
            let txid = peer.shake_hands().await.unwrap();
            peer.ask_for(txid).await;
            peer.listen().await;
        })
    };
    assert_eq!(with(never_confirms).await, (told, 180.0));
    let takes_nothing: Script = |mut peer| {
        Box::pin(async move {
            let txid = peer.shake_hands().await.unwrap();
            peer.ask_for(txid).await;
            sleep(limits::PEER_CONNECTION_MAX).await;
        })
    };
    assert_eq!(with(takes_nothing).await, (told, 180.0));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_leaves_or_breaks_the_rules_ends_it_at_once() {
    let cases: [(Script, DeliveryEnd); 6] = [
        (
            |peer| Box::pin(async move { drop(peer) }),
            DeliveryEnd::Closed { announced: false },
        ),
        (
            |mut peer| Box::pin(async move { assert!(peer.shake_hands().await.is_some()) }),
            DeliveryEnd::Closed { announced: true },
        ),
        (
            |mut peer| {
                Box::pin(async move {
                    peer.say_version(false, 0).await;
                    let version = peer.next().await;
                    assert!(matches!(version, Some(NetworkMessage::Version(_))));
                    assert!(peer.next().await.is_none(), "more to who relays nothing");
                })
            },
            DeliveryEnd::NoRelay,
        ),
        (
            |mut peer| {
                Box::pin(async move {
                    peer.say_bytes(&[7; 24]).await;
                    peer.listen().await;
                })
            },
            DeliveryEnd::Violation { announced: false },
        ),
        (
            |mut peer| {
                Box::pin(async move {
                    peer.shake_hands().await;
                    peer.ask_for(Txid::all_zeros()).await;
                    assert!(
                        peer.next().await.is_none(),
                        "an answer to a foreign question"
                    );
                })
            },
            DeliveryEnd::Violation { announced: true },
        ),
        (
            |mut peer| {
                Box::pin(async move {
                    for _ in 0..1000 {
                        peer.say(NetworkMessage::SendHeaders).await;
                    }
                })
            },
            DeliveryEnd::Violation { announced: false },
        ),
    ];
    for (place, (script, end)) in cases.into_iter().enumerate() {
        assert_eq!(with(script).await, (end, 0.0), "case {place}");
    }
}
