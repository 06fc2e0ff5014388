//! Nothing that a client said is ever written anywhere: canaries, and a search for them in all their forms.

mod canary;
mod core_dump;
mod departure;
mod drive;
mod remains;
mod search;
mod secrets;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use bitcoin::hex::DisplayHex as _;
use rig::node::{self, Node};
use rig::ports;
use rig::programs::example;
use rig::server::{Claustrum, Loopback, Options};

use crate::fixture;
use canary::Canary;
use departure::Departure;
use remains::{Remains, Watch};
use search::{Finds, shown_of_process};
use secrets::{Secrets, cookie};

const NOTHING: Finds = Finds::new();

#[test]
fn the_product_tells_nothing_of_its_clients_at_any_verbosity() {
    let watch = Watch::new();
    visit_the_product(&watch, &watch.verbose());
}

#[test]
fn the_product_tells_nothing_of_its_clients_by_default() {
    let watch = Watch::new();
    visit_the_product(&watch, &watch.quiet());
}

/// A client asks everything and sends a payment; no canary is left anywhere, and what is there is found in each of the places.
fn visit_the_product(watch: &Watch, options: &Options) {
    let mut node = Node::start_funded(&node::Options::default()).unwrap();
    let secrets = Secrets::new(&node);
    let mut departure = Departure::new();
    let network = fixture::network();
    let options = Options {
        config: Some(departure.config()),
        ..options.clone()
    };
    let mut server = Claustrum::start(&node, network, &options).unwrap();
    let onion_address = server.onion_address().unwrap().trim_end_matches(".onion");
    let onion_address = Canary::new("onion address", onion_address);
    let cookie_before = cookie(&node);
    let connect = |user: &str| server.connect(network, user).unwrap();
    let mut line = drive::drive(&connect, &mut node, &secrets);
    departure.send(&mut line, &node);
    let commands = ["status", "check-config"].map(|command| {
        let output = server.run(command).unwrap();
        [output.stdout, output.stderr].concat()
    });
    let shown = shown_of_process(program(server.process().id(), &options));
    drive::leave_hanging(&mut line, &secrets);
    assert!(server.stop().unwrap().success());

    let mut ports = BTreeSet::from_iter(network.relay_ports().unwrap());
    ports.insert(node.rpc_port());
    let listing = options.trace.as_ref().map(|trace| trace.read().unwrap());
    let remains = Remains {
        said: vec![
            ("standard output", server.stdout().into()),
            ("standard error", server.stderr().into()),
            ("process", shown),
            ("commands", commands.concat()),
        ],
        data_dir: Some(server.data_dir()),
        writes: listing.map(|listing| (listing, ports)),
    };
    assert_silent(&remains, &secrets, &[cookie_before, cookie(&node)]);
    assert_eq!(remains.find(departure.canaries()), NOTHING);
    assert_eq!(remains.find_said([&onion_address]), NOTHING);
    remains.assert_private();
    watch.assert_nothing_lies_about();
    assert_found_where_it_is(&remains, &secrets);
}

/// It is built with every word that a release leaves out, and hands transactions to the node, which refuses them in
/// words of its own.
#[test]
fn the_development_program_tells_nothing_either() {
    let watch = Watch::new();
    let mut node = Node::start_funded(&node::Options::default()).unwrap();
    let secrets = Secrets::new(&node);
    let mut server = Loopback::start(&node, &watch.verbose()).unwrap();
    let cookie_before = cookie(&node);
    let connect = |_: &str| server.connect().unwrap();
    let mut line = drive::drive(&connect, &mut node, &secrets);
    drive::leave_hanging(&mut line, &secrets);
    assert!(server.stop().unwrap().success());
    let remains = Remains {
        said: vec![
            ("standard output", server.stdout().into()),
            ("standard error", server.stderr().into()),
        ],
        data_dir: Some(server.data_dir()),
        ..Remains::default()
    };
    assert_silent(&remains, &secrets, &[cookie_before, cookie(&node)]);
    watch.assert_nothing_lies_about();
}

fn assert_silent(remains: &Remains, secrets: &Secrets, cookies: &[Canary]) {
    let hidden = secrets.of_client().into_iter().chain(cookies);
    assert_eq!(remains.find(hidden), NOTHING);
    // The chain is public and lies in the index, but the log does not tell who asked for what.
    assert_eq!(remains.find_said([&secrets.known_txid]), NOTHING);
}

