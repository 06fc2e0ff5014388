//! `blockchain.transaction.broadcast_package`: its arguments, and what is said of them.

use std::fmt;

use bitcoin::hex::FromHex as _;
use bitcoin::{Txid, Wtxid};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::error::WireError;
use super::message::Request;
use super::params::{Extra, Text, bind, optional, required};
use crate::broadcast::{PackageMember, PackageRefusal, Refusal};
use crate::limits;
use crate::redact::RawTransaction;

/// Transactions to hand on together.
pub(super) struct Package {
    /// One more than [`limits::PACKAGE_MAX`] at most, so that too many are noticed.
    pub(super) transactions: Vec<RawTransaction>,
    verbose: bool,
}

impl Package {
    /// A list of what is not hexadecimal is told like one of what are not transactions.
    pub(super) fn parse(request: &Request<'_>) -> Result<Self, WireError> {
        let [raw, verbose] = bind(request.params, ["raw_txs", "verbose"], Extra::Refused)?;
        let verbose = optional(verbose)?.unwrap_or(false);
        let Beginning(texts) = required(raw)?;
        let transactions = texts.iter().map(|Text(digits)| {
            Vec::from_hex(digits)
                .map(RawTransaction::new)
                .map_err(|_not_hex| PackageRefusal::NotTaken(Refusal::NotATransaction))
        });
        Ok(Self {
            transactions: transactions
                .collect::<Result<_, _>>()
                .map_err(WireError::PackageRefused)?,
            verbose,
        })
    }

    /// What the client is told when these were judged.
    pub(super) fn told<'a>(&self, members: &'a [PackageMember]) -> Told<'a> {
        Told {
            members,
            verbose: self.verbose,
        }
    }
}

/// The first of a list of texts, as many as a package may have and one more.
struct Beginning<'a>(Vec<Text<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Beginning<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_seq(Texts).map(Self)
    }
}

struct Texts;

impl<'de> Visitor<'de> for Texts {
    type Value = Vec<Text<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of texts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while texts.len() <= limits::PACKAGE_MAX {
            let Some(text) = list.next_element()? else {
                return Ok(texts);
            };
            texts.push(text);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(texts)
    }
}

/// What is said of a package: success, and the transactions that were refused; or, if that was asked for, every
/// transaction in the form of the node's `submitpackage`.
pub(super) struct Told<'a> {
    members: &'a [PackageMember],
    verbose: bool,
}

impl Serialize for Told<'_> {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        let refused = self
            .members
            .iter()
            .filter(|member| member.refusal.is_some());
        let errors: Vec<Member> = refused.map(Member::of).collect();
        let mut map = json.serialize_map(None)?;
        if self.verbose {
            let message = if errors.is_empty() {
                "success"
            } else {
                "transaction failed"
            };
            map.serialize_entry("package_msg", message)?;
            map.serialize_entry("tx-results", &Results(self.members))?;
        } else {
            map.serialize_entry("success", &errors.is_empty())?;
            if !errors.is_empty() {
                map.serialize_entry("errors", &errors)?;
            }
        }
        map.end()
    }
}

/// By transaction id with witnesses.
struct Results<'a>(&'a [PackageMember]);

impl Serialize for Results<'_> {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        let results = self.0.iter();
        json.collect_map(
            results.map(|member| -> (Wtxid, Member) { (member.wtxid, Member::of(member)) }),
        )
    }
}

#[derive(serde::Serialize)]
struct Member {
    txid: Txid,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

impl Member {
    fn of(member: &PackageMember) -> Self {
        Self {
            txid: member.txid,
            error: member.refusal.map(Refusal::text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::electrum::message::{Message, parse};
    use bitcoin::hashes::Hash as _;

    fn read(params: &str) -> Result<Package, WireError> {
        let line = format!("{{\"id\":1,\"method\":\"m\",\"params\":{params}}}");
        match parse(line.as_bytes()) {
            Ok(Message::Single(Ok(request))) => Package::parse(&request),
            _ => Err(WireError::Parse),
        }
    }

    #[test]
    fn arguments_are_a_list_of_transactions_and_whether_all_is_told() {
        for (params, count, verbose) in [
            (r#"[["00","ff"]]"#, 2, false),
            (r#"[["00"],true]"#, 1, true),
            (r#"{"raw_txs":[],"verbose":false}"#, 0, false),
            (r#"[[],null]"#, 0, false),
        ] {
            let package = read(params).unwrap_or_else(|_| panic!("{params}"));
            assert_eq!(package.transactions.len(), count, "{params}");
            assert_eq!(package.verbose, verbose, "{params}");
        }
        for params in [
            "[]",
            "[\"00\"]",
            "[[1]]",
            r#"[["00"],1]"#,
            "[{}]",
            "[[],true,1]",
            "[null]",
        ] {
            let fault = read(params).err();
            assert_eq!(fault, Some(WireError::InvalidParams), "{params}");
        }
        let not_hex = PackageRefusal::NotTaken(Refusal::NotATransaction);
        for params in [r#"[["00","xy"]]"#, r#"[["0"]]"#] {
            assert_eq!(read(params).err(), Some(WireError::PackageRefused(not_hex)));
        }
    }

    #[test]
    fn of_a_long_list_only_the_beginning_is_kept() {
        let long = format!("[[{}]]", vec!["\"00\""; 100_000].join(","));
        let kept = read(&long).map(|package| package.transactions.len());
        assert_eq!(kept, Ok(limits::PACKAGE_MAX + 1));
    }

    #[test]
    fn what_is_told_has_the_fields_of_the_protocol() {
        let member = |number: u8, refusal| PackageMember {
            txid: Txid::from_byte_array([number; 32]),
            wtxid: Wtxid::from_byte_array([number + 1; 32]),
            refusal,
        };
        let json = |members: &[PackageMember], verbose| {
            serde_json::to_string(&Told { members, verbose }).unwrap()
        };
        let taken = [member(0x11, None)];
        assert_eq!(json(&taken, false), r#"{"success":true}"#);
        let [one, two] = ["11".repeat(32), "12".repeat(32)];
        assert_eq!(
            json(&taken, true),
            format!(r#"{{"package_msg":"success","tx-results":{{"{two}":{{"txid":"{one}"}}}}}}"#)
        );
        let refused = [member(0x11, None), member(0x33, Some(Refusal::Dust))];
        let [three, four] = ["33".repeat(32), "34".repeat(32)];
        let error = format!(r#"{{"txid":"{three}","error":"dust: an output is too small"}}"#);
        assert_eq!(
            json(&refused, false),
            format!(r#"{{"success":false,"errors":[{error}]}}"#)
        );
        assert_eq!(
            json(&refused, true),
            format!(
                r#"{{"package_msg":"transaction failed","tx-results":{{"{two}":{{"txid":"{one}"}},"{four}":{error}}}}}"#
            )
        );
    }
}
