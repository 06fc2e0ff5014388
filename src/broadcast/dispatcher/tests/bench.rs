//! Peers and a node that do as they are told.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bitcoin::hashes::Hash as _;
use bitcoin::{
    Amount, BlockHash, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Txid, absolute, transaction,
};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::io::DuplexStream;
use tokio::time::{Instant, sleep};

use crate::broadcast::admission::{Admission, NodeQuestions};
use crate::broadcast::delivery::far_end::FarEnd;
use crate::broadcast::dispatcher::Dispatcher;
use crate::broadcast::{
    DialFailed, Dialer, Host, PeerAddress, Quota, Refusal, Settings, Taken, Timing,
};
use crate::chain::{ChainTip, Height, Network};
use crate::node::{self, ChainState, FeeRate, Judgement, RejectReason, Surroundings};
use crate::redact::RawTransaction;

/// What peers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peers {
    /// They take the transaction.
    Honest,
    /// They listen to the announcement, ask for nothing, and never close.
    HoldBack,
    /// They cannot be reached.
    Away,
    /// To dial them is a defect of ours.
    Deadly,
}

/// A dial, in seconds since the start.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Connection {
    pub(super) to: String,
    pub(super) from: f64,
    /// When the peer noticed the end of it.
    pub(super) until: Option<f64>,
}

pub(super) struct Tor {
    begun: Instant,
    peers: Peers,
    pub(super) is_ready: AtomicBool,
    connections: Mutex<Vec<Connection>>,
}

#[derive(Default)]
pub(super) struct Node {
    /// Why it refuses; it takes everything otherwise.
    pub(super) reason: Mutex<Option<&'static str>>,
    /// Why it refuses the first of a package; it takes all that are not in its mempool otherwise.
    pub(super) package_reason: Mutex<Option<&'static str>>,
    pub(super) mempool: Mutex<HashSet<Txid>>,
    pub(super) is_silent: AtomicBool,
    pub(super) is_downloading: AtomicBool,
    pub(super) own_hosts: Mutex<Vec<String>>,
    /// Transactions it was asked to test.
    pub(super) tests: AtomicUsize,
    /// Times it was asked what it has.
    pub(super) looks: AtomicUsize,
}

/// Everything, running.
pub(super) struct Bench {
    pub(super) admission: Admission,
    pub(super) node: Arc<Node>,
    pub(super) tor: Arc<Tor>,
    pub(super) quota: Quota,
}

/// The name of an onion peer.
pub(super) fn host(letter: char) -> String {
    format!("{}.onion", letter.to_string().repeat(56))
}

/// A transaction by number; the same one has the same id.
pub(super) fn transaction(number: u8) -> Transaction {
    Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(Txid::from_byte_array([number; 32]), 0),
            ..TxIn::default()
        }],
        output: vec![TxOut {
            value: Amount::from_sat(1),
            script_pubkey: ScriptBuf::new(),
        }],
    }
}

impl Bench {
    /// With peers of these letters; x is excluded by the operator, and y is one of ours.
    pub(super) async fn start(letters: &str, peers: Peers, seed: u64) -> Self {
        Self::start_beside(Node::default(), letters, peers, seed).await
    }

    /// Beside a node that is as it is told.
    pub(super) async fn start_beside(node: Node, letters: &str, peers: Peers, seed: u64) -> Self {
        let tor = Arc::new(Tor {
            begun: Instant::now(),
            peers,
            is_ready: AtomicBool::new(true),
            connections: Mutex::default(),
        });
        let peer = |letter| format!("{}:8333 v1", host(letter)).parse().unwrap();
        let settings = Settings {
            peers: letters.chars().map(peer).collect(),
            exclude: vec![host('x').parse().unwrap()],
            ..Settings::default()
        };
        let node = Arc::new(node);
        let questions: Arc<dyn NodeQuestions> = Arc::<Node>::clone(&node);
        let own: Vec<Host> = vec![host('y').parse().unwrap()];
        let dispatcher = Dispatcher::start(
            settings,
            Network::Regtest,
            own,
            Timing::standard(),
            Arc::clone(&questions),
            Dialling(Arc::clone(&tor)),
            StdRng::seed_from_u64(seed),
        );
        // The node is asked at once.
        sleep(Duration::from_millis(1)).await;
        Self {
            admission: Admission::new(questions, FeeRate(1), dispatcher),
            node,
            tor,
            quota: Quota::new(),
        }
    }

    pub(super) fn take(&self, number: u8) -> Result<Taken, Refusal> {
        let raw = bitcoin::consensus::serialize(&transaction(number));
        self.admission.take(&RawTransaction::new(raw), &self.quota)
    }

