//! What the process gives up before it reads its first secret.

use rustix::fs::Mode;
use rustix::io;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask,
};

/// New files are for their owner alone, memory is never dumped, and other processes of the user cannot read it.
///
/// Must run before any thread is started: limits and the mask are the process's, but files may be made at once.
pub fn apply() -> io::Result<()> {
    umask(Mode::RWXG | Mode::RWXO);
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}
