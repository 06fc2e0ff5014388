//! Every bound of the server, each with its reason. Sizes are bytes unless the name says otherwise.

use std::time::Duration;

/// A request line: the largest legitimate one is a broadcast of a standard transaction, 800 kB of hexadecimal digits.
pub const LINE_BYTES_MAX: usize = 2_000_000;
/// Up to here a line needs no permit.
pub const LINE_BYTES_FREE: usize = 64 * 1024;
/// Sessions that may at one time receive a line above [`LINE_BYTES_FREE`], which bounds their memory together.
pub const LARGE_LINES_MAX: usize = 4;
/// Requests in one batch; BlueWallet sends 200, Liana 200, Sparrow 100.
pub const BATCH_ITEMS_MAX: usize = 350;
/// Requests of one session that are worked on at a time; beyond it reading pauses.
pub const IN_FLIGHT_MAX: usize = 16;
/// Default of `limits.reply-bytes-max`: Electrum's own limit for an incoming message.
pub const REPLY_BYTES_MAX: usize = 8_100_000;
/// Bytes waiting for a client that reads slowly before reading from it pauses.
pub const OUTBOUND_BYTES_SOFT: usize = 256 * 1024;
/// Script hashes one session may watch.
pub const SUBSCRIPTIONS_PER_SESSION_MAX: usize = 10_000;
/// Sessions in all.
pub const SESSIONS_MAX: usize = 400;
/// Headers in one answer; the protocol's number.
pub const HEADERS_MAX: u32 = 2016;
/// Protocol errors a session may make in a minute.
pub const PROTOCOL_ERRORS_PER_MINUTE_MAX: u32 = 200;
/// A silent session is closed after this time; the protocol speaks of about ten minutes.
pub const IDLE_MAX: Duration = Duration::from_secs(900);
/// The first complete line must have come by then.
pub const FIRST_LINE_MAX: Duration = Duration::from_secs(60);
/// Once begun, a line has this long, and a second more for every [`LINE_BYTES_PER_SECOND_MIN`].
pub const LINE_COMPLETION_MAX: Duration = Duration::from_secs(30);
/// The slowest sender that is still served.
pub const LINE_BYTES_PER_SECOND_MIN: usize = 4 * 1024;
/// A client that takes nothing for this long is closed.
pub const NO_DRAIN_MAX: Duration = Duration::from_secs(90);
/// A request is answered within this time, if need be with an error.
pub const REQUEST_MAX: Duration = Duration::from_secs(30);
/// Versions whose changes a view carries; a session further behind recomputes all its statuses.
pub const VIEW_CHANGES_MAX: usize = 64;
/// Blocks a tip-only index may hold.
pub const TIP_ONLY_BLOCKS_MAX: u32 = 20_000;
/// The whole of an orderly shutdown.
pub const SHUTDOWN_MAX: Duration = Duration::from_secs(20);
/// What sessions get of it to finish their current answer.
pub const SHUTDOWN_SESSIONS_MAX: Duration = Duration::from_secs(3);
/// Without a word from the node for this long, chain questions are refused: stale is worse than down.
pub const NODE_SILENCE_MAX: Duration = Duration::from_secs(30 * 60);
