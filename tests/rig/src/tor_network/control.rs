//! Questions to a running `tor`, by its control protocol (control-spec).

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::torrc;

/// Has the `tor` of a folder do something; what it says.
pub(super) fn ask(folder: &Path, command: &str) -> Result<String> {
    let said = say(folder, command)?;
    // One line for who asks, then what was asked for.
    let done = said.lines().take(2).all(|line| line.starts_with("250"));
    anyhow::ensure!(done, "a tor answers {command} with {said}");
    Ok(said)
}

/// What the `tor` of a folder answers, be it a refusal.
fn say(folder: &Path, command: &str) -> Result<String> {
    let mut stream =
        UnixStream::connect(torrc::control_socket(folder)).context("failed to ask a tor")?;
    stream.write_all(format!("AUTHENTICATE\r\n{command}\r\nQUIT\r\n").as_bytes())?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

/// A circuit that a `tor` began itself, as it describes it.
#[derive(Debug)]
pub(super) struct OwnCircuit(String);

impl OwnCircuit {
    /// Those that the `tor` of a folder has at present, finished or not.
    pub(super) fn all(folder: &Path) -> Result<Vec<Self>> {
        let said = ask(folder, "GETINFO circuit-status")?;
        // Each on a line of its own, after a line that is not answered by the status of a command.
        let lines = said.lines().filter(|line| line.contains(" PURPOSE="));
        let described = lines.map(|line| line.trim_start_matches("250+circuit-status=").to_owned());
        Ok(described.map(Self).collect())
    }

    /// Its number, unique in the life of its `tor`.
    pub(super) fn number(&self) -> &str {
        self.0.split(' ').next().unwrap_or_default()
    }

    /// Has its `tor` close it, which is all the same if it has ended by itself.
    pub(super) fn close(&self, folder: &Path) -> Result<()> {
        say(folder, &format!("CLOSECIRCUIT {}", self.number())).map(drop)
    }

    /// Whether it is complete.
    pub(super) fn is_built(&self) -> bool {
        self.0.split(' ').nth(1) == Some("BUILT")
    }

    /// Whether it has an attribute, such as `PURPOSE`, of that value.
    pub(super) fn has(&self, attribute: &str, value: &str) -> bool {
        let wanted = format!("{attribute}={value}");
        self.0.split(' ').any(|part| part == wanted)
    }
}
