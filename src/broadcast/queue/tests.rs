//! A queue in a world of its own, whose time passes as fast as it can be computed.

mod further;
mod limits_held;
mod model;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use bitcoin::hashes::Hash as _;
use zeroize::Zeroizing;

use super::*;
use crate::broadcast::conversation::DeliveryEnd;
use crate::broadcast::peer::{PeerAddress, PeerNetwork, Transport};
use crate::broadcast::pool::Networks;
use crate::chain::Height;

const DELIVERIES: u8 = 3;
const TIP: Height = Height(800_000);
const HOUR: Duration = Duration::from_secs(60 * 60);

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A transaction that has nothing in common with those of other numbers.
fn transaction(number: u32) -> Arc<QueuedTransaction> {
    spending(number, number, 100)
}

fn spending(number: u32, output: u32, bytes: usize) -> Arc<QueuedTransaction> {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&number.to_le_bytes());
    Arc::new(QueuedTransaction {
        txid: Txid::from_byte_array(id),
        inputs: vec![OutPoint::new(Txid::from_byte_array([9; 32]), output)],
        raw: Zeroizing::new(vec![0; bytes]),
        parents: Vec::new(),
    })
}

/// So many peers of each network; exits two by two in one group.
fn peers(onions: u16, exits: u16) -> Vec<Peer> {
    let onion = |number: u16| {
        let digits = number
            .to_string()
            .replace('0', "a")
            .replace('1', "b")
            .replace('8', "c")
            .replace('9', "d");
        let host = format!("{digits:e>56}.onion");
        PeerAddress::Onion { host, port: 8333 }
    };
    let exit = |number: u16| {
        let ([high, low], host) = ((number / 2).to_be_bytes(), number.to_be_bytes());
        let ip = [20 + high, low, host[0], host[1]];
        PeerAddress::Exit(SocketAddr::from((ip, 8333)))
    };
    let addresses = (0..onions).map(onion).chain((0..exits).map(exit));
    addresses
        .map(|address| Peer {
            address,
            transport: Transport::V2,
        })
        .collect()
}

/// A dial that happened.
#[derive(Clone)]
struct Dialled {
    at: Duration,
    number: DialNumber,
    kind: SlotKind,
    address: PeerAddress,
    end: DeliveryEnd,
}

/// How a peer behaves: how the delivery ends, what height it says it has, and after how long.
type Behaviour = Box<dyn FnMut(DialNumber) -> (DeliveryEnd, Option<i32>, Duration)>;

struct World {
    queue: Queue,
    pool: PeerPool,
    began: Instant,
    now: Instant,
    peers: Behaviour,
    node: Box<dyn FnMut(JobNumber) -> StaleVerdict>,
    running: BTreeMap<DialNumber, (Instant, Report, PeerAddress)>,
    dialled: Vec<Dialled>,
    /// When the node was asked to test which transaction.
    tests: Vec<(Duration, JobNumber)>,
}

impl World {
    fn new(seed: u64, candidates: Vec<Peer>) -> Self {
        let timing = Timing::standard();
        let mut random = StdRng::seed_from_u64(seed);
        let both = Networks::Both;
        let pool = PeerPool::new(candidates, both, Vec::new(), &timing, &mut random);
        let began = Instant::now();
        Self {
            queue: Queue::new(timing, DELIVERIES, random),
            pool,
            began,
            now: began,
            peers: always(DeliveryEnd::Ponged, seconds(5)),
            node: Box::new(|_| StaleVerdict::Acceptable),
            running: BTreeMap::new(),
            dialled: Vec::new(),
            tests: Vec::new(),
        }
    }

    fn admit(&mut self, number: u32) -> JobNumber {
        self.queue.admit(transaction(number), self.now).unwrap()
    }

    fn elapsed(&self) -> Duration {
        self.now - self.began
    }

    /// Lets time pass, doing what the dispatcher does, and holds what must hold at every moment.
    fn run(&mut self, duration: Duration) {
        let until = self.now + duration;
        loop {
            self.end_deliveries();
            self.dial();
            for (job, _) in self.queue.stale(self.now) {
                self.tests.push((self.elapsed(), job));
                let verdict = (self.node)(job);
                self.queue.tested(job, verdict, self.now);
                // Said twice, it counts once.
                self.queue.tested(job, verdict, self.now);
            }
            self.dial();
            self.check();
            let ends = self.running.values().map(|(at, ..)| *at).min();
            let Some(next) = ends.into_iter().chain(self.queue.wake_at()).min() else {
                break;
            };
            if next > until {
                break;
            }
            self.now = next;
        }
        self.now = until;
    }

    fn end_deliveries(&mut self) {
        let over: Vec<DialNumber> = self
            .running
            .iter()
            .filter(|(_, (at, ..))| *at <= self.now)
            .map(|(number, _)| *number)
            .collect();
        for number in over {
            let (_, report, _) = self.running.remove(&number).unwrap();
            self.queue.ended(number, report, &mut self.pool, self.now);
        }
    }

    fn dial(&mut self) {
        for dial in self.queue.due(&mut self.pool, self.now) {
            let of = &self.queue.jobs[&dial.number.job].transaction;
            assert_eq!(dial.transaction.txid, of.txid);
            let (end, peer_height, lasts) = (self.peers)(dial.number);
            let tip = TIP;
            let report = Report {
                end,
                peer_height,
                tip,
            };
            let address = dial.peer.address;
            let kind = kind(dial.number);
            self.dialled.push(Dialled {
                at: self.elapsed(),
                number: dial.number,
                kind,
                address: address.clone(),
                end,
            });
            let running = (self.now + lasts, report, address);
            assert!(self.running.insert(dial.number, running).is_none());
        }
    }

    fn check(&self) {
        let summary = self.queue.summary(self.now);
        assert_eq!(summary.connections, self.running.len());
        let further = |number: &&DialNumber| kind(**number) == SlotKind::Further;
        assert!(self.running.keys().filter(further).count() <= 8);
        assert!(summary.connections <= 24);
        match self.queue.wake_at() {
            Some(wake) => assert!(wake > self.now, "what was due was done"),
            None => assert!(
                summary.jobs == 0 || !self.running.is_empty(),
                "a job sleeps for ever"
            ),
        }
        let mut groups = HashSet::new();
        for (number, (_, _, address)) in &self.running {
            assert!(groups.insert((number.job, address.group())));
        }
    }

    fn dials(&self, kind: SlotKind) -> Vec<&Dialled> {
        self.dialled
            .iter()
            .filter(|dial| dial.kind == kind)
            .collect()
    }

    fn alarm(&self) -> Option<Alarm> {
        self.queue.summary(self.now).alarm
    }

    fn jobs(&self) -> usize {
        self.queue.summary(self.now).jobs
    }
}

fn kind(number: DialNumber) -> SlotKind {
    if number.slot < u32::from(DELIVERIES) {
        SlotKind::First
    } else {
        SlotKind::Further
    }
}

fn always(end: DeliveryEnd, lasts: Duration) -> Behaviour {
    Box::new(move |_| (end, None, lasts))
}
