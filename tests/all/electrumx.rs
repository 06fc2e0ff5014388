//! `ElectrumX` answers the same: thousands of requests to both servers over one node, after blocks, reorgs and payments.

mod arguments;
mod explained;
mod openings;
mod pair;
mod reasons;
mod requests;
mod results;
mod stages;
mod surroundings;
mod verdict;
mod watchers;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rig::electrumx::ElectrumX;
use rig::node::{Node, Options};
use rig::reorganise::Fate;
use rig::server::{self, Loopback};
use rig::socks::Line;
use serde_json::{Value, json};

use pair::Pair;
use requests::{Request, lines, requests};
use stages::Chain;
use surroundings::Surroundings;
use verdict::Verdict;
use watchers::Watchers;

const SEED: u64 = 20_261_121;
const VERSIONS: [&str; 3] = ["1.4", "1.4.2", "1.6"];
/// Sensible requests at each moment and version, besides those with every kind of argument.
const MORE: usize = 400;
/// In a session; our server hears 200 faults in a minute and then closes the stream.
const TOGETHER: usize = 150;
/// Until both servers know what the node knows.
const SETTLED: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

#[test]
fn another_server_answers_the_same() -> Result<()> {
    let node = Node::start_funded(&Options {
        txindex: true,
        ..Options::default()
    })?;
    let mut chain = Chain::grow(&node)?;
    let pair = Pair {
        ours: Loopback::start(&node, &server::Options::default())?,
        theirs: ElectrumX::start(&node)?,
    };
    let mut comparison = Comparison::new(&node, &pair)?;
    comparison.of_openings()?;
    comparison.of_everything("on a chain")?;
    chain.trade()?;
    comparison.of_sending()?;
    comparison.of_everything("with payments in the mempool")?;
    chain.mine_parents()?;
    comparison.of_everything("after a block with some of them")?;
    chain.reorganise(3, Fate::Unconfirmed)?;
    comparison.of_everything("after a reorg of 3 blocks into the mempool")?;
    chain.settle()?;
    comparison.of_everything("after blocks with all of it")?;
    chain.reorganise(8, Fate::Replaced)?;
    comparison.of_everything("after a reorg of 8 blocks with replacements")?;
    comparison.verdict.give()
}

struct Comparison<'a> {
    node: &'a Node,
    pair: &'a Pair,
    watchers: Watchers,
    random: StdRng,
    verdict: Verdict,
    began: Instant,
}

impl<'a> Comparison<'a> {
    fn new(node: &'a Node, pair: &'a Pair) -> Result<Self> {
        Ok(Self {
            node,
            pair,
            watchers: Watchers::connect(pair)?,
            random: StdRng::seed_from_u64(SEED),
            verdict: Verdict::default(),
            began: Instant::now(),
        })
    }

    fn of_openings(&mut self) -> Result<()> {
        for (request, replies) in openings::compare(self.pair)? {
            self.verdict.note("alone", &request, &replies);
        }
        Ok(())
    }

    /// New transactions, which both servers are given at the same time.
    fn of_sending(&mut self) -> Result<()> {
        let mut requests = Vec::new();
        for _ in 0..5 {
            let raw = self.node.pay_unsent(&self.node.new_address()?, 700_000)?;
            requests.push(Request::sending(&raw));
        }
        self.ask("while sending", "1.6", &mut requests)?;
        self.ask("when sent", "1.4", &mut requests)
    }

    fn of_everything(&mut self, moment: &str) -> Result<()> {
        let around = Surroundings::of(self.node)?;
        self.wait_until_settled(&around)?;
        self.watchers.watch(around.scripts.keys())?;
        for (request, replies) in self.watchers.compare()? {
            self.verdict.note(moment, &request, &replies);
        }
        for version in VERSIONS {
            let mut requests = requests(&around, version, MORE, &mut self.random);
            for session in requests.chunks_mut(TOGETHER) {
                self.ask(moment, version, session)?;
            }
        }
        let elapsed = self.began.elapsed();
        println!(
            "{elapsed:5.1?}: {} replies, {moment}",
            self.verdict.compared
        );
        Ok(())
    }

    /// Asks both servers in a session of its own.
    fn ask(&mut self, moment: &str, version: &str, requests: &mut [Request]) -> Result<()> {
        // Whoever answers pipelined requests in any order might unsubscribe before it subscribes.
        requests.sort_by_key(Request::unsubscribes);
        let last = requests.partition_point(|request| !request.unsubscribes());
        let mut parts = Vec::new();
        for ids in [0..last, last..requests.len()] {
            let lines = lines(requests, ids.clone(), &mut self.random)?;
            parts.push((ids, lines));
        }
        let replies = self.pair.ask(version, &parts)?;
        for (request, replies) in requests.iter().zip(&replies) {
            self.verdict.note(moment, request, replies);
        }
        Ok(())
    }

    /// Waits until both servers stand where the node stands: its tip, and the status of every script with unconfirmed
    /// entries and of as many others.
    fn wait_until_settled(&self, around: &Surroundings) -> Result<()> {
        let unconfirmed = around
            .scripts
            .iter()
            .filter(|(_, script)| script.history.iter().any(|entry| entry.height <= 0));
        let others = around.scripts.iter().take(200);
        let expected: Vec<(&String, Value)> = unconfirmed
            .chain(others)
            .map(|(hash, script)| (hash, json!(script.status)))
            .collect();
        let header = json!([self.node.block_hash(u32::try_from(around.tip)?)?, false]);
        let header = self.node.rpc("getblockheader", header)?;
        let deadline = Instant::now() + SETTLED;
        for (index, name) in ["ours", "theirs"].into_iter().enumerate() {
            while !is_settled(&mut self.pair.connect()?[index], &header, &expected)? {
                ensure!(
                    Instant::now() < deadline,
                    "{name} does not know what the node knows"
                );
                std::thread::sleep(POLL);
            }
        }
        Ok(())
    }
}

fn is_settled(session: &mut Line, header: &Value, expected: &[(&String, Value)]) -> Result<bool> {
    pair::introduce(session, "1.6")?;
    let tip = session.call("blockchain.headers.subscribe", json!([]))?;
    if tip["hex"] != *header {
        return Ok(false);
    }
    // Theirs grows its tree of headers with the first proof up to a tip; proofs asked for at the same time are wrong.
    session.call("blockchain.block.header", json!([0, tip["height"]]))?;
    for (hash, status) in expected {
        let reply = session.request("blockchain.scripthash.subscribe", json!([hash]))?;
        if reply["result"] != *status {
            return Ok(false);
        }
    }
    Ok(true)
}
