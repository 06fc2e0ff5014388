//! Output scripts of the kinds that wallets and miners use, and how each is spent.

use anyhow::{Context as _, Result};
use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::key::{Keypair, TapTweak as _};
use bitcoin::opcodes::all as op;
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::secp256k1::{All, Message, Secp256k1, SecretKey};
use bitcoin::sighash::{EcdsaSighashType, Prevouts, SighashCache, TapSighashType};
use bitcoin::{
    Amount, PrivateKey, PublicKey, ScriptBuf, Transaction, TxOut, Witness, ecdsa, taproot,
};

const ALL: EcdsaSighashType = EcdsaSighashType::All;

/// A kind of output script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    PublicKey,
    UncompressedPublicKey,
    PublicKeyHash,
    WitnessPublicKeyHash,
    NestedWitnessPublicKeyHash,
    WitnessScriptHash,
    Taproot,
    /// One of two, bare.
    Multisig,
    /// No kind that a wallet knows; spent without a signature.
    Anyone,
}

impl Kind {
    pub(super) const ALL: [Self; 9] = [
        Self::PublicKey,
        Self::UncompressedPublicKey,
        Self::PublicKeyHash,
        Self::WitnessPublicKeyHash,
        Self::NestedWitnessPublicKeyHash,
        Self::WitnessScriptHash,
        Self::Taproot,
        Self::Multisig,
        Self::Anyone,
    ];

    /// Whether every node takes it into its mempool; some refuse scripts above 34 bytes there.
    pub(super) fn is_relayed(self) -> bool {
        !matches!(
            self,
            Self::PublicKey | Self::UncompressedPublicKey | Self::Multisig | Self::Anyone
        )
    }
}

/// A script and what opens it.
pub(super) struct Lock {
    pub(super) kind: Kind,
    pub(super) script: ScriptBuf,
    key: SecretKey,
}

impl Lock {
    /// The same for the same seed and number.
    pub(super) fn new(secp: &Secp256k1<All>, kind: Kind, seed: u64, number: u64) -> Self {
        let secret = sha256::Hash::hash(format!("{seed} {number}").as_bytes()).to_byte_array();
        let key = SecretKey::from_slice(&secret).expect("a hash above the curve's order");
        let public = public(secp, &key);
        let script = match kind {
            Kind::PublicKey => ScriptBuf::new_p2pk(&public),
            Kind::UncompressedPublicKey => {
                ScriptBuf::new_p2pk(&PublicKey::new_uncompressed(public.inner))
            }
            Kind::PublicKeyHash => ScriptBuf::new_p2pkh(&public.pubkey_hash()),
            Kind::WitnessPublicKeyHash => witness_public_key_hash(&public),
            Kind::NestedWitnessPublicKeyHash => witness_public_key_hash(&public).to_p2sh(),
            Kind::WitnessScriptHash => witness_script(&public).to_p2wsh(),
            Kind::Taproot => ScriptBuf::new_p2tr(secp, public.inner.x_only_public_key().0, None),
            Kind::Multisig => multisig(&public),
            Kind::Anyone => {
                let number = i64::try_from(number).expect("a small number");
                Builder::new()
                    .push_int(number)
                    .push_opcode(op::OP_DROP)
                    .push_opcode(op::OP_PUSHNUM_1)
                    .into_script()
            }
        };
        Self { kind, script, key }
    }

