//! Where the files of segments lie.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase};

use super::SegmentId;
use crate::index::error::{self, Error, store};

const CREATE: &str = "create a segment of the index";
const OPEN: &str = "open a segment of the index";
const REMOVE: &str = "remove a segment of the index";
const SUFFIX: &str = ".segment";

/// A finished segment that can be read.
pub(in crate::index) type Opened = Box<dyn ReadableDatabase + Send + Sync>;

/// Keeps segments by name.
pub(in crate::index) trait Store: Send + Sync {
    /// An empty file.
    fn create(&self, id: SegmentId, cache: usize) -> Result<Database, Error>;

    /// Makes sure that a file outlasts a power loss, once it is closed; returns its length.
    fn seal(&self, id: SegmentId) -> Result<u64, Error>;

    /// Opens a sealed file for reading.
    fn open(&self, id: SegmentId, cache: usize) -> Result<Opened, Error>;

    /// Length of a file; `None` when it is not there.
    fn length(&self, id: SegmentId) -> Result<Option<u64>, Error>;

    /// Takes the name away; whoever has the file open can read on.
    fn remove(&self, id: SegmentId) -> Result<(), Error>;

    /// Every segment there is, named by the manifest or not.
    fn list(&self) -> Result<Vec<SegmentId>, Error>;
}

/// A directory of the file system.
pub(in crate::index) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Makes the directory if need be.
    pub(in crate::index) fn open(path: PathBuf) -> Result<Self, Error> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&path).map_err(error::io(OPEN))?;
        Ok(Self { path })
    }

    fn path(&self, id: SegmentId) -> PathBuf {
        self.path.join(format!("{id}{SUFFIX}"))
    }
}

impl Store for Directory {
    fn create(&self, id: SegmentId, cache: usize) -> Result<Database, Error> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path(id))
            .map_err(error::io(CREATE))?;
        let mut builder = Database::builder();
        builder.set_cache_size(cache);
        builder.create_file(file).map_err(store(CREATE))
    }

    fn seal(&self, id: SegmentId) -> Result<u64, Error> {
        let file = File::open(self.path(id)).map_err(error::io(CREATE))?;
        file.sync_all().map_err(error::io(CREATE))?;
        let length = file.metadata().map_err(error::io(CREATE))?.len();
        let directory = File::open(&self.path).map_err(error::io(CREATE))?;
        directory.sync_all().map_err(error::io(CREATE))?;
        Ok(length)
    }

    fn open(&self, id: SegmentId, cache: usize) -> Result<Opened, Error> {
        let mut builder = Database::builder();
        builder.set_cache_size(cache);
        let database = builder.open_read_only(self.path(id)).map_err(store(OPEN))?;
        Ok(Box::new(database))
    }

    fn length(&self, id: SegmentId) -> Result<Option<u64>, Error> {
        match fs::metadata(self.path(id)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error::io(OPEN)(error)),
        }
    }

    fn remove(&self, id: SegmentId) -> Result<(), Error> {
        match fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error::io(REMOVE)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn list(&self) -> Result<Vec<SegmentId>, Error> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(error::io(OPEN))? {
            let entry = entry.map_err(error::io(OPEN))?;
            found.extend(id_of(Path::new(&entry.file_name())));
        }
        Ok(found)
    }
}

/// Files with other names are not ours to judge.
fn id_of(name: &Path) -> Option<SegmentId> {
    let digits = name.to_str()?.strip_suffix(SUFFIX)?;
    let id = SegmentId(u64::from_str_radix(digits, 16).ok()?);
    (id.to_string() == digits).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_our_making_are_segments() {
        let id = SegmentId(0x12ab);
        assert_eq!(id_of(Path::new("00000000000012ab.segment")), Some(id));
        for name in [
            "12ab.segment",
            "00000000000012AB.segment",
            "00000000000012ab.segment.old",
            "+0000000000012ab.segment",
            "main.redb",
        ] {
            assert_eq!(id_of(Path::new(name)), None, "{name}");
        }
    }
}