    /// Takes it, and says after how many seconds its client is answered.
    pub(super) async fn answered_after(&self, number: u8) -> f64 {
        let begun = Instant::now();
        self.take(number).unwrap().settled.unwrap().await;
        begun.elapsed().as_secs_f64()
    }

    /// The network has it from now on.
    pub(super) fn see(&self, number: u8) {
        let txid = transaction(number).compute_txid();
        self.node.mempool.lock().unwrap().insert(txid);
    }

    pub(super) fn connections(&self) -> Vec<Connection> {
        self.tor.connections.lock().unwrap().clone()
    }
}

/// The way to the peers.
struct Dialling(Arc<Tor>);

impl Dialer for Dialling {
    type Stream = DuplexStream;

    async fn dial(&self, address: &PeerAddress) -> Result<DuplexStream, DialFailed> {
        let tor = Arc::clone(&self.0);
        let PeerAddress::Onion { host, .. } = address else {
            panic!("no such peer");
        };
        let place = {
            let mut connections = tor.connections.lock().unwrap();
            connections.push(Connection {
                to: host.clone(),
                from: tor.begun.elapsed().as_secs_f64(),
                until: None,
            });
            connections.len() - 1
        };
        match tor.peers {
            Peers::Away => return Err(DialFailed),
            Peers::Deadly => panic!("on purpose"),
            Peers::Honest | Peers::HoldBack => {}
        }
        let (ours, theirs) = tokio::io::duplex(1024);
        tokio::spawn(async move {
            let mut peer = FarEnd::new(theirs);
            if tor.peers == Peers::Honest {
                peer.take().await;
            } else {
                peer.shake_hands().await;
                peer.listen().await;
            }
            let now = tor.begun.elapsed().as_secs_f64();
            tor.connections.lock().unwrap()[place].until = Some(now);
        });
        Ok(ours)
    }

    fn is_ready(&self) -> bool {
        self.0.is_ready.load(Ordering::Relaxed)
    }
}

impl Node {
    fn answering(&self) -> Result<(), node::Error> {
        if self.is_silent.load(Ordering::Relaxed) {
            return Err(node::Error::WarmingUp {
                call: node::Method::GetMempoolEntry.into(),
            });
        }
        Ok(())
    }
}

impl NodeQuestions for Node {
    fn test(&self, _: &[u8], _: FeeRate) -> Result<Judgement, node::Error> {
        self.answering()?;
        self.tests.fetch_add(1, Ordering::Relaxed);
        Ok(match *self.reason.lock().unwrap() {
            None => Judgement::Acceptable,
            Some(reason) => Judgement::Rejected(RejectReason::new(reason.to_owned())),
        })
    }

    fn test_together(
        &self,
        transactions: &[&[u8]],
        _: FeeRate,
    ) -> Result<Vec<Option<Judgement>>, node::Error> {
        self.answering()?;
        self.tests.fetch_add(1, Ordering::Relaxed);
        let refused = |reason: &str| Judgement::Rejected(RejectReason::new(reason.to_owned()));
        let mut judgements = Vec::new();
        for raw in transactions {
            let transaction: Transaction = bitcoin::consensus::deserialize(raw).unwrap();
            let is_known = self
                .mempool
                .lock()
                .unwrap()
                .contains(&transaction.compute_txid());
            let reason = *self.package_reason.lock().unwrap();
            // It goes no further than to the first that it would not take.
            let is_over = judgements
                .iter()
                .any(|judgement| !matches!(judgement, Some(Judgement::Acceptable)));
            judgements.push(match reason {
                _ if is_over => None,
                _ if is_known => Some(refused("txn-already-in-mempool")),
                Some(reason) => Some(refused(reason)),
                None => Some(Judgement::Acceptable),
            });
        }
        Ok(judgements)
    }

    fn in_mempool(&self, txids: &[Txid]) -> Result<Vec<bool>, node::Error> {
        self.answering()?;
        self.looks.fetch_add(1, Ordering::Relaxed);
        let mempool = self.mempool.lock().unwrap();
        Ok(txids.iter().map(|txid| mempool.contains(txid)).collect())
    }

    fn chain_state(&self) -> Result<ChainState, node::Error> {
        self.answering()?;
        let height = Height(1_000);
        let hash = BlockHash::all_zeros();
        Ok(ChainState {
            tip: ChainTip { height, hash },
            headers: height,
            initial_download: self.is_downloading.load(Ordering::Relaxed),
        })
    }

    fn surroundings(&self) -> Result<Surroundings, node::Error> {
        self.answering()?;
        Ok(Surroundings {
            own_hosts: self.own_hosts.lock().unwrap().clone(),
            relays: true,
        })
    }
}
