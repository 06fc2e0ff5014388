//! The process edge; see the library.

fn main() {}
