//! A process under watch, and all that it leaves behind.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use rig::server::Options;
use rig::trace::{Listing, Trace};
use tempfile::TempDir;

use super::canary::Canary;
use super::search::{CALLS, Finds, Search};
use crate::fixture;

/// Everything that could make a Rust program, Arti, or this one talk more.
const VERBOSE: [&str; 6] = [
    "RUST_LOG=trace",
    "RUST_BACKTRACE=full",
    "RUST_LIB_BACKTRACE=full",
    "CLAUSTRUM_PROTOCOL_MAX=1.6",
    "CLAUSTRUM_SERVER_NAME=ElectrumX-compatible Claustrum/test",
    "CLAUSTRUM_REPLY_BYTES_MAX=8100000",
];

/// Folders that must stay empty, and where the calls are listed.
pub(super) struct Watch {
    folder: TempDir,
}

/// What a process left, by place.
#[derive(Default)]
pub(super) struct Remains {
    /// What it said and showed.
    pub(super) said: Vec<(&'static str, Vec<u8>)>,
    pub(super) data_dir: Option<PathBuf>,
    /// What it wrote, and the ports of those connections that may carry everything.
    pub(super) writes: Option<(Listing, BTreeSet<u16>)>,
}

impl Watch {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["temporary", "home"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self { folder }
    }

    /// How a program is started that is to say little; its folders are those that must stay empty.
    pub(super) fn quiet(&self) -> Options {
        let folder = |name| self.folder.path().join(name).display().to_string();
        Options {
            launcher: vec![
                "env".to_owned(),
                "--unset=RUST_LOG".to_owned(),
                "--unset=RUST_BACKTRACE".to_owned(),
                format!("TMPDIR={}", folder("temporary")),
                format!("HOME={}", folder("home")),
            ],
            ..Options::default()
        }
    }

    /// The same with everything that asks for more words; what it writes is listed.
    pub(super) fn verbose(&self) -> Options {
        let mut options = self.quiet();
        options.launcher.extend(VERBOSE.map(str::to_owned));
        options.trace = Some(self.trace());
        options
    }

    pub(super) fn trace(&self) -> Trace {
        Trace {
            file: self.folder.path().join("trace"),
            calls: CALLS,
        }
    }

    /// A file for `--tor-config`: the private network, and bridges.
    pub(super) fn fragment(&self, bridges: &str) -> String {
        let network = fs::read_to_string(fixture::network().arti_config()).unwrap();
        let path = self.folder.path().join("tor.toml");
        fs::write(&path, format!("{network}\n[bridges]\n{bridges}")).unwrap();
        path.display().to_string()
    }

    pub(super) fn assert_nothing_lies_about(&self) {
        for name in ["temporary", "home"] {
            let mut entries = fs::read_dir(self.folder.path().join(name)).unwrap();
            assert!(entries.next().is_none(), "something in the {name} folder");
        }
    }
}

impl Remains {
    /// In every place.
    pub(super) fn find<'a>(&self, canaries: impl IntoIterator<Item = &'a Canary>) -> Finds {
        let mut search = Search::new(canaries);
        self.search_said(&mut search);
        if let Some(data_dir) = &self.data_dir {
            search.folder("data directory", data_dir);
        }
        if let Some((listing, ports)) = &self.writes {
            search.writes("writes", listing, ports);
        }
        search.finds()
    }

    /// No file or folder that others could read.
    pub(super) fn assert_private(&self) {
        let mut folders: Vec<_> = self.data_dir.iter().cloned().collect();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let metadata = path.symlink_metadata().unwrap();
                assert_eq!(metadata.mode() & 0o077, 0, "{}", path.display());
                folders.extend(metadata.is_dir().then_some(path));
            }
        }
    }

    /// In what it said and showed alone.
    pub(super) fn find_said<'a>(&self, canaries: impl IntoIterator<Item = &'a Canary>) -> Finds {
        let mut search = Search::new(canaries);
        self.search_said(&mut search);
        search.finds()
    }

    fn search_said(&self, search: &mut Search) {
        for (place, bytes) in &self.said {
            search.bytes(place, bytes);
        }
    }
}
