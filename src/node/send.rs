//! Sending a transaction by the node itself: a type of its own, so that who only has a [`super::Node`] cannot.

use bitcoin::hex::DisplayHex as _;
use serde::de::IgnoredAny;
use serde_json::json;

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

    /// Connects to nothing yet.
    pub fn new(settings: &NodeSettings) -> Self {
        Self {
            lane: Lane::new(settings, limits::NODE_CALL_MAX, 1),
        }
    }

    /// Whether the node lets us call what sends. It is called without a transaction, so that nothing is sent.
    pub fn may_send(&self) -> Result<bool, Error> {
        for call in [Self::CALL, Call("submitpackage")] {
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
}
