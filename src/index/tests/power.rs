//! Faults of the disk: whatever it keeps, the index is one of the two states around the fault.

use std::io;
use std::sync::Arc;

use redb::Database;

use super::chain::{Chain, Payment};
use super::disk::{Disk, Fault, Image};
use super::layout::options_with;
use super::{error_of, in_memory};
use crate::chain::{ConnectedBlock, Height, Network};
use crate::error::ErrorKind;
use crate::index::{Digests, Error, Index, Options, Shape, open};

const MAIN: &str = "main.redb";

/// Every block but the last two is in a segment, and merged twice.
fn small() -> Options {
    let shape = Shape {
        delta_blocks: 2,
        segment_blocks: 1,
        ratio: 3,
        levels: 1,
        shard_bits: 1,
        merges_at_once: true,
    };
    options_with(32, shape)
}

/// What is kept and what is connected, one update after the other.
type Updates = Vec<(Option<Height>, Vec<ConnectedBlock>)>;

/// Growth by one and by several blocks, and reorgs.
fn updates() -> Updates {
    let mut chain = Chain::new();
    let mut updates = vec![(None, chain.blocks.clone())];
    let mut step = |drops: usize, adds: usize| {
        let kept = chain.blocks.len() - drops;
        chain.blocks.truncate(kept);
        let keep = chain.height();
        for n in 0..adds {
            chain.mine(&[Payment {
                spend: vec![n, n + 1],
                pay: vec![(2, 7), (3, 8)],
            }]);
        }
        updates.push((keep, chain.blocks[kept..].to_vec()));
    };
    for (drops, adds) in [(0, 1), (0, 3), (1, 2), (0, 1), (3, 4), (2, 0), (0, 1)] {
        step(drops, adds);
    }
    updates
}

fn open_disk(disk: &Disk, options: &Options) -> Result<Index, Error> {
    let attempt = "open the disk";
    let database = Database::builder()
        .create_with_backend(disk.file(MAIN))
        .map_err(crate::index::error::store(attempt))?;
    let store = Arc::new(disk.clone());
    Index::from_database(database, store, None, Network::Regtest, options)
}

/// An empty index on a disk.
fn image() -> Image {
    let disk = Disk::new(Image::new(), usize::MAX, Fault::Power);
    let database = Database::builder()
        .create_with_backend(disk.file(MAIN))
        .unwrap();
    open::initialise(&database, Network::Regtest, &small()).unwrap();
    drop(database);
    disk.image()
}

/// The digests before the first update and after each.
fn digests(updates: &Updates) -> Vec<Digests> {
    let mut index = in_memory(32);
    let mut digests = vec![index.digest().unwrap()];
    for (keep, connect) in updates {
        index.update(*keep, connect).unwrap();
        digests.push(index.digest().unwrap());
    }
    digests
}

/// Does the updates until one fails; returns how many were confirmed.
fn run(disk: &Disk, options: &Options, updates: &Updates, done: usize) -> usize {
    let Ok(mut index) = open_disk(disk, options) else {
        return done;
    };
    for (confirmed, (keep, connect)) in updates.iter().enumerate().skip(done) {
        if let Err(error) = follow(&mut index, updates, confirmed, *keep, connect) {
            assert_eq!(error.kind(), ErrorKind::Io, "{error:?}");
            let again = error_of(index.update(*keep, connect));
            assert!(matches!(again, Error::Failed), "{again:?}");
            return confirmed;
        }
    }
    updates.len()
}

/// An update, with the blocks below the fork that have to come again.
fn follow(
    index: &mut Index,
    updates: &Updates,
    done: usize,
    keep: Option<Height>,
    connect: &[ConnectedBlock],
) -> Result<(), Error> {
    let kept = index.keepable(keep);
    let mut chain: Vec<ConnectedBlock> = Vec::new();
    for (keep, connect) in &updates[..done] {
        chain.truncate(count(*keep));
        chain.extend_from_slice(connect);
    }
    chain.truncate(count(keep));
    let again = chain.split_off(count(kept).min(chain.len()));
    index.update(kept, &[&again, connect].concat()).map(drop)
}

