//! One (check, target) of the schedule: what it waits for, and what became of each of its ticks.
//!
//! Ticks are settled lazily: nothing happens while an entry runs or waits for a slot, and what passed meanwhile is counted
//! in bulk afterwards. So a second tick, or a million, cost the same.

use std::time::Duration;

use roundsman_model::check::CatchUp;
use roundsman_model::counts::Counts;
use roundsman_model::key::Key;
use roundsman_model::record::Origin;
use roundsman_model::time::Timestamp;

use crate::grid::Grid;
use crate::hash;
use crate::schedule::{Plan, Resume, Start};
use crate::slots::{Class, Lane, WAITS};

/// After an absence, a tick may still be started while it is younger than a tenth of the distance between ticks: then it
/// is hardly worse than on time. At least a second, which a machine under load may take for anything; at most a minute,
/// because who looks at a daily check expects it at its hour.
const TOLERANCE_DIVISOR: u32 = 10;
const LEAST_TOLERANCE: Duration = Duration::from_secs(1);
const MOST_TOLERANCE: Duration = Duration::from_secs(60);

/// Runs that make up for an absence spread over so long a time: soon enough for who waits for them, and no herd.
const CATCH_UP_SPREAD: Duration = Duration::from_secs(30);

/// If what was last stamped lies ahead by no more, ticks up to there have been run before, and do not come again. If it
/// lies further ahead, the clock has been set back, and nothing can wait for that.
const MOST_AHEAD: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Entry {
    grid: Grid,
    catch_up: CatchUp,
    lane: Lane,
    counts: Counts,
    /// Ticks up to here have been looked at. While nothing runs, `counts` knows what became of them, and of no others.
    seen: Timestamp,
    /// The first tick after `seen`. None: there is no more.
    next: Option<Timestamp>,
    /// The tick before `next`, where it is known without a search.
    before: Option<Timestamp>,
    /// The time of the last start: the next one has to be later.
    last_time: Timestamp,
    wishes: Wishes,
    running: Option<Running>,
    /// Where it stands in the lines of the schedule.
    pub(crate) queued: Option<(Timestamp, Lane)>,
    /// Taken off while it ran: it is kept until the run ends, so that nothing with its key starts beside it.
    pub(crate) removed: bool,
}

/// Runs that are asked for beside the grid, each at its instant.
#[derive(Debug, Default)]
struct Wishes {
    run_now: Option<Timestamp>,
    retry: Option<Timestamp>,
    catch_up: Option<Timestamp>,
    /// The last instant at which the catch-up may begin. None: any before the next tick.
    catch_up_until: Option<Timestamp>,
}

#[derive(Debug)]
struct Running {
    on_grid: bool,
    /// While it runs, `counts` knows the fate of the ticks up to here: those before its own.
    settled: Timestamp,
    /// Ticks of a former grid that found it running.
    overlap: u64,
    began: Timestamp,
    /// Whose slots it uses, whatever the entry's are by now.
    group: u32,
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
    /// A new one. Its first tick comes after its initial delay.
    pub(crate) fn new(key: &Key, plan: Plan, resume: Option<Resume>, now: Timestamp) -> Self {
        let begin = now + plan.initial_delay;
        let mut entry = Self {
            next: None,
            grid: plan.grid,
            catch_up: plan.catch_up,
            lane: Lane { class: Class::Brief, group: plan.group },
            counts: Counts::default(),
            seen: begin,
            before: None,
            last_time: Timestamp(i64::MIN),
            wishes: Wishes::default(),
            running: None,
            queued: None,
            removed: false,
        };
        let mut newest_missed = None;
        if let Some(resume) = resume {
            let known = resume.last_time.max(resume.last_tick);
            let absent_until = if known.since(now) <= MOST_AHEAD { now.max(known) } else { now };
            let missed = entry.grid.count(resume.last_tick, absent_until);
            entry.counts = resume.counts;
            miss(&mut entry.counts, missed);
            entry.last_time = resume.last_time;
            entry.seen = begin.max(absent_until);
            newest_missed = if missed > 0 { entry.latest(absent_until) } else { None };
        }
        entry.next = entry.grid.next_after(entry.seen);
        if let Some(newest) = newest_missed {
            entry.ask_for_catch_up(key, begin, newest);
        }
        entry
    }

