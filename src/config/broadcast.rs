//! The table `[broadcast]`: what was said, made to mean something.

use std::str::FromStr;
use std::time::Duration;

use super::Faults;
use super::raw::RawBroadcast;
use crate::broadcast::{Networks, Peer, PeerFault, Settings, UnknownMethod};
use crate::chain::Network;
use crate::limits;
use crate::node::FeeRate;

/// The settings, with every fault kept; `network` decides whether peers may be on this machine.
pub(super) fn resolve(
    said: RawBroadcast,
    network: Option<Network>,
    faults: &mut Faults,
) -> Settings {
    let usual = Settings::default();
    let method = said.method.map(|text| {
        text.parse()
            .map_err(|unknown: UnknownMethod| unknown.to_string())
    });
    let is_public_only = network.is_some_and(|network| network != Network::Regtest);
    let peers = said.peers.map(|texts| peers(&texts, is_public_only));
    let exclude = said.exclude.map(|texts| parsed(&texts));
    Settings {
        method: faults.take_or("broadcast.method", method, usual.method),
        networks: faults.take_or(
            "broadcast.networks",
            said.networks.map(|names| networks(&names)),
            usual.networks,
        ),
        deliveries: faults.take_or(
            "broadcast.deliveries",
            said.deliveries.map(deliveries),
            usual.deliveries,
        ),
        answer_wait: faults.take_or(
            "broadcast.answer-wait-s",
            said.answer_wait_s.map(answer_wait),
            usual.answer_wait,
        ),
        fee_rate_max: faults.take_or(
            "broadcast.max-fee-rate-btc-kvb",
            said.max_fee_rate_btc_kvb.map(fee_rate),
            usual.fee_rate_max,
        ),
        peers: faults.take_or("broadcast.peers", peers, usual.peers),
        exclude: faults.take_or("broadcast.exclude", exclude, usual.exclude),
    }
}

/// As they are written in the configuration.
pub fn network_names(networks: Networks) -> &'static [&'static str] {
    match networks {
        Networks::Onion => &["onion"],
        Networks::Exit => &["exit"],
        Networks::Both => &["onion", "exit"],
    }
}

fn networks(names: &[String]) -> Result<Networks, &'static str> {
    let is_known = |name: &&String| ["onion", "exit"].contains(&name.as_str());
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    match (has("onion"), has("exit")) {
        (true, true) if names.iter().all(|name| is_known(&name)) => Ok(Networks::Both),
        (true, false) if names.iter().all(|name| is_known(&name)) => Ok(Networks::Onion),
        (false, true) if names.iter().all(|name| is_known(&name)) => Ok(Networks::Exit),
        _ => Err("write onion, exit, or both"),
    }
}

fn deliveries(count: u8) -> Result<u8, String> {
    let (least, most) = (limits::DELIVERIES_MIN, limits::DELIVERIES_MAX);
    (least..=most)
        .contains(&count)
        .then_some(count)
        .ok_or_else(|| format!("write a number from {least} to {most}"))
}

fn answer_wait(seconds: u64) -> Result<Duration, String> {
    let most = limits::ANSWER_WAIT_MAX;
    Some(Duration::from_secs(seconds))
        .filter(|wait| *wait <= most)
        .ok_or_else(|| format!("write 0 to {} seconds", most.as_secs()))
}

fn fee_rate(bitcoins: f64) -> Result<FeeRate, &'static str> {
    // By its digits, because a rate is whole satoshi.
    let rate = bitcoin::Amount::from_btc(bitcoins).map(bitcoin::Amount::to_sat);
    rate.ok()
        .filter(|rate| (1..=limits::FEE_RATE_LIMIT_MAX).contains(rate))
        .map(FeeRate)
        .ok_or("write bitcoins per 1000 vbytes, above 0 and up to 1, with at most 8 decimal places")
}

fn peers(texts: &[String], is_public_only: bool) -> Result<Vec<Peer>, String> {
    let peers: Vec<Peer> = parsed(texts)?;
    let inside = peers.iter().position(|peer| !peer.address.is_public());
    match inside {
        Some(place) if is_public_only => Err(format!(
            "number {} is on this machine or in a private network, where no peer of this network can be",
            place + 1
        )),
        _ => Ok(peers),
    }
}

