//! One script, as a wallet sees it.

use std::collections::HashSet;
use std::io::BufRead as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use electrum_client::bitcoin::hashes::{Hash as _, sha256};
use electrum_client::bitcoin::{ScriptBuf, Txid};
use electrum_client::utils::validate_merkle_proof;
use electrum_client::{ElectrumApi, GetHistoryRes, ScriptStatus};

use crate::report::Report;

/// The library reads from the stream only while a question is open, so it is asked this often.
const POLL: Duration = Duration::from_millis(200);

/// What to look at, and what to expect.
#[derive(Args)]
pub(crate) struct Options {
    /// The output script, in hexadecimal.
    #[arg(long)]
    script: String,
    /// How many transactions to prove at each look, the newest first.
    #[arg(long, default_value_t = 3)]
    proofs: usize,
    /// Stay until the script has changed so often.
    #[arg(long, default_value_t = 0)]
    watch: usize,
    /// Stay until a line or the end comes on standard input.
    #[arg(long)]
    stay: bool,
    /// Seconds to stay at most.
    #[arg(long, default_value_t = 120)]
    patience: u64,
    /// Fail unless the last look shows this, in satoshi.
    #[arg(long)]
    expect_confirmed: Option<u64>,
    /// Fail unless the last look shows this, in satoshi.
    #[arg(long, allow_hyphen_values = true)]
    expect_unconfirmed: Option<i64>,
    /// Fail unless the last look shows so many transactions.
    #[arg(long)]
    expect_history: Option<usize>,
}

/// Looks, stays as long as it should, and looks again at each notification.
pub(crate) fn visit(client: &impl ElectrumApi, options: &Options, report: &Report) -> Result<()> {
    let protocol = client
        .protocol_version()
        .context("failed to learn the protocol version")?;
    let features = client
        .server_features()
        .context("failed to learn the server's features")?;
    report.version(&features.server_version, &protocol);
    let banner = client
        .raw_call("server.banner", [])
        .context("failed to read the banner")?;
    report.banner(banner.as_str().context("the banner is no text")?);
    let tip = client
        .block_headers_subscribe()
        .context("failed to subscribe to headers")?;
    report.tip(tip.height, &tip.header);

    let script = ScriptBuf::from_hex(&options.script).context("--script is no hexadecimal")?;
    let status = client
        .script_subscribe(&script)
        .context("failed to subscribe to the script")?;
    let mut visit = Visit {
        client,
        options,
        report,
        script,
        proved: HashSet::new(),
    };
    let seen = visit.look(status)?;
    let seen = visit.stay(seen)?;
    seen.check(options)?;
    report.done();
    Ok(())
}

struct Visit<'a, C> {
    client: &'a C,
    options: &'a Options,
    report: &'a Report,
    script: ScriptBuf,
    proved: HashSet<Txid>,
}

/// What a look showed.
struct Seen {
    confirmed: u64,
    unconfirmed: i64,
    history: usize,
}

