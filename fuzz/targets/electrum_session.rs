//! See `bodies::electrum_session`.

#![no_main]

#[path = "../bodies.rs"]
#[expect(dead_code, reason = "some of it is for the other target")]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::electrum_session(data));
