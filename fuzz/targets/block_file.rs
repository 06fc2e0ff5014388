//! See `files::block_file`.

#![no_main]

#[path = "../files.rs"]
#[expect(dead_code, reason = "some of it is for the other target")]
mod files;

libfuzzer_sys::fuzz_target!(|data: &[u8]| files::block_file(data));
