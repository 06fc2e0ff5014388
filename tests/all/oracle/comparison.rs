//! What is asked about, and how answers are told apart.

use rig::oracle::{Script, Scripts, script_hash};

use anyhow::{Result, ensure};

/// Scripts of which nothing may be known: one that nobody uses, one that nobody can spend, and the only one of the
/// genesis block.
const UNKNOWN: [&str; 3] = [
    "0014751e76e8199196d454941c45d1b3a323f1433bd6",
    "6a",
    "4104678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac",
];

/// Differences told; one is nearly as good as a thousand.
const TOLD_MAX: usize = 3;

/// The script hashes to ask about.
pub(super) fn asked(expected: &Scripts) -> Result<Vec<String>> {
    let mut asked: Vec<String> = expected.keys().cloned().collect();
    for script in UNKNOWN {
        let hash = script_hash(script)?;
        ensure!(!expected.contains_key(&hash), "{script} was to be unknown");
        asked.push(hash);
    }
    Ok(asked)
}

/// How the answers differ.
pub(super) enum Verdict {
    Equal,
    /// Only where the mempool has a part, so that it may be a matter of a moment.
    Unconfirmed(String),
    Different(String),
}

/// Compares; `found` is in the order of `asked`.
pub(super) fn judge(expected: &Scripts, asked: &[String], found: &[Script]) -> Verdict {
    let nothing = Script::default();
    let mut told = Vec::new();
    let mut settled = false;
    for (hash, found) in asked.iter().zip(found) {
        let expected = expected.get(hash).unwrap_or(&nothing);
        if is_equal(expected, found) {
            continue;
        }
        settled |= !in_mempool(expected) && !in_mempool(found);
        told.push(format!(
            "{hash}:\n  expected {}\n  found    {}",
            tell(expected),
            tell(found)
        ));
    }
    if told.is_empty() && asked.len() == found.len() {
        return Verdict::Equal;
    }
    let count = told.len();
    told.truncate(TOLD_MAX);
    let text = format!(
        "{count} of {} scripts differ:\n{}",
        asked.len(),
        told.join("\n")
    );
    if settled {
        Verdict::Different(text)
    } else {
        Verdict::Unconfirmed(text)
    }
}

/// Everything but the script itself, which the server does not know.
fn is_equal(expected: &Script, found: &Script) -> bool {
    let Script {
        script: _,
        history,
        unspent,
        confirmed,
        unconfirmed,
        status,
    } = expected;
    (history, unspent, confirmed, unconfirmed, status)
        == (
            &found.history,
            &found.unspent,
            &found.confirmed,
            &found.unconfirmed,
            &found.status,
        )
}

fn in_mempool(script: &Script) -> bool {
    script.history.iter().any(|entry| entry.height <= 0)
}

/// The parts in short; the last entries, because that is where things happen.
fn tell(script: &Script) -> String {
    let last = |count: usize| count.saturating_sub(4);
    format!(
        "{} entries, {:?}, {} unspent, {:?}, balance {} {:+}, status {}",
        script.history.len(),
        &script.history[last(script.history.len())..],
        script.unspent.len(),
        &script.unspent[last(script.unspent.len())..],
        script.confirmed,
        script.unconfirmed,
        script.status
    )
}
