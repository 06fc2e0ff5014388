//! Files that are not what we wrote, and directories that are not ours.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bitcoin::Transaction;
use redb::{Database, ReadableDatabase as _, ReadableTable as _};

use super::chain::{Chain, Payment};
use super::layout::{SMALL, options_with};
use super::{directory, error_of, in_memory, options};
use crate::chain::{Height, Network, ScriptHash};
use crate::error::{ErrorKind, report};
use crate::index::{Effort, Error, Extent, Index, schema, writer};

fn chain() -> Chain {
    grown(Chain::new())
}

/// Other blocks with as many transactions each.
fn sibling() -> Chain {
    let mut chain = Chain::new();
    chain.mine(&[]);
    chain.blocks.pop();
    grown(chain)
}

fn grown(mut chain: Chain) -> Chain {
    for n in 0..30 {
        chain.mine(&[Payment {
            spend: vec![n],
            pay: vec![(2, 7), (3, 8)],
        }]);
    }
    chain
}

fn open(dir: &Path) -> Result<Index, Error> {
    Index::open_with(dir, Network::Regtest, &options(32))
}

/// An index of `chain()`, closed.
fn closed() -> (tempfile::TempDir, PathBuf) {
    let dir = directory();
    let mut index = open(dir.path()).unwrap();
    index.update(None, &chain().blocks).unwrap();
    drop(index);
    let file = dir.path().join("main.redb");
    (dir, file)
}

/// Changes the file by a transaction of its own.
fn change(file: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = Database::open(file).unwrap();
    let transaction = writer::begin(&database).unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

#[test]
fn a_second_instance_is_busy() {
    let dir = directory();
    let first = open(dir.path()).unwrap();
    let error = error_of(open(dir.path()));
    assert!(matches!(error, Error::Busy), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Busy);
    drop(first);
    open(dir.path()).unwrap();
}

#[test]
fn another_network_is_the_operators_mistake() {
    let (dir, _) = closed();
    let error = error_of(Index::open(dir.path(), Network::Signet));
    assert_eq!(error.kind(), ErrorKind::Operator);
    assert_eq!(
        report(&error),
        "open the index for signet: it was built for regtest; use another data directory"
    );
}

#[test]
fn files_are_for_their_owner_alone_and_keys_differ_between_installations() {
    let dir = directory();
    let dirs = ["a", "b"].map(|name| dir.path().join(name));
    let keys = dirs.map(|dir| {
        let index = Index::open(&dir, Network::Regtest).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join("main.redb"))), (0o700, 0o600));
        let transaction = index.database.begin_read().unwrap();
        let meta = transaction.open_table(schema::META).unwrap();
        let keys = meta.get(schema::META_KEYS).unwrap().unwrap();
        keys.value().to_vec()
    });
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn what_a_crash_left_half_made_is_made_anew() {
    let dir = directory();
    fs::write(dir.path().join("main.redb.new"), b"half made").unwrap();
    let index = open(dir.path()).unwrap();
    assert_eq!(index.snapshot().tip(), None);
}

fn assert_refused(dir: &Path, what: &str) {
    let error = error_of(open(dir));
    assert_eq!(error.kind(), ErrorKind::Corruption, "{what}: {error:?}");
    let text = report(&error);
    assert!(
        text.contains("it is rebuilt from the node"),
        "{what}: {text}"
    );
}

#[test]
fn truncated_and_zeroed_files_are_refused_and_left_alone() {
    let (dir, file) = closed();
    let whole = fs::read(&file).unwrap();
    for twentieth in 0..20 {
        let length = whole.len() * twentieth / 20;
        fs::write(&file, &whole[..length]).unwrap();
        assert_refused(dir.path(), &format!("{length} bytes"));
        assert_eq!(
            fs::metadata(&file).unwrap().len(),
            u64::try_from(length).unwrap()
        );
    }
    fs::write(&file, vec![0; whole.len()]).unwrap();
    assert_refused(dir.path(), "zeros");
}

#[test]
fn what_stands_behind_the_end_of_a_file_changes_no_answer() {
    let (dir, file) = closed();
    let whole = fs::read(&file).unwrap();
    let chain = chain();
    for (more, filled) in [(1, 0), (4095, 255), (4096, 0), (whole.len(), 255)] {
        let rest = vec![filled; more];
        fs::write(&file, [whole.as_slice(), &rest].concat()).unwrap();
        let what = format!("{more} bytes more");
        match open(dir.path()) {
            Ok(index) => assert_right_or_damaged(&index, &chain, &what),
            Err(_) => assert_refused(dir.path(), &what),
        }
    }
}

