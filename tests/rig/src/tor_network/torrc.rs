//! What the processes of the network are told.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::ONION_PORT;
use super::launch::{Authority, Relay};

/// Between votes after the first ones.
pub(super) const VOTING_SECONDS: u64 = 300;
/// C Tor in testing mode ignores the parameter and takes 24 votes, Arti knows only the parameter: if they differ,
/// neither finds the other's onion services.
const TIME_PERIOD_MINUTES: u64 = 24 * VOTING_SECONDS / 60;

/// An authority or a relay; `voting_seconds` are between the first votes.
pub(super) fn relay(
    relay: &Relay,
    relays: &[Relay],
    authority: &Authority,
    voting_seconds: u64,
) -> String {
    let mut text = relay_itself(relay);
    if relay
        .identity
        .as_ref()
        .is_some_and(|identity| identity.authority.is_some())
    {
        let exits: Vec<_> = relays
            .iter()
            .filter(|relay| relay.exit)
            .filter_map(fingerprint)
            .collect();
        text += &format!(
            "DirPort 127.0.0.1:{}\n\
             AuthoritativeDirectory 1\n\
             V3AuthoritativeDirectory 1\n\
             TestingDirAuthVoteGuard *\n\
             TestingDirAuthVoteHSDir *\n\
             TestingDirAuthVoteExit {}\n\
             TestingMinExitFlagThreshold 0\n\
             MinUptimeHidServDirectoryV2 0\n\
             TestingV3AuthInitialVotingInterval {voting_seconds}\n\
             TestingV3AuthInitialVoteDelay 2\n\
             TestingV3AuthInitialDistDelay 2\n\
             V3AuthVotingInterval {VOTING_SECONDS}\n\
             V3AuthVoteDelay 2\n\
             V3AuthDistDelay 2\n\
             V3AuthNIntervalsValid 3\n",
            authority.directory_port,
            exits.join(","),
        );
        // On loopback clients learn circuit timeouts of tens of milliseconds, and then a busy machine makes circuits
        // time out at random: cbtmintimeout keeps them above 3 s.
        //
        // By default every onion service publishes itself twice at all eight relays, by a circuit each.
        text += &format!(
            "ConsensusParams hsdir_interval={TIME_PERIOD_MINUTES} cbtmintimeout=3000 \
             hsdir_n_replicas=1 hsdir_spread_store=3 hsdir_spread_fetch=3\n"
        );
    }
    text + &directory(authority)
}

/// The same before anybody's fingerprint is known, so that `tor` can make the keys.
pub(super) fn before_identities(relay: &Relay) -> String {
    let nobody = "F".repeat(40);
    format!(
        "{}DirAuthority nobody orport=1 v3ident={nobody} 127.0.0.1:1 {nobody}\n",
        relay_itself(relay)
    )
}

/// A client with a SOCKS port.
pub(super) fn client(folder: &Path, socks_port: u16, authority: &Authority) -> String {
    let itself = format!("SocksPort 127.0.0.1:{socks_port} IsolateSOCKSAuth\nClientUseIPv6 0\n");
    any("client", folder) + &small() + &itself + &directory(authority)
}

/// Onion services, one in front of each port, in folders of their own.
pub(super) fn onion_services(folder: &Path, ports: &[u16], authority: &Authority) -> String {
    let mut text = any("service", folder) + &small() + "SocksPort 0\n";
    for port in ports {
        text += &format!(
            "HiddenServiceDir {}\nHiddenServicePort {ONION_PORT} 127.0.0.1:{port}\n",
            onion_service(folder, *port).display()
        );
    }
    // What it says of rendezvous circuits, which `circuits` counts.
    text += &format!("Log [rend]info file {}\n", circuits(folder).display());
    text + &directory(authority)
}

/// The folder of the onion service in front of a port.
pub(super) fn onion_service(folder: &Path, port: u16) -> PathBuf {
    folder.join(format!("service-{port}"))
}

/// Where a process answers questions.
pub(super) fn control_socket(folder: &Path) -> PathBuf {
    folder.join("control")
}

/// Where a process writes down what `circuits` counts.
pub(super) fn circuits(folder: &Path) -> PathBuf {
    folder.join("circuits")
}

/// Where a process writes down what people want to know.
pub(super) fn log(folder: &Path) -> PathBuf {
    folder.join("log")
}

