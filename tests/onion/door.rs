//! The door as its clients and its operator meet it: circuits and streams, and an address that survives everything.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use rig::server::{Claustrum, Options};
use rig::socks::{self, Line};
use rig::tor_network::ONION_PORT;
use rig::wallet::{Wallet, Way};
use serde_json::json;

use crate::fixture::{PATIENCE, client_of, network, new_user, node, run, said, server, wait_for};

/// Streams that one circuit may have, as docs/limits.md has it.
const STREAMS_MAX: usize = 16;
/// How long an orderly end may take with a handful of clients.
const STOP: Duration = Duration::from_secs(10);

#[test]
fn each_user_has_one_circuit_and_at_most_sixteen_streams_on_it() {
    let (alice, bob) = (new_user("alice"), new_user("bob"));
    let mut streams: Vec<_> = (0..STREAMS_MAX).map(|_| connect(&alice).unwrap()).collect();
    streams.iter_mut().for_each(ping);
    let mut of_bob = connect(&bob).unwrap();
    ping(&mut of_bob);
    for user in [&alice, &bob] {
        assert_eq!(network().rendezvous(user).unwrap(), 1, "{user}");
    }

    let seventeenth = connect(&alice);
    assert!(seventeenth.is_err(), "a seventeenth stream was let in");
    streams.iter_mut().for_each(ping);
    drop(streams.pop());
    streams.push(wait_for("place for a new stream", || connect(&alice).ok()));
    streams.iter_mut().for_each(ping);
    ping(&mut of_bob);
    assert_eq!(network().rendezvous(&alice).unwrap(), 1);
}

#[test]
fn a_wrong_port_ends_the_streams_of_its_own_circuit_alone() {
    let (curious, other) = (new_user("curious"), new_user("other"));
    let mut streams = [&curious, &curious].map(|user| connect(user).unwrap());
    let mut of_other = connect(&other).unwrap();
    streams.iter_mut().for_each(ping);
    ping(&mut of_other);

    let onion_address = server().onion_address().unwrap();
    let tried = socks::connect(network().socks_port(), &curious, onion_address, 80);
    assert!(tried.is_err(), "port 80 was let in");
    for stream in &mut streams {
        assert_eq!(stream.read(PATIENCE).unwrap(), None);
    }
    ping(&mut of_other);
}

#[test]
fn thirty_circuits_at_once_are_all_served() {
    let way = Way::Tor {
        socks_port: network().socks_port(),
        user: new_user("burst"),
        onion_address: server().onion_address().unwrap().to_owned(),
    };
    let steps = Wallet::run("burst", &way, &["--n", "30"], PATIENCE).unwrap();
    let times = steps[0]["milliseconds"].as_array().unwrap();
    assert_eq!(times.len(), 30);
    let slowest = times
        .iter()
        .filter_map(|time| time.as_f64())
        .fold(0.0, f64::max);
    println!("slowest of 30: {slowest:.0} ms");
}

#[test]
fn the_address_survives_restarts_kills_and_the_loss_of_all_that_tor_keeps() {
    let mut claustrum = Claustrum::start(node(), network(), &Options::default()).unwrap();
    let address = claustrum.onion_address().unwrap().to_owned();
    let tor = claustrum.data_dir().join("regtest/tor");
    let losses: [(&str, Loss); 4] = [
        ("an orderly end", |claustrum, _| end_with_clients(claustrum)),
        ("kill -9", |claustrum, _| kill_later(claustrum)),
        ("the loss of its keystore", |claustrum, tor| {
            kill_later(claustrum);
            fs::remove_dir_all(tor.join("state/keystore")).unwrap();
        }),
        ("the loss of all of Tor's state", |claustrum, tor| {
            kill_later(claustrum);
            fs::remove_dir_all(tor).unwrap();
        }),
    ];
    for (what, happen) in losses {
        happen(&mut claustrum, &tor);
        let began = Instant::now();
        claustrum.start_again(network()).unwrap();
        println!("answers {:.1?} after {what}", began.elapsed());
        let said = claustrum.run("address").unwrap().stdout;
        assert!(String::from_utf8_lossy(&said).contains(&address), "{what}");
    }
}

/// What happens to a server and to Tor's directory in its data.
type Loss = fn(&mut Claustrum, &Path);

/// Kills it when what it has published is older than a second: new introduction points go into a new descriptor, which
/// directories take only with a higher revision counter, and that counts seconds.
fn kill_later(claustrum: &mut Claustrum) {
    std::thread::sleep(Duration::from_secs(2));
    claustrum.kill().unwrap();
}

