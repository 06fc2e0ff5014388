//! Real parts for tests, demo and benches: a node on regtest, a private Tor network, the server under test as a
//! process, and wallets that reach it.
//!
//! Every process belongs to a handle that ends it, also when a test panics; what a killed test leaves behind is
//! ended by its guard. Uses nothing of the server's own code, so that it can contradict it.

pub mod audience;
pub mod contents;
pub mod crowd;
pub mod descriptor_wallet;
pub mod electrum_wallet;
pub mod electrumx;
pub mod figures;
pub mod gate;
pub mod meter;
pub mod node;
pub mod oracle;
pub mod peer;
pub mod ports;
pub mod process;
pub mod programs;
pub mod reorganise;
pub mod rpc;
pub mod server;
pub mod shape;
pub mod socks;
pub mod sparrow;
pub mod tor_network;
pub mod trace;
pub mod wallet;

mod forward;
mod guard;
