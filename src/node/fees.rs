//! What the node says about fees.

use serde_json::json;

use super::answers::{Bitcoins, FeeEstimate, MempoolInfo};
use super::rpc::Method;
use super::{Error, Node};

/// How the node estimates fees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeeMode {
    /// Resistant to short-lived drops.
    Conservative,
    /// Responsive to them.
    Economical,
}

/// A fee rate in satoshi per 1000 virtual bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeeRate(pub u64);

/// The node's fee limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MempoolFees {
    /// Its mempool takes nothing below this.
    pub mempool_minimum: FeeRate,
    /// It relays nothing below this.
    pub relay_minimum: FeeRate,
    /// A replacement must add this.
    pub incremental: FeeRate,
}

impl Node {
    /// A fee rate for confirmation within so many blocks (1 to 1008, nearer ones are taken for
    /// others); `None` when the node cannot tell. Without a mode the node takes its own default.
    pub fn estimate_fee(
        &self,
        blocks: u16,
        mode: Option<FeeMode>,
    ) -> Result<Option<FeeRate>, Error> {
        let mut arguments = vec![json!(blocks.clamp(1, 1008))];
        arguments.extend(mode.map(|mode| match mode {
            FeeMode::Conservative => json!("conservative"),
            FeeMode::Economical => json!("economical"),
        }));
        let answer: Result<FeeEstimate, Error> =
            self.clients.call(Method::EstimateSmartFee, &arguments);
        match answer {
            Ok(estimate) => Ok(estimate.rate.map(rate)),
            // A node without a mempool does not estimate.
            Err(Error::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The node's fee limits.
    pub fn mempool_fees(&self) -> Result<MempoolFees, Error> {
        self.clients
            .call(Method::GetMempoolInfo, &[])
            .map(|info| MempoolFees::of(&info))
    }
}

impl MempoolFees {
    /// Nodes that do not tell a limit apply the one for relaying.
    fn of(info: &MempoolInfo) -> Self {
        let relay_minimum = rate(info.relay_minimum);
        Self {
            mempool_minimum: info.mempool_minimum.map_or(relay_minimum, rate),
            relay_minimum,
            incremental: info.incremental.map_or(relay_minimum, rate),
        }
    }
}

fn rate(per_1000_bytes: Bitcoins) -> FeeRate {
    FeeRate(per_1000_bytes.0.to_sat())
}