/// SIGTERM while clients are there: they see the end of their streams, and the operator sees nothing bad.
fn end_with_clients(claustrum: &mut Claustrum) {
    let mut clients: Vec<_> = (0..4).map(|_| client_of(claustrum)).collect();
    for client in &mut clients {
        client
            .call("blockchain.headers.subscribe", json!([]))
            .unwrap();
    }
    let began = Instant::now();
    let status = claustrum.stop().unwrap();
    assert_eq!(status.code(), Some(0), "{}", claustrum.stderr());
    println!("ended within {:.1?}", began.elapsed());
    assert!(began.elapsed() < STOP);
    for client in &mut clients {
        assert_eq!(client.read(PATIENCE).unwrap(), None);
    }
    let log = claustrum.stderr();
    assert!(!log.contains("panic") && !log.contains("ERROR"), "{log}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut claustrum = Claustrum::start(node(), network(), &Options::default()).unwrap();
    let mut greedy = client_of(&claustrum);
    // What it asks for and never reads keeps its session busy for as long as sessions may be.
    let request = json!({ "id": 0, "method": "blockchain.block.headers", "params": [0, 100] });
    let requests = format!("{request}\n").repeat(400);
    greedy.send_bytes(requests.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    claustrum.process().terminate();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(
        claustrum.process().ended().unwrap(),
        None,
        "nothing kept it from ending"
    );
    let began = Instant::now();
    let status = claustrum.stop().unwrap();
    println!("ended {:.1?} after the second signal", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_second_instance_is_refused_and_the_first_goes_on() {
    let second = server().run("run").unwrap();
    let text = said(&second);
    assert_eq!(second.status.code(), Some(75), "{text}");
    assert!(text.contains("another"), "{text}");
    ping(&mut client_of(server()));
}

#[test]
fn another_seed_is_no_silent_new_address() {
    let mut claustrum = Claustrum::launch(node(), network(), &Options::default()).unwrap();
    let instance = claustrum.data_dir().join("regtest");
    let keystore = instance.join("tor/state/keystore");
    wait_for("key in Tor's keystore", || keys(&keystore));
    claustrum.kill().unwrap();
    let before = keys(&keystore).unwrap();

    let seed = instance.join("doors/main.seed");
    fs::write(&seed, format!("{}\n", "5e".repeat(32))).unwrap();
    let run = claustrum.run("run").unwrap();
    let text = said(&run);
    assert_eq!(run.status.code(), Some(65), "{text}");
    assert!(text.contains("belongs to another onion address"), "{text}");
    assert_eq!(keys(&keystore).unwrap(), before);
}

#[test]
fn a_fragment_that_cannot_work_is_refused_by_the_name_of_its_key_and_no_bridge_is_ever_shown() {
    let folder = tempfile::tempdir().unwrap();
    let bridge = "192.0.2.7:443 0123456789ABCDEF0123456789ABCDEF01234567";
    for (fragment, named) in [
        (
            "[vanguards]\nmode = \"disabled\"\n".to_owned(),
            "`vanguards`",
        ),
        (
            format!("[bridges]\nenable = true\nbridges = [\"{bridge}\"]\n"),
            "`bridges.enable`",
        ),
        (
            format!("[bridges]\nbridges = [\"{bridge} nonsense\"]\n"),
            "line 2",
        ),
    ] {
        let run = run_with_fragment(folder.path(), &fragment);
        let text = said(&run);
        assert_eq!(run.status.code(), Some(78), "{text}");
        assert!(text.contains(named), "{text}");
        assert!(
            !text.contains("192.0.2.7") && !text.contains("0123456789"),
            "{text}"
        );
    }
    let fragment = format!("[bridges]\nenabled = true\nbridges = [\"{bridge}\"]\n");
    shows_no_bridge(folder.path(), &fragment);
}

/// A server whose only bridge cannot be reached: running, asked for its status, and ended.
fn shows_no_bridge(folder: &Path, fragment: &str) {
    let file = folder.join("bridge.toml");
    fs::write(&file, fragment).unwrap();
    let extra = vec!["--tor-config".to_owned(), file.display().to_string()];
    let options = Options {
        extra,
        ..Options::default()
    };
    let mut claustrum = Claustrum::launch(node(), network(), &options).unwrap();
    let status = wait_for("status", || {
        let status = claustrum.run("status").unwrap();
        status.status.success().then(|| said(&status))
    });
    let config = said(&claustrum.run("check-config").unwrap());
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(claustrum.stop().unwrap().code(), Some(0));
    let all = [status, config, claustrum.stdout(), claustrum.stderr()].concat();
    for part in ["192.0.2", "0123456789", "7:443"] {
        assert!(!all.contains(part), "{part} in {all}");
    }
}

fn run_with_fragment(folder: &Path, fragment: &str) -> Output {
    let (file, data) = (folder.join("fragment.toml"), folder.join("data"));
    fs::write(&file, fragment).unwrap();
    let [file, data] = [&file, &data].map(|path| path.to_str().unwrap());
    run(&[
        "--network",
        "regtest",
        "--data-dir",
        data,
        "--tor-config",
        file,
    ])
}

/// Every file of Tor's keystore with its content, once there is one.
fn keys(keystore: &Path) -> Option<Vec<(PathBuf, Vec<u8>)>> {
    let mut found = Vec::new();
    let mut folders = vec![keystore.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).ok()? {
            let path = entry.ok()?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.clone(), fs::read(path).ok()?));
            }
        }
    }
    found.sort();
    (!found.is_empty()).then_some(found)
}

/// A stream of a user to the shared server.
fn connect(user: &str) -> anyhow::Result<Line> {
    let onion_address = server().onion_address()?;
    socks::connect(network().socks_port(), user, onion_address, ONION_PORT).map(Line::new)
}

fn ping(line: &mut Line) {
    line.call("server.ping", json!([])).unwrap();
}
