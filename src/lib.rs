//! Claustrum: an Electrum server that exists only as an onion service.
//!
//! The code map, from the vocabulary up; a module imports only what stands above it:
//!
//! - [`error`], [`limits`], [`secret`], [`redact`]: how things fail, every bound, what may never be printed;
//! - [`chain`]: heights, script hashes, statuses, merkle branches: vocabulary without behaviour;
//! - [`node`]: the one door to the operator's Bitcoin Core;
//! - [`index`]: what is stored, by script hash, in redb;
//! - [`mempool`]: what is unconfirmed, by script hash, in memory;
//! - [`query`]: a question answered from one [`query::View`] of both;
//! - [`sync`]: follows the node and publishes views;
//! - [`broadcast`]: how a transaction leaves;
//! - [`electrum`]: the protocol as a state machine without input or output;
//! - [`session`]: one client's stream, driven;
//! - [`config`], [`hardening`], [`installation`], [`status`], [`telemetry`]: the edge of the process;
//! - [`engine`]: everything but the way in;
//! - `door`, `server`, `cli`: the way in, supervision, and what people type; with the feature `onion`.

pub mod broadcast;
pub mod chain;
#[cfg(feature = "onion")]
pub mod cli;
pub mod config;
#[cfg(feature = "onion")]
pub mod door;
pub mod electrum;
pub mod engine;
pub mod error;
pub mod hardening;
pub mod index;
pub mod installation;
pub mod limits;
pub mod mempool;
pub mod node;
pub mod query;
pub mod redact;
pub mod secret;
#[cfg(feature = "onion")]
pub mod server;
pub mod session;
pub mod status;
pub mod sync;
pub mod telemetry;
