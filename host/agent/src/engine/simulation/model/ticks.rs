//! What becomes of the ticks of one key: each is looked at by itself, in a list of those that have passed.

use std::cell::Cell;
use std::time::Duration;

use roundsman_model::check::CatchUp;
use roundsman_model::counts::Counts;
use roundsman_model::hash;
use roundsman_model::key::Key;
use roundsman_model::record::Origin;
use roundsman_model::time::Timestamp;
use roundsman_schedule::grid::Grid;

const NS: Duration = Duration::from_nanos(1);

#[derive(Debug)]
pub(in super::super) struct Ticks {
    key: Key,
    pub(super) grid: Grid,
    catch_up: CatchUp,
    pub(super) group: String,
    pub(in super::super) counts: Counts,
    /// Ticks up to here are not looked at again.
    pub(super) seen: Timestamp,
    /// The first one after that, so that it is not looked for all the time.
    next: Cell<Option<(Timestamp, Option<Timestamp>)>>,
    pub(super) last_time: Timestamp,
    pub(super) run_now: Option<Timestamp>,
    pub(super) retry: Option<Timestamp>,
    catch_up_at: Option<Timestamp>,
    catch_up_until: Option<Timestamp>,
    /// Its last run took long.
    pub(super) slow: bool,
    pub(super) flight: Option<Flight>,
}

/// A run of it.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub(super) on_grid: bool,
    pub(super) settled: Timestamp,
    /// Ticks of a grid that it no longer has.
    pub(super) overlap: u64,
    pub(super) began: Timestamp,
    pub(super) group: String,
    /// It counts among those that wait on the network.
    pub(super) waits: bool,
}

/// What a run begins with.
#[derive(Debug, PartialEq)]
pub(super) struct Begun {
    pub(super) origin: Origin,
    pub(super) due: Timestamp,
    pub(super) time: Timestamp,
    pub(super) interval_ns: u64,
}

/// What an earlier life left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    pub(in super::super) counts: Counts,
    pub(super) last_tick: Timestamp,
    pub(super) last_time: Timestamp,
}

impl Ticks {
    pub(super) fn new(
        key: Key,
        grid: Grid,
        delay: Duration,
        catch_up: CatchUp,
        group: String,
        left: Option<Counted>,
        now: Timestamp,
    ) -> Self {
        let mut ticks = Self {
            key,
            grid,
            catch_up,
            group,
            counts: Counts::default(),
            seen: now + delay,
            next: Cell::new(None),
            last_time: Timestamp(i64::MIN),
            run_now: None,
            retry: None,
            catch_up_at: None,
            catch_up_until: None,
            slow: false,
            flight: None,
        };
        let Some(left) = left else { return ticks };
        // Stamps that lie ahead by up to a minute: those ticks have been run. By more: the clock was set back.
        let known = left.last_time.max(left.last_tick);
        let until = if known.since(now) <= Duration::from_secs(60) { now.max(known) } else { now };
        ticks.counts = left.counts;
        ticks.last_time = left.last_time;
        ticks.seen = left.last_tick;
        let missed = ticks.list(until);
        ticks.miss(missed.len());
        ticks.seen = (now + delay).max(until);
        if let Some(newest) = missed.last() {
            ticks.ask_for_catch_up(now + delay, *newest);
        }
        ticks
    }

    /// Every tick that was not looked at, up to an instant, inclusive.
    fn list(&self, until: Timestamp) -> Vec<Timestamp> {
        let mut list = Vec::new();
        let mut at = self.next();
        while let Some(tick) = at.filter(|tick| *tick <= until) {
            list.push(tick);
            at = self.grid.next_after(tick);
        }
        list
    }

    pub(in super::super) fn none_between(&self, after: Timestamp, until: Timestamp) -> bool {
        self.grid.next_after(after).is_none_or(|next| next > until)
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        match self.next.get() {
            Some((seen, next)) if seen == self.seen => next,
            _ => {
                let next = self.grid.next_after(self.seen);
                self.next.set(Some((self.seen, next)));
                next
            }
        }
    }

    /// Looks at the ticks up to an instant. The first one takes the place of a catch-up.
    fn look(&mut self, until: Timestamp) -> Vec<Timestamp> {
        let list = self.list(until);
        self.seen = self.seen.max(until);
        if !list.is_empty() {
            self.catch_up_at = None;
        }
        list
    }

    fn miss(&mut self, ticks: usize) {
        self.counts.due += ticks as u64;
        self.counts.missed += ticks as u64;
    }

    fn before(&self, tick: Timestamp) -> Option<Timestamp> {
        let mut stride = match &self.grid {
            Grid::Interval { period, .. } => *period * 2,
            Grid::Cron(_) => Duration::from_secs(120),
            Grid::Once(_) | Grid::Never => return None,
        };
        loop {
            let mut at = self.grid.next_after(tick - stride).filter(|at| *at < tick);
            let mut found = None;
            while let Some(earlier) = at {
                found = Some(earlier);
                at = self.grid.next_after(earlier).filter(|at| *at < tick);
            }
            if found.is_some() {
                return found;
            }
            stride *= 4;
        }
    }

