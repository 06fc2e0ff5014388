//! Vocabulary of the block chain: heights, positions, networks.

pub mod block;
pub mod merkle;
pub(crate) mod reader;
pub mod script_hash;
pub(crate) mod sha256;
pub mod status;

use std::fmt;
use std::str::FromStr;

use bitcoin::BlockHash;
use bitcoin::hashes::Hash as _;

pub use block::{
    BlockPlace, ConnectedBlock, PackedBlock, RawBlock, SpentList, SpentOutput, SpentRef,
};
pub use script_hash::ScriptHash;
pub use status::{EntryHeight, HistoryEntry, StatusHash, StatusHasher};

/// Height of a block; the genesis block has height 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Height(pub u32);

impl Height {
    /// The height above, or `None` at the end of the range.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a transaction in the order of the chain; the genesis coinbase has number 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxNum(pub u32);

/// Place of a transaction in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockPosition {
    /// Height of its block.
    pub height: Height,
    /// Index in its block; the coinbase has 0.
    pub index: u32,
}

/// The last block of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainTip {
    /// Its height.
    pub height: Height,
    /// Its hash.
    pub hash: BlockHash,
}

/// The networks we serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// The Bitcoin network.
    Main,
    /// The fourth test network (BIP 94).
    Testnet4,
    /// The signed test network (BIP 325).
    Signet,
    /// A private network for tests.
    Regtest,
}

impl Network {
    /// All of them, in the order shown to people.
    pub const ALL: [Self; 4] = [Self::Main, Self::Testnet4, Self::Signet, Self::Regtest];

    /// The name used in flags, files and Bitcoin Core's `getblockchaininfo.chain`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Testnet4 => "testnet4",
            Self::Signet => "signet",
            Self::Regtest => "regtest",
        }
    }

    /// Hash of the genesis block.
    pub fn genesis_hash(self) -> BlockHash {
        let constants = bitcoin::constants::ChainHash::using_genesis_block_const(self.into());
        BlockHash::from_byte_array(constants.to_bytes())
    }

    /// From this height on no coinbase repeats an older one, because each names its height (BIP 34). Where blocks are
    /// made to measure it never comes. (On the main network the first exception would be at height 1,983,702.)
    pub const fn distinct_coinbases_from(self) -> Height {
        match self {
            Self::Main => Height(227_931),
            Self::Testnet4 | Self::Signet => Height(1),
            Self::Regtest => Height(u32::MAX),
        }
    }

    /// Bitcoin Core's default RPC port.
    pub const fn default_rpc_port(self) -> u16 {
        match self {
            Self::Main => 8332,
            Self::Testnet4 => 48332,
            Self::Signet => 38332,
            Self::Regtest => 18443,
        }
    }

    /// Bitcoin Core's directory for this network below its data directory; empty for the main network.
    pub const fn node_subdirectory(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Testnet4 | Self::Signet | Self::Regtest => self.name(),
        }
    }
}

impl From<Network> for bitcoin::Network {
    fn from(network: Network) -> Self {
        match network {
            Network::Main => Self::Bitcoin,
            Network::Testnet4 => Self::Testnet4,
            Network::Signet => Self::Signet,
            Network::Regtest => Self::Regtest,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no network we serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown network; use main, testnet4, signet or regtest")]
pub struct UnknownNetwork;

impl FromStr for Network {
    type Err = UnknownNetwork;

    fn from_str(text: &str) -> Result<Self, UnknownNetwork> {
        Self::ALL
            .into_iter()
            .find(|network| network.name() == text)
            .ok_or(UnknownNetwork)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_told_by_name_and_genesis() {
        for network in Network::ALL {
            assert_eq!(network.name().parse(), Ok(network));
            let block = bitcoin::constants::genesis_block(bitcoin::Network::from(network));
            assert_eq!(network.genesis_hash(), block.block_hash());
        }
        assert_eq!("mainnet".parse::<Network>(), Err(UnknownNetwork));
    }
}
