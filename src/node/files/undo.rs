//! Undo data: the outputs that a block spends, as Bitcoin Core keeps them in `rev*.dat`.
//!
//! ```text
//! block undo  = compact size of transactions (without the coinbase), transaction undo for each
//! transaction = compact size of inputs, spent output for each
//! output      = varint 2 * height + (1 if of a coinbase), varint 0 unless the height is 0, amount, script
//! amount      = varint, compressed
//! script      = varint n: 0 P2PKH (20 bytes), 1 P2SH (20), 2, 3 P2PK (32), 4, 5 P2PK with an uncompressed key (32),
//!               otherwise the script itself (n - 6)
//! ```

use bitcoin::Amount;
use bitcoin::opcodes::all::{
    OP_CHECKSIG, OP_DUP, OP_EQUAL, OP_EQUALVERIFY, OP_HASH160, OP_PUSHBYTES_20, OP_PUSHBYTES_33,
    OP_PUSHBYTES_65,
};
use bitcoin::secp256k1::PublicKey;

use crate::chain::reader::Reader;
use crate::chain::{Height, SpentList};

/// Scripts with a number below this have a short form.
const SHORT_FORMS: u64 = 6;

/// Decodes the undo data of one block into `spent`; `None` when it is none.
pub(super) fn decode(bytes: &[u8], spent: &mut SpentList) -> Option<()> {
    spent.clear();
    let mut reader = Reader::new(bytes);
    for _ in 0..reader.compact_size()? {
        let inputs = reader.compact_size()?;
        spent.begin_transaction(usize::try_from(inputs).ok()?);
        for _ in 0..inputs {
            output(&mut reader, spent)?;
        }
    }
    reader.is_empty().then_some(())
}

fn output(reader: &mut Reader<'_>, spent: &mut SpentList) -> Option<()> {
    let code = reader.core_varint()?;
    let height = Height(u32::try_from(code >> 1).ok()?);
    if height.0 > 0 {
        // Once the version of the transaction; nobody reads it any more.
        reader.core_varint()?;
    }
    let amount = amount(reader.core_varint()?)?;
    match reader.core_varint()? {
        0 => {
            let head = [OP_DUP.to_u8(), OP_HASH160.to_u8(), OP_PUSHBYTES_20.to_u8()];
            let tail = [OP_EQUALVERIFY.to_u8(), OP_CHECKSIG.to_u8()];
            spent.push(height, amount, &[&head, reader.take(20)?, &tail]);
        }
        1 => {
            let head = [OP_HASH160.to_u8(), OP_PUSHBYTES_20.to_u8()];
            spent.push(
                height,
                amount,
                &[&head, reader.take(20)?, &[OP_EQUAL.to_u8()]],
            );
        }
        sign @ 2..=3 => {
            let head = [OP_PUSHBYTES_33.to_u8(), u8::try_from(sign).ok()?];
            let key = reader.take(32)?;
            spent.push(height, amount, &[&head, key, &[OP_CHECKSIG.to_u8()]]);
        }
        sign @ 4..SHORT_FORMS => {
            let mut key = [0; 33];
            let (first, x) = key.split_first_mut()?;
            *first = u8::try_from(sign - 2).ok()?;
            x.copy_from_slice(reader.take(32)?);
            let key = PublicKey::from_slice(&key).ok()?.serialize_uncompressed();
            let (head, tail) = ([OP_PUSHBYTES_65.to_u8()], [OP_CHECKSIG.to_u8()]);
            spent.push(height, amount, &[&head, &key, &tail]);
        }
        length => {
            let length = usize::try_from(length.checked_sub(SHORT_FORMS)?).ok()?;
            spent.push(height, amount, &[reader.take(length)?]);
        }
    }
    Some(())
}

