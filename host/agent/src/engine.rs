//! The one loop where everything meets: what is due is started, what has ended becomes a record.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use roundsman_model::counts::Counts;
use roundsman_model::key::Key;
use roundsman_model::record::{Origin, Record};
use roundsman_model::state::Standing;
use roundsman_model::time::Timestamp;
use roundsman_plugin::job::{Job, Memory};
use roundsman_schedule::schedule::{Plan, Resume, Schedule, Slots, Start};
use roundsman_store::{Entry, Recorded};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::ends::{Ended, Ends};
use crate::guests::Guests;
use crate::outcome::{self, Outcome};
use crate::shared::{PluginSlot, Shared};
use crate::subject::{Prepared, Subject};

/// Runs are handed over up to so long before they are due, and wait for the instant where they are carried out: the loop
/// wakes once for many, and what it is late by is nobody's lag.
const AHEAD: Duration = Duration::from_millis(50);
/// So long before the first run that has not been handed over the loop wakes.
const MARGIN: Duration = Duration::from_millis(5);
/// The loop beats at least this often, so that /livez can tell a standstill from a quiet schedule.
const BEAT: Duration = Duration::from_millis(500);

/// What the rest of the agent asks of the engine.
#[derive(Debug)]
pub(crate) enum Command {
    /// The whole set of checks, as it is to be from now on.
    Checks { checks: Vec<Prepared>, taken: oneshot::Sender<()> },
    /// A run off the schedule. The answer says whether it will take place; the record comes by the board.
    RunNow { key: Key, reply: oneshot::Sender<Result<(), NotNow>> },
}

/// Why a run off the schedule does not take place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotNow {
    Unknown,
    Busy,
}

/// What is known from an earlier life of the agent.
#[derive(Debug, Default)]
pub(crate) struct Past {
    pub(crate) subjects: HashMap<Key, roundsman_store::Subject>,
    pub(crate) memories: HashMap<Key, Memory>,
}

pub(crate) struct Engine {
    clock: Clock,
    schedule: Schedule,
    subjects: HashMap<Key, Subject>,
    past: Past,
    shared: Arc<Shared>,
    /// Guests run on threads of their own: one that computes delays other guests, never this loop.
    guests: Guests,
    ends: Ends,
    /// While more runs than this are in flight, none is handed over before it is due: slots are for those that are.
    ahead_limit: usize,
    generation: u64,
}

impl Engine {
    pub(crate) fn new(shared: Arc<Shared>, guests: Guests, slots: u32, past: Past) -> Self {
        Self {
            clock: Clock::start(),
            schedule: Schedule::new(Slots { runs: slots as usize }),
            subjects: HashMap::new(),
            past,
            shared,
            guests,
            ends: Ends::new(),
            ahead_limit: slots as usize / 2,
            generation: 0,
        }
    }

