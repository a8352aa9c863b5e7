//! The schedule against a slow, obvious model that looks at every tick one by one, by random sequences of events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use roundsman_model::counts::Counts;
use roundsman_model::key::Key;
use roundsman_model::name::CheckName;
use roundsman_model::record::Origin;
use roundsman_model::time::Timestamp;
use roundsman_schedule::grid::Grid;
use roundsman_schedule::schedule::{Busy, Plan, Resume, Schedule, Slots, Start};

const SECOND_NS: i64 = 1_000_000_000;

#[derive(Debug, Clone)]
enum Event {
    Insert {
        key: usize,
        grid: usize,
        delay_s: u64,
    },
    Change {
        key: usize,
        grid: usize,
    },
    Remove {
        key: usize,
    },
    /// Taken off and put back as by a restart of the agent, some seconds later.
    Restart {
        key: usize,
        away_s: i64,
    },
    Pop,
    PopAll,
    /// The run that began first, or a later one, ended so long before now.
    Finish {
        nth: usize,
        ago_ns: i64,
    },
    Skip {
        nth: usize,
    },
    Retry {
        key: usize,
        in_s: i64,
    },
    RunNow {
        key: usize,
    },
    /// Seconds forwards or backwards, and a few nanoseconds beside them.
    Move {
        s: i64,
        ns: i64,
    },
    /// To the next event, exactly.
    Sleep,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let key = || 0_usize..4;
    let grid = || 0_usize..7;
    let ns = || prop_oneof![3 => Just(0_i64), 1 => -1_i64..=1];
    let event = prop_oneof![
        2 => (key(), grid(), prop_oneof![Just(0), 0_u64..30]).prop_map(|(key, grid, delay_s)| Event::Insert { key, grid, delay_s }),
        1 => (key(), grid()).prop_map(|(key, grid)| Event::Change { key, grid }),
        1 => key().prop_map(|key| Event::Remove { key }),
        1 => (key(), 0_i64..100).prop_map(|(key, away_s)| Event::Restart { key, away_s }),
        4 => Just(Event::Pop),
        4 => Just(Event::PopAll),
        6 => (0_usize..3, prop_oneof![2 => Just(0), 1 => 0..12 * SECOND_NS]).prop_map(|(nth, ago_ns)| Event::Finish { nth, ago_ns }),
        1 => (0_usize..3).prop_map(|nth| Event::Skip { nth }),
        2 => (key(), -2_i64..15).prop_map(|(key, in_s)| Event::Retry { key, in_s }),
        2 => key().prop_map(|key| Event::RunNow { key }),
        5 => (0_i64..12, ns()).prop_map(|(s, ns)| Event::Move { s, ns }),
        1 => (-40_i64..4_000, ns()).prop_map(|(s, ns)| Event::Move { s, ns }),
        5 => Just(Event::Sleep),
    ];
    prop::collection::vec(event, 1..150)
}

fn keys() -> Vec<Key> {
    let key = |check, target| Key::new(CheckName::new(check).expect("a name"), target);
    vec![key("a", None), key("a", Some("x")), key("b", Some("y")), key("c", None)]
}

fn grids() -> Vec<Grid> {
    let interval =
        |period, phase| Grid::Interval { period: Duration::from_secs(period), phase: Duration::from_secs(phase) };
    let cron = |text| Grid::cron(text, "Europe/Berlin").expect("an expression");
    vec![
        interval(1, 0),
        interval(3, 2),
        interval(10, 0),
        interval(10, 7),
        interval(45, 11),
        cron("* * * * *"),
        cron("*/7 1-3 * * *"),
    ]
}

/// One key of the model: it remembers the fate of every single tick.
#[derive(Debug, Clone)]
struct Slow {
    grid: Grid,
    /// From an earlier life.
    counts: Counts,
    fates: Vec<(Timestamp, Fate)>,
    /// Ticks up to here have been looked at.
    seen: Timestamp,
    last_time: Timestamp,
    retry: Option<Timestamp>,
    run_now: Option<Timestamp>,
    running: Option<Run>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Run,
    Missed,
    Overlap,
    Skipped,
}