/// The part of Arti's configuration that makes it use the network.
pub(super) fn arti(authority: &Authority) -> String {
    let Authority {
        identity,
        or_port,
        directory_port,
    } = authority;
    let uploads = format!("[[\"127.0.0.1:{directory_port}\"]]");
    format!(
        "[path_rules]\n\
         # Above 32 there is no distance to keep: all relays have one address.\n\
         ipv4_subnet_family_prefix = 33\n\
         ipv6_subnet_family_prefix = 129\n\
         \n\
         [address_filter]\n\
         allow_local_addrs = true\n\
         \n\
         [tor_network]\n\
         fallback_caches = [\n\
         \x20 {{ rsa_identity = \"{}\", ed_identity = \"{}\", orports = [\"127.0.0.1:{or_port}\"] }},\n\
         ]\n\
         \n\
         [tor_network.authorities]\n\
         v3idents = [\"{}\"]\n\
         uploads = {uploads}\n\
         downloads = {uploads}\n\
         votes = {uploads}\n",
        identity.rsa,
        identity.ed25519,
        identity.authority.as_deref().unwrap_or_default(),
    )
}

/// The authority's `sr-state`: two shared random values, valid from `begin` to `end` (seconds since 1970).
pub(super) fn shared_random_state(tor_version: &str, begin: u64, end: u64) -> String {
    format!(
        "Version 1\n\
         TorVersion Tor {tor_version}\n\
         ValidAfter {}\n\
         ValidUntil {}\n\
         SharedRandPreviousValue 1 {}\n\
         SharedRandCurrentValue 1 {}\n",
        date_and_time(begin),
        date_and_time(end),
        STANDARD.encode([b'p'; 32]),
        STANDARD.encode([b'c'; 32]),
    )
}

/// What all processes are told.
fn any(nickname: &str, folder: &Path) -> String {
    let [log, control] = [log(folder), control_socket(folder)];
    let [folder, log, control] = [folder, &log, &control].map(Path::display);
    format!(
        "TestingTorNetwork 1\n\
         DataDirectory {folder}\n\
         Nickname {nickname}\n\
         RunAsDaemon 0\n\
         ShutdownWaitLength 0\n\
         PathsNeededToBuildCircuits 0.67\n\
         SafeLogging 0\n\
         Log notice file {log}\n\
         ControlSocket {control}\n\
         ConnLimit 256\n\
         NumCPUs 1\n\
         GeoIPFile /dev/null\n\
         GeoIPv6File /dev/null\n\
         # The default one sends every 10 ms: a round trip takes 16 ms instead of 0.7 ms.\n\
         Schedulers Vanilla\n"
    )
}

fn relay_itself(relay: &Relay) -> String {
    let mut text = any(&relay.nickname, &relay.folder);
    text += &format!(
        "SocksPort 0\n\
         Address 127.0.0.1\n\
         ORPort 127.0.0.1:{}\n\
         AssumeReachable 1\n\
         PublishServerDescriptor 1\n\
         ContactInfo nobody@test.invalid\n\
         # Without these a relay advertises next to nothing until it has carried traffic.\n\
         BandwidthRate 1 GB\n\
         BandwidthBurst 1 GB\n\
         MaxAdvertisedBandwidth 1 GB\n",
        relay.or_port
    );
    text += if relay.exit {
        // Without the last line the summary of the policy says that it rejects.
        "ExitRelay 1\n\
         IPv6Exit 0\n\
         ExitPolicyRejectPrivate 0\n\
         ExitPolicyRejectLocalInterfaces 0\n\
         ExitPolicy accept 127.0.0.0/8:*\n\
         ExitPolicy accept *:*\n"
    } else {
        "ExitRelay 0\nExitPolicy reject *:*\n"
    };
    text
}

/// For C Tor's own circuits in a network this small: with one guard and vanguards it soon has no permitted paths
/// left, and then silently stops making circuits.
fn small() -> String {
    "VanguardsLiteEnabled 0\nNumEntryGuards 3\nNumPrimaryGuards 3\n".to_owned()
}

fn directory(authority: &Authority) -> String {
    let Authority {
        identity,
        or_port,
        directory_port,
    } = authority;
    let signing = identity.authority.as_deref().unwrap_or_default();
    let rsa = &identity.rsa;
    format!(
        "DirAuthority authority orport={or_port} no-v2 v3ident={signing} 127.0.0.1:{directory_port} {rsa}\n"
    )
}

fn fingerprint(relay: &Relay) -> Option<String> {
    relay
        .identity
        .as_ref()
        .map(|identity| format!("${}", identity.rsa))
}

/// `YYYY-MM-DD HH:MM:SS` of seconds since 1970 in UTC, by the civil calendar's 400-year cycle.
fn date_and_time(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    // Months begin in March here, so that a leap day is a year's last.
    let month = (5 * day_of_year + 2) / 153;
    let (day, month) = (
        day_of_year - (153 * month + 2) / 5 + 1,
        if month < 10 { month + 3 } else { month - 9 },
    );
    let year = 400 * cycle + year + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_868_800, "2000-03-01 00:00:00"),
            (1_709_164_800, "2024-02-29 00:00:00"),
            (1_795_173_296, "2026-11-20 11:14:56"),
        ] {
            assert_eq!(super::date_and_time(seconds), text);
        }
    }
}
