//! A Bitcoin peer: where it is, how it is spoken to, and how the operator writes it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// Characters of an onion name before `.onion`.
const ONION_NAME_CHARS: usize = 56;

/// Where a peer is. A name that would have to be resolved cannot be said.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum PeerAddress {
    /// An onion service of version 3.
    Onion {
        /// The 56 characters and `.onion`, in small letters.
        host: String,
        /// Not 0.
        port: u16,
    },
    /// An address reached through an exit.
    Exit(SocketAddr),
}

/// How a connection to a peer is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// In the clear; only ever to an onion peer, where Tor encrypts up to the peer itself.
    V1,
    /// BIP324.
    V2,
}

/// A peer that a transaction may be given to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Where it is.
    pub address: PeerAddress,
    /// What it speaks.
    pub transport: Transport,
}

/// A peer's machine, whatever its port: what exclusion compares.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// An onion name in small letters.
    Onion(String),
    /// Never an IPv4 address in the clothes of an IPv6 address.
    Ip(IpAddr),
}

/// The kinds of ways to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerNetwork {
    /// By an onion service.
    Onion,
    /// By an exit.
    Exit,
}

/// What the peers of one operator probably share; no two peers of one transaction are in one group.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Group {
    /// Onion names cost nothing, so that nothing more can be said of them.
    Onion(String),
    /// The first 16 bits of an IPv4 address.
    V4([u8; 2]),
    /// The first 32 bits of an IPv6 address.
    V6([u16; 2]),
}

/// Why a text is not a peer or a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerFault {
    /// It has another form.
    #[error(
        "a peer is written NAME.onion:PORT, 1.2.3.4:PORT or [v6]:PORT, with ` v1` behind an onion peer without v2"
    )]
    NotAPeer,
    /// The peer behind an exit has only the transport that the exit can read.
    #[error("a peer behind an exit needs the v2 transport: the exit could read the transaction")]
    ExitWithoutV2,
    /// It is not a host.
    #[error("a host is written NAME.onion or as an IP address, without a port")]
    NotAHost,
}

impl PeerAddress {
    /// By which kind of way it is reached.
    pub fn network(&self) -> PeerNetwork {
        match self {
            Self::Onion { .. } => PeerNetwork::Onion,
            Self::Exit(_) => PeerNetwork::Exit,
        }
    }

    /// The machine, without the port.
    pub fn host(&self) -> Host {
        match self {
            Self::Onion { host, .. } => Host::Onion(host.clone()),
            Self::Exit(address) => Host::Ip(address.ip()),
        }
    }

    /// Whether it can be in the open network: no loopback, private, link-local or multicast address.
    pub fn is_public(&self) -> bool {
        match self {
            Self::Onion { .. } => true,
            Self::Exit(address) => match address.ip() {
                IpAddr::V4(ip) => is_public_v4(ip),
                IpAddr::V6(ip) => {
                    !(ip.is_loopback()
                        || ip.is_unspecified()
                        || ip.is_unique_local()
                        || ip.is_unicast_link_local()
                        || ip.is_multicast())
                }
            },
        }
    }

    /// What it shares with others of its operator.
    pub(super) fn group(&self) -> Group {
        match self {
            Self::Onion { host, .. } => Group::Onion(host.clone()),
            Self::Exit(address) => match address.ip() {
                IpAddr::V4(ip) => {
                    let [first, second, ..] = ip.octets();
                    Group::V4([first, second])
                }
                IpAddr::V6(ip) => {
                    let [first, second, ..] = ip.segments();
                    Group::V6([first, second])
                }
            },
        }
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    let carrier = first == 100 && (64..128).contains(&second); // RFC 6598
    !(carrier
        || first == 0
        || ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_broadcast())
}

impl FromStr for Peer {
    type Err = PeerFault;

    fn from_str(text: &str) -> Result<Self, PeerFault> {
        let (address, transport) = match text.strip_suffix(" v1") {
            Some(address) => (address, Transport::V1),
            None => (text, Transport::V2),
        };
        let address = address.parse()?;
        match (&address, transport) {
            (PeerAddress::Exit(_), Transport::V1) => Err(PeerFault::ExitWithoutV2),
            (PeerAddress::Exit(_), Transport::V2) | (PeerAddress::Onion { .. }, _) => {
                Ok(Self { address, transport })
            }
        }
    }
}

impl FromStr for PeerAddress {
    type Err = PeerFault;

    fn from_str(text: &str) -> Result<Self, PeerFault> {
        let address = if let Ok(address) = text.parse::<SocketAddr>() {
            Self::Exit(SocketAddr::new(address.ip().to_canonical(), address.port()))
        } else {
            let (host, port) = text.rsplit_once(':').ok_or(PeerFault::NotAPeer)?;
            Self::Onion {
                host: onion_host(host).ok_or(PeerFault::NotAPeer)?,
                port: decimal(port).ok_or(PeerFault::NotAPeer)?,
            }
        };
        match address {
            Self::Onion { port: 0, .. } => Err(PeerFault::NotAPeer),
            Self::Exit(exit) if exit.port() == 0 => Err(PeerFault::NotAPeer),
            Self::Onion { .. } | Self::Exit(_) => Ok(address),
        }
    }
}

impl FromStr for Host {
    type Err = PeerFault;

    fn from_str(text: &str) -> Result<Self, PeerFault> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::Ip(ip.to_canonical()));
        }
        onion_host(text).map(Self::Onion).ok_or(PeerFault::NotAHost)
    }
}

/// An onion name of version 3 in small letters; whether its checksum holds shows when it is dialled.
fn onion_host(text: &str) -> Option<String> {
    let host = text.to_ascii_lowercase();
    let name = host.strip_suffix(".onion")?;
    let fits = name.len() == ONION_NAME_CHARS
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'));
    fits.then_some(host)
}

