//! The schedule, case by case.

use roundsman_model::name::CheckName;

use super::*;

const SECOND_NS: i64 = 1_000_000_000;

fn key(name: &str) -> Key {
    Key::new(CheckName::new(name).unwrap(), None)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * SECOND_NS)
}

fn on(grid: Grid) -> Plan {
    Plan { grid, initial_delay: Duration::ZERO, catch_up: CatchUp::Skip, group: 0 }
}

fn every(seconds: u64) -> Plan {
    on(Grid::Interval { period: Duration::from_secs(seconds), phase: Duration::ZERO, jitter: None })
}

fn counts(run: u64, missed: u64, overlap: u64, skipped: u64) -> Counts {
    Counts { due: run + missed + overlap + skipped, run, missed, overlap, skipped }
}

/// A schedule at the instant 0 with these keys, every 10 s.
fn schedule(runs: usize, keys: &[&str]) -> Schedule {
    let mut schedule = Schedule::new(Slots { runs });
    for name in keys {
        schedule.insert(key(name), every(10), None, at(0));
    }
    schedule
}

fn pop(schedule: &mut Schedule, now: Timestamp) -> Option<(String, Origin, Timestamp)> {
    schedule.pop(now).map(|start| (start.key.to_string(), start.origin, start.time))
}

#[test]
fn a_tick_becomes_a_run() {
    let mut schedule = schedule(1, &["a"]);
    assert_eq!(schedule.next_event(), Some(at(10)));
    assert_eq!(schedule.pop(Timestamp(at(10).0 - 1)), None);
    let start =
        Start { key: key("a"), origin: Origin::Schedule, due: at(10), time: at(10), interval_ns: 10_000_000_000 };
    assert_eq!(schedule.pop(at(10)), Some(start));
    assert_eq!(schedule.settled(&key("a")), Some((Counts::default(), Timestamp(at(10).0 - 1))));
    assert_eq!(schedule.finished(&key("a"), at(12)), Some(counts(1, 0, 0, 0)));
    assert_eq!(schedule.settled(&key("a")), Some((counts(1, 0, 0, 0), Timestamp(at(12).0 - 1))));
    assert_eq!(schedule.next_event(), Some(at(20)));
}

#[test]
fn ticks_during_a_run_are_overlapped() {
    let mut schedule = schedule(2, &["a"]);
    pop(&mut schedule, at(10)).unwrap();
    assert_eq!(pop(&mut schedule, at(35)), None);
    // The end at 40 and the tick at 40 do not meet.
    assert_eq!(schedule.finished(&key("a"), at(40)), Some(counts(1, 0, 2, 0)));
    assert_eq!(pop(&mut schedule, at(40)), Some(("a".to_owned(), Origin::Schedule, at(40))));
}

#[test]
fn a_run_that_ended_before_a_late_look_is_no_overlap() {
    let mut schedule = schedule(2, &["a"]);
    pop(&mut schedule, at(10)).unwrap();
    assert_eq!(pop(&mut schedule, at(21)), None);
    assert_eq!(schedule.finished(&key("a"), at(19)), Some(counts(1, 0, 0, 0)));
    assert_eq!(pop(&mut schedule, at(21)), Some(("a".to_owned(), Origin::Schedule, at(20))));
}

#[test]
fn of_late_ticks_the_newest_is_run() {
    let mut schedule = schedule(1, &["a"]);
    assert_eq!(pop(&mut schedule, at(39)), Some(("a".to_owned(), Origin::Schedule, at(30))));
    assert_eq!(schedule.finished(&key("a"), at(39)), Some(counts(1, 2, 0, 0)));
}

#[test]
fn a_year_asleep_is_counted_at_once() {
    let year = 365 * 86_400;
    let mut schedule = Schedule::new(Slots { runs: 2 });
    schedule.insert(key("a"), every(1), None, at(0));
    let grid = Grid::cron("* * * * *", "Europe/Berlin").unwrap();
    schedule.insert(key("b"), on(grid), None, at(0));
    while schedule.pop(at(year)).is_some() {}
    assert_eq!(schedule.finished(&key("a"), at(2 * year)), Some(counts(1, 31_535_999, 31_535_999, 0)));
    assert_eq!(schedule.finished(&key("b"), at(2 * year)), Some(counts(1, 525_599, 525_599, 0)));
}

