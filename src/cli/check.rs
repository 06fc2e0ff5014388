//! `claustrum check-config`: what the settings come to, and whether the node is one to work with.

use bitcoin::Amount;
use bitcoin::amount::Denomination;

use super::Failure;
use crate::config::{self, Config};
use crate::engine;
use crate::error::report;
use crate::node::Node;

/// Prints the configuration, then tries the node; its state decides the exit status.
pub(super) fn run(config: &Config, print: fn(&str) -> Result<(), Failure>) -> Result<(), Failure> {
    print(&text(config))?;
    let state = Node::new(&engine::node_settings(config)).check();
    let state = state.map_err(|error| Failure {
        status: error.kind().into(),
        text: report(&error),
    })?;
    print(&format!(
        "\nthe node answers: height {}{}\n",
        state.tip.height,
        if state.initial_download {
            ", still fetching the chain"
        } else {
            ""
        }
    ))
}

/// The configuration in the form of its file, so that it can be kept as one.
fn text(config: &Config) -> String {
    let tor = match config.tor_fragment {
        Some(_) => "# tor-config is set",
        None => "# tor-config is not set: the public Tor network, without bridges",
    };
    let broadcast = &config.broadcast;
    let networks = config::network_names(broadcast.networks);
    let fee_rate_max = Amount::from_sat(broadcast.fee_rate_max.0);
    format!(
        "data-dir = {:?}\nnetwork = \"{}\"\nnode-rpc = \"{}\"\nnode-cookie = {:?}\n{tor}\nprotocol-max = \"{}\"\n\
         server-name = {:?}\n\n[limits]\nreply-bytes-max = {}\n\n\
         [broadcast]\nmethod = \"{}\"\nnetworks = {networks:?}\ndeliveries = {}\nanswer-wait-s = {}\n\
         max-fee-rate-btc-kvb = {}\n# peers: {} are set, and {} exclude\n",
        config.data_dir.display().to_string(),
        config.network,
        config.node.rpc,
        config.node.cookie.display().to_string(),
        config.protocol_max.as_str(),
        config.server_name,
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
