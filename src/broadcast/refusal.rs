//! The fixed texts of a refusal, and which of the node's reasons leads to which.

use crate::node::RejectReason;

/// Why a transaction was not taken; each is one fixed text for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its fee rate is below what the node relays.
    BelowRelayFee,
    /// Its fee rate is below what the full mempool takes.
    BelowMempoolFee,
    /// It spends what another transaction in the mempool spends.
    Conflict,
    /// An output is worth less than it costs to spend.
    Dust,
    /// Its fee is above the limit.
    FeeTooHigh,
    /// It does not pay enough to replace another.
    InsufficientReplacement,
    /// It breaks a rule of the chain.
    Invalid,
    /// An input is unknown or spent.
    MissingInputs,
    /// The bytes are not a transaction.
    NotATransaction,
    /// It is locked until later.
    NotFinal,
    /// There is no private way out now.
    NotReady,
    /// A type of output is not relayed.
    OutputType,
    /// The send queue is full.
    QueueFull,
    /// A signature or script is invalid.
    ScriptFailed,
    /// An input script holds more than data.
    ScriptSigNotPushOnly,
    /// An input script is too large.
    ScriptSigSize,
    /// It is larger than nodes relay.
    TooLarge,
    /// It has too many unconfirmed ancestors or descendants.
    TooLongChain,
    /// It is smaller than nodes relay.
    TooSmall,
    /// The node said no for another reason.
    Unlisted,
    /// Its version is not relayed.
    Version,
}

impl Refusal {
    /// The fixed text: words that wallets look for, then a plain sentence.
    pub const fn text(self) -> &'static str {
        match self {
            Self::BelowRelayFee => "min relay fee not met: the fee rate is too low",
            Self::BelowMempoolFee => {
                "mempool min fee not met: the fee rate is too low at the moment"
            }
            Self::Conflict => "txn-mempool-conflict: conflicts with another transaction",
            Self::Dust => "dust: an output is too small",
            Self::FeeTooHigh => "max-fee-exceeded: fee above this server's limit",
            Self::InsufficientReplacement => {
                "insufficient fee: this does not replace the other transaction"
            }
            Self::Invalid => "Transaction check failed: the transaction is invalid",
            Self::MissingInputs => {
                "bad-txns-inputs-missingorspent: an input is unknown or already spent"
            }
            Self::NotATransaction => "TX decode failed: not a transaction",
            Self::NotFinal => "non-final: lock time not reached",
            Self::NotReady => {
                "Peer-to-peer functionality missing or disabled: private broadcast is not ready, try again later"
            }
            Self::OutputType => "scriptpubkey: an output type is not relayed",
            Self::QueueFull => "Mempool internal error: the send queue is full, try again later",
            Self::ScriptFailed => {
                "mandatory-script-verify-flag-failed: a signature or script is invalid"
            }
            Self::ScriptSigNotPushOnly => "scriptsig-not-pushonly: not a standard transaction",
            Self::ScriptSigSize => "scriptsig-size: not a standard transaction",
            Self::TooLarge => "tx-size: not a standard transaction",
            Self::TooLongChain => "too-long-mempool-chain: too many unconfirmed ancestors",
            Self::TooSmall => "tx-size-small: not a standard transaction",
            Self::Unlisted => "Transaction rejected by mempool: not accepted by the server's node",
            Self::Version => "version: not a standard transaction",
        }
    }
}

impl Refusal {
    /// The fixed text for a reason of the node, also for that it has the transaction.
    pub fn text_for(reason: &RejectReason) -> &'static str {
        match Verdict::of(reason) {
            Verdict::Known => "txn-already-known: the server's node has this transaction",
            Verdict::Refused(refusal) => refusal.text(),
        }
    }
}

/// What the node's reason means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The network has the transaction already.
    Known,
    /// It is not taken.
    Refused(Refusal),
}

