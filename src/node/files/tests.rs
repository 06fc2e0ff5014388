//! Files with anything in them.

use std::path::Path;

use bitcoin::consensus::encode;
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
