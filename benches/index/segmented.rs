//! Questions to an index of several segments: how often it reads for one, and how long that takes, with the memory of
//! the system empty of these files and with everything in it.

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use bitcoin::Block;
use bitcoin::consensus::encode;
use claustrum::chain::{Network, ScriptHash};
use claustrum::index::Index;
use claustrum::query::{Query, Readiness, View};
use claustrum::sync;
use rig::figures::percentile;
use rustix::fs::{Advice, fadvise};

use crate::building::build;
use crate::chain::{self, Chain, ENTRIES, Made};
use crate::figures::{Figures, count};
use crate::questions::answer;
use crate::say;

/// How many segments of scripts there are.
const SEGMENTS: [usize; 3] = [1, 4, 12];
/// Scripts that are asked about.
const SCRIPTS: usize = 400;

pub(crate) fn measure(figures: &mut Figures, chain: &Chain, scratch: &Path) -> Result<()> {
    let scripts = scripts(&chain.blocks)?;
    for segments in SEGMENTS {
        say(&format!("{segments} segments"));
        let dir = scratch.join(format!("segments-{segments}"));
        let mut index = Index::open(&dir.join("index"), Network::Regtest)?;
        for part in chain.blocks.chunks(chain.blocks.len().div_ceil(segments)) {
            let built = build(&index, part, &dir.join("work"), false)?;
            index.take_in(built)?;
        }
        drop(index);
        let cold = empty_memory(&dir.join("index"))?;
        let index = Index::open(&dir.join("index"), Network::Regtest)?;
        let view = View {
            readiness: Readiness::Ready,
            ..sync::first_view(&index)
        };
        let of_asking = reads_made()? - reads_made()?;
        let mut reads = Vec::new();
        let mut rounds = Vec::new();
        for _ in 0..2 {
            let mut times = Vec::new();
            for script in &scripts {
                let before = reads_made()?;
                let begun = Instant::now();
                drop(answer(&view, &Query::Balance(*script))?);
                times.push(begun.elapsed().as_secs_f64() * 1e6);
                reads.push((reads_made()? - before + of_asking) / count(segments));
            }
            rounds.push(times);
        }
        // The first questions also read the way to all others.
        let of_first = reads.get(..scripts.len()).unwrap_or_default();
        for (percent, target) in [(50, "2"), (99, "")] {
            let what = format!("reads for a balance in each of {segments} segments, {percent} %");
            figures.exact(&what, "", target, percentile(of_first, percent))?;
        }
        let first = if cold {
            "the first time, cold"
        } else {
            "the first time"
        };
        for (when, times) in [first, "again"].into_iter().zip(&rounds) {
            for percent in [50, 99] {
                let what = format!("balance by {segments} segments, {when}, {percent} %");
                figures.exact(&what, "us", "", percentile(times, percent))?;
            }
        }
    }
    Ok(())
}

/// Ordinary scripts of outputs all over the chain.
fn scripts(blocks: &[Made]) -> Result<Vec<ScriptHash>> {
    let long = ENTRIES.map(|entries| ScriptHash::of(&chain::script(entries)));
    let mut scripts = Vec::new();
    let step = blocks.len().div_ceil(SCRIPTS).max(1);
    let each = SCRIPTS.div_ceil(blocks.len() / step);
    for made in blocks.iter().skip(1).step_by(step) {
        let block: Block = encode::deserialize(&made.bytes)?;
        let outputs = block.txdata.iter().skip(1).flat_map(|made| &made.output);
        let found = outputs.map(|output| ScriptHash::of(&output.script_pubkey));
        scripts.extend(found.filter(|script| !long.contains(script)).take(each));
    }
    Ok(scripts)
}

/// Lets the system forget what it read of these files, if it is so kind.
fn empty_memory(dir: &Path) -> Result<bool> {
    let mut all = true;
    for part in [dir.to_owned(), dir.join("segments")] {
        for entry in std::fs::read_dir(part)? {
            let path = entry?.path();
            if path.is_file() {
                let file = File::open(path)?;
                file.sync_all()?;
                all &= fadvise(&file, 0, None, Advice::DontNeed).is_ok();
            }
        }
    }
    Ok(all)
}

/// How often this process has read from any file; to ask is among them.
fn reads_made() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/io")?;
    let line = text.lines().find_map(|line| line.strip_prefix("syscr: "));
    Ok(line.context("no syscr in /proc/self/io")?.parse()?)
}
