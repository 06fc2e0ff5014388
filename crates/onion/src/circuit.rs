//! One rendezvous circuit: which of its streams are let in, and when it is given up.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tor_cell::relaycell::msg::{Connected, End, EndReason};
use tor_hsservice::StreamRequest;
use tor_proto::stream::IncomingStreamRequest;

use crate::counters::{Tally, count};
use crate::stream::{AcceptedStream, CircuitNumber, LiveStreams, OnionStream};

/// Wallets with several windows open two or three. Further streams are refused one by one.
const STREAMS_PER_CIRCUIT_MAX: usize = 16;

/// A circuit without a stream costs memory and a place among the circuits, and serves nobody.
const CIRCUIT_IDLE_MAX: Duration = Duration::from_secs(120);

/// Answering a stream request only hands a cell to the circuit; this bounds a circuit that hangs.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What a circuit needs from the service it belongs to.
#[derive(Clone)]
pub(crate) struct Circuit {
    pub(crate) number: CircuitNumber,
    pub(crate) virtual_port: u16,
    pub(crate) streams: mpsc::Sender<AcceptedStream>,
    pub(crate) tally: Arc<Tally>,
}

impl Circuit {
    /// Answers the stream requests of one circuit until the client leaves, misbehaves, or has had
    /// no stream for a while.
    ///
    /// When this returns, the circuit lives only as long as the streams that were handed out.
    pub(crate) async fn serve(self, mut requests: impl Stream<Item = StreamRequest> + Unpin) {
        let live = LiveStreams::default();
        loop {
            let request = tokio::select! {
                request = requests.next() => request,
                () = live.idle_for(CIRCUIT_IDLE_MAX) => None,
            };
            let Some(request) = request else { return };
            if !self.is_for_us(request.request()) {
                count(&self.tally.streams_refused);
                // Trying ports costs one circuit each. It is `Ok` unless Arti has a bug.
                drop(request.shutdown_circuit());
                return;
            }
            self.answer(request, &live).await;
        }
    }

    fn is_for_us(&self, request: &IncomingStreamRequest) -> bool {
        matches!(request, IncomingStreamRequest::Begin(begin) if begin.port() == self.virtual_port)
    }

    /// Lets a stream in when the circuit has room for it and the service takes it at once.
    async fn answer(&self, request: StreamRequest, live: &LiveStreams) {
        let room = live.count() < STREAMS_PER_CIRCUIT_MAX;
        let Some(slot) = room.then(|| self.streams.try_reserve().ok()).flatten() else {
            count(&self.tally.streams_refused);
            // C Tor gives this reason for every stream that a service refuses.
            let end = End::new_with_reason(EndReason::DONE);
            // A refusal that does not arrive ends as the circuit does.
            drop(timeout(ANSWER_MAX, request.reject(end)).await);
            return;
        };
        let accepted = timeout(ANSWER_MAX, request.accept(Connected::new_empty())).await;
        if let Ok(Ok(inner)) = accepted {
            count(&self.tally.streams_accepted);
            let stream = OnionStream::new(inner, live.enter());
            slot.send(AcceptedStream {
                circuit: self.number,
                stream,
            });
        }
    }
}
