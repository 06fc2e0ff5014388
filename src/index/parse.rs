//! A block taken apart: its txids, and what it does to scripts. One pass over the bytes, nothing allocated once the
//! buffers have grown. What is to be hashed is gathered, because many hashes together take half the time.

use std::ops::ControlFlow;

use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, OutPoint, Script, Txid};
use bitcoin_slices::{Visit as _, Visitor, bsl};

use super::canonical::{CanonicalRows, Touch};
use super::error::BlockFault;
use super::event::{Event, EventKind};
use super::keys::KeyedHash;
use crate::chain::merkle::{GROUP_LEAVES, GROUP_LEVEL};
use crate::chain::sha256::{self, Messages};
use crate::chain::{Height, RawBlock, SpentRef, TxNum};

/// What was found in a block; memory for use again and again.
#[derive(Default)]
pub(super) struct Parsed {
    /// In the order of the block.
    pub(super) txids: Vec<[u8; 32]>,
    /// Bytes of each transaction.
    pub(super) lengths: Vec<u32>,
    /// Merkle nodes above each 64 transactions, if there are more.
    pub(super) nodes: Vec<[u8; 32]>,
    pub(super) events: Vec<Event>,
    /// Those without an event are not hashed yet.
    touches: Vec<Touch>,
    rows: CanonicalRows,
    /// What the txids that are not yet there are hashes of.
    transactions: Messages,
    /// The scripts of the touches that have no event.
    scripts: Messages,
    script_hashes: Vec<[u8; 32]>,
}

/// Where a block stands.
#[derive(Clone, Copy)]
pub(super) struct Standing {
    pub(super) height: Height,
    /// Number of its coinbase.
    pub(super) first: TxNum,
}

impl Parsed {
    /// Takes a block apart, and makes sure that its header commits to what was found.
    pub(super) fn read(
        &mut self,
        standing: Standing,
        block: RawBlock<'_>,
        keyed: &KeyedHash,
    ) -> Result<(), BlockFault> {
        self.txids.clear();
        self.lengths.clear();
        self.events.clear();
        self.touches.clear();
        self.transactions.clear();
        self.scripts.clear();
        let mut spent = block.spent.iter();
        let mut visit = BlockVisit {
            parsed: self,
            standing,
            keyed,
            counts: block.spent.counts(),
            spent: &mut spent,
            fault: None,
        };
        let read = bsl::Block::visit(block.bytes, &mut visit);
        if let Some(fault) = visit.fault {
            return Err(fault);
        }
        let is_whole = read.is_ok_and(|read| read.remaining().is_empty());
        if !is_whole {
            return Err(BlockFault::Undecodable);
        }
        self.hash(standing, keyed).ok_or(BlockFault::TooLarge)?;
        self.nodes.clear();
        let root = if self.txids.len() > GROUP_LEAVES {
            self.nodes = sha256::merkle_level(&self.txids, GROUP_LEVEL);
            sha256::merkle_root(&self.nodes)
        } else {
            sha256::merkle_root(&self.txids)
        };
        if root.as_ref().map(<[u8; 32]>::as_slice) != block.bytes.get(36..68) {
            return Err(BlockFault::MerkleRoot);
        }
        let spends_all = block.spent.counts().len().checked_add(1) == Some(self.txids.len());
        if !spends_all || spent.next().is_some() {
            return Err(BlockFault::SpentOutputs);
        }
        Ok(())
    }

    /// Hashes what waits for it.
    fn hash(&mut self, standing: Standing, keyed: &KeyedHash) -> Option<()> {
        self.transactions.hash_twice(&mut self.txids);
        self.script_hashes.clear();
        self.scripts.hash(&mut self.script_hashes);
        let waiting = self.touches.get_mut(self.events.len()..)?;
        for (touch, script_hash) in waiting.iter_mut().zip(&self.script_hashes) {
            touch.script_hash = *script_hash;
            if let EventKind::Funding(_) = touch.kind {
                let index = usize::try_from(touch.transaction).ok()?;
                touch.txid = *self.txids.get(index)?;
            }
            let outpoint = OutPoint::new(Txid::from_byte_array(touch.txid), touch.vout);
            let (prefix, tag) = keyed.prefix_and_tag(script_hash, &outpoint);
            let number = TxNum(standing.first.0.checked_add(touch.transaction)?);
            let event = Event::new(prefix, number, touch.vout, tag, touch.kind)?;
            self.events.push(event);
        }
        Some(())
    }

