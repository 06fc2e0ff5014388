//! What comes with the program for installing it, tried by the programs that it is for.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rig::programs::{Program, repository};
use rig::server;

use crate::fixture::{run, said};

/// What systemd itself calls OK; an ordinary service has 9.6.
const EXPOSURE_MAX: f64 = 2.0;

#[test]
fn systemd_understands_the_unit_and_finds_it_closed() {
    let folder = tempfile::tempdir().unwrap();
    let unit = unit_for_this_machine(folder.path());
    let verdict = systemd_analyze(&["verify", path(&unit)]);
    assert_eq!(said(&verdict), "");
    assert!(verdict.status.success());

    let verdict = systemd_analyze(&["security", "--offline=true", "--no-pager", path(&unit)]);
    let text = said(&verdict);
    let (_, rest) = text
        .split_once("Overall exposure level for claustrum.service: ")
        .unwrap();
    let exposure: f64 = rest.split(' ').next().unwrap().parse().unwrap();
    println!("exposure: {exposure}");
    assert!(exposure <= EXPOSURE_MAX, "{text}");
}

#[test]
fn the_unit_starts_what_the_readme_installs() {
    let unit = read("docs/claustrum.service");
    let value = |key: &str| {
        let mut values = unit
            .lines()
            .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        values.next().unwrap_or_else(|| panic!("no {key}"))
    };
    let readme = read("README.md");
    let (folder, program) = value("ExecStart").rsplit_once('/').unwrap();
    assert!(readme.contains(&format!("target/release/{program} {folder}/")));
    assert!(readme.contains(&format!(
        "--data-dir /var/lib/{} address",
        value("StateDirectory")
    )));
    assert!(readme.contains(&format!("sudo -u {} ", value("User"))));
    assert_eq!(value("Group"), value("User"));
    let operating = read("docs/operating.md");
    let documented: BTreeSet<_> = operating.lines().filter_map(exit_status).collect();
    for status in value("RestartPreventExitStatus").split(' ') {
        assert!(documented.contains(status), "{status}");
    }
}

#[test]
fn tor_takes_the_example_as_it_is_and_with_all_its_lines() {
    let text = read("torrc.example");
    let all: String = text
        .lines()
        .map(|line| {
            line.strip_prefix('#')
                .filter(|rest| !rest.starts_with(' '))
                .unwrap_or(line)
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_ne!(text, all);
    for torrc in [text, all] {
        let folder = tempfile::tempdir().unwrap();
        // Tor looks whether it is there.
        let secrets = folder.path().join("onion_auth");
        DirBuilder::new().mode(0o700).create(&secrets).unwrap();
        let file = folder.path().join("torrc");
        fs::write(
            &file,
            torrc.replace("/var/lib/tor/onion_auth", path(&secrets)),
        )
        .unwrap();
        let mut tor = Command::new(Program::Tor.path().unwrap());
        tor.args(["--verify-config", "-f", path(&file), "--DataDirectory"]);
        let verdict = tor.arg(folder.path().join("data")).output().unwrap();
        let said = said(&verdict);
        assert!(
            verdict.status.success() && said.contains("Configuration was valid"),
            "{said}"
        );
        // Who runs the tests is not of the file.
        let complaint = |line: &&str| line.contains("[warn]") && !line.contains("as root");
        assert_eq!(said.lines().find(complaint), None);
    }
}

#[test]
fn the_program_takes_the_example_of_its_configuration() {
    let example = repository().join("claustrum.example.toml");
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let address = |config: &Path| {
        let network = ["address", "--network", "regtest", "--data-dir", path(&data)];
        run(&[network.as_slice(), &["--config", path(config)]].concat())
    };
    let taken = address(&example);
    assert!(taken.status.success(), "{}", said(&taken));
    // The same check notices a key that does not exist.
    let other = folder.path().join("other.toml");
    fs::write(
        &other,
        read("claustrum.example.toml").replace("#node-rpc", "node-rcp"),
    )
    .unwrap();
    assert_eq!(address(&other).status.code(), Some(78));
}

/// The unit with a program that exists here, and without the user that may not.
fn unit_for_this_machine(folder: &Path) -> PathBuf {
    let text = read("docs/claustrum.service");
    let program = server::program().unwrap();
    let here = text.replace("/usr/local/bin/claustrum", path(&program));
    assert_ne!(here, text);
    let file = folder.join("claustrum.service");
    fs::write(&file, here).unwrap();
    file
}

/// Needs no running systemd.
fn systemd_analyze(arguments: &[&str]) -> Output {
    let mut command = Command::new("systemd-analyze");
    let started = command.args(arguments).env("SYSTEMD_COLORS", "0").output();
    started.expect("this test needs the program `systemd-analyze` (Debian package systemd)")
}

/// The first cell of a row of the table of exit statuses.
fn exit_status(line: &str) -> Option<&str> {
    let cell = line.strip_prefix("| ")?.split(' ').next()?;
    cell.parse::<u8>().ok().map(|_| cell)
}

fn read(name: &str) -> String {
    fs::read_to_string(repository().join(name)).unwrap()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
