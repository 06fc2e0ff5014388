//! The size of what leaves in one write.

/// Fills the last line of a write with spaces before its last bracket, until the write has one of the sizes that
/// [`bucket`] knows. White space inside JSON means nothing to its reader.
pub fn pad(lines: &mut Vec<u8>) {
    let missing = bucket(lines.len()).saturating_sub(lines.len());
    // A line ends with a bracket and a newline.
    if let Some(bracket) = lines.len().checked_sub(2) {
        lines.splice(bracket..bracket, std::iter::repeat_n(b' ', missing));
    }
}

/// The size that a write of `len` bytes is filled to: for now its own.
const fn bucket(len: usize) -> usize {
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_keeps_its_meaning() {
        let mut lines = b"{\"id\":1}\n[{\"id\":2}]\n".to_vec();
        let before = lines.clone();
        pad(&mut lines);
        assert_eq!(lines.len(), bucket(before.len()));
        assert_eq!(lines, before);
        let mut nothing = Vec::new();
        pad(&mut nothing);
        assert!(nothing.is_empty());
    }
}
