//! What the agent knows of itself at one moment, and what happened between two looks.

use std::sync::Arc;
use std::time::Duration;

use roundsman_model::counts::Counts;
use roundsman_store::Health;
use roundsman_web::sample::Process;

use crate::cgroup::{Cpu, Reading};
use crate::selfcheck::age::Marks;
use crate::stats::Distribution;

/// Everything at one moment. What is counted, is counted since the start of the agent or longer.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// Since an arbitrary beginning.
    pub(super) at: Duration,
    pub(super) lag: Distribution,
    pub(super) queue: Distribution,
    pub(super) run: Distribution,
    /// The longest time between two beats of the engine's loop since the look before.
    pub(super) pause: Duration,
    pub(super) ticks: Counts,
    pub(super) faulty_runs: u64,
    pub(super) runs_in_flight: u64,
    pub(super) slots: u64,
    pub(super) guest_memory_bytes: u64,
    pub(super) guest_memory_limit_bytes: u64,
    /// Plugins that wait for their machine code.
    pub(super) compiling: u64,
    pub(super) process: Option<Process>,
    pub(super) cgroup: Reading,
    pub(super) store: Health,
    pub(super) store_max_bytes: u64,
    /// Records that will never be in the store.
    pub(super) lost: u64,
    /// Entries that the store has taken.
    pub(super) committed: u64,
    pub(super) destinations: Vec<DestinationFacts>,
    /// Plugins that are quarantined, and why, in words.
    pub(super) quarantined: Vec<(Arc<str>, Arc<str>)>,
}

#[derive(Debug, Clone)]
pub(super) struct DestinationFacts {
    pub(super) name: Arc<str>,
    /// Not acknowledged yet.
    pub(super) rows: u64,
    pub(super) failures: u64,
    /// Points that it will never take.
    pub(super) rejected: u64,
    /// Why nothing goes out.
    pub(super) held: Option<String>,
}

/// What happened between two looks, beside what is so at the second.
#[derive(Debug)]
pub(super) struct Window<'a> {
    pub(super) now: &'a Facts,
    pub(super) span: Duration,
    pub(super) away: Option<Duration>,
    pub(super) lag: Distribution,
    pub(super) queue: Distribution,
    pub(super) run: Distribution,
    pub(super) ticks: Counts,
    pub(super) faulty_runs: u64,
    pub(super) cpu_seconds: Option<f64>,
    pub(super) throttled: Option<Cpu>,
    pub(super) oom_kills: u64,
    pub(super) lost: u64,
    /// Records deleted before every destination had them.
    pub(super) dropped: u64,
    pub(super) destinations: Vec<Behind<'a>>,
}

/// How a destination follows.
#[derive(Debug)]
pub(super) struct Behind<'a> {
    pub(super) now: &'a DestinationFacts,
    pub(super) oldest: Duration,
    pub(super) failures: u64,
    pub(super) rejected: u64,
}

impl<'a> Window<'a> {
    pub(super) fn between(before: &Facts, now: &'a Facts, marks: &Marks, away: Option<Duration>) -> Self {
        let throttled = now.cgroup.cpu.zip(before.cgroup.cpu).and_then(|(now, before)| now.since(&before));
        let seconds = |facts: &Facts| facts.process.map(|process| process.cpu_seconds);
        let behind = |destination: &'a DestinationFacts| {
            let earlier = before.destinations.iter().find(|earlier| earlier.name == destination.name);
            let (failures, rejected) = earlier.map_or((0, 0), |earlier| (earlier.failures, earlier.rejected));
            Behind {
                now: destination,
                oldest: marks.age(now.at, now.committed, destination.rows),
                failures: destination.failures.saturating_sub(failures),
                rejected: destination.rejected.saturating_sub(rejected),
            }
        };
        Self {
            now,
            span: now.at.saturating_sub(before.at),
            away,
            lag: now.lag.since(&before.lag),
            queue: now.queue.since(&before.queue),
            run: now.run.since(&before.run),
            ticks: minus(now.ticks, before.ticks),
            faulty_runs: now.faulty_runs.saturating_sub(before.faulty_runs),
            cpu_seconds: seconds(now).zip(seconds(before)).map(|(now, before)| (now - before).max(0.0)),
            throttled,
            oom_kills: more(now.cgroup.oom_kills, before.cgroup.oom_kills),
            lost: now.lost.saturating_sub(before.lost),
            dropped: now.store.dropped_unsent.saturating_sub(before.store.dropped_unsent),
            destinations: now.destinations.iter().map(behind).collect(),
        }
    }

    /// In how many of a hundred periods the agent was made to wait.
    pub(super) fn throttled_percent(&self) -> Option<f64> {
        self.throttled?.throttled_percent()
    }

    /// Of one processor.
    pub(super) fn cpu_percent(&self) -> Option<f64> {
        let seconds = self.span.as_secs_f64();
        self.cpu_seconds.filter(|_| seconds > 0.0).map(|used| used * 100.0 / seconds)
    }
}

fn minus(now: Counts, before: Counts) -> Counts {
    Counts {
        due: now.due.saturating_sub(before.due),
        run: now.run.saturating_sub(before.run),
        missed: now.missed.saturating_sub(before.missed),
        overlap: now.overlap.saturating_sub(before.overlap),
        skipped: now.skipped.saturating_sub(before.skipped),
    }
}

/// A counter that was not there before says nothing of the time between.
fn more(now: Option<u64>, before: Option<u64>) -> u64 {
    now.zip(before).map_or(0, |(now, before)| now.saturating_sub(before))
}
