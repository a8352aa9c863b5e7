//! What the agent counts of itself; read when somebody asks, never reset.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use roundsman_model::record::Blame;
use roundsman_web::sample::Histogram as View;

use crate::outcome::Outcome;

/// Upper bounds in microseconds: 100 µs to 60 s, three steps per decade, since lag is promised in milliseconds.
const BOUNDS_US: [u64; 18] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000,
];
/// Codes come from plugins: beyond this many pairs of plugin and code they are counted together.
const MAX_CODES: usize = 1_024;

/// A distribution of durations.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    pub(crate) fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub(crate) fn view(&self) -> View {
        View {
            bounds_s: BOUNDS_US.iter().map(|us| *us as f64 / 1e6).collect(),
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum_s: self.sum_us.load(Ordering::Relaxed) as f64 / 1e6,
        }
    }
}

/// Counters of the engine.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) lag: Histogram,
    pub(crate) queue: Histogram,
    pub(crate) run: Histogram,
    in_flight: AtomicI64,
    lost: AtomicU64,
    faults: Mutex<BTreeMap<(String, String), u64>>,
}

impl Stats {
    pub(crate) fn in_flight(&self, by: i64) {
        self.in_flight.fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn runs_in_flight(&self) -> u64 {
        u64::try_from(self.in_flight.load(Ordering::Relaxed)).unwrap_or(0)
    }

    pub(crate) fn observe(&self, plugin: &str, outcome: &Outcome) {
        self.lag.observe(Duration::from_nanos(outcome.lag_ns));
        self.run.observe(Duration::from_nanos(outcome.duration_ns));
        if outcome.blame != Blame::Target {
            let code = outcome.code.as_deref().unwrap_or("unknown");
            let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
            let mut key = (plugin.to_owned(), code.to_owned());
            if !faults.contains_key(&key) && faults.len() >= MAX_CODES {
                key.1 = "other".to_owned();
            }
            *faults.entry(key).or_default() += 1;
        }
    }

    /// Runs that said nothing of their target, by plugin and code.
    pub(crate) fn faults(&self) -> Vec<((String, String), u64)> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.iter().map(|(key, count)| (key.clone(), *count)).collect()
    }

    /// An entry that the store did not take. Said at powers of two: a flood of it must not flood the log.
    pub(crate) fn lost(&self, why: &roundsman_store::Refused) {
        let lost = self.lost.fetch_add(1, Ordering::Relaxed) + 1;
        if lost.is_power_of_two() {
            tracing::error!(lost, %why, "records are lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observations_fall_into_inclusive_buckets() {
        let histogram = Histogram::default();
        for us in [0, 100, 101, 60_000_000, 60_000_001] {
            histogram.observe(Duration::from_micros(us));
        }
        let view = histogram.view();
        assert_eq!((view.counts[0], view.counts[1]), (2, 1));
        assert_eq!((view.counts[17], view.counts[18]), (1, 1));
        assert_eq!(view.counts.iter().sum::<u64>(), 5);
    }
}
