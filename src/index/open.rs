//! Opening the index: lock, creation that is whole or not at all, identity, and what is kept in memory.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use bitcoin::hashes::Hash as _;
use redb::{Builder, Database, ReadableDatabase as _};

use super::Options;
use super::blocks::{Block, Blocks};
use super::error::{self, Error, store};
use super::keys::{KeyedHash, Keys};
use super::recent::Recent;
use super::row::Row;
use super::schema::{self, HeaderRow, Tables};
use super::segment::SegmentId;
use super::segment::cache::CacheBudget;
use super::segment::store::Store;
use super::segments::Segments;
use super::{upkeep, writer};
use crate::chain::{ChainTip, Height, Network, TxNum};
use crate::limits;

pub(super) const FILE: &str = "main.redb";
/// An index in the making; it gets its name when it is complete, so that a crash leaves none that is half made.
pub(super) const FILE_IN_THE_MAKING: &str = "main.redb.new";

/// The directory of the segments.
pub(super) const SEGMENTS: &str = "segments";

const OPEN: &str = "open the index";
const CREATE: &str = "create the index";
const LOAD: &str = "load the index";
const DAMAGED: Error = Error::Damaged { attempt: LOAD };

/// The database, and the directory whose lock keeps other instances out.
pub(super) fn database(
    dir: &Path,
    network: Network,
    options: &Options,
) -> Result<(Database, File), Error> {
    let lock = lock(dir)?;
    if !dir.join(FILE).try_exists().map_err(error::io(OPEN))? {
        create(dir, &lock, network, options)?;
    }
    let database = redb_builder().open(dir.join(FILE)).map_err(store(OPEN))?;
    Ok((database, lock))
}

/// Makes the directory if need be, and keeps other instances out of it.
pub(super) fn lock(dir: &Path) -> Result<File, Error> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(dir).map_err(error::io(CREATE))?;
    let lock = File::open(dir).map_err(error::io(OPEN))?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => Error::Busy,
        TryLockError::Error(source) => error::io(OPEN)(source),
    })?;
    Ok(lock)
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn redb_builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(limits::INDEX_MAIN_CACHE_BYTES);
    builder
}

fn create(dir: &Path, lock: &File, network: Network, options: &Options) -> Result<(), Error> {
    let path = dir.join(FILE_IN_THE_MAKING);
    remove_if_there(&path).map_err(error::io(CREATE))?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(error::io(CREATE))?;
    let database = redb_builder().create_file(file).map_err(store(CREATE))?;
    initialise(&database, network, options)?;
    drop(database);
    fs::rename(&path, dir.join(FILE)).map_err(error::io(CREATE))?;
    lock.sync_all().map_err(error::io(CREATE))
}

/// Writes identity and empty tables.
pub(super) fn initialise(
    database: &Database,
    network: Network,
    options: &Options,
) -> Result<(), Error> {
    let keys = match options.keys {
        Some(keys) => keys,
        None => Keys::random().map_err(|error| Error::Io {
            attempt: "draw the keys of the index",
            source: io::Error::other(error),
        })?,
    };
    let genesis = network.genesis_hash();
    let transaction = writer::begin(database)?;
    {
        let mut meta = transaction
            .open_table(schema::META)
            .map_err(store(CREATE))?;
        let rows: [(&str, &[u8]); 4] = [
            (schema::META_FORMAT, &schema::FORMAT_VERSION.to_be_bytes()),
            (schema::META_NETWORK, network.name().as_bytes()),
            (schema::META_GENESIS, genesis.as_byte_array()),
            (schema::META_KEYS, &keys.to_bytes()),
        ];
        for (name, value) in rows {
            meta.insert(name, value).map_err(store(CREATE))?;
        }
        transaction
            .open_table(schema::HEADERS)
            .map_err(store(CREATE))?;
        transaction
            .open_table(schema::DELTA)
            .map_err(store(CREATE))?;
        transaction
            .open_table(schema::SEGMENTS)
            .map_err(store(CREATE))?;
    }
    transaction.commit().map_err(store(CREATE))
}

/// What the files say they are.
pub(super) struct Identity {
    pub(super) keys: Keys,
    tip: Option<ChainTip>,
}

/// All tables, unless they are of another format, which may have others.
pub(super) fn tables(database: &Database) -> Result<Tables, Error> {
    let transaction = database.begin_read().map_err(store(OPEN))?;
    let meta = transaction.open_table(schema::META).map_err(store(OPEN))?;
    let format = meta.get(schema::META_FORMAT).map_err(store(OPEN))?;
    let format = format.ok_or(DAMAGED)?.value().try_into();
    let found = u32::from_be_bytes(format.map_err(|_length| DAMAGED)?);
    if found != schema::FORMAT_VERSION {
        return Err(Error::OtherFormat {
            found,
            supported: schema::FORMAT_VERSION,
        });
    }
    Tables::open(database)
}

