//! What was measured of Claustrum, and of its peers beside it.

use anyhow::{Context as _, Result};
use rig::figures::{median, number, percentile};
use rig::programs::Program;
use serde_json::{Value, json};

/// Everything measured so far.
pub(crate) struct Figures(rig::figures::Figures);

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
    pub(crate) fn begin() -> Result<Self> {
        let mut figures = rig::figures::Figures::begin("onion")?;
        figures.environment(&[Program::Tor, Program::Bitcoind])?;
        Ok(Self(figures))
    }

    /// From here on figures are of both.
    pub(crate) fn begin_pairs(&mut self) {
        let peer = "C Tor, `examples/loopback`";
        self.0.begin_columns(&["Claustrum", peer, "ratio"]);
    }

    /// A figure that is measured at both; the ratio is the median of the pairs' ratios.
    pub(crate) fn pairs(&mut self, what: &str, unit: &str, pairs: &Pairs) -> Result<()> {
        let ratio = ratio(&pairs.claustrum, &pairs.peer);
        let value = json!({ "claustrum": pairs.claustrum, "peer": pairs.peer, "ratio": ratio });
        let [ours, theirs] = [&pairs.claustrum, &pairs.peer].map(|values| shown(values, unit));
        self.add(what, unit, &value, &[ours, theirs, format!("{ratio:.2}")])
    }

    /// A figure in words, where a ratio says nothing.
    pub(crate) fn words(&mut self, what: &str, claustrum: &str, peer: &str) -> Result<()> {
        let value = json!({ "claustrum": claustrum, "peer": peer });
        let cells = [claustrum, peer, ""].map(str::to_owned);
        self.add(what, "", &value, &cells)
    }

    /// From here on figures are of these servers, Claustrum first.
    pub(crate) fn begin_servers(&mut self, names: &[&str]) {
        self.0.begin_columns(names);
    }

    /// A figure that is measured at each server; beside that of another one stands Claustrum's divided by it, the median
    /// of the rounds that have both.
    pub(crate) fn servers(&mut self, what: &str, unit: &str, values: &[Vec<f64>]) -> Result<()> {
        let (ours, others) = values.split_first().context("a figure of nobody")?;
        let mut cells = vec![shown(ours, unit)];
        cells.extend(
            others
                .iter()
                .map(|theirs| format!("{} ({:.3})", shown(theirs, unit), ratio(ours, theirs))),
        );
        self.add(what, unit, &json!(values), &cells)
    }

    /// From here on figures are of Claustrum alone.
    pub(crate) fn begin_spreads(&mut self) {
        self.0.begin_columns(&["median", "least", "most"]);
    }

    /// A figure that was measured several times.
    pub(crate) fn spread(&mut self, what: &str, unit: &str, values: &[f64]) -> Result<()> {
        let cells =
            [50, 0, 100].map(|percent| format!("{} {unit}", number(percentile(values, percent))));
        self.add(what, unit, &json!(values), &cells)
    }

    /// All tables in Markdown.
    pub(crate) fn table(&self) -> &str {
        self.0.table()
    }

    fn add(&mut self, what: &str, unit: &str, value: &Value, cells: &[String]) -> Result<()> {
        let line = json!({ "figure": what, "unit": unit, "value": value });
        self.0.add(what, &line, cells)
    }
}

impl Pairs {
    pub(crate) fn push(&mut self, side: Side, value: f64) {
        match side {
            Side::Claustrum => self.claustrum.push(value),
            Side::Peer => self.peer.push(value),
        }
    }
}

/// The median of the ratios of the measurements that were taken in turn.
fn ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    let pairs = ours.iter().zip(theirs);
    let ratios: Vec<f64> = pairs.map(|(ours, theirs)| ours / theirs).collect();
    median(&ratios)
}

/// The median, for a table.
fn shown(values: &[f64], unit: &str) -> String {
    format!("{} {unit}", number(median(values)))
}
