//! One (check, target) of the schedule: what it waits for, and what became of each of its ticks.
//!
//! Ticks are settled lazily: nothing happens while an entry runs or waits for a slot, and what passed meanwhile is counted
//! in bulk afterwards. So a second tick, or a million, cost the same.

use roundsman_model::counts::Counts;
use roundsman_model::key::Key;
use roundsman_model::record::Origin;
use roundsman_model::time::Timestamp;

use crate::grid::Grid;
use crate::schedule::{Resume, Start};

#[derive(Debug)]
pub(crate) struct Entry {
    grid: Grid,
    counts: Counts,
    /// Ticks up to here have been looked at. While nothing runs, `counts` knows what became of them, and of no others.
    seen: Timestamp,
    /// The first tick after `seen`. None: there is no more.
    next: Option<Timestamp>,
    /// The tick before `next`, where it is known without a search.
    before: Option<Timestamp>,
    /// The time of the last start: the next one has to be later.
    last_time: Timestamp,
    retry: Option<Timestamp>,
    run_now: Option<Timestamp>,
    running: Option<Running>,
    /// Where it stands in the order of the schedule.
    pub(crate) queued: Option<Timestamp>,
    /// Taken off while it ran: it is kept until the run ends, so that nothing with its key starts beside it.
    pub(crate) removed: bool,
}

#[derive(Debug)]
struct Running {
    on_grid: bool,
    /// While it runs, `counts` knows the fate of the ticks up to here: those before its own.
    settled: Timestamp,
    /// Ticks of a former grid that found it running.
    overlap: u64,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With a record, at this instant.
    Ran(Timestamp),
    /// It was not to be run.
    Skipped,
}

impl Entry {
    /// A new one, whose first tick comes after `begin`.
    pub(crate) fn new(grid: Grid, resume: Option<Resume>, now: Timestamp, begin: Timestamp) -> Self {
        let (mut counts, mut last_time) = (Counts::default(), Timestamp(i64::MIN));
        let mut seen = now.max(begin);
        if let Some(resume) = resume {
            // Where the clock was set back meanwhile, no instant up to the last known one comes twice.
            let absent_until = now.max(resume.last_time).max(resume.last_tick);
            counts = resume.counts;
            miss(&mut counts, grid.count(resume.last_tick, absent_until));
            last_time = resume.last_time;
            seen = seen.max(absent_until);
        }
        Self {
            next: grid.next_after(seen),
            grid,
            counts,
            seen,
            before: None,
            last_time,
            retry: None,
            run_now: None,
            running: None,
            queued: None,
            removed: false,
        }
    }

    /// Takes over the run of a removed entry with the same key: none of its ticks began it.
    pub(crate) fn inherit(&mut self, old: &Entry) {
        self.last_time = self.last_time.max(old.last_time);
        self.running = old.running.as_ref().map(|_| Running { on_grid: false, settled: self.seen, overlap: 0 });
    }

