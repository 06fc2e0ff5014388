//! Tables of `main.redb`, and what their keys and values look like. No other file names a table.

use bitcoin::BlockHash;
use bitcoin::hashes::Hash as _;
use redb::{Database, ReadOnlyTable, ReadableDatabase as _, TableDefinition};

use super::blocks::Block;
use super::codec::{self, CHECKSUM_BYTES, Reader, Table};
use super::commitment::Commitment;
use super::error::{Error, store};
use super::segment::{Kind, SegmentFile, SegmentId, Shard, Spec};
use crate::chain::{ChainTip, Height, TxNum};
use crate::limits;

/// Rises with every change of a table or of a row.
pub(super) const FORMAT_VERSION: u32 = 4;

/// What the file is and how far it goes; see the `META_` names.
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// Height to [`HeaderRow`].
pub(super) const HEADERS: TableDefinition<'_, u32, &[u8; HEADER_ROW_BYTES]> =
    TableDefinition::new("headers");
/// Height and piece to a piece of the delta row, see `row` and [`pieces`].
pub(super) const DELTA: TableDefinition<'_, (u32, u32), &[u8]> = TableDefinition::new("delta");
/// Id to [`SegmentFile`], see `encode_segment`: the segments that count. Others are left over from a crash.
pub(super) const SEGMENTS: TableDefinition<'_, u64, &[u8; SEGMENT_ROW_BYTES]> =
    TableDefinition::new("segments");

/// [`FORMAT_VERSION`], 4 bytes, big-endian.
pub(super) const META_FORMAT: &str = "format";
/// Name of the network.
pub(super) const META_NETWORK: &str = "network";
/// Hash of the genesis block, 32 bytes.
pub(super) const META_GENESIS: &str = "genesis";
/// The keys of this installation, 48 bytes.
pub(super) const META_KEYS: &str = "keys";
/// Height (4 bytes, big-endian) and hash (32) of the last block; absent while there is none.
pub(super) const META_TIP: &str = "tip";

/// Bytes of a [`HeaderRow`].
pub(super) const HEADER_ROW_BYTES: usize = 80 + 32 + 4 + 4 + 32 + CHECKSUM_BYTES;
/// Bytes of a row of the manifest.
pub(super) const SEGMENT_ROW_BYTES: usize = 1 + 4 + 4 + 1 + 1 + 8 + 8 + CHECKSUM_BYTES;
/// Bytes of a txid.
pub(super) const TXID_BYTES: usize = 32;

/// All tables at one moment, open for reading.
pub(super) struct Tables {
    pub(super) meta: ReadOnlyTable<&'static str, &'static [u8]>,
    pub(super) headers: ReadOnlyTable<u32, &'static [u8; HEADER_ROW_BYTES]>,
    pub(super) delta: ReadOnlyTable<(u32, u32), &'static [u8]>,
    pub(super) segments: ReadOnlyTable<u64, &'static [u8; SEGMENT_ROW_BYTES]>,
}

impl Tables {
    /// The tables after the last commit.
    pub(super) fn open(database: &Database) -> Result<Self, Error> {
        let attempt = "open the tables of the index";
        let transaction = database.begin_read().map_err(store(attempt))?;
        Ok(Self {
            meta: transaction.open_table(META).map_err(store(attempt))?,
            headers: transaction.open_table(HEADERS).map_err(store(attempt))?,
            delta: transaction.open_table(DELTA).map_err(store(attempt))?,
            segments: transaction.open_table(SEGMENTS).map_err(store(attempt))?,
        })
    }
}

/// A delta row in pieces, numbered from zero: a value that is longer than a page takes a power of two of pages.
pub(super) fn pieces(row: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    (0..).zip(row.chunks(limits::DELTA_PIECE_BYTES))
}

/// A block without its transactions: header (80 bytes), hash (32), number of its coinbase (4, big-endian), count of
/// its transactions (4, big-endian), commitment (32), checksum (4).
pub(super) struct HeaderRow {
    pub(super) header: [u8; 80],
    pub(super) hash: BlockHash,
    pub(super) first: TxNum,
    pub(super) transactions: u32,
    pub(super) commitment: Commitment,
}

impl HeaderRow {
    pub(super) fn block(&self) -> Block {
        Block {
            hash: self.hash,
            first: self.first,
            transactions: self.transactions,
        }
    }

