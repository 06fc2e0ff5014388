//! Several sources of scripts or fingerprints as one, in the order of their keys.

use super::ScriptPrefix;
use super::error::Error;
use super::keys::TxFingerprint;
use super::layer::ScriptEntry;
use crate::chain::TxNum;

/// Gives scripts in ascending order.
pub(super) trait ScriptSource {
    /// Adds the next script to an entry; `None` after the last.
    fn next(&mut self, entry: &mut ScriptEntry) -> Result<Option<ScriptPrefix>, Error>;
}

/// What several sources, from the oldest to the newest, say about each script.
pub(super) struct MergedScripts<'a> {
    heads: Vec<ScriptHead<'a>>,
}

/// A source and what it gives next.
struct ScriptHead<'a> {
    source: Box<dyn ScriptSource + 'a>,
    prefix: Option<ScriptPrefix>,
    entry: ScriptEntry,
}

impl<'a> MergedScripts<'a> {
    pub(super) fn new(sources: Vec<Box<dyn ScriptSource + 'a>>) -> Result<Self, Error> {
        let heads = sources.into_iter().map(|mut source| {
            let mut entry = ScriptEntry::default();
            let prefix = source.next(&mut entry)?;
            Ok(ScriptHead {
                source,
                prefix,
                entry,
            })
        });
        let heads = heads.collect::<Result<_, Error>>()?;
        Ok(Self { heads })
    }
}

impl ScriptSource for MergedScripts<'_> {
    fn next(&mut self, entry: &mut ScriptEntry) -> Result<Option<ScriptPrefix>, Error> {
        let least = self.heads.iter().filter_map(|head| head.prefix).min();
        if least.is_none() {
            return Ok(None);
        }
        for head in self.heads.iter_mut().filter(|head| head.prefix == least) {
            entry.append(&mut head.entry);
            head.prefix = head.source.next(&mut head.entry)?;
        }
        Ok(least)
    }
}

/// Gives the kept part of fingerprints in ascending order, and equal ones in the order of their transactions.
pub(super) trait FingerprintSource {
    /// The next one; `None` after the last.
    fn next(&mut self) -> Result<Option<(TxFingerprint, TxNum)>, Error>;
}

/// The fingerprints of several sources.
pub(super) struct MergedFingerprints<'a> {
    heads: Vec<FingerprintHead<'a>>,
}

/// A source and what it gives next.
type FingerprintHead<'a> = (
    Box<dyn FingerprintSource + 'a>,
    Option<(TxFingerprint, TxNum)>,
);

impl<'a> MergedFingerprints<'a> {
    pub(super) fn new(sources: Vec<Box<dyn FingerprintSource + 'a>>) -> Result<Self, Error> {
        let heads = sources.into_iter().map(|mut source| {
            let next = source.next()?;
            Ok((source, next))
        });
        let heads = heads.collect::<Result<_, Error>>()?;
        Ok(Self { heads })
    }
}

impl FingerprintSource for MergedFingerprints<'_> {
    fn next(&mut self) -> Result<Option<(TxFingerprint, TxNum)>, Error> {
        let least = self.heads.iter().filter_map(|(_, next)| *next).min();
        let head = self.heads.iter_mut().find(|(_, next)| *next == least);
        if let Some((source, next)) = head.filter(|_| least.is_some()) {
            *next = source.next()?;
        }
        Ok(least)
    }
}
