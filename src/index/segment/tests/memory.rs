//! Files in memory, which tests can change behind the back of their readers.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, RwLock};

use redb::{Database, StorageBackend};

use crate::index::error::{Error, store};
use crate::index::segment::SegmentId;
use crate::index::segment::store::{Opened, Store};

/// A directory that is gone with the test.
#[derive(Clone, Default)]
pub(in crate::index) struct Memory {
    files: Arc<Mutex<BTreeMap<SegmentId, Bytes>>>,
}

/// One file.
#[derive(Clone, Debug, Default)]
pub(in crate::index) struct Bytes(Arc<RwLock<Vec<u8>>>);

impl Bytes {
    pub(in crate::index) fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(RwLock::new(bytes)))
    }
}

impl Memory {
    pub(in crate::index) fn change(&self, id: SegmentId, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.file(id).unwrap().0.write().unwrap());
    }

    fn file(&self, id: SegmentId) -> Option<Bytes> {
        self.files.lock().unwrap().get(&id).cloned()
    }
}

impl Store for Memory {
    fn create(&self, id: SegmentId, cache: usize) -> Result<Database, Error> {
        let bytes = Bytes::default();
        self.files.lock().unwrap().insert(id, bytes.clone());
        let mut builder = Database::builder();
        builder.set_cache_size(cache);
        builder.create_with_backend(bytes).map_err(store("create"))
    }

    fn seal(&self, id: SegmentId) -> Result<u64, Error> {
        Ok(self.length(id)?.unwrap_or_default())
    }

    /// A copy, because redb writes to what it cannot open for reading alone.
    fn open(&self, id: SegmentId, cache: usize) -> Result<Opened, Error> {
        let bytes = self.file(id).unwrap().0.read().unwrap().clone();
        let mut builder = Database::builder();
        builder.set_cache_size(cache);
        let database = builder.create_with_backend(Bytes::new(bytes));
        Ok(Box::new(database.map_err(store("open"))?))
    }

    fn length(&self, id: SegmentId) -> Result<Option<u64>, Error> {
        let length = |file: Bytes| u64::try_from(file.0.read().unwrap().len()).unwrap();
        Ok(self.file(id).map(length))
    }

    fn remove(&self, id: SegmentId) -> Result<(), Error> {
        self.files.lock().unwrap().remove(&id);
        Ok(())
    }

    fn list(&self) -> Result<Vec<SegmentId>, Error> {
        Ok(self.files.lock().unwrap().keys().copied().collect())
    }
}

impl StorageBackend for Bytes {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.read().unwrap().len().try_into().unwrap())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.read().unwrap();
        let from = usize::try_from(offset).unwrap();
        let found = bytes.get(from..from + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.write().unwrap().resize(len.try_into().unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        self.0.write().unwrap()[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }
}