/// Header row and delta row at height 7.
fn rows(chain: &Chain) -> ([u8; schema::HEADER_ROW_BYTES], Vec<u8>) {
    let mut index = in_memory(32);
    index.update(None, &chain.blocks).unwrap();
    let tables = schema::Tables::open(&index.database).unwrap();
    let header = tables.headers.get(7).unwrap().unwrap();
    let delta = tables.delta.get((7, 0)).unwrap().unwrap();
    (*header.value(), delta.value().to_vec())
}

#[test]
fn missing_and_foreign_rows_are_refused() {
    let changes: [fn(&redb::WriteTransaction); 8] = [
        |transaction| {
            let mut table = transaction.open_table(schema::HEADERS).unwrap();
            table.remove(7).unwrap();
        },
        |transaction| {
            let mut table = transaction.open_table(schema::DELTA).unwrap();
            table.remove((30, 0)).unwrap();
        },
        |transaction| {
            let mut table = transaction.open_table(schema::DELTA).unwrap();
            table.insert((7, 1), [0_u8].as_slice()).unwrap();
        },
        |transaction| {
            let mut table = transaction.open_table(schema::DELTA).unwrap();
            table.insert((1000, 0), [0_u8].as_slice()).unwrap();
        },
        |transaction| {
            let mut table = transaction.open_table(schema::META).unwrap();
            table.remove(schema::META_TIP).unwrap();
        },
        |transaction| {
            let mut table = transaction.open_table(schema::DELTA).unwrap();
            let other = table.get((8, 0)).unwrap().unwrap().value().to_vec();
            table.insert((7, 0), other.as_slice()).unwrap();
        },
        // Whole rows with good checksums, from another chain.
        |transaction| {
            let (header, _) = rows(&sibling());
            let mut table = transaction.open_table(schema::HEADERS).unwrap();
            table.insert(7, &header).unwrap();
        },
        |transaction| {
            let mut empty_blocks = Chain::new();
            (0..8).for_each(|_| empty_blocks.mine(&[]));
            let (_, delta) = rows(&empty_blocks);
            let mut table = transaction.open_table(schema::DELTA).unwrap();
            table.insert((7, 0), delta.as_slice()).unwrap();
        },
    ];
    for (n, foreign) in changes.into_iter().enumerate() {
        let (dir, file) = closed();
        change(&file, foreign);
        assert_refused(dir.path(), &format!("change {n}"));
    }
}

#[test]
fn a_changed_txid_is_refused() {
    let (dir, file) = closed();
    change(&file, |transaction| {
        let mut table = transaction.open_table(schema::DELTA).unwrap();
        let mut row = table.get((7, 0)).unwrap().unwrap().value().to_vec();
        row[20] ^= 1;
        table.insert((7, 0), row.as_slice()).unwrap();
    });
    assert_refused(dir.path(), "a txid");
}

/// Every answer is the right one or says that the file is damaged.
fn assert_right_or_damaged(index: &Index, chain: &Chain, what: &str) {
    let damaged = |error: Error| assert_eq!(error.kind(), ErrorKind::Corruption, "{what}");
    let snapshot = index.snapshot();
    for (height, connected) in (0..).map(Height).zip(&chain.blocks) {
        match snapshot.header(height) {
            Ok(header) => assert_eq!(
                header.unwrap().as_slice(),
                bitcoin::consensus::serialize(&connected.block.header),
                "{what}"
            ),
            Err(error) => damaged(error),
        }
        let txids = connected.block.txdata.iter().map(Transaction::compute_txid);
        match snapshot.block_txids(height) {
            Ok(found) => assert!(found.unwrap().into_iter().eq(txids), "{what}"),
            Err(error) => damaged(error),
        }
    }
    for (script, history) in chain.histories() {
        match snapshot.history(snapshot.prefix(&ScriptHash::of(&script)), Effort::Any, None) {
            Ok(found) => {
                let found = found.iter().map(|entry| (entry.height.0, entry.txid));
                assert!(found.eq(history), "{what}");
            }
            Err(error) => damaged(error),
        }
    }
}

/// An index whose blocks are in segments, closed, and the files of these.
fn closed_with_segments() -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = directory();
    let mut index = open_small(dir.path()).unwrap();
    index.update(None, &chain().blocks).unwrap();
    drop(index);
    let entries = fs::read_dir(dir.path().join("segments")).unwrap();
    let files = entries.map(|entry| entry.unwrap().path()).collect();
    (dir, files)
}

