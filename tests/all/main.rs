//! Tests of the whole library from outside.
#![cfg(test)]

mod bad_input;
mod client;
mod transcripts;
