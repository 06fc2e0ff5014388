//! Files with anything in them.

use std::path::Path;

use bitcoin::block::Header;
use bitcoin::consensus::encode;
use bitcoin::hashes::{Hash as _, sha256d};
use proptest::prelude::*;

use super::{BlockBuffer, BlockFiles};
use crate::chain::Network;

const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];

fn record(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_le_bytes();
    [MAGIC.as_slice(), &length, bytes].concat()
}

/// Goes through the first file and reads all there is; how many blocks that are.
fn read_all(dir: &Path) -> usize {
    let files = BlockFiles::open(dir, Network::Regtest).unwrap();
    let mut file = files.file(0).unwrap();
    let mut buffer = BlockBuffer::default();
    let mut count = 0;
    while let Some(found) = file.next_block().unwrap() {
        if file.read(&found, &mut buffer).is_ok() {
            drop(buffer.block().to_connected());
        }
        count += 1;
    }
    count
}

/// Behind the genesis block some of two transactions, and the undo data of each, which tells them apart by the amount.
fn write_alike(dir: &Path, count: u8) {
    let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
    let mut blocks = record(&encode::serialize(&genesis));
    let (mut below, mut undo) = (genesis.header, Vec::new());
    for n in 0..count {
        let mut header = Header {
            prev_blockhash: below.block_hash(),
            nonce: 0,
            ..below
        };
        while !header.target().is_met_by(header.block_hash()) {
            header.nonce += 1;
        }
        let bytes = [encode::serialize(&header).as_slice(), &[2; 9]].concat();
        blocks.extend(record(&bytes));
        // One transaction with one input, of height 0, an amount and a hash of a key.
        let data = [[1, 1, 0, n, 0].as_slice(), &[7; 20]].concat();
        let hashed = [below.block_hash().as_byte_array().as_slice(), &data].concat();
        undo.extend(record(&data));
        undo.extend(sha256d::Hash::hash(&hashed).to_byte_array());
        below = header;
    }
    std::fs::write(dir.join("blk00000.dat"), blocks).unwrap();
    std::fs::write(dir.join("rev00000.dat"), undo).unwrap();
}

#[test]
fn each_of_many_that_look_alike_finds_its_undo_data_in_any_order() {
    const COUNT: u8 = 6;
    let dir = tempfile::tempdir().unwrap();
    write_alike(dir.path(), COUNT);
    let files = BlockFiles::open(dir.path(), Network::Regtest).unwrap();
    let mut amounts = Vec::new();
    for order in [
        [0, 1, 2, 3, 4, 5],
        [3, 4, 5, 0, 1, 2],
        [5, 4, 3, 2, 1, 0],
        [2, 5, 0, 4, 1, 3],
    ] {
        let mut file = files.file(0).unwrap();
        file.next_block().unwrap();
        let mut found = Vec::new();
        while let Some(block) = file.next_block().unwrap() {
            found.push(block);
        }
        assert_eq!(found.len(), usize::from(COUNT));
        let mut buffer = BlockBuffer::default();
        let mut read = [None; 6];
        for index in order {
            file.read(&found[index], &mut buffer).unwrap();
            let taken = buffer.take();
            read[index] = taken.spent.iter().next().map(|output| output.amount);
            assert!(
                file.read(&found[index], &mut buffer).is_err(),
                "handed out twice"
            );
        }
        amounts.push(read);
    }
    assert!(amounts.windows(2).all(|pair| pair[0] == pair[1]));
    assert!(amounts[0].windows(2).all(|pair| pair[0] < pair[1]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_in_the_files_makes_it_panic(
        blocks in prop::collection::vec(any::<u8>(), 0..400),
        undo in prop::collection::vec(any::<u8>(), 0..400),
        records: bool,
        transactions in 0..4_u8,
        gap in 0..200_usize,
    ) {
        let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
        let genesis = encode::serialize(&genesis);
        // The header again, which has its proof of work, before anything.
        let next = [&genesis[..80], &[transactions], blocks.as_slice()].concat();
        let next = if records { record(&next) } else { next };
        let undo = if records { record(&[&[transactions], undo.as_slice()].concat()) } else { undo };
        let dir = tempfile::tempdir().unwrap();
        let file = [record(&genesis), vec![0; gap], next, vec![0; 70_000], record(&genesis)];
        std::fs::write(dir.path().join("blk00000.dat"), file.concat()).unwrap();
        std::fs::write(dir.path().join("rev00000.dat"), [undo, vec![1; 40]].concat()).unwrap();
        let count = read_all(dir.path());
        prop_assert!(count >= 2, "the blocks at both ends are found");
        prop_assert!(!records || count == 3);
    }
}
