//! The server on a disk that is full or fails: it ends with a sentence, tells nobody anything false, and is whole again
//! once the disk is.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rig::node::{Node, Options};
use rig::oracle;
use rig::programs::Program;
use rig::server::{Loopback, Options as ServerOptions};
use rig::shape::Shape;

use super::wire;

/// Until a server has met the fault.
const MET: Duration = Duration::from_secs(60);

/// Lets a system call fail from the `nth` time on, counted for each thread.
fn failing(call: &str, error: &str, nth: u32) -> Result<Vec<String>> {
    Ok(vec![
        Program::Strace.path()?.display().to_string(),
        "-f".to_owned(),
        "-o/dev/null".to_owned(),
        format!("-etrace={call}"),
        format!("-einject={call}:error={error}:when={nth}+"),
    ])
}

#[test]
fn a_full_or_failing_disk_ends_the_server_and_harms_nothing() -> Result<()> {
    let node = Node::start_funded(&Options::default())?;
    let mut shape = Shape::new(5);
    shape.build(&node)?;
    let expected = oracle::scripts(&node)?;
    let folder = tempfile::tempdir()?;
    for (call, error, nth, words) in [
        ("pwrite64", "ENOSPC", 12, "No space left on device"),
        ("pwrite64", "ENOSPC", 40, "No space left on device"),
        ("fdatasync", "EIO", 4, "Input/output error"),
        ("pwrite64", "EIO", 25, "Input/output error"),
    ] {
        let what = format!("{error} at {call} {nth}");
        let data = folder.path().join(format!("{call}-{nth}"));
        let launcher = failing(call, error, nth)?;
        let said = ended(&node, &with_data(&data, launcher)).context(what.clone())?;
        for word in [words, "index"] {
            ensure!(
                said.contains(word),
                "{what}: no word of `{word}` in: {said}"
            );
        }
        // The disk is well again, and holds what was written until then.
        let mut again = Loopback::start(&node, &with_data(&data, Vec::new()))?;
        wire::assert_equal(&again, &node, &expected).context(what)?;
        again.stop()?;
    }

    // Reading fails while an index is opened.
    let data = folder.path().join("pwrite64-12");
    let launcher = failing("pread64", "EIO", 3)?;
    let said = ended(&node, &with_data(&data, launcher))?;
    for word in ["open the index", "Input/output error"] {
        ensure!(said.contains(word), "no word of `{word}` in: {said}");
    }
    let again = Loopback::start(&node, &with_data(&data, Vec::new()))?;
    wire::assert_equal(&again, &node, &expected)
}

/// What a server says that ends by itself, in failure.
fn ended(node: &Node, options: &ServerOptions) -> Result<String> {
    match Loopback::start(node, options) {
        // It ended before it was heard once.
        Err(refusal) => Ok(format!("{refusal:#}")),
        Ok(mut server) => {
            let status = server.process().wait(MET)?;
            ensure!(!status.success(), "it ends as if all were well");
            Ok(server.stderr())
        }
    }
}

fn with_data(data: &Path, launcher: Vec<String>) -> ServerOptions {
    ServerOptions {
        launcher,
        extra: vec!["--data-dir".to_owned(), data.display().to_string()],
        ..ServerOptions::default()
    }
}
