//! However the product dies, it leaves no picture of its memory.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};

use rig::node::{self, Node};
use rig::server::{Claustrum, Options};
use rig::trace::Trace;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::fixture;

/// Lifts the limit, and goes where the picture would lie.
const WILLING: &str = "ulimit -c unlimited; cd \"$0\" && exec \"$@\"";

#[test]
fn the_product_leaves_no_core_dump() {
    let node = Node::start(&node::Options::default()).unwrap();
    for signal in [Signal::SEGV, Signal::ABORT] {
        let folder = tempfile::tempdir().unwrap();
        let status = killed(&node, &folder, signal);
        assert_eq!(status.signal(), Some(signal.as_raw()));
        assert!(!status.core_dumped(), "{signal:?}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }
}

/// Either of the two would do; a machine that pipes core dumps to a program disregards the limit.
#[test]
fn the_product_asks_for_no_core_dump_in_two_ways() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&node::Options::default()).unwrap();
    let options = Options {
        trace: Some(Trace {
            file: folder.path().join("trace"),
            calls: "prctl,prlimit64",
        }),
        ..Options::default()
    };
    let mut server = Claustrum::launch(&node, fixture::network(), &options).unwrap();
    fixture::wait_for("first word", || (!server.stdout().is_empty()).then_some(()));
    server.stop().unwrap();
    let calls = options.trace.unwrap().read().unwrap().calls;
    for (name, arguments) in [
        ("prctl", "PR_SET_DUMPABLE, SUID_DUMP_DISABLE"),
        (
            "prlimit64",
            "0, RLIMIT_CORE, {rlim_cur=0, rlim_max=0}, NULL",
        ),
    ] {
        let asked = calls
            .iter()
            .any(|call| call.name == name && call.arguments == arguments && call.result == Some(0));
        assert!(asked, "no {name}({arguments})");
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

/// Starts the product where its dump would be welcome, and ends it by a signal.
fn killed(node: &Node, folder: &TempDir, signal: Signal) -> ExitStatus {
    let options = Options {
        launcher: ["sh", "-c", WILLING, folder.path().to_str().unwrap()]
            .map(str::to_owned)
            .into(),
        ..Options::default()
    };
    let mut server = Claustrum::launch(node, fixture::network(), &options).unwrap();
    fixture::wait_for("first word", || (!server.stdout().is_empty()).then_some(()));
    let id = server.process().id();
    // What is not dumpable is root's in the kernel's eyes, whoever runs it.
    assert_eq!(
        fs::metadata(format!("/proc/{id}/environ")).unwrap().uid(),
        0
    );
    let process = Pid::from_raw(id.try_into().unwrap()).unwrap();
    fixture::wait_for("end", || {
        // Rust's own handler takes the first one, to tell of a stack that overflows.
        kill_process(process, signal).unwrap();
        server.process().ended().unwrap()
    })
}
