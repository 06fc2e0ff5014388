//! What the fuzz target of the node's REST interface does with its input; a test runs the same over the corpus.
//!
//! What can be read has as many outputs as it says and no more bytes than came, and reads the same when written again.

use bitcoin::VarInt;
use bitcoin::consensus::encode::serialize;
use claustrum::chain::SpentList;
use claustrum::node::decode_spent;

/// An answer about what a block spends.
pub(crate) fn rest_spent(data: &[u8]) {
    let mut spent = SpentList::default();
    if decode_spent(data, &mut spent).is_none() {
        return;
    }
    let inputs: usize = spent.counts().iter().sum();
    assert_eq!(inputs, spent.iter().len(), "an output for each input");
    if data.first() == Some(&0) {
        assert_eq!(inputs, 0);
        return;
    }
    let written = write(&spent);
    assert!(written.len() <= data.len(), "more than came");
    let mut again = SpentList::default();
    assert!(decode_spent(&written, &mut again).is_some());
    assert_eq!(written, write(&again));
}

fn write(spent: &SpentList) -> Vec<u8> {
    let mut outputs = spent.iter();
    let mut bytes = count(spent.counts().len() + 1);
    // That of the coinbase.
    bytes.push(0);
    for inputs in spent.counts() {
        bytes.extend(count(*inputs));
        for output in outputs.by_ref().take(*inputs) {
            bytes.extend(output.amount.to_sat().to_le_bytes());
            bytes.extend(count(output.script.len()));
            bytes.extend(output.script.as_bytes());
        }
    }
    bytes
}

fn count(number: usize) -> Vec<u8> {
    serialize(&VarInt::from(number))
}
