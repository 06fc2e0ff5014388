//! Blocks as they come in one by one.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use claustrum::chain::{Height, Network};
use claustrum::index::Index;
use rig::figures::percentile;
use rig::trace::Trace;

use crate::building::indexed;
use crate::chain::{self, Chain, Made, Size};
use crate::figures::{Figures, count, timed, written};
use crate::say;

/// The word that makes this program connect so many blocks and nothing else, to be watched while it does.
pub(crate) const COUNT_FSYNCS: &str = "count-fsyncs";
/// Blocks connected while watched; the difference counts, so that opening and closing do not.
const WATCHED: [usize; 2] = [2, 12];

pub(crate) fn measure(
    figures: &mut Figures,
    chain: &Chain,
    scratch: &Path,
    last: u32,
) -> Result<()> {
    say("blocks at the tip");
    let (below, tip) = chain.blocks.split_at(usize::try_from(last)? + 1);
    let mut index = indexed(below, &scratch.join("tip"), false)?;
    let (mut milliseconds, mut megabytes) = (Vec::new(), Vec::new());
    for (height, made) in (last + 1..).zip(tip) {
        let before = written()?;
        let (seconds, ()) = timed(|| connect(&mut index, height, made))?;
        milliseconds.push(seconds * 1e3);
        megabytes.push((written()? - before) / 1e6);
    }
    let slowest = percentile(&milliseconds, 99);
    figures.spread("a block at the tip, CPU", "ms", "", &milliseconds)?;
    figures.exact("the same, 99 %", "ms", "", slowest)?;
    figures.spread("written for it", "MB", "0.6", &megabytes)?;
    let fsyncs = fsyncs(scratch)?;
    figures.exact("fsyncs for it", "", "2", fsyncs)
}

fn connect(index: &mut Index, height: u32, made: &Made) -> Result<()> {
    index.update_raw(Some(Height(height - 1)), &[made.raw()])?;
    Ok(())
}

/// How often the system is told to bring a block onto the disk.
fn fsyncs(scratch: &Path) -> Result<f64> {
    let mut counts = Vec::new();
    for blocks in WATCHED {
        let trace = Trace {
            file: scratch.join("trace"),
            calls: "fsync,fdatasync,sync_file_range,msync",
        };
        let words = trace.words()?;
        let (program, words) = words.split_first().context("no strace")?;
        let status = Command::new(program)
            .args(words)
            .arg(std::env::current_exe()?)
            .arg(COUNT_FSYNCS)
            .arg(blocks.to_string())
            .status()?;
        ensure!(status.success(), "strace ended with {status}");
        counts.push(count(trace.read()?.calls.len()));
    }
    Ok((counts[1] - counts[0]) / count(WATCHED[1] - WATCHED[0]))
}

/// Connects so many small blocks.
pub(crate) fn connect_some(blocks: u32) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let chain = chain::make(Size {
        bulk: (1, 1),
        tip: (blocks, 10),
    })?;
    let mut index = Index::open(dir.path(), Network::Regtest)?;
    index.update_raw(None, &[chain.blocks[0].raw()])?;
    for (height, made) in (1..).zip(&chain.blocks[1..]) {
        connect(&mut index, height, made)?;
    }
    Ok(())
}