    /// Takes over the run of a removed entry with the same key: none of its ticks began it.
    pub(crate) fn inherit(&mut self, old: &Entry) {
        self.last_time = self.last_time.max(old.last_time);
        self.lane.class = old.lane.class;
        let take_over = |old: &Running| Running { on_grid: false, settled: self.seen, overlap: 0, ..*old };
        self.running = old.running.as_ref().map(take_over);
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

    /// Since when it runs, and whose slot it holds.
    pub(crate) fn slot(&self) -> Option<(Timestamp, u32)> {
        self.running.as_ref().map(|running| (running.began, running.group))
    }

    pub(crate) fn lane(&self) -> Lane {
        self.lane
    }

    pub(crate) fn retry_at(&mut self, at: Timestamp) {
        self.wishes.retry = Some(at);
    }

    pub(crate) fn run_now(&mut self, now: Timestamp) {
        self.wishes.run_now.get_or_insert(now);
    }

    /// When it wants to start; in the past while it waits for a slot. None: not before its run has ended.
    pub(crate) fn wants(&self) -> Option<Timestamp> {
        if self.running.is_some() {
            return None;
        }
        [self.next, self.wishes.run_now, self.wishes.retry, self.wishes.catch_up].into_iter().flatten().min()
    }

    /// Begins what is due: the newest tick, before which older ones are missed, or else what was asked for off the grid.
    /// None: nothing is due after all.
    pub(crate) fn start(&mut self, key: &Key, now: Timestamp) -> Option<Start> {
        if let Some(start) = self.start_tick(key, now) {
            return Some(start);
        }
        let origin = self.wishes.due(now)?;
        self.before = self.before.or_else(|| self.grid.previous(self.next?));
        let interval_ns = distance_ns(self.before, self.next);
        Some(self.begin(key, origin, now, now, self.seen, interval_ns))
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
        miss(&mut self.counts, ticks - 1);
        let previous = before_first.filter(|_| ticks == 1).or_else(|| self.grid.previous(tick));
        let interval_ns = distance_ns(previous, Some(tick));
        Some(self.begin(key, Origin::Schedule, now, tick, Timestamp(tick.0.saturating_sub(1)), interval_ns))
    }

    fn begin(
        &mut self,
        key: &Key,
        origin: Origin,
        began: Timestamp,
        due: Timestamp,
        settled: Timestamp,
        interval_ns: u64,
    ) -> Start {
        // It takes a clock that was set back for the last stamp not to be in the past.
        let time = due.max(Timestamp(self.last_time.0.saturating_add(1)));
        self.last_time = time;
        // The run that begins answers whoever waited for another one.
        self.wishes = Wishes::default();
        let on_grid = origin == Origin::Schedule;
        self.running = Some(Running { on_grid, settled, overlap: 0, began, group: self.lane.group });
        Start { key: key.clone(), origin, due, time, interval_ns }
    }

    /// Ends the run. Ticks that passed meanwhile were overlapped; one at the very instant of the end was not.
    pub(crate) fn end(&mut self, end: End) {
        let Some(running) = self.running.take() else { return };
        let mut overlap = running.overlap;
        if let End::Ran(at) = end {
            overlap += self.pass(Timestamp(at.0.saturating_sub(1)));
            self.lane.class = if at.since(running.began) > WAITS { Class::Waiting } else { Class::Brief };
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

    /// Goes over to another plan. Ticks of the old grid that have passed without a start are settled, unless the new one
    /// is the same.
    pub(crate) fn change(&mut self, plan: Plan, now: Timestamp) {
        self.lane.group = plan.group;
        self.catch_up = plan.catch_up;
        if self.catch_up == CatchUp::Skip {
            self.wishes.catch_up = None;
        }
        if self.grid == plan.grid {
            return;
        }
        let passed = self.pass(now);
        match &mut self.running {
            None => miss(&mut self.counts, passed),
            Some(running) => running.overlap += passed,
        }
        self.next = plan.grid.next_after(self.seen);
        self.before = None;
        self.grid = plan.grid;
    }

    /// Nobody was there until now: ticks that are too old to be started are missed. Says whether there were any.
    pub(crate) fn absent(&mut self, key: &Key, until: Timestamp) -> bool {
        // What passed during a run is an overlap when it ends.
        if self.running.is_some() || self.next.is_none_or(|next| next > until) {
            return false;
        }
        let Some(newest) = self.latest(until) else { return false };
        let distance = self.grid.previous(newest).map_or(Duration::ZERO, |previous| newest.since(previous));
        let tolerance = (distance / TOLERANCE_DIVISOR).clamp(LEAST_TOLERANCE, MOST_TOLERANCE);
        let oldest_kept = until - tolerance;
        let all = newest < oldest_kept;
        let missed = self.pass(if all { until } else { oldest_kept - Duration::from_nanos(1) });
        miss(&mut self.counts, missed);
        if all {
            self.ask_for_catch_up(key, until, newest);
        }
        missed > 0
    }

    /// Asks for a run that makes up for missed ticks, some time after `from`: before the next tick, and not too late.
    fn ask_for_catch_up(&mut self, key: &Key, from: Timestamp, newest_missed: Timestamp) {
        let CatchUp::Once { deadline } = self.catch_up else { return };
        let until = deadline.map(|deadline| newest_missed + deadline);
        if until.is_some_and(|until| until < from) {
            return;
        }
        let rooms = [self.next, until].into_iter().flatten().map(|end| end.since(from));
        let room_ns = rooms.fold(CATCH_UP_SPREAD, Duration::min).as_nanos().max(1);
        let late_ns = u128::from(hash::of_key("", key)) % room_ns;
        let late = Duration::from_nanos(u64::try_from(late_ns).expect("less than the spread"));
        self.wishes.catch_up = Some(from + late);
        self.wishes.catch_up_until = until;
    }

    /// The clock was set back by so much, to `now`: ticks after it lie ahead again, and whatever was meant for an instant
    /// of the old time is meant for one that is as far away.
    pub(crate) fn set_back(&mut self, now: Timestamp, by: Duration) {
        let wishes = &mut self.wishes;
        for at in [&mut wishes.run_now, &mut wishes.retry, &mut wishes.catch_up, &mut wishes.catch_up_until] {
            *at = at.map(|at| at - by);
        }
        // What lay ahead of the old time, the end of an initial delay, is as far ahead of the new one.
        let seen = self.seen.min(now.max(self.seen - by));
        if seen < self.seen {
            self.seen = seen;
            self.next = self.grid.next_after(seen);
            self.before = None;
        }
        if let Some(running) = &mut self.running {
            running.began = running.began - by;
            running.settled = running.settled.min(seen);
        }
    }

    /// The last tick up to an instant, inclusive.
    fn latest(&self, until: Timestamp) -> Option<Timestamp> {
        self.grid.previous(until + Duration::from_nanos(1))
    }

    /// Looks at the ticks up to an instant, inclusive, and says how many they are.
    fn pass(&mut self, until: Timestamp) -> u64 {
        self.seen = self.seen.max(until);
        let Some(first) = self.next.filter(|next| *next <= until) else { return 0 };
        // The first tick after an absence takes the place of the run that makes up for it.
        self.wishes.catch_up = None;
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

impl Wishes {
    /// What is to be run now. A catch-up that has become too late is dropped.
    fn due(&mut self, now: Timestamp) -> Option<Origin> {
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        if self.catch_up_until.is_some_and(|until| until < now) {
            self.catch_up = None;
        }
        let wishes = [(self.run_now, Origin::RunNow), (self.retry, Origin::Retry), (self.catch_up, Origin::CatchUp)];
        wishes.into_iter().find(|(at, _)| due(*at)).map(|(_, origin)| origin)
    }
}

/// Counts ticks that could not be kept.
fn miss(counts: &mut Counts, ticks: u64) {
    counts.missed += ticks;
    counts.due += ticks;
}

fn distance_ns(from: Option<Timestamp>, to: Option<Timestamp>) -> u64 {
    from.zip(to).and_then(|(from, to)| u64::try_from(to.0.checked_sub(from.0)?).ok()).unwrap_or(0)
}
