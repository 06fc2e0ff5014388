//! A disk in memory that loses its power, or refuses once, after so many operations.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::{Database, StorageBackend};

use crate::index::error::{self, Error};
use crate::index::segment::SegmentId;
use crate::index::segment::store::{Opened, Store};
use crate::index::segment::tests::Bytes;

const SECTOR: usize = 512;

/// What files hold, by name.
pub(super) type Image = BTreeMap<String, Vec<u8>>;

/// All files of one index.
#[derive(Clone, Debug)]
pub(super) struct Disk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    files: BTreeMap<String, File>,
    operations_left: usize,
    operations_done: usize,
    fault: Fault,
}

/// What happens when no operations are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The power goes: nothing works any more.
    Power,
    /// One operation fails, the next ones do not.
    Once(io::ErrorKind),
}

#[derive(Clone, Debug, Default)]
struct File {
    /// What the program sees.
    seen: Vec<u8>,
    /// What has been synced.
    safe: Vec<u8>,
    /// What has not.
    pending: Vec<Operation>,
    /// Whether its name has been synced.
    is_named: bool,
    is_removed: bool,
}

#[derive(Clone, Debug)]
enum Operation {
    Length(usize),
    Write(usize, Vec<u8>),
}

/// What is done to a file.
enum Step {
    Data(Operation),
    Sync,
    Create,
    Seal,
    Remove,
}

impl Disk {
    pub(super) fn new(image: Image, operations_left: usize, fault: Fault) -> Self {
        let file = |bytes: Vec<u8>| File {
            seen: bytes.clone(),
            safe: bytes,
            is_named: true,
            ..File::default()
        };
        Self(Arc::new(Mutex::new(State {
            files: image
                .into_iter()
                .map(|(name, bytes)| (name, file(bytes)))
                .collect(),
            operations_left,
            operations_done: 0,
            fault,
        })))
    }

    pub(super) fn operations_done(&self) -> usize {
        self.state().operations_done
    }

    /// What programs see.
    pub(super) fn image(&self) -> Image {
        let state = self.state();
        let files = state.files.iter().filter(|(_, file)| !file.is_removed);
        files
            .map(|(name, file)| (name.clone(), file.seen.clone()))
            .collect()
    }

    pub(super) fn file(&self, name: &str) -> DiskFile {
        DiskFile {
            disk: self.clone(),
            name: name.to_owned(),
        }
    }

    /// What is there when the power comes back: any of the unsynced operations, any sectors of each, any of the names
    /// made or taken away since they were synced.
    pub(super) fn after_power_loss(&self, seed: u64) -> Image {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut coin = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random & 8 == 0
        };
        let lose_everything = seed.is_multiple_of(5);
        let mut image = Image::new();
        for (name, file) in &self.state().files {
            let is_there = match (file.is_named, file.is_removed) {
                (true, false) => true,
                (true, true) | (false, false) => coin(),
                (false, true) => false,
            };
            if !is_there {
                continue;
            }
            let mut bytes = file.safe.clone();
            for operation in file.pending.iter().filter(|_| !lose_everything) {
                match operation {
                    Operation::Length(_) if coin() => apply(&mut bytes, operation),
                    Operation::Length(_) => {}
                    Operation::Write(at, written) => {
                        for (n, sector) in written.chunks(SECTOR).enumerate() {
                            if coin() {
                                let write = Operation::Write(at + n * SECTOR, sector.to_vec());
                                apply(&mut bytes, &write);
                            }
                        }
                    }
                }
            }
            image.insert(name.clone(), bytes);
        }
        image
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn step(&self, name: &str, step: Step) -> io::Result<()> {
        let mut state = self.state();
        if state.operations_left == 0 {
            return match (state.fault, step) {
                (Fault::Power, Step::Data(operation)) => {
                    if let Some(file) = state.files.get_mut(name) {
                        file.pending.push(operation);
                    }
                    Err(io::Error::other("no power"))
                }
                (Fault::Power, _) => Err(io::Error::other("no power")),
                (Fault::Once(kind), _) => {
                    state.operations_left = usize::MAX;
                    Err(kind.into())
                }
            };
        }
        state.operations_left -= 1;
        state.operations_done += 1;
        let file = state.files.entry(name.to_owned()).or_default();
        match step {
            Step::Data(operation) => {
                apply(&mut file.seen, &operation);
                file.pending.push(operation);
            }
            Step::Sync => {
                file.safe = file.seen.clone();
                file.pending.clear();
            }
            Step::Create => {}
            Step::Seal => {
                file.safe = file.seen.clone();
                file.pending.clear();
                file.is_named = true;
            }
            Step::Remove => file.is_removed = true,
        }
        Ok(())
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

/// One file.
#[derive(Debug)]
pub(super) struct DiskFile {
    disk: Disk,
    name: String,
}

impl StorageBackend for DiskFile {
    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state();
        let length = state
            .files
            .get(&self.name)
            .map_or(0, |file| file.seen.len());
        Ok(length.try_into().unwrap())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.disk.state();
        let from = usize::try_from(offset).unwrap();
        let file = state.files.get(&self.name);
        let bytes = file.and_then(|file| file.seen.get(from..from + out.len()));
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let length = Operation::Length(len.try_into().unwrap());
        self.disk.step(&self.name, Step::Data(length))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.step(&self.name, Step::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let write = Operation::Write(usize::try_from(offset).unwrap(), data.to_vec());
        self.disk.step(&self.name, Step::Data(write))
    }
}

impl Store for Disk {
    fn create(&self, id: SegmentId, cache: usize) -> Result<Database, Error> {
        let name = id.to_string();
        self.step(&name, Step::Create)
            .map_err(error::io("create"))?;
        let mut builder = Database::builder();
        builder.set_cache_size(cache);
        let database = builder.create_with_backend(self.file(&name));
        database.map_err(error::store("create"))
    }

    fn seal(&self, id: SegmentId) -> Result<u64, Error> {
        self.step(&id.to_string(), Step::Seal)
            .map_err(error::io("seal"))?;
        Ok(self.length(id)?.unwrap_or_default())
    }

    /// A copy, because redb writes to what it cannot open for reading alone.
    fn open(&self, id: SegmentId, cache: usize) -> Result<Opened, Error> {
        let bytes = self.image().remove(&id.to_string()).unwrap_or_default();
        let mut builder = Database::builder();
        builder.set_cache_size(cache);
        let database = builder.create_with_backend(Bytes::new(bytes));
        Ok(Box::new(database.map_err(error::store("open"))?))
    }

    fn length(&self, id: SegmentId) -> Result<Option<u64>, Error> {
        let image = self.image();
        let bytes = image.get(&id.to_string());
        Ok(bytes.map(|bytes| bytes.len().try_into().unwrap_or(u64::MAX)))
    }

    fn remove(&self, id: SegmentId) -> Result<(), Error> {
        self.step(&id.to_string(), Step::Remove)
            .map_err(error::io("remove"))
    }

    fn list(&self) -> Result<Vec<SegmentId>, Error> {
        let id = |name: &String| u64::from_str_radix(name, 16).ok().map(SegmentId);
        Ok(self.image().keys().filter_map(id).collect())
    }
}