    /// Since when it wants to run, if it does by now.
    pub(super) fn wants(&self, now: Timestamp) -> Option<Timestamp> {
        if self.flight.is_some() {
            return None;
        }
        let catch_up = self.catch_up_at.filter(|_| !self.is_late(now));
        [self.next(), self.run_now, self.retry, catch_up].into_iter().flatten().min().filter(|at| *at <= now)
    }

    /// It was to make up for something, and it is too late for that. Its place in the line may still be that of then.
    pub(super) fn is_late(&self, now: Timestamp) -> bool {
        self.catch_up_at.is_some() && self.catch_up_until.is_some_and(|until| until < now)
    }

    /// It is begun now: the newest tick, or else what was asked for.
    pub(super) fn begin(&mut self, now: Timestamp) -> Option<Begun> {
        let ticks = self.look(now);
        let due_by = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        let late = self.is_late(now);
        let (origin, due, settled) = if let Some(newest) = ticks.last() {
            self.miss(ticks.len() - 1);
            (Origin::Schedule, *newest, *newest - NS)
        } else if due_by(self.run_now) {
            (Origin::RunNow, now, self.seen)
        } else if due_by(self.retry) {
            (Origin::Retry, now, self.seen)
        } else if due_by(self.catch_up_at) && !late {
            (Origin::CatchUp, now, self.seen)
        } else {
            return None;
        };
        let to = if origin == Origin::Schedule { Some(due) } else { self.next() };
        let interval_ns = to.and_then(|to| Some((to.0 - self.before(to)?.0) as u64)).unwrap_or(0);
        let time = due.max(Timestamp(self.last_time.0.saturating_add(1)));
        self.last_time = time;
        (self.run_now, self.retry, self.catch_up_at, self.catch_up_until) = (None, None, None, None);
        let on_grid = origin == Origin::Schedule;
        let (group, waits) = (self.group.clone(), self.slow);
        self.flight = Some(Flight { on_grid, settled, overlap: 0, began: now, group, waits });
        Some(Begun { origin, due, time, interval_ns })
    }

    /// The end of the run, with or without a record.
    pub(super) fn end(&mut self, ran_until: Option<Timestamp>) {
        let Some(flight) = self.flight.take() else { return };
        let mut overlap = flight.overlap;
        if let Some(at) = ran_until {
            overlap += self.look(at - NS).len() as u64;
            self.slow = at.since(flight.began) > Duration::from_millis(50);
        }
        self.counts.overlap += overlap;
        self.counts.due += overlap + u64::from(flight.on_grid);
        match ran_until {
            Some(_) => self.counts.run += u64::from(flight.on_grid),
            None => self.counts.skipped += u64::from(flight.on_grid),
        }
    }

    pub(super) fn settled(&self) -> Timestamp {
        self.flight.as_ref().map_or(self.seen, |flight| flight.settled)
    }

    pub(super) fn change(&mut self, grid: Grid, catch_up: CatchUp, group: String, now: Timestamp) {
        (self.group, self.catch_up) = (group, catch_up);
        if catch_up == CatchUp::Skip {
            self.catch_up_at = None;
        }
        if self.grid == grid {
            return;
        }
        let passed = self.look(now).len();
        match &mut self.flight {
            Some(flight) => flight.overlap += passed as u64,
            None => self.miss(passed),
        }
        self.grid = grid;
        self.next.set(None);
    }

    /// Nobody was there until now. Whether it missed something.
    pub(super) fn absent(&mut self, until: Timestamp) -> bool {
        if self.flight.is_some() {
            return false;
        }
        let ticks = self.list(until);
        let Some(newest) = ticks.last() else { return false };
        let distance = self.before(*newest).map_or(Duration::ZERO, |before| newest.since(before));
        let young = (distance / 10).clamp(Duration::from_secs(1), Duration::from_secs(60));
        let missed = ticks.iter().filter(|tick| **tick < until - young).count();
        let all = missed == ticks.len();
        self.look(if all { until } else { until - young - NS });
        self.miss(missed);
        if all {
            self.ask_for_catch_up(until, *newest);
        }
        missed > 0
    }

    fn ask_for_catch_up(&mut self, from: Timestamp, newest: Timestamp) {
        let CatchUp::Once { deadline } = self.catch_up else { return };
        let until = deadline.map(|deadline| newest + deadline);
        if until.is_some_and(|until| until < from) {
            return;
        }
        // Half a minute, unless the next tick or the deadline comes first.
        let ends = [Some(from + Duration::from_secs(30)), self.next(), until];
        let room_ns = ends.into_iter().flatten().min().unwrap().since(from).as_nanos().max(1) as u64;
        let hash = hash::stable(&["", self.key.check.as_str(), self.key.target_or_empty()]);
        self.catch_up_at = Some(from + Duration::from_nanos(hash % room_ns));
        self.catch_up_until = until;
    }

    pub(super) fn set_back(&mut self, now: Timestamp, by: Duration) {
        for at in [&mut self.run_now, &mut self.retry, &mut self.catch_up_at, &mut self.catch_up_until] {
            *at = at.map(|at| at - by);
        }
        // Whoever looked ahead still does, by as much.
        self.seen = self.seen.min(now.max(self.seen - by));
        if let Some(flight) = &mut self.flight {
            flight.began = flight.began - by;
            flight.settled = flight.settled.min(self.seen);
        }
    }

    pub(super) fn forget_wishes(&mut self) {
        (self.run_now, self.retry, self.catch_up_at) = (None, None, None);
    }
}
