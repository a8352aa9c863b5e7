//! What the agent counts of itself; read when somebody asks, never reset.
//!
//! Counting is adding to atomics: whoever looks keeps what it saw and subtracts it the next time. `ledger`: what became of
//! ticks and runs, by check.

pub(crate) mod ledger;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use roundsman_model::record::Blame;
use roundsman_model::supervision::Verdict;
use roundsman_web::sample::Histogram as View;

use crate::outcome::Outcome;
use crate::stats::ledger::Checks;

/// Upper bounds in microseconds: 100 µs to 60 s, three steps per decade, since lag is promised in milliseconds.
const BOUNDS_US: [u64; BOUNDS] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000,
];
const BOUNDS: usize = 18;
/// Codes come from plugins: beyond this many pairs of plugin and code they are counted together.
const MAX_CODES: usize = 1_024;

/// A distribution of durations, being counted.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    counts: [AtomicU64; BOUNDS + 1],
    sum_us: AtomicU64,
}

/// A distribution as it was at one moment, or what came between two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Distribution {
    counts: [u64; BOUNDS + 1],
    sum_us: u64,
}

impl Histogram {
    pub(crate) fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> Distribution {
        Distribution {
            counts: std::array::from_fn(|at| self.counts[at].load(Ordering::Relaxed)),
            sum_us: self.sum_us.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn view(&self) -> View {
        let now = self.now();
        View {
            bounds_s: BOUNDS_US.iter().map(|us| *us as f64 / 1e6).collect(),
            counts: now.counts.to_vec(),
            sum_s: now.sum_us as f64 / 1e6,
        }
    }
}

impl Distribution {
    /// What was observed since an earlier look.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            counts: std::array::from_fn(|at| self.counts[at].saturating_sub(earlier.counts[at])),
            // The sum may wrap after very long times; the counts never do.
            sum_us: self.sum_us.wrapping_sub(earlier.sum_us),
        }
    }

    /// How many observations there are.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The duration that this share of the observations did not exceed, between 0 and 1: by its bucket, and inside it as if
    /// they were spread evenly. So it is beyond a bound exactly when the true one is. Beyond the last bound it is that
    /// bound. None without observations.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        // At least the first, at most the last.
        let rank = (share * count as f64).ceil().clamp(1.0, (count as f64).max(1.0));
        let mut below = 0;
        for (bucket, here) in self.counts.iter().enumerate() {
            if *here > 0 && (below + here) as f64 >= rank {
                let from = if bucket == 0 { 0 } else { BOUNDS_US[bucket - 1] };
                let width = BOUNDS_US.get(bucket).map_or(0, |to| to - from);
                let into = (rank - below as f64) / *here as f64;
                return Some(Duration::from_secs_f64((from as f64 + width as f64 * into) / 1e6));
            }
            below += here;
        }
        None
    }
}

/// The longest of the durations since somebody asked.
#[derive(Debug, Default)]
pub(crate) struct Peak(AtomicU64);

impl Peak {
    pub(crate) fn observe(&self, duration: Duration) {
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.0.fetch_max(ms, Ordering::Relaxed);
    }

    /// Begins anew.
    pub(crate) fn take(&self) -> Duration {
        Duration::from_millis(self.0.swap(0, Ordering::Relaxed))
    }
}