/// All of them; a fault tells by number which one is wrong, because peers are not printed.
fn parsed<T: FromStr<Err = PeerFault>>(texts: &[String]) -> Result<Vec<T>, String> {
    let parse = |(place, text): (usize, &String)| {
        text.parse()
            .map_err(|fault| format!("number {}: {fault}", place + 1))
    };
    texts.iter().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broadcast::Method;

    fn resolved(said: RawBroadcast, network: Network) -> (Settings, Vec<String>) {
        let mut faults = Faults::default();
        let settings = resolve(said, Some(network), &mut faults);
        let faults = faults.0.iter();
        (
            settings,
            faults
                .map(|fault| format!("{}: {}", fault.key, fault.text))
                .collect(),
        )
    }

    fn texts<const N: usize>(texts: [&str; N]) -> Option<Vec<String>> {
        Some(texts.map(str::to_owned).to_vec())
    }

    #[test]
    fn what_is_said_is_what_is_meant() {
        let onion = format!("{}.onion", "a".repeat(56));
        let said = RawBroadcast {
            method: Some("own-node".into()),
            networks: texts(["onion"]),
            deliveries: Some(5),
            answer_wait_s: Some(0),
            max_fee_rate_btc_kvb: Some(0.000_012_34),
            peers: texts([&format!("{onion}:8333 v1"), "1.2.3.4:8333"]),
            exclude: texts([&onion, "::1"]),
        };
        let (settings, faults) = resolved(said, Network::Main);
        assert!(faults.is_empty(), "{faults:?}");
        let meant = Settings {
            method: Method::OwnNode,
            networks: Networks::Onion,
            deliveries: 5,
            answer_wait: Duration::ZERO,
            fee_rate_max: FeeRate(1234),
            peers: vec![
                format!("{onion}:8333 v1").parse().unwrap(),
                "1.2.3.4:8333".parse().unwrap(),
            ],
            exclude: vec![onion.parse().unwrap(), "::1".parse().unwrap()],
        };
        assert_eq!(settings, meant);
        for (names, networks) in [
            (texts(["exit", "onion", "exit"]), Networks::Both),
            (texts(["exit"]), Networks::Exit),
        ] {
            let said = RawBroadcast {
                networks: names,
                ..RawBroadcast::default()
            };
            assert_eq!(resolved(said, Network::Main).0.networks, networks);
        }
    }

    #[test]
    fn every_fault_is_told_by_its_key_and_no_peer_is_printed() {
        let said = RawBroadcast {
            method: Some("node".into()),
            networks: texts(["onion", "i2p"]),
            deliveries: Some(1),
            answer_wait_s: Some(31),
            max_fee_rate_btc_kvb: Some(0.0),
            peers: texts(["203.0.113.77:8333", "203.0.113.78"]),
            exclude: texts(["203.0.113.79:1"]),
        };
        let (_, faults) = resolved(said, Network::Main);
        assert_eq!(faults.len(), 7, "{faults:?}");
        assert!(
            faults.iter().all(|fault| !fault.contains("203.0")),
            "{faults:?}"
        );
        assert!(faults[5].starts_with("broadcast.peers: number 2: a peer is written"));
        for rate in [-0.1, 1.000_000_01, 0.000_000_001, f64::NAN, f64::INFINITY] {
            assert!(fee_rate(rate).is_err(), "{rate}");
        }
        assert!(networks(&[]).is_err());
    }

    #[test]
    fn peers_on_this_machine_are_for_regtest() {
        let said = || RawBroadcast {
            peers: texts(["1.2.3.4:8333", "127.0.0.1:18444"]),
            ..RawBroadcast::default()
        };
        let (settings, faults) = resolved(said(), Network::Regtest);
        assert!(faults.is_empty() && settings.peers.len() == 2);
        for network in [Network::Main, Network::Signet, Network::Testnet4] {
            let (_, faults) = resolved(said(), network);
            assert!(
                faults[0].contains("number 2 is on this machine"),
                "{faults:?}"
            );
        }
        let v1 = RawBroadcast {
            peers: texts(["1.2.3.4:8333 v1"]),
            ..RawBroadcast::default()
        };
        assert!(resolved(v1, Network::Regtest).1[0].contains("needs the v2 transport"));
    }
}