    /// Takes a touch whose hashes are not yet known.
    fn touch(&mut self, touch: Touch, script: &[u8]) {
        self.touches.push(touch);
        self.scripts.push(&[script]);
    }

    /// SHA-256 over the canonical touches, for the commitment.
    pub(super) fn touches_hash(&mut self) -> [u8; 32] {
        self.rows.hash(&self.touches)
    }

    /// Adds the message that this is the hash of.
    pub(super) fn put_touches(&mut self, messages: &mut Messages) {
        self.rows.put(&self.touches, messages);
    }
}

struct BlockVisit<'a, S> {
    parsed: &'a mut Parsed,
    standing: Standing,
    keyed: &'a KeyedHash,
    counts: &'a [usize],
    spent: &'a mut S,
    fault: Option<BlockFault>,
}

impl<'a, S: Iterator<Item = SpentRef<'a>>> BlockVisit<'_, S> {
    /// Index of the transaction under way.
    fn index(&self) -> Result<u32, BlockFault> {
        u32::try_from(self.parsed.lengths.len()).map_err(|_overflow| BlockFault::TooLarge)
    }

    /// The genesis coinbase cannot be spent and does not count.
    fn is_genesis(&self) -> bool {
        self.standing.height == Height(0)
    }

    fn spend(&mut self, input: &bsl::TxIn<'_>) -> Result<(), BlockFault> {
        let spent = self.spent.next().ok_or(BlockFault::SpentOutputs)?;
        if spent.height > Some(self.standing.height) {
            return Err(BlockFault::SpentOutputs);
        }
        if !is_indexed(spent.script) {
            return Ok(());
        }
        let previous = input.prevout();
        let txid = previous
            .txid()
            .try_into()
            .map_err(|_length| BlockFault::Undecodable)?;
        let touch = Touch {
            script_hash: [0; 32],
            transaction: self.index()?,
            kind: EventKind::Spending(spent.height),
            txid,
            vout: previous.vout(),
            amount: spent.amount,
        };
        self.parsed.touch(touch, spent.script.as_bytes());
        Ok(())
    }

    fn fund(&mut self, vout: usize, output: &bsl::TxOut<'_>) -> Result<(), BlockFault> {
        let script = output.script_pubkey();
        if self.is_genesis() || !is_indexed(Script::from_bytes(script)) {
            return Ok(());
        }
        let amount = Amount::from_sat(output.value());
        let touch = Touch {
            script_hash: [0; 32],
            transaction: self.index()?,
            kind: EventKind::Funding(amount),
            txid: [0; 32],
            vout: u32::try_from(vout).map_err(|_overflow| BlockFault::TooLarge)?,
            amount,
        };
        self.parsed.touch(touch, script);
        Ok(())
    }

    fn close_transaction(&mut self, transaction: &bsl::Transaction<'_>) -> Result<(), BlockFault> {
        let length = u32::try_from(transaction.as_ref().len());
        let length = length.map_err(|_overflow| BlockFault::TooLarge)?;
        self.parsed.lengths.push(length);
        let (version, body, lock_time) = transaction.txid_preimage();
        let Parsed {
            transactions,
            scripts,
            ..
        } = &mut *self.parsed;
        transactions.push(&[version, body, lock_time]);
        if transactions.bytes() + scripts.bytes() > sha256::WAITING_BYTES_MAX {
            let hashed = self.parsed.hash(self.standing, self.keyed);
            hashed.ok_or(BlockFault::TooLarge)?;
        }
        Ok(())
    }

    fn go_on(&mut self, outcome: Result<(), BlockFault>) -> ControlFlow<()> {
        match outcome {
            Ok(()) => ControlFlow::Continue(()),
            Err(fault) => {
                self.fault = Some(fault);
                ControlFlow::Break(())
            }
        }
    }
}