impl<C: ElectrumApi> Visit<'_, C> {
    /// Asks everything about the script; `status` is the newest that the server told.
    fn look(&mut self, status: Option<ScriptStatus>) -> Result<Seen> {
        let balance = self
            .client
            .script_get_balance(&self.script)
            .context("failed to ask for the balance")?;
        self.report.balance(&balance);
        let history = self
            .client
            .script_get_history(&self.script)
            .context("failed to ask for the history")?;
        let holds = status == status_of(&history);
        self.report
            .history(&history, status.map(hexadecimal).as_deref(), holds);
        let unspent = self
            .client
            .script_list_unspent(&self.script)
            .context("failed to ask for unspent outputs")?;
        self.report.unspent(&unspent);
        for entry in history
            .iter()
            .rev()
            .filter(|entry| entry.height > 0)
            .take(self.options.proofs)
        {
            if self.proved.insert(entry.tx_hash) {
                self.prove(entry.tx_hash, usize::try_from(entry.height)?)?;
            }
        }
        Ok(Seen {
            confirmed: balance.confirmed,
            unconfirmed: balance.unconfirmed,
            history: history.len(),
        })
    }

    /// Fetches a transaction, and proves that it is itself and in the block.
    fn prove(&self, txid: Txid, height: usize) -> Result<()> {
        let transaction = self
            .client
            .transaction_get(&txid)
            .context("failed to fetch a transaction")?;
        anyhow::ensure!(
            transaction.compute_txid() == txid,
            "the server sent another transaction than {txid}"
        );
        let header = self
            .client
            .block_header(height)
            .context("failed to fetch a header")?;
        let branch = self
            .client
            .transaction_get_merkle(&txid, height)
            .context("failed to fetch a proof")?;
        let verified = branch.block_height == height
            && validate_merkle_proof(&txid, &header.merkle_root, &branch);
        self.report.proof(&txid.to_string(), height, verified);
        anyhow::ensure!(verified, "the proof of {txid} does not hold");
        Ok(())
    }

    /// Waits for what ends the visit; what the last look showed.
    fn stay(&mut self, mut seen: Seen) -> Result<Seen> {
        let told_to_go = self.options.stay.then(input_ends);
        let deadline = Instant::now() + Duration::from_secs(self.options.patience);
        let mut changes = 0;
        if self.options.watch > 0 || self.options.stay {
            self.report.watching();
        }
        while changes < self.options.watch
            || told_to_go
                .as_ref()
                .is_some_and(|told| !told.load(Ordering::Relaxed))
        {
            anyhow::ensure!(
                Instant::now() < deadline,
                "{changes} changes within {} s",
                self.options.patience
            );
            self.client.ping().context("failed to ping")?;
            while let Some(tip) = self
                .client
                .block_headers_pop()
                .context("failed to read a header")?
            {
                self.report.block(tip.height, &tip.header);
            }
            let mut newest = None;
            while let Some(status) = self
                .client
                .script_pop(&self.script)
                .context("failed to read a status")?
            {
                self.report.changed(Some(&hexadecimal(status)));
                changes += 1;
                newest = Some(status);
            }
            match newest {
                Some(_) => seen = self.look(newest)?,
                None => std::thread::sleep(POLL),
            }
        }
        Ok(seen)
    }
}

impl Seen {
    fn check(&self, options: &Options) -> Result<()> {
        let Options {
            expect_confirmed,
            expect_unconfirmed,
            expect_history,
            ..
        } = options;
        let confirmed = expect_confirmed.unwrap_or(self.confirmed);
        anyhow::ensure!(
            self.confirmed == confirmed,
            "expected {confirmed} sat confirmed, not {}",
            self.confirmed
        );
        let unconfirmed = expect_unconfirmed.unwrap_or(self.unconfirmed);
        anyhow::ensure!(
            self.unconfirmed == unconfirmed,
            "expected {unconfirmed} sat unconfirmed, not {}",
            self.unconfirmed
        );
        let history = expect_history.unwrap_or(self.history);
        anyhow::ensure!(
            self.history == history,
            "expected {history} transactions, not {}",
            self.history
        );
        Ok(())
    }
}

/// The status that belongs to a history (protocol basics, "Status"); the library does not check it.
fn status_of(history: &[GetHistoryRes]) -> Option<ScriptStatus> {
    let text: String = history
        .iter()
        .map(|entry| format!("{}:{}:", entry.tx_hash, entry.height))
        .collect();
    (!history.is_empty()).then(|| sha256::Hash::hash(text.as_bytes()).to_byte_array().into())
}

fn hexadecimal(status: ScriptStatus) -> String {
    status.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn input_ends() -> Arc<AtomicBool> {
    let ended = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&ended);
    std::thread::spawn(move || {
        std::io::stdin().lock().lines().next();
        told.store(true, Ordering::Relaxed);
    });
    ended
}
