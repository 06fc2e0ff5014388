//! A payment that leaves through the server.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use electrum_client::ElectrumApi;
use electrum_client::bitcoin::consensus::encode::{deserialize_hex, serialize};
use electrum_client::bitcoin::{ScriptBuf, Transaction};

use crate::report::Report;

/// The library reads from the stream only while a question is open, so it is asked this often.
const POLL: Duration = Duration::from_millis(100);

/// What to send, and how long to wait for it.
#[derive(Args)]
pub(crate) struct Options {
    /// The signed transaction, in hexadecimal.
    #[arg(long)]
    transaction: String,
    /// Do not wait until it is back.
    #[arg(long)]
    leave: bool,
    /// Seconds that it may take to come back.
    #[arg(long, default_value_t = 120)]
    patience: u64,
}

/// Subscribes to the script that is paid first, sends, and waits until the server tells that the payment is there.
pub(crate) fn send(client: &impl ElectrumApi, options: &Options, report: &Report) -> Result<()> {
    let transaction: Transaction =
        deserialize_hex(&options.transaction).context("--transaction is no transaction")?;
    let txid = transaction.compute_txid();
    let paid = transaction.output.first().context("it pays nobody")?;
    let script: &ScriptBuf = &paid.script_pubkey;
    client
        .script_subscribe(script)
        .context("failed to subscribe to the script that is paid")?;
    report.sending(&txid.to_string());
    let started = Instant::now();
    let answer = client
        .transaction_broadcast_raw(&serialize(&transaction))
        .context("the server does not take it")?;
    anyhow::ensure!(answer == txid, "the server took {answer} instead of {txid}");
    report.answered(started.elapsed());
    if options.leave {
        return Ok(());
    }
    let deadline = started + Duration::from_secs(options.patience);
    loop {
        client.ping().context("failed to ping")?;
        let notified = client.script_pop(script).context("failed to read")?;
        if notified.is_some() {
            let history = client
                .script_get_history(script)
                .context("failed to ask for the history")?;
            if history.iter().any(|entry| entry.tx_hash == txid) {
                report.returned(started.elapsed());
                return Ok(());
            }
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "it did not come back within {} s",
            options.patience
        );
        std::thread::sleep(POLL);
    }
}
