//! Questions about scripts and transactions, as sessions ask them.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bitcoin::{BlockHash, Txid};
use claustrum::chain::{Network, ScriptHash};
use claustrum::node::BlockFiles;
use claustrum::query::{self, Answer, FeeMode, FeeRate, MempoolFees, NodeReader, NodeSilent};
use claustrum::query::{Query, Readiness, View};
use claustrum::redact::ClientTxid;
use claustrum::sync;

use crate::building::indexed;
use crate::chain::{self, Chain, ENTRIES};
use crate::figures::{Figures, ROUNDS, count, timed};
use crate::say;

/// CPU seconds that one run of a question repeats it for, at least.
const RUN_SECONDS: f64 = 0.05;

/// There is none: everything is to be answered without it.
struct NoNode;

pub(crate) fn measure(
    figures: &mut Figures,
    chain: &Chain,
    scratch: &Path,
    files: &Path,
) -> Result<()> {
    for (txids, kept) in [(false, "read in the block files"), (true, "kept")] {
        let dir = scratch.join(format!("questions-{txids}"));
        let mut index = indexed(&chain.blocks, &dir, txids)?;
        let files = BlockFiles::open(files, Network::Regtest)?;
        index.read_from(Arc::new(files))?;
        let view = View {
            readiness: Readiness::Ready,
            ..sync::first_view(&index)
        };
        for entries in ENTRIES {
            say(&format!("{entries} entries, txids {kept}"));
            scripts(figures, &view, entries, txids, kept)?;
        }
        if !txids {
            transactions(figures, &view)?;
        }
    }
    Ok(())
}

fn scripts(
    figures: &mut Figures,
    view: &View,
    entries: usize,
    txids: bool,
    kept: &str,
) -> Result<()> {
    let script_hash = ScriptHash::of(&chain::script(entries));
    let Answer::History(rows) = answer(view, &Query::History(script_hash))? else {
        anyhow::bail!("no history");
    };
    let rows = rows.len();
    if !txids {
        let target = if entries <= 1 { "10" } else { "200" };
        let what = format!("balance of {rows} entries");
        let times = microseconds(view, &Query::Balance(script_hash))?;
        figures.spread(&what, "us", target, &times)?;
        let what = format!("unspent outputs of {rows} entries");
        let times = microseconds(view, &Query::Unspent(script_hash))?;
        figures.spread(&what, "us", target, &times)?;
    }
    let (history, status) = match (entries, txids) {
        (10_000, false) => ("30,000", ""),
        (100_000, false) => ("300,000", "300,000"),
        (10_000, true) => ("4,000", ""),
        (100_000, true) => ("40,000", "25,000"),
        _ => ("", ""),
    };
    let what = format!("history of {rows} entries, txids {kept}");
    let times = microseconds(view, &Query::History(script_hash))?;
    figures.spread(&what, "us", history, &times)?;
    let what = format!("status of {rows} entries, txids {kept}");
    let times = microseconds(view, &Query::Status(script_hash))?;
    figures.spread(&what, "us", status, &times)
}

fn transactions(figures: &mut Figures, view: &View) -> Result<()> {
    let height = view.tip().context("no tip")?.height;
    let txids = view.snapshot.block_txids(height)?.context("no block")?;
    let txid: Txid = txids[txids.len() / 2];
    let client_txid = || ClientTxid::new(txid);
    let times = microseconds(view, &Query::Transaction(client_txid()))?;
    figures.spread("a transaction", "us", "100", &times)?;
    let what = format!("a Merkle proof in a block of {}", txids.len());
    let txid = client_txid();
    let times = microseconds(view, &Query::Merkle { txid, height })?;
    figures.spread(&what, "us", "500", &times)
}

fn answer(view: &View, query: &Query) -> Result<Answer> {
    Ok(query::answer(view, &NoNode, query)?)
}

/// What one answer takes, in each run.
fn microseconds(view: &View, query: &Query) -> Result<Vec<f64>> {
    drop(answer(view, query)?);
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let (mut seconds, mut answers) = (0.0, 0);
        while seconds < RUN_SECONDS {
            let each = (answers / 2).max(1);
            let (more, ()) = timed(|| {
                for _ in 0..each {
                    drop(std::hint::black_box(answer(view, query)?));
                }
                Ok(())
            })?;
            seconds += more;
            answers += each;
        }
        times.push(seconds * 1e6 / count(answers));
    }
    Ok(times)
}

impl NodeReader for NoNode {
    fn raw_transaction(
        &self,
        _: &Txid,
        _: Option<&BlockHash>,
    ) -> Result<Option<Vec<u8>>, NodeSilent> {
        Err(NodeSilent)
    }

    fn estimate_fee(&self, _: u16, _: Option<FeeMode>) -> Result<Option<FeeRate>, NodeSilent> {
        Err(NodeSilent)
    }

    fn mempool_fees(&self) -> Result<MempoolFees, NodeSilent> {
        Err(NodeSilent)
    }
}