fn open_small(dir: &Path) -> Result<Index, Error> {
    Index::open_with(dir, Network::Regtest, &options_with(32, SMALL))
}

fn assert_segment_refused(dir: &Path, file: &Path, changed: &[u8]) {
    fs::write(file, changed).unwrap();
    let error = error_of(open_small(dir));
    assert_eq!(error.kind(), ErrorKind::Corruption, "{error:?}");
    assert!(report(&error).contains("`claustrum index rebuild`"));
    assert_eq!(fs::read(file).unwrap(), changed);
}

#[test]
fn segments_that_are_gone_cut_or_grown_are_refused_and_left_alone() {
    let (dir, files) = closed_with_segments();
    for file in &files {
        let whole = fs::read(file).unwrap();
        let twentieths = (0..20).map(|n| whole.len() * n / 20);
        for length in twentieths.chain([whole.len() - 1, whole.len() + 1, whole.len() + 4096]) {
            let mut changed = whole.clone();
            changed.resize(length, 0);
            assert_segment_refused(dir.path(), file, &changed);
        }
        assert_segment_refused(dir.path(), file, &vec![0; whole.len()]);
        fs::remove_file(file).unwrap();
        assert_eq!(
            error_of(open_small(dir.path())).kind(),
            ErrorKind::Corruption
        );
        fs::write(file, &whole).unwrap();
    }
    open_small(dir.path()).unwrap().check(Extent::Full).unwrap();
    // One segment in the place of another.
    fs::copy(&files[0], &files[1]).unwrap();
    let damaged = |index: Index| index.check(Extent::Full).map(drop);
    let error = error_of(open_small(dir.path()).and_then(damaged));
    assert_eq!(error.kind(), ErrorKind::Corruption, "{error:?}");
    Index::delete(dir.path()).unwrap();
    let index = open_small(dir.path()).unwrap();
    assert_eq!(index.snapshot().tip(), None);
    assert!(matches!(error_of(Index::delete(dir.path())), Error::Busy));
}

#[test]
fn a_flipped_bit_in_a_segment_is_noticed_by_check_and_by_every_answer_it_would_change() {
    let (dir, files) = closed_with_segments();
    let chain = chain();
    let (mut noticed, mut harmless) = (0, 0);
    for file in files.iter().step_by(2) {
        let whole = fs::read(file).unwrap();
        let used: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
        for at in used.iter().copied().step_by((used.len() / 25) | 1) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(file, &flipped).unwrap();
            let what = format!("byte {at}");
            match open_small(dir.path()) {
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corruption, "{what}: {error:?}");
                    noticed += 1;
                }
                Ok(index) => {
                    assert_right_or_damaged(&index, &chain, &what);
                    match index.check(Extent::Full) {
                        Ok(_) => harmless += 1,
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Corruption, "{what}: {error:?}");
                            noticed += 1;
                        }
                    }
                }
            }
        }
        fs::write(file, &whole).unwrap();
    }
    // Most of a small file is redb's list of free pages, which is not read.
    assert!(noticed > 5, "{noticed} noticed, {harmless} harmless");
}

#[test]
fn a_flipped_bit_is_refused_or_noticed_when_it_is_read_or_does_not_matter() {
    let (dir, file) = closed();
    let whole = fs::read(&file).unwrap();
    let chain = chain();
    let (mut refused, mut failed) = (0, 0);
    // Most of a small file is empty pages; a prime step falls on every part of the others.
    for at in (0..whole.len()).step_by(131).filter(|at| whole[*at] != 0) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&file, &flipped).unwrap();
        let what = format!("byte {at}");
        match open(dir.path()) {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corruption, "{what}: {error:?}");
                refused += 1;
            }
            Ok(mut index) => {
                assert_right_or_damaged(&index, &chain, &what);
                if let Err(error) = index.update(Some(Height(20)), &chain.blocks[21..]) {
                    assert_eq!(error.kind(), ErrorKind::Corruption, "{what}: {error:?}");
                    let again = error_of(index.update(Some(Height(20)), &chain.blocks[21..]));
                    assert!(matches!(again, Error::Failed), "{what}: {again:?}");
                    failed += 1;
                } else {
                    assert_right_or_damaged(&index, &chain, &what);
                }
                // redb panics when it closes a file whose list of free pages is damaged; nothing is at stake then.
                drop(catch_unwind(AssertUnwindSafe(|| drop(index))));
            }
        }
    }
    assert!(
        refused > 20 && failed > 0,
        "{refused} refused, {failed} failed"
    );
}
