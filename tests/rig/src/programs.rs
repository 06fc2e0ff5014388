//! The programs that `tests/rig/setup` puts into `target/rig/bin`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, Result};

/// A program of the rig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Bitcoin Core or Knots.
    Bitcoind,
    /// A wallet.
    Electrum,
    /// Another Electrum server.
    ElectrumX,
    /// Lists system calls.
    Strace,
    /// C Tor.
    Tor,
    /// Makes the keys of a directory authority.
    TorGencert,
}

impl Program {
    /// Where it is; set up first if it has to be.
    pub fn path(self) -> Result<PathBuf> {
        static MACHINE: Once = Once::new();
        static ELECTRUM: Once = Once::new();
        static ELECTRUMX: Once = Once::new();
        match self {
            // It comes with a hundred packages of its own.
            Self::Electrum => set_up(&ELECTRUM, &["electrum"])?,
            // The only one that needs a Python.
            Self::ElectrumX => set_up(&ELECTRUMX, &["electrumx"])?,
            Self::Bitcoind | Self::Strace | Self::Tor | Self::TorGencert => set_up(&MACHINE, &[])?,
        }
        let name = match self {
            Self::Bitcoind => "bitcoind",
            Self::Electrum => "electrum",
            Self::ElectrumX => "electrumx",
            Self::Strace => "strace",
            Self::Tor => "tor",
            Self::TorGencert => "tor-gencert",
        };
        Ok(repository().join("target/rig/bin").join(name))
    }

    /// The first line of `--version`.
    pub fn version(self) -> Result<String> {
        let output = Command::new(self.path()?).arg("--version").output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines()
            .next()
            .map(str::to_owned)
            .with_context(|| format!("{self:?} says no version"))
    }
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .canonicalize()
            .expect("repository")
    })
}

/// A development program of `examples`, built beside the program that runs now, be that a test, a benchmark or another
/// example.
pub fn example(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let beside = own
        .ancestors()
        .map(|folder| folder.join("examples").join(name))
        .find(|path| path.is_file());
    beside.with_context(|| {
        format!(
            "no examples/{name} beside {}: run `cargo build --examples`",
            own.display()
        )
    })
}

/// What came of something that a process does once.
type Once = OnceLock<Result<(), String>>;

/// Runs `tests/rig/setup` once per process; it is fast when nothing is missing.
fn set_up(once: &Once, arguments: &[&str]) -> Result<()> {
    let run = || {
        let output = Command::new(repository().join("tests/rig/setup"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("failed to start tests/rig/setup: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        output
            .status
            .success()
            .then_some(())
            .ok_or_else(|| format!("tests/rig/setup: {said}"))
    };
    once.get_or_init(run).clone().map_err(anyhow::Error::msg)
}
