//! Who a relay is: keys made by `tor` and `tor-gencert`.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::programs::Program;

/// A relay's identities.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// 40 hexadecimal digits.
    pub(super) rsa: String,
    /// Base64 without padding.
    pub(super) ed25519: String,
    /// The authority's signing identity, 40 hexadecimal digits.
    pub(super) authority: Option<String>,
}

impl Identity {
    /// Reads what `start_listing` has printed and left in the folder.
    pub(super) fn of(nickname: &str, folder: &Path, listing: Child) -> Result<Self> {
        let output = listing.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let words = said
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix(nickname));
        let rsa = words
            .with_context(|| format!("tor shows no fingerprint of {nickname}: {said}"))?
            .replace(' ', "");
        let public = fs::read(folder.join("keys/ed25519_master_id_public_key"))?;
        // 32 bytes of a heading, then the key.
        let ed25519 = STANDARD_NO_PAD.encode(public.get(32..64).context("a short public key")?);
        let certificate =
            fs::read_to_string(folder.join("keys/authority_certificate")).unwrap_or_default();
        let authority = certificate
            .lines()
            .find_map(|line| line.strip_prefix("fingerprint "))
            .map(str::to_owned);
        Ok(Self {
            rsa,
            ed25519,
            authority,
        })
    }
}

/// Makes the keys with which an authority votes.
pub(super) fn certify_authority(folder: &Path, directory_port: u16) -> Result<()> {
    let keys = folder.join("keys");
    let mut child = Command::new(Program::TorGencert.path()?)
        .args(["--create-identity-key", "--passphrase-fd", "0", "-m", "12"])
        .args(["-a", &format!("127.0.0.1:{directory_port}")])
        .arg("-i")
        .arg(keys.join("authority_identity_key"))
        .arg("-s")
        .arg(keys.join("authority_signing_key"))
        .arg("-c")
        .arg(keys.join("authority_certificate"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("failed to start tor-gencert")?;
    child
        .stdin
        .take()
        .context("tor-gencert has no input")?
        .write_all(b"rig\n")?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "tor-gencert made no keys: {said}");
    Ok(())
}

/// Has `tor` make a relay's keys and print its fingerprint.
pub(super) fn start_listing(folder: &Path) -> Result<Child> {
    Command::new(Program::Tor.path()?)
        .arg("-f")
        .arg(folder.join("torrc"))
        .arg("--list-fingerprint")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("failed to start tor")
}
