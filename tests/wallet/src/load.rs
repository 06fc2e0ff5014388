//! A wallet of many scripts loads all that it needs, by the library's batches.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use electrum_client::ElectrumApi;
use electrum_client::bitcoin::ScriptBuf;

use crate::report::Report;

/// What to load.
#[derive(Args)]
pub(crate) struct Options {
    /// A file of output scripts in hexadecimal, one a line.
    #[arg(long)]
    scripts: PathBuf,
    /// How many scripts to ask for at once.
    #[arg(long, default_value_t = 200)]
    batch: usize,
    /// How many transactions to ask for at once.
    #[arg(long, default_value_t = 45)]
    transactions: usize,
}

/// Subscribes to all scripts, then asks for their histories, then for the transactions.
pub(crate) fn load(client: &impl ElectrumApi, options: &Options, report: &Report) -> Result<()> {
    let text = std::fs::read_to_string(&options.scripts).context("failed to read the scripts")?;
    let scripts: Vec<ScriptBuf> = text
        .lines()
        .map(ScriptBuf::from_hex)
        .collect::<Result<_, _>>()
        .context("--scripts has a line that is no hexadecimal")?;
    for batch in scripts.chunks(options.batch) {
        client
            .batch_script_subscribe(batch.iter().map(ScriptBuf::as_script))
            .context("failed to subscribe")?;
    }
    let mut txids = BTreeSet::new();
    for batch in scripts.chunks(options.batch) {
        let histories = client
            .batch_script_get_history(batch.iter().map(ScriptBuf::as_script))
            .context("failed to ask for histories")?;
        txids.extend(histories.iter().flatten().map(|entry| entry.tx_hash));
    }
    let txids: Vec<_> = txids.into_iter().collect();
    for batch in txids.chunks(options.transactions) {
        let transactions = client
            .batch_transaction_get(batch)
            .context("failed to fetch transactions")?;
        for (txid, transaction) in batch.iter().zip(&transactions) {
            anyhow::ensure!(
                transaction.compute_txid() == *txid,
                "the server sent another transaction than {txid}"
            );
        }
    }
    report.loaded(scripts.len(), txids.len());
    Ok(())
}
