//! What was measured, as lines of JSON for programs and as a table for people.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// Where the lines of JSON go.
const FILE: &str = "target/bench/onion.jsonl";

/// Everything measured so far.
pub(crate) struct Figures {
    file: File,
    table: String,
}

/// Measurements of Claustrum and of its peer, taken in turn: those of one index belong together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pairs {
    pub(crate) claustrum: Vec<f64>,
    pub(crate) peer: Vec<f64>,
}

/// Whom a measurement is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Claustrum,
    /// A C Tor onion service in front of `examples/loopback`.
    Peer,
}

impl Side {
    /// In the order they are measured in.
    pub(crate) const BOTH: [Self; 2] = [Self::Claustrum, Self::Peer];
}

impl Figures {
    /// Begins, with what is known of the machine.
    pub(crate) fn begin(environment: &[String]) -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
        let folder = path.parent().context("a file without a folder")?;
        std::fs::create_dir_all(folder).context("make a folder for the figures")?;
        let mut file = File::create(&path).context("make a file for the figures")?;
        writeln!(file, "{}", json!({ "environment": environment }))?;
        let lines = environment.iter().map(|line| format!("- {line}\n"));
        let table = lines.collect();
        Ok(Self { file, table })
    }

    /// From here on figures are of both.
    pub(crate) fn begin_pairs(&mut self) {
        self.table.push_str(
            "\n| | Claustrum | C Tor, `examples/loopback` | ratio |\n| --- | ---: | ---: | ---: |\n",
        );
    }

    /// A figure that is measured at both; the ratio is the median of the pairs' ratios.
    pub(crate) fn pairs(&mut self, what: &str, unit: &str, pairs: &Pairs) -> Result<()> {
        let ratio = pairs.ratio();
        let value = json!({ "claustrum": pairs.claustrum, "peer": pairs.peer, "ratio": ratio });
        let text = |values: &[f64]| format!("{} {unit}", number(median(values)));
        let (ours, theirs) = (text(&pairs.claustrum), text(&pairs.peer));
        self.add(what, unit, &value, [&ours, &theirs, &format!("{ratio:.2}")])
    }

    /// A figure in words, where a ratio says nothing.
    pub(crate) fn words(&mut self, what: &str, claustrum: &str, peer: &str) -> Result<()> {
        let value = json!({ "claustrum": claustrum, "peer": peer });
        self.add(what, "", &value, [claustrum, peer, ""])
    }

    /// From here on figures are of Claustrum alone.
    pub(crate) fn begin_spreads(&mut self) {
        self.table
            .push_str("\n| | median | least | most |\n| --- | ---: | ---: | ---: |\n");
    }

    /// A figure that was measured several times.
    pub(crate) fn spread(&mut self, what: &str, unit: &str, values: &[f64]) -> Result<()> {
        let cells =
            [50, 0, 100].map(|percent| format!("{} {unit}", number(percentile(values, percent))));
        let [median, least, most] = &cells;
        self.add(what, unit, &json!(values), [median, least, most])
    }

    /// All tables in Markdown.
    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    fn add(&mut self, what: &str, unit: &str, value: &Value, cells: [&str; 3]) -> Result<()> {
        let line = json!({ "figure": what, "unit": unit, "value": value });
        writeln!(self.file, "{line}").context("write a figure")?;
        let row = format!("| {what} | {} |\n", cells.join(" | "));
        self.table.push_str(&row);
        Ok(())
    }
}

impl Pairs {
    pub(crate) fn push(&mut self, side: Side, value: f64) {
        match side {
            Side::Claustrum => self.claustrum.push(value),
            Side::Peer => self.peer.push(value),
        }
    }

    fn ratio(&self) -> f64 {
        let pairs = self.claustrum.iter().zip(&self.peer);
        let ratios: Vec<f64> = pairs.map(|(ours, theirs)| ours / theirs).collect();
        median(&ratios)
    }
}

/// The value in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 50)
}

/// The smallest value that so many percent of them do not exceed; NaN of nothing.
pub(crate) fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = sorted.len().saturating_mul(percent).div_ceil(100);
    let value = sorted.get(rank.saturating_sub(1));
    value.copied().unwrap_or(f64::NAN)
}

/// A number with three digits that mean something.
pub(crate) fn number(value: f64) -> String {
    let decimals = match value {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}
