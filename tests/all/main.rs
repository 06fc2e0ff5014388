//! Everything that needs no Tor: the protocol, the index against an oracle, the node's moods, the shape of the code.

#![cfg(test)]

mod architecture;
