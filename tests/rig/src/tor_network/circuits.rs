//! Circuits to a destination, counted by the far end of them: by the exits, or by the onion service's own `tor`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::control::{self, OwnCircuit};
use super::launch::EXITS;
use super::{TorNetwork, torrc};

/// How many circuits have led to a destination since a watch began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circuits {
    /// Different ones that were used. Fewer than there were connections means that some shared one.
    pub used: usize,
    /// Of these, those that have not been closed, as far as the far end knows: of several ends of circuits that come at
    /// once, a C Tor relay passes on one at once and the others with the next cell that goes the same way.
    pub open: usize,
}

/// Counts the circuits that lead to one destination; says nothing of those from before its time.
#[derive(Debug)]
pub struct CircuitWatch {
    counter: Counter,
    /// What they write, and where the part begins that is of interest.
    writings: Vec<(PathBuf, u64)>,
}

#[derive(Debug)]
enum Counter {
    Exits {
        port: u16,
    },
    OnionService {
        folder: PathBuf,
        onion_address: String,
        /// Numbers of circuits that were open already.
        old: BTreeSet<String>,
    },
}

impl TorNetwork {
    /// Watches circuits with streams through an exit to this port, at whatever address.
    ///
    /// From the first call on exits write down much of what they do, which costs them time and disk.
    pub fn watch_exits(&self, port: u16) -> Result<CircuitWatch> {
        let folders = (1..=EXITS).map(|number| self.folder.join(&format!("relay{number}")));
        let watched = folders.map(|folder| {
            let [log, circuits] = [torrc::log(&folder), torrc::circuits(&folder)];
            let [log, written] = [&log, &circuits].map(|path| path.display());
            // The circuit a cell belongs to is of the domain `circ`, connecting of `net`, closing of `or`.
            let command = format!(
                "SETCONF Log=\"notice file {log}\" Log=\"[circ,net,or]debug file {written}\""
            );
            control::ask(&folder, &command)?;
            from_here(circuits)
        });
        Ok(CircuitWatch {
            counter: Counter::Exits { port },
            writings: watched.collect::<Result<_>>()?,
        })
    }

    /// Watches rendezvous circuits to one of this network's onion services.
    pub fn watch_onion_service(&self, onion_address: &str) -> Result<CircuitWatch> {
        let folder = self.folder_of(onion_address)?;
        let writing = from_here(torrc::circuits(&folder))?;
        let name = onion_address.trim_end_matches(".onion");
        Ok(CircuitWatch {
            counter: Counter::OnionService {
                old: rendezvous(&folder, name)?,
                folder,
                onion_address: name.to_owned(),
            },
            writings: vec![writing],
        })
    }
}

impl CircuitWatch {
    /// What was counted so far.
    pub fn count(&self) -> Result<Circuits> {
        let mut found = Circuits { used: 0, open: 0 };
        for (path, begin) in &self.writings {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(*begin))?;
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            match &self.counter {
                Counter::Exits { port } => {
                    let (used, open) = at_an_exit(&text, *port);
                    found.used += used;
                    found.open += open;
                }
                Counter::OnionService { onion_address, .. } => {
                    let opened = format!("for service {onion_address}");
                    let is_one = |line: &&str| {
                        line.contains("hs_circ_service_rp_has_opened") && line.contains(&opened)
                    };
                    found.used += text.lines().filter(is_one).count();
                }
            }
        }
        if let Counter::OnionService {
            folder,
            onion_address,
            old,
        } = &self.counter
        {
            found.open = rendezvous(folder, onion_address)?.difference(old).count();
        }
        Ok(found)
    }
}

/// Circuits, used and open, that had a stream to a port, by what an exit has written.
///
/// An exit looks up the circuit of each cell it gets, then acts on the cell, here by connecting, before it looks at
/// the next one. Numbers of circuits are drawn from 2^31, so they tell circuits of different neighbours apart too.
fn at_an_exit(text: &str, port: u16) -> (usize, usize) {
    let connects = format!("\":{port}.");
    let [mut used, mut open] = [BTreeSet::new(), BTreeSet::new()];
    let mut current = "";
    for line in text.lines() {
        if let Some((_, number)) = line.split_once(" for circ_id ") {
            current = number.split(',').next().unwrap_or_default();
        } else if line.contains("Connecting to \"") && line.ends_with(&connects) {
            used.insert(current);
            open.insert(current);
        } else if let Some((_, number)) = line.split_once("Received for circID ") {
            open.remove(number.trim_end_matches('.'));
        }
    }
    (used.len(), open.len())
}

/// Numbers of the rendezvous circuits to an onion service that its `tor` has at present.
fn rendezvous(folder: &Path, onion_address: &str) -> Result<BTreeSet<String>> {
    let is_one = |circuit: &OwnCircuit| {
        circuit.has("PURPOSE", "HS_SERVICE_REND") && circuit.has("REND_QUERY", onion_address)
    };
    let all = OwnCircuit::all(folder)?;
    let numbers = all.iter().filter(|circuit| is_one(circuit));
    Ok(numbers.map(|circuit| circuit.number().to_owned()).collect())
}

/// A file, and how long it is now.
fn from_here(path: PathBuf) -> Result<(PathBuf, u64)> {
    let length = path
        .metadata()
        .with_context(|| format!("a tor has not written {}", path.display()))?
        .len();
    Ok((path, length))
}
