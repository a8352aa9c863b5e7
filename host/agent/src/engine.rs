//! The one loop where everything meets: what is due is started, what has ended becomes a record.
//!
//! - `core`: what it knows and decides, without waiting; `conclude`: from outcomes to records and states
//! - `gate`: maintenance and dependencies; `supervise`: plugins that break; `silences`: what operators know already
//! - `command`: what it is asked for

pub(crate) mod command;
mod conclude;
pub(crate) mod core;
mod gate;
mod silences;
#[cfg(test)]
mod simulation;
pub(crate) mod supervise;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roundsman_model::key::Key;
use roundsman_model::name::CheckName;
use roundsman_model::record::Origin;
use roundsman_model::supervision::{Conduct, Phase, Rules};
use roundsman_model::time::Timestamp;
use roundsman_plugin::job::Report;
use roundsman_schedule::schedule::Start;
use roundsman_store::Entry;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::ends::{Ended, Ends};
use crate::engine::command::Command;
use crate::engine::core::{Away, Core, Past};
use crate::guests::Guests;
use crate::outcome::{self, Outcome};
use crate::shared::{Loaded, PluginSlot, Plugins, Shared};
use crate::stats::ledger::Ledger;
use crate::subject::Prepared;

/// Runs are handed over up to so long before they are due, and wait for the instant where they are carried out: the loop
/// wakes once for many, and what it is late by is nobody's lag.
const AHEAD: Duration = Duration::from_millis(50);
/// So long before the first run that has not been handed over the loop wakes.
const MARGIN: Duration = Duration::from_millis(5);
/// The loop beats at least this often, so that /livez can tell a standstill from a quiet schedule.
const BEAT: Duration = Duration::from_millis(500);
/// How often time alone is asked for what it brought about: a look at every key.
const PASS: Duration = Duration::from_secs(1);
/// So long after the last run that was handed over the loop looks for ends, lest each of them wakes it. Shorter than ends
/// may wait, and longer than most runs take.
const COLLECT: Duration = Duration::from_millis(50);
/// Beyond what a busy machine makes the loop late by: the process or the machine slept, or the clock was set.
const ABSENCE: Duration = Duration::from_secs(2);

/// The run of a check that is part of the agent.
pub(crate) type BuiltIn = Arc<dyn Fn() -> Report + Send + Sync>;

pub(crate) struct Engine {
    clock: Clock,
    core: Core,
    running: HashMap<Key, Running>,
    shared: Arc<Shared>,
    built_in: BuiltIn,
    /// Guests run on threads of their own: one that computes delays other guests, never this loop.
    guests: Guests,
    ends: Ends,
    /// While more runs than this are in flight, none is handed over before it is due: slots are for those that are.
    ahead_limit: usize,
    /// What the counters of each check were told last.
    ledger: Ledger,
    /// The plugins that the core knows of.
    plugins: Arc<Plugins>,
    /// Checks were taken once: by then every plugin file had been seen.
    complete: bool,
    /// When to look for ends.
    collect: Instant,
    /// When the loop last looked.
    looked: Instant,
    /// When time alone was last asked for what it brought about.
    passed: Instant,
}

/// A run in flight. Its check may have been removed, and have come back.
#[derive(Debug)]
struct Running {
    generation: u64,
    /// When it was due, whatever becomes of the clock meanwhile.
    due: Instant,
    task: AbortHandle,
}

/// What an engine begins with.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) slots: u32,
    pub(crate) anchors: Vec<CheckName>,
    pub(crate) rules: Rules,
    pub(crate) past: Past,
}

impl Engine {
    pub(crate) fn new(
        shared: Arc<Shared>,
        guests: Guests,
        clock: Clock,
        built_in: BuiltIn,
        beginning: Beginning,
    ) -> Self {
        let Beginning { slots, anchors, rules, past } = beginning;
        Self {
            clock,
            core: Core::new(slots, anchors, rules, past),
            running: HashMap::new(),
            shared,
            built_in,
            guests,
            ends: Ends::new(),
            ahead_limit: slots as usize / 2,
            ledger: Ledger::default(),
            plugins: Arc::default(),
            complete: false,
            collect: Instant::now(),
            looked: Instant::now(),
            passed: Instant::now(),
        }
    }