/// A port as `SocketAddr` reads it: digits alone, where `u16` would take a sign as well.
fn decimal(text: &str) -> Option<u16> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Where a transaction goes is nobody's to print.
macro_rules! scrubbed {
    ($($name:ty),+) => {
        $(impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("[scrubbed]")
            }
        })+
    };
}

scrubbed!(PeerAddress, Peer, Host, Group);

#[cfg(test)]
mod tests {
    use super::*;

    fn onion(letter: &str) -> String {
        format!("{}.onion", letter.repeat(ONION_NAME_CHARS))
    }

    static_assertions::assert_not_impl_any!(PeerAddress: fmt::Display, serde::Serialize);
    static_assertions::assert_not_impl_any!(Peer: fmt::Display, serde::Serialize);
    static_assertions::assert_not_impl_any!(Host: fmt::Display, serde::Serialize);

    #[test]
    fn a_peer_is_read_as_it_is_written() {
        let written = format!("{}:8333", onion("A"));
        let peer: Peer = written.parse().unwrap();
        let host = onion("a");
        let address = PeerAddress::Onion { host, port: 8333 };
        assert!(peer.address == address && peer.transport == Transport::V2);
        let peer: Peer = format!("{written} v1").parse().unwrap();
        assert!(peer.address == address && peer.transport == Transport::V1);

        let peer: Peer = "203.0.113.9:18444".parse().unwrap();
        assert!(peer.address == PeerAddress::Exit(([203, 0, 113, 9], 18444).into()));
        let mapped: Peer = "[::ffff:203.0.113.9]:18444".parse().unwrap();
        assert!(mapped == peer, "one machine has one name");
        assert!("[2001:db8::1]:8333".parse::<Peer>().is_ok());
    }

    #[test]
    fn what_is_not_a_peer_is_refused_with_a_fixed_text() {
        let short = format!("{}.onion:8333", "a".repeat(55));
        let digit = format!("{}.onion:8333", "1".repeat(56));
        let without_port = onion("a");
        let signed = format!("{}:+8333", onion("a"));
        let zero = format!("{}:0", onion("a"));
        let large = format!("{}:65536", onion("a"));
        let two_spaces = format!("{}:8333  v1", onion("a"));
        let other = [
            "",
            ":8333",
            "example.com:8333",
            "1.2.3.4",
            "1.2.3.4:0",
            "::1:8333",
            " 1.2.3.4:1",
            &short,
            &digit,
            &without_port,
            &signed,
            &zero,
            &large,
            &two_spaces,
        ];
        for text in other {
            assert_eq!(
                text.parse::<Peer>().unwrap_err(),
                PeerFault::NotAPeer,
                "{text}"
            );
        }
        let fault = "1.2.3.4:8333 v1".parse::<Peer>().unwrap_err();
        assert_eq!(fault, PeerFault::ExitWithoutV2);
    }

    #[test]
    fn a_host_has_no_port() {
        let address = |text: &str| text.parse::<PeerAddress>().unwrap();
        let host = |text: &str| text.parse::<Host>().unwrap();
        assert!(host(&onion("B")) == address(&format!("{}:1", onion("b"))).host());
        assert!(host("::ffff:1.2.3.4") == address("1.2.3.4:5").host());
        assert!(host("2001:db8::1") == address("[2001:db8::1]:5").host());
        for text in [
            "",
            "1.2.3.4:5",
            "[::1]",
            "example.com",
            &format!("{}:1", onion("b")),
        ] {
            assert_eq!(
                text.parse::<Host>().unwrap_err(),
                PeerFault::NotAHost,
                "{text}"
            );
        }
    }

    #[test]
    fn addresses_that_lead_nowhere_are_told() {
        let inside = [
            "127.0.0.1",
            "127.9.9.9",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "169.254.1.1",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "[::1]",
            "[::]",
            "[fc00::1]",
            "[fe80::1]",
            "[ff02::1]",
            "[::ffff:127.0.0.1]",
        ];
        for text in inside {
            let address: PeerAddress = format!("{text}:8333").parse().unwrap();
            assert!(!address.is_public(), "{text}");
        }
        for text in [
            "8.8.8.8",
            "100.63.0.1",
            "172.32.0.1",
            "[2001:4860::1]",
            &onion("a"),
        ] {
            let address: PeerAddress = format!("{text}:8333").parse().unwrap();
            assert!(address.is_public(), "{text}");
        }
    }

    #[test]
    fn neighbours_are_in_one_group() {
        let group = |text: &str| text.parse::<PeerAddress>().unwrap().group();
        assert!(group("1.2.3.4:1") == group("1.2.250.9:2"));
        assert!(group("1.2.3.4:1") != group("1.3.3.4:1"));
        assert!(group("[2001:db8:1::1]:1") == group("[2001:db8:2::1]:1"));
        assert!(group("[2001:db8::1]:1") != group("[2001:db9::1]:1"));
        let onion_at = |letter: &str, port: u16| group(&format!("{}:{port}", onion(letter)));
        assert!(onion_at("a", 1) == onion_at("a", 2) && onion_at("a", 1) != onion_at("b", 1));
    }

    #[test]
    fn debug_shows_nothing() {
        let peer: Peer = "1.2.3.4:8333".parse().unwrap();
        let (host, group) = (peer.address.host(), peer.address.group());
        let shown = format!("{peer:?} {:?} {host:?} {group:?}", peer.address);
        assert_eq!(shown, "[scrubbed] [scrubbed] [scrubbed] [scrubbed]");
    }
}
