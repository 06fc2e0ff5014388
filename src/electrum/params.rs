//! Arguments of a request, by position or by name, bound to the names of the protocol text.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::error::WireError;
use crate::limits;

/// What happens to arguments beyond those that a method has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extra {
    /// They make the request invalid.
    Refused,
    /// They mean nothing.
    Ignored,
}

/// One argument; `None` when it is absent or `null`.
pub(super) type Argument<'a> = Option<&'a RawValue>;

/// The arguments in the order of `names`.
pub(super) fn bind<'a, const N: usize>(
    params: Option<&'a RawValue>,
    names: [&'static str; N],
    extra: Extra,
) -> Result<[Argument<'a>; N], WireError> {
    let Some(params) = params else {
        return Ok([None; N]);
    };
    serde_json::Deserializer::from_str(params.get())
        .deserialize_any(Binding { names, extra })
        .map_err(|_unbound| WireError::InvalidParams)
}

/// An argument that must be there.
pub(super) fn required<'a, T: Deserialize<'a>>(argument: Argument<'a>) -> Result<T, WireError> {
    optional(argument)?.ok_or(WireError::InvalidParams)
}

/// An argument that may be left out.
pub(super) fn optional<'a, T: Deserialize<'a>>(
    argument: Argument<'a>,
) -> Result<Option<T>, WireError> {
    argument
        .map(|raw| serde_json::from_str(raw.get()))
        .transpose()
        .map_err(|_wrong_type| WireError::InvalidParams)
}

/// A string that is borrowed where it holds no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// At most so many strings.
pub(super) struct List<'a, const MAX: usize>(pub(super) Vec<Text<'a>>);

impl<'de: 'a, 'a, const MAX: usize> Deserialize<'de> for List<'a, MAX> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_seq(Listing::<MAX>).map(Self)
    }
}

struct Listing<const MAX: usize>;

impl<'de, const MAX: usize> Visitor<'de> for Listing<MAX> {
    type Value = Vec<Text<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list within its limit")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(text) = values.next_element()? {
            if list.len() == MAX {
                return Err(de::Error::custom("too many"));
            }
            list.push(text);
        }
        Ok(list)
    }
}

struct Binding<const N: usize> {
    names: [&'static str; N],
    extra: Extra,
}

impl<'de, const N: usize> Visitor<'de> for Binding<N> {
    type Value = [Argument<'de>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the arguments of this method")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok([None; N])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Self::Value, A::Error> {
        let mut bound = [None; N];
        let mut count = 0_usize;
        while let Some(value) = values.next_element()? {
            match bound.get_mut(count) {
                Some(place) => *place = Some(value).filter(not_null),
                None if self.extra == Extra::Ignored && count < limits::PARAMS_MAX => {}
                None => return Err(de::Error::custom("too many arguments")),
            }
            count = count.saturating_add(1);
        }
        Ok(bound)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut values: A) -> Result<Self::Value, A::Error> {
        let mut bound = [None; N];
        let mut named = [false; N];
        let mut count = 0_usize;
        while let Some((Text(name), value)) = values.next_entry()? {
            count = count.saturating_add(1);
            let index = self.names.iter().position(|known| *known == name);
            match index.and_then(|index| Some((bound.get_mut(index)?, named.get_mut(index)?))) {
                Some((place, seen)) if !*seen => {
                    *seen = true;
                    *place = Some(value).filter(not_null);
                }
                None if self.extra == Extra::Ignored && count <= limits::PARAMS_MAX => {}
                _ => {
                    return Err(de::Error::custom(
                        "an argument that this method does not have",
                    ));
                }
            }
        }
        Ok(bound)
    }
}

fn not_null(value: &&RawValue) -> bool {
    value.get() != "null"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(params: &str, extra: Extra) -> Result<[Option<u32>; 2], WireError> {
        let raw: &RawValue = serde_json::from_str(params).unwrap();
        let [a, b] = bind(Some(raw), ["a", "b"], extra)?;
        Ok([optional(a)?, optional(b)?])
    }

    #[test]
    fn arguments_come_by_position_or_by_name() {
        for params in ["[1,2]", r#"{"b":2,"a":1}"#, r#"{"\u0061":1,"b": 2}"#] {
            assert_eq!(bound(params, Extra::Refused), Ok([Some(1), Some(2)]));
        }
        for params in ["[1]", "[1,null]", r#"{"a":1}"#, r#"{"a":1,"b":null}"#] {
            assert_eq!(bound(params, Extra::Refused), Ok([Some(1), None]));
        }
        for params in ["[]", "{}", "null"] {
            assert_eq!(bound(params, Extra::Refused), Ok([None, None]));
        }
        assert_eq!(
            bind(None, ["a"], Extra::Refused).map(|[a]| a.is_none()),
            Ok(true)
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for params in [
            "[1,2,3]",
            r#"{"c":1}"#,
            r#"{"a":1,"a":1}"#,
            "5",
            "\"a\"",
            "[-1]",
            "[1.5]",
            "[\"1\"]",
            "[[1]]",
        ] {
            assert_eq!(
                bound(params, Extra::Refused),
                Err(WireError::InvalidParams),
                "{params}"
            );
        }
    }

    #[test]
    fn extra_arguments_are_ignored_up_to_a_bound() {
        let many = |count: usize| format!("[{}]", vec!["7"; count].join(","));
        assert_eq!(bound(&many(16), Extra::Ignored), Ok([Some(7), Some(7)]));
        assert!(bound(&many(17), Extra::Ignored).is_err());
        assert_eq!(
            bound(r#"{"a":1,"c":[]}"#, Extra::Ignored),
            Ok([Some(1), None])
        );
        let named: Vec<String> = (0..17).map(|n| format!("\"x{n}\":0")).collect();
        assert!(bound(&format!("{{{}}}", named.join(",")), Extra::Ignored).is_err());
        assert!(bound(r#"{"a":1,"a":1}"#, Extra::Ignored).is_err());
    }
}
