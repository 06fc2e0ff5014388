//! Long work, shown: bars on a terminal, a line now and then elsewhere.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::server::Watch;
use crate::status::Status;

/// Pause between two lines about the same work.
const LINE_INTERVAL: Duration = Duration::from_secs(60);

/// Two bars on a terminal, for Tor and for the index.
pub(super) struct Bars(MultiProgress);

impl Bars {
    /// Draws nothing yet.
    pub(super) fn new() -> Self {
        Self(MultiProgress::new())
    }

    /// Takes the bars away while it calls something that writes lines.
    pub(super) fn hider(&self) -> impl Fn(&mut dyn FnMut()) + Send + Sync + use<> {
        let bars = self.0.clone();
        move |write| bars.suspend(write)
    }

    /// Draws them until there is nothing left to wait for; from then on a line at each change.
    pub(super) fn watch(self) -> Watch {
        let tor = self
            .0
            .add(bar("Tor    {bar:30} {pos:>3} %   door {msg}", 100));
        let index = self
            .0
            .add(bar("index  {bar:30} {pos}/{len} blocks{msg}", 0));
        let mut lines = in_lines();
        let mut settled = false;
        Box::new(move |status| {
            settled |= status.is_settled();
            if settled {
                tor.finish_and_clear();
                index.finish_and_clear();
                return lines(status);
            }
            tor.set_position(u64::from(status.tor_percent));
            tor.set_message(status.door.clone());
            index.set_length(u64::from(status.blocks_known));
            index.set_position(u64::from(status.blocks_indexed));
            index.set_message(format!(
                "{}   node {}",
                status.speed_behind_comma(),
                status.node
            ));
        })
    }
}

/// A line at each change of state, and one a minute while the index is built.
pub(super) fn in_lines() -> Watch {
    let mut last: Option<(Status, Instant)> = None;
    Box::new(move |status| {
        let told = last.as_ref().is_some_and(|(told, at)| {
            let same =
                told.ready == status.ready && told.door == status.door && told.node == status.node;
            same && (status.ready || at.elapsed() < LINE_INTERVAL)
        });
        if told {
            return;
        }
        tracing::info!(
            "tor {} %, door {}; node {}; index {} of {} blocks{}",
            status.tor_percent,
            status.door,
            status.node,
            status.blocks_indexed,
            status.blocks_known,
            status.speed_behind_comma()
        );
        last = Some((status.clone(), Instant::now()));
    })
}

fn bar(template: &str, length: u64) -> ProgressBar {
    // A template that cannot be read falls back to indicatif's own.
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_unreadable| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}
