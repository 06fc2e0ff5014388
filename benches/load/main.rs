//! Figures of many sessions that wait: how soon a block and a transaction reach the last of them, what one of them takes
//! of memory, and that none misses anything. Part of `make bench`; alone it is `cargo bench --no-default-features --bench
//! load -- loopback`, or `-- onion` through the onion service of the release binary.
//!
//! The server is a process of its own beside a node on regtest; this one holds the clients. The table goes to standard
//! output, every single measurement to `target/bench/load.jsonl`.

#![expect(
    clippy::disallowed_types,
    clippy::print_stderr,
    reason = "a measuring program is the clients it measures with, and says what it is about"
)]

mod hall;
mod rounds;

use std::io::Write as _;

use anyhow::Result;
use rig::figures::{Figures, load_average};
use rig::process;
use rig::programs::Program;

use hall::{Loopbacks, OnionService};

/// Sessions, and scripts that each watches.
const SESSIONS: usize = 2_000;
const SESSIONS_BY_TOR: usize = 200;
const SCRIPTS_EACH: usize = 5;

fn main() -> Result<()> {
    let is_said = |wanted: &str| std::env::args().any(|word| word == wanted);
    let everything = !is_said("loopback") && !is_said("onion");
    process::raise_open_files()?;
    let mut figures = Figures::begin("load")?;
    figures.environment(&[Program::Bitcoind])?;
    if everything || is_said("loopback") {
        rounds::measure::<Loopbacks>(&mut figures, SESSIONS)?;
    }
    if everything || is_said("onion") {
        rounds::measure::<OnionService>(&mut figures, SESSIONS_BY_TOR)?;
    }
    let text = format!(
        "{}\nLoad average at the end: {}\n",
        figures.table(),
        load_average()?
    );
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// What is being measured, for whoever waits.
fn say(what: &str) {
    eprintln!("load bench: {what}");
}
