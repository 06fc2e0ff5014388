//! First words of a session, and lines that are no ordinary request: what comes back, and whether the session goes on.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rig::socks::Line;
use serde_json::{Value, json};

use super::arguments::Kind;
use super::pair::{Pair, Replies, Reply, introduce};
use super::requests::Request;

const REPLY: Duration = Duration::from_secs(20);
/// What stands in the list of reasons for the method of a line.
pub(super) const OPENING: &str = "(first line)";
pub(super) const LATER: &str = "(line)";

/// Each line in a session of its own, with what both servers say.
pub(super) fn compare(pair: &Pair) -> Result<Vec<(Request, Replies)>> {
    let mut compared = Vec::new();
    for (method, lines) in [(OPENING, openings()), (LATER, read(LATER_LINES).collect())] {
        for (kind, line) in lines {
            let mut replies = Vec::new();
            for mut session in pair.connect()? {
                let name = if method == LATER {
                    introduce(&mut session, "1.6")?
                } else {
                    let mut other = pair.connect()?;
                    introduce(&mut other[replies.len()], "1.6")?
                };
                let said = converse(&mut session, &line, &name);
                replies.push(said.with_context(|| format!("{method}: {kind}"))?);
            }
            let request = Request {
                method,
                kinds: vec![("line", kind)],
                special: Some(("line", kind)),
                params: Some(json!(line)),
            };
            let theirs = replies.pop().context("theirs")?;
            let ours = replies.pop().context("ours")?;
            compared.push((request, Replies { ours, theirs }));
        }
    }
    Ok(compared)
}