    /// Goes on until `stop`; then starts nothing more, and lets what runs come to its end within `grace`.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>, stop: CancellationToken, grace: Duration) {
        while !stop.is_cancelled() {
            self.shared.beat();
            if self.looked.elapsed() > ABSENCE {
                self.core.pardon();
            }
            // Before the clock is followed: what has ended did so by the clock of then, and not across an absence.
            self.finish_ended();
            self.follow_clock();
            self.follow_plugins();
            self.start_due();
            let wake = self.wake_at();
            // While somebody waits for a slot, every end rings.
            self.ends.plan(if self.core.is_tight() { wake + BEAT } else { wake });
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

    /// Notices that nobody was here for a while, and that the clock was set; then what time alone brings about.
    fn follow_clock(&mut self) {
        let instant = Instant::now();
        let slept = instant.duration_since(std::mem::replace(&mut self.looked, instant));
        let (off_ns, suspended) = self.clock.follow().map_or((0, Duration::ZERO), |off| (off.by_ns, off.suspended));
        if off_ns != 0 {
            tracing::info!(off_ms = off_ns / 1_000_000, "followed a correction of the system's clock");
        }
        let (now, off) = (self.clock.now(), Duration::from_nanos(off_ns.unsigned_abs()));
        let forward = if off_ns > 0 { off } else { Duration::ZERO };
        let away = Away { slept: slept + suspended.min(forward), set: forward.saturating_sub(suspended) };
        if away.all() <= ABSENCE {
            self.shared.stats.pause.observe(slept);
        } else {
            let away_ms = u64::try_from(away.all().as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(away_ms, "was not here for a while");
            self.shared.was_away(away.all());
            self.shared.published.put_off(away.set);
            self.core.absent(away, now);
        }
        if off_ns < 0 && off > ABSENCE {
            tracing::warn!(by_ms = off_ns / -1_000_000, "the clock was set back");
            self.core.set_back(off, now);
        }
        if instant.duration_since(self.passed) >= PASS {
            self.passed = instant;
            self.core.pass_time(now);
            self.shared.published.watch(self.core.watched(now));
        }
        self.submit();
    }

    /// Notices files that came, changed and went.
    fn follow_plugins(&mut self) {
        let plugins = self.shared.plugins.load();
        if !Arc::ptr_eq(&plugins, &self.plugins) {
            self.plugins = Arc::clone(&plugins);
            self.take_plugins();
        }
    }

    fn take_plugins(&mut self) {
        let digest = |loaded: &Loaded| loaded.plugin.as_ref().map(|plugin| plugin.digest().to_string().into());
        let seen = self.plugins.iter().map(|(name, loaded)| (name.clone(), digest(loaded))).collect();
        self.core.take_plugins(&seen, self.complete, self.clock.now());
        self.submit();
    }

    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let awaits_ends = self.collect > now && !self.running.is_empty();
        let beat = if awaits_ends { self.collect.min(now + BEAT) } else { now + BEAT };
        let early = if self.may_go_ahead() { MARGIN } else { Duration::ZERO };
        match self.core.next_event() {
            Some(due) => self.clock.instant_of(due - early).min(beat),
            None => beat,
        }
    }

    fn may_go_ahead(&self) -> bool {
        self.core.in_flight() < self.ahead_limit
    }

    fn start_due(&mut self) {
        let now = self.clock.now();
        while let Some(due) = self.core.next_event() {
            let horizon = if self.may_go_ahead() { now + AHEAD } else { now };
            if due > horizon {
                break;
            }
            // One that lies ahead is popped as of its own instant, lest several ticks of a key count as passed.
            if let Some(start) = self.core.pop(due.max(now)) {
                self.shared.stats.queue.observe(now.since(start.due));
                self.begin(start);
            }
            self.submit();
        }
    }

    /// False: there was nothing.
    fn finish_ended(&mut self) -> bool {
        let mut ended = Vec::new();
        self.ends.take(&mut ended);
        let any = !ended.is_empty();
        for ended in ended {
            self.finish(ended);
        }
        any
    }

    fn begin(&mut self, start: Start) {
        let Some((subject, job)) = self.core.subject(&start.key).zip(self.core.job(&start)) else {
            debug_assert!(false, "the schedule holds what subjects hold");
            return;
        };
        let (plugin, generation) = (subject.prepared.plugin(), subject.generation);
        let slot = self.shared.plugin(plugin);
        if let (PluginSlot::Ready(_), Some(why)) = (&slot, subject.prepared.barred.clone()) {
            let outcome = Outcome::barred(why, self.clock.now().max(start.due));
            self.core.finished(&start, generation, outcome);
            return;
        }
        match slot {
            PluginSlot::Ready(plugin) => self.spawn(start, generation, async move { plugin.run(job).await }),
            PluginSlot::BuiltIn => {
                let built_in = self.built_in.clone();
                self.spawn(start, generation, async move { built_in() });
            }
            PluginSlot::Compiling => {
                self.core.skip(&start.key);
                self.shared.published.disappoint(&start.key);
            }
            PluginSlot::Unusable { why, blame } => {
                let outcome = Outcome::without_plugin(why, blame, self.clock.now().max(start.due));
                self.core.finished(&start, generation, outcome);
            }
        }
    }

    fn spawn(&mut self, start: Start, generation: u64, run: impl Future<Output = Report> + Send + 'static) {
        let (at, needed_by) = (self.clock.instant_of(start.due), needed_by(&self.clock, &start));
        let key = start.key.clone();
        let ticket = self.ends.ticket(start, generation, needed_by);
        let task = self.guests.spawn(at, run, ticket);
        self.collect = self.collect.max(at + COLLECT);
        self.running.insert(key, Running { generation, due: at, task });
        self.shared.stats.in_flight(1);
    }

    fn finish(&mut self, ended: Ended) {
        self.shared.stats.in_flight(-1);
        let key = &ended.start.key;
        let mut due = self.clock.instant_of(ended.start.due);
        if let Some(running) = self.running.get(key).filter(|running| running.generation == ended.generation) {
            due = running.due;
            self.running.remove(key);
        }
        let outcome = match ended.report {
            Some(report) => outcome::of_report(report, &self.clock, due),
            None => Outcome::died(self.clock.now()),
        };
        if let Some(subject) = self.core.subject(key).filter(|subject| subject.generation == ended.generation) {
            self.shared.stats.observe(subject.prepared.plugin().as_str(), &outcome);
        }
        self.core.finished(&ended.start, ended.generation, outcome);
        self.submit();
    }

    /// Hands to the store what it is to be told; what comes after the commit is the publisher's.
    fn submit(&mut self) {
        for (key, why) in self.core.reasons() {
            self.shared.published.skipped(&key, why);
        }
        for entry in self.core.drain() {
            let key = entry.key().cloned();
            let gone = matches!(entry, Entry::Forget { .. });
            self.ledger.note(&self.shared.stats.checks, &entry);
            report(&entry);
            let Err(refused) = self.shared.store().submit(entry) else { continue };
            self.shared.stats.lost(&refused);
            if let Some(key) = key {
                // Who waits for the record would wait in vain.
                self.shared.published.disappoint(&key);
                if gone {
                    self.shared.published.forgotten(&key);
                }
            }
        }
    }

    fn obey(&mut self, command: Command) {
        let now = self.clock.now();
        // Who asked may have gone.
        match command {
            Command::Checks { checks, taken } => {
                self.take_checks(checks, now);
                self.submit();
                taken.send(()).ok();
            }
            Command::RunNow { key, reply } => drop(reply.send(self.core.run_now(&key, now))),
            Command::Push { pushed, reply } => {
                let answer = self.core.push(*pushed, now);
                self.submit();
                reply.send(answer).ok();
            }
            Command::Silence { silence, reply } => {
                let answer = self.core.silence(silence, now);
                self.submit();
                reply.send(answer).ok();
            }
            Command::Release { plugin, reply } => {
                let answer = self.core.release(&plugin, now);
                self.submit();
                reply.send(answer).ok();
            }
            Command::Unsilence { id, reply } => {
                let answer = self.core.unsilence(id);
                self.submit();
                reply.send(answer).ok();
            }
        }
    }

    fn take_checks(&mut self, checks: Vec<Prepared>, now: Timestamp) {
        self.follow_plugins();
        if !std::mem::replace(&mut self.complete, true) {
            self.take_plugins();
        }
        for prepared in &checks {
            self.shared.published.configure(prepared, self.core.past(prepared.key()), now);
        }
        for key in self.core.take_checks(checks, now) {
            if let Some(running) = self.running.remove(&key) {
                running.task.abort();
            }
            self.shared.published.leave(&key);
        }
    }

    /// Runs in flight end by themselves at their deadline at the latest; what is still there after `grace` is cut, and
    /// its tick is counted as missed by the next life of the agent.
    async fn wind_down(&mut self, grace: Duration) {
        let until = Instant::now() + grace;
        // From now on every end rings.
        self.ends.plan(until + BEAT);
        loop {
            self.finish_ended();
            if self.running.is_empty() || tokio::time::timeout_at(until.into(), self.ends.ring()).await.is_err() {
                break;
            }
        }
        for (_, running) in self.running.drain() {
            running.task.abort();
        }
        self.submit();
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("core", &self.core).finish_non_exhaustive()
    }
}

/// Says in the log how a plugin behaves, where that changed.
fn report(entry: &Entry) {
    let (plugin, conduct): (_, Option<&Conduct>) = match entry {
        Entry::Record(recorded) if recorded.conduct.is_some() => (&recorded.record.plugin, recorded.conduct.as_deref()),
        Entry::Supervised { plugin, conduct } => (plugin, conduct.as_deref()),
        _ => return,
    };
    match conduct.map(|conduct| (conduct, conduct.phase)) {
        None => tracing::info!(%plugin, "the plugin begins anew: its file changed or went, or it was released"),
        Some((_, Phase::Running)) => tracing::info!(%plugin, "the plugin runs again: a trial went well"),
        Some((conduct, _)) => tracing::warn!("{}", conduct.words(plugin).unwrap_or_default()),
    }
}

/// When the end of a run has to be known: before the next tick of its key, and at once where somebody waits for it.
fn needed_by(clock: &Clock, start: &Start) -> Instant {
    let until_next = match start.origin {
        Origin::Schedule => Duration::from_nanos(start.interval_ns),
        Origin::Retry | Origin::RunNow | Origin::CatchUp | Origin::Pushed | Origin::Expired => Duration::ZERO,
    };
    clock.instant_of(start.due + until_next.saturating_sub(MARGIN))
}