#[test]
fn who_waits_starts_in_order() {
    let mut schedule = schedule(1, &["a", "b"]);
    assert_eq!(pop(&mut schedule, at(10)), Some(("a".to_owned(), Origin::Schedule, at(10))));
    assert_eq!((schedule.pop(at(15)), schedule.next_event()), (None, None));
    schedule.finished(&key("a"), at(25));
    assert_eq!(schedule.next_event(), Some(at(10)), "b has waited since then");
    // Its tick of 10 is missed by now, but its place is not; a comes after it.
    assert_eq!(pop(&mut schedule, at(30)), Some(("b".to_owned(), Origin::Schedule, at(30))));
    assert_eq!(schedule.finished(&key("b"), at(31)), Some(counts(1, 2, 0, 0)));
    assert_eq!(pop(&mut schedule, at(31)), Some(("a".to_owned(), Origin::Schedule, at(30))));
}

#[test]
fn slots_may_change() {
    let mut schedule = schedule(1, &["a", "b"]);
    assert!(schedule.pop(at(10)).is_some() && schedule.pop(at(10)).is_none());
    schedule.set_slots(Slots { runs: 2 });
    assert!(schedule.pop(at(10)).is_some());
    schedule.set_slots(Slots { runs: 1 });
    schedule.finished(&key("a"), at(11));
    assert_eq!(schedule.next_event(), None);
    assert_eq!(schedule.in_flight(), 1);
}

#[test]
fn skipped_ticks_are_counted_apart() {
    let mut schedule = schedule(1, &["a"]);
    pop(&mut schedule, at(10)).unwrap();
    assert_eq!(schedule.skip(&key("a")), Some(counts(0, 0, 0, 1)));
    assert_eq!((schedule.in_flight(), schedule.next_event()), (0, Some(at(20))));
}

#[test]
fn a_retry_comes_before_the_tick_or_not_at_all() {
    let mut schedule = schedule(1, &["a"]);
    pop(&mut schedule, at(10)).unwrap();
    schedule.finished(&key("a"), at(11));
    schedule.retry_at(&key("a"), at(13));
    assert_eq!(schedule.next_event(), Some(at(13)));
    assert_eq!(pop(&mut schedule, at(14)), Some(("a".to_owned(), Origin::Retry, at(14))));
    assert_eq!(schedule.finished(&key("a"), at(15)), Some(counts(1, 0, 0, 0)));
    schedule.retry_at(&key("a"), at(19));
    assert_eq!(pop(&mut schedule, at(20)), Some(("a".to_owned(), Origin::Schedule, at(20))));
    assert_eq!(schedule.finished(&key("a"), at(21)), Some(counts(2, 0, 0, 0)));
    assert_eq!(schedule.next_event(), Some(at(30)), "the retry has been answered by the tick");
}

#[test]
fn run_now_leaves_the_grid_alone() {
    let mut schedule = schedule(1, &["a", "b"]);
    assert_eq!(schedule.run_now(&key("c"), at(1)), Err(Busy::NotScheduled));
    assert_eq!(schedule.run_now(&key("a"), at(1)), Ok(()));
    assert_eq!(schedule.next_event(), Some(at(1)));
    let start = schedule.pop(at(1)).unwrap();
    assert_eq!((start.origin, start.time, start.interval_ns), (Origin::RunNow, at(1), 10_000_000_000));
    assert_eq!(schedule.run_now(&key("a"), at(2)), Err(Busy::Running));
    assert_eq!(schedule.run_now(&key("b"), at(2)), Ok(()), "it waits for the slot");
    assert_eq!(schedule.finished(&key("a"), at(3)), Some(Counts::default()));
    assert_eq!(pop(&mut schedule, at(3)), Some(("b".to_owned(), Origin::RunNow, at(3))));
    schedule.finished(&key("b"), at(4));
    assert_eq!(pop(&mut schedule, at(10)), Some(("a".to_owned(), Origin::Schedule, at(10))));
}

#[test]
fn stamps_only_grow() {
    let mut schedule = schedule(1, &["a"]);
    let mut last = at(0);
    // The clock is set back between any two.
    for now in [20, 5, 5, 30, 29, 1] {
        schedule.run_now(&key("a"), at(now)).unwrap();
        let start = schedule.pop(at(now)).unwrap();
        assert!(start.time > last, "{} after {last}", start.time);
        last = start.time;
        schedule.finished(&key("a"), at(now));
    }
    assert_eq!(last, Timestamp(at(30).0 + 2));
    assert_eq!(schedule.next_event(), Some(at(40)));
}

