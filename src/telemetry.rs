//! What the process tells its operator: rare milestones on standard error, nothing of any client.
//!
//! The fence has three parts. Release builds compile debug and trace events out of every crate. Of the rest, only
//! targets on the list below pass, dependencies at `warn`. Records of the `log` crate go nowhere: no bridge is
//! installed, because the RPC crate would write requests into it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::subscriber::SetGlobalDefaultError;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::{Layer, fmt as layer};

/// Times in the log are rounded down to this, so that a line says little about who did what when.
const GRAIN: Duration = Duration::from_secs(10);

/// Introductions that Tor's own queue could not hold; its log tells of them and nothing else does.
static INTRODUCTIONS_LOST: AtomicU64 = AtomicU64::new(0);

/// Begins to write the log to standard error, and to count the events of which
/// `is_lost_introduction` says so by their target and message. Once per process.
///
/// The subscriber is set by hand because `try_init` would also install the bridge from the `log` crate, which Arti's
/// dependencies compile in.
pub fn init(is_lost_introduction: fn(&str, &str) -> bool) -> Result<(), SetGlobalDefaultError> {
    init_within(|write| write(), is_lost_introduction)
}

/// The same, each line written within a call of `around`, which may hide what else is on the terminal meanwhile.
pub fn init_within(
    around: impl Fn(&mut dyn FnMut()) + Send + Sync + 'static,
    is_lost_introduction: fn(&str, &str) -> bool,
) -> Result<(), SetGlobalDefaultError> {
    let around = Arc::new(around);
    let lines = layer::layer()
        .with_writer(move || Within(Arc::clone(&around)))
        .with_ansi(false)
        .with_target(false)
        .with_timer(CoarseTime)
        .with_filter(allowed_targets());
    tracing::subscriber::set_global_default(
        tracing_subscriber::registry()
            .with(lines)
            .with(LossCount(is_lost_introduction)),
    )
}

/// Introductions that Tor says it lost since the start.
pub fn introductions_lost() -> u64 {
    INTRODUCTIONS_LOST.load(Ordering::Relaxed)
}

/// Our own milestones, and what Tor thinks an operator must know; everything else is dropped.
fn allowed_targets() -> Targets {
    Targets::new()
        .with_default(LevelFilter::OFF)
        .with_target("claustrum", LevelFilter::INFO)
        .with_target("claustrum_onion", LevelFilter::INFO)
        .with_target("arti_client", LevelFilter::ERROR)
        .with_target("tor_", LevelFilter::ERROR)
}

/// Standard error, written to within a call of the function.
struct Within<F>(Arc<F>);

impl<F: Fn(&mut dyn FnMut())> io::Write for Within<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = Ok(0);
        (self.0)(&mut || written = io::stderr().write(bytes));
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The time in UTC, rounded down to [`GRAIN`].
struct CoarseTime;

impl FormatTime for CoarseTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        #[expect(
            clippy::disallowed_methods,
            reason = "the log is where wall-clock time belongs"
        )]
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let coarse = now.as_secs() - now.as_secs() % GRAIN.as_secs();
        write!(
            writer,
            "{}",
            humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(coarse))
        )
    }
}

/// Counts what Tor warns it lost; the warning itself is not printed.
struct LossCount(fn(&str, &str) -> bool);

impl<S: Subscriber> Layer<S> for LossCount {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() != Level::WARN || !metadata.target().starts_with("tor_hsservice") {
            return;
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        if self.0(metadata.target(), &message.0) {
            INTRODUCTIONS_LOST.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The text of an event, without its fields.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_introductions_are_counted_wherever_they_are_told() {
        let counting = LossCount(|target, message| {
            target == "tor_hsservice::x" && message == "stream was full"
        });
        let before = introductions_lost();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(counting), || {
            tracing::warn!(target: "tor_hsservice::x", "stream was full");
            tracing::warn!(target: "tor_hsservice::x", cause = "stream was full", "another event");
            tracing::info!(target: "tor_hsservice::x", "stream was full");
            tracing::warn!(target: "elsewhere", "stream was full");
        });
        assert_eq!(introductions_lost() - before, 1);
    }

    #[cfg(not(debug_assertions))]
    #[test]
    fn debug_and_trace_are_compiled_out_of_releases() {
        use tracing::level_filters::STATIC_MAX_LEVEL;
        assert_eq!(STATIC_MAX_LEVEL, LevelFilter::INFO);
        assert_eq!(log::STATIC_MAX_LEVEL, log::LevelFilter::Info);
    }

    #[test]
    fn times_are_rounded_down_to_ten_seconds() {
        let mut text = String::new();
        CoarseTime.format_time(&mut Writer::new(&mut text)).unwrap();
        assert!(
            text.ends_with("0Z") && text.len() == "2026-11-20T10:59:50Z".len(),
            "{text}"
        );
    }

    #[test]
    fn what_is_not_on_the_list_is_not_told() {
        let allowed = allowed_targets();
        let told = |target, level| allowed.would_enable(target, &level);
        assert!(told("claustrum::sync", Level::INFO) && told("tor_guardmgr", Level::ERROR));
        assert!(!told("claustrum::session", Level::DEBUG));
        for target in [
            "tor_guardmgr",
            "arti_client",
            "bitcoincore_rpc",
            "jsonrpc",
            "ureq",
            "redb",
            "log",
        ] {
            assert!(!told(target, Level::WARN), "{target}");
        }
    }
}