#[derive(Debug, Clone, Default)]
struct Run {
    tick: Option<Timestamp>,
    overlapped: Vec<Timestamp>,
}

impl Slow {
    fn new(grid: Grid, begin: Timestamp) -> Self {
        let (counts, last_time) = (Counts::default(), Timestamp(i64::MIN));
        Self { grid, counts, fates: vec![], seen: begin, last_time, retry: None, run_now: None, running: None }
    }

    /// Takes the ticks that have passed, one by one.
    fn look(&mut self, until: Timestamp) -> Vec<Timestamp> {
        let mut ticks = Vec::new();
        while let Some(tick) = self.grid.next_after(self.seen).filter(|tick| *tick <= until) {
            ticks.push(tick);
            self.seen = tick;
        }
        self.seen = self.seen.max(until);
        ticks
    }

    fn settle(&mut self, ticks: &[Timestamp], fate: Fate) {
        self.fates.extend(ticks.iter().map(|tick| (*tick, fate)));
    }

    fn wants(&self) -> Option<Timestamp> {
        let idle = self.running.is_none();
        let wishes = [self.grid.next_after(self.seen), self.retry, self.run_now];
        wishes.into_iter().flatten().min().filter(|_| idle)
    }

    fn start(&mut self, key: &Key, now: Timestamp) -> Option<Start> {
        let mut ticks = self.look(now);
        let newest = ticks.pop();
        self.settle(&ticks, Fate::Missed);
        let mut tick = None;
        match newest {
            Some(newest) if newest > self.last_time => tick = Some(newest),
            Some(newest) => self.settle(&[newest], Fate::Missed),
            None => {}
        }
        let (origin, time) = if let Some(tick) = tick {
            (Origin::Schedule, tick)
        } else if self.run_now.is_some_and(|at| at <= now) {
            (Origin::RunNow, now.max(Timestamp(self.last_time.0.saturating_add(1))))
        } else if self.retry.is_some_and(|at| at <= now) {
            (Origin::Retry, now.max(Timestamp(self.last_time.0.saturating_add(1))))
        } else {
            return None;
        };
        let around = tick.or_else(|| self.grid.next_after(self.seen));
        let interval = around.and_then(|tick| Some(tick.0 - self.grid.previous(tick)?.0)).unwrap_or(0);
        (self.retry, self.run_now, self.last_time) = (None, None, time);
        self.running = Some(Run { tick, overlapped: vec![] });
        Some(Start { key: key.clone(), origin, time, interval_ns: interval.unsigned_abs() })
    }

    fn end(&mut self, at: Option<Timestamp>) {
        let Some(mut run) = self.running.take() else { return };
        if let Some(at) = at {
            run.overlapped.extend(self.look(Timestamp(at.0 - 1)));
        }
        let fate = if at.is_some() { Fate::Run } else { Fate::Skipped };
        self.settle(run.tick.as_slice(), fate);
        self.settle(&run.overlapped, Fate::Overlap);
    }

    fn change(&mut self, grid: Grid, now: Timestamp) {
        if self.grid == grid {
            return;
        }
        let passed = self.look(now);
        match &mut self.running {
            None => self.settle(&passed, Fate::Missed),
            Some(run) => run.overlapped.extend(passed),
        }
        self.grid = grid;
    }

    fn counts(&self) -> Counts {
        let mut counts = self.counts;
        for (_, fate) in &self.fates {
            counts.due += 1;
            match fate {
                Fate::Run => counts.run += 1,
                Fate::Missed => counts.missed += 1,
                Fate::Overlap => counts.overlap += 1,
                Fate::Skipped => counts.skipped += 1,
            }
        }
        counts
    }
}

/// The schedule and its model, side by side.
struct World {
    schedule: Schedule,
    slots: usize,
    slow: BTreeMap<Key, Slow>,
    /// Runs in flight, in the order of their starts; some of keys that were taken off.
    running: Vec<Key>,
    /// The time of the last start of each key, while it is not forgotten.
    stamps: BTreeMap<Key, Timestamp>,
    now: Timestamp,
}

