//! Blocks and transactions, and when each client had heard of them.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use bitcoin::Address;
use bitcoin::consensus::encode::serialize_hex;
use rig::audience::{Audience, Told};
use rig::crowd::{self, Crowd};
use rig::figures::{Figures, number, percentile};
use rig::node::{Node, Options};
use rig::socks::Line;
use serde_json::json;

use crate::hall::Hall;
use crate::{SCRIPTS_EACH, say};

/// Rounds of each kind; in a round every client is told of the tip, or some are of a script.
const ROUNDS: usize = 7;
/// What all of a round takes at most; what has not come by then is lost.
const LOST: Duration = Duration::from_secs(30);
/// So long nobody is told anything more, which nobody should be.
const SILENCE: Duration = Duration::from_secs(2);
/// Until what a server did before no longer shows in its memory.
const REST: Duration = Duration::from_secs(5);
/// From a long poll's way to the node until it waits there.
const POLL_BEGINS: Duration = Duration::from_millis(200);
/// More than all rounds need; each round takes a coin for every 1,700 scripts.
const COINS: usize = 100;

/// The sides, and what they have heard.
struct Scene<H> {
    node: Node,
    hall: H,
    crowd: Crowd,
    /// Of each client.
    owners: Vec<Vec<u64>>,
    audience: Audience,
}

/// What rounds of one kind took.
#[derive(Default)]
struct Taken {
    /// For everything that somebody was told, in milliseconds.
    each: Vec<f64>,
    /// Of each round, until the last was told.
    last: Vec<f64>,
    /// CPU of the server in each round, in milliseconds.
    cpu: Vec<f64>,
}

/// Fills a server with clients and adds all figures.
pub(crate) fn measure<H: Hall>(figures: &mut Figures, sessions: usize) -> Result<()> {
    figures.begin_columns(&["target", "median", "99 %", "last", "CPU of the server"]);
    let name = format!("{sessions} sessions by {}", H::NAME);
    say(&name);
    let mut scene = Scene::<H>::set(figures, &name, sessions)?;
    let everyone: Vec<u64> = scene.owners.concat();
    let firsts: Vec<u64> = scene
        .owners
        .iter()
        .filter_map(|own| own.first())
        .copied()
        .collect();
    let one = firsts.get(..1).unwrap_or_default();
    let [_, block, transaction] = H::TARGETS;
    let rounds: [(&str, &str, Round, &[u64]); 4] = [
        ("a block of nobody's", block, Round::Block, &[]),
        ("a block with all scripts", block, Round::Block, &everyone),
        ("a transaction to one", transaction, Round::Transaction, one),
        (
            "transactions to all",
            transaction,
            Round::Transaction,
            &firsts,
        ),
    ];
    for (what, target, round, owners) in rounds {
        let mut taken = Taken::default();
        for count in 1..=ROUNDS {
            say(&format!("{what}, {count} of {ROUNDS}"));
            scene.round(round, owners, &mut taken)?;
        }
        taken.tell(figures, &format!("{name}: {what}"), target)?;
    }
    scene.audience.ensure_all_is_known(&scene.node)
}

#[derive(Clone, Copy)]
enum Round {
    Block,
    /// Then a block with them, which is not timed.
    Transaction,
}