    pub(crate) fn grid(&self) -> &Grid {
        &self.grid
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// The instant up to which `counts` knows the fate of every tick.
    pub(crate) fn settled(&self) -> Timestamp {
        self.running.as_ref().map_or(self.seen, |running| running.settled)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(crate) fn retry_at(&mut self, at: Timestamp) {
        self.retry = Some(at);
    }

    pub(crate) fn run_now(&mut self, now: Timestamp) {
        self.run_now.get_or_insert(now);
    }

    /// When it wants to start; in the past while it waits for a slot. None: not before its run has ended.
    pub(crate) fn wants(&self) -> Option<Timestamp> {
        if self.running.is_some() {
            return None;
        }
        [self.next, self.retry, self.run_now].into_iter().flatten().min()
    }

    /// Begins what is due: the newest tick, before which older ones are missed, or else what was asked for off the grid.
    /// None: nothing is due after all.
    pub(crate) fn start(&mut self, key: &Key, now: Timestamp) -> Option<Start> {
        if let Some(start) = self.start_tick(key, now) {
            return Some(start);
        }
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        let origin = match (due(self.run_now), due(self.retry)) {
            (true, _) => Origin::RunNow,
            (false, true) => Origin::Retry,
            (false, false) => return None,
        };
        let time = now.max(Timestamp(self.last_time.0.saturating_add(1)));
        self.before = self.before.or_else(|| self.grid.previous(self.next?));
        let interval_ns = distance(self.before, self.next);
        Some(self.begin(key, origin, time, self.seen, interval_ns))
    }

    fn start_tick(&mut self, key: &Key, now: Timestamp) -> Option<Start> {
        let before_first = self.before;
        let ticks = self.pass(now);
        if ticks == 0 {
            return None;
        }
        let end_of_time = Timestamp(i64::MAX);
        let tick = self.before.or_else(|| self.grid.previous(self.next.unwrap_or(end_of_time)))?;
        self.before = Some(tick);
        if tick <= self.last_time {
            // Stamps off the grid have overtaken it, which takes a clock that was set back.
            miss(&mut self.counts, ticks);
            return None;
        }
        miss(&mut self.counts, ticks - 1);
        let previous = before_first.filter(|_| ticks == 1).or_else(|| self.grid.previous(tick));
        let interval_ns = distance(previous, Some(tick));
        Some(self.begin(key, Origin::Schedule, tick, Timestamp(tick.0 - 1), interval_ns))
    }

    fn begin(&mut self, key: &Key, origin: Origin, time: Timestamp, settled: Timestamp, interval_ns: u64) -> Start {
        self.last_time = time;
        // The run that begins answers whoever waited for another one.
        self.retry = None;
        self.run_now = None;
        self.running = Some(Running { on_grid: origin == Origin::Schedule, settled, overlap: 0 });
        Start { key: key.clone(), origin, time, interval_ns }
    }

    /// Ends the run. Ticks that passed meanwhile were overlapped; one at the very instant of the end was not.
    pub(crate) fn end(&mut self, end: End) {
        let Some(running) = self.running.take() else { return };
        let mut overlap = running.overlap;
        if let End::Ran(at) = end {
            overlap += self.pass(Timestamp(at.0.saturating_sub(1)));
        }
        self.counts.overlap += overlap;
        self.counts.due += overlap;
        if running.on_grid {
            self.counts.due += 1;
            match end {
                End::Ran(_) => self.counts.run += 1,
                End::Skipped => self.counts.skipped += 1,
            }
        }
    }

    /// Goes over to another grid. Ticks of the old one that have passed without a start are settled.
    pub(crate) fn change(&mut self, grid: Grid, now: Timestamp) {
        let passed = self.pass(now);
        match &mut self.running {
            None => miss(&mut self.counts, passed),
            Some(running) => running.overlap += passed,
        }
        self.next = grid.next_after(self.seen);
        self.before = None;
        self.grid = grid;
    }

    /// Looks at the ticks up to an instant, inclusive, and says how many they are.
    fn pass(&mut self, until: Timestamp) -> u64 {
        self.seen = self.seen.max(until);
        let Some(first) = self.next.filter(|next| *next <= until) else { return 0 };
        self.next = self.grid.next_after(first);
        self.before = Some(first);
        if self.next.is_none_or(|next| next > until) {
            return 1;
        }
        self.next = self.grid.next_after(until);
        self.before = None;
        1 + self.grid.count(first, until)
    }
}

/// Counts ticks that could not be kept.
fn miss(counts: &mut Counts, ticks: u64) {
    counts.missed += ticks;
    counts.due += ticks;
}

fn distance(from: Option<Timestamp>, to: Option<Timestamp>) -> u64 {
    from.zip(to).and_then(|(from, to)| u64::try_from(to.0.checked_sub(from.0)?).ok()).unwrap_or(0)
}
