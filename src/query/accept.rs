//! What the node would make of a client's transactions.

use bitcoin::Transaction;
use bitcoin::consensus::encode;

use super::{AcceptTest, Answer, Error, NodeReader, NodeSilent};
use crate::redact::RawTransaction;

pub(super) fn test(node: &dyn NodeReader, raw: &[RawTransaction]) -> Result<Answer, Error> {
    let decoded: Result<Vec<Transaction>, _> = raw
        .iter()
        .map(|raw| encode::deserialize(raw.expose()))
        .collect();
    let decoded = decoded.map_err(|_undecodable| Error::NotATransaction)?;
    let judged = node.test_accept(raw).map_err(|NodeSilent| Error::Node)?;
    let tests = decoded.iter().zip(judged);
    let tests = tests.map(|(transaction, acceptance)| AcceptTest {
        txid: transaction.compute_txid(),
        wtxid: transaction.compute_wtxid(),
        acceptance,
    });
    Ok(Answer::AcceptTests(tests.collect()))
}
