//! Cron expressions against somebody who looks at the clock on the wall every minute.

use std::collections::BTreeSet;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use roundsman_model::time::Timestamp;
use roundsman_schedule::cron::Cron;

const MINUTE_NS: i64 = 60_000_000_000;

/// Weeks of UTC in which clocks change, or do not, in one zone or another.
const WEEKS: [&str; 9] = [
    "2026-03-26T00:00:00Z",
    "2026-10-22T00:00:00Z",
    "2026-03-05T00:00:00Z",
    "2026-10-29T00:00:00Z",
    "2026-04-01T00:00:00Z",
    "2026-09-30T00:00:00Z",
    "2026-04-22T00:00:00Z",
    "2024-02-26T00:00:00Z",
    "2026-12-28T00:00:00Z",
];

const ZONES: [&str; 9] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Tokyo",
    "Africa/Cairo",
    "Atlantic/Azores",
    "America/St_Johns",
    "Pacific/Chatham",
    "UTC",
];

/// An expression as lists of what it names; none is `*`.
#[derive(Debug, Clone)]
struct Lists {
    minutes: Option<BTreeSet<i8>>,
    hours: Option<BTreeSet<i8>>,
    days: Option<BTreeSet<i8>>,
    weekdays: Option<BTreeSet<i8>>,
}

impl Lists {
    fn text(&self) -> String {
        let field = |list: &Option<BTreeSet<i8>>| match list {
            None => "*".to_owned(),
            Some(list) => list.iter().map(i8::to_string).collect::<Vec<_>>().join(","),
        };
        let (minutes, hours) = (field(&self.minutes), field(&self.hours));
        format!("{minutes} {hours} {} * {}", field(&self.days), field(&self.weekdays))
    }

    fn fits(&self, local: DateTime) -> bool {
        let names = |list: &Option<BTreeSet<i8>>, value| list.as_ref().is_none_or(|list| list.contains(&value));
        let day = names(&self.days, local.day());
        let weekday = names(&self.weekdays, local.weekday().to_sunday_zero_offset());
        let either = self.days.is_some() && self.weekdays.is_some();
        let date = if either { day || weekday } else { day && weekday };
        date && names(&self.minutes, local.minute()) && names(&self.hours, local.hour())
    }

    /// Looks at the clock every minute. With named hours, each minute that the clock has passed by counts once.
    fn ticks(&self, zone: &TimeZone, from: Timestamp, until: Timestamp) -> Vec<Timestamp> {
        let mut ticks = Vec::new();
        let wall = |at: i64| zone.to_datetime(jiff::Timestamp::from_nanosecond(i128::from(at)).expect("this century"));
        // Two days before, because the clock may have been set back over something that it had shown.
        let mut at = from.0 - 2 * 1_440 * MINUTE_NS;
        let mut shown = wall(at);
        while at < until.0 {
            at += MINUTE_NS;
            let local = wall(at);
            let fires = if self.hours.is_none() {
                self.fits(local)
            } else {
                let mut fires = false;
                while shown < local {
                    shown = shown.checked_add(jiff::SignedDuration::from_mins(1)).expect("this century");
                    fires |= self.fits(shown);
                }
                fires
            };
            if fires && at > from.0 {
                ticks.push(Timestamp(at));
            }
        }
        ticks
    }
}

fn lists() -> impl Strategy<Value = Lists> {
    let list = |low: i8, high: i8, most: usize| prop::option::of(prop::collection::btree_set(low..=high, 1..=most));
    // Early hours more often: that is when clocks change.
    let hours =
        prop::option::weighted(0.7, prop::collection::btree_set(prop_oneof![3 => 0_i8..4, 1 => 0_i8..24], 1..5));
    (list(0, 59, 4), hours, list(1, 31, 9), list(0, 6, 3)).prop_map(|(minutes, hours, days, weekdays)| Lists {
        minutes,
        hours,
        days,
        weekdays,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_minute_of_a_week(
        lists in lists(),
        zone in prop::sample::select(&ZONES),
        week in prop::sample::select(&WEEKS),
        offset_ns in 0..=MINUTE_NS,
    ) {
        let from = Timestamp(i64::try_from(week.parse::<jiff::Timestamp>().unwrap().as_nanosecond()).unwrap());
        let until = Timestamp(from.0 + 7 * 1_440 * MINUTE_NS);
        let expected = lists.ticks(&TimeZone::get(zone).unwrap(), from, until);
        let cron = Cron::new(&lists.text(), zone).unwrap();

        let mut ticks = Vec::new();
        let mut at = from;
        while let Some(tick) = cron.next_after(at).filter(|tick| *tick <= until) {
            prop_assert!(tick > at);
            ticks.push(tick);
            at = tick;
        }
        prop_assert_eq!(&ticks, &expected, "{} in {}", lists.text(), zone);

        prop_assert_eq!(cron.count(from, until), expected.len() as u64);
        for pair in expected.windows(2).step_by(13) {
            prop_assert_eq!(cron.previous(pair[1]), Some(pair[0]));
            let between = Timestamp(pair[0].0 + (pair[1].0 - pair[0].0) / 3);
            prop_assert_eq!(cron.next_after(between), Some(pair[1]));
            prop_assert_eq!(cron.previous(between), Some(pair[0]));
        }
        let (odd_from, odd_until) = (Timestamp(from.0 + offset_ns), Timestamp(until.0 - 2 * MINUTE_NS - offset_ns));
        let between = expected.iter().filter(|tick| **tick > odd_from && **tick <= odd_until).count() as u64;
        prop_assert_eq!(cron.count(odd_from, odd_until), between);
    }
}
