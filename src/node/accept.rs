//! What the node would make of transactions, for clients who ask. It neither keeps nor sends them.

use bitcoin::hex::DisplayHex as _;
use serde_json::json;

use super::answers::PackageTest;
use super::rpc::Method;
use super::{Error, Node, RejectReason};
use crate::redact::RawTransaction;

/// What the node would make of a transaction.
pub struct Acceptance {
    /// Whether it would take it; `None` if it did not look at it to the end.
    pub allowed: Option<bool>,
    /// Why not.
    pub reason: Option<RejectReason>,
}

impl Node {
    /// What the node would make of these transactions together, in their order, with its own limit on fees.
    pub fn test_accept(&self, transactions: &[RawTransaction]) -> Result<Vec<Acceptance>, Error> {
        let method = Method::TestMempoolAccept;
        let raw = transactions.iter().map(RawTransaction::expose);
        let raw: Vec<String> = raw.map(|bytes| bytes.to_lower_hex_string()).collect();
        let tests: Vec<PackageTest> = self.clients.call(method, &[json!(raw)])?;
        if tests.len() != transactions.len() {
            return Err(Error::Garbled {
                call: method.into(),
            });
        }
        Ok(tests.into_iter().map(Acceptance::from).collect())
    }
}

impl From<PackageTest> for Acceptance {
    fn from(test: PackageTest) -> Self {
        let reason = test.package_error.or(test.reason);
        // Whoever is refused is told why, if only that the node does not say.
        let refused = test.allowed == Some(false);
        let reason = reason.or_else(|| refused.then(String::new));
        Self {
            allowed: test.allowed,
            reason: reason.map(RejectReason::new),
        }
    }
}
