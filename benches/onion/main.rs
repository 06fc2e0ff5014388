//! Figures of the product as its clients see it: the release binary behind its onion service on a private Tor network,
//! beside a C Tor onion service in front of `examples/loopback`; then transactions that leave, and wallets that load,
//! beside ElectrumX too. `make bench` runs it.
//!
//! All are measured in turn within one run, so that what else the machine does falls on all. The tables go to
//! standard output, every single measurement to `target/bench/onion.jsonl`.

#![expect(
    clippy::indexing_slicing,
    clippy::unused_result_ok,
    reason = "a measuring program ends with a panic where a figure is missing, and its own words may get lost"
)]

mod broadcast;
mod contest;
mod figures;
mod wallets;

use std::io::Write as _;

use anyhow::Result;
use rig::figures::{load_average, median, number, percentile};
use rig::server::program;

use contest::{Burst, Contest, Memory, mebibytes, say};
use figures::{Figures, Pairs, Side};

/// Pairs of runs of pings, and pings in each.
const PING_ROUNDS: usize = 5;
const PINGS: usize = 100;
/// Pairs of downloads, and requests in each.
const THROUGHPUT_ROUNDS: usize = 5;
const THROUGHPUT_REQUESTS: u32 = 3;
/// Clients of a burst, and pairs of bursts.
const BURSTS: [(usize, usize); 2] = [(30, 5), (200, 3)];

/// With the word `broadcast` or `wallets`, that part alone; with `small`, wallets so small that only what they find means
/// something.
fn main() -> Result<()> {
    let is_said = |word: &str| std::env::args().any(|argument| argument == word);
    let all = !is_said("broadcast") && !is_said("wallets");
    let mut figures = Figures::begin()?;
    if all {
        compare(&mut figures)?;
    }
    if all || is_said("broadcast") {
        figures.begin_spreads();
        broadcast::measure(&mut figures)?;
    }
    if all || is_said("wallets") {
        wallets::measure(&mut figures, is_said("small"))?;
    }
    let load = format!(
        "{}\nLoad average at the end: {}\n",
        figures.table(),
        load_average()?
    );
    std::io::stdout().write_all(load.as_bytes())?;
    Ok(())
}

/// What both have.
fn compare(figures: &mut Figures) -> Result<()> {
    figures.begin_pairs();
    let binary = std::fs::metadata(program()?)?.len();
    figures.words(
        "size of the binary",
        &format!("{} MiB", number(mebibytes(binary)?)),
        "",
    )?;
    let (mut contest, starts) = Contest::start()?;
    figures.pairs("start to the first answer through Tor", "s", &starts.first)?;
    let again = format!("{} s", number(median(&starts.again)));
    figures.words("the same, started again", &again, "")?;
    say("memory at rest");
    let memory = contest.memory_at_rest()?;
    occupied(figures, "at rest", &memory)?;
    pings(figures, &mut contest)?;
    downloads(figures, &mut contest)?;
    for (clients, rounds) in BURSTS {
        bursts(figures, &mut contest, clients, rounds)?;
    }
    say("memory after all that");
    let memory = contest.memory_at_rest()?;
    occupied(figures, "after all of the above", &memory)
}

fn occupied(figures: &mut Figures, when: &str, memory: &Memory) -> Result<()> {
    figures.pairs(
        &format!("memory {when}, without pages of files"),
        "MiB",
        &memory.anonymous,
    )?;
    figures.pairs(&format!("memory {when}, resident"), "MiB", &memory.resident)
}

fn pings(figures: &mut Figures, contest: &mut Contest) -> Result<()> {
    let (mut median, mut slow) = (Pairs::default(), Pairs::default());
    for round in 0..PING_ROUNDS {
        say(&format!("pings {} of {PING_ROUNDS}", round + 1));
        for side in Side::BOTH {
            let times = contest.ping(side, PINGS)?;
            median.push(side, percentile(&times, 50));
            slow.push(side, percentile(&times, 95));
        }
    }
    figures.pairs("ping round trip, median", "ms", &median)?;
    figures.pairs("ping round trip, 95 %", "ms", &slow)
}

fn downloads(figures: &mut Figures, contest: &mut Contest) -> Result<()> {
    let mut rates = Pairs::default();
    for round in 0..THROUGHPUT_ROUNDS {
        say(&format!("downloads {} of {THROUGHPUT_ROUNDS}", round + 1));
        for side in Side::BOTH {
            rates.push(side, contest.throughput(side, THROUGHPUT_REQUESTS)?);
        }
    }
    figures.pairs("download of 2,016 headers", "MiB/s", &rates)
}

fn bursts(
    figures: &mut Figures,
    contest: &mut Contest,
    clients: usize,
    rounds: usize,
) -> Result<()> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        for side in Side::BOTH {
            let burst = contest.burst(side, clients)?;
            let slowest = number(percentile(&burst.seconds, 100));
            say(&format!(
                "{clients} at once, {} of {rounds}, {side:?}: slowest {slowest} s, {} failed, {} lost",
                round + 1,
                burst.failed,
                burst.lost,
            ));
            match side {
                Side::Claustrum => ours.push(burst),
                Side::Peer => theirs.push(burst),
            }
        }
    }
    for (name, percent) in [("median", 50), ("90 %", 90), ("slowest", 100)] {
        let of = |bursts: &[Burst]| {
            bursts
                .iter()
                .map(|burst| percentile(&burst.seconds, percent))
                .collect()
        };
        let pairs = Pairs {
            claustrum: of(&ours),
            peer: of(&theirs),
        };
        figures.pairs(
            &format!("{clients} circuits at once, first answer, {name}"),
            "s",
            &pairs,
        )?;
    }
    let slowest = |bursts: &[Burst]| {
        let each = bursts
            .iter()
            .map(|burst| number(percentile(&burst.seconds, 100)));
        each.collect::<Vec<_>>().join(", ")
    };
    let what = format!("{clients} circuits at once, slowest of each burst in s");
    figures.words(&what, &slowest(&ours), &slowest(&theirs))?;
    let failed = |bursts: &[Burst]| {
        let failed: usize = bursts.iter().map(|burst| burst.failed).sum();
        format!("{failed} of {}", clients * rounds)
    };
    figures.words(
        &format!("{clients} circuits at once, failed"),
        &failed(&ours),
        &failed(&theirs),
    )?;
    let dropped: u64 = ours.iter().map(|burst| burst.dropped).sum();
    let lost: u64 = ours.iter().map(|burst| burst.lost).sum();
    let what = format!("{clients} circuits at once, introductions dropped by us, lost by Arti");
    figures.words(&what, &format!("{dropped}, {lost}"), "")
}
