//! What the operator types and sees.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rig::process::Process;
use rig::server;
use rig::socks::{self, Line};
use rig::tor_network::ONION_PORT;
use serde_json::json;
use tempfile::TempDir;

use crate::fixture::{network, new_user, node, run, said, server as shared, wait_for};

/// The server's own limit.
const STOP: Duration = Duration::from_secs(20);

#[test]
fn help_and_version_are_told_and_nonsense_is_refused() {
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let text = said(&help);
    for words in [
        "run",
        "address",
        "check-config",
        "status",
        "index",
        "--data-dir <DIR>",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
    let version = run(&["--version"]);
    assert_eq!(
        said(&version),
        concat!("claustrum ", env!("CARGO_PKG_VERSION"), "\n")
    );
    for nonsense in [
        vec!["--listen"],
        vec!["serve"],
        vec!["status", "--reply-bytes-max", "many"],
    ] {
        let refused = run(&nonsense);
        assert_eq!(refused.status.code(), Some(64), "{nonsense:?}");
        let text = said(&refused);
        assert!(
            text.contains(nonsense[nonsense.len() - 1]) && text.contains("--help"),
            "{text}"
        );
    }
}

#[test]
fn a_mistyped_key_is_shown_with_its_place_and_the_keys_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("claustrum.toml");
    fs::write(&file, "network = \"regtest\"\n  node-cokie = \"x\"\n").unwrap();
    let refused = run(&["check-config", "--config", path(&file)]);
    assert_eq!(refused.status.code(), Some(78));
    let text = said(&refused);
    for words in [
        path(&file),
        "line 2, column 3",
        "`node-cokie`",
        "`node-cookie`",
        "`limits`",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
}

#[test]
fn every_fault_of_the_configuration_is_told_at_once() {
    let faults = [
        ("--network", "mainnet"),
        ("--node-rpc", "node.example:8332"),
        ("--tor-config", "/nonexistent/arti.toml"),
        ("--protocol-max", "9"),
        ("--server-name", "two\nlines"),
        ("--reply-bytes-max", "1"),
    ];
    let arguments: Vec<_> = faults
        .iter()
        .flat_map(|(flag, value)| [*flag, *value])
        .collect();
    for command in ["run", "check-config", "status", "address"] {
        let refused = run(&[&[command], arguments.as_slice()].concat());
        assert_eq!(refused.status.code(), Some(78), "{command}");
        let text = said(&refused);
        for (flag, _) in faults {
            let key = flag.trim_start_matches("--");
            assert!(text.contains(&format!("{key}: ")), "{flag} in {text}");
        }
    }
}

#[test]
fn check_config_prints_what_can_be_kept_and_tries_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data \"here\"");
    let cookie = node().cookie();
    let first = run(&[
        "check-config",
        "--network",
        "regtest",
        "--data-dir",
        path(&data),
        "--node-rpc",
        &node().rpc_address(),
        "--node-cookie",
        path(cookie),
        "--server-name",
        "mine",
    ]);
    assert_eq!(first.status.code(), Some(0), "{}", said(&first));
    let text = String::from_utf8(first.stdout).unwrap();
    let (settings, verdict) = text.split_once("\nthe node answers: height ").unwrap();
    let (height, advice) = verdict.split_once('\n').unwrap();
    let height: u32 = height.parse().unwrap();
    assert!((1..=node().height().unwrap()).contains(&height));
    let whitelist = advice
        .lines()
        .find_map(|line| line.strip_prefix("rpcwhitelist=__cookie__:"));
    let calls: Vec<&str> = whitelist.unwrap().split(',').collect();
    assert!(calls.contains(&"testmempoolaccept") && !calls.contains(&"sendrawtransaction"));
    for remark in [
        "warning: the node lets us send transactions",
        "usable peers: 0 onion services, 0 through exits; no transaction is taken",
    ] {
        assert!(advice.contains(remark), "{advice}");
    }

    let file = folder.path().join("kept.toml");
    fs::write(&file, settings).unwrap();
    let again = run(&["check-config", "--config", path(&file)]);
    let text = said(&again);
    assert!(text.starts_with(settings), "{text}\n{settings}");

    let port = rig::ports::free().unwrap();
    let away = run(&[
        "check-config",
        "--config",
        path(&file),
        "--node-rpc",
        &format!("127.0.0.1:{port}"),
    ]);
    assert_eq!(away.status.code(), Some(69));
    let text = said(&away);
    assert!(
        text.contains("connection refused; start bitcoind, or name its address with --node-rpc"),
        "{text}"
    );
}

#[test]
fn status_without_a_server_says_so_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let status = run(&["status", "--network", "regtest", "--data-dir", path(&data)]);
    assert_eq!(status.status.code(), Some(69));
    let text = said(&status);
    assert!(text.contains("is the server running"), "{text}");
    assert!(!data.is_dir());
}

#[test]
fn a_data_directory_that_others_can_read_is_refused_with_what_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let arguments = ["--network", "regtest", "--data-dir", path(&data)];
    let address = || run(&[&["address"], arguments.as_slice()].concat());
    assert_eq!(address().status.code(), Some(0));
    for (name, mode) in [
        ("regtest", 0o755),
        ("regtest/doors", 0o750),
        ("regtest/doors/main.seed", 0o644),
    ] {
        let named = data.join(name);
        fs::set_permissions(&named, Permissions::from_mode(mode)).unwrap();
        let refused = address();
        assert_eq!(refused.status.code(), Some(78), "{name}");
        let text = said(&refused);
        let (_, remedy) = text.trim().split_once("mend it with: ").unwrap();
        assert_eq!(remedy, format!("chmod -R go= {}", named.display()));
        assert!(
            Command::new("sh")
                .args(["-c", remedy])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(address().status.code(), Some(0), "{name}");
    }
}

