//! JSON-RPC requests, borrowed from the line they came in.
//!
//! A client's JSON never becomes a generic value: what is not needed is skipped without being stored, so that the
//! memory for a line stays about its own size, however its brackets are nested.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::error::WireError;
use crate::limits;

/// One line.
pub(super) enum Message<'a> {
    /// One request.
    Single(Member<'a>),
    /// Several, to be answered as one array.
    Batch(Vec<Member<'a>>),
}

/// A request, or what is not one.
pub(super) type Member<'a> = Result<Request<'a>, Invalid<'a>>;

/// A request; members that we do not know are ignored.
#[derive(Deserialize)]
pub(super) struct Request<'a> {
    /// Echoed unchanged, whatever it is; absent in a notification, which gets no answer.
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) id: Option<&'a RawValue>,
    /// The method's name.
    #[serde(borrow)]
    pub(super) method: Cow<'a, str>,
    /// Its arguments, by position or by name.
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) params: Option<&'a RawValue>,
}

/// JSON that is not a request.
#[derive(Deserialize)]
pub(super) struct Invalid<'a> {
    /// The id, where one can be found.
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) id: Option<&'a RawValue>,
}

/// Reads a line. The error is about the whole line; a faulty member of a batch is told as such.
pub(super) fn parse(line: &[u8]) -> Result<Message<'_>, WireError> {
    let text = std::str::from_utf8(line).map_err(|_not_utf8| WireError::Parse)?;
    if !text.trim_ascii_start().starts_with('[') {
        let raw = serde_json::from_str(text).map_err(|_syntax| WireError::Parse)?;
        return Ok(Message::Single(member(raw)));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let members = json
        .deserialize_seq(Members)
        .and_then(|members| json.end().map(|()| members))
        .map_err(|error| match error.classify() {
            // The only fault of this kind that `Members` can tell.
            serde_json::error::Category::Data => WireError::BatchLimit,
            serde_json::error::Category::Io
            | serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof => WireError::Parse,
        })?;
    if members.is_empty() {
        return Err(WireError::InvalidRequest);
    }
    Ok(Message::Batch(members.into_iter().map(member).collect()))
}

fn member(raw: &RawValue) -> Member<'_> {
    // Without this, an array would be taken for the fields of a request in their order.
    if !raw.get().starts_with('{') {
        return Err(Invalid { id: None });
    }
    let Ok(request) = serde_json::from_str::<Request<'_>>(raw.get()) else {
        let invalid: Invalid<'_> = serde_json::from_str(raw.get()).unwrap_or(Invalid { id: None });
        return Err(Invalid {
            id: invalid.id.filter(|id| is_short(id)),
        });
    };
    if request.id.is_some_and(|id| !is_short(id)) {
        return Err(Invalid { id: None });
    }
    Ok(request)
}

/// An id is held until its request is answered, and comes back with the answer.
fn is_short(id: &RawValue) -> bool {
    id.get().len() <= limits::ID_BYTES_MAX
}

/// Tells `null` from nothing, as an `Option` alone does not.
fn present<'de, D: serde::Deserializer<'de>>(json: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(json).map(Some)
}

