//! A transaction in words: fields, their names and their order are those of Bitcoin Core's `getrawtransaction` when it
//! is asked to be verbose.

mod asm;
mod checksum;
mod output_script;

use bitcoin::consensus::encode;
use bitcoin::hex::DisplayHex as _;
use bitcoin::{Network, TxIn, TxOut};
use serde::Serialize;

use self::output_script::OutputScript;
use super::shapes::Coins;
use crate::query::WholeTransaction;

/// A whole transaction, as it is written into an answer.
#[derive(Serialize)]
pub(super) struct Described {
    txid: String,
    hash: String,
    /// Core shows the four bytes without a sign.
    version: u32,
    size: usize,
    vsize: usize,
    weight: u64,
    locktime: u32,
    vin: Vec<Input>,
    vout: Vec<Output>,
    hex: String,
    #[serde(flatten)]
    block: Option<Block>,
}

#[derive(Serialize)]
struct Input {
    #[serde(flatten)]
    source: Source,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    txinwitness: Vec<String>,
    sequence: u32,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Source {
    Coinbase {
        coinbase: String,
    },
    Output {
        txid: String,
        vout: u32,
        #[serde(rename = "scriptSig")]
        script_sig: InputScript,
    },
}

#[derive(Serialize)]
struct InputScript {
    asm: String,
    hex: String,
}

#[derive(Serialize)]
struct Output {
    value: Coins,
    n: usize,
    #[serde(rename = "scriptPubKey")]
    script: OutputScript,
}

#[derive(Serialize)]
struct Block {
    blockhash: String,
    confirmations: u32,
    time: u32,
    blocktime: u32,
}

impl From<&WholeTransaction> for Described {
    fn from(whole: &WholeTransaction) -> Self {
        let transaction = &whole.transaction;
        let network = whole.network.into();
        let outputs = transaction.output.iter().enumerate();
        Self {
            txid: transaction.compute_txid().to_string(),
            hash: transaction.compute_wtxid().to_string(),
            version: transaction.version.0.cast_unsigned(),
            size: transaction.total_size(),
            vsize: transaction.vsize(),
            weight: transaction.weight().to_wu(),
            locktime: transaction.lock_time.to_consensus_u32(),
            vin: transaction.input.iter().map(Input::from).collect(),
            vout: outputs
                .map(|(n, output)| Output::new(n, output, network))
                .collect(),
            hex: encode::serialize_hex(transaction),
            block: whole.block.as_ref().map(|block| Block {
                blockhash: block.hash.to_string(),
                confirmations: block.confirmations,
                time: block.time,
                blocktime: block.time,
            }),
        }
    }
}

impl From<&TxIn> for Input {
    fn from(input: &TxIn) -> Self {
        let hex = input.script_sig.to_hex_string();
        let source = if input.previous_output.is_null() {
            Source::Coinbase { coinbase: hex }
        } else {
            Source::Output {
                txid: input.previous_output.txid.to_string(),
                vout: input.previous_output.vout,
                script_sig: InputScript {
                    asm: asm::of_input(&input.script_sig),
                    hex,
                },
            }
        };
        let items = input.witness.iter();
        Self {
            source,
            txinwitness: items.map(|item| item.to_lower_hex_string()).collect(),
            sequence: input.sequence.0,
        }
    }
}

impl Output {
    fn new(n: usize, output: &TxOut, network: Network) -> Self {
        Self {
            value: Coins(output.value.to_sat()),
            n,
            script: OutputScript::new(&output.script_pubkey, network),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::BlockOfTransaction;
    use bitcoin::constants::genesis_block;

    /// The values are the node's, held by a test against one; here it is the order.
    #[test]
    fn fields_stand_in_the_order_of_the_node() {
        let genesis = genesis_block(Network::Bitcoin);
        let whole = WholeTransaction {
            transaction: genesis.txdata[0].clone(),
            block: Some(BlockOfTransaction {
                hash: genesis.block_hash(),
                confirmations: 1,
                time: genesis.header.time,
            }),
            network: crate::chain::Network::Main,
        };
        let text = serde_json::to_string(&Described::from(&whole)).unwrap();
        let fields: Vec<&str> = text
            .split("\":")
            .filter_map(|before| before.rsplit('"').next())
            .collect();
        let expected = "txid hash version size vsize weight locktime vin coinbase sequence vout value n \
                        scriptPubKey asm desc hex type hex blockhash confirmations time blocktime";
        assert_eq!(fields[..fields.len() - 1].join(" "), expected);
        assert!(text.contains(r#""value":50.00000000,"n":0,"#), "{text}");
    }
}
