//! The instants at which a check is due, fixed by what is configured: nothing drifts, a restart changes nothing.

use std::time::Duration;

use roundsman_model::key::Key;
use roundsman_model::time::{Timestamp, nanos};

use crate::cron::Cron;
use crate::error::CronError;
use crate::hash;

/// Phases are multiples of the largest of these that fits fifty times into the period, so that many checks share a
/// wake-up: to wake a thread takes 25 to 40 µs, as long as a run. What starts together is a fiftieth of the keys at most
/// (as far as hashes spread them), so that it is no herd. All of them divide one second, so that checks with different
/// periods share wake-ups too.
const QUANTA: [Duration; 8] = [
    Duration::from_millis(200),
    Duration::from_millis(100),
    Duration::from_millis(50),
    Duration::from_millis(20),
    Duration::from_millis(10),
    Duration::from_millis(5),
    Duration::from_millis(2),
    Duration::from_millis(1),
];
const QUANTA_PER_PERIOD: u32 = 50;

/// Jitter is less than the whole period, so that ticks keep their order.
const MOST_JITTER_PERCENT: u8 = 99;

/// The ticks of one (check, target).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grid {
    /// At `phase` after 1970 (UTC) and every whole `period` from there, in both directions; each as late as `jitter` says.
    Interval {
        period: Duration,
        phase: Duration,
        jitter: Option<Jitter>,
    },
    Cron(Cron),
    /// One tick.
    Once(Timestamp),
    /// No tick at all: runs that are asked for, results that are pushed.
    Never,
}

/// How far each tick lies behind its instant on the grid: the n-th always as far, so that a restart changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jitter {
    /// Less than this; and this is less than the period.
    pub span: Duration,
    pub seed: u64,
}

impl Grid {
    /// Every `period`, with a phase that spreads keys and nodes over it and stays the same for ever. With jitter, each
    /// tick lies up to so many percent of the period behind that.
    pub fn interval(period: Duration, jitter_percent: u8, key: &Key, node: &str) -> Self {
        let period = period.max(Duration::from_nanos(1));
        let period_ns = nanos(period).unsigned_abs();
        let hash = hash::of_key(node, key);
        let phase_ns = hash % period_ns;
        let span_ns = u128::from(period_ns) * u128::from(jitter_percent.min(MOST_JITTER_PERCENT)) / 100;
        let span = Duration::from_nanos(u64::try_from(span_ns).expect("less than the period"));
        if span.is_zero() {
            let quantum = QUANTA.into_iter().find(|quantum| *quantum * QUANTA_PER_PERIOD <= period);
            let rest_ns = quantum.map_or(0, |quantum| phase_ns % nanos(quantum).unsigned_abs());
            return Self::Interval { period, phase: Duration::from_nanos(phase_ns - rest_ns), jitter: None };
        }
        Self::Interval { period, phase: Duration::from_nanos(phase_ns), jitter: Some(Jitter { span, seed: hash }) }
    }

    /// At the minutes of a cron expression in a time zone of the IANA database.
    pub fn cron(expression: &str, timezone: &str) -> Result<Self, CronError> {
        Cron::new(expression, timezone).map(Self::Cron)
    }

    /// The first tick after an instant. None: there is none, or timestamps end before it (2262).
    pub fn next_after(&self, instant: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Interval { period, phase, jitter } => {
                let row = Row::new(*period, *phase, *jitter);
                row.tick(row.index(instant) + 1)
            }
            Self::Cron(cron) => cron.next_after(instant),
            Self::Once(tick) => Some(*tick).filter(|tick| *tick > instant),
            Self::Never => None,
        }
    }

    /// The last tick before an instant.
    pub fn previous(&self, instant: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Interval { period, phase, jitter } => {
                let row = Row::new(*period, *phase, *jitter);
                row.tick(row.index(Timestamp(instant.0.checked_sub(1)?)))
            }
            Self::Cron(cron) => cron.previous(instant),
            Self::Once(tick) => Some(*tick).filter(|tick| *tick < instant),
            Self::Never => None,
        }
    }

    /// How many ticks there are after one instant and up to another, inclusive.
    pub fn count(&self, after: Timestamp, until: Timestamp) -> u64 {
        match self {
            Self::Interval { period, phase, jitter } => {
                let row = Row::new(*period, *phase, *jitter);
                u64::try_from(row.index(until) - row.index(after)).unwrap_or(0)
            }
            Self::Cron(cron) => cron.count(after, until),
            Self::Once(tick) => u64::from(after < *tick && *tick <= until),
            Self::Never => 0,
        }
    }

    /// The n-th tick after an instant: the third is where silence begins to be stale.
    pub fn nth_after(&self, instant: Timestamp, n: u32) -> Option<Timestamp> {
        match self {
            Self::Interval { period, phase, jitter } if n > 0 => {
                let row = Row::new(*period, *phase, *jitter);
                row.tick(row.index(instant) + i128::from(n))
            }
            _ => (0..n).try_fold(instant, |at, _| self.next_after(at)),
        }
    }
}