/// Beginnings of the node's reasons; the first that fits counts.
const REASONS: [(&str, Verdict); 38] = {
    use Refusal::{
        BelowMempoolFee, BelowRelayFee, Conflict, Dust, FeeTooHigh, InsufficientReplacement,
        Invalid, MissingInputs, NotATransaction, NotFinal, OutputType, ScriptSigNotPushOnly,
        ScriptSigSize, TooLarge, TooLongChain, TooSmall, Version,
    };
    use Verdict::{Known, Refused};
    [
        ("txn-already-in-mempool", Known),
        ("txn-already-known", Known),
        ("txn-same-nonwitness-data-in-mempool", Known),
        ("Transaction already in block chain", Known),
        ("Transaction outputs already in utxo set", Known),
        ("missing-inputs", Refused(MissingInputs)),
        ("bad-txns-inputs-missingorspent", Refused(MissingInputs)),
        ("min relay fee not met", Refused(BelowRelayFee)),
        ("mempool min fee not met", Refused(BelowMempoolFee)),
        ("insufficient fee", Refused(InsufficientReplacement)),
        ("replacement-", Refused(InsufficientReplacement)),
        (
            "too many potential replacements",
            Refused(InsufficientReplacement),
        ),
        (
            "bad-txns-spends-conflicting-tx",
            Refused(InsufficientReplacement),
        ),
        ("txn-mempool-conflict", Refused(Conflict)),
        ("too-long-mempool-chain", Refused(TooLongChain)),
        ("too-large-cluster", Refused(TooLongChain)),
        ("dust", Refused(Dust)),
        ("scriptpubkey", Refused(OutputType)),
        ("datacarrier", Refused(OutputType)),
        ("multi-op-return", Refused(OutputType)),
        ("bare-multisig", Refused(OutputType)),
        ("version", Refused(Version)),
        ("tx-size-small", Refused(TooSmall)),
        ("tx-size", Refused(TooLarge)),
        ("scriptsig-size", Refused(ScriptSigSize)),
        ("scriptsig-", Refused(ScriptSigNotPushOnly)),
        ("non-final", Refused(NotFinal)),
        ("non-BIP68-final", Refused(NotFinal)),
        ("max-fee-exceeded", Refused(FeeTooHigh)),
        ("Fee exceeds maximum configured", Refused(FeeTooHigh)),
        ("mandatory-script-verify-flag-failed", SCRIPT_FAILED),
        ("non-mandatory-script-verify-flag", SCRIPT_FAILED),
        ("mempool-script-verify-flag-failed", SCRIPT_FAILED),
        ("block-script-verify-flag-failed", SCRIPT_FAILED),
        ("bad-txns-", Refused(Invalid)),
        ("bad-witness-", Refused(Invalid)),
        ("coinbase", Refused(Invalid)),
        ("TX decode failed", Refused(NotATransaction)),
    ]
};

const SCRIPT_FAILED: Verdict = Verdict::Refused(Refusal::ScriptFailed);

impl Verdict {
    /// The meaning of a reason, whatever it is.
    pub(super) fn of(reason: &RejectReason) -> Self {
        REASONS
            .iter()
            .find(|(beginning, _verdict)| reason.expose().starts_with(beginning))
            .map_or(Self::Refused(Refusal::Unlisted), |(_, verdict)| *verdict)
    }

