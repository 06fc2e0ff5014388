//! Whether the node is one we can work with, and how far it is.

use bitcoin::BlockHash;
use serde_json::json;

use super::answers::{BlockchainInfo, NetworkInfo};
use super::rpc::Method;
use super::{Error, Node};
use crate::chain::{ChainTip, Height, Network};

/// The first version that tells previous outputs with a block (`getblock` with verbosity 3), in Bitcoin Core's form.
pub const REQUIRED_VERSION: u32 = 230_000;

/// How far the node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainState {
    /// Last block of its active chain.
    pub tip: ChainTip,
    /// Height of the best header it knows, at least that of the tip.
    pub headers: Height,
    /// It is still fetching the chain, so its tip is an old one.
    pub initial_download: bool,
}

impl Node {
    /// Checks everything that cannot change while the node runs, and says how far it is. For each new connection.
    pub fn check(&self) -> Result<ChainState, Error> {
        let state = self.chain_state()?;
        let genesis: BlockHash = self.follow.call(Method::GetBlockHash, &[json!(0)])?;
        if genesis != self.network.genesis_hash() {
            return Err(Error::WrongNetwork {
                ours: self.network,
                theirs: None,
            });
        }
        let info: NetworkInfo = self.follow.call(Method::GetNetworkInfo, &[])?;
        match info.version {
            Some(version) if version < REQUIRED_VERSION => Err(Error::TooOld { version }),
            _ => Ok(state),
        }
    }

    /// Whether it takes transactions of other nodes; with `-blocksonly` it does not.
    pub fn relays_transactions(&self) -> Result<bool, Error> {
        let info: NetworkInfo = self.follow.call(Method::GetNetworkInfo, &[])?;
        Ok(info.relays.unwrap_or(true))
    }

    /// How far the node is.
    pub fn chain_state(&self) -> Result<ChainState, Error> {
        let info: BlockchainInfo = self.follow.call(Method::GetBlockchainInfo, &[])?;
        suitable(&info, self.network)
    }
}

pub(super) fn suitable(info: &BlockchainInfo, network: Network) -> Result<ChainState, Error> {
    if let Some(chain) = info.chain.as_deref()
        && chain != network.name()
    {
        return Err(Error::WrongNetwork {
            ours: network,
            theirs: chain.parse().ok(),
        });
    }
    if info.pruned {
        return Err(Error::Pruned);
    }
    // A private chain has old timestamps whenever nobody mines, and is complete all the same.
    let initial_download = info.initial_download && network != Network::Regtest;
    Ok(ChainState {
        tip: ChainTip {
            height: Height(info.blocks),
            hash: info.best_block,
        },
        headers: Height(info.headers.unwrap_or(0).max(info.blocks)),
        initial_download,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn info(changes: &[(&str, serde_json::Value)]) -> BlockchainInfo {
        let mut answer = json!({
            "chain": "main", "blocks": 7, "headers": 9, "initialblockdownload": true, "pruned": false,
            "bestblockhash": Network::Main.genesis_hash(), "unheard-of": {},
        });
        for (field, value) in changes {
            answer[*field] = value.clone();
        }
        serde_json::from_str(&answer.to_string()).unwrap()
    }

    #[test]
    fn a_fitting_node_is_told_by_height_and_download() {
        let state = suitable(&info(&[]), Network::Main).unwrap();
        assert_eq!(state.tip.height, Height(7));
        assert_eq!(state.headers, Height(9));
        assert!(state.initial_download);
        let regtest = info(&[("chain", json!("regtest"))]);
        assert!(
            !suitable(&regtest, Network::Regtest)
                .unwrap()
                .initial_download
        );
    }

    #[test]
    fn another_network_and_a_pruned_node_are_for_the_operator_to_mend() {
        let cases = [
            (
                ("chain", json!("signet")),
                "follow the node: it is on signet, we are on main; name another node with --node-rpc or another network with --network",
            ),
            (
                ("chain", json!("http://buy.example")),
                "follow the node: it is on another network, we are on main; name another node with --node-rpc or another network with --network",
            ),
            (
                ("pruned", json!(true)),
                "follow the node: it is pruned, and the index needs every block; set prune=0 and restart it with -reindex, or name another node",
            ),
        ];
        for (change, text) in cases {
            let error = suitable(&info(&[change]), Network::Main).unwrap_err();
            assert_eq!(error.to_string(), text);
            assert_eq!(error.kind(), ErrorKind::Operator);
        }
    }
}