/// Sends a line; the reply, and whether a ping is answered after it.
fn converse(session: &mut Line, line: &str, name: &str) -> Result<Reply> {
    session.send(line)?;
    // A server that is about to close the stream need not take it.
    drop(session.send(r#"{"jsonrpc":"2.0","id":"ping","method":"server.ping"}"#));
    let mut said = Vec::new();
    let mut goes_on = false;
    while !goes_on {
        let Some(line) = session.read(REPLY)? else {
            break;
        };
        let message: Value = serde_json::from_str(&line)?;
        if message["id"] == "ping" {
            goes_on = message["error"].is_null();
        } else if message.is_array() || message.get("id").is_some() {
            said.push(without_texts(&message, name)?);
        }
    }
    Ok(Reply::Result(json!({ "said": said, "goes on": goes_on })))
}

/// A message without the texts of its errors and with `$NAME` for the server's name; of a batch in the order of ids.
fn without_texts(message: &Value, name: &str) -> Result<Value> {
    let text = message.to_string().replace(name, "$NAME");
    let mut message: Value = serde_json::from_str(&text)?;
    let members = if let Value::Array(members) = &mut message {
        members.sort_by_key(|member| member["id"].to_string());
        members.as_mut_slice()
    } else {
        std::slice::from_mut(&mut message)
    };
    for error in members
        .iter_mut()
        .filter_map(|member| member.get_mut("error"))
    {
        *error = error["code"].take();
    }
    Ok(message)
}

/// What is asked for in the first line of a session, and whole first lines.
fn openings() -> Vec<(Kind, String)> {
    let version = |(kind, asked): (Kind, String)| {
        let line = format!(
            r#"{{"jsonrpc":"2.0","id":0,"method":"server.version","params":["test",{asked}]}}"#
        );
        (kind, line)
    };
    read(VERSIONS)
        .map(version)
        .chain(read(FIRST_LINES))
        .collect()
}

/// The rows of a table with JSON's own quotes.
fn read(table: &[(Kind, &str)]) -> impl Iterator<Item = (Kind, String)> {
    table
        .iter()
        .map(|(kind, text)| (*kind, text.replace('\'', "\"")))
}

/// Versions; quotes are single.
const VERSIONS: &[(Kind, &str)] = &[
    ("1.4", "'1.4'"),
    ("1.4.1", "'1.4.1'"),
    ("1.4.2", "'1.4.2'"),
    ("1.4.3", "'1.4.3'"),
    ("1.6", "'1.6'"),
    ("1.6.0", "'1.6.0'"),
    ("Electrum's", "['1.4', '1.6']"),
    ("Sparrow's", "['1.3', '1.4.2']"),
    ("up to 1.4", "['1.0', '1.4']"),
    ("from 1.6 to beyond", "['1.6', '3.0']"),
    ("1.5", "'1.5'"),
    ("from 1.5 to 1.5.3", "['1.5', '1.5.3']"),
    ("1.3", "'1.3'"),
    ("1.7", "'1.7'"),
    ("from 1.7 to 1.8", "['1.7', '1.8']"),
    ("the wrong way round", "['1.6', '1.4']"),
    ("a word", "'word'"),
    ("an empty string", "''"),
    ("a number", "1.4"),
    ("null", "null"),
    ("an empty list", "[]"),
    ("three versions", "['1.4', '1.5', '1.6']"),
    ("an object", "{'min': '1.4'}"),
];

/// First lines of a session; quotes are single.
const FIRST_LINES: &[(Kind, &str)] = &[
    (
        "no arguments",
        "{'jsonrpc':'2.0','id':0,'method':'server.version','params':[]}",
    ),
    (
        "arguments left out",
        "{'jsonrpc':'2.0','id':0,'method':'server.version'}",
    ),
    (
        "a name alone",
        "{'jsonrpc':'2.0','id':0,'method':'server.version','params':['x']}",
    ),
    (
        "a name that is a number",
        "{'jsonrpc':'2.0','id':0,'method':'server.version','params':[5,'1.4']}",
    ),
    (
        "arguments too many",
        "{'jsonrpc':'2.0','id':0,'method':'server.version','params':['x','1.6',1,{'a':2}]}",
    ),
    (
        "arguments by name",
        "{'jsonrpc':'2.0','id':0,'method':'server.version','params':{'client_name':'x','protocol_version':['1.4','1.6']}}",
    ),
    (
        "names too many",
        "{'jsonrpc':'2.0','id':0,'method':'server.version','params':{'client_name':'x','protocol_version':'1.4','surprise':0}}",
    ),
    (
        "in a batch",
        "[{'jsonrpc':'2.0','id':0,'method':'server.version','params':['x','1.4']}]",
    ),
    (
        "no version",
        "{'jsonrpc':'2.0','id':0,'method':'server.features','params':[]}",
    ),
    (
        "no version, unknown method",
        "{'jsonrpc':'2.0','id':0,'method':'nothing','params':[]}",
    ),
];

/// Lines after the version; quotes are single.
const LATER_LINES: &[(Kind, &str)] = &[
    (
        "an id of text",
        "{'jsonrpc':'2.0','id':'x y','method':'server.donation_address','params':[]}",
    ),
    (
        "an id below zero",
        "{'jsonrpc':'2.0','id':-5,'method':'server.donation_address','params':[]}",
    ),
    (
        "an id with a fraction",
        "{'jsonrpc':'2.0','id':1.5,'method':'server.donation_address','params':[]}",
    ),
    (
        "an id of null",
        "{'jsonrpc':'2.0','id':null,'method':'server.donation_address','params':[]}",
    ),
    (
        "an id of a list",
        "{'jsonrpc':'2.0','id':[1],'method':'server.donation_address','params':[]}",
    ),
    (
        "without an id",
        "{'jsonrpc':'2.0','method':'server.donation_address','params':[]}",
    ),
    (
        "without jsonrpc",
        "{'id':0,'method':'server.donation_address','params':[]}",
    ),
    (
        "jsonrpc 1.0",
        "{'jsonrpc':'1.0','id':0,'method':'server.donation_address','params':[]}",
    ),
    (
        "a member too many",
        "{'jsonrpc':'2.0','id':0,'method':'server.donation_address','params':[],'authorization':'x'}",
    ),
    (
        "spaces",
        "{ 'jsonrpc' : '2.0' , 'id':0,'method':'server.donation_address','params':[ ]                  }",
    ),
    (
        "an escape in the method",
        "{'jsonrpc':'2.0','id':0,'method':'server.donation\\u005faddress','params':[]}",
    ),
    ("without a method", "{'jsonrpc':'2.0','id':0,'params':[]}"),
    (
        "a method that is a number",
        "{'jsonrpc':'2.0','id':0,'method':5,'params':[]}",
    ),
    (
        "an unknown method",
        "{'jsonrpc':'2.0','id':0,'method':'blockchain.nothing','params':[]}",
    ),
    (
        "a reply nobody waits for",
        "{'jsonrpc':'2.0','id':77,'result':5}",
    ),
    ("no object", "5"),
    ("no JSON", "hello"),
    ("half a line", "{'jsonrpc':'2.0','id':0,'method'"),
    ("an empty line", ""),
    ("an empty object", "{}"),
    ("an empty batch", "[]"),
    (
        "a batch of one",
        "[{'jsonrpc':'2.0','id':0,'method':'server.donation_address','params':[]}]",
    ),
    (
        "a batch with one without an id",
        "[{'jsonrpc':'2.0','id':0,'method':'server.donation_address'},{'jsonrpc':'2.0','method':'server.donation_address'}]",
    ),
    (
        "a batch with no request among",
        "[{'jsonrpc':'2.0','id':0,'method':'server.donation_address'},5]",
    ),
    (
        "a batch of the same id",
        "[{'jsonrpc':'2.0','id':0,'method':'server.donation_address'},{'jsonrpc':'2.0','id':0,'method':'server.donation_address'}]",
    ),
    (
        "a second version",
        "{'jsonrpc':'2.0','id':0,'method':'server.version','params':['test','1.4']}",
    ),
];
