//! Clocks, percentiles, and what the kernel says of this process.

use std::fs;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use roundsman_model::time::{Timestamp, nanos};
use rustix::time::{ClockId, clock_gettime};

/// Threads for everything that is no guest: as many as `roundsman run` has.
const WORKERS: usize = 2;

/// The runtime on which an agent lives.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?)
}

/// Processor time of this process, all threads, without its children.
pub(crate) fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Processor time of children that have ended and were waited for. Told in ticks of 10 ms: start many.
pub(crate) fn cpu_of_children() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("no name in /proc/self/stat")?;
    // By proc(5): fields 16 and 17; the first one here is number 3.
    let ticks: u64 = fields.split_whitespace().skip(13).take(2).map(|ticks| ticks.parse().unwrap_or(0)).sum();
    Ok(Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second()))
}

/// Memory of this process that belongs to no file, in MiB.
pub(crate) fn anonymous_mib() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    Ok(line.trim_end_matches("kB").trim().parse::<f64>()? / 1024.0)
}

/// Over a minute, as the kernel writes it.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, nanos))
}

/// The one in the middle, with the smallest and the largest: `31.0 µs (30.2–35.1)`.
pub(crate) fn median(mut figures: Vec<f64>, unit: &str) -> String {
    figures.sort_by(f64::total_cmp);
    match (figures.first(), figures.get(figures.len() / 2), figures.last()) {
        (Some(least), Some(middle), Some(most)) => format!("{middle:.1} {unit} ({least:.1}–{most:.1})"),
        _ => "nothing".to_owned(),
    }
}

/// A distribution of durations in nanoseconds.
#[derive(Debug)]
pub(crate) struct Lags(Vec<u64>);

impl Lags {
    pub(crate) fn new(mut lags_ns: Vec<u64>) -> Self {
        lags_ns.sort_unstable();
        Self(lags_ns)
    }

    /// In milliseconds; 0 of nothing.
    fn at(&self, share: f64) -> f64 {
        let rank = (self.0.len() as f64 * share).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).map_or(0.0, |ns| *ns as f64 / 1e6)
    }
}

impl std::fmt::Display for Lags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [half, most, nearly_all] = [0.5, 0.99, 0.999].map(|share| self.at(share));
        write!(f, "p50 {half:.2}, p99 {most:.2}, p99.9 {nearly_all:.2} ms")
    }
}
