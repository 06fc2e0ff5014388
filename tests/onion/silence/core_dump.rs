//! However the product dies, it leaves no picture of its memory.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};

use rig::node::{self, Node};
use rig::server::{Claustrum, Options};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::TempDir;

use crate::fixture;

/// Lifts the limit, and goes where the picture would lie.
const WILLING: &str = "ulimit -c unlimited; cd \"$0\" && exec \"$@\"";

#[test]
fn the_product_leaves_no_core_dump() {
    let node = Node::start(&node::Options::default()).unwrap();
    for signal in [Signal::SEGV, Signal::ABORT] {
        for limit_lifted in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let status = killed(&node, &folder, signal, limit_lifted);
            assert_eq!(status.signal(), Some(signal.as_raw()));
            assert!(!status.core_dumped(), "{signal:?}, {limit_lifted}");
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        }
    }
}

/// The same conditions, and a program that does not mind; on a machine that takes no pictures at all this shows
/// nothing.
#[test]
fn another_program_leaves_one_where_the_machine_allows_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut words = Command::new("sh");
    words.args(["-c", WILLING]).arg(folder.path());
    let status = words
        .args(["sh", "-c", "kill -s SEGV $$"])
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(Signal::SEGV.as_raw()));
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let allowed = limits.lines().any(|line| {
        line.starts_with("Max core file size")
            && line.split_whitespace().nth(5) == Some("unlimited")
    });
    if allowed && pattern.trim() == "core" {
        assert!(status.core_dumped());
        assert_ne!(fs::read_dir(&folder).unwrap().count(), 0);
    }
}

/// Starts the product where its dump would be welcome, and ends it by a signal. `limit_lifted`: the limit that it set
/// itself is lifted before, if we may, so that only its not being dumpable is left.
fn killed(node: &Node, folder: &TempDir, signal: Signal, limit_lifted: bool) -> ExitStatus {
    let options = Options {
        launcher: ["sh", "-c", WILLING, folder.path().to_str().unwrap()]
            .map(str::to_owned)
            .into(),
        ..Options::default()
    };
    let mut server = Claustrum::launch(node, fixture::network(), &options).unwrap();
    fixture::wait_for("first word", || (!server.stdout().is_empty()).then_some(()));
    let id = server.process().id();
    let limits = fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let core: Vec<_> = core.unwrap().split_whitespace().skip(4).take(2).collect();
    assert_eq!(core, ["0", "0"]);
    let process = Pid::from_raw(id.try_into().unwrap()).unwrap();
    if limit_lifted {
        let unlimited = Rlimit {
            current: None,
            maximum: None,
        };
        if let Err(error) = prlimit(Some(process), Resource::Core, unlimited) {
            // Only root may; for others the limit stays.
            assert_eq!(error, Errno::PERM);
        }
    }
    fixture::wait_for("end", || {
        // Rust's own handler takes the first one, to tell of a stack that overflows.
        kill_process(process, signal).unwrap();
        server.process().ended().unwrap()
    })
}
