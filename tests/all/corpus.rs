//! The fuzz targets over their corpus, so that what they once found stays found on machines without a fuzzer.

#[path = "../../fuzz/bodies.rs"]
mod bodies;
#[path = "../../fuzz/deliveries.rs"]
mod deliveries;
#[path = "../../fuzz/files.rs"]
mod files;
#[path = "../../fuzz/rest.rs"]
mod rest;

use std::fs;
use std::path::Path;

#[test]
fn sessions() {
    each("electrum_session", bodies::electrum_session);
}

#[test]
fn lines() {
    each("electrum_line", bodies::electrum_line);
}

#[test]
fn deliveries_over_v1() {
    each("delivery_v1", deliveries::delivery_v1);
}

#[test]
fn deliveries_over_v2() {
    each("delivery_v2", deliveries::delivery_v2);
}

#[test]
fn messages_of_peers() {
    each("delivery_messages", deliveries::delivery_messages);
}

#[test]
fn block_files() {
    each("block_file", files::block_file);
}

#[test]
fn undo_records() {
    each("undo_record", files::undo_record);
}

#[test]
fn what_blocks_spend_by_rest() {
    each("rest_spent", rest::rest_spent);
}

fn each(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let input = fs::read(&path).unwrap();
        let outcome = std::panic::catch_unwind(|| body(&input));
        assert!(outcome.is_ok(), "a finding with {}", path.display());
    }
}
