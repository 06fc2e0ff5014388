//! What a fuzz target does with its input; a test runs the same over the corpus.
//!
//! The protocol core is driven as a session drives it, over a source that answers everything with something. A panic
//! is a finding: in the core, or of the assertions here.

use std::sync::Arc;

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash as _;
use bitcoin::transaction::Version;
use bitcoin::{Amount, BlockHash, ScriptBuf, Transaction, TxIn, TxOut, Txid, Wtxid};
use claustrum::broadcast::{Broadcaster as _, NotReady, PackageMember, Quota};
use claustrum::chain::{ChainTip, EntryHeight, Height, HistoryEntry, Network, StatusHash};
use claustrum::electrum::{
    Conversation, Exchange, Heard, Identity, LineBuffer, Next, ProtocolVersion, Source, WireError,
};
use claustrum::limits;
use claustrum::node::RejectReason;
use claustrum::query::{
    AcceptTest, Acceptance, Answer, BlockOfTransaction, CatchUp, FeeRate, HeaderProof, HistoryRow,
    MempoolFees, OutpointStatus, Query, Readiness, RecentTransaction, Speed, UnspentRow,
    WholeTransaction,
};
use claustrum::redact::RawTransaction;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Small, so that an input of ordinary length can pass it.
const LINE_BYTES_MAX: usize = 4096;
/// Small, so that some answers pass it.
const REPLY_BYTES_MAX: usize = 16 * 1024;
/// What a reply may have for each request besides its id and its result: the frame, an error, or a banner.
const FRAME_BYTES_MAX: usize = 512;
/// Leading bytes of a session's input that say how the rest arrives.
const SIZES: usize = 4;

/// One line, heard by a conversation that has just begun and answered.
pub(crate) fn electrum_line(data: &[u8]) {
    let line = data.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut client = Client::new();
    client.hear(line);
    client.answer();
    client.publish_view();
}

/// A stream in pieces, as it may come from a client. The first bytes are the sizes of the pieces, in turn; after one of
/// odd size there is a new view.
pub(crate) fn electrum_session(data: &[u8]) {
    let Some((sizes, mut stream)) = data.split_first_chunk::<SIZES>() else {
        return;
    };
    let mut expected = naive_lines(stream).into_iter();
    let mut client = Client::new();
    let mut buffer = LineBuffer::new(LINE_BYTES_MAX);
    for size in sizes.iter().cycle() {
        let space = buffer.space();
        assert!(!space.is_empty(), "no room for more bytes");
        let count = (usize::from(*size) * 16 + 1)
            .min(space.len())
            .min(stream.len());
        let (piece, rest) = stream.split_at(count);
        space
            .iter_mut()
            .zip(piece)
            .for_each(|(to, from)| *to = *from);
        buffer.filled(count);
        while let Some(line) = buffer.next_line() {
            let expected = expected.next().expect("a line that was not sent");
            let Ok(line) = line else {
                assert_eq!(expected, None, "a line that is not too long");
                let heard = client.conversation.line_too_long();
                assert!(client.take(heard, 0), "a line too long that ends nothing");
                return client.answer();
            };
            assert_eq!(
                expected,
                Some(line.as_ref()),
                "a line that arrived otherwise"
            );
            if client.hear(&line) {
                return client.answer();
            }
        }
        assert!(
            buffer.begun_bytes() <= LINE_BYTES_MAX,
            "a line that grows without end"
        );
        if size % 2 == 1 {
            client.publish_view();
        }
        client.answer();
        stream = rest;
        if stream.is_empty() {
            break;
        }
    }
    assert_eq!(expected.next(), None, "a line that did not arrive");
}

/// The lines of a stream; `None` for one that is too long, the last of all.
fn naive_lines(stream: &[u8]) -> Vec<Option<&[u8]>> {
    let mut pieces: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    let rest = pieces.pop().unwrap_or_default();
    let mut lines = Vec::new();
    for piece in pieces {
        if piece.len() > LINE_BYTES_MAX {
            lines.push(None);
            return lines;
        }
        lines.push(Some(piece.strip_suffix(b"\r").unwrap_or(piece)));
    }
    lines.extend((rest.len() > LINE_BYTES_MAX).then_some(None));
    lines
}

/// One client's side of the session, which looks at every line it gets.
struct Client {
    conversation: Conversation,
    /// What was heard and not answered, with the requests and the bytes of its line.
    pending: Vec<(Exchange, usize, usize)>,
    source: Anything,
}

impl Client {
    fn new() -> Self {
        let mut identity = Identity::of(Network::Regtest);
        identity.protocol_max = ProtocolVersion::V1_7;
        Self {
            conversation: Conversation::new(Arc::new(identity)),
            pending: Vec::new(),
            source: Anything { view_version: 1 },
        }
    }

    /// Whether the conversation ends with it.
    fn hear(&mut self, line: &[u8]) -> bool {
        let readiness = match self.source.view_version % 3 {
            0 => Readiness::CatchingUp(CatchUp {
                indexed: 1,
                target: 2,
                speed: Some(Speed {
                    blocks_per_minute: 1,
                    minutes_left: 1,
                }),
            }),
            1 => Readiness::Ready,
            _ => Readiness::Stale,
        };
        let heard = self.conversation.hear(line, readiness);
        self.take(heard, line.len())
    }

