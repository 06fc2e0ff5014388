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
use crate::chain::sha256::{self, Messages};
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
    let mut hashes = Vec::with_capacity(places.len());
    let mut waiting = Messages::default();
    each(files, places, |bytes| {
        wait_for_hash(bytes, &mut waiting).ok_or(Error::BlockFiles {
            fault: BlockFilesFault::Other,
        })?;
        if waiting.bytes() > sha256::WAITING_BYTES_MAX {
            waiting.hash_twice(&mut hashes);
        }
        Ok(())
    })?;
    waiting.hash_twice(&mut hashes);
    Ok(hashes.into_iter().map(Txid::from_byte_array).collect())
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

/// Visits the bytes at each place; those that stand near each other are read at once.
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
    let mut rest = places;
    while let Some((begin, length)) = together(rest) {
        let file = match &mut open {
            Some((number, file)) if *number == begin.file => file,
            open => {
                let file = files.open(begin.file).map_err(|_refused| UNREADABLE)?;
                &mut open.insert((begin.file, file)).1
            }
        };
        buffer.resize(length, 0);
        file.read(begin.offset, &mut buffer)
            .map_err(|_refused| UNREADABLE)?;
        while let Some((place, after)) = rest.split_first()
            && let Some(bytes) = part(&buffer, begin, place)
        {
            visit(bytes)?;
            rest = after;
        }
    }
    // A place beyond all numbers.
    rest.is_empty().then_some(()).ok_or(UNREADABLE)
}

/// The first of the places, and how many bytes from there on to read at once.
fn together(places: &[Place]) -> Option<(Place, usize)> {
    let (begin, rest) = places.split_first()?;
    let mut end = begin.end()?;
    for place in rest {
        let is_near = place.file == begin.file
            && place.offset >= end
            && place.offset - end <= limits::READ_GAP_BYTES_MAX;
        let longer = place.end()?;
        if !is_near || longer - begin.offset > limits::READ_TOGETHER_BYTES_MAX {
            break;
        }
        end = longer;
    }
    Some((*begin, usize::try_from(end - begin.offset).ok()?))
}

/// The bytes of a place among those that were read from the file of `begin` on.
fn part<'a>(read: &'a [u8], begin: Place, place: &Place) -> Option<&'a [u8]> {
    if place.file != begin.file {
        return None;
    }
    let from = usize::try_from(place.offset.checked_sub(begin.offset)?).ok()?;
    let length = usize::try_from(place.length).ok()?;
    read.get(from..from.checked_add(length)?)
}

/// Adds what the txid of a transaction is the hash of; `None` for bytes that are none.
fn wait_for_hash(bytes: &[u8], waiting: &mut Messages) -> Option<()> {
    let read = bsl::Transaction::parse(bytes).ok()?;
    if !read.remaining().is_empty() {
        return None;
    }
    let (version, body, lock_time) = read.parsed().txid_preimage();
    waiting.push(&[version, body, lock_time]);
    Some(())
}
