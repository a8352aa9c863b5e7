//! The schedule and its model, side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use roundsman_model::check::CatchUp;
use roundsman_model::key::Key;
use roundsman_model::name::CheckName;
use roundsman_model::record::Origin;
use roundsman_model::time::Timestamp;
use roundsman_schedule::grid::{Grid, Jitter};
use roundsman_schedule::schedule::{Busy, Plan, Resume, Schedule, Slots};
use roundsman_schedule::slots::WAITS;

use crate::slow::{Run, Slow};

pub(crate) const SECOND_NS: i64 = 1_000_000_000;
/// Half an hour before clocks in Berlin are set back.
const BEGIN: Timestamp = Timestamp(1_792_888_200 * SECOND_NS);

#[derive(Debug, Clone)]
pub(crate) enum Event {
    Insert {
        key: usize,
        plan: Plan,
    },
    Change {
        key: usize,
        plan: Plan,
    },
    Remove {
        key: usize,
    },
    /// Taken off and put back as by a restart of the agent, some seconds later.
    Restart {
        key: usize,
        away_s: i64,
        delay_s: u64,
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
    Slots {
        runs: usize,
    },
    /// Forwards or backwards, as the clock goes or is corrected without a word.
    Move {
        ns: i64,
    },
    /// The machine slept.
    Absent {
        ns: i64,
    },
    SetBack {
        ns: i64,
    },
    /// To the next event, exactly.
    Sleep,
}

pub(crate) fn keys() -> Vec<Key> {
    let key = |check, target| Key::new(CheckName::new(check).expect("a name"), target);
    vec![key("a", None), key("a", Some("x")), key("b", Some("y")), key("c", None), key("d", None), key("e", Some("z"))]
}

pub(crate) fn grids() -> Vec<Grid> {
    let interval = |period, phase, span_s| {
        let jitter = (span_s > 0).then_some(Jitter { span: Duration::from_secs(span_s), seed: 5 });
        Grid::Interval { period: Duration::from_secs(period), phase: Duration::from_secs(phase), jitter }
    };
    let cron = |text| Grid::cron(text, "Europe/Berlin").expect("an expression");
    vec![
        interval(1, 0, 0),
        interval(3, 2, 0),
        interval(10, 0, 0),
        interval(10, 7, 9),
        interval(45, 11, 0),
        interval(900, 17, 300),
        cron("* * * * *"),
        cron("*/7 1-3 * * *"),
        Grid::Once(BEGIN + Duration::from_secs(70)),
        Grid::Never,
    ]
}

/// A run that holds a slot.
#[derive(Debug)]
struct Flight {
    key: Key,
    group: u32,
    began: Timestamp,
    /// Counts against the half of the waiting ones.
    waits: bool,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) schedule: Schedule,
    slots: usize,
    slow: BTreeMap<Key, Slow>,
    /// In the order of their starts; some of keys that were taken off.
    flights: Vec<Flight>,
    /// Keys whose last run was a long one; and the time of the last start of each key. While they are not forgotten.
    waiting: BTreeSet<Key>,
    stamps: BTreeMap<Key, Timestamp>,
    pub(crate) now: Timestamp,
}

