//! Power loss: whatever of the unsynced writes reaches the disk, the index is one of the two states around them.

use std::io;
use std::sync::{Arc, Mutex};

use redb::{Database, StorageBackend};

use super::chain::{Chain, Payment};
use super::{error_of, in_memory, options};
use crate::chain::{ConnectedBlock, Height, Network};
use crate::index::segment::tests::Memory;
use crate::index::{Digests, Error, Index, open};

const SECTOR: usize = 512;

/// A disk that loses its power after so many operations.
#[derive(Clone, Debug)]
struct Disk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// What the program sees.
    seen: Vec<u8>,
    /// What has been synced.
    safe: Vec<u8>,
    /// What has not.
    pending: Vec<Operation>,
    operations_left: usize,
    operations_done: usize,
}

#[derive(Clone, Debug)]
enum Operation {
    Length(usize),
    Write(usize, Vec<u8>),
}

impl Disk {
    fn new(image: Vec<u8>, operations_left: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            seen: image.clone(),
            safe: image,
            pending: Vec::new(),
            operations_left,
            operations_done: 0,
        })))
    }

    fn change(&self, operation: Option<Operation>) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if state.operations_left == 0 {
            if let Some(operation) = operation {
                state.pending.push(operation);
            }
            return Err(io::Error::other("no power"));
        }
        state.operations_left -= 1;
        state.operations_done += 1;
        match operation {
            Some(operation) => {
                apply(&mut state.seen, &operation);
                state.pending.push(operation);
            }
            None => {
                state.safe = state.seen.clone();
                state.pending.clear();
            }
        }
        Ok(())
    }

    /// What is on the disk when the power comes back: any of the unsynced operations, any sectors of each.
    fn after_power_loss(&self, seed: u64) -> Vec<u8> {
        let state = self.0.lock().unwrap();
        let mut image = state.safe.clone();
        let mut random = seed | 1;
        let mut coin = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random & 8 == 0
        };
        let lose_everything = seed.is_multiple_of(5);
        for operation in &state.pending {
            match operation {
                _ if lose_everything => {}
                Operation::Length(_) if coin() => apply(&mut image, operation),
                Operation::Length(_) => {}
                Operation::Write(at, bytes) => {
                    for (n, sector) in bytes.chunks(SECTOR).enumerate() {
                        if coin() {
                            let write = Operation::Write(at + n * SECTOR, sector.to_vec());
                            apply(&mut image, &write);
                        }
                    }
                }
            }
        }
        image
    }
}

fn apply(image: &mut Vec<u8>, operation: &Operation) {
    match operation {
        Operation::Length(length) => image.resize(*length, 0),
        Operation::Write(at, bytes) => {
            let end = at + bytes.len();
            if image.len() < end {
                image.resize(end, 0);
            }
            image[*at..end].copy_from_slice(bytes);
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().seen.len().try_into().unwrap())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock().unwrap();
        let from = usize::try_from(offset).unwrap();
        let bytes = state.seen.get(from..from + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Some(Operation::Length(len.try_into().unwrap())))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(None)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        self.change(Some(Operation::Write(at, data.to_vec())))
    }
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

fn open_disk(disk: &Disk) -> Result<Index, Error> {
    let attempt = "open the disk";
    let database = Database::builder()
        .create_with_backend(disk.clone())
        .map_err(crate::index::error::store(attempt))?;
    Index::from_database(
        database,
        Arc::new(Memory::default()),
        None,
        Network::Regtest,
        &options(32),
    )
}

/// An empty index on a disk.
fn image() -> Vec<u8> {
    let disk = Disk::new(Vec::new(), usize::MAX);
    let database = Database::builder()
        .create_with_backend(disk.clone())
        .unwrap();
    open::initialise(&database, Network::Regtest, &options(32)).unwrap();
    drop(database);
    let state = disk.0.lock().unwrap();
    state.safe.clone()
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

/// Does the updates until the power fails; returns how many were confirmed.
fn run(disk: &Disk, updates: &Updates, done: usize) -> usize {
    let Ok(mut index) = open_disk(disk) else {
        return done;
    };
    for (confirmed, (keep, connect)) in updates.iter().enumerate().skip(done) {
        if index.update(*keep, connect).is_err() {
            let again = error_of(index.update(*keep, connect));
            assert!(matches!(again, Error::Failed), "{again:?}");
            return confirmed;
        }
    }
    updates.len()
}

#[test]
fn power_loss_at_any_moment_leaves_a_whole_index() {
    let updates = updates();
    let digests = digests(&updates);
    let image = image();
    let undisturbed = Disk::new(image.clone(), usize::MAX);
    assert_eq!(run(&undisturbed, &updates, 0), updates.len());
    let operations = undisturbed.0.lock().unwrap().operations_done;
    for at in 0..operations {
        for seed in 1..=3 {
            let seed = u64::try_from(at).unwrap() * 3 + seed;
            let disk = Disk::new(image.clone(), at);
            let confirmed = run(&disk, &updates, 0);
            // The power fails once more while the file is mended.
            let mending = Disk::new(disk.after_power_loss(seed), at % 7);
            drop(open_disk(&mending));
            let disk = Disk::new(mending.after_power_loss(seed + 1), usize::MAX);
            let index = open_disk(&disk).unwrap();
            let found = index.digest().unwrap();
            let done = (confirmed..=updates.len().min(confirmed + 1))
                .find(|done| digests[*done] == found)
                .unwrap_or_else(|| panic!("operation {at}, seed {seed}: not a whole index"));
            drop(index);
            assert_eq!(run(&disk, &updates, done), updates.len());
            let index = open_disk(&disk).unwrap();
            assert_eq!(Some(&index.digest().unwrap()), digests.last());
        }
    }
}
