//! Real parts for tests, demo and benches.
