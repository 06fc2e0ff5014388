//! How a network comes to life.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use super::identity::{self, Identity};
use super::torrc;
use crate::guard::Folder;
use crate::ports;
use crate::process::Process;
use crate::programs::Program;

/// Smaller networks work sometimes, larger ones only need more memory.
pub(super) const RELAYS: usize = 7;
/// Were all relays exits, none would have weight as a middle.
pub(super) const EXITS: usize = 3;
/// Enough for a busy machine; an idle one needs 8 to 15 s.
const READY: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// What others need to know of the authority.
#[derive(Clone, Debug)]
pub(super) struct Authority {
    pub(super) identity: Identity,
    pub(super) or_port: u16,
    pub(super) directory_port: u16,
}

/// An authority or a relay before it runs.
pub(super) struct Relay {
    pub(super) nickname: String,
    pub(super) folder: PathBuf,
    pub(super) or_port: u16,
    pub(super) exit: bool,
    pub(super) identity: Option<Identity>,
}

/// A network before it runs: folders, keys and settings of everybody.
pub(super) struct Plan {
    /// The authority first.
    relays: Vec<Relay>,
    pub(super) authority: Authority,
    pub(super) socks_port: u16,
    pub(super) folder: Folder,
    /// Between the first votes.
    voting_seconds: u64,
}

/// The processes of a network that is ready.
pub(super) struct Running {
    /// The authority first.
    pub(super) relays: Vec<Process>,
    pub(super) client: Process,
}

impl Plan {
    /// Makes everything but processes.
    pub(super) fn make(voting_seconds: u64) -> Result<Self> {
        let folder = Folder::new("tor")?;
        let directory_port = ports::free()?;
        let mut relays = Vec::new();
        for number in 0..=RELAYS {
            let nickname = if number == 0 {
                "authority".to_owned()
            } else {
                format!("relay{number}")
            };
            let folder = folder.join(&nickname);
            make_folder(&folder)?;
            make_folder(&folder.join("keys"))?;
            let exit = (1..=EXITS).contains(&number);
            relays.push(Relay {
                nickname,
                folder,
                or_port: ports::free()?,
                exit,
                identity: None,
            });
        }
        make_identities(&mut relays, directory_port)?;
        let authority = Authority {
            identity: relays[0]
                .identity
                .clone()
                .context("an authority without an identity")?,
            or_port: relays[0].or_port,
            directory_port,
        };
        for relay in &relays {
            fs::write(
                relay.folder.join("torrc"),
                torrc::relay(relay, &relays, &authority, voting_seconds),
            )?;
        }
        let socks_port = ports::free()?;
        let client = folder.join("client");
        make_folder(&client)?;
        fs::write(
            client.join("torrc"),
            torrc::client(&client, socks_port, &authority),
        )?;
        fs::write(folder.join("arti.toml"), torrc::arti(&authority))?;
        Ok(Self {
            relays,
            authority,
            socks_port,
            folder,
            voting_seconds,
        })
    }

    /// Starts it; `None` if a relay missed the first vote, after which it would be missing for minutes.
    pub(super) fn launch(&self) -> Result<Option<Running>> {
        let authority = &self.relays[0].folder;
        let client = self.folder.join("client");
        seed_shared_randomness(authority)?;
        wait_for_a_vote(self.voting_seconds);
        let start = |relay: &Relay| spawn(&relay.nickname, &relay.folder);
        let mut relays = self.relays.iter().map(start).collect::<Result<Vec<_>>>()?;
        let deadline = Instant::now() + READY;
        wait("there is a consensus", deadline, &mut relays, || {
            consensus_length(authority) > 0
        })
        .with_context(|| log(authority))?;
        if consensus_length(authority) < self.relays.len() {
            relays.iter().for_each(Process::terminate);
            return Ok(None);
        }
        // Each has asked for it in vain and now waits for up to ten seconds; this makes it ask again.
        relays.iter().for_each(Process::hang_up);
        let all_known = |relay: &Relay| descriptors(&relay.folder) == self.relays.len();
        wait(
            "every relay knows the others",
            deadline,
            &mut relays,
            || self.relays.iter().all(all_known),
        )?;
        // Only now, since a client that asks a relay in vain waits for ten seconds too.
        let client_process = spawn("client", &client)?;
        wait("the client has bootstrapped", deadline, &mut relays, || {
            log(&client).contains("Bootstrapped 100%")
        })
        .with_context(|| log(&client))?;
        Ok(Some(Running {
            relays,
            client: client_process,
        }))
    }
}

