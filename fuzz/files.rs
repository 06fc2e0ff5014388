//! What the fuzz targets of the node's block files do with their input; a test runs the same over the corpus.
//!
//! Whatever stands in the files, the block before and the block behind it are found, and reading what a block spends
//! gives as many outputs as it says, or an error.

use std::fs;
use std::path::Path;

use bitcoin::consensus::encode;
use bitcoin::hashes::{Hash as _, sha256d};
use claustrum::chain::Network;
use claustrum::node::{BlockBuffer, BlockFiles, FoundBlock};

const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];

/// A block file with anything between two blocks, and an undo file with the same.
pub(crate) fn block_file(data: &[u8]) {
    let genesis = record(&genesis());
    let file = [genesis.as_slice(), data, &[0; 400], &genesis].concat();
    let found = read_all(&file, data);
    assert!(found.len() >= 2, "the blocks at both ends are found");
}

/// Undo data of a block with as many transactions as it says, under a checksum that fits.
pub(crate) fn undo_record(data: &[u8]) {
    let Ok((count, _)) = encode::deserialize_partial::<bitcoin::VarInt>(data) else {
        return;
    };
    let genesis = genesis();
    let transactions = encode::serialize(&bitcoin::VarInt(count.0.saturating_add(1)));
    let block = [&genesis[..80], &transactions, &genesis[81..]].concat();
    // The block below the genesis block has a hash of zeros.
    let checksum = sha256d::Hash::hash(&[&[0; 32], data].concat());
    let undo = [record(data).as_slice(), checksum.as_byte_array()].concat();
    let found = read_all(&[record(&genesis), record(&block)].concat(), &undo);
    assert_eq!(found.len(), 2);
}

/// Goes through the one file there is.
fn read_all(blocks: &[u8], undo: &[u8]) -> Vec<FoundBlock> {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).expect("a file");
    write("blk00000.dat", blocks);
    write("rev00000.dat", undo);
    read_folder(dir.path())
}

fn read_folder(dir: &Path) -> Vec<FoundBlock> {
    let files = BlockFiles::open(dir, Network::Regtest).expect("the genesis block");
    let mut file = files.file(0).expect("a file");
    let mut buffer = BlockBuffer::default();
    let mut all = Vec::new();
    while let Some(found) = file.next_block().expect("a file that can be read") {
        if file.read(&found, &mut buffer).is_ok() {
            let spent = buffer.block().spent;
            let inputs: usize = spent.counts().iter().sum();
            assert_eq!(inputs, spent.iter().len(), "an output for each input");
            drop(buffer.block().to_connected());
        }
        all.push(found);
    }
    all
}

fn genesis() -> Vec<u8> {
    encode::serialize(&bitcoin::constants::genesis_block(
        bitcoin::Network::Regtest,
    ))
}

fn record(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a short one");
    [MAGIC.as_slice(), &length.to_le_bytes(), bytes].concat()
}