impl<'a, S: Iterator<Item = SpentRef<'a>>> Visitor for BlockVisit<'_, S> {
    fn visit_tx_ins(&mut self, inputs: usize) {
        let Some(before) = self.parsed.lengths.len().checked_sub(1) else {
            return;
        };
        if self.counts.get(before) != Some(&inputs) {
            self.fault = Some(BlockFault::SpentOutputs);
        }
    }

    fn visit_tx_in(&mut self, _vin: usize, input: &bsl::TxIn<'_>) -> ControlFlow<()> {
        if self.fault.is_some() {
            return ControlFlow::Break(());
        }
        // The coinbase spends nothing.
        if self.parsed.lengths.is_empty() {
            return ControlFlow::Continue(());
        }
        let outcome = self.spend(input);
        self.go_on(outcome)
    }

    fn visit_tx_out(&mut self, vout: usize, output: &bsl::TxOut<'_>) -> ControlFlow<()> {
        let outcome = self.fund(vout, output);
        self.go_on(outcome)
    }

    fn visit_transaction(&mut self, transaction: &bsl::Transaction<'_>) -> ControlFlow<()> {
        let outcome = self.close_transaction(transaction);
        self.go_on(outcome)
    }
}

/// Outputs that begin with OP_RETURN can never be spent, and nobody's balance holds them.
pub(super) fn is_indexed(script: &Script) -> bool {
    !script.is_op_return()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::SpentList;
    use crate::index::keys::Keys;
    use bitcoin::absolute::LockTime;
    use bitcoin::consensus::encode;
    use bitcoin::{ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness, transaction};
    use proptest::prelude::*;

    /// A block with a coinbase and a transaction with witnesses, and what that one spends.
    fn block() -> (Vec<u8>, SpentList) {
        let mut block = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
        let input = |vout| TxIn {
            previous_output: OutPoint::new(Txid::all_zeros(), vout),
            script_sig: ScriptBuf::from_bytes(vec![0x51]),
            sequence: Sequence::MAX,
            witness: Witness::from_slice(&[[7; 70].as_slice(), &[8; 33]]),
        };
        let output = |script: &[u8]| TxOut {
            value: Amount::from_sat(900),
            script_pubkey: ScriptBuf::from_bytes(script.to_vec()),
        };
        block.txdata.push(Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![input(0), input(1)],
            output: vec![output(&[0x51]), output(&[0x6a, 1, 1]), output(&[0x52; 300])],
        });
        block.header.merkle_root = block.compute_merkle_root().unwrap();
        let mut spent = SpentList::default();
        spent.begin_transaction(2);
        for script in [[0x53], [0x54]] {
            spent.push(Height(3), Amount::from_sat(5), &[&script]);
        }
        (encode::serialize(&block), spent)
    }

    fn read(bytes: &[u8], spent: &SpentList) -> (Parsed, Result<(), BlockFault>) {
        let keyed = KeyedHash::new(Keys::from_bytes(&[5; Keys::BYTES]), 32);
        let standing = Standing {
            height: Height(9),
            first: TxNum(100),
        };
        let mut parsed = Parsed::default();
        let outcome = parsed.read(standing, RawBlock { bytes, spent }, &keyed);
        (parsed, outcome)
    }

    #[test]
    fn a_block_is_taken_apart() {
        let (bytes, spent) = block();
        let (parsed, outcome) = read(&bytes, &spent);
        assert_eq!(outcome, Ok(()));
        let decoded: bitcoin::Block = encode::deserialize(&bytes).unwrap();
        let txids = decoded
            .txdata
            .iter()
            .map(|made| made.compute_txid().to_byte_array());
        assert!(parsed.txids.iter().copied().eq(txids));
        let lengths = decoded.txdata.iter().map(Transaction::total_size);
        assert!(
            parsed
                .lengths
                .iter()
                .map(|length| usize::try_from(*length).unwrap())
                .eq(lengths)
        );
        // The coinbase of the genesis block pays to somebody; here it is not at height 0.
        assert_eq!(parsed.events.len(), 1 + 2 + 2);
    }

    proptest! {
        #[test]
        fn nothing_in_a_block_makes_it_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let (good, spent) = block();
            let mut bytes = good.clone();
            for (at, value) in &changes {
                // Small and large values are what lengths are made of.
                let at = at.index(bytes.len());
                bytes[at] = if value % 3 == 0 { 0xff } else { *value };
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let (_, outcome) = read(&bytes, &spent);
            // Witnesses are not committed to here, and most of the header is looked at before.
            let same_length = bytes.len() == good.len();
            prop_assert!(outcome.is_err() || same_length);
        }

        #[test]
        fn nothing_at_all_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let framed = [[0; 80].as_slice(), &[2], &bytes].concat();
            prop_assert!(read(&framed, &SpentList::default()).1.is_err());
        }
    }
}
