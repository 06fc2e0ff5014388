//! Wallets that are not ours, beside a real node: they see what the node says, through payments, blocks and reorgs.

mod descriptors;
mod electrum;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rig::contents::Contents;

/// Enough for a busy machine: wallets wait for seconds of their own before they look again.
const PATIENCE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(200);

/// Looks again until a wallet shows what it has to.
fn wait_until_equal(
    what: &str,
    expected: &Contents,
    mut look: impl FnMut() -> Result<Contents>,
) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shown = look()?;
        if shown == *expected {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{what}: the wallet shows {shown:?} instead of {expected:?}"
        );
        std::thread::sleep(POLL);
    }
}
