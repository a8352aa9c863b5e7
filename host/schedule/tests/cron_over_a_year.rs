//! A year of cron in zones whose clocks change, against somebody who looks at the clock on the wall every minute: no
//! instant is lost, none comes twice.

use std::time::Duration;

use jiff::civil::{DateTime, Weekday};
use jiff::tz::TimeZone;
use roundsman_model::check::CatchUp;
use roundsman_model::key::Key;
use roundsman_model::name::CheckName;
use roundsman_model::time::Timestamp;
use roundsman_schedule::grid::Grid;
use roundsman_schedule::schedule::{Plan, Schedule, Slots};

const MINUTE_NS: i64 = 60_000_000_000;
/// Half an hour on one of them.
const ZONES: [&str; 3] = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"];

/// An expression, what it means, and whether it follows the clock on the wall rather than naming its hours.
struct Case {
    text: &'static str,
    follows: bool,
    fits: fn(DateTime) -> bool,
    /// Per year, in each of the zones.
    times: [usize; 3],
}

const CASES: [Case; 9] = [
    Case { text: "* * * * *", follows: true, fits: |_| true, times: [525_600; 3] },
    Case { text: "*/15 * * * *", follows: true, fits: |t| t.minute() % 15 == 0, times: [35_040; 3] },
    Case {
        text: "30 2 * * *",
        follows: false,
        fits: |t| (t.hour(), t.minute()) == (2, 30),
        // Left out or shown twice somewhere, but once a day everywhere.
        times: [365; 3],
    },
    Case { text: "45 1 * * *", follows: false, fits: |t| (t.hour(), t.minute()) == (1, 45), times: [365; 3] },
    Case { text: "0 0 * * *", follows: false, fits: |t| (t.hour(), t.minute()) == (0, 0), times: [365; 3] },
    Case {
        text: "0 */2 * * *",
        follows: true,
        fits: |t| t.hour() % 2 == 0 && t.minute() == 0,
        // In Berlin 02:00 is left out once and comes twice once; in New York it is only left out, for it is 01:00 to
        // 01:59 that comes twice there; on Lord Howe it is left out once.
        times: [4_380, 4_379, 4_379],
    },
    Case {
        text: "15 1 * * sun",
        follows: false,
        fits: |t| t.weekday() == Weekday::Sunday && (t.hour(), t.minute()) == (1, 15),
        times: [52; 3],
    },
    Case {
        text: "*/5 8-18 * * mon-fri",
        follows: false,
        fits: |t| {
            let weekend = [Weekday::Saturday, Weekday::Sunday].contains(&t.weekday());
            !weekend && (8..=18).contains(&t.hour()) && t.minute() % 5 == 0
        },
        times: [261 * 11 * 12; 3],
    },
    Case {
        text: "0 2,3 31 * *",
        follows: false,
        fits: |t| t.day() == 31 && [2, 3].contains(&t.hour()) && t.minute() == 0,
        times: [14; 3],
    },
];

/// What the clock on the wall shows at every minute of 2026, and of the day before.
fn walls(zone: &TimeZone) -> Vec<(Timestamp, DateTime)> {
    let new_year = |year: i16| {
        let midnight = zone.to_timestamp(jiff::civil::date(year, 1, 1).at(0, 0, 0, 0)).expect("this century");
        i64::try_from(midnight.as_nanosecond()).expect("this century")
    };
    let show = |at: i64| zone.to_datetime(jiff::Timestamp::from_nanosecond(i128::from(at)).expect("this century"));
    let minutes = (new_year(2026) - 1_440 * MINUTE_NS..new_year(2027)).step_by(60_000_000_000);
    minutes.map(|at| (Timestamp(at), show(at))).collect()
}

/// With named hours, each minute that the clock has come to or jumped over counts once.
fn walk(case: &Case, walls: &[(Timestamp, DateTime)]) -> Vec<Timestamp> {
    let mut ticks = Vec::new();
    let mut shown = walls[0].1;
    for (at, local) in &walls[1..] {
        let mut fires = case.follows && (case.fits)(*local);
        while shown < *local {
            shown = shown.checked_add(jiff::SignedDuration::from_mins(1)).expect("this century");
            fires |= !case.follows && (case.fits)(shown);
        }
        if fires && local.year() == 2026 {
            ticks.push(*at);
        }
    }
    ticks
}

#[test]
fn none_is_lost_or_doubled_in_a_year() {
    for (zone, n) in ZONES.into_iter().zip(0..) {
        let walls = walls(&TimeZone::get(zone).unwrap());
        let begin = walls.iter().find(|(_, local)| local.year() == 2026).unwrap().0;
        let (before, end) = (begin - Duration::from_nanos(1), walls.last().unwrap().0);
        for case in &CASES {
            let expected = walk(case, &walls);
            assert_eq!(expected.len(), case.times[n], "{zone} `{}`", case.text);

            let grid = Grid::cron(case.text, zone).unwrap();
            assert_eq!(grid.count(before, end), expected.len() as u64, "{zone} `{}`", case.text);
            let key = Key::new(CheckName::new("cron").unwrap(), None);
            let mut schedule = Schedule::new(Slots { runs: 1 });
            let plan = Plan { grid, initial_delay: Duration::ZERO, catch_up: CatchUp::Skip, group: 0 };
            schedule.insert(key.clone(), plan, None, before);
            for tick in &expected {
                let start = schedule.pop(schedule.next_event().unwrap()).unwrap();
                assert_eq!((start.due, start.time), (*tick, *tick), "{zone} `{}`", case.text);
                schedule.finished(&key, *tick + Duration::from_millis(20));
            }
            assert!(schedule.next_event().is_none_or(|next| next > end), "{zone} `{}`", case.text);
            let counts = schedule.settled(&key).unwrap().0;
            assert_eq!((counts.due, counts.run), (expected.len() as u64, expected.len() as u64));
        }
    }
}
