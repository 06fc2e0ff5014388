//! See `rest::rest_spent`.

#![no_main]

#[path = "../rest.rs"]
mod rest;

libfuzzer_sys::fuzz_target!(|data: &[u8]| rest::rest_spent(data));
