//! Files of the format that is read, and of others.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, ReadableTable as _};

use super::chain::Chain;
use super::layout::{SMALL, crowd, grow, options_with};
use super::model::assert_chain_equal;
use super::node_files::Files;
use super::{directory, error_of, in_memory};
use crate::chain::Network;
use crate::error::{ErrorKind, report};
use crate::index::segment::Kind;
use crate::index::{Error, Extent, Index, Shape, schema, writer};

/// Written once by the version that brought this format, so that a change of the format without a new number fails.
fn fixture() -> PathBuf {
    let number = format!("tests/fixtures/index/{}", schema::FORMAT_VERSION);
    Path::new(env!("CARGO_MANIFEST_DIR")).join(number)
}

fn chain() -> Chain {
    let mut chain = Chain::new();
    grow(&mut chain, 8);
    crowd(&mut chain, 68);
    grow(&mut chain, 8);
    // In the delta rows, of which this one takes two pieces.
    crowd(&mut chain, 200);
    grow(&mut chain, 2);
    chain
}

/// Where the node has the blocks; of the first ones nothing was known when they were taken in.
fn node_files(chain: &Chain) -> Arc<Files> {
    let mut files = Files::default();
    for (at, connected) in chain.blocks.iter().enumerate() {
        files.add(&connected.block, at == 15);
    }
    Arc::new(files)
}

fn open(dir: &Path) -> Result<Index, Error> {
    let unsharded = Shape {
        shard_bits: 0,
        ..SMALL
    };
    Index::open_with(dir, Network::Regtest, &options_with(32, unsharded))
}

fn copied() -> tempfile::TempDir {
    let dir = directory();
    fs::create_dir(dir.path().join("segments")).unwrap();
    for part in ["", "segments"] {
        for entry in fs::read_dir(fixture().join(part)).unwrap() {
            let from = entry.unwrap().path();
            if from.is_file() {
                let name = from.file_name().unwrap();
                fs::copy(&from, dir.path().join(part).join(name)).unwrap();
            }
        }
    }
    dir
}

#[test]
fn files_of_this_format_are_read_whoever_wrote_them() {
    let dir = copied();
    let mut index = open(dir.path()).unwrap();
    let mut chain = chain();
    let mut fresh = in_memory(32);
    fresh.update(None, &chain.blocks).unwrap();
    assert_eq!(index.digest().unwrap(), fresh.digest().unwrap());
    let mut kinds: Vec<_> = index
        .segments
        .all()
        .map(|segment| segment.file.spec.kind)
        .collect();
    kinds.sort();
    kinds.dedup();
    assert_eq!(
        kinds,
        [Kind::Scripts, Kind::Fingerprints, Kind::Places, Kind::Txids]
    );
    let delta = schema::Tables::open(&index.database).unwrap().delta;
    let pieces: Vec<u32> = delta
        .iter()
        .unwrap()
        .map(|row| row.unwrap().0.value().1)
        .collect();
    assert!(pieces.contains(&1), "no delta row is long");
    index.read_from(node_files(&chain)).unwrap();
    assert_chain_equal(&index, &chain);
    index.check(Extent::Full).unwrap();
    let known = chain.blocks.len();
    let keep = chain.height();
    grow(&mut chain, 9);
    index.update(keep, &chain.blocks[known..]).unwrap();
    fresh.update(keep, &chain.blocks[known..]).unwrap();
    assert_eq!(index.digest().unwrap(), fresh.digest().unwrap());
}

#[test]
fn files_of_another_format_are_refused_and_left_alone() {
    for (found, with_tables) in [(schema::FORMAT_VERSION + 1, true), (1, false)] {
        let dir = copied();
        let file = dir.path().join("main.redb");
        let database = Database::open(&file).unwrap();
        let transaction = writer::begin(&database).unwrap();
        {
            let mut meta = transaction.open_table(schema::META).unwrap();
            let number = found.to_be_bytes();
            meta.insert(schema::META_FORMAT, number.as_slice()).unwrap();
        }
        if !with_tables {
            // Another format has other tables.
            transaction.delete_table(schema::SEGMENTS).unwrap();
        }
        transaction.commit().unwrap();
        drop(database);
        let files = fs::read_dir(dir.path().join("segments")).unwrap().count();
        let error = error_of(open(dir.path()));
        assert_eq!(error.kind(), ErrorKind::Corruption);
        assert_eq!(
            report(&error),
            format!(
                "open the index: its format is {found} and this version reads 4; delete it with `claustrum index \
                 rebuild` and start again, it is rebuilt from the node"
            )
        );
        let left = fs::read_dir(dir.path().join("segments")).unwrap().count();
        assert_eq!(left, files);
    }
}
