//! Against a private network of C Tor; circuits are counted at their far end, not by Arti.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use futures::future::join_all;
use rig::tor_network::{CircuitWatch, Circuits, ONION_PORT, TorNetwork, start_echo};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::sleep;

use super::*;
use crate::{Identity, Settings, Tor};

/// As many deliveries as run at a time for a few transactions.
const DIALS: usize = 8;
/// It takes milliseconds, but a relay may keep the end of a circuit to itself until it has something
/// else to send there. Arti's own patience is minutes.
const CLOSED: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// An echo server, which is behind an onion service too.
struct Echo {
    port: u16,
    onion_address: String,
}

impl Echo {
    fn start() -> Self {
        let port = start_echo().unwrap();
        Self {
            port,
            onion_address: network().add_onion_service(port).unwrap(),
        }
    }

    /// Both ways to it, each with what counts circuits at its end.
    fn ways(&self) -> [(Destination, CircuitWatch); 2] {
        [
            (
                Destination::Exit((Ipv4Addr::LOCALHOST, self.port).into()),
                network().watch_exits(self.port).unwrap(),
            ),
            (
                onion(&self.onion_address, ONION_PORT),
                network().watch_onion_service(&self.onion_address).unwrap(),
            ),
        ]
    }
}

fn network() -> &'static TorNetwork {
    TorNetwork::shared().unwrap()
}

fn onion(host: &str, port: u16) -> Destination {
    Destination::Onion {
        host: host.to_owned(),
        port,
    }
}

/// A client with a state of its own.
struct Client {
    tor: Tor,
    outgoing: Outgoing,
    _folder: TempDir,
}

impl Client {
    /// It has not touched the network that `fragment` describes.
    async fn create(fragment: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            state_dir: folder.path().join("state"),
            cache_dir: folder.path().join("cache"),
            network_fragment: Some(fragment.to_owned()),
            memory_max: 160 << 20,
            memory_low_water: 112 << 20,
        };
        let tor = Tor::create(&settings).await.unwrap();
        Self {
            outgoing: tor.outgoing(),
            tor,
            _folder: folder,
        }
    }

    async fn on_the_private_network() -> Self {
        let fragment = fs::read_to_string(network().arti_config()).unwrap();
        let client = Self::create(&fragment).await;
        client.tor.bootstrap().await.unwrap();
        client
    }

    async fn dial_many(&self, destination: &Destination) -> Vec<OutgoingStream> {
        let dials = (0..DIALS).map(|_| self.outgoing.dial(destination));
        let streams = join_all(dials).await;
        streams.into_iter().collect::<Result<_, _>>().unwrap()
    }
}

/// Waits until so many circuits of the watch are open, while others give the relays something to
/// send.
async fn wait_for_open(wanted: usize, watch: &CircuitWatch, client: &Client) -> Circuits {
    let elsewhere = Destination::Exit((Ipv4Addr::LOCALHOST, start_echo().unwrap()).into());
    let began = Instant::now();
    loop {
        let circuits = watch.count().unwrap();
        if circuits.open == wanted {
            return circuits;
        }
        assert!(began.elapsed() < CLOSED, "{circuits:?}, not {wanted} open");
        sleep(POLL).await;
        if began.elapsed() > Duration::from_secs(1) {
            exchange(&mut client.outgoing.dial(&elsewhere).await.unwrap()).await;
        }
    }
}

