//! Looks for canaries in everything that a process left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use aho_corasick::AhoCorasick;
use rig::trace::{Listing, Peer};

use super::canary::Canary;

/// Calls by which bytes leave a process, and those that tell where a file descriptor leads.
pub(super) const CALLS: &str =
    "execve,connect,close,write,writev,pwrite64,pwritev,?pwritev2,sendto,sendmsg,?sendmmsg";

/// What was found: the place, the canary, its form.
pub(super) type Finds = BTreeSet<(&'static str, &'static str, &'static str)>;

/// All canaries in all forms, looked for at once.
pub(super) struct Search {
    automaton: AhoCorasick,
    names: Vec<(&'static str, &'static str)>,
    finds: Finds,
}

impl Search {
    pub(super) fn new<'a>(canaries: impl IntoIterator<Item = &'a Canary>) -> Self {
        let mut names = Vec::new();
        let mut patterns = Vec::new();
        for canary in canaries {
            for (form, pattern) in canary.forms() {
                assert!(pattern.len() >= 6, "{} is too short", canary.name);
                names.push((canary.name, form));
                patterns.push(pattern);
            }
        }
        let automaton = AhoCorasick::new(patterns).expect("too many canaries");
        Self {
            automaton,
            names,
            finds: Finds::new(),
        }
    }

    /// What has been found.
    pub(super) fn finds(self) -> Finds {
        self.finds
    }

    pub(super) fn bytes(&mut self, place: &'static str, bytes: &[u8]) {
        for find in self.automaton.find_overlapping_iter(bytes) {
            let (canary, form) = self.names[find.pattern().as_usize()];
            self.finds.insert((place, canary, form));
        }
    }

    /// All files, and their names.
    pub(super) fn folder(&mut self, place: &'static str, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.symlink_metadata().unwrap().file_type();
            self.bytes(place, path.as_os_str().as_encoded_bytes());
            if kind.is_dir() {
                self.folder(place, &path);
            } else if kind.is_file() {
                self.bytes(place, &fs::read(&path).unwrap());
            }
        }
    }

    /// What was written to anything but connections to these ports; each file descriptor as one stream, so that two
    /// writes cannot share a canary between them.
    pub(super) fn writes(&mut self, place: &'static str, listing: &Listing, ports: &BTreeSet<u16>) {
        let mut connected = BTreeSet::new();
        let mut written: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        for call in &listing.calls {
            match call.name.as_str() {
                "execve" => {}
                "connect" => {
                    if let Peer::Internet(address) = call.peer().unwrap()
                        && ports.contains(&address.port())
                    {
                        connected.insert(call.descriptor().unwrap());
                    }
                }
                "close" => {
                    connected.remove(&call.descriptor().unwrap());
                }
                _ => {
                    let descriptor = call.descriptor().unwrap();
                    if !connected.contains(&descriptor) {
                        written
                            .entry(descriptor)
                            .or_default()
                            .extend(call.buffers().unwrap());
                    }
                }
            }
        }
        for bytes in written.values() {
            self.bytes(place, bytes);
        }
    }
}

/// What the kernel shows of a running process: its command line, environment and the names of its threads.
pub(super) fn shown_of_process(id: u32) -> Vec<u8> {
    let root = Path::new("/proc").join(id.to_string());
    let tasks = fs::read_dir(root.join("task")).unwrap();
    let threads = tasks.map(|task| task.unwrap().path().join("comm"));
    let files = ["cmdline", "environ", "comm"].map(|name| root.join(name));
    let mut shown = Vec::new();
    for path in files.into_iter().chain(threads) {
        match fs::read(&path) {
            Ok(bytes) => shown.extend(bytes),
            // A thread that has ended; the environment, which of a process that is not dumpable only root can read.
            Err(error)
                if [ErrorKind::NotFound, ErrorKind::PermissionDenied].contains(&error.kind()) => {}
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
    shown
}
