//! CPU time of whatever listens on a port of this machine.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// In `/proc/net/tcp`, a socket that listens.
const LISTENS: &str = "0A";
/// The kernel's unit of CPU time for programs, whatever its own.
const TICKS_PER_SECOND: f64 = 100.0;

/// The process that listens on a port.
#[derive(Debug)]
pub(crate) struct Meter {
    stat: PathBuf,
}

impl Meter {
    /// `None` when nothing here that may be looked at listens on `port`.
    pub(crate) fn of_port(port: u16) -> Option<Self> {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
        let texts = tables
            .iter()
            .filter_map(|table| fs::read_to_string(table).ok());
        let socket = texts.filter_map(|text| listener(&text, port)).next()?;
        let socket = format!("socket:[{socket}]");
        let processes = fs::read_dir("/proc")
            .ok()?
            .flatten()
            .map(|entry| entry.path());
        let mut holders = processes.filter(|process| {
            let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten();
            let mut links = descriptors
                .flatten()
                .filter_map(|fd| fs::read_link(fd.path()).ok());
            links.any(|link| link.as_os_str() == socket.as_str())
        });
        let stat = holders.next()?.join("stat");
        Some(Self { stat })
    }

    /// Seconds of CPU that it has used, in itself and in the kernel.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let text = fs::read_to_string(&self.stat)
            .with_context(|| format!("failed to read {}", self.stat.display()))?;
        // The name in brackets may hold anything.
        let (_, fields) = text.rsplit_once(')').context("no process")?;
        let ticks = |at| -> Result<f64> {
            let field = fields.split_whitespace().nth(at);
            Ok(field.context("too few fields")?.parse()?)
        };
        Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
    }
}

/// The inode of the socket that listens on `port`, in a table of the kernel.
fn listener(table: &str, port: u16) -> Option<String> {
    let port = format!(":{port:04X}");
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let listens = fields.get(3) == Some(&LISTENS) && fields.get(1)?.ends_with(&port);
        listens
            .then(|| fields.get(9).copied())
            .flatten()
            .map(str::to_owned)
    })
}
