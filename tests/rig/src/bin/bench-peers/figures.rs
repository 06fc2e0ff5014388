//! What was measured, as lines of JSON for programs and as a table for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::load::Outcome;

/// Everything measured so far.
pub(crate) struct Figures {
    file: File,
    servers: Vec<String>,
    /// By case, in the order of the first round, and by server.
    cases: Vec<(String, BTreeMap<usize, Measured>)>,
}

/// All rounds of one case with one server.
#[derive(Default)]
struct Measured {
    /// Milliseconds for one question, or answers a second in a flood.
    pace: Vec<f64>,
    cpu_micros: Vec<f64>,
    node_micros: Vec<f64>,
    errors: u64,
}

/// CPU seconds of one measurement; `None` of what cannot be looked at.
#[derive(Clone, Copy)]
pub(crate) struct Cpu {
    pub(crate) server: Option<f64>,
    pub(crate) node: Option<f64>,
}

impl Figures {
    /// None as yet; lines of JSON go to `file`.
    pub(crate) fn begin(file: &Path, servers: Vec<String>) -> Result<Self> {
        std::fs::create_dir_all(file.parent().context("a file without a folder")?)?;
        let file = File::create(file).context("failed to make a file for the figures")?;
        Ok(Self {
            file,
            servers,
            cases: Vec::new(),
        })
    }

    pub(crate) fn add(
        &mut self,
        case: &str,
        server: usize,
        outcome: &Outcome,
        cpu: Cpu,
    ) -> Result<()> {
        let round_trip = median(&outcome.round_trips);
        let line = json!({
            "case": case, "server": self.servers[server], "answers": outcome.answers, "errors": outcome.errors,
            "seconds": outcome.seconds, "round_trip_ms": round_trip,
            "cpu_seconds": cpu.server, "node_cpu_seconds": cpu.node,
        });
        writeln!(self.file, "{line}").context("failed to write a figure")?;
        let at = self.cases.iter().position(|(known, _)| known == case);
        let at = at.unwrap_or_else(|| {
            self.cases.push((case.to_owned(), BTreeMap::new()));
            self.cases.len() - 1
        });
        let measured = self.cases[at].1.entry(server).or_default();
        let answers = count(outcome.answers);
        measured
            .pace
            .push(round_trip.unwrap_or(answers / outcome.seconds));
        let micros = |seconds: f64| seconds * 1e6 / answers;
        measured.cpu_micros.extend(cpu.server.map(micros));
        measured.node_micros.extend(cpu.node.map(micros));
        measured.errors += outcome.errors;
        Ok(())
    }

    /// Medians of all rounds; the first server's beside the others', with its share of theirs.
    pub(crate) fn table(&self) -> String {
        let mut table = "| |".to_owned();
        for (number, server) in self.servers.iter().enumerate() {
            let ratio = if number == 0 { "" } else { " ratio |" };
            write!(table, " {server} |{ratio} CPU, us |{ratio}").expect("memory");
        }
        table.push_str("\n| --- |");
        let columns = self.servers.len() * 4 - 2;
        table.push_str(&" ---: |".repeat(columns));
        table.push('\n');
        for (case, servers) in &self.cases {
            self.row(&mut table, case, servers);
        }
        table
    }

    fn row(&self, table: &mut String, case: &str, servers: &BTreeMap<usize, Measured>) {
        write!(table, "| {case} |").expect("memory");
        let first = servers.get(&0);
        for number in 0..self.servers.len() {
            let measured = servers.get(&number);
            let pace = measured.and_then(|measured| median(&measured.pace));
            let cpu = measured.and_then(|measured| median(&measured.cpu_micros));
            let node = measured.and_then(|measured| median(&measured.node_micros));
            let errors = measured.map_or(0, |measured| measured.errors);
            let failed = if errors > 0 {
                format!(" ({errors} errors)")
            } else {
                String::new()
            };
            let of_node = node.filter(|node| *node >= 1.0);
            let of_node = of_node.map_or(String::new(), |node| format!(" + {}", shown(Some(node))));
            let ratio = |own: Option<f64>, other: Option<f64>| {
                if number == 0 {
                    return String::new();
                }
                let ratio = own.zip(other).map(|(own, other)| own / other);
                format!(
                    " {} |",
                    ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
                )
            };
            let pace_ratio = ratio(first.and_then(|first| median(&first.pace)), pace);
            let cpu_ratio = ratio(first.and_then(|first| median(&first.cpu_micros)), cpu);
            let (pace, cpu) = (shown(pace), shown(cpu));
            write!(
                table,
                " {pace}{failed} |{pace_ratio} {cpu}{of_node} |{cpu_ratio}"
            )
            .expect("memory");
        }
        table.push('\n');
    }
}

/// The one in the middle; `None` of nothing.
fn median(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| rig::figures::median(values))
}

/// With three digits that mean something.
fn shown(value: Option<f64>) -> String {
    let Some(value) = value else {
        return "-".to_owned();
    };
    let decimals = match value {
        ..1.0 => 3,
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// Exact for all that is counted here.
fn count(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
