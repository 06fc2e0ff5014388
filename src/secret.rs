//! Secrets of the server itself: wiped from memory when dropped, and impossible to print.

use std::fmt;

use zeroize::Zeroizing;

/// Bytes that are a secret (an RPC password, an identity seed).
///
/// There is no `Display`, no `Deref`, no `Clone` and no `Serialize`; reading is spelled `expose`, so that it
/// can be found in a review.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes; the caller's copy is moved, not cloned.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static_assertions::assert_not_impl_any!(Secret: fmt::Display, Clone, serde::Serialize, AsRef<[u8]>);

    #[test]
    fn debug_shows_nothing() {
        let text = format!("{:?}", Secret::new(b"hunter2".to_vec()));
        assert_eq!(text, "[secret]");
    }
}
