//! Why the node's block files cannot serve, each with what mends it.

use std::io;
use std::path::{Path, PathBuf};

use crate::chain::Network;

/// Why the node's block files cannot be used. Blocks can then still be had from the node itself, which is slower.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// They are not there: the node is on another machine, or keeps them elsewhere.
    #[error("find the node's block files: there is no {}; name its data directory with --node-dir", path.display())]
    Missing {
        /// The first of them.
        path: PathBuf,
    },
    /// They are there and we may not read them.
    #[error(
        "read the node's block files: permission denied for {path}; run claustrum as the node's user, or let its own \
         user read them: `setfacl -R -m u:USER:rX {dir}` and `setfacl -R -d -m u:USER:rX {dir}`, and `setfacl -m \
         u:USER:x` for each directory above",
        path = path.display(),
        dir = dir.display()
    )]
    Forbidden {
        /// What could not be read.
        path: PathBuf,
        /// The directory they lie in.
        dir: PathBuf,
    },
    /// The disk or the file system refused.
    #[error("read the node's block file {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// They are of another network, or in a form that we do not know.
    #[error(
        "read the node's block files: {} does not begin with the first block of {network}; name the node's own data \
         directory with --node-dir",
        path.display()
    )]
    OtherChain {
        /// The first of them.
        path: PathBuf,
        /// The network we serve.
        network: Network,
    },
    /// A block of the chain is not in any of them, or is not what was written.
    #[error("read the node's block files: those in {} do not hold every block of its chain; name its data directory with --node-dir", dir.display())]
    Incomplete {
        /// The directory they lie in.
        dir: PathBuf,
    },
    /// What a block spends is not there, or is not what was written.
    #[error("read the node's block files: {} does not hold what a block spends", path.display())]
    NoUndo {
        /// The file in which it should be.
        path: PathBuf,
    },
}

impl FilesError {
    pub(super) fn of(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::NotFound {
            Self::Missing { path }
        } else if source.kind() == io::ErrorKind::PermissionDenied {
            let dir = path.parent().map(Path::to_owned).unwrap_or_default();
            Self::Forbidden { path, dir }
        } else {
            Self::Io { path, source }
        }
    }
}