/// Makes a folder of a `tor`, which makes its control socket only where nobody else can come.
pub(super) fn make_folder(folder: &Path) -> Result<()> {
    Ok(DirBuilder::new().mode(0o700).create(folder)?)
}

/// Starts the `tor` of a folder.
pub(super) fn spawn(name: &str, folder: &Path) -> Result<Process> {
    Process::start(
        &format!("tor ({name})"),
        Command::new(Program::Tor.path()?)
            .args(["--quiet", "-f"])
            .arg(folder.join("torrc"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )
}

/// What the `tor` of a folder has logged.
pub(super) fn log(folder: &Path) -> String {
    fs::read_to_string(torrc::log(folder)).unwrap_or_default()
}

/// Keys of the authority and fingerprints of all, by programs that run at the same time.
fn make_identities(relays: &mut [Relay], directory_port: u16) -> Result<()> {
    identity::certify_authority(&relays[0].folder, directory_port)?;
    for relay in relays.iter() {
        fs::write(relay.folder.join("torrc"), torrc::before_identities(relay))?;
    }
    let running = relays
        .iter()
        .map(|relay| identity::start_listing(&relay.folder))
        .collect::<Result<Vec<_>>>()?;
    for (relay, listing) in relays.iter_mut().zip(running) {
        relay.identity = Some(Identity::of(&relay.nickname, &relay.folder, listing)?);
    }
    Ok(())
}

/// Until right after a boundary of the first votes, so that relays have the longest time to publish themselves.
fn wait_for_a_vote(voting_seconds: u64) {
    let interval = Duration::from_secs(voting_seconds).as_nanos();
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos()
        % interval;
    std::thread::sleep(Duration::from_nanos(
        u64::try_from(interval - since).unwrap_or(0),
    ));
}

/// Gives the authority the shared random values that a network has only after 24 votes; without them Arti publishes
/// for one time period and calls its service degraded.
fn seed_shared_randomness(authority: &Path) -> Result<()> {
    let run = 24 * torrc::VOTING_SECONDS;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let begin = now / run * run;
    let version = Program::Tor.version()?;
    let version = version
        .trim_start_matches("Tor version ")
        .trim_end_matches('.');
    fs::write(
        authority.join("sr-state"),
        torrc::shared_random_state(version, begin, begin + run),
    )?;
    Ok(())
}

/// Waits until it holds that `what`; an error when a process ends before.
fn wait(
    what: &str,
    deadline: Instant,
    processes: &mut [Process],
    holds: impl Fn() -> bool,
) -> Result<()> {
    while !holds() {
        for process in &mut *processes {
            anyhow::ensure!(
                process.ended()?.is_none(),
                "a relay of the Tor network ended at once"
            );
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "no Tor network after {READY:?}: not yet so that {what}"
        );
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Relays in the consensus that a relay has.
fn consensus_length(relay: &Path) -> usize {
    let consensus =
        fs::read_to_string(relay.join("cached-microdesc-consensus")).unwrap_or_default();
    // Written in one piece, but read perhaps while it is being replaced.
    if !consensus.contains("directory-signature ") {
        return 0;
    }
    consensus
        .lines()
        .filter(|line| line.starts_with("r "))
        .count()
}

/// Relays of which a relay has the descriptor.
fn descriptors(relay: &Path) -> usize {
    let read = |name: &str| fs::read_to_string(relay.join(name)).unwrap_or_default();
    let found = read("cached-microdescs") + &read("cached-microdescs.new");
    found
        .lines()
        .filter(|line| line.starts_with("ntor-onion-key "))
        .count()
}
