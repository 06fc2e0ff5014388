//! Many blocks at once: reading, sorting and joining, and the merge of what several bulks built.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use claustrum::chain::{Height, Network};
use claustrum::index::Index;
use claustrum::index::bulk::{Built, Bulk, BulkShape};

use crate::chain::{Chain, Made};
use crate::figures::{Figures, ROUNDS, count, megabytes, timed, written};
use crate::say;

/// Bulks that are merged.
const BULKS: usize = 4;

/// What one run brought.
struct Run {
    parse: f64,
    /// Reading and the commitment.
    commit: f64,
    add: f64,
    build: f64,
    bytes_per_script: f64,
    amplification: f64,
    built: Built,
}

pub(crate) fn measure(
    figures: &mut Figures,
    chain: &Chain,
    scratch: &Path,
    last: u32,
) -> Result<()> {
    let blocks = &chain.blocks[..=usize::try_from(last)?];
    let bytes: usize = blocks.iter().map(|made| made.file_bytes).sum();
    let mut runs = Vec::new();
    for round in 0..ROUNDS {
        say(&format!("bulk {} of {ROUNDS}", round + 1));
        runs.push(bulk(blocks, &scratch.join(format!("bulk-{round}")))?);
    }
    let totals = *runs[0].built.totals();
    let events = totals.fundings + totals.spendings;
    let events = count(usize::try_from(events)?) / 1e6;
    let of = |value: &dyn Fn(&Run) -> f64| -> Vec<f64> { runs.iter().map(value).collect() };
    figures.rate(
        "parse: txids, script hashes, keys, root, undo",
        "MB/s",
        "900",
        &of(&|run| megabytes(bytes) / run.parse),
    )?;
    figures.rate(
        "parse, commitment and scatter",
        "MB/s",
        "",
        &of(&|run| megabytes(bytes) / run.add),
    )?;
    let pipe = of(&|run| events / (run.add - run.parse + run.build));
    figures.spread("pipe: scatter to segments", "M events/s", "7", &pipe)?;
    let pipe = of(&|run| events / (run.add - run.commit + run.build));
    figures.spread("the same without the commitment", "M events/s", "", &pipe)?;
    let commit = of(&|run| events / (run.commit - run.parse));
    figures.spread("of it the commitment", "M events/s", "", &commit)?;
    let build = of(&|run| events / run.build);
    figures.spread("of it sort, join and write", "M events/s", "", &build)?;
    figures.exact(
        "script segments",
        "B/script",
        "20.6",
        runs[0].bytes_per_script,
    )?;
    figures.exact(
        "written for a byte of segments",
        "",
        "1.05",
        runs[0].amplification,
    )?;
    let unspent = totals.fundings - totals.spendings;
    figures.exact(
        "spendings unmatched",
        "",
        "0",
        count(usize::try_from(totals.spendings_kept)?),
    )?;
    ensure!(
        totals.spendings_kept == 0 && totals.fundings_kept == unspent,
        "the join left {totals:?}"
    );
    Ok(())
}

/// The merge of what several bulks built.
pub(crate) fn merges(
    figures: &mut Figures,
    chain: &Chain,
    scratch: &Path,
    last: u32,
) -> Result<()> {
    let blocks = &chain.blocks[..=usize::try_from(last)?];
    let mut rates = Vec::new();
    for round in 0..ROUNDS {
        say(&format!("merge {} of {ROUNDS}", round + 1));
        rates.push(merge(blocks, &scratch.join(format!("merge-{round}")))?);
    }
    figures.spread("merge of four bulks", "M scripts/s", "4", &rates)
}

fn bulk(blocks: &[Made], dir: &Path) -> Result<Run> {
    let index = Index::open(&dir.join("index"), Network::Regtest)?;
    let bulk = begin(&index, blocks, &dir.join("work"), false)?;
    let mut worker = bulk.worker()?;
    let (parse, ()) = timed(|| {
        for (height, made) in (0..).map(Height).zip(blocks) {
            worker.read(height, made.raw())?;
        }
        Ok(())
    })?;
    let mut measured = bulk.worker()?;
    let (commit, ()) = timed(|| {
        for (height, made) in (0..).map(Height).zip(blocks) {
            measured.read(height, made.raw())?;
            measured.commit();
        }
        Ok(())
    })?;
    let (add, ()) = timed(|| {
        for made in blocks {
            let height = bulk.claim(&made.planned.hash).context("taken already")?;
            worker.add(height, made.place, made.raw())?;
        }
        Ok(())
    })?;
    let contributions = vec![worker.finish()?];
    let before = written()?;
    let (build, built) = timed(|| Ok(bulk.build(contributions, 1)?))?;
    let written = written()? - before;
    let (of_scripts, all) = built.segment_bytes();
    let scripts = count(usize::try_from(built.totals().scripts)?);
    Ok(Run {
        parse,
        commit,
        add,
        build,
        bytes_per_script: count(usize::try_from(of_scripts)?) / scripts,
        amplification: written / count(usize::try_from(all)?),
        built,
    })
}

/// An index with these blocks, taken in at once.
pub(crate) fn indexed(blocks: &[Made], dir: &Path, txids: bool) -> Result<Index> {
    let mut index = Index::open(&dir.join("index"), Network::Regtest)?;
    let built = build(&index, blocks, &dir.join("work"), txids)?;
    index.take_in(built)?;
    Ok(index)
}

fn merge(blocks: &[Made], dir: &Path) -> Result<f64> {
    let mut index = Index::open(&dir.join("index"), Network::Regtest)?;
    let mut scripts = 0;
    for part in blocks.chunks(blocks.len().div_ceil(BULKS)) {
        let built = build(&index, part, &dir.join("work"), false)?;
        scripts += built.totals().scripts;
        index.take_in(built)?;
    }
    let (seconds, ()) = timed(|| Ok(index.merge_all()?))?;
    Ok(count(usize::try_from(scripts)?) / 1e6 / seconds)
}

pub(crate) fn build(index: &Index, blocks: &[Made], work: &Path, txids: bool) -> Result<Built> {
    let bulk = begin(index, blocks, work, txids)?;
    let mut worker = bulk.worker()?;
    for made in blocks {
        let height = bulk.claim(&made.planned.hash).context("taken already")?;
        worker.add(height, made.place, made.raw())?;
    }
    Ok(bulk.build(vec![worker.finish()?], 1)?)
}

fn begin(index: &Index, blocks: &[Made], work: &Path, txids: bool) -> Result<Arc<Bulk>> {
    let shape = BulkShape {
        partition_bits: 8,
        shard_bits: 0,
        txids,
    };
    let planned = blocks.iter().map(|made| made.planned).collect();
    Ok(Arc::new(index.bulk(work, planned, shape)?))
}
