//! What came of all comparisons.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use super::explained::{self, Entry};
use super::pair::Replies;
use super::reasons::REASONS;
use super::requests::Request;

/// Unexplained differences that are told in full.
const TOLD: usize = 40;
/// Characters of a reply that are told.
const REPLY_TOLD: usize = 300;

/// What is known so far.
#[derive(Default)]
pub(super) struct Verdict {
    pub(super) compared: usize,
    explained: usize,
    used: BTreeSet<Entry>,
    /// An example of each kind, and how many there are.
    unexplained: BTreeMap<String, (usize, String)>,
}

impl Verdict {
    /// Takes note of what the two servers say to a request.
    pub(super) fn note(&mut self, moment: &str, request: &Request, replies: &Replies) {
        self.compared += 1;
        if replies.ours == replies.theirs {
            return;
        }
        let entries = explained::explain(request, replies);
        if entries.is_empty() {
            let of_its_kind = match request.special {
                Some((argument, kind)) => format!("{argument}: {kind}"),
                None => request.sensible_kinds(),
            };
            let of_its_kind = format!("{}, {of_its_kind}: {}", request.method, replies.summary());
            let (count, _) = self.unexplained.entry(of_its_kind).or_insert_with(|| {
                let params = request
                    .params
                    .as_ref()
                    .map_or_else(String::new, ToString::to_string);
                let [ours, theirs] =
                    [&replies.ours, &replies.theirs].map(|reply| cut(&format!("{reply:?}")));
                (
                    0,
                    format!(
                        "{moment}, with {}\n    ours:   {ours}\n    theirs: {theirs}",
                        cut(&params)
                    ),
                )
            });
            *count += 1;
        } else {
            self.explained += 1;
            self.used.extend(entries);
        }
    }

    /// Fails with what nothing explains, and with the entries that explain nothing.
    pub(super) fn give(&self) -> Result<()> {
        let different: Vec<String> = self
            .unexplained
            .iter()
            .take(TOLD)
            .map(|(what, (count, example))| format!("{what}, {count} times, such as {example}"))
            .collect();
        ensure!(
            different.is_empty(),
            "{} differences without a reason:\n{}",
            self.unexplained.len(),
            different.join("\n")
        );
        let dead: Vec<String> = explained::entries()
            .filter(|entry| !self.used.contains(entry))
            .map(|entry| {
                let why = REASONS[entry.reason].why;
                format!(
                    "{}, {}: {} ({why})",
                    entry.method, entry.argument, entry.kind
                )
            })
            .collect();
        ensure!(
            dead.is_empty(),
            "reasons for no difference; take them out:\n{}",
            dead.join("\n")
        );
        println!(
            "{} requests, {} answered differently for {} reasons",
            self.compared,
            self.explained,
            REASONS.len()
        );
        Ok(())
    }
}

fn cut(text: &str) -> String {
    text.chars().take(REPLY_TOLD).collect()
}
