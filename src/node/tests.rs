//! The node's answers as recorded from a real one, and calls of a fake one that misbehaves.

mod blocks;
mod calls;
mod fake;
mod recorded;
mod rest;
