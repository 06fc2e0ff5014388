//! Every socket call from the start of a server to its end, while a wallet visits, is paid and sees a block: there is
//! no listener, and no way out but Tor's relays and the node's RPC. The development program, which listens, must be
//! caught by the same check.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rig::node::{self, Node};
use rig::server::{Claustrum, Loopback, Options};
use rig::trace::{Call, Listing, Peer, Trace};
use rig::wallet::{Wallet, Way};

use crate::fixture;

/// All that has to do with sockets, what could make one unseen, and `execve` as the beginning.
const CALLS: &str = "%network,execve,?io_uring_setup,?pidfd_getfd";
/// Where the C library asks for a name service daemon, for example for the user's home directory.
const NAME_SERVICE: &str = "/var/run/nscd/socket";
const VISIT: Duration = Duration::from_secs(60);
const PAYMENT: u64 = 70_000;

#[test]
fn the_product_opens_no_listener_and_reaches_only_tor_and_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start_funded(&node::Options::default()).unwrap();
    let network = fixture::network();
    let trace = trace(&folder);
    let mut server = Claustrum::start(&node, network, &traced(&trace)).unwrap();
    let way = Way::Tor {
        socks_port: network.socks_port(),
        user: "no-listener".to_owned(),
        onion_address: server.onion_address().unwrap().to_owned(),
    };
    visit(&node, &way);
    assert!(server.stop().unwrap().success());

    let listing = trace.read().unwrap();
    assert_eq!(listing.calls.first().unwrap().name, "execve");
    assert_eq!(listing.exit_status, Some(0), "not listed to its end");
    let relays = local(network.relay_ports().unwrap());
    let rpc = local([node.rpc_port()]);
    let allowed = relays.union(&rpc).copied().collect();
    assert_eq!(violations(&listing, &allowed), Vec::<String>::new());
    // A listing without these would prove nothing.
    let reached = peers(&listing);
    assert!(!reached.is_disjoint(&relays), "no relay: {reached:?}");
    assert!(!reached.is_disjoint(&rpc), "not the node: {reached:?}");
}

#[test]
fn a_program_that_listens_is_caught() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start_funded(&node::Options::default()).unwrap();
    let trace = trace(&folder);
    let mut server = Loopback::start(&node, &traced(&trace)).unwrap();
    visit(
        &node,
        &Way::Loopback {
            port: server.port(),
        },
    );
    assert!(server.stop().unwrap().success());

    let listing = trace.read().unwrap();
    assert_eq!(listing.exit_status, Some(0), "not listed to its end");
    let violations = violations(&listing, &local([node.rpc_port()]));
    let mut names: Vec<_> = violations
        .iter()
        .map(|call| call.split('(').next().unwrap())
        .collect();
    names.dedup();
    assert_eq!(names, ["bind", "listen", "accept4"], "{violations:?}");
    let port = format!("sin_port=htons({})", server.port());
    assert!(violations[0].contains(&port), "{violations:?}");
}

#[test]
fn every_other_way_out_is_caught() {
    let allowed = local([9050]);
    let caught = |name: &str, arguments: &str| {
        let call = Call {
            name: name.to_owned(),
            arguments: arguments.to_owned(),
            result: Some(0),
        };
        !is_allowed(&call, &allowed)
    };
    let address = |port, host| {
        format!(
            "3, {{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr(\"{host}\")}}, 16"
        )
    };
    assert!(!caught("connect", &address(9050, "127.0.0.1")));
    assert!(caught("connect", &address(9051, "127.0.0.1")));
    assert!(caught("connect", &address(9050, "127.0.0.2")));
    assert!(!caught(
        "connect",
        "3, {sa_family=AF_UNIX, sun_path=\"/var/run/nscd/socket\"}, 110"
    ));
    assert!(caught(
        "connect",
        "3, {sa_family=AF_UNIX, sun_path=\"/run/systemd/notify\"}, 110"
    ));
    assert!(caught("connect", "3, 0x7ffd1234, 16"));
    assert!(!caught(
        "socket",
        "AF_INET6, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_TCP"
    ));
    assert!(caught(
        "socket",
        "AF_INET, SOCK_DGRAM|SOCK_CLOEXEC, IPPROTO_IP"
    ));
    assert!(caught("socket", "AF_INET, SOCK_RAW, IPPROTO_ICMP"));
    assert!(caught(
        "socket",
        "AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, NETLINK_ROUTE"
    ));
    assert!(!caught("sendto", "3, \"\\x61\", 1, MSG_NOSIGNAL, NULL, 0"));
    assert!(caught(
        "sendto",
        "3, \"\\x61\", 1, 0, {sa_family=AF_INET, sin_port=htons(9)}, 16"
    ));
    assert!(caught("io_uring_setup", "8, {flags=0}"));
}

