//! A wallet of descriptors, kept in a file from one run to the next, by `bdk_wallet` and `bdk_electrum`: it believes a
//! block of a transaction only with a proof.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use bdk_electrum::BdkElectrumClient;
use bdk_wallet::bitcoin::bip32::Xpriv;
use bdk_wallet::bitcoin::{Address, Amount, FeeRate, Network, Psbt, Transaction, Txid};
use bdk_wallet::chain::{ChainPosition, Merge as _};
use bdk_wallet::{ChangeSet, KeychainKind, LocalOutput, SignOptions, Wallet, WalletTx};
use clap::{Args, Subcommand};
use electrum_client::ElectrumApi;

use crate::report::{Holdings, Report};

/// Unused addresses in a row after which a scan ends.
const STOP_GAP: usize = 20;
/// Scripts asked for at once.
const BATCH: usize = 10;

/// Which wallet, and what it is to do.
#[derive(Args)]
pub(crate) struct Options {
    /// Where the wallet is kept; made if it is not there.
    #[arg(long)]
    file: PathBuf,
    /// Descriptor of the addresses that others pay.
    #[arg(long)]
    external: String,
    /// Descriptor of the addresses for change.
    #[arg(long)]
    internal: String,
    /// Master keys that sign payments, wherever they are held.
    #[arg(long)]
    key: Vec<Xpriv>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Subcommand)]
enum Action {
    /// Asks for addresses until many in a row are unused, as one does after restoring.
    Scan,
    /// Asks for the addresses that were given out.
    Sync,
    /// Gives out another address.
    Address,
    /// Pays.
    Pay {
        /// Whom.
        #[arg(long)]
        to: String,
        /// How much.
        #[arg(long)]
        satoshi: u64,
        /// Satoshi for each virtual byte.
        #[arg(long)]
        rate: u64,
    },
    /// Replaces an unconfirmed payment by one with a higher fee.
    Bump {
        /// Its id.
        #[arg(long)]
        txid: Txid,
        /// Satoshi for each virtual byte.
        #[arg(long)]
        rate: u64,
    },
}

/// Does one thing, and writes the file.
pub(crate) fn keep(client: impl ElectrumApi, options: &Options, report: &Report) -> Result<()> {
    let mut kept = Kept::open(options)?;
    let client = BdkElectrumClient::new(client);
    client.populate_tx_cache(kept.wallet.tx_graph().full_txs().map(|node| node.tx));
    match &options.action {
        Action::Scan => {
            let request = kept.wallet.start_full_scan();
            let found = client
                .full_scan(request, STOP_GAP, BATCH, true)
                .context("failed to scan")?;
            kept.wallet.apply_update(found)?;
            report.holdings(&kept.holdings());
        }
        Action::Sync => {
            let request = kept.wallet.start_sync_with_revealed_spks();
            let found = client
                .sync(request, BATCH, true)
                .context("failed to sync")?;
            kept.wallet.apply_update(found)?;
            report.holdings(&kept.holdings());
        }
        Action::Address => {
            let next = kept.wallet.reveal_next_address(KeychainKind::External);
            report.address(&next.address.to_string());
        }
        Action::Pay { to, satoshi, rate } => {
            let to: Address<_> = to.parse().context("failed to read the address")?;
            let script = to.require_network(Network::Regtest)?.script_pubkey();
            let mut payment = kept.wallet.build_tx();
            payment
                .add_recipient(script, Amount::from_sat(*satoshi))
                .fee_rate(per_virtual_byte(*rate)?);
            let payment = payment.finish().context("failed to make a payment")?;
            kept.send(&client, payment, report)?;
        }
        Action::Bump { txid, rate } => {
            let mut payment = kept
                .wallet
                .build_fee_bump(*txid)
                .context("failed to replace the payment")?;
            payment.fee_rate(per_virtual_byte(*rate)?);
            let payment = payment.finish().context("failed to replace the payment")?;
            kept.send(&client, payment, report)?;
        }
    }
    kept.close()
}

struct Kept<'a> {
    wallet: Wallet,
    /// All that is in the file.
    changes: ChangeSet,
    options: &'a Options,
}

impl<'a> Kept<'a> {
    fn open(options: &'a Options) -> Result<Self> {
        let (external, internal) = (options.external.clone(), options.internal.clone());
        let changes: ChangeSet = match std::fs::read(&options.file) {
            Ok(bytes) => serde_json::from_slice(&bytes).context("failed to read the wallet")?,
            Err(_) => ChangeSet::default(),
        };
        let loaded = Wallet::load()
            .descriptor(KeychainKind::External, Some(external.clone()))
            .descriptor(KeychainKind::Internal, Some(internal.clone()))
            .load_wallet_no_persist(changes.clone())
            .context("failed to load the wallet")?;
        let wallet = match loaded {
            Some(wallet) => wallet,
            None => Wallet::create(external, internal)
                .network(Network::Regtest)
                .create_wallet_no_persist()
                .context("failed to make a wallet of the descriptors")?,
        };
        Ok(Self {
            wallet,
            changes,
            options,
        })
    }

    fn close(mut self) -> Result<()> {
        if let Some(staged) = self.wallet.take_staged() {
            self.changes.merge(staged);
        }
        let bytes = serde_json::to_vec(&self.changes)?;
        std::fs::write(&self.options.file, bytes).context("failed to write the wallet")
    }

    /// Has all who must sign a payment do so, and sends it.
    fn send(
        &self,
        client: &BdkElectrumClient<impl ElectrumApi>,
        mut payment: Psbt,
        report: &Report,
    ) -> Result<()> {
        for key in &self.options.key {
            let signed = payment.sign(key, self.wallet.secp_ctx());
            signed.map_err(|(_, errors)| anyhow::anyhow!("failed to sign: {errors:?}"))?;
        }
        let options = SignOptions::default();
        let complete = self.wallet.finalize_psbt(&mut payment, options)?;
        anyhow::ensure!(complete, "not all have signed who must");
        let payment: Transaction = payment.extract_tx()?;
        let txid = client
            .transaction_broadcast(&payment)
            .context("failed to send")?;
        anyhow::ensure!(txid == payment.compute_txid(), "sent as another: {txid}");
        report.sent(&txid.to_string());
        Ok(())
    }

    fn holdings(&self) -> Holdings {
        let transaction = |held: WalletTx<'_>| {
            let height = match held.chain_position {
                ChainPosition::Confirmed { anchor, .. } => anchor.block_id.height,
                ChainPosition::Unconfirmed { .. } => 0,
            };
            (held.tx_node.txid.to_string(), height)
        };
        let output = |held: LocalOutput| {
            let place = held.outpoint;
            let value = held.txout.value.to_sat();
            (place.txid.to_string(), place.vout, value)
        };
        Holdings {
            transactions: self.wallet.transactions().map(transaction).collect(),
            unspent: self.wallet.list_unspent().map(output).collect(),
            balance: self.wallet.balance().total().to_sat(),
            tip: self.wallet.latest_checkpoint().height(),
        }
    }
}

fn per_virtual_byte(satoshi: u64) -> Result<FeeRate> {
    FeeRate::from_sat_per_vb(satoshi).context("a fee rate without bounds")
}
