//! What Bitcoin Core sends on a connection made for one private transaction, as version 31.0 does it.
//!
//! A sender that differs in any of it can be told from all others. Compare it with each release of Core.

/// Protocol version, a constant there too, so that releases do not differ.
pub(super) const PROTOCOL_VERSION: u32 = 70_016;
/// No services, so that no node's are shown.
pub(super) const SERVICES: u64 = 0;
/// No clock, so that no clock's error is shown.
pub(super) const TIMESTAMP: i64 = 0;
/// The addresses of both sides: services, address and port, all zero.
pub(super) const PEER_ADDRESS: [u8; 26] = [0; 26];
/// The name of Core's own test framework.
pub(super) const USER_AGENT: &str = "/pynode:0.0.1/";
/// No height, so that no tip is shown.
pub(super) const START_HEIGHT: i32 = 0;
/// No announcements are wanted.
pub(super) const RELAY: bool = false;
/// Type of what is announced and asked for, without the flag for witnesses; the transaction is sent with them.
pub(super) const MSG_TX: u32 = 1;
/// The oldest peer protocol that says whether it wants announcements.
pub(super) const PEER_PROTOCOL_MIN: i32 = 70_001;
