//! What has to be known of the node before and after a transaction leaves by another way than the node.
//!
//! None of these calls makes the node send anything or keep the transaction.

use bitcoin::Txid;
use bitcoin::amount::{Amount, Denomination};
use bitcoin::hex::DisplayHex as _;
use serde::de::IgnoredAny;
use serde_json::json;

use super::answers::{AcceptTest, BlockchainInfo, NetworkInfo, PackageTest};
use super::rpc::{CallError, Lane, Method};
use super::send::RejectReason;
use super::{ChainState, Error, FeeRate, NodeSettings, checks};
use crate::chain::Network;
use crate::limits;

/// Asks the node about transactions that it is not to send.
pub struct Judge {
    network: Network,
    lane: Lane,
}

/// What the node would do with a transaction.
#[derive(Debug)]
pub enum Judgement {
    /// It would take it.
    Acceptable,
    /// It would not, or has it.
    Rejected(RejectReason),
}

/// How the node stands among its peers.
pub struct Surroundings {
    /// Hosts under which peers can reach it: IP addresses and names of the Tor or I2P network, without ports.
    pub own_hosts: Vec<String>,
    /// Whether it takes transactions from peers; without, it sees one only in a block (`-blocksonly`).
    pub relays: bool,
}

impl Judge {
    /// Connects to nothing yet.
    pub fn new(settings: &NodeSettings) -> Self {
        let calls_max = limits::NODE_BROADCAST_CALLS_MAX;
        Self {
            network: settings.network,
            lane: Lane::new(settings, limits::NODE_CALL_MAX, calls_max),
        }
    }

    /// Whether the node would take this raw transaction, if its fee rate is not above the limit.
    pub fn test(&self, transaction: &[u8], fee_rate_max: FeeRate) -> Result<Judgement, Error> {
        let method = Method::TestMempoolAccept;
        let limit = Amount::from_sat(fee_rate_max.0).to_string_in(Denomination::Bitcoin);
        let arguments = [json!([transaction.to_lower_hex_string()]), json!(limit)];
        let answer: Result<[AcceptTest; 1], CallError> =
            self.lane.call_by_name(method.into(), &arguments);
        match answer {
            Ok([test]) if test.allowed => Ok(Judgement::Acceptable),
            Ok([test]) => Ok(Judgement::Rejected(RejectReason::new(
                test.reason.unwrap_or_default(),
            ))),
            Err(CallError::Rpc(error)) if error.is_of_transaction() => {
                Ok(Judgement::Rejected(RejectReason::new(error.reason)))
            }
            Err(error) => Err(error.into_error(method.into())),
        }
    }

    /// Whether the node would take each of these raw transactions, those before it being there; `None` when it did not
    /// get so far. It takes no fee of one for another's.
    pub fn test_together(
        &self,
        transactions: &[&[u8]],
        fee_rate_max: FeeRate,
    ) -> Result<Vec<Option<Judgement>>, Error> {
        let method = Method::TestMempoolAccept;
        let limit = Amount::from_sat(fee_rate_max.0).to_string_in(Denomination::Bitcoin);
        let hex = transactions.iter().map(|raw| raw.to_lower_hex_string());
        let arguments = [json!(hex.collect::<Vec<String>>()), json!(limit)];
        let answer: Result<Vec<PackageTest>, CallError> =
            self.lane.call_by_name(method.into(), &arguments);
        match answer {
            Ok(tests) => {
                let mut tests = tests.into_iter();
                let judgements = transactions.iter().map(|_| tests.next()?.judgement());
                Ok(judgements.collect())
            }
            Err(CallError::Rpc(error)) if error.is_of_transaction() => {
                let rejected = || Judgement::Rejected(RejectReason::new(error.reason.clone()));
                Ok(transactions.iter().map(|_| Some(rejected())).collect())
            }
            Err(error) => Err(error.into_error(method.into())),
        }
    }

    /// For each txid whether it is in the mempool.
    pub fn in_mempool(&self, txids: &[Txid]) -> Result<Vec<bool>, Error> {
        let arguments: Vec<_> = txids.iter().map(|txid| vec![json!(txid)]).collect();
        let found: Vec<Option<IgnoredAny>> =
            self.lane.batch(Method::GetMempoolEntry, &arguments)?;
        Ok(found.iter().map(Option::is_some).collect())
    }

    /// How far the node is.
    pub fn chain_state(&self) -> Result<ChainState, Error> {
        let info: BlockchainInfo = self.lane.call(Method::GetBlockchainInfo, &[])?;
        checks::suitable(&info, self.network)
    }

    /// How it stands among its peers.
    pub fn surroundings(&self) -> Result<Surroundings, Error> {
        let info: NetworkInfo = self.lane.call(Method::GetNetworkInfo, &[])?;
        let own_hosts = info.own_addresses.into_iter();
        Ok(Surroundings {
            own_hosts: own_hosts.filter_map(|own| own.address).collect(),
            relays: info.relays.unwrap_or(true),
        })
    }
}

impl PackageTest {
    fn judgement(self) -> Option<Judgement> {
        if self.allowed == Some(true) {
            return Some(Judgement::Acceptable);
        }
        let reason = self.reason.or(self.package_error)?;
        Some(Judgement::Rejected(RejectReason::new(reason)))
    }
}