impl World {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            schedule: Schedule::new(Slots { runs: slots }),
            slots,
            slow: BTreeMap::new(),
            flights: vec![],
            waiting: BTreeSet::new(),
            stamps: BTreeMap::new(),
            now: BEGIN,
        }
    }

    pub(crate) fn step(&mut self, event: &Event) {
        let keys = keys();
        match event {
            Event::Insert { key, plan } => self.insert(&keys[*key], plan),
            Event::Change { key, plan } => {
                self.schedule.change(&keys[*key], plan.clone(), self.now);
                if let Some(slow) = self.slow.get_mut(&keys[*key]) {
                    slow.change(plan.clone(), self.now);
                }
            }
            Event::Remove { key } => self.remove(&keys[*key]),
            Event::Restart { key, away_s, delay_s } => self.restart(&keys[*key], *away_s, *delay_s),
            Event::Pop => drop(self.pop()),
            Event::PopAll => self.pop_all(),
            Event::Finish { nth, ago_ns } => self.end(*nth, Some(Timestamp(self.now.0 - ago_ns))),
            Event::Skip { nth } => self.end(*nth, None),
            Event::Retry { key, in_s } => {
                let at = Timestamp(self.now.0 + in_s * SECOND_NS);
                self.schedule.retry_at(&keys[*key], at);
                if let Some(slow) = self.slow.get_mut(&keys[*key]) {
                    slow.retry = Some(at);
                }
            }
            Event::RunNow { key } => self.run_now(&keys[*key]),
            Event::Slots { runs } => {
                self.slots = *runs;
                self.schedule.set_slots(Slots { runs: *runs });
            }
            Event::Move { ns } => self.now = Timestamp(self.now.0 + ns),
            Event::Absent { ns } => {
                self.now = Timestamp(self.now.0 + ns);
                let absent = |(key, slow): (&Key, &mut Slow)| slow.absent(key, self.now).then(|| key.clone());
                let changed: Vec<Key> = self.slow.iter_mut().filter_map(absent).collect();
                assert_eq!(self.schedule.absent(self.now), changed);
            }
            Event::SetBack { ns } => self.set_back(Duration::from_nanos(ns.unsigned_abs())),
            Event::Sleep => {
                if let Some(at) = self.schedule.next_event() {
                    self.now = self.now.max(at);
                }
            }
        }
        self.compare();
    }

    pub(crate) fn insert(&mut self, key: &Key, plan: &Plan) {
        self.schedule.insert(key.clone(), plan.clone(), None, self.now);
        match self.slow.get_mut(key) {
            Some(slow) => slow.change(plan.clone(), self.now),
            None => self.adopt(key, Slow::new(plan.clone(), self.now)),
        }
    }

    /// A run of the key may still be going on from before it was taken off.
    fn adopt(&mut self, key: &Key, mut slow: Slow) {
        slow.running = self.flights.iter().any(|flight| flight.key == *key).then(Run::default);
        slow.last_time = slow.last_time.max(self.stamps.get(key).copied().unwrap_or(Timestamp(i64::MIN)));
        self.slow.insert(key.clone(), slow);
    }

    fn remove(&mut self, key: &Key) {
        let counts = self.slow.remove(key).map(|slow| slow.counts());
        assert_eq!(self.schedule.remove(key), counts);
        self.forget(key);
    }

    fn forget(&mut self, key: &Key) {
        if !self.slow.contains_key(key) && self.flights.iter().all(|flight| flight.key != *key) {
            self.stamps.remove(key);
            self.waiting.remove(key);
        }
    }

    fn restart(&mut self, key: &Key, away_s: i64, delay_s: u64) {
        let Some((counts, last_tick)) = self.schedule.settled(key) else { return };
        let old = self.slow[key].clone();
        self.remove(key);
        self.now = Timestamp(self.now.0 + away_s * SECOND_NS);
        let resume = Resume { counts, last_tick, last_time: old.last_time };
        let plan = Plan { initial_delay: Duration::from_secs(delay_s), ..old.plan };
        self.schedule.insert(key.clone(), plan.clone(), Some(resume), self.now);
        self.adopt(key, Slow::resumed(key, plan, resume, self.now));
    }

    fn set_back(&mut self, by: Duration) {
        self.now = self.now - by;
        self.schedule.set_back(self.now, by);
        for slow in self.slow.values_mut() {
            slow.set_back(self.now, by);
        }
        for flight in &mut self.flights {
            flight.began = flight.began - by;
        }
    }

    /// How many slots may be held: by waiting runs, and by one group.
    fn limits(&self) -> (usize, usize) {
        let groups: BTreeSet<u32> = self.slow.values().map(|slow| slow.plan.group).collect();
        ((self.slots / 2).max(1), (self.slots / groups.len().clamp(1, 4)).max(1))
    }

    fn may_start(&self, key: &Key) -> bool {
        let (half, share) = self.limits();
        let group = self.slow[key].plan.group;
        let in_flight = |counts: &dyn Fn(&Flight) -> bool| self.flights.iter().filter(|flight| counts(flight)).count();
        self.flights.len() < self.slots
            && in_flight(&|flight| flight.group == group) < share
            && (!self.waiting.contains(key) || in_flight(&|flight| flight.waits) < half)
    }

    /// Who wants to start when, of those that have a slot to start in.
    fn startable(&self) -> Option<(Timestamp, Key)> {
        let wishes = self.slow.iter().filter_map(|(key, slow)| Some((slow.wants()?, key.clone())));
        wishes.filter(|(_, key)| self.may_start(key)).min()
    }

    /// Whether something started.
    fn pop(&mut self) -> bool {
        for flight in &mut self.flights {
            flight.waits |= self.now > flight.began + WAITS;
        }
        let mut expected = None;
        while expected.is_none() {
            let Some((_, key)) = self.startable().filter(|(at, _)| *at <= self.now) else { break };
            expected = self.slow.get_mut(&key).and_then(|slow| slow.start(&key, self.now));
        }
        let start = self.schedule.pop(self.now);
        assert_eq!(start, expected);
        let Some(start) = start else { return false };
        assert!(self.flights.iter().all(|flight| flight.key != start.key), "one run of a key at a time");
        let earlier = self.stamps.insert(start.key.clone(), start.time);
        assert!(earlier.is_none_or(|earlier| start.time > earlier), "{} not after {earlier:?}", start.time);
        assert!(start.due <= self.now && start.due <= start.time);
        assert!(start.origin == Origin::Schedule || start.due == self.now);
        let (group, waits) = (self.slow[&start.key].plan.group, self.waiting.contains(&start.key));
        self.flights.push(Flight { key: start.key, group, began: self.now, waits });
        let of_group = self.flights.iter().filter(|flight| flight.group == group).count();
        let waiting = self.flights.iter().filter(|flight| flight.waits).count();
        let (half, share) = self.limits();
        assert!(self.flights.len() <= self.slots && of_group <= share && (!waits || waiting <= half));
        true
    }

    pub(crate) fn pop_all(&mut self) {
        while self.pop() {}
        for (key, slow) in &self.slow {
            let left = slow.wants().is_some_and(|at| at <= self.now) && self.may_start(key);
            assert!(!left, "{key} might have started");
        }
    }

    fn end(&mut self, nth: usize, at: Option<Timestamp>) {
        if self.flights.is_empty() {
            return;
        }
        let Flight { key, began, .. } = self.flights.remove(nth % self.flights.len());
        match at {
            Some(at) if at > began + WAITS => drop(self.waiting.insert(key.clone())),
            Some(_) => drop(self.waiting.remove(&key)),
            None => {}
        }
        let counts = self.slow.get_mut(&key).map(|slow| {
            slow.end(at);
            slow.counts()
        });
        self.forget(&key);
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
        assert_eq!(self.schedule.next_event(), self.startable().map(|(at, _)| at));
        assert_eq!(self.schedule.in_flight(), self.flights.len());
        for key in keys() {
            let Some(slow) = self.slow.get(&key) else {
                assert_eq!(self.schedule.settled(&key), None);
                continue;
            };
            let (counts, settled) = self.schedule.settled(&key).expect("the model has it");
            assert!(counts.balanced());
            assert_eq!(counts, slow.counts());
            slow.check(settled);
        }
    }
}

/// A plan without frills.
pub(crate) fn plan(grid: Grid, group: u32) -> Plan {
    Plan { grid, initial_delay: Duration::ZERO, catch_up: CatchUp::Skip, group }
}