#[test]
fn on_a_pipe_no_address_is_printed_and_the_index_is_busy() {
    let out = shared().stdout();
    assert_eq!(out, "the onion address: claustrum address\n");
    assert!(!shared().stderr().contains(".onion"));
    let digest = shared().run("index digest").unwrap();
    let text = said(&digest);
    assert_eq!(digest.status.code(), Some(75), "{text}");
    let status = shared().run("status").unwrap();
    assert_eq!(status.status.code(), Some(0));
    assert!(!said(&status).contains(".onion"));
}

#[test]
fn a_first_run_on_a_terminal_shows_the_address_that_was_told_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let flags = flags(&folder);
    let told = run(&[&["address"], words(&flags).as_slice()].concat());
    let address = onion_address(&said(&told));

    let mut terminal = Terminal::start(&folder, &flags);
    let shown = wait_for("address on the terminal", || {
        let shown = terminal.shown();
        shown
            .contains("The wallet's device needs Tor.")
            .then_some(shown)
    });
    assert_eq!(onion_address(&shown), address);
    let code = shown
        .lines()
        .filter(|line| line.contains('\u{2580}') && line.contains("\x1b[38;5;16;48;5;231m"));
    assert!(code.count() >= 17, "{shown}");

    wait_for("reachable door", || {
        let status = run(&[&["status"], words(&flags).as_slice()].concat());
        said(&status).contains("door      reachable").then_some(())
    });
    let stream = socks::connect(
        network().socks_port(),
        &new_user("first"),
        &address,
        ONION_PORT,
    );
    let mut line = Line::new(stream.unwrap());
    line.call("server.ping", json!([])).unwrap();

    assert_eq!(terminal.interrupt(), Some(0), "{}", terminal.shown());
    let shown = terminal.shown();
    let (_, after_the_bars) = shown.rsplit_once("INFO tor 100 %, door reachable").unwrap();
    assert!(
        after_the_bars.lines().count() == 2 && !after_the_bars.contains('\u{2588}'),
        "{shown}"
    );
    let status = run(&[&["status"], words(&flags).as_slice()].concat());
    assert_eq!(status.status.code(), Some(69), "{}", said(&status));
    digest_is_printed(&flags);
    let check = run(&[&["index", "check"], words(&flags).as_slice()].concat());
    assert_eq!(check.status.code(), Some(0), "{}", said(&check));
    assert!(said(&check).starts_with("the index is whole: "));
    everything_is_for_the_owner_alone(&folder.path().join("data"));
}

fn digest_is_printed(flags: &[String]) {
    let digest = run(&[&["index", "digest"], words(flags).as_slice()].concat());
    let text = said(&digest);
    assert_eq!(digest.status.code(), Some(0), "{text}");
    let tip: Vec<_> = text.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(tip[0], "tip");
    assert_eq!(tip[2], node().block_hash(tip[1].parse().unwrap()).unwrap());
    let names = ["commitment", "headers", "scripts", "fingerprints"];
    for (line, name) in text.lines().skip(1).zip(names) {
        let (found, digits) = line.split_once(char::is_whitespace).unwrap();
        assert_eq!((found, digits.trim().len()), (name, 64), "{text}");
    }
}

fn everything_is_for_the_owner_alone(folder: &Path) {
    let mut folders = vec![folder.to_path_buf()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                assert_eq!(mode(&path), 0o600, "{}", path.display());
                files += 1;
            }
        }
    }
    assert!(files > 5, "{files} files");
}

/// The server on a pseudo-terminal, by `script` of util-linux; what it shows goes into a file.
struct Terminal {
    process: Process,
    shown: PathBuf,
}

impl Terminal {
    fn start(folder: &TempDir, flags: &[String]) -> Self {
        let shown = folder.path().join("shown");
        let quoted: Vec<_> = flags.iter().map(|flag| format!("'{flag}'")).collect();
        let program = server::program().unwrap();
        // A shell that stays would take the interrupt too, and tell its own status.
        let command = format!("exec '{}' {}", program.display(), quoted.join(" "));
        let mut script = server::bare("script");
        script
            .env("SHELL", "/bin/sh")
            .args(["-q", "-e", "-f", "-c", &command, "/dev/null"])
            .stdin(Stdio::piped());
        script.stdout(File::create(&shown).unwrap());
        let process = Process::start("script", &mut script)
            .expect("this test needs the program `script` (Debian package bsdutils)");
        Self { process, shown }
    }

    fn shown(&self) -> String {
        fs::read_to_string(&self.shown).unwrap()
    }

    /// Ctrl-C, and the exit status.
    fn interrupt(&mut self) -> Option<i32> {
        let mut keys = self.process.stdin().unwrap();
        keys.write_all(b"\x03").unwrap();
        self.process.wait(STOP).unwrap().code()
    }
}

/// Flags of a server with a new data directory beside the shared node.
fn flags(folder: &TempDir) -> Vec<String> {
    let config = network().arti_config();
    [
        ("--data-dir", path(&folder.path().join("data"))),
        ("--network", "regtest"),
        ("--node-rpc", &node().rpc_address()),
        ("--node-cookie", path(node().cookie())),
        ("--tor-config", path(&config)),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()])
    .collect()
}

fn words(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

/// The first onion address in a text.
fn onion_address(text: &str) -> String {
    let (before, _) = text
        .split_once(".onion")
        .unwrap_or_else(|| panic!("{text}"));
    let name = before
        .rsplit(|c: char| !c.is_ascii_alphanumeric())
        .next()
        .unwrap();
    assert_eq!(name.len(), 56, "{text}");
    format!("{name}.onion")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
