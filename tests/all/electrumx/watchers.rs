//! A session with each server that watches every script and the tip: what they have been told in the end is the same.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rig::socks::Line;
use serde_json::{Value, json};

use super::pair::{Pair, Replies, Reply, introduce};
use super::requests::Request;

const SCRIPT: &str = "blockchain.scripthash.subscribe";
const TIP: &str = "blockchain.headers.subscribe";
/// Until both have told everything.
const TOLD: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_millis(100);

/// Ours and theirs.
pub(super) struct Watchers([Watcher; 2]);

struct Watcher {
    session: Line,
    /// The last word on each script, and on the tip.
    told: BTreeMap<String, Value>,
}

impl Watchers {
    /// They watch the tip.
    pub(super) fn connect(pair: &Pair) -> Result<Self> {
        let [ours, theirs] = pair.connect()?;
        Ok(Self([Watcher::new(ours)?, Watcher::new(theirs)?]))
    }

    /// They watch these scripts too.
    pub(super) fn watch<'a>(
        &mut self,
        script_hashes: impl Iterator<Item = &'a String>,
    ) -> Result<()> {
        for hash in script_hashes {
            for watcher in &mut self.0 {
                if !watcher.told.contains_key(hash) {
                    let status = watcher.session.call(SCRIPT, json!([hash]))?;
                    watcher.told.insert(hash.clone(), status);
                }
            }
        }
        Ok(())
    }

    /// Hears until both have been told the same or time is up; what each was told last.
    pub(super) fn compare(&mut self) -> Result<Vec<(Request, Replies)>> {
        let deadline = Instant::now() + TOLD;
        loop {
            for watcher in &mut self.0 {
                watcher.hear()?;
            }
            let [ours, theirs] = &self.0;
            if ours.told == theirs.told || Instant::now() > deadline {
                break;
            }
        }
        let [ours, theirs] = &self.0;
        let pairs = ours.told.iter().zip(theirs.told.values());
        Ok(pairs
            .map(|((what, ours), theirs)| {
                let watched = if what == TIP { "the tip" } else { "a script" };
                let request = Request {
                    method: "(notifications)",
                    kinds: vec![("of", watched)],
                    special: Some(("of", watched)),
                    params: Some(json!(what)),
                };
                let [ours, theirs] = [ours, theirs].map(|told| Reply::Result(told.clone()));
                (request, Replies { ours, theirs })
            })
            .collect())
    }
}

impl Watcher {
    fn new(mut session: Line) -> Result<Self> {
        introduce(&mut session, "1.6")?;
        let tip = session.call(TIP, json!([]))?;
        let told = BTreeMap::from([(TIP.to_owned(), tip)]);
        Ok(Self { session, told })
    }

    /// Hears until nothing comes for a while.
    fn hear(&mut self) -> Result<()> {
        while let Ok(mut message) = self.session.notification(SILENCE) {
            let method = message["method"].as_str().unwrap_or_default().to_owned();
            match method.as_str() {
                TIP => self.told.insert(method, message["params"][0].take()),
                SCRIPT => {
                    let hash = message["params"][0].as_str().context("no script hash")?;
                    self.told
                        .insert(hash.to_owned(), message["params"][1].clone())
                }
                _ => anyhow::bail!("a message that nobody asked for: {message}"),
            };
        }
        Ok(())
    }
}