/// Trailing zeros of an amount are a digit of its compressed form, because most amounts are round.
fn amount(compressed: u64) -> Option<Amount> {
    let Some(mut rest) = compressed.checked_sub(1) else {
        return Some(Amount::ZERO);
    };
    let zeros = u32::try_from(rest % 10).ok()?;
    rest /= 10;
    let digits = if zeros < 9 {
        let last = rest % 9 + 1;
        (rest / 9).checked_mul(10)?.checked_add(last)?
    } else {
        rest.checked_add(1)?
    };
    let satoshi = digits.checked_mul(10_u64.checked_pow(zeros)?)?;
    Some(Amount::from_sat(satoshi))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::ScriptBuf;
    use proptest::prelude::*;

    /// One transaction with one input that spends this, created at height 7.
    fn script(form: &[u8]) -> Option<ScriptBuf> {
        let mut bytes = vec![1, 1, 15, 0, 0];
        bytes.extend_from_slice(form);
        let mut spent = SpentList::default();
        decode(&bytes, &mut spent)?;
        let lists = spent.to_lists()?;
        assert_eq!(lists.len(), 1);
        assert_eq!(lists[0][0].height, Height(7));
        Some(lists[0][0].script.clone())
    }

    #[test]
    fn amounts_are_those_of_core() {
        // The pairs in Bitcoin Core's compress_tests.cpp.
        for (satoshi, compressed) in [
            (0, 0),
            (1, 1),
            (1_000_000, 7),
            (100_000_000, 9),
            (50 * 100_000_000, 0x32),
            (21_000_000 * 100_000_000, 0x0140_6f40),
        ] {
            assert_eq!(amount(compressed), Some(Amount::from_sat(satoshi)));
        }
        assert_eq!(amount(u64::MAX), None);
    }

    #[test]
    fn short_forms_become_scripts() {
        let hash: Vec<u8> = (0..20).collect();
        let p2pkh = script(&[[0].as_slice(), &hash].concat()).unwrap();
        assert!(p2pkh.is_p2pkh());
        let p2sh = script(&[[1].as_slice(), &hash].concat()).unwrap();
        assert!(p2sh.is_p2sh());
        let generator: [u8; 65] = PublicKey::from_slice(&GENERATOR)
            .unwrap()
            .serialize_uncompressed();
        let x = &generator[1..33];
        let compressed = script(&[[2].as_slice(), x].concat()).unwrap();
        assert_eq!(compressed.as_bytes()[1..34], GENERATOR);
        let whole = script(&[[4].as_slice(), x].concat()).unwrap();
        assert_eq!(whole.as_bytes()[1..66], generator);
        assert!(compressed.is_p2pk() && whole.is_p2pk());
        // No point of the curve has this x.
        assert_eq!(script(&[[5].as_slice(), &[5; 32]].concat()), None);
        assert_eq!(script(&[8, 0x51, 0x52]).unwrap().as_bytes(), [0x51, 0x52]);
        assert_eq!(script(&[8, 0x51]), None);
        assert_eq!(script(&[6, 0]), None, "bytes after the end");
    }

    const GENERATOR: [u8; 33] = [
        2, 0x79, 0xbe, 0x66, 0x7e, 0xf9, 0xdc, 0xbb, 0xac, 0x55, 0xa0, 0x62, 0x95, 0xce, 0x87,
        0x0b, 0x07, 0x02, 0x9b, 0xfc, 0xdb, 0x2d, 0xce, 0x28, 0xd9, 0x59, 0xf2, 0x81, 0x5b, 0x16,
        0xf8, 0x17, 0x98,
    ];

    proptest! {
        #[test]
        fn nothing_read_makes_it_panic(bytes: Vec<u8>, start in 0..4_u8) {
            let mut spent = SpentList::default();
            let framed = [&[1, start], bytes.as_slice()].concat();
            for bytes in [bytes, framed] {
                if decode(&bytes, &mut spent).is_some() {
                    prop_assert_eq!(spent.counts().iter().sum::<usize>(), spent.iter().len());
                }
            }
        }
    }
}
