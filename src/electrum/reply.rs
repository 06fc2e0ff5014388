//! Lines to the client: replies to requests, and notifications.

use std::io;

use serde::Serialize;
use serde_json::value::RawValue;

use super::error::WireError;
use crate::limits;

/// The reply to one line, while it is written.
pub(super) struct Reply {
    bytes: Vec<u8>,
    bytes_max: usize,
    batch: bool,
    /// Requests of the line that have nothing yet.
    missing: usize,
}

/// The brackets that end a line, and its end.
const END_BYTES_MAX: usize = "}]\n".len();
/// An error with its id: frame and code take 75 bytes, the longest text less than 200.
const ERROR_BYTES_MAX: usize = limits::ID_BYTES_MAX + 320;

/// A result that does not fit into the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

impl Reply {
    /// An empty one for so many requests; a result fits into it if the whole line, with errors for all requests that
    /// follow, has at most `bytes_max` bytes.
    pub(super) fn new(batch: bool, requests: usize, bytes_max: usize) -> Self {
        Self {
            missing: requests,
            bytes: if batch { vec![b'['] } else { Vec::new() },
            bytes_max,
            batch,
        }
    }

    /// Adds a result, or nothing when it does not fit.
    pub(super) fn result(
        &mut self,
        id: Option<&RawValue>,
        result: &impl Serialize,
    ) -> Result<(), TooLarge> {
        let before = self.bytes.len();
        let errors = self
            .missing
            .saturating_sub(1)
            .saturating_mul(ERROR_BYTES_MAX);
        let rest = errors.saturating_add(END_BYTES_MAX);
        self.begin(id);
        self.bytes.extend_from_slice(b",\"result\":");
        let mut bounded = Bounded {
            bytes: &mut self.bytes,
            bytes_max: self.bytes_max.saturating_sub(rest),
        };
        if serde_json::to_writer(&mut bounded, result).is_err() {
            self.bytes.truncate(before);
            return Err(TooLarge);
        }
        self.bytes.push(b'}');
        self.missing = self.missing.saturating_sub(1);
        Ok(())
    }

    /// Adds an error.
    pub(super) fn error(&mut self, id: Option<&RawValue>, error: WireError) {
        self.begin(id);
        let code = error.code();
        // The texts are our own, but one has line breaks.
        let message = serde_json::Value::from(error.message());
        let text = format!(",\"error\":{{\"code\":{code},\"message\":{message}}}}}");
        self.bytes.extend_from_slice(text.as_bytes());
        self.missing = self.missing.saturating_sub(1);
    }

    /// The whole line with its end.
    pub(super) fn into_line(mut self) -> Vec<u8> {
        if self.batch {
            self.bytes.push(b']');
        }
        self.bytes.push(b'\n');
        self.bytes
    }

    fn begin(&mut self, id: Option<&RawValue>) {
        if !matches!(self.bytes.last(), None | Some(b'[')) {
            self.bytes.push(b',');
        }
        self.bytes
            .extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
        self.bytes
            .extend_from_slice(id.map_or("null", RawValue::get).as_bytes());
    }
}

/// Adds a notification as a line of its own.
pub(super) fn notify(lines: &mut Vec<u8>, method: &'static str, params: &impl Serialize) {
    let before = lines.len();
    lines.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"method\":\"");
    lines.extend_from_slice(method.as_bytes());
    lines.extend_from_slice(b"\",\"params\":");
    if serde_json::to_writer(&mut *lines, params).is_err() {
        lines.truncate(before);
        return;
    }
    lines.extend_from_slice(b"}\n");
}

/// Ends the writing of JSON when it passes a bound, instead of letting it grow and looking afterwards.
struct Bounded<'a> {
    bytes: &'a mut Vec<u8>,
    bytes_max: usize,
}

impl io::Write for Bounded<'_> {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.bytes.len().saturating_add(more.len()) > self.bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{CatchUp, Speed};

    fn text(reply: Reply) -> String {
        String::from_utf8(reply.into_line()).unwrap()
    }

    #[test]
    fn a_result_that_does_not_fit_leaves_no_trace() {
        let mut reply = Reply::new(true, 1, 100);
        assert_eq!(reply.result(None, &1), Ok(()));
        assert_eq!(reply.result(None, &"x".repeat(100)), Err(TooLarge));
        reply.error(None, WireError::ReplyTooLarge);
        assert_eq!(
            text(reply),
            "[{\"jsonrpc\":\"2.0\",\"id\":null,\"result\":1},{\"jsonrpc\":\"2.0\",\"id\":null,\
             \"error\":{\"code\":-32600,\"message\":\"response too large\"}}]\n"
        );
    }

    #[test]
    fn the_whole_line_is_as_long_as_the_limit_and_no_longer() {
        let frame = "{\"jsonrpc\":\"2.0\",\"id\":null,\"result\":\"\"}]\n".len();
        for (digits, fits) in [(500 - frame, true), (501 - frame, false)] {
            let mut reply = Reply::new(false, 1, 500);
            let result = reply.result(None, &"7".repeat(digits));
            assert_eq!(result.is_ok(), fits);
            assert!(reply.into_line().len() <= 500);
        }
    }

    #[test]
    fn errors_of_all_who_follow_have_their_room() {
        let count = limits::BATCH_ITEMS_MAX;
        let bytes_max = limits::REPLY_BYTES_MIN;
        let id = RawValue::from_string("7".repeat(limits::ID_BYTES_MAX)).unwrap();
        let mut reply = Reply::new(true, count, bytes_max);
        let frame = format!("[{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":\"\"");
        let others = (count - 1) * ERROR_BYTES_MAX + END_BYTES_MAX;
        let longest = bytes_max - frame.len() - others;
        assert!(longest > bytes_max / 3);
        let too_long = reply.result(Some(&id), &"7".repeat(longest + 1));
        assert_eq!(too_long, Err(TooLarge));
        assert_eq!(reply.result(Some(&id), &"7".repeat(longest)), Ok(()));
        let speed = Some(Speed {
            blocks_per_minute: u32::MAX,
            minutes_left: u32::MAX,
        });
        let (indexed, target) = (u32::MAX, u32::MAX);
        let longest_text = WireError::CatchingUp(CatchUp {
            indexed,
            target,
            speed,
        });
        for _ in 1..count {
            reply.error(Some(&id), longest_text);
        }
        let bytes = reply.into_line().len();
        assert!(bytes <= bytes_max, "{bytes}");
    }

    #[test]
    fn line_breaks_in_texts_are_escaped() {
        let mut reply = Reply::new(false, 1, 100);
        reply.error(
            None,
            WireError::Refused(crate::broadcast::Refusal::NotReady),
        );
        assert!(text(reply).contains("network rules.\\n\\nPeer"));
    }

    #[test]
    fn notifications_have_no_id() {
        let mut lines = Vec::new();
        notify(&mut lines, "m", &["a", "b"]);
        notify(&mut lines, "m", &[0; 0]);
        assert_eq!(
            String::from_utf8(lines).unwrap(),
            "{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"params\":[\"a\",\"b\"]}\n\
             {\"jsonrpc\":\"2.0\",\"method\":\"m\",\"params\":[]}\n"
        );
    }
}
