//! The size of what leaves in one write.

use crate::limits::{CELL_BYTES, DOUBLED_BYTES_MAX, REPLY_BYTES_MAX};

/// The most that fits both into whole cells and into the longest line that Electrum takes.
const LONGEST: usize = REPLY_BYTES_MAX / CELL_BYTES * CELL_BYTES;

/// Fills the last line of a write with spaces before its last bracket, until the write has the size that [`filled`]
/// tells. White space inside JSON means nothing to its reader.
pub fn pad(lines: &mut Vec<u8>) {
    pad_from(lines, 0);
}

/// The same, to a size that is not below `least`.
pub fn pad_from(lines: &mut Vec<u8>, least: usize) {
    let size = filled(lines.len()).max(least);
    // A line ends with a bracket and a newline.
    if let Some((before, &[bracket, newline])) = lines.split_last_chunk() {
        let before = before.len();
        lines.reserve_exact(size.saturating_sub(lines.len()));
        lines.truncate(before);
        lines.resize(size.saturating_sub(2), b' ');
        lines.extend([bracket, newline]);
    }
}

/// The size that a write of `bytes` is filled to: a power of two of cells; beyond [`DOUBLED_BYTES_MAX`] there are three
/// sizes more between two powers of two.
pub const fn filled(bytes: usize) -> usize {
    if bytes == 0 {
        return 0;
    }
    let cells = bytes.div_ceil(CELL_BYTES);
    let power = cells.next_power_of_two();
    if power <= DOUBLED_BYTES_MAX / CELL_BYTES {
        return power.saturating_mul(CELL_BYTES);
    }
    // A quarter of the power of two below.
    let step = power / 8;
    let size = cells.next_multiple_of(step).saturating_mul(CELL_BYTES);
    if bytes <= LONGEST && size > LONGEST {
        LONGEST
    } else {
        size
    }
}

/// The most that a line of at least a cell takes of the room of a write: its bytes, and its part of the spaces, with
/// whatever other lines it leaves.
pub const fn filled_max(bytes: usize) -> usize {
    let spaces = if bytes <= DOUBLED_BYTES_MAX {
        bytes
    } else {
        bytes / 4
    };
    bytes.saturating_add(spaces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All sizes up to ten megabytes, in order, as they are promised.
    fn sizes() -> Vec<usize> {
        let mut sizes: Vec<usize> = (0..8).map(|power| 488 << power).collect();
        let quarters = (7..15).flat_map(|power| [5, 6, 7, 8].map(|n| (488 << power) / 4 * n));
        sizes.extend(quarters);
        sizes.push(8_099_824);
        sizes.sort_unstable();
        sizes
    }

    #[test]
    fn sizes_are_these() {
        assert_eq!(filled(0), 0);
        let mut above = 0;
        for size in sizes() {
            assert_eq!(filled(above + 1), size);
            assert_eq!(filled(size), size);
            above = size;
        }
        // The last power of two that is not above 64 KiB, what follows it, and what 64 KiB themselves become.
        assert_eq!(filled(62_464), 62_464);
        assert_eq!(filled(62_465), 78_080);
        assert_eq!([65_535, 65_536, 65_537].map(filled), [78_080; 3]);
    }

    #[test]
    fn spaces_alone_make_no_line_longer_than_wallets_take() {
        assert_eq!(filled(7_995_393), 8_099_824);
        assert_eq!(filled(8_099_824), 8_099_824);
    }

    #[test]
    fn what_the_limit_of_replies_allows_is_never_filled_beyond_it() {
        let most = REPLY_BYTES_MAX / CELL_BYTES * CELL_BYTES;
        for bytes in most - 2_000..=most {
            assert!(filled(bytes) <= REPLY_BYTES_MAX, "{bytes}");
        }
        // Hence whole cells: these were the lengths of replies once.
        assert!(filled(REPLY_BYTES_MAX) > REPLY_BYTES_MAX);
    }

    #[test]
    fn what_leaves_keeps_its_meaning() {
        let mut lines = b"{\"id\":1}\n[{\"id\":2}]\n".to_vec();
        pad(&mut lines);
        let spaces = " ".repeat(488 - 20);
        let expected = format!("{{\"id\":1}}\n[{{\"id\":2}}{spaces}]\n");
        assert_eq!(String::from_utf8(lines).unwrap(), expected);
        let mut nothing = Vec::new();
        pad(&mut nothing);
        assert!(nothing.is_empty());
    }

    #[test]
    fn filling_takes_no_more_memory_than_the_write() {
        for size in [500, 70_000, 8_000_000] {
            let mut lines = Vec::with_capacity(size);
            lines.resize(size - 2, b'x');
            lines.extend(*b"}\n");
            pad(&mut lines);
            assert_eq!(lines.len(), filled(size));
            assert_eq!(lines.capacity(), lines.len());
        }
    }

    proptest! {
        #[test]
        fn lines_that_leave_together_take_no_more_than_they_said(
            lines in prop::collection::vec(488_usize..200_000, 1..8)
        ) {
            let said: usize = lines.iter().copied().map(filled_max).sum();
            prop_assert!(filled(lines.iter().sum::<usize>()) <= said);
        }
    }
}