    pub(super) fn encode(&self, height: Height) -> [u8; HEADER_ROW_BYTES] {
        let mut row = [0; HEADER_ROW_BYTES];
        let (body, checksum) = row.split_at_mut(HEADER_ROW_BYTES - CHECKSUM_BYTES);
        let fields: [&[u8]; 5] = [
            &self.header,
            self.hash.as_byte_array(),
            &self.first.0.to_be_bytes(),
            &self.transactions.to_be_bytes(),
            &self.commitment.0,
        ];
        for (byte, value) in body.iter_mut().zip(fields.into_iter().flatten()) {
            *byte = *value;
        }
        checksum.copy_from_slice(&codec::checksum(Table::Headers, height.0.into(), body));
        row
    }

    /// `None` when the checksum does not fit.
    pub(super) fn decode(height: Height, row: &[u8; HEADER_ROW_BYTES]) -> Option<Self> {
        let (body, checksum) = row.split_last_chunk::<CHECKSUM_BYTES>()?;
        if codec::checksum(Table::Headers, height.0.into(), body) != *checksum {
            return None;
        }
        let mut reader = Reader::new(body);
        Some(Self {
            header: reader.array()?,
            hash: BlockHash::from_byte_array(reader.array()?),
            first: TxNum(u32::from_be_bytes(reader.array()?)),
            transactions: u32::from_be_bytes(reader.array()?),
            commitment: Commitment(reader.array()?),
        })
    }
}

/// Kind (1; see [`Kind::code`]), first and last height (4 each, big-endian), bits and index of the shard (1 each), bytes
/// of the file (8), entries (8), checksum (4).
pub(super) fn encode_segment(file: &SegmentFile) -> [u8; SEGMENT_ROW_BYTES] {
    let mut row = [0; SEGMENT_ROW_BYTES];
    let (body, checksum) = row.split_at_mut(SEGMENT_ROW_BYTES - CHECKSUM_BYTES);
    let Spec {
        kind,
        heights,
        shard,
    } = &file.spec;
    let fields: [&[u8]; 7] = [
        &[kind.code()],
        &heights.start().0.to_be_bytes(),
        &heights.end().0.to_be_bytes(),
        &[shard.bits],
        &[shard.index],
        &file.bytes.to_be_bytes(),
        &file.entries.to_be_bytes(),
    ];
    for (byte, value) in body.iter_mut().zip(fields.into_iter().flatten()) {
        *byte = *value;
    }
    checksum.copy_from_slice(&codec::checksum(Table::Segments, file.id.0, body));
    row
}

/// `None` when the checksum does not fit.
pub(super) fn decode_segment(id: SegmentId, row: &[u8; SEGMENT_ROW_BYTES]) -> Option<SegmentFile> {
    let (body, checksum) = row.split_last_chunk::<CHECKSUM_BYTES>()?;
    if codec::checksum(Table::Segments, id.0, body) != *checksum {
        return None;
    }
    let mut reader = Reader::new(body);
    let [kind] = reader.array()?;
    let from = Height(u32::from_be_bytes(reader.array()?));
    let to = Height(u32::from_be_bytes(reader.array()?));
    let [bits, index] = reader.array()?;
    Some(SegmentFile {
        id,
        spec: Spec {
            kind: Kind::from_code(kind)?,
            heights: from..=to,
            shard: Shard { bits, index },
        },
        bytes: u64::from_be_bytes(reader.array()?),
        entries: u64::from_be_bytes(reader.array()?),
    })
}

pub(super) fn encode_tip(tip: &ChainTip) -> [u8; 36] {
    let mut bytes = [0; 36];
    let (height, hash) = bytes.split_at_mut(4);
    height.copy_from_slice(&tip.height.0.to_be_bytes());
    hash.copy_from_slice(tip.hash.as_byte_array());
    bytes
}

pub(super) fn decode_tip(bytes: &[u8]) -> Option<ChainTip> {
    let mut reader = Reader::new(bytes);
    let height = Height(u32::from_be_bytes(reader.array()?));
    let hash = BlockHash::from_byte_array(reader.array()?);
    reader.is_empty().then_some(ChainTip { height, hash })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_rows_survive_and_notice_every_change() {
        let row = HeaderRow {
            header: [1; 80],
            hash: BlockHash::from_byte_array([2; 32]),
            first: TxNum(3),
            transactions: 4,
            commitment: Commitment([5; 32]),
        };
        let bytes = row.encode(Height(6));
        let back = HeaderRow::decode(Height(6), &bytes).unwrap();
        assert_eq!(back.header, row.header);
        assert_eq!(back.hash, row.hash);
        assert_eq!(
            (back.first, back.transactions),
            (row.first, row.transactions)
        );
        assert_eq!(back.commitment, row.commitment);
        assert!(HeaderRow::decode(Height(7), &bytes).is_none());
        for at in 0..bytes.len() {
            let mut changed = bytes;
            changed[at] ^= 1;
            assert!(
                HeaderRow::decode(Height(6), &changed).is_none(),
                "byte {at}"
            );
        }
    }
}
