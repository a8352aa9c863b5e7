//! Who gets a slot, case by case.

use roundsman_model::name::CheckName;

use super::*;
use crate::slots::WAITS;

const SECOND_NS: i64 = 1_000_000_000;

fn key(name: &str) -> Key {
    Key::new(CheckName::new(name).unwrap(), None)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * SECOND_NS)
}

/// Every second; of this group.
fn plan(group: u32) -> Plan {
    let grid = Grid::Interval { period: Duration::from_secs(1), phase: Duration::ZERO, jitter: None };
    Plan { grid, initial_delay: Duration::ZERO, catch_up: CatchUp::Skip, group }
}

/// A schedule at the instant 0 with so many slots, and keys named `<group><letter>`.
fn schedule(runs: usize, keys: &[&str]) -> Schedule {
    let mut schedule = Schedule::new(Slots { runs });
    for name in keys {
        let group = name[1..].parse().unwrap();
        schedule.insert(key(name), plan(group), None, at(0));
    }
    schedule
}

/// Everything that starts now.
fn start_all(schedule: &mut Schedule, now: Timestamp) -> Vec<String> {
    let starts: Vec<String> =
        std::iter::from_fn(|| schedule.pop(now)).map(|start| start.key.check.as_str().to_owned()).collect();
    assert!(schedule.next_event().is_none_or(|at| at > now), "what cannot start is no event");
    starts
}

/// Lets everything run for so long.
fn finish_all(schedule: &mut Schedule, names: &[&str], at: Timestamp) {
    names.iter().for_each(|name| assert!(schedule.finished(&key(name), at).is_some()));
}

#[test]
fn keys_that_waited_get_half_the_slots() {
    let names = ["a0", "b0", "c0", "d0"];
    let mut schedule = schedule(4, &names);
    assert_eq!(start_all(&mut schedule, at(1)), names);
    finish_all(&mut schedule, &["a0", "b0", "c0"], at(1) + WAITS + Duration::from_nanos(1));
    finish_all(&mut schedule, &["d0"], at(1) + WAITS);
    // Two of those that waited, and the brief one behind them.
    assert_eq!(start_all(&mut schedule, at(2)), ["a0", "b0", "d0"]);
    // One of them ends at once, and is brief again; the third one takes its place.
    finish_all(&mut schedule, &["a0"], at(2));
    assert_eq!(schedule.next_event(), Some(at(2)));
    assert_eq!(start_all(&mut schedule, at(2)), ["c0"]);
    finish_all(&mut schedule, &["b0", "c0", "d0"], at(2) + Duration::from_millis(700));
    assert_eq!(start_all(&mut schedule, at(3)), ["a0", "b0", "c0"], "a is brief; of three others, two");
}

#[test]
fn the_first_wave_of_an_outage_is_seen() {
    let mut schedule = schedule(6, &["a0", "b0", "c0", "d0", "e0"]);
    assert_eq!(start_all(&mut schedule, at(1)).len(), 5);
    finish_all(&mut schedule, &["a0", "b0", "c0", "d0"], at(1));
    finish_all(&mut schedule, &["e0"], at(1) + Duration::from_millis(500));
    // Four hang that used to be brief; what is known to wait does not take the slots that are left.
    let wave = at(2);
    for name in ["a0", "b0", "c0"] {
        assert_eq!(schedule.pop(wave).unwrap().key, key(name));
    }
    assert_eq!(start_all(&mut schedule, wave + WAITS), ["d0", "e0"], "they are not in flight for so long yet");
    finish_all(&mut schedule, &["d0"], wave + WAITS);
    finish_all(&mut schedule, &["e0"], wave + WAITS + WAITS + WAITS);
    assert_eq!(start_all(&mut schedule, at(3)), ["d0"]);
    finish_all(&mut schedule, &["a0"], at(3));
    assert_eq!(start_all(&mut schedule, at(3)), ["a0"], "one place for those that waited; a comes before e");
    finish_all(&mut schedule, &["a0"], at(3));
    assert_eq!(start_all(&mut schedule, at(3)), ["e0"]);
}

