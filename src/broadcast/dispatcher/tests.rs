//! The queue with its tasks, over peers and a node that do as they are told, on a clock that the test holds.

mod bench;
mod leaving;
mod oracle;
mod packages;
