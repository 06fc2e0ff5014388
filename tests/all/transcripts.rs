//! Conversations written down, held over an in-memory stream.
//!
//! Each file below `transcripts/` is one session. The folder says what the server knows. `> ` begins what the client
//! sends, `< ` what it gets; several lines sent together may be answered in any order. `$NAME` stands for the server's
//! name, `!` for the end of the stream.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use claustrum::chain::Network;
use claustrum::electrum::{Identity, ProtocolVersion};
use claustrum::query::{CatchUp, Changes, Readiness, Speed};
use claustrum::session::Services;

use crate::client::{Client, nothing_indexed};
use crate::fixture::Fixture;

#[tokio::test]
async fn while_nothing_is_indexed() {
    hold("nothing-indexed", &nothing_indexed()).await;
}

#[tokio::test]
async fn on_a_chain_of_three_blocks() {
    let fixture = Fixture::three_blocks();
    hold("three-blocks", &fixture.services()).await;
}

#[tokio::test]
async fn by_the_newest_version() {
    let fixture = Fixture::three_blocks();
    let services = fixture.speaking(ProtocolVersion::V1_7);
    hold("three-blocks-1.7", &services).await;
}

#[tokio::test]
async fn while_the_index_is_being_built() {
    let fixture = Fixture::three_blocks();
    let readiness = Readiness::CatchingUp(CatchUp {
        indexed: 3,
        target: 12,
        speed: Some(Speed {
            blocks_per_minute: 1,
            minutes_left: 9,
        }),
    });
    fixture.publish(readiness, Changes::default());
    hold("catching-up", &fixture.services()).await;
}

#[tokio::test]
async fn while_the_node_is_silent() {
    let fixture = Fixture::three_blocks();
    fixture.publish(Readiness::Stale, Changes::default());
    hold("stale", &fixture.services()).await;
}

/// Holds every conversation of a folder.
async fn hold(folder: &str, services: &Arc<Services>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/all/transcripts")
        .join(folder);
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let text = text.replace("$NAME", &Identity::of(Network::Regtest).name);
        converse(&name, &text, services).await;
    }
}

async fn converse(name: &str, text: &str, services: &Arc<Services>) {
    let mut client = Client::connect(services);
    let mut lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .peekable();
    while lines.peek().is_some() {
        let mut sent = String::new();
        while let Some(line) = lines.next_if(|line| line.starts_with("> ")) {
            sent.push_str(line.trim_start_matches("> "));
            sent.push('\n');
        }
        client.send(sent.as_bytes()).await;
        let mut expected = Vec::new();
        let mut got = Vec::new();
        while let Some(line) = lines.next_if(|line| line.starts_with("< ")) {
            expected.push(line.trim_start_matches("< ").to_owned());
            got.push(client.line().await.unwrap_or_default());
        }
        expected.sort();
        got.sort();
        assert_eq!(got, expected, "{name}, after {sent}");
        if lines.next_if_eq(&"!").is_some() {
            assert_eq!(client.line().await, None, "{name}, after {sent}");
            return;
        }
        assert!(
            lines.peek().is_none_or(|line| line.starts_with("> ")),
            "{name}: {:?}",
            lines.peek()
        );
    }
    // Nothing that was not expected comes after it.
    client.finish_sending().await;
    assert_eq!(client.line().await, None, "{name}");
}