fn count(keep: Option<Height>) -> usize {
    keep.map_or(0, |height| usize::try_from(height.0).unwrap() + 1)
}

/// What `digests` says of the state that is found, which is the one before or after an update.
fn assert_whole(
    disk: &Disk,
    options: &Options,
    digests: &[Digests],
    confirmed: usize,
    what: &str,
) -> usize {
    let index = open_disk(disk, options).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let found = index.digest().unwrap();
    (confirmed..digests.len().min(confirmed + 2))
        .find(|done| digests[*done] == found)
        .unwrap_or_else(|| panic!("{what}: not a whole index"))
}

/// Faults at so many operations, evenly spread; at every one when this is built with `CLAUSTRUM_ALL_FAULTS` set.
fn at_operations(
    options: &Options,
    count: usize,
    mut fault_at: impl FnMut(usize, &Updates, &[Digests], &Image),
) {
    let updates = updates();
    let digests = digests(&updates);
    let image = image();
    let undisturbed = Disk::new(image.clone(), usize::MAX, Fault::Power);
    assert_eq!(run(&undisturbed, options, &updates, 0), updates.len());
    let stride = match option_env!("CLAUSTRUM_ALL_FAULTS") {
        Some(_) => 1,
        // Odd, so that every kind of operation has its turn.
        None => (undisturbed.operations_done() / count) | 1,
    };
    let faults = (0..undisturbed.operations_done()).step_by(stride);
    println!(
        "{} faults at {} operations",
        faults.len(),
        undisturbed.operations_done()
    );
    for at in faults {
        fault_at(at, &updates, &digests, &image);
    }
}

fn assert_power_loss_is_survived(options: &Options, count: usize) {
    at_operations(options, count, |at, updates, digests, image| {
        let seed = u64::try_from(at).unwrap();
        let disk = Disk::new(image.clone(), at, Fault::Power);
        let confirmed = run(&disk, options, updates, 0);
        // The power fails once more while the files are mended, at any of the operations that this takes.
        let image = disk.after_power_loss(seed);
        let mending = Disk::new(image.clone(), usize::MAX, Fault::Power);
        drop(open_disk(&mending, options));
        let again_at = at % (mending.operations_done() + 1);
        let mending = Disk::new(image, again_at, Fault::Power);
        drop(open_disk(&mending, options));
        let disk = Disk::new(mending.after_power_loss(seed + 1), usize::MAX, Fault::Power);
        let what = format!("operation {at}");
        let done = assert_whole(&disk, options, digests, confirmed, &what);
        assert_eq!(run(&disk, options, updates, done), updates.len());
        let index = open_disk(&disk, options).unwrap();
        assert_eq!(Some(&index.digest().unwrap()), digests.last());
    });
}

#[test]
fn power_loss_at_any_moment_leaves_a_whole_index() {
    assert_power_loss_is_survived(&small(), 40);
}

#[test]
fn power_loss_at_any_moment_leaves_whole_delta_rows() {
    assert_power_loss_is_survived(&options_with(32, Shape::default()), 200);
}

#[test]
fn an_operation_that_fails_stops_the_index_and_harms_nothing() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        at_operations(&small(), 15, |at, updates, digests, image| {
            let disk = Disk::new(image.clone(), at, Fault::Once(kind));
            let confirmed = run(&disk, &small(), updates, 0);
            let done = if confirmed == updates.len() {
                // It met a file that nobody needs any more.
                confirmed
            } else {
                let what = format!("operation {at}, {kind}");
                assert_whole(&disk, &small(), digests, confirmed, &what)
            };
            assert_eq!(run(&disk, &small(), updates, done), updates.len());
            let index = open_disk(&disk, &small()).unwrap();
            assert_eq!(Some(&index.digest().unwrap()), digests.last());
        });
    }
}
