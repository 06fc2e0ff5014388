//! An output's script in words (Bitcoin Core, `ScriptToUniv`, `Solver` and `InferDescriptor`).

use bitcoin::hex::DisplayHex as _;
use bitcoin::opcodes::all::{OP_CHECKMULTISIG, OP_CHECKSIG, OP_PUSHNUM_1, OP_PUSHNUM_16};
use bitcoin::script::Instruction;
use bitcoin::secp256k1::XOnlyPublicKey;
use bitcoin::{Address, Network, Opcode, Script};
use serde::Serialize;

use super::{asm, checksum};

/// Most keys of a multisignature script.
const KEYS_MAX: u8 = 20;

#[derive(Serialize)]
pub(super) struct OutputScript {
    asm: String,
    desc: String,
    hex: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(rename = "type")]
    kind: &'static str,
}

/// What an output's script is, with its keys.
enum Kind<'a> {
    Anchor,
    Multisig { needed: u8, keys: Vec<&'a [u8]> },
    Nonstandard,
    NullData,
    PubKey(&'a [u8]),
    PubKeyHash,
    ScriptHash,
    Taproot(&'a [u8]),
    WitnessKeyHash,
    WitnessScriptHash,
    WitnessUnknown,
}

impl OutputScript {
    pub(super) fn new(script: &Script, network: Network) -> Self {
        let kind = Kind::of(script);
        let address = Address::from_script(script, network);
        let address = address.ok().map(|address| address.to_string());
        Self {
            asm: asm::of_output(script),
            desc: checksum::appended(&descriptor(&kind, address.as_deref(), script)),
            hex: script.to_hex_string(),
            address,
            kind: kind.name(),
        }
    }
}

/// Its output descriptor as far as the script alone tells (BIPs 381, 383, 385, 386).
fn descriptor(kind: &Kind<'_>, address: Option<&str>, script: &Script) -> String {
    if let Kind::PubKey(key) = kind
        && !is_hybrid(key)
    {
        return format!("pk({})", key.as_hex());
    }
    if let Kind::Multisig { needed, keys } = kind
        && !keys.iter().any(|key| is_hybrid(key))
    {
        let keys: Vec<String> = keys.iter().map(|key| key.to_lower_hex_string()).collect();
        return format!("multi({needed},{})", keys.join(","));
    }
    if let Kind::Taproot(key) = kind
        && XOnlyPublicKey::from_slice(key).is_ok()
    {
        return format!("rawtr({})", key.as_hex());
    }
    match address {
        Some(address) => format!("addr({address})"),
        None => format!("raw({})", script.to_hex_string()),
    }
}

impl<'a> Kind<'a> {
    fn of(script: &'a Script) -> Self {
        if script.is_p2sh() {
            return Self::ScriptHash;
        }
        if let Some(version) = script.witness_version() {
            return match (
                version.to_num(),
                script.as_bytes().get(2..).unwrap_or_default(),
            ) {
                (0, program) if program.len() == 20 => Self::WitnessKeyHash,
                (0, program) if program.len() == 32 => Self::WitnessScriptHash,
                (0, _) => Self::Nonstandard,
                (1, program) if program.len() == 32 => Self::Taproot(program),
                (1, [0x4e, 0x73]) => Self::Anchor,
                _ => Self::WitnessUnknown,
            };
        }
        if script.is_op_return() && pushes_only(script) {
            return Self::NullData;
        }
        if let Some(key) = public_key(script) {
            return Self::PubKey(key);
        }
        if script.is_p2pkh() {
            return Self::PubKeyHash;
        }
        multisig(script).unwrap_or(Self::Nonstandard)
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Anchor => "anchor",
            Self::Multisig { .. } => "multisig",
            Self::Nonstandard => "nonstandard",
            Self::NullData => "nulldata",
            Self::PubKey(_) => "pubkey",
            Self::PubKeyHash => "pubkeyhash",
            Self::ScriptHash => "scripthash",
            Self::Taproot(_) => "witness_v1_taproot",
            Self::WitnessKeyHash => "witness_v0_keyhash",
            Self::WitnessScriptHash => "witness_v0_scripthash",
            Self::WitnessUnknown => "witness_unknown",
        }
    }
}

/// Whether nothing but pushes follows the `OP_RETURN`; `OP_RESERVED` counts as one.
fn pushes_only(script: &Script) -> bool {
    script
        .instructions()
        .skip(1)
        .all(|instruction| match instruction {
            Ok(Instruction::PushBytes(_)) => true,
            Ok(Instruction::Op(opcode)) => opcode.to_u8() <= OP_PUSHNUM_16.to_u8(),
            Err(_cut_off) => false,
        })
}

/// The key of a script that is a key and `OP_CHECKSIG`.
fn public_key(script: &Script) -> Option<&[u8]> {
    let [length, key @ .., last] = script.as_bytes() else {
        return None;
    };
    let whole = usize::from(*length) == key.len() && *last == OP_CHECKSIG.to_u8();
    Some(key).filter(|key| whole && is_key(key))
}

/// The length that the first byte asks for; Core looks no further, nor at whether it is a point of the curve.
fn is_key(key: &[u8]) -> bool {
    matches!(
        (key.first(), key.len()),
        (Some(2 | 3), 33) | (Some(4 | 6 | 7), 65)
    )
}

/// Neither compressed nor uncompressed: no descriptor has such keys.
fn is_hybrid(key: &[u8]) -> bool {
    matches!(key.first(), Some(6 | 7))
}

fn multisig(script: &Script) -> Option<Kind<'_>> {
    let mut instructions = script.instructions();
    let needed = count(&instructions.next()?.ok()?)?;
    let mut keys = Vec::new();
    let total = loop {
        match instructions.next()?.ok()? {
            Instruction::PushBytes(key) if is_key(key.as_bytes()) => keys.push(key.as_bytes()),
            other @ (Instruction::PushBytes(_) | Instruction::Op(_)) => break count(&other)?,
        }
    };
    let last = instructions.next()?.ok()?;
    let whole = last == Instruction::Op(OP_CHECKMULTISIG)
        && instructions.next().is_none()
        && keys.len() == usize::from(total)
        && needed <= total;
    whole.then_some(Kind::Multisig { needed, keys })
}

/// A number of keys: an opcode up to 16, a push of one byte above.
fn count(instruction: &Instruction<'_>) -> Option<u8> {
    match instruction {
        Instruction::Op(opcode) => small(*opcode),
        Instruction::PushBytes(push) => match push.as_bytes() {
            [number @ 17..=KEYS_MAX] => Some(*number),
            _ => None,
        },
    }
}

fn small(opcode: Opcode) -> Option<u8> {
    let number = opcode
        .to_u8()
        .checked_sub(OP_PUSHNUM_1.to_u8())?
        .checked_add(1)?;
    Some(number).filter(|number| *number <= 16)
}