/// Counters of the engine.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) lag: Histogram,
    pub(crate) queue: Histogram,
    pub(crate) run: Histogram,
    /// Between two beats of the engine's loop, for the built-in check.
    pub(crate) pause: Peak,
    /// Ticks and results, as the ledger counts them.
    pub(crate) checks: Checks,
    in_flight: AtomicI64,
    lost: AtomicU64,
    faulty: AtomicU64,
    faults: Mutex<BTreeMap<(String, String), u64>>,
    /// Of those, what supervision holds against the plugin. The codes are the host's own: few.
    failures: Mutex<BTreeMap<(String, String), u64>>,
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
            self.faulty.fetch_add(1, Ordering::Relaxed);
            let code = outcome.code.as_deref().unwrap_or("unknown");
            let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
            let mut key = (plugin.to_owned(), code.to_owned());
            if !faults.contains_key(&key) && faults.len() >= MAX_CODES {
                key.1 = "other".to_owned();
            }
            *faults.entry(key).or_default() += 1;
            drop(faults);
            if outcome.verdict() == Verdict::Failed {
                let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
                *failures.entry((plugin.to_owned(), code.to_owned())).or_default() += 1;
            }
        }
    }

    /// Runs that the sandbox cut for the plugin's sake, by plugin and code.
    pub(crate) fn failures(&self) -> Vec<((String, String), u64)> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.iter().map(|(key, count)| (key.clone(), *count)).collect()
    }

    /// Runs that said nothing of their target, by plugin and code.
    pub(crate) fn faults(&self) -> Vec<((String, String), u64)> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.iter().map(|(key, count)| (key.clone(), *count)).collect()
    }

    /// How many they are together.
    pub(crate) fn faulty_runs(&self) -> u64 {
        self.faulty.load(Ordering::Relaxed)
    }

    /// An entry that the store did not take. Said at powers of two: a flood of it must not flood the log.
    pub(crate) fn lost(&self, why: &roundsman_store::Refused) {
        let lost = self.lost.fetch_add(1, Ordering::Relaxed) + 1;
        if lost.is_power_of_two() {
            tracing::error!(lost, %why, "records are lost");
        }
    }

    /// How many the store did not take.
    pub(crate) fn lost_entries(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    #[test]
    fn quantiles() {
        let second = 1_000_000;
        for (observed_us, share, expected_us) in [
            (&[][..], 0.5, None),
            (&[100], 0.5, Some(100)),
            (&[50, 50, 50, 50], 0.5, Some(50)),
            (&[second], 0.999, Some(second)),
            (&[second + 1], 0.999, Some(2_500_000)),
            (&[200, 900_000], 0.5, Some(250)),
            (&[200, 900_000], 0.99, Some(second)),
            (&[200, 900_000], 0.0, Some(250)),
            (&[u64::MAX / 2], 1.0, Some(60_000_000)),
        ] {
            let histogram = Histogram::default();
            observed_us.iter().for_each(|us| histogram.observe(Duration::from_micros(*us)));
            let found = histogram.now().quantile(share).map(|found| found.as_micros() as u64);
            assert_eq!(found, expected_us, "{observed_us:?} {share}");
        }
    }

    #[test]
    fn the_longest_since_it_was_asked_for() {
        let peak = Peak::default();
        for (observed_ms, taken_ms) in [(vec![], 0), (vec![3, 7, 5], 7), (vec![2], 2), (vec![], 0)] {
            observed_ms.iter().for_each(|ms| peak.observe(Duration::from_millis(*ms)));
            assert_eq!(peak.take(), Duration::from_millis(taken_ms));
        }
    }

    proptest! {
        /// The slow and obvious model: sort what came after the first look, and pick.
        #[test]
        fn windows_as_the_obvious_model(
            before in prop::collection::vec(0_u64..100_000_000, 0..50),
            after in prop::collection::vec(0_u64..100_000_000, 0..200),
            share in 0.0_f64..=1.0,
        ) {
            let histogram = Histogram::default();
            before.iter().for_each(|us| histogram.observe(Duration::from_micros(*us)));
            let look = histogram.now();
            after.iter().for_each(|us| histogram.observe(Duration::from_micros(*us)));
            let window = histogram.now().since(&look);
            prop_assert_eq!(window.count(), after.len() as u64);
            prop_assert_eq!(window.sum_us, after.iter().sum::<u64>());
            let mut sorted = after.clone();
            sorted.sort_unstable();
            let rank = ((share * sorted.len() as f64).ceil() as usize).max(1);
            let exact = sorted.get(rank - 1).copied();
            let found = window.quantile(share).map(|found| found.as_micros() as u64);
            prop_assert_eq!(found.is_some(), exact.is_some());
            for (exact, found) in exact.into_iter().zip(found) {
                for bound in &BOUNDS_US[..BOUNDS - 1] {
                    prop_assert_eq!(found > *bound, exact > *bound, "{} {} {}", found, exact, bound);
                }
            }
        }
    }
}
