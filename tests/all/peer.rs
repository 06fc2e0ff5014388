//! A delivery to a real node as the peer, over a plain stream.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bitcoin::consensus::encode;
use bitcoin::hex::FromHex as _;
use bitcoin::transaction::Version;
use bitcoin::{Transaction, Txid};
use claustrum::broadcast::{Conversation, DeliveryEnd, QueuedTransaction, Transport};
use claustrum::chain::Network;
use claustrum::limits;
use rand::SeedableRng as _;
use rand::rngs::{StdRng, SysRng};
use rig::node::{Node, Options};
use rig::ports;
use serde_json::json;
use zeroize::Zeroizing;

use crate::packages::Family;

/// A node asks two seconds after an announcement, or four if it is busy with other peers.
const LIFETIME: Duration = Duration::from_secs(15);
/// Long enough for a node that would ask.
const SILENCE: Duration = Duration::from_secs(6);
const POLL: Duration = Duration::from_millis(50);
const SATOSHI: u64 = 100_000;

/// A node that takes connections of peers.
struct Peer {
    node: Node,
    port: u16,
}

impl Peer {
    fn start(extra: &[&str]) -> Result<Self> {
        let port = ports::free()?;
        let bind = format!("-bind=127.0.0.1:{port}");
        let arguments = ["-listen=1", &bind]
            .into_iter()
            .chain(extra.iter().copied());
        let node = Node::start_funded(&Options {
            extra: arguments.map(str::to_owned).collect(),
            ..Options::default()
        })?;
        Ok(Self { node, port })
    }

    /// A payment of its wallet that it does not know as a transaction.
    fn payment(&self) -> Result<(Arc<QueuedTransaction>, Txid)> {
        queued(&self.node.pay_unsent(&self.node.new_address()?, SATOSHI)?)
    }

    /// Runs one conversation to its end.
    #[expect(clippy::disallowed_types, reason = "the test stands where Tor does")]
    fn deliver(
        &self,
        transport: Transport,
        transaction: &Arc<QueuedTransaction>,
        lifetime: Duration,
    ) -> Result<Delivery> {
        let mut random = StdRng::try_from_rng(&mut SysRng)?;
        let mut stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(POLL))?;
        let (mut conversation, first) = Conversation::open(
            transport,
            Network::Regtest,
            Arc::clone(transaction),
            &mut random,
        );
        stream.write_all(&first)?;
        let begun = Instant::now();
        let mut asked = (None, begun);
        let mut piece = [0; 1000];
        let end = loop {
            if begun.elapsed() > lifetime {
                break conversation.timed_out();
            }
            if asked.0 != conversation.requests() {
                asked = (conversation.requests(), Instant::now());
            }
            if asked.0.is_some() && asked.1.elapsed() > limits::PACKAGE_QUIET {
                stream.write_all(&conversation.quiet())?;
            }
            let count = match stream.read(&mut piece) {
                Ok(0) => break conversation.closed(),
                Ok(count) => count,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    break conversation.closed();
                }
                Err(error) => return Err(error.into()),
            };
            let progress = conversation.receive(&piece[..count]);
            stream.write_all(&progress.send)?;
            if let Some(end) = progress.end {
                break end;
            }
        };
        Ok(Delivery {
            end,
            height: conversation.peer_height(),
        })
    }

    fn wait_until_known(&self, txid: Txid) -> Result<()> {
        let deadline = Instant::now() + LIFETIME;
        while !self.node.mempool()?.contains(&txid.to_string()) {
            ensure!(Instant::now() < deadline, "it is not in the node's mempool");
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

struct Delivery {
    end: DeliveryEnd,
    height: Option<i32>,
}

fn queued(raw: &str) -> Result<(Arc<QueuedTransaction>, Txid)> {
    let raw = Vec::from_hex(raw)?;
    let transaction: Transaction = encode::deserialize(&raw)?;
    let queued = QueuedTransaction::new(&transaction, Zeroizing::new(raw));
    Ok((Arc::new(queued), transaction.compute_txid()))
}

#[test]
fn a_node_takes_the_transaction_over_both_transports() -> Result<()> {
    let peer = Peer::start(&["-v2transport=1"])?;
    for transport in [Transport::V2, Transport::V1] {
        let (transaction, txid) = peer.payment()?;
        let delivery = peer.deliver(transport, &transaction, LIFETIME)?;
        ensure!(
            delivery.end == DeliveryEnd::Ponged,
            "{transport:?}: {:?}",
            delivery.end
        );
        let height = i32::try_from(peer.node.height()?)?;
        ensure!(delivery.height == Some(height), "its height was not heard");
        peer.wait_until_known(txid)
            .with_context(|| format!("{transport:?}"))?;
    }
    Ok(())
}

#[test]
fn a_node_asks_for_a_parent_that_it_misses_and_takes_both() -> Result<()> {
    let peer = Peer::start(&["-v2transport=1"])?;
    let (ordinary, truc) = (Version::TWO, Version::non_standard(3));
    // The parent of the second does not pay for itself.
    for (coin, version, fees) in [(0, ordinary, [1_000, 1_000]), (1, truc, [0, 20_000])] {
        let family = Family::new(&peer.node, coin, version, fees)?;
        let [parent, child] = [&family.parent, &family.child].map(|transaction| {
            let raw = Zeroizing::new(encode::serialize(transaction));
            QueuedTransaction::new(transaction, raw)
        });
        let child = Arc::new(child.with_parents(vec![Arc::new(parent)]));
        let begun = Instant::now();
        let delivery = peer.deliver(Transport::V2, &child, LIFETIME * 3)?;
        ensure!(delivery.end == DeliveryEnd::Ponged, "{:?}", delivery.end);
        ensure!(begun.elapsed() > limits::PACKAGE_QUIET, "no time to ask");
        for transaction in [&family.parent, &family.child] {
            peer.wait_until_known(transaction.compute_txid())?;
        }
    }
    Ok(())
}

#[test]
fn a_node_without_relay_is_told_nothing() -> Result<()> {
    let peer = Peer::start(&["-blocksonly=1", "-v2transport=1"])?;
    for transport in [Transport::V2, Transport::V1] {
        let delivery = peer.deliver(transport, &peer.payment()?.0, LIFETIME)?;
        ensure!(delivery.end == DeliveryEnd::NoRelay, "{:?}", delivery.end);
    }
    ensure!(peer.node.mempool()?.is_empty(), "it was told of something");
    Ok(())
}

#[test]
fn a_known_transaction_is_not_asked_for() -> Result<()> {
    let peer = Peer::start(&["-v2transport=1"])?;
    let txid = peer.node.pay(&peer.node.new_address()?, SATOSHI)?;
    let raw = peer.node.rpc("getrawtransaction", json!([txid]))?;
    let (known, _) = queued(raw.as_str().context("no raw transaction")?)?;
    let delivery = peer.deliver(Transport::V2, &known, SILENCE)?;
    ensure!(delivery.end == DeliveryEnd::NoGetdata, "{:?}", delivery.end);
    Ok(())
}

#[test]
fn a_node_that_speaks_v1_alone_hangs_up_before_anything_is_told() -> Result<()> {
    let peer = Peer::start(&["-v2transport=0"])?;
    let delivery = peer.deliver(Transport::V2, &peer.payment()?.0, LIFETIME)?;
    ensure!(
        delivery.end == DeliveryEnd::Closed { announced: false },
        "{:?}",
        delivery.end
    );
    Ok(())
}
