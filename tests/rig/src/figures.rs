//! What a bench measured, as lines of JSON for programs and as tables for people.

use std::fs::File;
use std::io::Write as _;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::programs::{Program, repository};

/// Everything measured so far.
#[derive(Debug)]
pub struct Figures {
    file: File,
    table: String,
}

impl Figures {
    /// None as yet; lines of JSON go to `target/bench/NAME.jsonl`.
    pub fn begin(name: &str) -> Result<Self> {
        let folder = repository().join("target/bench");
        std::fs::create_dir_all(&folder).context("failed to make a folder for the figures")?;
        let file = File::create(folder.join(format!("{name}.jsonl")))
            .context("failed to make a file for the figures")?;
        Ok(Self {
            file,
            table: String::new(),
        })
    }

    /// What the figures depend on: the machine, its load, and the foreign programs.
    pub fn environment(&mut self, programs: &[Program]) -> Result<()> {
        let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
        let model = cpus
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let (_, model) = model.unwrap_or(("", "unknown processor"));
        let cores = std::thread::available_parallelism()?;
        let load = load_average()?;
        let machine = format!("{cores} x {model}, load average at the beginning {load}");
        let versions = programs.iter().map(|program| program.version());
        let versions = versions.collect::<Result<Vec<_>>>()?.join(", ");
        self.line(&json!({ "environment": [&machine, &versions] }))?;
        self.table.push_str(&format!("- {machine}\n- {versions}\n"));
        Ok(())
    }

    /// From here on figures have these columns behind what they are of.
    pub fn begin_columns(&mut self, names: &[&str]) {
        if !self.table.is_empty() {
            self.table.push('\n');
        }
        let rule = " ---: |".repeat(names.len());
        let head = format!("| | {} |\n| --- |{rule}\n", names.join(" | "));
        self.table.push_str(&head);
    }

    /// A figure: its line of JSON, and a row with these cells.
    pub fn add(&mut self, what: &str, line: &Value, cells: &[String]) -> Result<()> {
        self.line(line)?;
        let row = format!("| {what} | {} |\n", cells.join(" | "));
        self.table.push_str(&row);
        Ok(())
    }

    /// All tables in Markdown.
    pub fn table(&self) -> &str {
        &self.table
    }

    fn line(&mut self, line: &Value) -> Result<()> {
        writeln!(self.file, "{line}").context("failed to write a figure")
    }
}

/// Over 1, 5 and 15 minutes.
pub fn load_average() -> Result<String> {
    let text = std::fs::read_to_string("/proc/loadavg").context("failed to read the load")?;
    Ok(text.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

/// The value in the middle.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 50)
}

/// The smallest value that so many percent of them do not exceed; NaN of nothing.
pub fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = sorted.len().saturating_mul(percent).div_ceil(100);
    let value = sorted.get(rank.saturating_sub(1));
    value.copied().unwrap_or(f64::NAN)
}

/// A number with three digits that mean something.
pub fn number(value: f64) -> String {
    let decimals = match value {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}
