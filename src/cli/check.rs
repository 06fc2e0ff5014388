//! `claustrum check-config`: what the settings come to, and whether the node is one to work with.

use bitcoin::Amount;
use bitcoin::amount::Denomination;

use super::Failure;
use crate::broadcast::Method;
use crate::config::{self, Config};
use crate::engine;
use crate::error::report;
use crate::node::{self, Judge, Node, Sender, Surroundings};

/// Prints the configuration, then tries the node; its state decides the exit status.
pub(super) fn run(config: &Config, print: fn(&str) -> Result<(), Failure>) -> Result<(), Failure> {
    print(&text(config))?;
    let node = engine::node_settings(config);
    let state = Node::new(&node).check().map_err(failure)?;
    print(&format!(
        "\nthe node answers: height {}{}\n",
        state.tip.height,
        if state.initial_download {
            ", still fetching the chain"
        } else {
            ""
        }
    ))?;
    let user = node.auth.user().map_err(failure)?;
    let surroundings = Judge::new(&node).surroundings().map_err(failure)?;
    let may_send = Sender::new(&node).may_send().map_err(failure)?;
    print(&whitelist(config, &user))?;
    for line in remarks(config, &surroundings, may_send) {
        print(&format!("{line}\n"))?;
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn failure(error: node::Error) -> Failure {
    Failure {
        status: error.kind().into(),
        text: report(&error),
    }
}

/// What the node has to allow, and nothing else, as a line of its configuration.
fn whitelist(config: &Config, user: &str) -> String {
    let tests = config.protocol_max.tests_acceptance();
    let asked = |call: &node::Method| {
        !call.is_for_broadcast() || (tests && *call == node::Method::TestMempoolAccept)
    };
    let calls: Vec<&str> = match config.broadcast.method {
        Method::TorPeers => node::Method::ALL.iter().map(|call| call.name()).collect(),
        Method::OwnNode => node::Method::ALL
            .iter()
            .copied()
            .filter(asked)
            .map(|call| call.name())
            .chain([Sender::CALL.name(), Sender::PACKAGE_CALL.name()])
            .collect(),
    };
    format!(
        "\nfor bitcoin.conf, so that the node refuses us everything else, and others nothing:\n\
         rpcwhitelistdefault=0\nrpcwhitelist={user}:{}\n\n",
        calls.join(",")
    )
}

/// What the operator should know of how transactions leave.
fn remarks(config: &Config, surroundings: &Surroundings, may_send: bool) -> Vec<String> {
    let mut remarks = Vec::new();
    match config.broadcast.method {
        Method::OwnNode => {
            remarks.push(
                "warning: own-node announces wallets' transactions under the node's own address"
                    .to_owned(),
            );
            if !may_send {
                remarks.push(
                    "warning: the node refuses us sendrawtransaction, which own-node needs"
                        .to_owned(),
                );
            }
        }
        Method::TorPeers => {
            if may_send {
                remarks.push(
                    "warning: the node lets us send transactions; the lines above keep it from that"
                        .to_owned(),
                );
            }
            remarks.push(peers(config, surroundings));
        }
    }
    if !surroundings.relays {
        remarks.push(
            "warning: the node takes no transactions from peers (-blocksonly): a wallet's transaction shows only in a block"
                .to_owned(),
        );
    }
    remarks
}

fn peers(config: &Config, surroundings: &Surroundings) -> String {
    let hosts = surroundings.own_hosts.iter();
    let own = hosts.flat_map(|host| host.parse());
    let own = own.chain(config.node.distant_host()).collect();
    let usable = config.broadcast.usable_peers(own);
    format!(
        "usable peers: {} onion services, {} through exits{}",
        usable.onion,
        usable.exit,
        if usable.suffice {
            ""
        } else {
            "; no transaction is taken before there are three of one kind (broadcast.peers)"
        }
    )
}

/// The configuration in the form of its file, so that it can be kept as one.
fn text(config: &Config) -> String {
    let tor = match config.tor_fragment {
        Some(_) => "# tor-config is set",
        None => "# tor-config is not set: the public Tor network, without bridges",
    };
    let jobs = config.jobs.map_or_else(
        || "# jobs is not set: one for each core".to_owned(),
        |jobs| format!("jobs = {jobs}"),
    );
    let broadcast = &config.broadcast;
    let networks = config::network_names(broadcast.networks);
    let fee_rate_max = Amount::from_sat(broadcast.fee_rate_max.0);
    format!(
        "data-dir = {:?}\nnetwork = \"{}\"\nnode-dir = {:?}\nnode-rpc = \"{}\"\nnode-cookie = {:?}\n{tor}\n{jobs}\n\
         sync-memory = {}\nprotocol-max = \"{}\"\nserver-name = {:?}\nuniform-ticks = {}\n\n[limits]\nreply-bytes-max = {}\n\n\
         [broadcast]\nmethod = \"{}\"\nnetworks = {networks:?}\ndeliveries = {}\nanswer-wait-s = {}\n\
         max-fee-rate-btc-kvb = {}\n# peers: {} are set, and {} exclude\n",
        config.data_dir.display().to_string(),
        config.network,
        config.node.dir.display().to_string(),
        config.node.rpc,
        config.node.cookie.display().to_string(),
        config.sync_memory / config::MIB,
        config.protocol_max.as_str(),
        config.server_name,
        config.uniform_ticks,
        config.reply_bytes_max,
        broadcast.method,
        broadcast.deliveries,
        broadcast.answer_wait.as_secs(),
        fee_rate_max.to_string_in(Denomination::Bitcoin),
        broadcast.peers.len(),
        broadcast.exclude.len(),
    )
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::Surroundings;
    use crate::config::raw::RawConfig;

    #[test]
    fn what_is_printed_is_a_configuration_that_means_the_same() {
        let surroundings = Surroundings {
            home: Some(PathBuf::from("/home/you \"here\"")),
            ..Surroundings::default()
        };
        let config = Config::resolve(RawConfig::default(), &surroundings).unwrap();
        let said: RawConfig = toml::from_str(&text(&config)).unwrap();
        assert_eq!(
            Config::resolve(said, &Surroundings::default()).unwrap(),
            config
        );
    }
}