impl World {
    fn new(slots: usize) -> Self {
        // Half an hour before clocks in Berlin are set back.
        let now = Timestamp(1_792_888_200 * SECOND_NS);
        let schedule = Schedule::new(Slots { runs: slots });
        Self { schedule, slots, slow: BTreeMap::new(), running: vec![], stamps: BTreeMap::new(), now }
    }

    fn step(&mut self, event: &Event) {
        let (keys, grids) = (keys(), grids());
        match *event {
            Event::Insert { key, grid, delay_s } => self.insert(&keys[key], &grids[grid], delay_s),
            Event::Change { key, grid } => {
                let plan = Plan { grid: grids[grid].clone(), initial_delay: Duration::ZERO };
                self.schedule.change(&keys[key], plan, self.now);
                if let Some(slow) = self.slow.get_mut(&keys[key]) {
                    slow.change(grids[grid].clone(), self.now);
                }
            }
            Event::Remove { key } => self.remove(&keys[key]),
            Event::Restart { key, away_s } => self.restart(&keys[key], away_s),
            Event::Pop => {
                self.pop();
            }
            Event::PopAll => while self.pop() {},
            Event::Finish { nth, ago_ns } => self.end(nth, Some(Timestamp(self.now.0 - ago_ns))),
            Event::Skip { nth } => self.end(nth, None),
            Event::Retry { key, in_s } => {
                let at = Timestamp(self.now.0 + in_s * SECOND_NS);
                self.schedule.retry_at(&keys[key], at);
                if let Some(slow) = self.slow.get_mut(&keys[key]) {
                    slow.retry = Some(at);
                }
            }
            Event::RunNow { key } => self.run_now(&keys[key]),
            Event::Move { s, ns } => self.now = Timestamp(self.now.0 + s * SECOND_NS + ns),
            Event::Sleep => {
                if let Some(at) = self.schedule.next_event() {
                    self.now = self.now.max(at);
                }
            }
        }
        self.compare();
    }

    fn insert(&mut self, key: &Key, grid: &Grid, delay_s: u64) {
        let plan = Plan { grid: grid.clone(), initial_delay: Duration::from_secs(delay_s) };
        self.schedule.insert(key.clone(), plan.clone(), None, self.now);
        match self.slow.get_mut(key) {
            Some(slow) => slow.change(grid.clone(), self.now),
            None => self.adopt(key, Slow::new(plan.grid, self.now + plan.initial_delay)),
        }
    }

    /// A run of the key may still be going on from before it was taken off.
    fn adopt(&mut self, key: &Key, mut slow: Slow) {
        slow.running = self.running.contains(key).then(Run::default);
        slow.last_time = slow.last_time.max(self.stamps.get(key).copied().unwrap_or(Timestamp(i64::MIN)));
        self.slow.insert(key.clone(), slow);
    }

    fn remove(&mut self, key: &Key) {
        let counts = self.slow.remove(key).map(|slow| slow.counts());
        assert_eq!(self.schedule.remove(key), counts);
        if !self.running.contains(key) {
            self.stamps.remove(key);
        }
    }

    fn restart(&mut self, key: &Key, away_s: i64) {
        let Some((counts, last_tick)) = self.schedule.settled(key) else { return };
        let old = self.slow[key].clone();
        self.schedule.remove(key);
        self.now = Timestamp(self.now.0 + away_s * SECOND_NS);
        let resume = Resume { counts, last_tick, last_time: old.last_time };
        let plan = Plan { grid: old.grid.clone(), initial_delay: Duration::ZERO };
        self.schedule.insert(key.clone(), plan, Some(resume), self.now);
        let mut slow = Slow { counts, last_time: old.last_time, ..Slow::new(old.grid, last_tick) };
        let absent = slow.look(self.now.max(old.last_time));
        slow.settle(&absent, Fate::Missed);
        self.adopt(key, slow);
    }

