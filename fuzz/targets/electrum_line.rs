//! See `bodies::electrum_line`.

#![no_main]

#[path = "../bodies.rs"]
#[expect(dead_code, reason = "some of it is for the other target")]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::electrum_line(data));
