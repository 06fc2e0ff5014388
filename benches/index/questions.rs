//! Questions about scripts and transactions, as sessions ask them.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bitcoin::Txid;
use claustrum::chain::{Height, Network, ScriptHash};
use claustrum::index::Index;
use claustrum::node::BlockFiles;
use claustrum::query::{self, Answer, NobodyToAsk, Query, Readiness, SessionMemo, View};
use claustrum::redact::ClientTxid;
use claustrum::sync;

use crate::building::indexed;
use crate::chain::{self, Chain, ENTRIES, Made};
use crate::figures::{Figures, ROUNDS, count, timed};
use crate::say;

/// CPU seconds that one run of a question repeats it for, at least.
const RUN_SECONDS: f64 = 0.05;

pub(crate) fn measure(
    figures: &mut Figures,
    chain: &Chain,
    scratch: &Path,
    files: &Path,
    last: u32,
) -> Result<()> {
    for (txids, kept) in [(false, "read in the block files"), (true, "kept")] {
        let dir = scratch.join(format!("questions-{txids}"));
        let files = Arc::new(BlockFiles::open(files, Network::Regtest)?);
        let mut index = indexed(&chain.blocks, &dir, txids)?;
        index.read_from(Arc::<BlockFiles>::clone(&files))?;
        let view = view(&index);
        for entries in ENTRIES {
            say(&format!("{entries} entries, txids {kept}"));
            scripts(figures, &view, entries, txids, kept)?;
        }
        drop(index);
        let (old, newest) = chain.blocks.split_at(usize::try_from(last)? + 1);
        let mut index = indexed(old, &scratch.join(format!("newest-{txids}")), txids)?;
        index.read_from(files)?;
        again(figures, &mut index, newest, last, kept)?;
        let ways = [(Height(last), "an old"), (Height(last + 1), "a new")];
        for (height, age) in ways {
            let block = format!("{age} block");
            transactions(figures, &self::view(&index), height, &block, txids, kept)?;
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
        let times = microseconds(|| answer(view, &Query::Balance(script_hash)))?;
        figures.spread(&what, "us", target, &times)?;
    }
    unspent(figures, view, entries, rows, kept)?;
    let (history, status) = match (entries, txids) {
        (10_000, false) => ("30,000", ""),
        (100_000, false) => ("300,000", "300,000"),
        (10_000, true) => ("4,000", ""),
        (100_000, true) => ("40,000", "25,000"),
        _ => ("", ""),
    };
    let what = format!("history of {rows} entries, txids {kept}");
    let times = microseconds(|| answer(view, &Query::History(script_hash)))?;
    figures.spread(&what, "us", history, &times)?;
    let what = format!("status of {rows} entries, txids {kept}");
    let times = microseconds(|| answer(view, &Query::Status(script_hash)))?;
    figures.spread(&what, "us", status, &times)
}

/// The first time, and again in a session that was told.
fn unspent(
    figures: &mut Figures,
    view: &View,
    entries: usize,
    rows: usize,
    kept: &str,
) -> Result<()> {
    let query = Query::Unspent(ScriptHash::of(&chain::script(entries)));
    let Answer::Unspent(unspent) = answer(view, &query)? else {
        anyhow::bail!("no unspent outputs");
    };
    let target = match entries {
        ..=1 => "10",
        10_000 => "60",
        _ => "200",
    };
    let what = format!("the {} unspent outputs of {rows} entries", unspent.len());
    let times = microseconds(|| answer(view, &query))?;
    figures.spread(&format!("{what}, txids {kept}"), "us", target, &times)?;
    let memo = SessionMemo::default();
    let times = microseconds(|| Ok(memo.answer(view, &NobodyToAsk, &query)?))?;
    let what = format!("{what}, again in the session, txids {kept}");
    figures.spread(&what, "us", target, &times)
}

fn transactions(
    figures: &mut Figures,
    view: &View,
    height: Height,
    block: &str,
    txids: bool,
    kept: &str,
) -> Result<()> {
    let of_block = view.snapshot.block_txids(height)?.context("no block")?;
    let count = of_block.len();
    let txid: Txid = of_block[count / 2];
    let client_txid = || ClientTxid::new(txid);
    if !txids {
        let times = microseconds(|| answer(view, &Query::Transaction(client_txid())))?;
        figures.spread(&format!("a transaction of {block}"), "us", "100", &times)?;
    }
    let what = format!("a Merkle proof in {block} of {count}, txids {kept}");
    let txid = client_txid();
    let times = microseconds(|| answer(view, &Query::Merkle { txid, height }))?;
    figures.spread(&what, "us", "500", &times)?;
    let index = u32::try_from(count / 2)?;
    for (proof, with) in [(false, ""), (true, " with its proof")] {
        let what = format!("an id by its place in {block}{with}, txids {kept}");
        let query = Query::TransactionAt {
            height,
            index,
            proof,
        };
        figures.spread(&what, "us", "", &microseconds(|| answer(view, &query))?)?;
    }
    Ok(())
}

/// Brings the newest blocks in one by one. After each, what it did to the status of the longest history that is known
/// up to there; in the end the balance of that script, some of whose outputs are in these blocks.
fn again(
    figures: &mut Figures,
    index: &mut Index,
    newest: &[Made],
    last: u32,
    kept: &str,
) -> Result<()> {
    let script_hash = ScriptHash::of(&chain::script(ENTRIES[ENTRIES.len() - 1]));
    let memo = SessionMemo::default();
    let status = |view: &View| {
        let query = Query::Status(script_hash);
        Ok(memo.answer(view, &NobodyToAsk, &query)?)
    };
    drop(status(&view(index))?);
    let mut times = Vec::new();
    for (height, made) in (last..).map(Height).zip(newest) {
        index.update_raw(Some(height), &[made.raw()])?;
        let view = view(index);
        let (seconds, _status) = timed(|| status(&view))?;
        times.push(seconds * 1e6);
    }
    let what = format!("status of the longest history again after a block, txids {kept}");
    figures.spread(&what, "us", "200", &times)?;
    let view = view(index);
    let whole = answer(&view, &Query::Status(script_hash))?;
    let added = status(&view)?;
    ensure!(
        wire(&added) == wire(&whole),
        "what was kept led to another status"
    );
    let what = format!(
        "its balance, {} blocks of it in rows, txids {kept}",
        newest.len()
    );
    let times = microseconds(|| answer(&view, &Query::Balance(script_hash)))?;
    figures.spread(&what, "us", "", &times)
}

fn wire(answer: &Answer) -> Option<String> {
    if let Answer::Status(status) = answer {
        status.map(|status| status.to_wire())
    } else {
        None
    }
}

fn view(index: &Index) -> View {
    View {
        readiness: Readiness::Ready,
        ..sync::first_view(index)
    }
}

pub(crate) fn answer(view: &View, query: &Query) -> Result<Answer> {
    Ok(query::answer(view, &NobodyToAsk, query)?)
}

/// What one answer takes, in each run.
fn microseconds(ask: impl Fn() -> Result<Answer>) -> Result<Vec<f64>> {
    drop(ask()?);
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let (mut seconds, mut answers) = (0.0, 0);
        while seconds < RUN_SECONDS {
            let each = (answers / 2).max(1);
            let (more, ()) = timed(|| {
                for _ in 0..each {
                    drop(std::hint::black_box(ask()?));
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