    /// Why it is not taken, if it is not.
    pub(super) fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Known => None,
            Self::Refused(refusal) => Some(refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(reason: &str) -> Verdict {
        Verdict::of(&RejectReason::new(reason.to_owned()))
    }

    /// A fixed text, and reasons as nodes give them that lead to it.
    const CASES: [(&str, &[&str]); 19] = [
        (
            "bad-txns-inputs-missingorspent: an input is unknown or already spent",
            &["bad-txns-inputs-missingorspent", "missing-inputs"],
        ),
        (
            "min relay fee not met: the fee rate is too low",
            &["min relay fee not met, 0 < 110"],
        ),
        (
            "mempool min fee not met: the fee rate is too low at the moment",
            &["mempool min fee not met, 110 < 543"],
        ),
        (
            "insufficient fee: this does not replace the other transaction",
            &[
                "insufficient fee, rejecting replacement 00ff, less fees than conflicting txs",
                "replacement-adds-unconfirmed, replacement 00ff adds unconfirmed input",
                "too many potential replacements, 101 > 100",
                "bad-txns-spends-conflicting-tx, 00ff spends conflicting transaction",
            ],
        ),
        (
            "txn-mempool-conflict: conflicts with another transaction",
            &["txn-mempool-conflict"],
        ),
        (
            "too-long-mempool-chain: too many unconfirmed ancestors",
            &["too-long-mempool-chain, [limit: 25]", "too-large-cluster"],
        ),
        (
            "dust: an output is too small",
            &["dust", "dust, tx with dust output must be 0-fee"],
        ),
        (
            "scriptpubkey: an output type is not relayed",
            &[
                "scriptpubkey",
                "datacarrier",
                "multi-op-return",
                "bare-multisig",
            ],
        ),
        ("version: not a standard transaction", &["version"]),
        ("tx-size: not a standard transaction", &["tx-size"]),
        (
            "tx-size-small: not a standard transaction",
            &["tx-size-small"],
        ),
        (
            "scriptsig-size: not a standard transaction",
            &["scriptsig-size"],
        ),
        (
            "scriptsig-not-pushonly: not a standard transaction",
            &["scriptsig-not-pushonly"],
        ),
        (
            "non-final: lock time not reached",
            &["non-final", "non-BIP68-final"],
        ),
        (
            "max-fee-exceeded: fee above this server's limit",
            &[
                "max-fee-exceeded",
                "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)",
            ],
        ),
        (
            "mandatory-script-verify-flag-failed: a signature or script is invalid",
            &[
                "mandatory-script-verify-flag-failed (Invalid Schnorr signature)",
                "mempool-script-verify-flag-failed (Invalid Schnorr signature)",
            ],
        ),
        (
            "Transaction check failed: the transaction is invalid",
            &[
                "bad-txns-in-belowout, value in (1) < value out (2)",
                "bad-witness-nonstandard",
            ],
        ),
        (
            "TX decode failed: not a transaction",
            &["TX decode failed. Make sure the tx has at least one input."],
        ),
        (
            "Transaction rejected by mempool: not accepted by the server's node",
            &["visit http://example.com", ""],
        ),
    ];

    #[test]
    fn reasons_as_nodes_give_them_lead_to_the_fixed_texts() {
        for (text, reasons) in CASES {
            for reason in reasons {
                let Verdict::Refused(refusal) = verdict(reason) else {
                    panic!("{reason} was taken for known");
                };
                assert_eq!(refusal.text(), text);
            }
        }
        let known = [
            "txn-already-in-mempool",
            "txn-already-known",
            "txn-same-nonwitness-data-in-mempool",
            "Transaction outputs already in utxo set",
        ];
        for reason in known {
            assert_eq!(verdict(reason), Verdict::Known);
        }
    }

    #[test]
    fn an_earlier_beginning_never_hides_a_later_one() {
        for (place, (beginning, _)) in REASONS.iter().enumerate() {
            let first = REASONS
                .iter()
                .position(|(other, _)| beginning.starts_with(other));
            assert_eq!(first, Some(place), "{beginning}");
        }
    }

    #[test]
    fn texts_are_short_plain_lines() {
        let listed = REASONS.iter().filter_map(|(_, verdict)| match verdict {
            Verdict::Refused(refusal) => Some(*refusal),
            Verdict::Known => None,
        });
        let others = [Refusal::NotReady, Refusal::QueueFull, Refusal::Unlisted];
        for refusal in listed.chain(others) {
            let text = refusal.text();
            assert!(text.len() <= 120 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            assert!(!text.contains("://"));
        }
    }
}
