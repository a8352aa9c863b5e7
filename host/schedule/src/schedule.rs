//! What is due, what runs, and what waits for a slot: at most one run of a key at a time, and no tick unaccounted for.
//!
//! One ordered set holds every idle entry at the instant at which it wants to start. What lies in the past waits for a
//! slot, the oldest first, so that nothing starves.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use roundsman_model::counts::Counts;
use roundsman_model::key::Key;
use roundsman_model::record::Origin;
use roundsman_model::time::Timestamp;

use crate::entry::{End, Entry};
use crate::grid::Grid;

/// How much may run at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    /// Runs in flight, of all checks together.
    pub runs: usize,
}

/// When a key is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub grid: Grid,
    /// Between the appearance of the key and its first tick; what the grid has until then is not due.
    pub initial_delay: Duration,
}

/// Where a key stood when the agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume {
    pub counts: Counts,
    /// The instant up to which `counts` knows the fate of every tick.
    pub last_tick: Timestamp,
    /// The time of its last record, on or off the grid: no later one may be stamped at or before it.
    pub last_time: Timestamp,
}

/// A run to begin now. It holds a slot until `finished` or `skip` is called for its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    pub key: Key,
    pub origin: Origin,
    /// The identity of the record: the scheduled instant, or the present one when it is off the grid. Later than that of
    /// every earlier start of the key.
    pub time: Timestamp,
    /// Distance from the tick to the one before it; off the grid, between the ticks around it. 0: there are no such ticks.
    pub interval_ns: u64,
}

/// Why something cannot be run now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    #[error("it is running already; ask again when that run has ended")]
    Running,
    #[error("it is not on the schedule: the name is wrong, or the check is disabled")]
    NotScheduled,
}

/// All keys of a node, by when they want to run.
#[derive(Debug)]
pub struct Schedule {
    slots: Slots,
    in_flight: usize,
    entries: HashMap<Key, Entry>,
    /// Each entry that does not run, at the instant that it wants: `Entry::queued` mirrors it.
    order: BTreeSet<(Timestamp, Key)>,
}

impl Schedule {
    /// An empty one.
    pub fn new(slots: Slots) -> Self {
        Self { slots, in_flight: 0, entries: HashMap::new(), order: BTreeSet::new() }
    }

    /// Other limits; what runs beyond them may end.
    pub fn set_slots(&mut self, slots: Slots) {
        self.slots = slots;
    }

    /// Adds a key; for one that is there already this is `change`.
    ///
    /// With `resume`, the ticks since then count as missed, for the agent was not there; without it, ticks up to now are
    /// none of its own. `initial_delay` begins now in either case.
    pub fn insert(&mut self, key: Key, plan: Plan, resume: Option<Resume>, now: Timestamp) {
        match self.entries.get(&key) {
            Some(entry) if !entry.removed => self.change(&key, plan, now),
            left => {
                let mut entry = Entry::new(plan.grid, resume, now, now + plan.initial_delay);
                if let Some(left) = left {
                    entry.inherit(left);
                }
                self.entries.insert(key.clone(), entry);
                self.requeue(&key);
            }
        }
    }

    /// Gives a key another plan, without a word to it if the grid is the same. Its counts stay, and so does its run.
    pub fn change(&mut self, key: &Key, plan: Plan, now: Timestamp) {
        if let Some(entry) = self.entries.get_mut(key)
            && !entry.removed
            && *entry.grid() != plan.grid
        {
            entry.change(plan.grid, now);
            self.requeue(key);
        }
    }

    /// Takes a key off. A run of it keeps its slot until `finished` or `skip`, and is in none of the counts.
    pub fn remove(&mut self, key: &Key) -> Option<Counts> {
        let entry = self.entries.get_mut(key).filter(|entry| !entry.removed)?;
        let counts = entry.counts();
        entry.removed = true;
        if let Some(at) = entry.queued.take() {
            self.order.remove(&(at, key.clone()));
        }
        if !entry.is_running() {
            self.entries.remove(key);
        }
        Some(counts)
    }

    /// When `pop` has something to start: in the past, if it has now. None: nothing will start before another call.
    pub fn next_event(&self) -> Option<Timestamp> {
        if self.in_flight < self.slots.runs { self.order.first().map(|(at, _)| *at) } else { None }
    }

    /// The next run to begin; call it until there is none.
    ///
    /// Of several ticks that have passed, the newest is run and the others are missed. Ticks that pass during a run are
    /// overlapped.
    pub fn pop(&mut self, now: Timestamp) -> Option<Start> {
        while self.next_event()? <= now {
            let (_, key) = self.order.pop_first()?;
            let entry = self.entries.get_mut(&key).expect("remove takes the key out of the order");
            entry.queued = None;
            if let Some(start) = entry.start(&key, now) {
                self.in_flight += 1;
                return Some(start);
            }
            self.requeue(&key);
        }
        None
    }

