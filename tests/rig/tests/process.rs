//! No program outlives its handle, nor the process that started it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rig::node::{Node, Options};
use rig::process::Process;

/// Set for the copy of this test binary that is killed.
const VICTIM: &str = "RIG_TEST_VICTIM";

fn runs(id: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    state
        .rsplit(')')
        .next()
        .is_some_and(|rest| rest.starts_with(' ') && !rest.starts_with(" Z"))
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "not after 10 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_program_and_its_children_end_with_the_handle_when_a_test_panics() {
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "sleep 1000 & echo $!; wait"])
        .stdout(Stdio::piped());
    let mut process = Process::start("a shell", &mut shell).unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout().unwrap())
        .read_line(&mut line)
        .unwrap();
    let (id, child) = (process.id(), line.trim().parse().unwrap());
    assert!(runs(id) && runs(child));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _process = process;
        panic!("as a failed test does");
    }));
    assert!(panicked.is_err());
    assert!(!runs(id));
    wait_until("the child has ended", || !runs(child));
}

#[test]
fn a_program_that_ignores_sigterm_is_killed() -> Result<()> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "trap '' TERM; while :; do sleep 1; done"]);
    let mut process = Process::start("a shell", &mut shell)?;
    std::thread::sleep(Duration::from_millis(100));
    assert!(process.stop(Duration::from_millis(200)).is_err());
    let id = process.id();
    drop(process);
    assert!(!runs(id));
    Ok(())
}

/// What a killed test leaves: a node in a static, and a program of its own.
#[test]
fn victim() -> Result<()> {
    static NODE: OnceLock<Node> = OnceLock::new();
    if std::env::var_os(VICTIM).is_none() {
        return Ok(());
    }
    let mut node = Node::start(&Options::default())?;
    println!(
        "victim {} {}",
        node.process().id(),
        node.data_dir().display()
    );
    NODE.set(node).ok();
    if std::env::var(VICTIM)? == "exits" {
        return Ok(());
    }
    std::thread::sleep(Duration::from_secs(1000));
    Ok(())
}

/// The victim with its output, which it needs to the end, the id of its node, and the node's folder.
fn start_victim(how: &str) -> Result<(Process, BufReader<ChildStdout>, u32, PathBuf)> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--exact", "victim", "--nocapture"])
        .env(VICTIM, how)
        .stdout(Stdio::piped());
    let mut victim = Process::start("the victim", &mut command)?;
    let mut output = BufReader::new(victim.stdout().context("no output")?);
    let line = output
        .by_ref()
        .lines()
        .map_while(Result::ok)
        .find(|line| line.contains("victim "));
    let line = line.context("the victim did not start")?;
    let mut words = line
        .split_whitespace()
        .skip_while(|word| *word != "victim")
        .skip(1);
    let id = words.next().context("no id")?.parse()?;
    let folder = Path::new(words.next().context("no folder")?).to_owned();
    Ok((victim, output, id, folder))
}

#[test]
fn a_killed_test_leaves_neither_programs_nor_folders() -> Result<()> {
    let (mut victim, _output, id, folder) = start_victim("waits")?;
    assert!(runs(id) && folder.try_exists()?);
    victim.kill()?;
    wait_until("the node has ended", || !runs(id));
    wait_until("its folder is gone", || !folder.exists());
    Ok(())
}

#[test]
fn a_test_binary_that_ends_takes_its_statics_with_it() -> Result<()> {
    let (mut victim, _output, id, folder) = start_victim("exits")?;
    assert!(victim.wait(Duration::from_secs(10))?.success());
    wait_until("the node has ended", || !runs(id));
    wait_until("its folder is gone", || !folder.exists());
    Ok(())
}