/// Members of a batch, counted while they are read.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a batch within the limit")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut batch: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = batch.next_element()? {
            if members.len() == limits::BATCH_ITEMS_MAX {
                return Err(de::Error::custom("too many members"));
            }
            members.push(member);
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> Request<'_> {
        match parse(line.as_bytes()) {
            Ok(Message::Single(Ok(request))) => request,
            _ => panic!("not a request"),
        }
    }

    fn invalid(line: &str) -> Invalid<'_> {
        match parse(line.as_bytes()) {
            Ok(Message::Single(Err(invalid))) => invalid,
            _ => panic!("not an invalid request"),
        }
    }

    fn fault(line: &[u8]) -> Option<WireError> {
        parse(line).err()
    }

    #[test]
    fn unknown_members_and_white_space_are_ignored() {
        let line = r#" { "authorization": {"a":[1]}, "jsonrpc": "2.0", "params" : [ 1 ], "method": "m", "id": 1   } "#;
        let request = request(line);
        assert_eq!(request.method, "m");
        assert!(matches!(request.method, Cow::Borrowed(_)));
        assert_eq!(request.params.unwrap().get(), "[ 1 ]");
    }

    #[test]
    fn ids_of_every_kind_are_kept() {
        for id in [
            "1",
            "\"x\"",
            "null",
            "{\"a\":[1, 2]}",
            "-1.5e3",
            "\"\\u00e9\"",
        ] {
            let line = format!("{{\"id\":{id},\"method\":\"m\"}}");
            assert_eq!(request(&line).id.unwrap().get(), id);
        }
        assert!(request(r#"{"method":"m"}"#).id.is_none());
    }

    #[test]
    fn what_is_no_request_keeps_its_id() {
        for line in [
            r#"{"id":5}"#,
            r#"{"id":5,"method":7}"#,
            r#"{"id":5,"method":null}"#,
            r#"{"id":5,"method":"a","method":"b"}"#,
            r#"{"id":5,"method":"a","params":[],"params":[]}"#,
            r#"{"id":5,"method":"\ud800"}"#,
        ] {
            assert_eq!(invalid(line).id.unwrap().get(), "5");
        }
        for line in [
            "5",
            "null",
            "\"x\"",
            "{}",
            r#"{"id":1,"id":2,"method":"m"}"#,
        ] {
            assert!(invalid(line).id.is_none(), "{line}");
        }
    }

    #[test]
    fn an_id_that_is_too_long_is_not_echoed() {
        let line = |bytes: usize| format!("{{\"id\":{},\"method\":\"m\"}}", "7".repeat(bytes));
        assert!(request(&line(limits::ID_BYTES_MAX)).id.is_some());
        let over = line(limits::ID_BYTES_MAX + 1);
        assert!(invalid(&over).id.is_none());
        assert!(invalid(&over.replace("\"m\"", "5")).id.is_none());
    }

    #[test]
    fn what_is_not_json_is_told_so() {
        let lines: [&[u8]; 9] = [
            b"",
            b"   ",
            b"{",
            b"{\"id\":1}}",
            b"[1,",
            b"[1] 2",
            b"{\"id\":01}",
            b"\x00",
            b"{\"id\":1,\"method\":\"\xff\"}",
        ];
        for line in lines {
            assert_eq!(fault(line), Some(WireError::Parse), "{line:?}");
        }
    }

    #[test]
    fn a_batch_is_counted_while_it_is_read() {
        let batch = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
        assert!(parse(batch(limits::BATCH_ITEMS_MAX).as_bytes()).is_ok());
        let over = batch(limits::BATCH_ITEMS_MAX + 1);
        assert_eq!(fault(over.as_bytes()), Some(WireError::BatchLimit));
        // Nothing behind the limit is read, not even to find it broken.
        let broken = over.replace(']', ",]]]");
        assert_eq!(fault(broken.as_bytes()), Some(WireError::BatchLimit));
        assert_eq!(fault(b"[]"), Some(WireError::InvalidRequest));
    }

    #[test]
    fn members_of_a_batch_fail_one_by_one() {
        let Ok(Message::Batch(members)) =
            parse(br#"[1, {"id":2,"method":"m"}, [3,"m",[]], {"id":4}]"#)
        else {
            panic!("not a batch");
        };
        let good: Vec<bool> = members.iter().map(Result::is_ok).collect();
        assert_eq!(good, [false, true, false, false]);
    }

    #[test]
    fn depth_costs_nothing() {
        let deep = "[".repeat(100_000);
        assert_eq!(fault(deep.as_bytes()), Some(WireError::Parse));
        let closed = format!("{deep}{}", "]".repeat(100_000));
        let line = format!("{{\"id\":1,\"method\":\"m\",\"params\":{closed},\"x\":{closed}}}");
        assert_eq!(request(&line).params.unwrap().get(), closed);
        let objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
        assert!(invalid(&objects).id.is_none());
    }
}
