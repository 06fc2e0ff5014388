//! The private Tor network carries streams to an onion service and through an exit.

use std::time::{Duration, Instant};

use anyhow::Result;
use rig::socks::{Line, connect};
use rig::tor_network::{Circuits, ONION_PORT, TorNetwork, start_echo};

const ECHO: Duration = Duration::from_secs(30);
/// So many must not each take one circuit more than there are users.
const ATTEMPTS: u32 = 3;
const CLOSED: Duration = Duration::from_secs(60);

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
fn circuits_are_counted_where_they_end() -> Result<()> {
    let network = TorNetwork::shared()?;
    let echo = start_echo()?;
    let onion_address = network.add_onion_service(echo)?;
    // A client of its own: what it has done ends with it.
    let client = network.add_client()?;
    let watches = [
        (network.watch_exits(echo)?, "127.0.0.1", echo),
        (
            network.watch_onion_service(&onion_address)?,
            onion_address.as_str(),
            ONION_PORT,
        ),
    ];
    for (watch, host, port) in &watches {
        assert_eq!(watch.count()?, Circuits { used: 0, open: 0 });
        for attempt in 1.. {
            let before = watch.count()?;
            let mut lines = Vec::new();
            for user in ["alice", "alice", "bob", "carol", "bob"] {
                let user = format!("{user}-{attempt}");
                let mut line = Line::new(connect(client.socks_port(), &user, host, *port)?);
                line.send(&user)?;
                assert_eq!(line.read(ECHO)?.as_deref(), Some(user.as_str()));
                lines.push(line);
            }
            let after = watch.count()?;
            drop(lines);
            assert_eq!(watch.count()?, after, "{host}");
            let new = (after.used - before.used, after.open - before.open);
            if new == (3, 3) {
                break;
            }
            // A client may give up a circuit that is slow and take another one.
            assert!(attempt < ATTEMPTS, "{host}: {before:?}, {after:?}");
        }
    }
    client.close_circuits()?;
    for (watch, host, _) in &watches {
        let began = Instant::now();
        while watch.count()?.open != 0 {
            assert!(began.elapsed() < CLOSED, "{host}: {:?}", watch.count()?);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

#[test]
fn one_process_offers_many_onion_services() -> Result<()> {
    let network = TorNetwork::shared()?;
    let ports = (0..30).map(|_| start_echo()).collect::<Result<Vec<_>>>()?;
    let started = Instant::now();
    let addresses = network.add_onion_services(&ports)?;
    println!("30 onion services: {:.1?}", started.elapsed());
    let [first, last] = [&addresses[0], &addresses[29]];
    let watch = network.watch_onion_service(first)?;
    for address in [first, last] {
        let mut line = Line::new(connect(network.socks_port(), "dave", address, ONION_PORT)?);
        line.send(address)?;
        assert_eq!(line.read(ECHO)?.as_ref(), Some(address));
    }
    assert_eq!(watch.count()?.used, 1);
    assert!(network.watch_onion_service("nobody.onion").is_err());
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