#[test]
fn a_plugin_gets_its_share() {
    for (runs, groups, share) in [(12, 1, 12), (12, 2, 6), (12, 3, 4), (12, 4, 3), (12, 5, 3), (3, 5, 1), (2, 9, 1)] {
        let mut keys: Vec<String> = (0..16).map(|n| format!("{}0", char::from(b'a' + n))).collect();
        keys.extend((1..groups).map(|group| format!("z{group}")));
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut schedule = schedule(runs, &keys);
        let started = start_all(&mut schedule, at(1));
        let of_first = started.iter().filter(|name| name.ends_with('0')).count();
        assert_eq!(of_first, share, "{runs} slots, {groups} groups: {started:?}");
        assert_eq!(started.len(), runs.min(share + groups - 1), "{runs} slots, {groups} groups: {started:?}");
    }
}

#[test]
fn shares_follow_what_is_there() {
    let mut schedule = schedule(4, &["a0", "b0", "c0", "d1"]);
    assert_eq!(start_all(&mut schedule, at(1)), ["a0", "b0", "d1"]);
    // The run of a key that was taken off holds its slot, but its plugin needs no share.
    schedule.remove(&key("d1"));
    assert_eq!((schedule.next_event(), schedule.in_flight()), (Some(at(1)), 3));
    assert_eq!(start_all(&mut schedule, at(1)), ["c0"]);
    finish_all(&mut schedule, &["a0", "b0", "c0"], at(1));
    assert_eq!(schedule.finished(&key("d1"), at(1)), None);
    // Another plugin for a check: its run goes on at the expense of the old one.
    assert_eq!(start_all(&mut schedule, at(2)), ["a0", "b0", "c0"]);
    schedule.change(&key("a0"), plan(7), at(2));
    schedule.insert(key("e0"), plan(0), None, at(1));
    assert_eq!(start_all(&mut schedule, at(2)), Vec::<String>::new(), "the old one holds three of two");
    finish_all(&mut schedule, &["a0"], at(2));
    assert_eq!(start_all(&mut schedule, at(2)), Vec::<String>::new(), "it holds two of two");
    assert_eq!(start_all(&mut schedule, at(3)), ["a0"]);
    finish_all(&mut schedule, &["b0"], at(3));
    assert_eq!(start_all(&mut schedule, at(3)), ["e0"], "it has waited since 2");
}

#[test]
fn of_those_that_may_start_the_oldest_does() {
    let mut schedule = schedule(4, &["a0", "b0", "c0", "d1", "e1"]);
    assert_eq!(start_all(&mut schedule, at(1)), ["a0", "b0", "d1", "e1"]);
    finish_all(&mut schedule, &["d1", "e1"], at(1));
    // c has waited since 1, but its group is full; then it goes before everybody.
    assert_eq!(start_all(&mut schedule, at(2)), ["d1", "e1"]);
    finish_all(&mut schedule, &["e1", "d1", "a0", "b0"], at(2));
    assert_eq!(schedule.next_event(), Some(at(1)));
    assert_eq!(start_all(&mut schedule, at(4)), ["c0", "a0", "d1", "e1"]);
}

/// Ten thousand keys that want one slot, or the few of their class and plugin: were every step to look at all of them,
/// this would take minutes.
#[test]
fn ten_thousand_keys() {
    const KEYS: usize = 10_000;
    for (what, runs, groups) in [("room for all", 2 * KEYS, 1), ("one slot", 1, 1), ("shares", 8, 4), ("many", 64, 100)]
    {
        let mut schedule = Schedule::new(Slots { runs });
        for n in 0..KEYS {
            let group = u32::try_from(n % groups).unwrap();
            schedule.insert(key(&format!("c{n}")), plan(group), None, at(0));
        }
        let begin = std::time::Instant::now();
        let mut runs = 0;
        let mut in_flight = std::collections::VecDeque::new();
        for second in 1..=3 {
            loop {
                while let Some(start) = schedule.pop(at(second)) {
                    in_flight.push_back(start);
                    runs += 1;
                }
                let Some(start) = in_flight.pop_front() else { break };
                // Every third one waits, by its name.
                let took = if start.key.check.as_str().len() % 3 == 0 { 2 * WAITS } else { Duration::ZERO };
                schedule.finished(&start.key, start.due + took);
            }
        }
        assert_eq!(runs, 3 * KEYS, "{what}");
        eprintln!("{what}: {:?} for each start and its end", begin.elapsed() / u32::try_from(runs).unwrap());
    }
}