/// The ticks of an interval, by their number.
#[derive(Clone, Copy)]
struct Row {
    period: i128,
    phase: i128,
    jitter: Option<Jitter>,
}

impl Row {
    fn new(period: Duration, phase: Duration, jitter: Option<Jitter>) -> Self {
        Self { period: i128::from(nanos(period).max(1)), phase: i128::from(nanos(phase)), jitter }
    }

    /// The number of the last tick up to an instant, inclusive.
    fn index(&self, instant: Timestamp) -> i128 {
        let instant = i128::from(instant.0);
        let floor = (instant - self.phase).div_euclid(self.period);
        // Its jitter may put it behind the instant; the one before it lies before the whole period.
        if self.at(floor) <= instant { floor } else { floor - 1 }
    }

    fn tick(&self, index: i128) -> Option<Timestamp> {
        i64::try_from(self.at(index)).ok().map(Timestamp)
    }

    fn at(&self, index: i128) -> i128 {
        let late = self.jitter.map_or(0, |jitter| {
            // Fields may be written by hand: what is as long as the period would put ticks out of order.
            let span = i128::from(nanos(jitter.span)).min(self.period);
            i128::from(hash::of_number(jitter.seed, index)) % span.max(1)
        });
        index * self.period + self.phase + late
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use roundsman_model::name::CheckName;

    use super::*;

    fn key(check: &str, target: Option<&str>) -> Key {
        Key::new(CheckName::new(check).unwrap(), target)
    }

    fn grid(period: u64, phase: u64) -> Grid {
        let (period, phase) = (Duration::from_nanos(period), Duration::from_nanos(phase));
        Grid::Interval { period, phase, jitter: None }
    }

    fn jittery(period: u64, phase: u64, span: u64) -> Grid {
        let jitter = Some(Jitter { span: Duration::from_nanos(span), seed: 7 });
        Grid::Interval { period: Duration::from_nanos(period), phase: Duration::from_nanos(phase), jitter }
    }

    fn phase(grid: &Grid) -> Duration {
        let Grid::Interval { phase, .. } = grid else { panic!("an interval") };
        *phase
    }

    #[test]
    fn intervals() {
        for (period, phase, instant, next, previous) in [
            (10, 0, 0, Some(10), Some(-10)),
            (10, 3, 0, Some(3), Some(-7)),
            (10, 3, 2, Some(3), Some(-7)),
            (10, 3, 3, Some(13), Some(-7)),
            (10, 3, 4, Some(13), Some(3)),
            (10, 3, -8, Some(-7), Some(-17)),
            (1, 0, 5, Some(6), Some(4)),
            (10, 3, i64::MAX - 1, None, Some(i64::MAX - 4)),
            (10, 3, i64::MIN, Some(i64::MIN + 1), None),
        ] {
            let grid = grid(period, phase);
            assert_eq!(grid.next_after(Timestamp(instant)), next.map(Timestamp), "{period} {phase} {instant}");
            assert_eq!(grid.previous(Timestamp(instant)), previous.map(Timestamp), "{period} {phase} {instant}");
        }
    }

    #[test]
    fn counts() {
        for (after, until, count) in [(0, 3, 1), (3, 3, 0), (3, 13, 1), (2, 33, 4), (33, 2, 0), (-8, 3, 2)] {
            assert_eq!(grid(10, 3).count(Timestamp(after), Timestamp(until)), count, "{after}..={until}");
        }
        assert_eq!(grid(1, 0).count(Timestamp(i64::MIN), Timestamp(i64::MAX)), u64::MAX);
    }

    #[test]
    fn one_tick_and_none() {
        let (at, before, behind) = (Timestamp(5), Timestamp(4), Timestamp(6));
        for (grid, instant, next, previous) in [
            (Grid::Once(at), before, Some(at), None),
            (Grid::Once(at), at, None, None),
            (Grid::Once(at), behind, None, Some(at)),
            (Grid::Never, before, None, None),
            (Grid::Never, behind, None, None),
        ] {
            assert_eq!((grid.next_after(instant), grid.previous(instant)), (next, previous), "{grid:?} {instant:?}");
        }
        for (after, until, count) in [(before, at, 1), (before, behind, 1), (at, behind, 0), (behind, before, 0)] {
            assert_eq!((Grid::Once(at).count(after, until), Grid::Never.count(after, until)), (count, 0));
        }
        assert_eq!([1, 2].map(|n| Grid::Once(at).nth_after(before, n)), [Some(at), None]);
    }

    /// Against somebody who knows every tick: the n-th is the n-th base and what is added to it.
    #[test]
    fn jitter_moves_ticks_and_keeps_their_order() {
        for (period, phase, span) in [(10, 3, 9), (10, 3, 1), (10, 0, 5), (1_000, 999, 990), (7, 20, 6)] {
            let grid = jittery(period, phase, span);
            let (period, phase, span) =
                (i64::try_from(period).unwrap(), i64::try_from(phase).unwrap(), i128::from(span));
            let late = |n: i64| i64::try_from(i128::from(hash::of_number(7, i128::from(n))) % span).unwrap();
            let ticks: Vec<i64> = (-60..60).map(|n| n * period + phase + late(n)).collect();
            assert!(ticks.is_sorted_by(|a, b| a < b), "{grid:?}: {ticks:?}");
            for instant in -40 * period..40 * period {
                let (next, at) = (ticks.partition_point(|tick| *tick <= instant), Timestamp(instant));
                let previous = ticks.partition_point(|tick| *tick < instant) - 1;
                assert_eq!(grid.next_after(at), Some(Timestamp(ticks[next])), "{grid:?} {instant}");
                assert_eq!(grid.previous(at), Some(Timestamp(ticks[previous])), "{grid:?} {instant}");
                assert_eq!(grid.nth_after(at, 3), Some(Timestamp(ticks[next + 2])), "{grid:?} {instant}");
                for until in [instant, instant + 1, instant + 3 * period] {
                    let count = ticks.iter().filter(|tick| (instant + 1..=until).contains(tick)).count();
                    assert_eq!(grid.count(at, Timestamp(until)), count as u64, "{grid:?} {instant}..={until}");
                }
            }
        }
    }

    #[test]
    fn jitter_uses_its_whole_span() {
        let key = key("shop", None);
        let period = Duration::from_secs(10);
        let grid = Grid::interval(period, 10, &key, "node-a");
        assert_eq!(grid, Grid::interval(period, 10, &key, "node-a"), "it is the same for ever");
        let mut tenths = [0; 10];
        let mut at = Timestamp(0);
        for _ in 0..10_000 {
            at = grid.next_after(at).unwrap();
            let late = (at - phase(&grid)).0.rem_euclid(nanos(period));
            tenths[usize::try_from(late / 100_000_000).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|n| (850..1_150).contains(n)), "{tenths:?}");
    }

    #[test]
    fn phases_are_the_same_for_ever() {
        for (check, target, node, period_ms, percent, phase_ns) in [
            ("shop", Some("eu"), "node-a", 10_000, 0, 4_400_000_000),
            ("shop", None, "node-a", 10_000, 0, 9_400_000_000),
            ("shop", Some("eu"), "node-b", 10_000, 0, 8_800_000_000),
            // Ticks that move anyway share no wake-up.
            ("shop", Some("eu"), "node-a", 10_000, 10, 4_421_318_103),
            ("shop", None, "node-a", 10_000, 10, 9_498_725_605),
            ("shop", Some("eu"), "node-b", 10_000, 99, 8_977_425_274),
        ] {
            let period = Duration::from_millis(period_ms);
            let grid = Grid::interval(period, percent, &key(check, target), node);
            assert_eq!(phase(&grid), Duration::from_nanos(phase_ns), "{check} {target:?} {node} {percent} %");
        }
    }

    /// A row: the period, how far phases are apart, how many there are, and the fullest of them with 10,000 keys.
    #[test]
    fn phases_spread() {
        for (period_ms, apart_ns, phases, fullest) in [
            (49, 1, 10_000, 2),
            (50, 1_000_000, 50, 250),
            (99, 1_000_000, 99, 150),
            (100, 2_000_000, 50, 250),
            (199, 2_000_000, 100, 150),
            (200, 2_000_000, 100, 150),
            (500, 10_000_000, 50, 250),
            (1_000, 20_000_000, 50, 250),
            (2_000, 20_000_000, 100, 150),
            (5_000, 100_000_000, 50, 250),
            (10_000, 200_000_000, 50, 250),
            (60_000, 200_000_000, 300, 70),
            (3_600_000, 200_000_000, 7_500, 9),
        ] {
            let period = Duration::from_millis(period_ms);
            let mut keys_of = BTreeMap::new();
            for n in 0..10_000 {
                let grid = Grid::interval(period, 0, &key("shop", Some(&format!("t{n}"))), "node-a");
                *keys_of.entry(phase(&grid)).or_insert(0) += 1;
            }
            assert!(keys_of.keys().all(|phase| *phase < period && nanos(*phase) % apart_ns == 0), "{period_ms} ms");
            let most = *keys_of.values().max().unwrap();
            assert!(most <= fullest, "{period_ms} ms: {most}");
            // Where there are more phases than keys, some stay empty.
            assert!((phases * 9 / 10..=phases * 11 / 10).contains(&keys_of.len()), "{period_ms} ms: {}", keys_of.len());
        }
    }

    #[test]
    fn the_third_tick() {
        assert_eq!(grid(10, 3).nth_after(Timestamp(0), 3), Some(Timestamp(23)));
        assert_eq!(grid(10, 3).nth_after(Timestamp(4), 0), Some(Timestamp(4)));
        let cron = Grid::cron("0 8 * * *", "UTC").unwrap();
        let third = cron.nth_after(Timestamp(0), 3).unwrap();
        assert_eq!(third.to_string(), "1970-01-03T08:00:00.000Z");
    }
}