/// Refuses files of another network.
pub(super) fn identity(tables: &Tables, network: Network) -> Result<Identity, Error> {
    let name = meta(tables, schema::META_NETWORK)?.ok_or(DAMAGED)?;
    let found: Network = String::from_utf8(name)
        .ok()
        .and_then(|name| name.parse().ok())
        .ok_or(DAMAGED)?;
    if found != network {
        return Err(Error::OtherNetwork {
            asked: network,
            found,
        });
    }
    let genesis = meta(tables, schema::META_GENESIS)?.ok_or(DAMAGED)?;
    if genesis != network.genesis_hash().as_byte_array() {
        return Err(DAMAGED);
    }
    let keys = meta(tables, schema::META_KEYS)?.ok_or(DAMAGED)?;
    let keys: [u8; Keys::BYTES] = keys.try_into().map_err(|_length| DAMAGED)?;
    let tip = meta(tables, schema::META_TIP)?;
    let tip = tip.map(|bytes| schema::decode_tip(&bytes).ok_or(DAMAGED));
    Ok(Identity {
        keys: Keys::from_bytes(&keys),
        tip: tip.transpose()?,
    })
}

fn meta(tables: &Tables, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let value = tables.meta.get(name).map_err(store(LOAD))?;
    Ok(value.map(|value| value.value().to_vec()))
}

/// Opens the segments of the manifest, and reads and verifies what is kept in memory.
pub(super) fn load(
    tables: &Tables,
    identity: &Identity,
    keyed: &KeyedHash,
    store: &dyn Store,
    budget: &Arc<CacheBudget>,
) -> Result<(Blocks, Segments, Recent), Error> {
    let blocks = load_blocks(tables)?;
    let tip = blocks.tip().map(|(height, block)| ChainTip {
        height,
        hash: block.hash,
    });
    if tip != identity.tip {
        return Err(DAMAGED);
    }
    let mut open = Vec::new();
    for row in tables
        .segments
        .range::<u64>(..)
        .map_err(self::store(LOAD))?
    {
        let (id, row) = row.map_err(self::store(LOAD))?;
        let file = schema::decode_segment(SegmentId(id.value()), row.value()).ok_or(DAMAGED)?;
        open.push(upkeep::open_segment(store, budget, file)?);
    }
    let segments = Segments::assemble(open, blocks.clone(), None)?;
    upkeep::remove_orphans(store, &segments)?;
    let rows = load_rows(tables, &blocks, segments.count(), keyed)?;
    let mut recent = Recent::default();
    recent.append(rows)?;
    Ok((blocks, segments, recent))
}

fn load_blocks(tables: &Tables) -> Result<Blocks, Error> {
    let mut blocks = Blocks::default();
    let mut below: Option<Block> = None;
    let rows = tables.headers.range::<u32>(..).map_err(store(LOAD))?;
    for (expected, row) in (0..).zip(rows) {
        let (height, row) = row.map_err(store(LOAD))?;
        let height = height.value();
        let row = HeaderRow::decode(Height(height), row.value()).ok_or(DAMAGED)?;
        let first = below.map_or(Some(TxNum(0)), |block| block.end());
        let follows = below.is_none_or(|block| {
            let predecessor = row.header.get(4..36);
            predecessor == Some(block.hash.as_byte_array().as_slice())
        });
        if height != expected || !follows || first != Some(row.first) {
            return Err(DAMAGED);
        }
        let block = row.block();
        below = Some(block);
        blocks.push(block);
    }
    Ok(blocks)
}

/// The rows of the blocks above the first `below`, which segments hold; there are no others.
fn load_rows(
    tables: &Tables,
    blocks: &Blocks,
    below: u32,
    keyed: &KeyedHash,
) -> Result<Vec<Row>, Error> {
    let count = blocks.tip().map_or(0, |(height, _)| height.0 + 1);
    let mut rows = Vec::new();
    let mut pieces = 0;
    let mut stored = Vec::new();
    for height in (below..count).map(Height) {
        stored.clear();
        let of_row = tables.delta.range((height.0, 0)..=(height.0, u32::MAX));
        for piece in of_row.map_err(store(LOAD))? {
            let (_, piece) = piece.map_err(store(LOAD))?;
            stored.extend_from_slice(piece.value());
            pieces += 1;
        }
        let block = blocks.get(height).ok_or(DAMAGED)?;
        let row = Row::parse(height, block.first, &stored, keyed)?;
        if row.transactions != block.transactions {
            return Err(DAMAGED);
        }
        rows.push(row);
    }
    let all = redb::ReadableTableMetadata::len(&tables.delta).map_err(store(LOAD))?;
    if below <= count && all == pieces {
        Ok(rows)
    } else {
        Err(DAMAGED)
    }
}