    /// Goes on until `stop`; then starts nothing more, and lets what runs come to its end within `grace`.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>, stop: CancellationToken, grace: Duration) {
        while !stop.is_cancelled() {
            self.shared.beat();
            if let Some(off_ns) = self.clock.follow() {
                tracing::info!(off_ms = off_ns / 1_000_000, "followed a correction of the system's clock");
            }
            self.finish_ended();
            self.start_due();
            let wake = self.wake_at();
            self.ends.plan(wake);
            if self.finish_ended() {
                continue;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = self.ends.ring() => {}
                Some(command) = commands.recv() => self.obey(command),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
        self.wind_down(grace).await;
    }

    fn wake_at(&self) -> Instant {
        let beat = Instant::now() + BEAT;
        let early = if self.may_go_ahead() { MARGIN } else { Duration::ZERO };
        match self.schedule.next_event() {
            Some(due) => self.clock.instant_of(due - early).min(beat),
            None => beat,
        }
    }

    fn may_go_ahead(&self) -> bool {
        self.schedule.in_flight() < self.ahead_limit
    }

    fn start_due(&mut self) {
        let now = self.clock.now();
        while let Some(due) = self.schedule.next_event() {
            let horizon = if self.may_go_ahead() { now + AHEAD } else { now };
            if due > horizon {
                break;
            }
            // One that lies ahead is popped as of its own instant, lest several ticks of a key count as passed.
            if let Some(start) = self.schedule.pop(due.max(now)) {
                self.shared.stats.queue.observe(now.since(start.time));
                self.begin(start);
            }
        }
    }

    /// False: there was nothing.
    fn finish_ended(&mut self) -> bool {
        let mut ended = Vec::new();
        self.ends.take(&mut ended);
        let any = !ended.is_empty();
        ended.into_iter().for_each(|ended| self.finish(ended));
        any
    }

    fn begin(&mut self, start: Start) {
        let Some(subject) = self.subjects.get_mut(&start.key) else {
            debug_assert!(false, "the schedule holds what subjects hold");
            return;
        };
        match self.shared.plugin(subject.prepared.plugin()) {
            PluginSlot::Ready(plugin) => {
                let (at, needed_by) = (self.clock.instant_of(start.time), needed_by(&self.clock, &start));
                let job = job(subject, &start);
                let ticket = self.ends.ticket(start, subject.generation, needed_by);
                let run = async move { plugin.run(job).await };
                subject.running = Some(self.guests.spawn(at, run, ticket));
                self.shared.stats.in_flight(1);
            }
            PluginSlot::Compiling => {
                self.schedule.skip(&start.key);
                self.persist_counts(&start.key);
                self.shared.published.disappoint(&start.key);
            }
            PluginSlot::Unusable { why, blame } => {
                let outcome = Outcome::without_plugin(why, blame, self.clock.now().max(start.time));
                self.conclude(&start, outcome);
            }
        }
    }

    fn finish(&mut self, ended: Ended) {
        self.shared.stats.in_flight(-1);
        let subject = self.subjects.get_mut(&ended.start.key);
        let Some(subject) = subject.filter(|subject| subject.generation == ended.generation) else {
            // Its check was removed meanwhile: only the slot is of interest.
            self.schedule.finished(&ended.start.key, self.clock.now());
            return;
        };
        subject.running = None;
        let outcome = match ended.report {
            Some(report) => outcome::of_report(report, &self.clock, ended.start.time),
            None => Outcome::died(self.clock.now()),
        };
        self.shared.stats.observe(subject.prepared.plugin().as_str(), &outcome);
        self.conclude(&ended.start, outcome);
    }

    /// Makes a record of an outcome and hands it to the store; what comes after the commit is the publisher's.
    fn conclude(&mut self, start: &Start, outcome: Outcome) {
        // The run's own end: what this loop is late by must not look like an overlap.
        self.schedule.finished(&start.key, outcome.ended);
        let (counts, last_tick) = self.schedule.settled(&start.key).unwrap_or((Counts::default(), start.time));
        let Some(subject) = self.subjects.get_mut(&start.key) else { return };
        let prepared = &subject.prepared;
        let attempt = subject.standing.attempt(outcome.status);
        let (standing, change) = subject.standing.apply(outcome.status, prepared.thresholds(), start.time);
        subject.standing = standing;
        subject.previous = Some(outcome.status);
        let entry = Recorded {
            tags: prepared.tags.clone(),
            change,
            memory: outcome.memory,
            counts,
            last_tick,
            log: outcome.log,
            record: Record {
                key: start.key.clone(),
                plugin: prepared.plugin().clone(),
                origin: start.origin,
                time: start.time,
                started: outcome.started,
                status: outcome.status,
                blame: outcome.blame,
                code: outcome.code,
                summary: outcome.summary,
                standing,
                attempt,
                latency_ns: outcome.latency_ns,
                duration_ns: outcome.duration_ns,
                lag_ns: outcome.lag_ns,
                cpu_ns: outcome.cpu_ns,
                interval_ns: start.interval_ns,
                points: outcome.points,
                findings: outcome.findings,
            },
        };
        let retry = prepared.check.retry_interval.filter(|_| standing.soft.is_some());
        subject.remember(&entry.memory);
        if let Some(retry) = retry {
            self.schedule.retry_at(&start.key, entry.record.started + retry);
        }
        self.submit(Entry::Record(Box::new(entry)));
    }

    fn persist_counts(&mut self, key: &Key) {
        if let Some((counts, last_tick)) = self.schedule.settled(key) {
            self.submit(Entry::Counted { key: key.clone(), counts, last_tick });
        }
    }

    fn submit(&self, entry: Entry) {
        let key = entry.key().clone();
        if let Err(refused) = self.shared.store().submit(entry) {
            self.shared.stats.lost(&refused);
            // Who waits for the record would wait in vain.
            self.shared.published.disappoint(&key);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Checks { checks, taken } => {
                self.take_checks(checks);
                // Who sent them may have gone.
                taken.send(()).ok();
            }
            Command::RunNow { key, reply } => {
                let answer = if self.subjects.contains_key(&key) {
                    self.schedule.run_now(&key, self.clock.now()).map_err(|_| NotNow::Busy)
                } else {
                    Err(NotNow::Unknown)
                };
                // Who asked may have gone.
                reply.send(answer).ok();
            }
        }
    }

    /// Touches only what differs: everything else keeps its phase, its state and its run in flight.
    fn take_checks(&mut self, checks: Vec<Prepared>) {
        let now = self.clock.now();
        let mut gone: HashSet<Key> = self.subjects.keys().chain(self.past.subjects.keys()).cloned().collect();
        for prepared in checks {
            let key = prepared.key().clone();
            gone.remove(&key);
            self.shared.published.configure(&prepared, self.past.subjects.get(&key), now);
            match self.subjects.get_mut(&key) {
                Some(subject) if subject.prepared.same_work(&prepared) => {}
                Some(subject) => {
                    let plan = plan(&prepared);
                    subject.prepared = prepared;
                    self.schedule.change(&key, plan, now);
                }
                None => self.add(key, prepared, now),
            }
        }
        gone.iter().for_each(|key| self.remove(key));
    }

    fn add(&mut self, key: Key, prepared: Prepared, now: Timestamp) {
        let past = self.past.subjects.remove(&key);
        let memory = self.past.memories.remove(&key).unwrap_or_default();
        let resume = past.as_ref().filter(|past| past.last_tick.0 > 0).map(|past| Resume {
            counts: past.counts,
            last_tick: past.last_tick,
            last_time: past.high_water,
        });
        self.generation += 1;
        let standing = past.as_ref().and_then(|past| past.standing).unwrap_or_else(|| Standing::pending(now));
        self.schedule.insert(key.clone(), plan(&prepared), resume, now);
        let subject = Subject {
            prepared,
            standing,
            previous: past.and_then(|past| past.last_status),
            memory: Arc::new(memory),
            generation: self.generation,
            running: None,
        };
        self.subjects.insert(key.clone(), subject);
        // What was missed meanwhile is shown at once, and the very first tick of a new check is missed, not forgotten,
        // when the agent ends before there is a record.
        self.persist_counts(&key);
    }

    fn remove(&mut self, key: &Key) {
        self.past.subjects.remove(key);
        self.past.memories.remove(key);
        if let Some(subject) = self.subjects.remove(key) {
            self.schedule.remove(key);
            if let Some(running) = subject.running {
                running.abort();
            }
        }
        self.shared.published.remove(key);
        self.submit(Entry::Forget { key: key.clone() });
    }

    /// Runs in flight end by themselves at their deadline at the latest; what is still there after `grace` is cut, and
    /// its tick is counted as missed by the next life of the agent.
    async fn wind_down(&mut self, grace: Duration) {
        let until = Instant::now() + grace;
        // From now on every end rings.
        self.ends.plan(until + BEAT);
        loop {
            self.finish_ended();
            let running = self.subjects.values().any(|subject| subject.running.is_some());
            if !running || tokio::time::timeout_at(until.into(), self.ends.ring()).await.is_err() {
                break;
            }
        }
        for subject in self.subjects.values_mut() {
            if let Some(running) = subject.running.take() {
                running.abort();
            }
        }
    }
}

fn plan(prepared: &Prepared) -> Plan {
    Plan { grid: prepared.grid.clone(), initial_delay: prepared.check.initial_delay }
}

fn job(subject: &Subject, start: &Start) -> Arc<Job> {
    Arc::new(Job {
        assignment: subject.prepared.assignment.clone(),
        scheduled: start.time,
        attempt: 1 + subject.standing.soft.map_or(0, |soft| soft.count),
        previous: subject.previous,
        memory: subject.memory.clone(),
        timeout: subject.prepared.check.timeout,
    })
}

/// When the end of a run has to be known: before the next tick of its key, and at once where somebody waits for it.
fn needed_by(clock: &Clock, start: &Start) -> Instant {
    let until_next = match start.origin {
        Origin::Schedule => Duration::from_nanos(start.interval_ns),
        Origin::Retry | Origin::RunNow => Duration::ZERO,
    };
    clock.instant_of(start.time + until_next.saturating_sub(MARGIN))
}