/// A search that finds nothing anywhere proves nothing.
fn assert_found_where_it_is(remains: &Remains, secrets: &Secrets) {
    let words = |text: &str| Canary::new("words", text);
    for (canary, places) in [
        (
            words("address: claustrum address"),
            ["standard output", "writes"],
        ),
        (
            words("a second signal ends at once"),
            ["standard error", "writes"],
        ),
        (words("--data-dir"), ["process", ""]),
        (words("the node answers: height"), ["commands", ""]),
        (secrets.known_txid.clone(), ["data directory", "writes"]),
    ] {
        let found = remains.find([&canary]);
        for place in places {
            let looked = !place.is_empty() && (place != "writes" || remains.writes.is_some());
            assert!(
                !looked || found.iter().any(|find| find.0 == place),
                "nothing in {place}: {found:?}"
            );
        }
    }
}

/// A bridge that is not there, and a line that cannot be read.
#[test]
fn bridges_stay_out_of_the_log() {
    let watch = Watch::new();
    let node = Node::start(&node::Options::default()).unwrap();
    let port = ports::free().unwrap();
    let address = Canary::new("address of a bridge", format!("127.0.0.1:{port}"));
    let fingerprint = Canary::text("").bytes[..20].to_upper_hex_string();
    let fingerprint = Canary::new("fingerprint of a bridge", fingerprint);
    let line = format!("{} {}", address.as_text(), fingerprint.as_text());
    for (line, status) in [(line.clone(), 0), (format!("{line} {line}"), 78)] {
        let mut options = watch.verbose();
        let fragment = watch.fragment(&format!("enabled = true\nbridges = [\"{line}\"]\n"));
        options.extra = vec!["--tor-config".to_owned(), fragment];
        let mut server = Claustrum::launch(&node, fixture::network(), &options).unwrap();
        if status == 0 {
            // The second attempt begins after the first one has failed.
            let connect = format!("sin_port=htons({port})");
            fixture::wait_for("second attempt to reach the bridge", || {
                let calls = fs::read_to_string(watch.trace().file).ok()?;
                (calls.matches(&connect).count() > 1).then_some(())
            });
            server.process().terminate();
        }
        let ended = server.process().wait(fixture::PATIENCE).unwrap();
        assert_eq!(ended.code(), Some(status), "{}", server.stderr());
        let remains = Remains {
            said: vec![
                ("standard output", server.stdout().into()),
                ("standard error", server.stderr().into()),
            ],
            ..Remains::default()
        };
        assert_eq!(remains.find([&fingerprint, &address]), NOTHING);
    }
}

#[test]
fn a_program_that_leaks_is_caught() {
    let watch = Watch::new();
    let request = Canary::text("request");
    let output = leak(&watch, &[], &request);
    assert!(output.status.success());
    let remains = Remains {
        said: vec![
            ("standard output", output.stdout),
            ("standard error", output.stderr),
        ],
        writes: Some((watch.trace().read().unwrap(), BTreeSet::new())),
        ..Remains::default()
    };
    let found = ["standard error", "writes"].map(|place| (place, "request", "raw"));
    assert_eq!(remains.find([&request]), Finds::from(found));
}

#[test]
fn a_panic_tells_its_place_alone() {
    let watch = Watch::new();
    let request = Canary::text("request");
    let output = leak(&watch, &["panic"], &request);
    assert_eq!(output.status.code(), Some(101));
    let said = String::from_utf8(output.stderr).unwrap();
    let line = said
        .strip_prefix("panic at examples/leak.rs:")
        .and_then(|rest| rest.strip_suffix('\n'));
    assert!(
        line.is_some_and(|line| line.parse::<u32>().is_ok()),
        "{said}"
    );
    let remains = Remains {
        said: vec![("standard output", output.stdout)],
        writes: Some((watch.trace().read().unwrap(), BTreeSet::new())),
        ..Remains::default()
    };
    assert_eq!(remains.find([&request]), NOTHING);
}

/// Runs the program that leaks, as verbose as can be.
fn leak(watch: &Watch, arguments: &[&str], request: &Canary) -> Output {
    let Options {
        launcher, trace, ..
    } = watch.verbose();
    let mut child = Command::new(&launcher[0])
        .args(&launcher[1..])
        .args(trace.unwrap().words().unwrap())
        .arg(example("leak").unwrap())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let line = format!("{{\"method\":\"{}\"}}\n", request.as_text());
    child
        .stdin
        .take()
        .unwrap()
        .write_all(line.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

/// The process of the server itself: under strace it is the child.
fn program(id: u32, options: &Options) -> u32 {
    if options.trace.is_none() {
        return id;
    }
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    children.trim().parse().unwrap()
}
