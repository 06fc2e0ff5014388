//! See `deliveries::delivery_messages`.

#![no_main]

#[path = "../deliveries.rs"]
#[expect(dead_code, reason = "some of it is for the other targets")]
mod deliveries;

libfuzzer_sys::fuzz_target!(|data: &[u8]| deliveries::delivery_messages(data));
