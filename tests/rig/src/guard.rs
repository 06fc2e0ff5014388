//! What is left when this process ends without running destructors: statics, `exit`, SIGKILL.
//!
//! One small shell per test process holds the read end of a pipe whose write end only this process has, and is told
//! of every program and folder. The kernel closes the pipe however this process ends; the shell then kills the
//! process groups that are left and removes the folders. The parent-death signal would not do: it fires when the
//! *thread* that spawned a program ends, which in a test binary is the first test, and it does not reach a program's
//! own children.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};

use anyhow::{Context as _, Result};

const SCRIPT: &str = r#"
groups=' '
while IFS=' ' read -r verb what; do
    case $verb in
    watch) groups="$groups$what " ;;
    forget) groups="${groups%% $what *} ${groups#* $what }" ;;
    folder) set -- "$@" "$what" ;;
    esac
done
for group in $groups; do kill -s KILL -- "-$group"; done
# A program that is being killed may still write.
for attempt in 1 2 3 4 5; do rm -rf -- "$@" && break; sleep 1; done
"#;

/// A folder of this run under the system's folder for temporary files; removed with its value, or by the guard.
#[derive(Debug)]
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    /// `name` tells people what it is of.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("rig-{name}-"))
            // Tor makes its control socket only where nobody else can come.
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .context("failed to make a folder for temporary files")?;
        tell("folder", folder.path().display())?;
        Ok(Self(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

/// From now on this process group ends with this process.
pub(crate) fn watch(group: u32) -> Result<()> {
    tell("watch", group)
}

/// The group is about to be reaped, after which its number may become another program's.
pub(crate) fn forget(group: u32) -> Result<()> {
    tell("forget", group)
}

fn tell(verb: &str, what: impl std::fmt::Display) -> Result<()> {
    // One write, so that a line is whole or absent whenever this process is killed.
    let line = format!("{verb} {what}\n");
    pipe()?
        .write_all(line.as_bytes())
        .context("failed to reach the guard that ends programs")
}

fn pipe() -> Result<MutexGuard<'static, ChildStdin>> {
    static PIPE: OnceLock<Result<Mutex<ChildStdin>, String>> = OnceLock::new();
    PIPE.get_or_init(|| start().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map(|pipe| {
            pipe.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        })
        .map_err(|error| anyhow::anyhow!("{error}"))
}

fn start() -> Result<Mutex<ChildStdin>> {
    let mut guard = Command::new("/bin/sh")
        .args(["-c", SCRIPT, "rig-guard"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C ends the foreground group; the guard has to outlive it.
        .process_group(0)
        .spawn()
        .context("failed to start /bin/sh as the guard that ends programs")?;
    guard
        .stdin
        .take()
        .map(Mutex::new)
        .context("the guard has no input")
}