    /// A run ended with a record at the instant `at`, which may lie before the last `pop`. Its slot is free, and its tick
    /// counts as run. None: the key has been taken off meanwhile.
    pub fn finished(&mut self, key: &Key, at: Timestamp) -> Option<Counts> {
        self.end(key, End::Ran(at))
    }

    /// A popped start is not to be run after all. Its slot is free, and its tick counts as skipped. None: as above.
    pub fn skip(&mut self, key: &Key) -> Option<Counts> {
        self.end(key, End::Skipped)
    }

    /// Runs a key off the grid at an instant, unless a tick comes first or it is started in another way. A second call
    /// takes the place of the first.
    pub fn retry_at(&mut self, key: &Key, at: Timestamp) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.retry_at(at);
            self.requeue(key);
        }
    }

    /// Runs a key off the grid as soon as a slot is free. If a tick comes before that, its run serves the request.
    pub fn run_now(&mut self, key: &Key, now: Timestamp) -> Result<(), Busy> {
        let entry = self.entries.get_mut(key).filter(|entry| !entry.removed).ok_or(Busy::NotScheduled)?;
        if entry.is_running() {
            return Err(Busy::Running);
        }
        entry.run_now(now);
        self.requeue(key);
        Ok(())
    }

    /// What may be persisted: the counts, and the instant up to which they know the fate of every tick.
    pub fn settled(&self, key: &Key) -> Option<(Counts, Timestamp)> {
        self.entries.get(key).filter(|entry| !entry.removed).map(|entry| (entry.counts(), entry.settled()))
    }

    /// The ticks of a key.
    pub fn grid(&self, key: &Key) -> Option<&Grid> {
        self.entries.get(key).filter(|entry| !entry.removed).map(Entry::grid)
    }

    /// How many runs hold a slot.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn end(&mut self, key: &Key, end: End) -> Option<Counts> {
        let entry = self.entries.get_mut(key)?;
        if entry.is_running() {
            self.in_flight -= 1;
            entry.end(end);
        }
        if entry.removed {
            self.entries.remove(key);
            return None;
        }
        let counts = entry.counts();
        self.requeue(key);
        Some(counts)
    }

    /// Puts an entry where it wants to be.
    fn requeue(&mut self, key: &Key) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let wants = entry.wants().filter(|_| !entry.removed);
        if wants == entry.queued {
            return;
        }
        if let Some(old) = std::mem::replace(&mut entry.queued, wants) {
            self.order.remove(&(old, key.clone()));
        }
        if let Some(at) = wants {
            self.order.insert((at, key.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use roundsman_model::name::CheckName;

    use super::*;

    const SECOND_NS: i64 = 1_000_000_000;

    fn key(name: &str) -> Key {
        Key::new(CheckName::new(name).unwrap(), None)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * SECOND_NS)
    }

    fn every(seconds: u64) -> Plan {
        let grid = Grid::Interval { period: Duration::from_secs(seconds), phase: Duration::ZERO };
        Plan { grid, initial_delay: Duration::ZERO }
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
        let start = Start { key: key("a"), origin: Origin::Schedule, time: at(10), interval_ns: 10_000_000_000 };
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
        schedule.insert(key("b"), Plan { grid, initial_delay: Duration::ZERO }, None, at(0));
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
    fn a_tick_that_stamps_have_overtaken_is_missed() {
        let mut schedule = schedule(1, &["a"]);
        for (now, stamp) in [(Timestamp(at(10).0 - 1), Timestamp(at(10).0 - 1)), (at(5), at(10))] {
            schedule.run_now(&key("a"), now).unwrap();
            assert_eq!(schedule.pop(now).unwrap().time, stamp);
            schedule.finished(&key("a"), now);
        }
        assert_eq!(schedule.pop(at(10)), None);
        assert_eq!(schedule.settled(&key("a")), Some((counts(0, 1, 0, 0), at(10))));
        assert_eq!(schedule.next_event(), Some(at(20)));
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
        schedule.insert(key("a"), Plan { grid, initial_delay: Duration::ZERO }, None, at(0));
        let mut intervals = Vec::new();
        for _ in 0..3 {
            let start = schedule.pop(schedule.next_event().unwrap()).unwrap();
            intervals.push(start.interval_ns / 3_600_000_000_000);
            schedule.finished(&key("a"), start.time + Duration::from_secs(1));
        }
        assert_eq!(intervals, [14, 10, 14]);
    }
}