    /// Signs input `index`; `spent` are the outputs of all inputs.
    pub(super) fn open(
        &self,
        secp: &Secp256k1<All>,
        transaction: &mut Transaction,
        index: usize,
        spent: &[TxOut],
    ) -> Result<()> {
        let mut cache = SighashCache::new(&*transaction);
        let (script_sig, witness) = match self.kind {
            Kind::PublicKey
            | Kind::UncompressedPublicKey
            | Kind::PublicKeyHash
            | Kind::Multisig => {
                let hash = cache.legacy_signature_hash(index, &self.script, ALL.to_u32())?;
                (
                    self.legacy(secp, self.sign(secp, hash.into()))?,
                    Witness::new(),
                )
            }
            Kind::Taproot => {
                let sighash_type = TapSighashType::Default;
                let outputs = Prevouts::All(spent);
                let hash = cache.taproot_key_spend_signature_hash(index, &outputs, sighash_type)?;
                let pair = Keypair::from_secret_key(secp, &self.key).tap_tweak(secp, None);
                let signature = secp.sign_schnorr_no_aux_rand(&hash.into(), &pair.to_keypair());
                let signature = taproot::Signature {
                    signature,
                    sighash_type,
                };
                (ScriptBuf::new(), Witness::p2tr_key_spend(&signature))
            }
            Kind::Anyone => (ScriptBuf::new(), Witness::new()),
            Kind::WitnessPublicKeyHash
            | Kind::NestedWitnessPublicKeyHash
            | Kind::WitnessScriptHash => {
                let value = spent
                    .get(index)
                    .context("an input without its output")?
                    .value;
                self.segwit(secp, &mut cache, index, value)?
            }
        };
        let input = transaction
            .input
            .get_mut(index)
            .context("an input that is not there")?;
        input.script_sig = script_sig;
        input.witness = witness;
        Ok(())
    }

    fn legacy(&self, secp: &Secp256k1<All>, signature: ecdsa::Signature) -> Result<ScriptBuf> {
        let signature = PushBytesBuf::try_from(signature.to_vec())?;
        let key = PushBytesBuf::try_from(public(secp, &self.key).to_bytes())?;
        let script = match self.kind {
            Kind::PublicKeyHash => Builder::new().push_slice(signature).push_slice(key),
            // The opcode takes one item more than it needs.
            Kind::Multisig => Builder::new().push_int(0).push_slice(signature),
            _ => Builder::new().push_slice(signature),
        };
        Ok(script.into_script())
    }

    /// Witnesses of version 0.
    fn segwit(
        &self,
        secp: &Secp256k1<All>,
        cache: &mut SighashCache<&Transaction>,
        index: usize,
        value: Amount,
    ) -> Result<(ScriptBuf, Witness)> {
        let public = public(secp, &self.key);
        if self.kind == Kind::WitnessScriptHash {
            let script = witness_script(&public);
            let hash = cache.p2wsh_signature_hash(index, &script, value, ALL)?;
            let witness = [self.sign(secp, hash.into()).to_vec(), script.into_bytes()];
            return Ok((ScriptBuf::new(), Witness::from_slice(&witness)));
        }
        let program = witness_public_key_hash(&public);
        let hash = cache.p2wpkh_signature_hash(index, &program, value, ALL)?;
        let witness = Witness::p2wpkh(&self.sign(secp, hash.into()), &public.inner);
        let script_sig = if self.kind == Kind::NestedWitnessPublicKeyHash {
            Builder::new()
                .push_slice(PushBytesBuf::try_from(program.into_bytes())?)
                .into_script()
        } else {
            ScriptBuf::new()
        };
        Ok((script_sig, witness))
    }

    fn sign(&self, secp: &Secp256k1<All>, message: Message) -> ecdsa::Signature {
        ecdsa::Signature::sighash_all(secp.sign_ecdsa(&message, &self.key))
    }
}

fn public(secp: &Secp256k1<All>, key: &SecretKey) -> PublicKey {
    PrivateKey::new(*key, bitcoin::NetworkKind::Test).public_key(secp)
}

fn witness_public_key_hash(public: &PublicKey) -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&public.wpubkey_hash().expect("a compressed key"))
}

fn witness_script(public: &PublicKey) -> ScriptBuf {
    Builder::new()
        .push_key(public)
        .push_opcode(op::OP_CHECKSIG)
        .into_script()
}

fn multisig(public: &PublicKey) -> ScriptBuf {
    Builder::new()
        .push_int(1)
        .push_key(public)
        .push_key(public)
        .push_int(2)
        .push_opcode(op::OP_CHECKMULTISIG)
        .into_script()
}
