//! Does on purpose what the product never does: it tells what a client said, through the product's own log or in a
//! panic. The search of the tests must find the one and not the other.
//!
//! A development program: a request comes on standard input; with the argument `panic` it panics with it.

use claustrum::{redact, telemetry};

#[expect(
    clippy::panic,
    clippy::panic_in_result_fn,
    reason = "a panic is what it is for"
)]
fn main() -> anyhow::Result<()> {
    let mut request = String::new();
    std::io::stdin().read_line(&mut request)?;
    redact::install_panic_hook();
    telemetry::init(|_target, _message| false)?;
    if std::env::args().any(|argument| argument == "panic") {
        panic!("{request}");
    }
    // The target is one that passes.
    tracing::info!(target: "claustrum", "{request}");
    Ok(())
}