    fn take(&mut self, heard: Heard, line_bytes: usize) -> bool {
        assert!(
            heard.requests <= limits::BATCH_ITEMS_MAX,
            "a batch beyond the limit"
        );
        assert!(heard.faults <= heard.requests, "more faults than requests");
        match heard.next {
            Next::Nothing => {}
            Next::Send(line) => check_reply(&line, heard.requests, line_bytes),
            Next::Work(exchange) => self.pending.push((exchange, heard.requests, line_bytes)),
        }
        heard.close
    }

    /// Answers what is pending, the last first: replies may leave in any order.
    fn answer(&mut self) {
        while let Some((exchange, requests, line_bytes)) = self.pending.pop() {
            let finished = exchange.answer(&self.source, REPLY_BYTES_MAX);
            let line = self.conversation.finished(finished);
            check_reply(&line, requests, line_bytes);
        }
    }

    /// The chain moves on, and what is watched is looked at again.
    fn publish_view(&mut self) {
        self.source.view_version += 1;
        let version = self.source.view_version;
        let tip = ChainTip {
            height: Height(height(version)),
            hash: BlockHash::hash(&header(version)),
        };
        self.conversation
            .view_published(version, Some(tip), |_| version.is_multiple_of(2));
        if let Some(refresh) = self.conversation.refresh() {
            let mut lines = Vec::new();
            self.conversation
                .refreshed(&refresh.answer(&self.source), &mut lines);
            for line in lines.split_inclusive(|byte| *byte == b'\n') {
                let text = text(line);
                let told: Notification<'_> = serde_json::from_str(text).expect("a notification");
                assert_eq!(told.jsonrpc, "2.0");
                assert!(told.method.ends_with(".subscribe") && told.params.get().starts_with('['));
            }
        }
    }
}

/// A reply is one line of JSON-RPC 2.0, as long as it may be at most, with an answer for no more than was asked.
fn check_reply(line: &[u8], requests: usize, line_bytes: usize) {
    let bytes_max = REPLY_BYTES_MAX + line_bytes + FRAME_BYTES_MAX * (requests + 1);
    assert!(line.len() <= bytes_max, "a reply of {} bytes", line.len());
    let text = text(line);
    let replies: Vec<Reply<'_>> = if text.starts_with('[') {
        serde_json::from_str(text).expect("replies")
    } else {
        vec![serde_json::from_str(text).expect("a reply")]
    };
    assert!(
        (1..=requests).contains(&replies.len()),
        "{} replies to {requests} requests",
        replies.len()
    );
    for reply in replies {
        assert_eq!(reply.jsonrpc, "2.0");
        let id_bytes_max = line_bytes.clamp("null".len(), limits::ID_BYTES_MAX);
        assert!(
            reply.id.get().len() <= id_bytes_max,
            "an id that was not sent, or not to be echoed"
        );
        assert!(
            reply.result.is_some() != reply.error.is_some(),
            "neither or both"
        );
        assert!(
            reply
                .error
                .is_none_or(|error| error.code != 0 && !error.message.is_empty())
        );
    }
}

/// A line without its end.
fn text(line: &[u8]) -> &str {
    let text = std::str::from_utf8(line).expect("text");
    let text = text.strip_suffix('\n').expect("an end of the line");
    assert!(!text.contains('\n'), "two lines");
    text
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply<'a> {
    jsonrpc: &'a str,
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    error: Option<Fault>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    code: i32,
    message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Notification<'a> {
    jsonrpc: &'a str,
    method: &'a str,
    #[serde(borrow)]
    params: &'a RawValue,
}

/// Tells a result of `null` from none.
fn present<'de, D: Deserializer<'de>>(json: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(json).map(Some)
}

/// Answers everything, another way in each view.
struct Anything {
    view_version: u64,
}

impl Anything {
    /// How long lists are, and transactions.
    fn count(&self) -> usize {
        usize::try_from(self.view_version % 4 * 100).unwrap_or(0)
    }

    fn status(&self) -> Answer {
        let height = EntryHeight::Confirmed(Height(height(self.view_version)));
        let entry = HistoryEntry {
            txid: txid(),
            height,
        };
        let some = !self.view_version.is_multiple_of(3);
        Answer::Status(StatusHash::of(some.then_some(entry)))
    }

    /// Each in another way.
    fn accept_tests(count: usize) -> Answer {
        let tests = (0..count).map(|number| AcceptTest {
            txid: txid(),
            wtxid: Wtxid::all_zeros(),
            acceptance: Acceptance {
                allowed: (number % 3 > 0).then_some(number % 2 == 0),
                reason: (number % 2 == 1).then(|| RejectReason::new("dust".to_owned())),
            },
        });
        Answer::AcceptTests(tests.collect())
    }

    fn recent(&self) -> Answer {
        let recent = RecentTransaction {
            txid: txid(),
            fee: Amount::ONE_SAT,
            vsize: 100,
        };
        Answer::Recent(vec![recent; self.count()])
    }

