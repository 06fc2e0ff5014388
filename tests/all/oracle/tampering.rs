//! That the comparison can fail: a row that was changed is refused, or the oracle sees it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use claustrum::limits;
use redb::{Database, ReadableTable as _, TableDefinition};
use rig::node::{Node, Options};
use rig::oracle;
use rig::server::Loopback;
use siphasher::sip::SipHasher24;

use super::wire;

const DELTA: TableDefinition<'_, (u32, u32), &[u8]> = TableDefinition::new("delta");
const HEADERS: TableDefinition<'_, u32, &[u8; 156]> = TableDefinition::new("headers");
const CHECKSUM_BYTES: usize = 4;
/// How far before its end the delta row of a block that has nothing but a coinbase begins to say how much this pays.
const AMOUNT_BEFORE_END: usize = 5 + CHECKSUM_BYTES;
/// Until a server has compared its index with the node.
const REFUSED: Duration = Duration::from_secs(30);

#[test]
fn a_changed_row_is_refused_or_seen() -> Result<()> {
    let node = Node::start_funded(&Options::default())?;
    let tip = node.height()?;
    let expected = oracle::scripts(&node)?;
    let mut server = Loopback::start(&node, &rig::server::Options::default())?;
    wire::assert_equal(&server, &node, &expected)?;
    server.stop()?;

    change_delta(&server, tip, change_amount)?;
    assert_refused(&mut server)?;
    change_delta(&server, tip, change_amount)?;
    change_header(&server, tip, |row| row[70] ^= 1)?;
    assert_refused(&mut server)?;
    change_header(&server, tip, |row| row[70] ^= 1)?;

    // Under a checksum that fits, the newest blocks are still compared with the node's.
    let one_more_at_the_tip = |row: &mut [u8]| one_more(row, tip);
    change_delta(&server, tip, one_more_at_the_tip)?;
    assert_refused(&mut server)?;
    change_delta(&server, tip, one_more_at_the_tip)?;

    // Below them nothing but the oracle sees it.
    let below = tip - limits::VERIFIED_BLOCKS;
    let one_more_below = |row: &mut [u8]| one_more(row, below);
    change_delta(&server, below, one_more_below)?;
    server.start_again()?;
    let seen = wire::assert_equal(&server, &node, &expected)
        .err()
        .context("the oracle is blind")?;
    ensure!(seen.to_string().starts_with("1 of "), "{seen}");
    server.stop()?;
    change_delta(&server, below, one_more_below)?;
    server.start_again()?;
    wire::assert_equal(&server, &node, &expected)
}

fn change_amount(row: &mut [u8]) {
    let at = row.len() - AMOUNT_BEFORE_END;
    row[at] ^= 1;
}

/// The coinbase pays one satoshi more, or less again, and the checksum fits.
fn one_more(row: &mut [u8], height: u32) {
    change_amount(row);
    let (body, checksum) = row.split_at_mut(row.len() - CHECKSUM_BYTES);
    let hash = SipHasher24::new_with_keys(2, height.into()).hash(body);
    checksum.copy_from_slice(&hash.to_be_bytes()[..CHECKSUM_BYTES]);
}

/// The server ends with a sentence that says what is damaged and what to do.
fn assert_refused(server: &mut Loopback) -> Result<()> {
    let before = server.stderr().len();
    // It may be heard before it has spoken with its node.
    if server.start_again().is_ok() {
        let status = server.process().wait(REFUSED)?;
        ensure!(!status.success(), "it ends as if all were well");
    }
    let all = server.stderr();
    let said = all.get(before..).unwrap_or_default();
    for word in ["index", "damaged", "delete"] {
        ensure!(said.contains(word), "no word of `{word}` in: {said}");
    }
    Ok(())
}

fn change_delta(server: &Loopback, height: u32, change: impl Fn(&mut [u8])) -> Result<()> {
    change_row(server, |transaction| {
        let mut table = transaction.open_table(DELTA)?;
        let mut row = table
            .get((height, 0))?
            .context("no such row")?
            .value()
            .to_vec();
        change(&mut row);
        table.insert((height, 0), row.as_slice())?;
        Ok(())
    })
}

fn change_header(server: &Loopback, height: u32, change: impl Fn(&mut [u8; 156])) -> Result<()> {
    change_row(server, |transaction| {
        let mut table = transaction.open_table(HEADERS)?;
        let mut row = *table.get(height)?.context("no such row")?.value();
        change(&mut row);
        table.insert(height, &row)?;
        Ok(())
    })
}

fn change_row(
    server: &Loopback,
    change: impl FnOnce(&redb::WriteTransaction) -> Result<()>,
) -> Result<()> {
    let path: PathBuf = server.data_dir().join("regtest/index/main.redb");
    let transaction = Database::open(path)?.begin_write()?;
    change(&transaction)?;
    Ok(transaction.commit()?)
}