#[test]
fn a_tick_that_stamps_have_overtaken_is_stamped_behind_them() {
    let mut schedule = schedule(1, &["a"]);
    schedule.run_now(&key("a"), at(25)).unwrap();
    // Its tick of 20 is the answer.
    assert_eq!(schedule.pop(at(25)).unwrap().time, at(20));
    schedule.finished(&key("a"), at(25));
    schedule.set_back(at(3), Duration::from_secs(22));
    for (tick, stamp_ns) in [(10, 1), (20, 2)] {
        let start = schedule.pop(at(tick)).unwrap();
        assert_eq!((start.due, start.time), (at(tick), Timestamp(at(20).0 + stamp_ns)));
        schedule.finished(&key("a"), at(tick + 1));
    }
    assert_eq!(pop(&mut schedule, at(30)), Some(("a".to_owned(), Origin::Schedule, at(30))));
}

#[test]
fn an_absence_is_missed() {
    for (last_tick, last_time, now, missed, next) in [
        (40, 40, 44, 0, 50),
        (40, 40, 95, 5, 100),
        (39, 39, 40, 1, 50),
        // Set back while it was away: what was stamped before is not stamped again.
        (40, 48, 5, 0, 50),
        (40, 61, 5, 2, 70),
        // By so much that it must have been the clock: nothing waits for it.
        (40, 66, 5, 0, 10),
        (4_000, 4_000, 5, 0, 10),
        (0, 4_000, 25, 2, 30),
    ] {
        let mut schedule = Schedule::new(Slots { runs: 1 });
        let resume = Resume { counts: counts(4, 0, 0, 0), last_tick: at(last_tick), last_time: at(last_time) };
        schedule.insert(key("a"), every(10), Some(resume), at(now));
        assert_eq!(schedule.settled(&key("a")).unwrap().0, counts(4, missed, 0, 0), "{last_tick} {now}");
        assert_eq!(schedule.next_event(), Some(at(next)), "{last_tick} {now}");
    }
}

#[test]
fn a_delayed_beginning_is_not_missed() {
    let mut schedule = Schedule::new(Slots { runs: 1 });
    let plan = Plan { initial_delay: Duration::from_secs(25), ..every(10) };
    schedule.insert(key("a"), plan, None, at(0));
    assert_eq!(schedule.next_event(), Some(at(30)));
    assert_eq!(pop(&mut schedule, at(30)), Some(("a".to_owned(), Origin::Schedule, at(30))));
    assert_eq!(schedule.finished(&key("a"), at(31)), Some(counts(1, 0, 0, 0)));
}

#[test]
fn a_change_keeps_what_it_can() {
    let mut schedule = schedule(1, &["a"]);
    pop(&mut schedule, at(10)).unwrap();
    schedule.finished(&key("a"), at(11));
    let delayed = Plan { initial_delay: Duration::from_secs(3_600), ..every(10) };
    schedule.change(&key("a"), delayed, at(12));
    assert_eq!(schedule.next_event(), Some(at(20)), "the grid is the same");
    schedule.change(&key("a"), every(7), at(12));
    assert_eq!(schedule.next_event(), Some(at(14)));
    pop(&mut schedule, at(14)).unwrap();
    // During a run: 21 of the old grid, 25, 30 and 35 of the new one.
    schedule.change(&key("a"), every(5), at(22));
    assert_eq!(schedule.finished(&key("a"), at(36)), Some(counts(2, 0, 4, 0)));
    assert_eq!(schedule.next_event(), Some(at(40)));
}

#[test]
fn a_removed_key_keeps_its_slot_until_its_run_ends() {
    let mut schedule = schedule(1, &["a", "b"]);
    pop(&mut schedule, at(10)).unwrap();
    assert_eq!(schedule.remove(&key("a")), Some(Counts::default()));
    assert_eq!(schedule.remove(&key("a")), None);
    assert_eq!((schedule.settled(&key("a")), schedule.pop(at(12))), (None, None));
    assert_eq!(schedule.run_now(&key("a"), at(12)), Err(Busy::NotScheduled));
    // Back again while the old run goes on: it is not run twice at a time, and the old run is none of its own.
    schedule.insert(key("a"), every(2), None, at(13));
    assert_eq!(schedule.run_now(&key("a"), at(13)), Err(Busy::Running));
    assert_eq!(schedule.finished(&key("a"), at(15)), Some(counts(0, 0, 1, 0)));
    assert_eq!(pop(&mut schedule, at(15)), Some(("b".to_owned(), Origin::Schedule, at(10))));
    assert_eq!(schedule.remove(&key("b")), Some(Counts::default()));
    assert_eq!(schedule.finished(&key("b"), at(16)), None);
    assert_eq!(pop(&mut schedule, at(16)), Some(("a".to_owned(), Origin::Schedule, at(16))));
}

