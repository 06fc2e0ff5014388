//! A node among others.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{Node, POLL};

/// Enough for a busy machine; an idle one needs a second.
const TOGETHER: Duration = Duration::from_secs(60);

/// Of a node that listens on every address, so that it can be reached on 127.1.0.1 as on 127.0.0.1.
pub(super) fn arguments(port: u16) -> Vec<String> {
    vec!["-listen=1".to_owned(), format!("-bind=0.0.0.0:{port}")]
}

impl Node {
    /// The port on which it takes connections of other nodes.
    pub fn peer_port(&self) -> Result<u16> {
        self.peer_port.context("a node that does not listen")
    }

    /// Connects to another node; returns when both have the same tip and know that they are not behind.
    pub fn join(&self, other: &Self) -> Result<()> {
        let address = format!("127.0.0.1:{}", other.peer_port()?);
        self.rpc("addnode", json!([address, "onetry"]))?;
        let deadline = Instant::now() + TOGETHER;
        let tip = |node: &Self| node.rpc("getblockchaininfo", json!([]));
        loop {
            let (ours, theirs) = (tip(self)?, tip(other)?);
            let behind = |info: &Value| info["initialblockdownload"] != false;
            let same = ours["bestblockhash"] == theirs["bestblockhash"];
            if same && !behind(&ours) && !behind(&theirs) {
                return Ok(());
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "two nodes that do not come together: {ours}, {theirs}"
            );
            std::thread::sleep(POLL);
        }
    }

    /// On which of its addresses others have connected to it, once for each connection that there is now.
    pub fn reached_at(&self) -> Result<Vec<SocketAddr>> {
        let peers = self.rpc("getpeerinfo", json!([]))?;
        let peers = peers.as_array().context("getpeerinfo gave no list")?;
        let inbound = peers.iter().filter(|peer| peer["inbound"] == true);
        inbound
            .map(|peer| {
                let address = peer["addrbind"]
                    .as_str()
                    .context("a peer without address")?;
                Ok(address.parse()?)
            })
            .collect()
    }

    /// Whether this transaction is in its mempool.
    pub fn has(&self, txid: &str) -> Result<bool> {
        Ok(self.mempool()?.iter().any(|known| known == txid))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Options, RpcUser};
    use super::*;

    #[test]
    fn transactions_and_blocks_go_from_node_to_node() {
        let listening = Options {
            peers: true,
            ..Options::default()
        };
        let first = Node::start_funded(&listening).unwrap();
        let second = Node::start(&listening).unwrap();
        assert_eq!(
            second.rpc("getblockchaininfo", json!([])).unwrap()["initialblockdownload"],
            true
        );
        second.join(&first).unwrap();
        assert_eq!(second.height().unwrap(), first.height().unwrap());
        assert_eq!(first.reached_at().unwrap().len(), 1);
        let txid = first.pay(&second.new_address().unwrap(), 50_000).unwrap();
        let deadline = Instant::now() + TOGETHER;
        while !second.has(&txid).unwrap() {
            assert!(Instant::now() < deadline);
            std::thread::sleep(POLL);
        }
    }

    #[test]
    fn a_user_calls_what_the_list_names_and_the_log_tells_all() {
        let node = Node::start(&Options {
            rpc_user: Some(RpcUser {
                whitelist: Some("getblockcount,getnetworkinfo".to_owned()),
            }),
            ..Options::default()
        })
        .unwrap();
        let user = crate::rpc::Rpc::new(node.rpc_port(), node.user_cookie());
        assert_eq!(user.call("/", "getblockcount", &json!([])).unwrap(), 0);
        assert!(
            user.call("/", "sendrawtransaction", &json!(["00"]))
                .is_err()
        );
        assert!(node.rpc("sendrawtransaction", json!(["00"])).is_err());
        let called = node.called_by_user().unwrap();
        assert!(called.contains("getblockcount"), "{called:?}");
        assert!(called.contains("sendrawtransaction"), "{called:?}");
        assert!(!called.contains("getrawmempool"), "{called:?}");
    }
}