async fn exchange(stream: &mut OutgoingStream) {
    stream.write_all(b"one").await.unwrap();
    stream.flush().await.unwrap();
    let mut got = [0; 3];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"one");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_dial_has_a_circuit_of_its_own_that_closes_with_it() {
    let echo = Echo::start();
    let client = Client::on_the_private_network().await;
    for (destination, watch) in echo.ways() {
        let mut streams = client.dial_many(&destination).await;
        for stream in &mut streams {
            exchange(stream).await;
        }
        let all = Circuits {
            used: DIALS,
            open: DIALS,
        };
        assert_eq!(watch.count().unwrap(), all);
        while streams.pop().is_some() {
            wait_for_open(streams.len(), &watch, &client).await;
        }
        // What was learnt and built for the others serves no later one either.
        exchange(&mut client.outgoing.dial(&destination).await.unwrap()).await;
        assert_eq!(wait_for_open(0, &watch, &client).await.used, DIALS + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dial_that_is_not_waited_for_leaves_no_circuit() {
    let echo = Echo::start();
    let client = Client::on_the_private_network().await;
    let [_exit, (destination, watch)] = echo.ways();
    let mut used = 0;
    // Until one was dropped so late that Arti brings it to its end.
    for patience in (1..).map(|number| POLL * number) {
        let dial = client.outgoing.dial(&destination);
        if timeout(patience, dial).await.is_ok() {
            break;
        }
        sleep(Duration::from_secs(1)).await;
        used = wait_for_open(0, &watch, &client).await.used;
    }
    assert!(used > 0, "no circuit came after its dial was given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_port_and_an_onion_service_that_is_not_there_are_unreachable() {
    let echo = Echo::start();
    let client = Client::on_the_private_network().await;
    let closed_port = rig::ports::free().unwrap();
    let nobody = Identity::from_seed(&[0x5a; 32]).address().to_text();
    for (destination, limit) in [
        (
            Destination::Exit((Ipv4Addr::LOCALHOST, closed_port).into()),
            EXIT_DIAL_MAX,
        ),
        (onion(&echo.onion_address, ONION_PORT + 1), ONION_DIAL_MAX),
        (onion(&nobody, ONION_PORT), ONION_DIAL_MAX),
    ] {
        let began = Instant::now();
        let refused = client.outgoing.dial(&destination).await.unwrap_err();
        println!("refused after {:.1?}", began.elapsed());
        assert_eq!(refused, DialError::Unreachable);
        assert!(began.elapsed() < limit);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_does_not_answer_is_given_up_in_time() {
    let (port, _full) = port_that_does_not_answer().await;
    let client = Client::on_the_private_network().await;
    let watch = network().watch_exits(port).unwrap();
    let destination = Destination::Exit((Ipv4Addr::LOCALHOST, port).into());
    let began = Instant::now();
    let given_up = client.outgoing.dial(&destination).await.unwrap_err();
    assert_eq!(given_up, DialError::TimedOut);
    assert!(began.elapsed() < EXIT_DIAL_MAX + Duration::from_secs(1));
    assert_eq!(wait_for_open(0, &watch, &client).await.used, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_when_it_has_bootstrapped() {
    let fragment = fs::read_to_string(network().arti_config()).unwrap();
    let client = Client::create(&fragment).await;
    let port = start_echo().unwrap();
    let destination = Destination::Exit((Ipv4Addr::LOCALHOST, port).into());
    assert!(!client.outgoing.is_ready());
    let refused = client.outgoing.dial(&destination).await.unwrap_err();
    assert_eq!(refused, DialError::NotReady);

    client.tor.bootstrap().await.unwrap();
    exchange(&mut client.outgoing.dial(&destination).await.unwrap()).await;
    let ready = async {
        while !client.outgoing.is_ready() {
            sleep(POLL).await;
        }
    };
    timeout(CLOSED, ready).await.unwrap();
}

#[tokio::test]
async fn only_onion_services_and_public_addresses_are_dialled() {
    let client = Client::create("").await;
    for host in [
        "",
        "example.com",
        "abc.onion",
        &format!("{}.onion", "a".repeat(56)),
    ] {
        let refused = client.outgoing.dial(&onion(host, 8333)).await.unwrap_err();
        assert_eq!(refused, DialError::NotAnOnion, "{host}");
    }
    let dial = async |address: &str| {
        let address: IpAddr = address.parse().unwrap();
        let destination = Destination::Exit((address, 8333).into());
        client.outgoing.dial(&destination).await.unwrap_err()
    };
    for address in [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.1.1",
        "::1",
        "fc00::1",
        "::ffff:127.0.0.1",
    ] {
        assert_eq!(dial(address).await, DialError::NotPublic, "{address}");
    }
    for address in ["8.8.8.8", "2600::1"] {
        assert_eq!(dial(address).await, DialError::NotReady, "{address}");
    }
}

#[test]
fn no_destination_can_be_printed() {
    let printed = safelog::with_safe_logging_suppressed(|| {
        let exit = Destination::Exit((Ipv4Addr::LOCALHOST, 8333).into());
        format!("{exit:?} {:?}", onion("abc.onion", 8333))
    });
    assert_eq!(printed, "Destination([scrubbed]) Destination([scrubbed])");
}

/// A port whose queue of connections is full, so that the kernel answers no further one as long as
/// the sockets live.
#[expect(clippy::disallowed_types, reason = "the far end of a connection")]
async fn port_that_does_not_answer() -> (u16, impl Sized) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(connected) = timeout(POLL * 4, tokio::net::TcpStream::connect(address)).await {
        waiting.push(connected.unwrap());
    }
    (address.port(), (listener, waiting))
}
