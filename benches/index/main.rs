//! Figures of the index: how fast blocks are taken in, what that writes, and how fast questions are answered. `make
//! bench` runs it; with the word `small` the chain is small, for counts and ratios alone; with `bulk` or `questions`
//! nothing else is measured.
//!
//! Rates are per second of CPU, the medians of five runs. The table goes to standard output, every single measurement
//! to `target/bench/index.jsonl`.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a measuring program ends with a panic where a figure is missing"
)]

mod building;
mod chain;
mod figures;
mod questions;
mod segmented;
mod tip;

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use chain::Size;
use figures::Figures;

const ORDINARY: Size = Size {
    bulk: (250, 1_000),
    tip: (20, 2_500),
};
const SMALL: Size = Size {
    bulk: (40, 500),
    tip: (5, 500),
};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let at = words.iter().position(|word| word == tip::COUNT_FSYNCS);
    if let Some(at) = at {
        return tip::connect_some(words.get(at + 1).context("how many?")?.parse()?);
    }
    let is_said = |wanted: &str| words.iter().any(|word| word == wanted);
    let size = if is_said("small") { SMALL } else { ORDINARY };
    let scratch = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&scratch)?;
    let scratch = tempfile::tempdir_in(scratch)?;
    say("making a chain");
    let mut chain = chain::make(size)?;
    let files = scratch.path().join("blocks");
    chain::write_files(&mut chain, &files)?;
    let mut figures = Figures::begin()?;
    let everything = !is_said("bulk") && !is_said("questions");
    if everything || is_said("bulk") {
        building::measure(&mut figures, &chain, scratch.path(), size.bulk.0)?;
    }
    if everything {
        building::merges(&mut figures, &chain, scratch.path(), size.bulk.0)?;
        tip::measure(&mut figures, &chain, scratch.path(), size.bulk.0)?;
    }
    if everything || is_said("questions") {
        questions::measure(&mut figures, &chain, scratch.path(), &files, size.bulk.0)?;
        segmented::measure(&mut figures, &chain, scratch.path())?;
    }
    std::io::stdout().write_all(figures.table().as_bytes())?;
    Ok(())
}

/// What is being measured, for whoever waits.
pub(crate) fn say(what: &str) {
    eprintln!("index bench: {what}");
}
