//! Transactions read where the node's block files have them.

use std::thread;

use bitcoin::Txid;
use bitcoin::hashes::Hash as _;
use bitcoin_slices::{Parse as _, bsl};

use super::error::{BlockFilesFault, Error, io};
use super::segment::Segment;
use super::segment::places::{self, Place};
use super::{BlockFiles, OpenBlockFile};
use crate::chain::TxNum;
use crate::limits;

const UNREADABLE: Error = Error::BlockFiles {
    fault: BlockFilesFault::Unreadable,
};

/// Adds the txids of ascending numbers; many are read by several threads, because a disk answers many questions at
/// once as fast as one.
pub(super) fn txids(
    files: Option<&dyn BlockFiles>,
    segment: &Segment,
    numbers: &[TxNum],
    found: &mut Vec<Txid>,
) -> Result<(), Error> {
    let part = numbers
        .len()
        .div_ceil(limits::HISTORY_THREADS)
        .max(limits::HISTORY_PART_MIN);
    let mut parts = numbers.chunks(part);
    let (Some(first), rest) = (parts.next(), parts) else {
        return Ok(());
    };
    thread::scope(|scope| {
        let mut others = Vec::new();
        for part in rest {
            let thread = thread::Builder::new().name("history".to_owned());
            let work = move || txids_of_part(files, segment, part);
            let spawned = thread.spawn_scoped(scope, work);
            others.push(spawned.map_err(io("read transactions"))?);
        }
        found.extend(txids_of_part(files, segment, first)?);
        for other in others {
            // What made it panic was told where it happened.
            found.extend(other.join().unwrap_or(Err(UNREADABLE))?);
        }
        Ok(())
    })
}

fn txids_of_part(
    files: Option<&dyn BlockFiles>,
    segment: &Segment,
    numbers: &[TxNum],
) -> Result<Vec<Txid>, Error> {
    let mut places = Vec::with_capacity(numbers.len());
    places::find(segment, numbers, &mut places)?;
    txids_at(files, &places)
}

/// The txids of the transactions at these places.
pub(super) fn txids_at(
    files: Option<&dyn BlockFiles>,
    places: &[Place],
) -> Result<Vec<Txid>, Error> {
    let mut txids = Vec::with_capacity(places.len());
    each(files, places, |bytes| {
        txids.push(txid(bytes).ok_or(Error::BlockFiles {
            fault: BlockFilesFault::Other,
        })?);
        Ok(())
    })?;
    Ok(txids)
}

/// The bytes at one place.
pub(super) fn bytes(files: Option<&dyn BlockFiles>, place: Place) -> Result<Vec<u8>, Error> {
    let mut found = Vec::new();
    each(files, &[place], |bytes| {
        found.extend_from_slice(bytes);
        Ok(())
    })?;
    Ok(found)
}

/// The bytes of one transaction.
pub(super) fn transaction(
    files: Option<&dyn BlockFiles>,
    segment: &Segment,
    number: TxNum,
) -> Result<Vec<u8>, Error> {
    let mut places = Vec::with_capacity(1);
    places::find(segment, &[number], &mut places)?;
    bytes(files, places.pop().ok_or(UNREADABLE)?)
}

/// Visits the bytes at each place; those that follow each other, as in a whole block, are read at once.
fn each(
    files: Option<&dyn BlockFiles>,
    places: &[Place],
    mut visit: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let files = files.ok_or(Error::BlockFiles {
        fault: BlockFilesFault::Missing,
    })?;
    let mut open: Option<(u32, Box<dyn OpenBlockFile>)> = None;
    let mut buffer = Vec::new();
    for run in places.chunk_by(Place::is_followed_by) {
        let Some(begin) = run.first() else { continue };
        let file = match &mut open {
            Some((number, file)) if *number == begin.file => file,
            open => {
                let file = files.open(begin.file).map_err(|_refused| UNREADABLE)?;
                &mut open.insert((begin.file, file)).1
            }
        };
        let lengths = run.iter().map(|place| usize::try_from(place.length));
        let length: Result<usize, _> = lengths.clone().sum();
        buffer.resize(length.map_err(|_overflow| UNREADABLE)?, 0);
        file.read(begin.offset, &mut buffer)
            .map_err(|_refused| UNREADABLE)?;
        let mut rest = buffer.as_slice();
        for length in lengths {
            let length = length.map_err(|_overflow| UNREADABLE)?;
            let (bytes, after) = rest.split_at_checked(length).ok_or(UNREADABLE)?;
            visit(bytes)?;
            rest = after;
        }
    }
    Ok(())
}

/// `None` for bytes that are no transaction.
fn txid(bytes: &[u8]) -> Option<Txid> {
    let read = bsl::Transaction::parse(bytes).ok()?;
    let is_whole = read.remaining().is_empty();
    is_whole.then(|| Txid::from_byte_array(read.parsed().txid_sha2().into()))
}
