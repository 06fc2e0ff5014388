//! Everything that needs no Tor: the protocol, the index against an oracle, the node's moods, the shape of the code.

#![cfg(test)]

mod architecture;
mod audience;
mod bad_input;
mod block_files;
mod broadcast;
mod client;
mod corpus;
mod edges;
mod electrumx;
mod fairness;
mod fixture;
mod memo;
mod memory;
mod memory_table;
mod mempool;
mod node_states;
mod notifications;
mod oracle;
mod packages;
mod padding;
mod peer;
mod sessions;
mod transcripts;
mod verbose;
mod version_1_7;
mod wallets;
mod watching;
