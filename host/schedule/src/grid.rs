//! The instants at which a check is due, fixed by what is configured: nothing drifts, a restart changes nothing.

use std::time::Duration;

use roundsman_model::key::Key;
use roundsman_model::time::{Timestamp, nanos};

use crate::cron::Cron;
use crate::error::CronError;

/// The ticks of one (check, target).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grid {
    /// At `phase` after 1970 (UTC) and every whole `period` from there, in both directions.
    Interval {
        period: Duration,
        phase: Duration,
    },
    Cron(Cron),
}

impl Grid {
    /// Every `period`, with a phase that spreads keys and nodes over it and stays the same for ever.
    pub fn interval(period: Duration, key: &Key, node: &str) -> Self {
        let period = period.max(Duration::from_nanos(1));
        let phase = phase_hash(node, key) % u64::try_from(nanos(period)).expect("a positive duration");
        Self::Interval { period, phase: Duration::from_nanos(phase) }
    }

    /// At the minutes of a cron expression in a time zone of the IANA database.
    pub fn cron(expression: &str, timezone: &str) -> Result<Self, CronError> {
        Cron::new(expression, timezone).map(Self::Cron)
    }

    /// The first tick after an instant. None: timestamps end before it (2262).
    pub fn next_after(&self, instant: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Interval { period, phase } => tick(period, phase, index(period, phase, instant) + 1),
            Self::Cron(cron) => cron.next_after(instant),
        }
    }

    /// The last tick before an instant.
    pub fn previous(&self, instant: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Interval { period, phase } => {
                let just_before = Timestamp(instant.0.checked_sub(1)?);
                tick(period, phase, index(period, phase, just_before))
            }
            Self::Cron(cron) => cron.previous(instant),
        }
    }

    /// How many ticks there are after one instant and up to another, inclusive.
    pub fn count(&self, after: Timestamp, until: Timestamp) -> u64 {
        match self {
            Self::Interval { period, phase } => {
                let ticks = index(period, phase, until) - index(period, phase, after);
                u64::try_from(ticks).unwrap_or(0)
            }
            Self::Cron(cron) => cron.count(after, until),
        }
    }

    /// The n-th tick after an instant: the third is where silence begins to be stale.
    pub fn nth_after(&self, instant: Timestamp, n: u32) -> Option<Timestamp> {
        (0..n).try_fold(instant, |at, _| self.next_after(at))
    }
}

/// The number of the last tick up to an instant, inclusive.
fn index(period: &Duration, phase: &Duration, instant: Timestamp) -> i128 {
    let period = i128::from(nanos(*period).max(1));
    (i128::from(instant.0) - i128::from(nanos(*phase))).div_euclid(period)
}

fn tick(period: &Duration, phase: &Duration, index: i128) -> Option<Timestamp> {
    let instant = index * i128::from(nanos(*period).max(1)) + i128::from(nanos(*phase));
    i64::try_from(instant).ok().map(Timestamp)
}

/// FNV-1a of 64 bits over node, check and target, mixed once more because FNV leaves neighbours near each other.
///
/// Written out, because the phases of a cluster must be the same after every upgrade.
fn phase_hash(node: &str, key: &Key) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    // 0xff occurs in no UTF-8 text and keeps the parts apart.
    let parts = [node.as_bytes(), &[0xff], key.check.as_str().as_bytes(), &[0xff], key.target_or_empty().as_bytes()];
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    let mut hash = parts.into_iter().flatten().fold(OFFSET, fnv);
    // The finalizer of MurmurHash3.
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use roundsman_model::name::CheckName;

    use super::*;

    fn key(check: &str, target: Option<&str>) -> Key {
        Key::new(CheckName::new(check).unwrap(), target)
    }

    fn grid(period: u64, phase: u64) -> Grid {
        Grid::Interval { period: Duration::from_nanos(period), phase: Duration::from_nanos(phase) }
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
    fn phases_are_the_same_for_ever() {
        let period = Duration::from_secs(10);
        for (check, target, node, phase) in [
            ("shop", Some("eu"), "node-a", 4_421_318_103),
            ("shop", None, "node-a", 9_498_725_605),
            ("shop", Some("eu"), "node-b", 8_977_425_274),
        ] {
            let grid = Grid::interval(period, &key(check, target), node);
            assert_eq!(
                grid,
                Grid::Interval { period, phase: Duration::from_nanos(phase) },
                "{check} {target:?} {node}"
            );
        }
    }

    #[test]
    fn phases_spread() {
        let period = Duration::from_secs(10);
        let mut tenths = [0; 10];
        for n in 0..10_000 {
            let target = format!("t{n}");
            let Grid::Interval { phase, .. } = Grid::interval(period, &key("shop", Some(&target)), "node-a") else {
                panic!("an interval")
            };
            tenths[usize::try_from(phase.as_secs()).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|n| (850..1_150).contains(n)), "{tenths:?}");
    }

    #[test]
    fn the_third_tick() {
        assert_eq!(grid(10, 3).nth_after(Timestamp(0), 3), Some(Timestamp(23)));
        let cron = Grid::cron("0 8 * * *", "UTC").unwrap();
        let third = cron.nth_after(Timestamp(0), 3).unwrap();
        assert_eq!(third.to_string(), "1970-01-03T08:00:00.000Z");
    }
}