#[test]
fn stamps_outlive_a_removal_during_a_run() {
    let mut schedule = schedule(1, &["a"]);
    pop(&mut schedule, at(10)).unwrap();
    schedule.remove(&key("a"));
    // The clock is set back before it returns.
    schedule.insert(key("a"), every(10), None, at(5));
    schedule.finished(&key("a"), at(5));
    schedule.run_now(&key("a"), at(6)).unwrap();
    assert_eq!(schedule.pop(at(6)).unwrap().time, Timestamp(at(10).0 + 1));
}

#[test]
fn cron_intervals_vary() {
    let mut schedule = Schedule::new(Slots { runs: 1 });
    let grid = Grid::cron("0 8,18 * * *", "UTC").unwrap();
    schedule.insert(key("a"), on(grid), None, at(0));
    let mut intervals = Vec::new();
    for _ in 0..3 {
        let start = schedule.pop(schedule.next_event().unwrap()).unwrap();
        intervals.push(start.interval_ns / 3_600_000_000_000);
        schedule.finished(&key("a"), start.time + Duration::from_secs(1));
    }
    assert_eq!(intervals, [14, 10, 14]);
}

fn slow(seconds: u64, catch_up: CatchUp) -> Plan {
    Plan { catch_up, ..every(seconds) }
}

#[test]
fn a_leap_misses_what_is_too_old_to_be_started() {
    for (period, until, missed, next) in [
        // A tenth of the period is tolerated, a second at least, a minute at most.
        (100, 99, 0, 100),
        (100, 310, 2, 300),
        (100, 311, 3, 400),
        (5, 21, 3, 20),
        (5, 22, 4, 25),
        (86_400, 86_460, 0, 86_400),
        (86_400, 86_461, 1, 172_800),
    ] {
        let mut schedule = Schedule::new(Slots { runs: 1 });
        schedule.insert(key("a"), every(period), None, at(0));
        let changed = if missed > 0 { vec![key("a")] } else { vec![] };
        assert_eq!(schedule.absent(at(until)), changed, "{period} {until}");
        assert_eq!(schedule.settled(&key("a")).unwrap().0, counts(0, missed, 0, 0), "{period} {until}");
        assert_eq!(schedule.next_event(), Some(at(next)), "{period} {until}");
    }
}

#[test]
fn a_leap_during_a_run_is_an_overlap() {
    let mut schedule = schedule(1, &["a"]);
    pop(&mut schedule, at(10)).unwrap();
    assert_eq!(schedule.absent(at(1_000)), []);
    assert_eq!(schedule.finished(&key("a"), at(1_001)), Some(counts(1, 0, 99, 0)));
}

#[test]
fn what_was_missed_is_made_up_for_once() {
    let once = |deadline_s: Option<u64>| CatchUp::Once { deadline: deadline_s.map(Duration::from_secs) };
    // The last tick of 3,600 was at 36,000; it is 4 s or so later. At most until when the run may begin, if at all.
    for (catch_up, until, latest) in [
        (CatchUp::Skip, 36_400, None),
        (once(None), 36_400, Some(36_430)),
        (once(None), 39_590, Some(39_600)),
        (once(Some(410)), 36_400, Some(36_410)),
        (once(Some(400)), 36_400, Some(36_400)),
        (once(Some(399)), 36_400, None),
        (once(Some(86_400)), 36_400, Some(36_430)),
        // Young enough to be started itself.
        (once(None), 36_060, None),
    ] {
        let last_tick = at(0);
        let resume = Resume { counts: Counts::default(), last_tick, last_time: last_tick };
        let mut by_leap = Schedule::new(Slots { runs: 1 });
        by_leap.insert(key("a"), slow(3_600, catch_up), None, last_tick);
        by_leap.absent(at(until));
        let mut by_restart = Schedule::new(Slots { runs: 1 });
        by_restart.insert(key("a"), slow(3_600, catch_up), Some(resume), at(until));
        for (what, mut schedule) in [("leap", by_leap), ("restart", by_restart)] {
            let next = schedule.next_event().unwrap();
            let start = schedule.pop(next).unwrap();
            let missed = schedule.finished(&key("a"), next).unwrap().missed;
            let case = format!("{what} {catch_up:?} {until}: {start:?}");
            match latest {
                Some(latest) => {
                    assert_eq!((start.origin, start.time, missed), (Origin::CatchUp, next, 10), "{case}");
                    assert!((at(until)..=at(latest)).contains(&next), "{case}");
                    assert_eq!(schedule.next_event(), Some(at(39_600)), "{case}: once");
                }
                None if what == "leap" && until == 36_060 => {
                    assert_eq!((start.time, missed), (at(36_000), 9), "{case}")
                }
                None if until == 36_060 => assert_eq!(start.origin, Origin::CatchUp, "a restart starts no old tick"),
                None => assert_eq!((start.origin, start.time), (Origin::Schedule, at(39_600)), "{case}"),
            }
        }
    }
}

