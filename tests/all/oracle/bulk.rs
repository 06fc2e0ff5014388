//! An index built in bulk holds what one built block by block holds, and answers as the node's JSON says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use claustrum::limits;
use rig::node::{Node, Options};
use rig::reorganise::{self, Fate};
use rig::server::{self, Loopback};
use rig::shape::Shape;

use super::direct::{Direct, Way};
use super::{rest, wire};

const WAYS: [Way; 5] = [
    Way::BlockByBlock,
    Way::BulkByFiles,
    Way::BulkInParts,
    Way::BulkByRest,
    Way::BulkAsJson,
];

#[test]
fn every_way_to_the_tip_leads_to_the_same_index() -> Result<()> {
    let node = Node::start(&Options {
        // Files of 64 KiB, so that there are many.
        extra: ["-fastprune", "-rest=1", "-debug=http"]
            .map(str::to_owned)
            .into(),
        ..Options::default()
    })?;
    let mut shape = Shape::new(31);
    shape.build(&node)?;
    reorganise::reorganise(&node, 3, 4, Fate::Moved)?;
    shape.forget_lost(&node)?;
    shape.grow(&node, 3)?;
    let mut old = WAYS
        .map(|way| Direct::start_by(&node, way).map(|direct| (way, direct)))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    assert_same(&node, &mut old, "at first")?;
    let by_rest = rest::requests(&node)?.len();
    ensure!(by_rest > 100, "only {by_rest} blocks came by REST");

    shape.grow(&node, 40)?;
    start_again(&mut old)?;
    assert_same(
        &node,
        &mut old,
        "after 40 more blocks, some of them in delta rows",
    )?;

    reorganise::reorganise(&node, 25, 60, Fate::Moved)?;
    start_again(&mut old)?;
    assert_same(&node, &mut old, "after a reorg into segments")?;

    for way in WAYS {
        old.push((way, Direct::start_by(&node, way)?));
    }
    start_again(&mut old[..WAYS.len()])?;
    assert_same(&node, &mut old, "with new ones beside the old")
}

fn start_again(subjects: &mut [(Way, Direct)]) -> Result<()> {
    subjects
        .iter_mut()
        .try_for_each(|(_, direct)| direct.start_again())
}

/// Holds every running index against the node, stops it, and compares it with the first one.
fn assert_same(node: &Node, subjects: &mut [(Way, Direct)], when: &str) -> Result<()> {
    let expected = rig::oracle::scripts(node)?;
    let mut first = None;
    for (way, direct) in subjects {
        // What digests do not show is how answers come about: places only files lead to.
        if *way == Way::BulkByFiles {
            direct.assert_equal(node, &expected)
        } else {
            direct.assert_at_tip(node)
        }
        .with_context(|| format!("{way:?}, {when}"))?;
        direct.stop();
        direct.check().with_context(|| format!("{way:?}, {when}"))?;
        let digests = direct.digests()?;
        let first = first.get_or_insert_with(|| digests.clone());
        ensure!(
            digests == *first,
            "{way:?}, {when}: {digests:?}, not {first:?}"
        );
    }
    println!("{} scripts, {when}", expected.len());
    Ok(())
}

/// Enough for some to hit each stage.
const INTERRUPTIONS: u64 = 12;
/// Files that a bulk of this chain makes before it is done.
const FILES: u64 = 8;
/// A bulk takes about a second on a machine that does nothing else.
const BULK: Duration = Duration::from_secs(60);

#[test]
fn interrupted_at_any_moment_a_bulk_is_done_in_the_end() -> Result<()> {
    let node = Node::start(&Options {
        extra: vec!["-fastprune".to_owned()],
        ..Options::default()
    })?;
    let mut shape = Shape::new(32);
    shape.build(&node)?;
    // Without transactions, so that the test need not make them.
    node.mine(limits::BULK_BLOCKS_MIN + limits::DELTA_BLOCKS_MIN)?;
    shape.grow(&node, 20)?;

    let mut before = None;
    let mut server = Loopback::start(&node, &server::Options::default())?;
    let index = server.data_dir().join("regtest/index");
    let working_dir = index.join("bulk");
    let mut random = 7_u64;
    let mut hit = 0;
    for round in 0..INTERRUPTIONS {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        wait_for_files(&index, (random >> 33) % FILES, before)?;
        if round % 2 == 0 {
            server.kill()?;
        } else {
            let status = server.stop()?;
            ensure!(status.success(), "it does not end well: {status}");
        }
        if working_dir.is_dir() {
            hit += 1;
        } else if round + 1 < INTERRUPTIONS {
            // That came too late; the next one has a bulk to hit.
            fs::remove_dir_all(&index)?;
        }
        before = changed(&index);
        server.start_again()?;
    }
    ensure!(hit > 1, "nearly every interruption came too late");
    let expected = rig::oracle::scripts(&node)?;
    wire::assert_equal(&server, &node, &expected)?;
    ensure!(!working_dir.is_dir(), "the working space is left");
    println!("{hit} of {INTERRUPTIONS} interruptions hit a bulk");
    Ok(())
}

/// Waits until a bulk has begun, not the one whose space changed then, and so many files were seen of it since, or until it is done.
fn wait_for_files(index: &Path, count: u64, before: Option<SystemTime>) -> Result<()> {
    let deadline = Instant::now() + BULK;
    let mut seen = BTreeSet::new();
    let mut begun = false;
    while !begun || u64::try_from(seen.len())? < count {
        let is_there = changed(index) > before;
        if begun && !is_there {
            break;
        }
        begun = is_there;
        collect_files(index, &mut seen);
        ensure!(Instant::now() < deadline, "{} files", seen.len());
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("interrupted after {} of {count} files", seen.len());
    Ok(())
}

/// When the working space of the bulk last changed, if there is one.
fn changed(index: &Path) -> Option<SystemTime> {
    let space = fs::metadata(index.join("bulk")).ok()?;
    space.modified().ok()
}

/// What goes away meanwhile counts if it was seen before.
fn collect_files(dir: &Path, seen: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect_files(&path, seen);
        } else {
            seen.insert(path);
        }
    }
}