    /// Of an output that is not there, unspent, or spent.
    fn outpoint(&self) -> Answer {
        let height = EntryHeight::Confirmed(Height(height(self.view_version)));
        let spender = HistoryEntry {
            txid: txid(),
            height: EntryHeight::Unconfirmed,
        };
        let known = self.view_version % 3;
        Answer::Outpoint(OutpointStatus {
            funder: (known > 0).then_some(height),
            spender: (known > 1).then_some(spender),
        })
    }

    fn unspent(&self) -> Answer {
        let row = UnspentRow {
            txid: txid(),
            vout: 1,
            height: None,
            value: self.view_version,
        };
        Answer::Unspent(vec![row; self.count()])
    }

    fn history(&self) -> Answer {
        let height = EntryHeight::Confirmed(Height(1));
        let row = HistoryRow {
            txid: txid(),
            height,
            fee: Some(5),
        };
        Answer::History(vec![row; self.count()])
    }
}

impl Anything {
    /// With scripts that begin in any way and end early.
    fn whole_transaction(&self) -> Answer {
        let script = ScriptBuf::from_bytes(self.view_version.to_le_bytes().repeat(self.count()));
        let transaction = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                script_sig: script.clone(),
                ..TxIn::default()
            }],
            output: vec![TxOut {
                value: Amount::ONE_SAT,
                script_pubkey: script,
            }],
        };
        let block = self
            .view_version
            .is_multiple_of(3)
            .then(|| BlockOfTransaction {
                hash: BlockHash::all_zeros(),
                confirmations: 1,
                time: 2,
            });
        Answer::WholeTransaction(Box::new(WholeTransaction {
            transaction,
            block,
            network: Network::Regtest,
        }))
    }
}

impl Source for Anything {
    fn view_version(&self) -> u64 {
        self.view_version
    }

    fn ask(&self, query: &Query) -> Result<Answer, WireError> {
        let version = self.view_version;
        if version % 5 == 4 {
            return Err(WireError::Busy);
        }
        Ok(match query {
            Query::AcceptTest(raw) => Self::accept_tests(raw.len()),
            Query::Recent => self.recent(),
            Query::Header { checkpoint, .. } => Answer::Header {
                header: header(version),
                proof: checkpoint.map(|_| proof()),
            },
            Query::Headers {
                count, checkpoint, ..
            } => {
                let count = usize::try_from((*count).min(limits::HEADERS_MAX)).unwrap_or(0);
                Answer::Headers {
                    headers: header(version).repeat(count),
                    proof: checkpoint.map(|_| proof()),
                }
            }
            Query::Tip => Answer::Tip {
                height: Height(height(version)),
                header: header(version),
            },
            Query::EstimateFee { .. } => {
                Answer::Fee(version.is_multiple_of(2).then_some(FeeRate(1000)))
            }
            Query::FeeHistogram => Answer::FeeHistogram(vec![(2.5, 10); self.count()]),
            Query::MempoolFees => Answer::MempoolFees(MempoolFees {
                mempool_minimum: FeeRate(1000),
                relay_minimum: FeeRate(1000),
                incremental: FeeRate(100),
            }),
            Query::Merkle { height, .. } => Answer::Merkle {
                height: *height,
                siblings: vec![[9; 32]; 4],
                index: 3,
            },
            Query::Outpoint(_) => self.outpoint(),
            Query::Transaction(_) => Answer::Transaction(vec![1; self.count()]),
            Query::TransactionAt { proof, .. } => Answer::TransactionAt {
                txid: Txid::all_zeros(),
                siblings: proof.then(|| vec![[9; 32]; 4]),
            },
            Query::Balance(_) => Answer::Balance {
                confirmed: version,
                unconfirmed: -1,
            },
            Query::History(_) | Query::Unconfirmed(_) => self.history(),
            Query::Status(_) => self.status(),
            Query::Unspent(_) => self.unspent(),
            Query::WholeTransaction(_) => self.whole_transaction(),
        })
    }

    fn broadcast(&self, transaction: &RawTransaction) -> Result<Txid, WireError> {
        let taken = NotReady.take(transaction, &Quota::new());
        taken.map(|taken| taken.txid).map_err(WireError::Refused)
    }

    fn broadcast_package(
        &self,
        transactions: &[RawTransaction],
    ) -> Result<Vec<PackageMember>, WireError> {
        let taken = NotReady.take_package(transactions, &Quota::new());
        let taken = taken.map(|taken| taken.members);
        taken.map_err(WireError::PackageRefused)
    }
}

/// Every third view has another tip.
fn height(view_version: u64) -> u32 {
    u32::try_from(view_version / 3).unwrap_or(u32::MAX)
}

fn header(view_version: u64) -> [u8; 80] {
    [u8::try_from(height(view_version) % 256).unwrap_or(0); 80]
}

fn proof() -> HeaderProof {
    HeaderProof {
        branch: vec![[7; 32]; 3],
        root: [8; 32],
    }
}

fn txid() -> Txid {
    Txid::from_byte_array([6; 32])
}
