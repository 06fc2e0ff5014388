//! A block together with the outputs that it spends, as the index takes it.

use bitcoin::block::Header;
use bitcoin::consensus::encode;
use bitcoin::{Amount, Block, Script, ScriptBuf};

use super::Height;

/// A block of the best chain and, for every transaction but the coinbase, the outputs its inputs spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectedBlock {
    /// The block itself.
    pub block: Block,
    /// `spent[t][i]` is what input `i` of transaction `t + 1` spends.
    pub spent: Vec<Vec<SpentOutput>>,
}

/// An output at the moment it is spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpentOutput {
    /// Its script.
    pub script: ScriptBuf,
    /// Its amount.
    pub amount: Amount,
    /// Height of the block that created it.
    pub height: Height,
}

/// The outputs that a block spends, in the order of its inputs, packed so that one allocation serves many blocks.
#[derive(Default)]
pub struct SpentList {
    scripts: Vec<u8>,
    outputs: Vec<Packed>,
    /// Inputs of each transaction but the coinbase.
    counts: Vec<usize>,
    lacks_heights: bool,
}

struct Packed {
    script_end: usize,
    amount: Amount,
    height: Option<Height>,
}

/// An output of a [`SpentList`].
#[derive(Clone, Copy)]
pub struct SpentRef<'a> {
    /// Its script.
    pub script: &'a Script,
    /// Its amount.
    pub amount: Amount,
    /// Height of the block that created it, if the source tells it.
    pub height: Option<Height>,
}

impl SpentList {
    /// Empties it and keeps the memory.
    pub fn clear(&mut self) {
        self.scripts.clear();
        self.outputs.clear();
        self.counts.clear();
        self.lacks_heights = false;
    }

    /// Says how many inputs the next transaction has.
    pub fn begin_transaction(&mut self, inputs: usize) {
        self.counts.push(inputs);
    }

    /// Appends an output whose script is these parts joined.
    pub fn push(&mut self, height: Height, amount: Amount, script: &[&[u8]]) {
        self.put(Some(height), amount, script);
    }

    /// Appends an output of which the source does not tell which block created it.
    pub fn push_without_height(&mut self, amount: Amount, script: &[u8]) {
        self.put(None, amount, &[script]);
        self.lacks_heights = true;
    }

    /// Whether the height of any of them is unknown.
    pub fn lacks_heights(&self) -> bool {
        self.lacks_heights
    }

    fn put(&mut self, height: Option<Height>, amount: Amount, script: &[&[u8]]) {
        for part in script {
            self.scripts.extend_from_slice(part);
        }
        self.outputs.push(Packed {
            script_end: self.scripts.len(),
            amount,
            height,
        });
    }

    /// Inputs of each transaction but the coinbase.
    pub fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// All outputs.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = SpentRef<'_>> {
        let mut begin = 0;
        self.outputs.iter().map(move |output| {
            let bytes = self.scripts.get(begin..output.script_end);
            begin = output.script_end;
            SpentRef {
                script: Script::from_bytes(bytes.unwrap_or_default()),
                amount: output.amount,
                height: output.height,
            }
        })
    }

    /// The same as lists of owned outputs, one for each transaction but the coinbase; `None` when a height is unknown.
    pub fn to_lists(&self) -> Option<Vec<Vec<SpentOutput>>> {
        let mut outputs = self.iter().map(|spent| {
            Some(SpentOutput {
                script: spent.script.to_owned(),
                amount: spent.amount,
                height: spent.height?,
            })
        });
        let lists = self.counts.iter();
        lists
            .map(|count| outputs.by_ref().take(*count).collect())
            .collect()
    }
}

/// A block as it is stored, in the form in which many are read.
#[derive(Clone, Copy)]
pub struct RawBlock<'a> {
    /// The block, serialised.
    pub bytes: &'a [u8],
    /// What it spends.
    pub spent: &'a SpentList,
}

impl RawBlock<'_> {
    /// What its first bytes say; `None` when they are too few.
    pub fn header(self) -> Option<Header> {
        encode::deserialize(self.bytes.get(..80)?).ok()
    }

    /// The same decoded; `None` when the bytes are no block or the height of a spent output is unknown.
    pub fn to_connected(self) -> Option<ConnectedBlock> {
        let block = encode::deserialize(self.bytes).ok()?;
        let spent = self.spent.to_lists()?;
        Some(ConnectedBlock { block, spent })
    }
}

/// A [`RawBlock`] that owns what it is made of.
pub struct PackedBlock {
    /// The block, serialised.
    pub bytes: Vec<u8>,
    /// What it spends.
    pub spent: SpentList,
}

impl PackedBlock {
    /// The same, borrowed.
    pub fn raw(&self) -> RawBlock<'_> {
        RawBlock {
            bytes: &self.bytes,
            spent: &self.spent,
        }
    }
}

impl From<&ConnectedBlock> for PackedBlock {
    fn from(connected: &ConnectedBlock) -> Self {
        let mut spent = SpentList::default();
        for outputs in &connected.spent {
            spent.begin_transaction(outputs.len());
            for output in outputs {
                spent.push(output.height, output.amount, &[output.script.as_bytes()]);
            }
        }
        Self {
            bytes: encode::serialize(&connected.block),
            spent,
        }
    }
}

/// Where a block lies in the node's block files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPlace {
    /// Number of the file.
    pub file: u32,
    /// Where the block begins in it.
    pub offset: u32,
    /// Its length in bytes.
    pub length: u32,
}
