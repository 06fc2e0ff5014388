//! The release binary behind its real onion service, on a private Tor network, beside a real node.

#![cfg(test)]

mod broadcast;
mod cli;
mod disk;
mod door;
mod fixture;
mod installing;
mod no_listener;
mod silence;
mod start;
mod visit;
mod wallets;
