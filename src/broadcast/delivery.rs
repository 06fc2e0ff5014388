//! One delivery, driven: dials, carries bytes between a peer and its conversation, keeps the deadlines.
//!
//! It knows nothing of what became of the transaction elsewhere: a connection ends by its peer or by its own time,
//! because whoever holds one open would learn from an earlier end what our node has seen.

use std::io;
use std::time::Duration;

use rand::rngs::StdRng;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout, timeout_at};
use zeroize::Zeroizing;

use super::conversation::{Conversation, DeliveryEnd};
use super::peer::{PeerAddress, PeerNetwork};
use super::queue::Dial;
use super::timing::Timing;
use crate::chain::Network;
use crate::limits;

/// The way to peers.
pub trait Dialer: Send + Sync + 'static {
    /// The bytes between us and a peer; dropping it ends the connection and its circuit.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// A connection over circuits that nothing else has used or will use.
    fn dial(
        &self,
        address: &PeerAddress,
    ) -> impl Future<Output = Result<Self::Stream, DialFailed>> + Send;

    /// Whether circuits can be built.
    fn is_ready(&self) -> bool;
}

/// There is no connection; why makes no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialFailed;

/// How a delivery went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) end: DeliveryEnd,
    /// What the peer said of its chain.
    pub(super) peer_height: Option<i32>,
}

/// Dials, delivers, and returns when the connection has come to its natural end.
pub(super) async fn deliver<D: Dialer>(
    dialer: &D,
    dial: Dial,
    network: Network,
    timing: &Timing,
    mut random: StdRng,
) -> Outcome {
    let dial_max = match dial.peer.address.network() {
        PeerNetwork::Onion => timing.dial_onion_max,
        PeerNetwork::Exit => timing.dial_exit_max,
    };
    let Ok(Ok(mut stream)) = timeout(dial_max, dialer.dial(&dial.peer.address)).await else {
        return Outcome {
            end: DeliveryEnd::DialFailed,
            peer_height: None,
        };
    };
    let connected = Instant::now();
    let (mut conversation, first) =
        Conversation::open(dial.peer.transport, network, dial.transaction, &mut random);
    let quiet_max = timing.package_quiet;
    let end = converse(
        &mut stream,
        &mut conversation,
        first,
        quiet_max,
        |announced| {
            connected
                + if announced {
                    timing.connection_max
                } else {
                    timing.handshake_max
                }
        },
    )
    .await;
    Outcome {
        end,
        peer_height: conversation.peer_height(),
    }
}

/// `deadline` is that of the handshake, and once the transaction was announced, that of the connection. After
/// `quiet_max` without a request, a peer that may ask for more will not.
async fn converse(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    conversation: &mut Conversation,
    first: Vec<u8>,
    quiet_max: Duration,
    deadline: impl Fn(bool) -> Instant,
) -> DeliveryEnd {
    let mut buffer = vec![0; limits::READ_BYTES];
    let mut send = Zeroizing::new(first);
    let mut end = None;
    let mut asked = (None, Instant::now());
    loop {
        let until = deadline(conversation.is_announced());
        match timeout_at(until, write(stream, &send)).await {
            Ok(Ok(())) => {}
            Ok(Err(_broken)) => return conversation.closed(),
            Err(_elapsed) => return conversation.timed_out(),
        }
        if let Some(end) = end {
            return end;
        }
        if asked.0 != conversation.requests() {
            asked = (conversation.requests(), Instant::now());
        }
        let quiet = asked.0.map(|_requests| asked.1 + quiet_max);
        let wait = quiet.map_or(until, |quiet| quiet.min(until));
        let heard = match timeout_at(wait, stream.read(&mut buffer)).await {
            Ok(Ok(count)) => buffer.get(..count).unwrap_or_default(),
            Ok(Err(_broken)) => return conversation.closed(),
            Err(_elapsed) if wait < until => {
                send = conversation.quiet();
                continue;
            }
            Err(_elapsed) => return conversation.timed_out(),
        };
        if heard.is_empty() {
            return conversation.closed();
        }
        let progress = conversation.receive(heard);
        (send, end) = (progress.send, progress.end);
    }
}

/// Tor holds bytes back until a cell is full or flushed.
async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    stream.write_all(bytes).await?;
    stream.flush().await
}

#[cfg(test)]
pub(super) mod far_end;
#[cfg(test)]
mod tests;