/// Lists what this module judges.
pub(crate) fn trace(folder: &tempfile::TempDir) -> Trace {
    Trace {
        file: folder.path().join("trace"),
        calls: CALLS,
    }
}

fn traced(trace: &Trace) -> Options {
    Options {
        trace: Some(trace.clone()),
        ..Options::default()
    }
}

/// A wallet that watches; under strace the index may still be being built when it comes first.
fn watching(way: &Way, arguments: &[&str]) -> Wallet {
    let deadline = Instant::now() + VISIT;
    loop {
        let mut wallet = Wallet::start("visit", way, arguments).unwrap();
        match wallet.step("watching", VISIT) {
            Ok(_) => return wallet,
            Err(error)
                if Instant::now() < deadline && error.to_string().contains("being built") =>
            {
                std::thread::sleep(Duration::from_millis(200));
            }
            Err(error) => panic!("{error:#}"),
        }
    }
}

/// A wallet comes, is paid, sees the payment in a block, and goes.
fn visit(node: &Node, way: &Way) {
    let there = node.new_address().unwrap();
    let script = node.script(&there).unwrap();
    let payment = PAYMENT.to_string();
    let arguments = [
        "--script",
        &script,
        "--watch",
        "2",
        "--expect-confirmed",
        &payment,
    ];
    let mut wallet = watching(way, &arguments);
    node.pay(&there, PAYMENT).unwrap();
    let balance = wallet.step("balance", VISIT).unwrap();
    assert_eq!(balance["unconfirmed"], PAYMENT);
    node.mine(1).unwrap();
    wallet.finish(VISIT).unwrap();
}

pub(crate) fn local(ports: impl IntoIterator<Item = u16>) -> BTreeSet<SocketAddr> {
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    ports.into_iter().map(address).collect()
}

/// The calls that a program without listeners, which reaches only these addresses, does not make; failed ones too.
pub(crate) fn violations(listing: &Listing, allowed: &BTreeSet<SocketAddr>) -> Vec<String> {
    let calls = listing.calls.iter();
    calls
        .filter(|call| !is_allowed(call, allowed))
        .map(Call::to_string)
        .collect()
}

fn is_allowed(call: &Call, allowed: &BTreeSet<SocketAddr>) -> bool {
    match call.name.as_str() {
        "socket" => {
            let mut arguments = call.arguments.split(", ");
            let (family, kind) = (arguments.next(), arguments.next());
            matches!(family, Some("AF_INET" | "AF_INET6" | "AF_UNIX"))
                && kind.is_some_and(|kind| kind.split('|').any(|flag| flag == "SOCK_STREAM"))
        }
        "connect" => match call.peer() {
            Ok(Peer::Internet(address)) => allowed.contains(&address),
            Ok(Peer::Local(path)) => path.trim_end_matches('\0') == NAME_SERVICE,
            Err(_) => false,
        },
        // With an address these need no `connect`.
        "sendto" | "sendmsg" | "sendmmsg" => !call.arguments.contains("sa_family="),
        "execve" | "socketpair" | "shutdown" | "getsockopt" | "setsockopt" | "getsockname"
        | "getpeername" | "recvfrom" | "recvmsg" => true,
        _ => false,
    }
}

/// Whom it asked to connect to over IP.
pub(crate) fn peers(listing: &Listing) -> BTreeSet<SocketAddr> {
    let connects = listing.calls.iter().filter(|call| call.name == "connect");
    connects
        .filter_map(|call| match call.peer() {
            Ok(Peer::Internet(address)) => Some(address),
            _ => None,
        })
        .collect()
}
