//! A script as words (Bitcoin Core, `ScriptToAsmStr`).

use bitcoin::hex::DisplayHex as _;
use bitcoin::opcodes::all::OP_RETURN;
use bitcoin::script::{Instruction, PushBytes};
use bitcoin::{Opcode, Script};

/// Pushes of so many bytes are shown as numbers.
const NUMBER_BYTES_MAX: usize = 4;

/// Above this nothing can be spent (consensus rule), so that pushes are not looked at as signatures.
const SCRIPT_BYTES_MAX: usize = 10_000;

/// An output's script.
pub(super) fn of_output(script: &Script) -> String {
    words(script, |push| push.to_lower_hex_string())
}

/// An input's script: what looks like a signature tells what it signs.
pub(super) fn of_input(script: &Script) -> String {
    let unspendable =
        script.len() > SCRIPT_BYTES_MAX || script.as_bytes().first() == Some(&OP_RETURN.to_u8());
    if unspendable {
        return of_output(script);
    }
    words(script, signature_or_hex)
}

fn words(script: &Script, long_push: impl Fn(&[u8]) -> String) -> String {
    let mut words = Vec::new();
    for instruction in script.instructions() {
        words.push(match instruction {
            Ok(Instruction::PushBytes(push)) => match number(push) {
                Some(number) => number.to_string(),
                None => long_push(push.as_bytes()),
            },
            Ok(Instruction::Op(opcode)) => name(opcode),
            Err(_cut_off) => {
                words.push("[error]".to_owned());
                break;
            }
        });
    }
    words.join(" ")
}

/// A short push as a number: little-endian, the highest bit is the sign (`CScriptNum`).
fn number(push: &PushBytes) -> Option<i64> {
    let bytes = push.as_bytes();
    if bytes.len() > NUMBER_BYTES_MAX {
        return None;
    }
    let Some((last, lower)) = bytes.split_last() else {
        return Some(0);
    };
    let mut magnitude = i64::from(last & 0x7f);
    for byte in lower.iter().rev() {
        magnitude = magnitude << 8 | i64::from(*byte);
    }
    Some(if last & 0x80 == 0 {
        magnitude
    } else {
        -magnitude
    })
}

/// `OP_1NEGATE` and `OP_1` to `OP_16` are numbers, the rest has names; some of Core's differ from the crate's.
fn name(opcode: Opcode) -> String {
    match opcode.to_u8() {
        0x4f => "-1".to_owned(),
        small @ 0x51..=0x60 => (small - 0x50).to_string(),
        0x50 => "OP_RESERVED".to_owned(),
        0x62 => "OP_VER".to_owned(),
        0x65 => "OP_VERIF".to_owned(),
        0x66 => "OP_VERNOTIF".to_owned(),
        0x89 => "OP_RESERVED1".to_owned(),
        0x8a => "OP_RESERVED2".to_owned(),
        0xb1 => "OP_CHECKLOCKTIMEVERIFY".to_owned(),
        0xb2 => "OP_CHECKSEQUENCEVERIFY".to_owned(),
        0xff => "OP_INVALIDOPCODE".to_owned(),
        0xbb..=0xfe => "OP_UNKNOWN".to_owned(),
        _ => opcode.to_string(),
    }
}

fn signature_or_hex(push: &[u8]) -> String {
    let signature = push.split_last().filter(|_| is_signature(push));
    let Some((signs, signature)) = signature else {
        return push.to_lower_hex_string();
    };
    let signs = match signs {
        0x01 => "[ALL]",
        0x02 => "[NONE]",
        0x03 => "[SINGLE]",
        0x81 => "[ALL|ANYONECANPAY]",
        0x82 => "[NONE|ANYONECANPAY]",
        0x83 => "[SINGLE|ANYONECANPAY]",
        _ => return push.to_lower_hex_string(),
    };
    format!("{}{signs}", signature.as_hex())
}

/// Whether it has the form of a signature with the byte that says what it signs (BIP 66).
fn is_signature(push: &[u8]) -> bool {
    let &[0x30, length, 0x02, ref rest @ ..] = push else {
        return false;
    };
    if !(9..=73).contains(&push.len()) || usize::from(length) != push.len() - 3 {
        return false;
    }
    let Some((r, rest)) = integer(rest) else {
        return false;
    };
    let [0x02, rest @ ..] = rest else {
        return false;
    };
    integer(rest).is_some_and(|(s, rest)| is_positive(r) && is_positive(s) && rest.len() == 1)
}

/// A length and so many bytes; and what follows.
fn integer(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// Not negative, and no byte longer than it needs.
fn is_positive(integer: &[u8]) -> bool {
    match integer {
        [] => false,
        [0] => true,
        [0, next, ..] => next & 0x80 != 0,
        [first, ..] => first & 0x80 == 0,
    }
}
