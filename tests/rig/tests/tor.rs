//! The private Tor network carries streams to an onion service and through an exit.

use std::time::{Duration, Instant};

use anyhow::Result;
use rig::socks::{Line, connect};
use rig::tor_network::{ONION_PORT, TorNetwork, start_echo};

const ECHO: Duration = Duration::from_secs(30);

#[test]
fn a_network_reaches_an_onion_service_and_an_exit() -> Result<()> {
    let started = Instant::now();
    let network = TorNetwork::shared()?;
    println!("network: {:.1?}", started.elapsed());
    assert!(network.client_log().contains("Bootstrapped 100%"));

    let echo = start_echo()?;
    let started = Instant::now();
    let onion_address = network.add_onion_service(echo)?;
    println!("onion service: {:.1?}", started.elapsed());
    let started = Instant::now();
    let mut line = Line::new(connect(
        network.socks_port(),
        "alice",
        &onion_address,
        ONION_PORT,
    )?);
    println!("connection: {:.1?}", started.elapsed());
    for text in ["one", "two"] {
        line.send(text)?;
        assert_eq!(line.read(ECHO)?.as_deref(), Some(text));
    }
    assert!(connect(network.socks_port(), "bob", &onion_address, ONION_PORT + 1).is_err());

    let mut line = Line::new(connect(network.socks_port(), "carol", "127.0.0.1", echo)?);
    line.send("three")?;
    assert_eq!(line.read(ECHO)?.as_deref(), Some("three"));
    Ok(())
}

#[test]
fn the_arti_fragment_names_the_authority() -> Result<()> {
    let network = TorNetwork::shared()?;
    let fragment = std::fs::read_to_string(network.arti_config())?;
    let ports = network.relay_ports()?;
    assert_eq!(ports.len(), network.relay_count() + 1);
    assert!(fragment.contains(&format!("orports = [\"127.0.0.1:{}\"]", ports[0])));
    assert!(fragment.contains(&format!("uploads = [[\"127.0.0.1:{}\"]]", ports[1])));
    Ok(())
}

#[test]
fn a_dropped_network_leaves_no_process() -> Result<()> {
    let network = TorNetwork::start()?;
    let mut ids = Vec::new();
    for number in 0..network.relay_count() {
        ids.push(network.relay(number, |relay| relay.id())?);
    }
    network.relay(1, |relay| relay.pause())?;
    network.relay(2, |relay| relay.kill())??;
    let started = Instant::now();
    drop(network);
    println!("dropped: {:.1?}", started.elapsed());
    for id in ids {
        assert!(
            std::fs::metadata(format!("/proc/{id}")).is_err(),
            "relay {id} still runs"
        );
    }
    Ok(())
}
