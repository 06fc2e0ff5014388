//! Bytes in, lines out, with a bound on every line.

use std::borrow::Cow;

use crate::limits;

/// Bytes as they arrive, cut into lines.
///
/// Between lines it holds one small buffer; a line that does not fit grows as its bytes arrive, never ahead of
/// them.
pub struct LineBuffer {
    line_bytes_max: usize,
    chunk: Box<[u8]>,
    /// `chunk[start..end]` has arrived and was not looked at.
    start: usize,
    end: usize,
    /// The beginning of a line whose end has not arrived.
    begun: Vec<u8>,
}

/// A line has more bytes than allowed; the bytes after it cannot be understood any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineTooLong;

impl LineBuffer {
    /// An empty one for lines of at most so many bytes, their end not counted.
    pub fn new(line_bytes_max: usize) -> Self {
        Self {
            line_bytes_max,
            chunk: vec![0; limits::READ_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            begun: Vec::new(),
        }
    }

    /// Room for arriving bytes; never empty once [`Self::next_line`] has returned `None`.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
        self.chunk.get_mut(self.end..).unwrap_or_default()
    }

    /// So many bytes were put into [`Self::space`].
    pub fn filled(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(self.chunk.len());
    }

    /// The next complete line without its end (`\n` or `\r\n`); `None` when more bytes are needed.
    pub fn next_line(&mut self) -> Option<Result<Cow<'_, [u8]>, LineTooLong>> {
        let arrived = self.chunk.get(self.start..self.end).unwrap_or_default();
        let newline = arrived.iter().position(|byte| *byte == b'\n');
        let (content, _) = arrived.split_at_checked(newline.unwrap_or(arrived.len()))?;
        if self.begun.len().saturating_add(content.len()) > self.line_bytes_max {
            return Some(Err(LineTooLong));
        }
        self.start = self.start.saturating_add(content.len());
        if newline.is_none() {
            self.begun.extend_from_slice(content);
            return None;
        }
        self.start = self.start.saturating_add(1);
        let line = if self.begun.is_empty() {
            Cow::Borrowed(content.strip_suffix(b"\r").unwrap_or(content))
        } else {
            self.begun.extend_from_slice(content);
            let mut line = std::mem::take(&mut self.begun);
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            Cow::Owned(line)
        };
        Some(Ok(line))
    }

    /// Whether bytes have arrived that [`Self::next_line`] has not looked at.
    pub fn holds_unheard(&self) -> bool {
        self.start < self.end
    }

    /// Bytes held of a line whose end has not arrived.
    pub fn begun_bytes(&self) -> usize {
        self.begun.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 20;

    /// All lines of bytes that arrive in pieces of these sizes, up to the first fault.
    fn lines(mut bytes: &[u8], sizes: &[usize]) -> Vec<Result<Vec<u8>, LineTooLong>> {
        let mut buffer = LineBuffer::new(MAX);
        let mut found = Vec::new();
        let mut sizes = sizes.iter().cycle();
        while !bytes.is_empty() {
            let space = buffer.space();
            let count = (*sizes.next().unwrap()).min(bytes.len()).min(space.len());
            space[..count].copy_from_slice(&bytes[..count]);
            buffer.filled(count);
            bytes = &bytes[count..];
            while let Some(line) = buffer.next_line() {
                let line = line.map(Cow::into_owned);
                let fault = line.is_err();
                found.push(line);
                if fault {
                    return found;
                }
            }
        }
        found
    }

    /// The same, told naively.
    fn expected(bytes: &[u8]) -> Vec<Result<Vec<u8>, LineTooLong>> {
        let mut found = Vec::new();
        let mut pieces: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        let rest = pieces.pop().unwrap_or_default();
        for piece in pieces {
            if piece.len() > MAX {
                found.push(Err(LineTooLong));
                return found;
            }
            found.push(Ok(piece.strip_suffix(b"\r").unwrap_or(piece).to_vec()));
        }
        if rest.len() > MAX {
            found.push(Err(LineTooLong));
        }
        found
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_the_bytes_arrive(
            bytes in proptest::collection::vec(prop_oneof![4 => Just(b'x'), 1 => Just(b'\n'), 1 => Just(b'\r'), 1 => any::<u8>()], 0..200),
            sizes in proptest::collection::vec(1..50_usize, 1..10),
        ) {
            prop_assert_eq!(lines(&bytes, &sizes), expected(&bytes));
        }
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit() {
        let exact = [vec![b'x'; MAX], vec![b'\n']].concat();
        assert_eq!(lines(&exact, &[7]), [Ok(vec![b'x'; MAX])]);
        assert_eq!(lines(&[b'x'; MAX + 1], &[1]), [Err(LineTooLong)]);
    }

    #[test]
    fn what_is_held_is_what_arrived() {
        let mut buffer = LineBuffer::new(1000);
        assert_eq!(buffer.begun_bytes(), 0);
        buffer.space()[..3].copy_from_slice(b"a\nb");
        buffer.filled(3);
        assert_eq!(buffer.next_line(), Some(Ok(Cow::Borrowed(&b"a"[..]))));
        assert_eq!(buffer.next_line(), None);
        assert_eq!(buffer.begun_bytes(), 1);
        assert!(buffer.begun.capacity() < 64);
    }
}
