//! One key of the model: it looks at every tick one by one, and remembers what became of it.

use std::time::Duration;

use roundsman_model::check::CatchUp;
use roundsman_model::counts::Counts;
use roundsman_model::key::Key;
use roundsman_model::record::Origin;
use roundsman_model::time::Timestamp;
use roundsman_schedule::grid::Grid;
use roundsman_schedule::schedule::{Plan, Resume, Start};

const NS: Duration = Duration::from_nanos(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A tick, and how often the clock had been set back over the key's ticks when it passed.
type Tick = (u32, Timestamp);

#[derive(Debug, Clone)]
pub(crate) struct Slow {
    pub(crate) plan: Plan,
    /// From an earlier life.
    counts: Counts,
    fates: Vec<(Tick, Fate)>,
    epoch: u32,
    /// Ticks up to here have been looked at.
    seen: Timestamp,
    pub(crate) last_time: Timestamp,
    pub(crate) retry: Option<Timestamp>,
    pub(crate) run_now: Option<Timestamp>,
    /// And how late it may be.
    catch_up: Option<(Timestamp, Option<Timestamp>)>,
    pub(crate) running: Option<Run>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Run,
    Missed,
    Overlap,
    Skipped,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Run {
    tick: Option<Tick>,
    overlapped: Vec<Tick>,
}

impl Slow {
    pub(crate) fn new(plan: Plan, now: Timestamp) -> Self {
        Self {
            seen: now + plan.initial_delay,
            plan,
            counts: Counts::default(),
            fates: vec![],
            epoch: 0,
            last_time: Timestamp(i64::MIN),
            retry: None,
            run_now: None,
            catch_up: None,
            running: None,
        }
    }

    /// In a new life of the agent.
    pub(crate) fn resumed(key: &Key, plan: Plan, resume: Resume, now: Timestamp) -> Self {
        let begin = now + plan.initial_delay;
        let known = resume.last_time.max(resume.last_tick);
        let absent_until = if known > now + MINUTE { now } else { known.max(now) };
        let Resume { counts, last_tick, last_time } = resume;
        let mut slow = Self { counts, last_time, seen: last_tick, ..Self::new(plan, now) };
        let absent = slow.look(absent_until);
        slow.settle(&absent, Fate::Missed);
        slow.seen = begin.max(absent_until);
        if let Some((_, newest)) = absent.last() {
            slow.make_up_for(key, begin, *newest);
        }
        slow
    }

    fn passed(&self, until: Timestamp) -> Vec<Tick> {
        let next = |tick: &Timestamp| self.plan.grid.next_after(*tick);
        let ticks = std::iter::successors(next(&self.seen), next).take_while(|tick| *tick <= until);
        ticks.map(|tick| (self.epoch, tick)).collect()
    }

    /// Takes the ticks that have passed.
    fn look(&mut self, until: Timestamp) -> Vec<Tick> {
        let ticks = self.passed(until);
        self.seen = self.seen.max(until);
        if !ticks.is_empty() {
            self.catch_up = None;
        }
        ticks
    }

    fn settle(&mut self, ticks: &[Tick], fate: Fate) {
        self.fates.extend(ticks.iter().map(|tick| (*tick, fate)));
    }

    pub(crate) fn wants(&self) -> Option<Timestamp> {
        let idle = self.running.is_none();
        let catch_up = self.catch_up.map(|(at, _)| at);
        let wishes = [self.plan.grid.next_after(self.seen), self.retry, self.run_now, catch_up];
        wishes.into_iter().flatten().min().filter(|_| idle)
    }

    pub(crate) fn start(&mut self, key: &Key, now: Timestamp) -> Option<Start> {
        let mut ticks = self.look(now);
        let tick = ticks.pop();
        self.settle(&ticks, Fate::Missed);
        self.catch_up = self.catch_up.filter(|(_, until)| until.is_none_or(|until| now <= until));
        let origin = if tick.is_some() {
            Origin::Schedule
        } else if self.run_now.is_some_and(|at| at <= now) {
            Origin::RunNow
        } else if self.retry.is_some_and(|at| at <= now) {
            Origin::Retry
        } else if self.catch_up.is_some_and(|(at, _)| at <= now) {
            Origin::CatchUp
        } else {
            return None;
        };
        let due = tick.map_or(now, |(_, at)| at);
        let time = due.max(self.last_time + NS);
        let around = tick.map(|(_, at)| at).or_else(|| self.plan.grid.next_after(self.seen));
        let interval = around.and_then(|tick| Some(tick.0 - self.plan.grid.previous(tick)?.0)).unwrap_or(0);
        (self.retry, self.run_now, self.catch_up, self.last_time) = (None, None, None, time);
        self.running = Some(Run { tick, overlapped: vec![] });
        Some(Start { key: key.clone(), origin, due, time, interval_ns: interval.unsigned_abs() })
    }

    pub(crate) fn end(&mut self, at: Option<Timestamp>) {
        let Some(mut run) = self.running.take() else { return };
        if let Some(at) = at {
            run.overlapped.extend(self.look(at - NS));
        }
        let fate = if at.is_some() { Fate::Run } else { Fate::Skipped };
        self.settle(run.tick.as_slice(), fate);
        self.settle(&run.overlapped, Fate::Overlap);
    }

    pub(crate) fn change(&mut self, plan: Plan, now: Timestamp) {
        if plan.catch_up == CatchUp::Skip {
            self.catch_up = None;
        }
        if self.plan.grid != plan.grid {
            let passed = self.look(now);
            match &mut self.running {
                None => self.settle(&passed, Fate::Missed),
                Some(run) => run.overlapped.extend(passed),
            }
        }
        self.plan = plan;
    }

    /// Whether anything was missed.
    pub(crate) fn absent(&mut self, key: &Key, until: Timestamp) -> bool {
        let passed = self.passed(until);
        let Some((_, newest)) = passed.last().filter(|_| self.running.is_none()) else { return false };
        let distance = self.plan.grid.previous(*newest).map_or(Duration::ZERO, |before| newest.since(before));
        let kept = until - (distance / 10).max(Duration::from_secs(1)).min(MINUTE);
        let missed = self.look(if *newest < kept { until } else { kept - NS });
        self.settle(&missed, Fate::Missed);
        if *newest < kept {
            self.make_up_for(key, until, *newest);
        }
        !missed.is_empty()
    }

    fn make_up_for(&mut self, key: &Key, from: Timestamp, newest: Timestamp) {
        let CatchUp::Once { deadline } = self.plan.catch_up else { return };
        let until = deadline.map(|deadline| newest + deadline);
        if until.is_some_and(|until| until < from) {
            return;
        }
        let ends = [self.plan.grid.next_after(self.seen.max(from)), until, Some(from + Duration::from_secs(30))];
        let room = ends.into_iter().flatten().min().map_or(Duration::ZERO, |end| end.since(from));
        // The phase of a grid (with jitter, whose phases are not rounded) is the same hash of the key.
        let Grid::Interval { phase, .. } = Grid::interval(room, 1, key, "") else { unreachable!("an interval") };
        self.catch_up = Some((from + phase, until));
    }

    pub(crate) fn set_back(&mut self, now: Timestamp, by: Duration) {
        self.retry = self.retry.map(|at| at - by);
        self.run_now = self.run_now.map(|at| at - by);
        self.catch_up = self.catch_up.map(|(at, until)| (at - by, until.map(|until| until - by)));
        let old_now = now + by;
        let seen = if self.seen > old_now { self.seen - by } else { self.seen.min(now) };
        self.epoch += u32::from(seen < self.seen);
        self.seen = seen;
    }

    pub(crate) fn counts(&self) -> Counts {
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

    /// One fate for each tick; none is open that is said to be settled, and none settled that is said to be open.
    pub(crate) fn check(&self, settled: Timestamp) {
        let open: Vec<Tick> =
            self.running.iter().flat_map(|run| run.tick.iter().chain(&run.overlapped)).copied().collect();
        let mut all: Vec<Tick> = self.fates.iter().map(|(tick, _)| *tick).chain(open.iter().copied()).collect();
        all.sort_unstable();
        assert!(all.is_sorted_by(|a, b| a < b), "one fate for each tick: {all:?}");
        let of_now = |(epoch, _): &&Tick| *epoch == self.epoch;
        assert!(self.fates.iter().map(|(tick, _)| tick).filter(of_now).all(|(_, tick)| *tick <= settled));
        assert!(open.iter().filter(of_now).all(|(_, tick)| *tick > settled));
    }
}