#[test]
fn a_catch_up_that_waited_too_long_is_none() {
    let deadline = Some(Duration::from_secs(100));
    let mut schedule = Schedule::new(Slots { runs: 0 });
    schedule.insert(key("a"), slow(600, CatchUp::Once { deadline }), None, at(0));
    schedule.absent(at(690));
    schedule.set_slots(Slots { runs: 1 });
    assert!(schedule.next_event().unwrap() < at(700));
    assert_eq!((schedule.pop(at(701)), schedule.next_event()), (None, Some(at(1_200))));
}

#[test]
fn catch_ups_are_no_herd() {
    let mut schedule = Schedule::new(Slots { runs: 1_000 });
    for n in 0..1_000 {
        schedule.insert(key(&format!("c{n}")), slow(3_600, CatchUp::Once { deadline: None }), None, at(0));
    }
    assert_eq!(schedule.absent(at(5_000)).len(), 1_000);
    let mut of_second = [0; 30];
    while let Some(start) = schedule.pop(schedule.next_event().unwrap()) {
        of_second[usize::try_from((start.time.0 - at(5_000).0) / SECOND_NS).unwrap()] += 1;
        if schedule.in_flight() == 1_000 {
            break;
        }
    }
    assert!(of_second.iter().all(|n| (10..70).contains(n)), "{of_second:?}");
}

#[test]
fn a_clock_set_back_stops_nothing() {
    let back = Duration::from_secs(3_600);
    let mut schedule = schedule(4, &["idle", "asked", "runs"]);
    schedule.insert(key("delayed"), Plan { initial_delay: Duration::from_secs(7_300), ..every(10) }, None, at(0));
    let mut ran = 0;
    for now in (10..=7_200).step_by(10) {
        while let Some((name, ..)) = pop(&mut schedule, at(now)) {
            if name != "runs" || now < 7_200 {
                schedule.finished(&key(&name), at(now));
            }
            ran += 1;
        }
    }
    assert_eq!(ran, 3 * 720);
    schedule.retry_at(&key("asked"), at(7_207));
    schedule.set_back(at(3_601), back);
    assert_eq!(schedule.settled(&key("runs")), Some((counts(719, 0, 0, 0), at(3_601))));
    // A tick of before, once more; what was asked for 7 s ahead, 7 s ahead; and no delay is shorter for it.
    for (name, origin, instant) in
        [("asked", Origin::Retry, 3_607), ("asked", Origin::Schedule, 3_610), ("idle", Origin::Schedule, 3_610)]
    {
        assert_eq!(schedule.next_event(), Some(at(instant)));
        let start = schedule.pop(at(instant)).unwrap();
        assert_eq!((start.key, start.origin, start.due), (key(name), origin, at(instant)));
        assert!(start.time > at(7_200));
        schedule.finished(&key(name), at(instant));
    }
    assert_eq!(schedule.finished(&key("runs"), at(3_611)), Some(counts(720, 0, 1, 0)));
    schedule.remove(&key("idle"));
    schedule.remove(&key("asked"));
    schedule.remove(&key("runs"));
    assert_eq!(schedule.next_event(), Some(at(3_710)));
}

#[test]
fn one_tick_and_none() {
    let mut schedule = Schedule::new(Slots { runs: 2 });
    schedule.insert(key("a"), on(Grid::Once(at(5))), None, at(0));
    schedule.insert(key("b"), on(Grid::Never), None, at(0));
    let start = schedule.pop(at(6)).unwrap();
    assert_eq!((start.origin, start.time, start.interval_ns), (Origin::Schedule, at(5), 0));
    assert_eq!(schedule.finished(&key("a"), at(7)), Some(counts(1, 0, 0, 0)));
    assert_eq!(schedule.next_event(), None);
    schedule.run_now(&key("b"), at(8)).unwrap();
    let start = schedule.pop(at(8)).unwrap();
    assert_eq!((start.origin, start.time, start.interval_ns), (Origin::RunNow, at(8), 0));
    assert_eq!(schedule.finished(&key("b"), at(9)), Some(Counts::default()));
}