    /// Whether something started. The model takes whoever has waited longest.
    fn pop(&mut self) -> bool {
        let mut expected = None;
        while expected.is_none() && self.running.len() < self.slots {
            let wishes = self.slow.iter().filter_map(|(key, slow)| Some((slow.wants()?, key.clone())));
            let Some((_, key)) = wishes.min().filter(|(at, _)| *at <= self.now) else { break };
            expected = self.slow.get_mut(&key).and_then(|slow| slow.start(&key, self.now));
        }
        let start = self.schedule.pop(self.now);
        assert_eq!(start, expected);
        let Some(start) = start else { return false };
        assert!(!self.running.contains(&start.key), "one run of a key at a time");
        let earlier = self.stamps.insert(start.key.clone(), start.time);
        assert!(earlier.is_none_or(|earlier| start.time > earlier), "{} not after {earlier:?}", start.time);
        assert!(start.origin != Origin::Schedule || start.time <= self.now);
        self.running.push(start.key);
        assert!(self.running.len() <= self.slots);
        true
    }

    fn end(&mut self, nth: usize, at: Option<Timestamp>) {
        if self.running.is_empty() {
            return;
        }
        let key = self.running.remove(nth % self.running.len());
        let counts = self.slow.get_mut(&key).map(|slow| {
            slow.end(at);
            slow.counts()
        });
        if counts.is_none() {
            self.stamps.remove(&key);
        }
        let told = match at {
            Some(at) => self.schedule.finished(&key, at),
            None => self.schedule.skip(&key),
        };
        assert_eq!(told, counts);
    }

    fn run_now(&mut self, key: &Key) {
        let expected = match self.slow.get_mut(key) {
            None => Err(Busy::NotScheduled),
            Some(slow) if slow.running.is_some() => Err(Busy::Running),
            Some(slow) => {
                slow.run_now.get_or_insert(self.now);
                Ok(())
            }
        };
        assert_eq!(self.schedule.run_now(key, self.now), expected);
    }

    fn compare(&self) {
        let wishes = self.slow.values().filter_map(Slow::wants);
        let next = if self.running.len() < self.slots { wishes.min() } else { None };
        assert_eq!(self.schedule.next_event(), next);
        assert_eq!(self.schedule.in_flight(), self.running.len());
        for key in keys() {
            let Some(slow) = self.slow.get(&key) else {
                assert_eq!(self.schedule.settled(&key), None);
                continue;
            };
            let (counts, settled) = self.schedule.settled(&key).expect("the model has it");
            assert!(counts.balanced());
            assert_eq!(counts, slow.counts());
            let ticks: BTreeSet<Timestamp> = slow.fates.iter().map(|(tick, _)| *tick).collect();
            assert_eq!(ticks.len(), slow.fates.len(), "one fate for each tick");
            assert!(ticks.last().is_none_or(|tick| *tick <= settled));
            let open = slow.running.iter().flat_map(|run| run.tick.iter().chain(&run.overlapped));
            assert!(open.into_iter().all(|tick| *tick > settled));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_events(events in events(), slots in 1_usize..4) {
        let mut world = World::new(slots);
        for event in &events {
            world.step(event);
        }
    }

    /// Everybody gets a turn, however scarce slots are, and everything is accounted for in the end.
    #[test]
    fn nobody_starves(grids_of in prop::collection::vec(0_usize..5, 4), run_ns in 1..9 * SECOND_NS) {
        let mut world = World::new(1);
        for (key, grid) in keys().iter().zip(grids_of) {
            world.insert(key, &grids()[grid], 0);
        }
        let begin = world.now;
        while world.now < begin + Duration::from_secs(900) {
            world.step(&Event::Sleep);
            world.step(&Event::Pop);
            world.now = Timestamp(world.now.0 + run_ns);
            world.step(&Event::Finish { nth: 0, ago_ns: 0 });
        }
        for key in keys() {
            let (counts, settled) = world.schedule.settled(&key).unwrap();
            // The longest round: three others before it, and up to its own tick.
            assert!(counts.run >= 900 / (45 + 4 * 9), "{key}: {counts:?}");
            assert_eq!(counts.due, world.schedule.grid(&key).unwrap().count(begin, settled), "{key}");
        }
    }
}