impl<H: Hall> Scene<H> {
    /// Everybody is there, and nobody has been told anything.
    fn set(figures: &mut Figures, name: &str, sessions: usize) -> Result<Self> {
        let node = Node::start(&Options {
            // On regtest a node looks through all it has at each change.
            extra: vec!["-checkmempool=0".into(), "-checkblockindex=0".into()],
            ..Options::default()
        })?;
        let mut crowd = Crowd::start(&node, COINS)?;
        let mut hall = H::open(&node, sessions)?;
        let owners: Vec<Vec<u64>> = (0..sessions)
            .map(|_| (0..SCRIPTS_EACH).map(|_| crowd.stranger()).collect())
            .collect();
        let first = hall.connect(1)?.pop().context("no connection")?;
        Line::new(first).wait_until_ready(LOST)?;
        thread::sleep(REST);
        let empty = hall.process().anonymous_bytes()?;
        let audience = Audience::start(hall.connect(sessions)?, &owners)?;
        thread::sleep(REST);
        let bytes = hall.process().anonymous_bytes()?.saturating_sub(empty);
        let each = f64::from(u32::try_from(bytes)?) / f64::from(u32::try_from(sessions)?);
        let line = json!({ "figure": "memory of a session", "of": name, "bytes": each });
        let [target, ..] = H::TARGETS;
        let cells = [target, &format!("{} KB", number(each / 1e3)), "", "", ""];
        figures.add(
            &format!("{name}: memory of one"),
            &line,
            &cells.map(str::to_owned),
        )?;
        Ok(Self {
            node,
            hall,
            crowd,
            owners,
            audience,
        })
    }

    /// Pays all of these, and waits until everybody knows it, once.
    fn round(&mut self, round: Round, owners: &[u64], taken: &mut Taken) -> Result<()> {
        let payments = self.crowd.pay_each(owners)?;
        let before = self.hall.process().cpu_time()?;
        let (begun, due) = match round {
            Round::Block => {
                let raw: Vec<String> = payments.iter().map(serialize_hex).collect();
                let begun = tip_changes(&self.node, &raw)?;
                (begun, self.owners.len() + owners.len())
            }
            Round::Transaction => {
                crowd::send(&self.node, &payments)?;
                (Instant::now(), owners.len())
            }
        };
        let told = self
            .audience
            .hear(due, LOST)
            .context("something was lost")?;
        let spent = self.hall.process().cpu_time()?.saturating_sub(before);
        taken.take(begun, &told, spent);
        self.audience.ensure_told_once(&told, SILENCE)?;
        if let Round::Transaction = round {
            let due = self.owners.len() + owners.len();
            self.node.mine_to(&home()?, 1)?;
            let told = self
                .audience
                .hear(due, LOST)
                .context("something was lost")?;
            self.audience.ensure_told_once(&told, SILENCE)?;
        }
        Ok(())
    }
}

impl Taken {
    fn take(&mut self, begun: Instant, told: &[Told], cpu: Duration) {
        let since = |told: &Told| milliseconds(told.at.saturating_duration_since(begun));
        let times: Vec<f64> = told.iter().map(since).collect();
        self.last.push(percentile(&times, 100));
        self.each.extend(times);
        self.cpu.push(milliseconds(cpu));
    }

    fn tell(&self, figures: &mut Figures, what: &str, target: &str) -> Result<()> {
        let shares = [50, 99, 100].map(|percent| percentile(&self.each, percent));
        let [median, most, last] = shares;
        let line = json!({
            "figure": what, "unit": "ms", "median": median, "99": most, "last": self.last, "cpu": self.cpu,
        });
        let of = |value: f64| format!("{} ms", number(value));
        let cpu = of(percentile(&self.cpu, 50));
        let cells = [target.to_owned(), of(median), of(most), of(last), cpu];
        figures.add(what, &line, &cells)
    }
}

/// Mines a block with these; when the node itself told that its tip had changed.
fn tip_changes(node: &Node, transactions: &[String]) -> Result<Instant> {
    thread::scope(|scope| {
        let changed = scope.spawn(|| {
            let limit = u64::try_from(LOST.as_millis())?;
            node.rpc("waitfornewblock", json!([limit]))?;
            anyhow::Ok(Instant::now())
        });
        thread::sleep(POLL_BEGINS);
        node.mine_block(&home()?, transactions)?;
        changed
            .join()
            .map_err(|_panicked| anyhow!("the wait for the block panicked"))?
    })
}

/// Where coinbases go, which nobody watches.
fn home() -> Result<String> {
    Ok(Address::from_script(&crowd::script(0), bitcoin::Network::Regtest)?.to_string())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
