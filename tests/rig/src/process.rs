//! A program that ends with its handle.

use std::io::{Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process_group, setrlimit};

use crate::guard;

/// Time between SIGTERM and SIGKILL when a handle is dropped.
const GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// A running program, in a process group of its own so that its children end with it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts a program; `name` is for messages.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("failed to start {name}: {command:?}"))?;
        let process = Self {
            name: name.to_owned(),
            child,
            ended: None,
        };
        guard::watch(process.id())?;
        Ok(process)
    }

    /// Its process id, which is its group's too.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Memory it occupies, in bytes, the pages of its program file among it.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    /// Memory that it occupies and that no file backs, in bytes: nobody else has it, and it cannot be dropped.
    pub fn anonymous_bytes(&self) -> Result<u64> {
        self.memory("RssAnon:")
    }

    /// What it has taken of a processor, in all its threads; told in hundredths of a second.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        // The name before it may hold anything but ends with the last bracket.
        let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |place: usize| -> Result<u64> {
            Ok(fields.get(place).context("a short stat")?.parse()?)
        };
        Ok(Duration::from_millis(10 * (ticks(11)? + ticks(12)?)))
    }

    /// The most memory that it has ever occupied, in bytes.
    pub fn peak_bytes(&self) -> Result<u64> {
        self.memory("VmHWM:")
    }

    /// Its input, once, if it was started with a pipe there.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Its output, once, if it was started with a pipe there.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Its exit status, once it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self
                .child
                .try_wait()
                .with_context(|| format!("failed to wait for {}", self.name))?;
            if self.ended.is_some() {
                guard::forget(self.id())?;
            }
        }
        Ok(self.ended)
    }

    /// Waits for it to end by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "{} still runs after {limit:?}",
                self.name
            );
            std::thread::sleep(POLL);
        }
    }

    /// SIGTERM, without waiting.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGTERM, and its exit status; an error if it needs longer than `limit`.
    pub fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.terminate();
        self.wait(limit)
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::KILL);
        self.wait(GRACE)
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGSTOP: it keeps its connections and answers nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn memory(&self, what: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(what));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(kilobytes
            .with_context(|| format!("{} has no memory", self.name))?
            .parse::<u64>()?
            * 1024)
    }

    /// Until it is reaped its number cannot belong to another program; that it has ended is no error.
    fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            kill_process_group(Pid::from_child(&self.child), signal).ok();
        }
    }
}

/// As many open files as this process may have, for it and for those that it starts from then on.
pub fn raise_open_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).context("failed to raise the limit of open files")
}

/// Runs a program to its end; an error if it needs longer than `limit`.
pub fn output(name: &str, command: &mut Command, limit: Duration) -> Result<Output> {
    let mut outputs = [tempfile::tempfile()?, tempfile::tempfile()?];
    command
        .stdin(Stdio::null())
        .stdout(outputs[0].try_clone()?)
        .stderr(outputs[1].try_clone()?);
    let status = Process::start(name, command)?.wait(limit)?;
    let mut texts = [Vec::new(), Vec::new()];
    for (file, text) in outputs.iter_mut().zip(&mut texts) {
        file.rewind()?;
        file.read_to_end(text)?;
    }
    let [stdout, stderr] = texts;
    Ok(Output {
        status,
        stdout,
        stderr,
    })
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_some() {
            return;
        }
        // A paused program takes no SIGTERM.
        self.resume();
        if self.stop(GRACE).is_err() {
            self.kill().ok();
        }
    }
}
