//! Sending a transaction by the node itself: a type of its own, so that who only has a [`super::Node`] cannot.

use bitcoin::Wtxid;
use bitcoin::hex::DisplayHex as _;
use serde::de::IgnoredAny;
use serde_json::json;

use super::answers::SentPackage;
use super::rpc::{Call, CallError, Lane, RpcError};
use super::{Error, NodeSettings};
use crate::limits;
use crate::redact::RawTransaction;

/// Sends transactions by the operator's node, which announces them to its peers under its own address.
pub struct Sender {
    lane: Lane,
}

/// Why the node did not take a transaction.
#[derive(Debug)]
pub enum SendError {
    /// It said no.
    Rejected(RejectReason),
    /// It did not answer.
    Node(Error),
}

crate::redacted! {
    /// The node's words for a rejection. They may repeat parts of the transaction: only their beginning is looked at,
    /// to choose one of our own texts.
    pub struct RejectReason(String);
}

impl Sender {
    /// What it calls to send.
    pub const CALL: Call = Call("sendrawtransaction");
    /// What it calls to send a package.
    pub const PACKAGE_CALL: Call = Call("submitpackage");

    /// Connects to nothing yet.
    pub fn new(settings: &NodeSettings) -> Self {
        Self {
            lane: Lane::new(settings, limits::NODE_CALL_MAX, 1),
        }
    }

    /// Whether the node lets us call what sends. It is called without a transaction, so that nothing is sent.
    pub fn may_send(&self) -> Result<bool, Error> {
        for call in [Self::CALL, Self::PACKAGE_CALL] {
            match self.lane.call_by_name::<IgnoredAny>(call, &[]) {
                Err(CallError::Way(Error::Forbidden { .. })) => {}
                Err(CallError::Rpc(error)) if error.code == RpcError::METHOD_NOT_FOUND => {}
                // It misses the transaction, so it would take one.
                Ok(_) | Err(CallError::Rpc(_)) => return Ok(true),
                Err(error) => return Err(error.into_error(call)),
            }
        }
        Ok(false)
    }

    /// `sendrawtransaction` with the node's own limit on fees.
    pub fn send(&self, transaction: &RawTransaction) -> Result<(), SendError> {
        let call = Self::CALL;
        let hex = transaction.expose().to_lower_hex_string();
        self.lane
            .call_by_name(call, &[json!(hex)])
            .map(|_txid: IgnoredAny| ())
            .map_err(|error| match error {
                CallError::Rpc(error) if error.is_of_transaction() => {
                    SendError::Rejected(RejectReason::new(error.reason))
                }
                CallError::Rpc(_) | CallError::Way(_) => SendError::Node(error.into_error(call)),
            })
    }

    /// `submitpackage` with the node's own limit on fees; why it did not take each of them, in the order of `wtxids`.
    pub fn send_package(
        &self,
        transactions: &[RawTransaction],
        wtxids: &[Wtxid],
    ) -> Result<Vec<Option<RejectReason>>, Error> {
        let call = Self::PACKAGE_CALL;
        let hex = transactions.iter().map(RawTransaction::expose);
        let hex: Vec<String> = hex.map(|raw| raw.to_lower_hex_string()).collect();
        let sent: Result<SentPackage, CallError> = self.lane.call_by_name(call, &[json!(hex)]);
        match sent {
            Ok(sent) => Ok(wtxids.iter().map(|wtxid| sent.reason(wtxid)).collect()),
            Err(CallError::Rpc(error)) if error.is_of_transaction() => {
                let reason = || Some(RejectReason::new(error.reason.clone()));
                Ok(wtxids.iter().map(|_| reason()).collect())
            }
            Err(error) => Err(error.into_error(call)),
        }
    }
}

impl SentPackage {
    /// Why a transaction was not taken. One that the node says nothing of shares the lot of the package.
    fn reason(&self, wtxid: &Wtxid) -> Option<RejectReason> {
        let words = match self.members.get(wtxid) {
            Some(member) => member.error.as_ref()?,
            None if self.message == "success" => return None,
            None => &self.message,
        };
        Some(RejectReason::new(words.clone()))
    }
}
