//! The directory of one network: what lies where, for whom it is readable, and the first door's key.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bitcoin::hex::{DisplayHex as _, FromHex as _};
use zeroize::Zeroizing;

use crate::error::ErrorKind;

/// The directory of one network of this installation; mode 0700, everything in it 0600 or 0700.
#[derive(Clone, Debug)]
pub struct Installation {
    dir: PathBuf,
}

impl Installation {
    /// Makes the directory when it is not there, and refuses one that others can enter.
    pub fn open(dir: PathBuf) -> Result<Self, Error> {
        let failed = |cause| Error::Directory {
            path: dir.clone(),
            cause,
        };
        for part in [
            dir.as_path(),
            &dir.join("doors"),
            &dir.join("index"),
            &dir.join("tor"),
        ] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(part)
                .map_err(failed)?;
            refuse_others(part)?;
        }
        Ok(Self { dir })
    }

    /// One that a running server has made; makes and checks nothing.
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Where the index lies.
    pub fn index_dir(&self) -> PathBuf {
        self.dir.join("index")
    }

    /// Where Tor keeps what must survive: guards, keys of introduction points, the keystore.
    pub fn tor_state_dir(&self) -> PathBuf {
        self.dir.join("tor/state")
    }

    /// Where Tor keeps what it can fetch again.
    pub fn tor_cache_dir(&self) -> PathBuf {
        self.dir.join("tor/cache")
    }

    /// The file that `claustrum status` reads.
    pub fn status_file(&self) -> PathBuf {
        self.dir.join("status.json")
    }

    /// The seed of the first door's identity key; made at the first call, the same ever after.
    pub fn door_seed(&self) -> Result<Zeroizing<[u8; 32]>, Error> {
        let path = self.dir.join("doors/main.seed");
        match read_seed(&path) {
            Err(Error::Seed { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
                make_seed(&path)?;
                read_seed(&path)
            }
            other => other,
        }
    }
}

fn refuse_others(path: &Path) -> Result<(), Error> {
    let metadata = fs::metadata(path).map_err(|cause| Error::Directory {
        path: path.to_path_buf(),
        cause,
    })?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(Error::Owner {
            path: path.to_path_buf(),
        });
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(Error::Permissions {
            path: path.to_path_buf(),
        });
    }
    Ok(())
}

fn read_seed(path: &Path) -> Result<Zeroizing<[u8; 32]>, Error> {
    let failed = |cause| Error::Seed {
        path: path.to_path_buf(),
        cause,
    };
    let text = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
    refuse_others(path)?;
    let seed = <[u8; 32]>::from_hex(text.trim_end()).map_err(|_digits| Error::SeedDamaged {
        path: path.to_path_buf(),
    })?;
    Ok(Zeroizing::new(seed))
}

/// Writes a fresh seed under another name and links it into place, so that there is never half a key, and of two
/// processes that start together both end with the same one.
fn make_seed(path: &Path) -> Result<(), Error> {
    let failed = |cause| Error::Seed {
        path: path.to_path_buf(),
        cause,
    };
    let mut seed = Zeroizing::new([0_u8; 32]);
    getrandom::fill(seed.as_mut()).map_err(|cause| failed(io::Error::other(cause)))?;
    let text = Zeroizing::new(format!("{}\n", seed.to_lower_hex_string()));
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .map_err(failed)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    let linked = written.and_then(|()| match fs::hard_link(&draft, path) {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    fs::remove_file(&draft).map_err(failed)?;
    linked.map_err(failed)?;
    let parent = path.parent().map_or(Ok(()), |dir| {
        fs::File::open(dir).and_then(|dir| dir.sync_all())
    });
    parent.map_err(failed)
}

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can be neither made nor read.
    #[error("open the data directory {}", .path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Others can enter it, or read a file.
    #[error("use {0}: others can read it, and it holds keys; mend it with: chmod -R go= {0}", .path.display())]
    Permissions {
        /// Which.
        path: PathBuf,
    },
    /// It belongs to somebody else.
    #[error("use {0}: it belongs to another user; run as that user, or name another directory with --data-dir", .path.display())]
    Owner {
        /// Which.
        path: PathBuf,
    },
    /// The key file can be neither made nor read.
    #[error("use the key file {}", .path.display())]
    Seed {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The key file holds something else than a key.
    #[error(
        "use the key file {}: it is not 64 hexadecimal digits; put back a copy, or move it away to get a new address", .path.display()
    )]
    SeedDamaged {
        /// Which.
        path: PathBuf,
    },
}

impl Error {
    /// Who has to act.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Permissions { .. } | Self::Owner { .. } => ErrorKind::Operator,
            Self::Directory { .. } | Self::Seed { .. } => ErrorKind::Io,
            Self::SeedDamaged { .. } => ErrorKind::Corruption,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn fresh() -> (tempfile::TempDir, Installation) {
        let dir = tempfile::tempdir().unwrap();
        let installation = Installation::open(dir.path().join("data/main")).unwrap();
        (dir, installation)
    }

    #[test]
    fn the_seed_is_made_once_for_its_owner_alone() {
        let (_dir, installation) = fresh();
        let seed = installation.door_seed().unwrap();
        assert_eq!(installation.door_seed().unwrap(), seed);
        let files: Vec<_> = fs::read_dir(installation.dir.join("doors"))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            fs::metadata(&installation.dir).unwrap().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn processes_that_start_together_get_one_seed() {
        let (_dir, installation) = fresh();
        let seeds: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..2)
                .map(|_| scope.spawn(|| installation.door_seed()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let good: Vec<_> = seeds.into_iter().flatten().collect();
        assert!(
            good.iter()
                .all(|seed| *seed == installation.door_seed().unwrap())
        );
    }

    #[test]
    fn a_directory_or_key_that_others_can_read_is_refused_with_the_remedy() {
        let (_dir, installation) = fresh();
        installation.door_seed().unwrap();
        let seed = installation.dir.join("doors/main.seed");
        fs::set_permissions(&seed, fs::Permissions::from_mode(0o644)).unwrap();
        let error = installation.door_seed().unwrap_err();
        assert!(error.to_string().contains("chmod -R go="), "{error}");
        fs::set_permissions(&installation.dir, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(
            Installation::open(installation.dir.clone()),
            Err(Error::Permissions { .. })
        ));
    }

    #[test]
    fn a_damaged_key_is_refused_and_kept() {
        let (_dir, installation) = fresh();
        let seed = installation.dir.join("doors/main.seed");
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&seed)
            .unwrap()
            .write_all(b"xyz")
            .unwrap();
        assert!(matches!(
            installation.door_seed(),
            Err(Error::SeedDamaged { .. })
        ));
        assert_eq!(fs::read_to_string(&seed).unwrap(), "xyz");
    }
}
