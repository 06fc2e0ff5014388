//! What a client said, in types that cannot be printed, and a panic hook that tells only the place.

use std::io::Write as _;

/// Declares a newtype for something a client said.
///
/// Its `Debug` prints `[scrubbed]` without condition; it has no `Display` and no `Serialize`. The inner value is
/// reached through `expose`, so that each use shows up in a review.
#[macro_export]
macro_rules! redacted {
    ($(#[$meta:meta])* $vis:vis struct $name:ident($inner:ty);) => {
        $(#[$meta])*
        $vis struct $name($inner);

        impl $name {
            /// Wraps what a client said.
            $vis fn new(inner: $inner) -> Self {
                Self(inner)
            }

            /// What the client said, for answering it and nothing else.
            $vis fn expose(&self) -> &$inner {
                &self.0
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("[scrubbed]")
            }
        }
    };
}

redacted! {
    /// The txid a client asks for.
    #[derive(Clone, Copy, PartialEq, Eq, Hash)]
    pub struct ClientTxid(bitcoin::Txid);
}

redacted! {
    /// The output a client asks for.
    #[derive(Clone, Copy, PartialEq, Eq, Hash)]
    pub struct ClientOutpoint(bitcoin::OutPoint);
}

redacted! {
    /// A transaction a client hands over for broadcast, as raw bytes.
    #[derive(Clone, PartialEq, Eq)]
    pub struct RawTransaction(Vec<u8>);
}

/// Makes a panic print its place in the source and nothing else: a payload may hold what a client said.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let (file, line) = info
            .location()
            .map_or(("unknown", 0), |place| (place.file(), place.line()));
        // Nothing is left to tell it to if standard error is gone.
        drop(writeln!(std::io::stderr(), "panic at {file}:{line}"));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::Hash as _;

    static_assertions::assert_not_impl_any!(ClientTxid: std::fmt::Display, serde::Serialize);
    static_assertions::assert_not_impl_any!(ClientOutpoint: std::fmt::Display, serde::Serialize);
    static_assertions::assert_not_impl_any!(RawTransaction: std::fmt::Display, serde::Serialize);

    #[test]
    fn debug_of_what_a_client_said_shows_nothing() {
        let txid = ClientTxid::new(bitcoin::Txid::from_byte_array([7; 32]));
        assert_eq!(format!("{txid:?} {txid:#?}"), "[scrubbed] [scrubbed]");
        assert_eq!(
            format!("{:?}", RawTransaction::new(vec![1, 2, 3])),
            "[scrubbed]"
        );
    }
}
