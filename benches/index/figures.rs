//! What was measured of the index, beside what the machine hashes and copies.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rig::figures::{number, percentile};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// How often each rate is measured.
pub(crate) const ROUNDS: usize = 5;
/// What the yardsticks hash and copy.
const YARDSTICK_BYTES: usize = 1_000_000_000;
/// More than the caches hold.
const YARDSTICK_PIECE: usize = 125_000_000;

/// Everything measured so far.
pub(crate) struct Figures {
    all: rig::figures::Figures,
    /// Megabytes per second.
    sha256: f64,
    memcpy: f64,
}

impl Figures {
    /// Begins, with what this machine hashes and copies in a second of CPU.
    pub(crate) fn begin() -> Result<Self> {
        let mut all = rig::figures::Figures::begin("index")?;
        all.begin_columns(&[
            "target",
            "median",
            "least",
            "most",
            "of SHA-256",
            "of memcpy",
        ]);
        let mut figures = Self {
            all,
            sha256: 0.0,
            memcpy: 0.0,
        };
        let source = vec![7_u8; YARDSTICK_PIECE];
        let mut copy = vec![0_u8; YARDSTICK_PIECE];
        let run = |work: &mut dyn FnMut()| {
            let seconds =
                cpu_seconds(|| (0..YARDSTICK_BYTES / YARDSTICK_PIECE).for_each(|_| work()));
            megabytes(YARDSTICK_BYTES) / seconds
        };
        let sha256: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                run(&mut || {
                    let _digest = std::hint::black_box(Sha256::digest(&source));
                })
            })
            .collect();
        let memcpy: Vec<f64> = (0..ROUNDS)
            .map(|_| run(&mut || std::hint::black_box(&mut copy).copy_from_slice(&source)))
            .collect();
        (figures.sha256, figures.memcpy) = (percentile(&sha256, 50), percentile(&memcpy, 50));
        figures.rate("SHA-256 of 1 GB", "MB/s", "", &sha256)?;
        figures.rate("memcpy of 1 GB", "MB/s", "", &memcpy)?;
        Ok(figures)
    }

    /// A rate in megabytes per second, which the yardsticks stand beside.
    pub(crate) fn rate(
        &mut self,
        what: &str,
        unit: &str,
        target: &str,
        values: &[f64],
    ) -> Result<()> {
        let median = percentile(values, 50);
        let ratios = [median / self.sha256, median / self.memcpy];
        self.add(what, unit, target, values, Some(ratios))
    }

    /// Any other figure that was measured several times.
    pub(crate) fn spread(
        &mut self,
        what: &str,
        unit: &str,
        target: &str,
        values: &[f64],
    ) -> Result<()> {
        self.add(what, unit, target, values, None)
    }

    /// A count or a ratio, which is the same however busy the machine.
    pub(crate) fn exact(&mut self, what: &str, unit: &str, target: &str, value: f64) -> Result<()> {
        self.add(what, unit, target, &[value], None)
    }

    pub(crate) fn table(&self) -> &str {
        self.all.table()
    }

    fn add(
        &mut self,
        what: &str,
        unit: &str,
        target: &str,
        values: &[f64],
        ratios: Option<[f64; 2]>,
    ) -> Result<()> {
        let line = json!({
            "figure": what, "unit": unit, "target": target, "values": values,
            "of_sha256": ratios.map(|of| of[0]), "of_memcpy": ratios.map(|of| of[1]),
        });
        let text = |percent| format!("{} {unit}", number(percentile(values, percent)));
        let spread = match values.len() {
            0 | 1 => [String::new(), String::new()],
            _ => [text(0), text(100)],
        };
        let ratios = ratios.map_or([String::new(), String::new()], |of| {
            of.map(|ratio| format!("{ratio:.3}"))
        });
        let mut cells = vec![target.to_owned(), text(50)];
        cells.extend(spread);
        cells.extend(ratios);
        self.all.add(what, &line, &cells)
    }
}

/// CPU seconds of this process, all threads, that some work takes.
pub(crate) fn cpu_seconds(work: impl FnOnce()) -> f64 {
    let begun = cpu_time();
    work();
    cpu_time().saturating_sub(begun).as_secs_f64()
}

/// The same of work that may fail.
pub(crate) fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let begun = cpu_time();
    let done = work()?;
    Ok((cpu_time().saturating_sub(begun).as_secs_f64(), done))
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let rest = u64::try_from(time.tv_nsec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_nanos(rest)
}

/// Bytes that this process has handed to the system to be written.
pub(crate) fn written() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/io")?;
    let line = text.lines().find_map(|line| line.strip_prefix("wchar: "));
    Ok(line.context("no wchar in /proc/self/io")?.parse()?)
}

pub(crate) fn megabytes(bytes: usize) -> f64 {
    count(bytes) / 1e6
}

/// Exact for all that is counted here.
pub(crate) fn count(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
