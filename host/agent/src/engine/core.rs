//! What the engine knows and decides: which run is next, where every (check, target) stands, what the store is told.
//! Time is an argument, and nothing here waits, reads or writes: the engine does, and so do simulations.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use roundsman_model::check::{CatchUp, Timing};
use roundsman_model::counts::Counts;
use roundsman_model::findings::Findings;
use roundsman_model::key::Key;
use roundsman_model::name::{BUILT_IN, CheckName, PUSHED, PluginName};
use roundsman_model::silence::{Silence, Silences};
use roundsman_model::state::{Standing, State};
use roundsman_model::supervision::{Conduct, Rules};
use roundsman_model::time::Timestamp;
use roundsman_plugin::job::{Job, Memory};
use roundsman_schedule::grid::Grid;
use roundsman_schedule::schedule::{Plan, Resume, Schedule, Slots, Start};
use roundsman_schedule::slots::NO_SHARE;
use roundsman_store::Entry;

use crate::engine::command::NotNow;
use crate::engine::supervise::Watched;
use crate::outcome::Outcome;
use crate::subject::{Prepared, Subject};
use crate::uplink::Uplink;

/// What is known from an earlier life of the agent.
#[derive(Debug, Default)]
pub(crate) struct Past {
    pub(crate) subjects: HashMap<Key, roundsman_store::Subject>,
    pub(crate) memories: HashMap<Key, Memory>,
    pub(crate) findings: HashMap<Key, Findings>,
    pub(crate) silences: Vec<Silence>,
    pub(crate) conducts: HashMap<PluginName, Conduct>,
}

/// What was removed is remembered for so long: a clock that is set back by more has other troubles.
const MARKS_KEPT: Duration = Duration::from_hours(24);

/// For how long nobody was here.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Away {
    /// The process or the machine slept.
    pub(crate) slept: Duration,
    /// The clock was set forward: ticks have passed, but nobody was silent.
    pub(crate) set: Duration,
}

impl Away {
    pub(crate) fn all(self) -> Duration {
        self.slept + self.set
    }
}

/// Everything that is configured, and what it does.
#[derive(Debug)]
pub(crate) struct Core {
    pub(super) schedule: Schedule,
    pub(super) subjects: HashMap<Key, Subject>,
    /// The targets of each check.
    pub(super) checks: HashMap<CheckName, BTreeSet<Key>>,
    pub(super) silences: Silences,
    pub(super) uplink: Uplink,
    /// Plugins that there are, and those that an earlier life knew.
    pub(super) plugins: HashMap<PluginName, Watched>,
    pub(super) rules: Rules,
    /// The number of the last life of a plugin.
    pub(super) lives: u64,
    past: Past,
    /// How far the series of what was removed have come. Should it come back while the clock is set back, they go on.
    marks: HashMap<Key, Timestamp>,
    /// Plugins by the number under which they share slots.
    groups: HashMap<PluginName, u32>,
    generation: u64,
    /// The number of the last silence.
    pub(super) last_silence: u64,
    /// What the store is to be told, in this order.
    pub(super) entries: Vec<Entry>,
    /// Of what is not run as before: why, where that is another reason or was told to an earlier life only.
    pub(super) reasons: Vec<(Key, Arc<str>)>,
}

impl Core {
    pub(crate) fn new(slots: u32, anchors: Vec<CheckName>, rules: Rules, mut past: Past) -> Self {
        let mut silences = Silences::default();
        let mut last_silence = 0;
        for silence in std::mem::take(&mut past.silences) {
            last_silence = last_silence.max(silence.id);
            // There never were more than may be.
            silences.insert(Arc::new(silence)).ok();
        }
        let watched = |(plugin, conduct): (&PluginName, &Conduct)| {
            (plugin.clone(), Watched::new(plugin, conduct.clone(), 0, false))
        };
        Self {
            plugins: past.conducts.iter().map(watched).collect(),
            rules,
            lives: 0,
            schedule: Schedule::new(Slots { runs: slots as usize }),
            subjects: HashMap::new(),
            checks: HashMap::new(),
            silences,
            uplink: Uplink::new(anchors),
            past,
            marks: HashMap::new(),
            groups: HashMap::new(),
            generation: 0,
            last_silence,
            entries: Vec::new(),
            reasons: Vec::new(),
        }
    }

    /// What the store is to be told since the last time.
    pub(crate) fn drain(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.entries)
    }

    /// New reasons of what is not run as before.
    pub(crate) fn reasons(&mut self) -> Vec<(Key, Arc<str>)> {
        std::mem::take(&mut self.reasons)
    }

    pub(crate) fn subject(&self, key: &Key) -> Option<&Subject> {
        self.subjects.get(key)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.schedule.in_flight()
    }

    /// Whether somebody may wait for a run to end.
    pub(crate) fn is_tight(&self) -> bool {
        self.schedule.is_tight()
    }

    /// When there is something to start.
    pub(crate) fn next_event(&self) -> Option<Timestamp> {
        self.schedule.next_event()
    }

    /// What an earlier life of the agent left of a key that was not configured since.
    pub(crate) fn past(&self, key: &Key) -> Option<&roundsman_store::Subject> {
        self.past.subjects.get(key)
    }

    /// Touches only what differs: everything else keeps its phase, its state and its run in flight. Returns the keys
    /// that are no more.
    pub(crate) fn take_checks(&mut self, checks: Vec<Prepared>, now: Timestamp) -> Vec<Key> {
        let mut gone: HashSet<Key> = self.subjects.keys().chain(self.past.subjects.keys()).cloned().collect();
        for prepared in checks {
            let key = prepared.key().clone();
            gone.remove(&key);
            match self.subjects.get(&key) {
                Some(subject) if subject.prepared.same_work(&prepared) => {}
                Some(_) => self.change(&key, prepared, now),
                None => self.add(key, prepared, now),
            }
        }
        let mut gone: Vec<Key> = gone.into_iter().collect();
        gone.sort();
        gone.iter().for_each(|key| self.remove(key, now));
        gone
    }

    fn add(&mut self, key: Key, prepared: Prepared, now: Timestamp) {
        let past = self.past.subjects.remove(&key);
        let resume = past.as_ref().filter(|past| past.last_tick.0 > 0).map(|past| Resume {
            counts: past.counts,
            last_tick: past.last_tick,
            last_time: past.high_water,
        });
        self.generation += 1;
        let mark = self.marks.remove(&key).unwrap_or(Timestamp(i64::MIN));
        let standing = past.as_ref().and_then(|past| past.standing).unwrap_or_else(|| Standing::pending(now.max(mark)));
        let plan = self.plan(&prepared, now);
        self.schedule.insert(key.clone(), plan, resume, now);
        let begins = now + prepared.check.initial_delay;
        let held = self.past.conducts.get(prepared.plugin()).is_some_and(|conduct| !conduct.is_running());
        let last = past.as_ref().and_then(|past| last_looked_after(past, held, now));
        let mut subject = Subject {
            silent_at: prepared.silent_at(last.unwrap_or(begins)),
            prepared,
            standing,
            previous: past.as_ref().and_then(|past| past.last_status),
            memory: Arc::new(self.past.memories.remove(&key).unwrap_or_default()),
            findings: self.past.findings.remove(&key).unwrap_or_default(),
            generation: self.generation,
            stamp: past.map_or(mark, |past| past.high_water),
            gate: None,
            life: None,
        };
        if matches!(subject.prepared.check.timing, Timing::Ttl(_)) {
            // What was pushed while nobody was here is lost: the count begins anew.
            subject.silent_at = subject.prepared.silent_at(begins);
        }
        if let (Some(_), Some(retry)) = (subject.standing.soft, subject.prepared.check.retry_interval) {
            self.schedule.retry_at(&key, begins + retry);
        }
        self.uplink.expect(&key);
        self.checks.entry(key.check.clone()).or_default().insert(key.clone());
        self.subjects.insert(key.clone(), subject);
        self.settle(&key, now);
        self.supervise_new(&key, now);
        // What was missed meanwhile is shown at once, and the very first tick of a new check is missed, not forgotten,
        // when the agent ends before there is a record.
        self.persist_counts(&key);
    }

    fn change(&mut self, key: &Key, prepared: Prepared, now: Timestamp) {
        if self.subjects.get(key).is_some_and(|subject| subject.prepared.plugin() != prepared.plugin()) {
            self.abandon(key);
        }
        let mut plan = self.plan(&prepared, now);
        let Some(subject) = self.subjects.get_mut(key) else { return };
        if let (Timing::Start, Some(grid)) = (&prepared.check.timing, self.schedule.grid(key))
            && subject.prepared.check.timing == Timing::Start
        {
            // It has been run, or is going to be.
            plan.grid = grid.clone();
        }
        let (old, new) = (&subject.prepared.check, &prepared.check);
        // Grids of what is pushed and of what runs at the start are alike: they have no tick.
        if old.timing != new.timing || subject.prepared.grid != prepared.grid || old.timeout != new.timeout {
            subject.silent_at = prepared.silent_at(now);
        }
        subject.prepared = prepared;
        self.schedule.change(key, plan, now);
    }

    fn plan(&mut self, prepared: &Prepared, now: Timestamp) -> Plan {
        let check = &prepared.check;
        let groups = u32::try_from(self.groups.len()).unwrap_or(NO_SHARE);
        let group = if [BUILT_IN, PUSHED].contains(&check.plugin.as_str()) {
            NO_SHARE
        } else {
            *self.groups.entry(check.plugin.clone()).or_insert(groups)
        };
        let (grid, initial_delay) = match check.timing {
            Timing::Start => (Grid::Once(now + check.initial_delay + Duration::from_nanos(1)), Duration::ZERO),
            _ => (prepared.grid.clone(), check.initial_delay),
        };
        let catch_up = if matches!(check.timing, Timing::Start) { CatchUp::Skip } else { check.catch_up };
        Plan { grid, initial_delay, catch_up, group }
    }

    /// What was known of it is told before it is forgotten: the history ends with a reason.
    fn remove(&mut self, key: &Key, now: Timestamp) {
        self.past.subjects.remove(key);
        self.past.memories.remove(key);
        self.past.findings.remove(key);
        self.abandon(key);
        if self.subjects.contains_key(key) {
            self.turn(key, State::Skipped, now, "no longer configured".into());
        }
        if let Some(subject) = self.subjects.remove(key) {
            self.marks.retain(|_, mark| *mark + MARKS_KEPT > now);
            self.marks.insert(key.clone(), subject.stamp.max(subject.standing.since));
        }
        self.schedule.remove(key);
        self.uplink.forget(key);
        if let Some(keys) = self.checks.get_mut(&key.check) {
            keys.remove(key);
            if keys.is_empty() {
                self.checks.remove(&key.check);
            }
        }
        self.entries.push(Entry::Forget { key: key.clone() });
    }

    /// The next run to begin, with what it needs. What is not to be run is counted and told on the way.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<Start> {
        loop {
            let start = self.schedule.pop(now)?;
            if self.subjects.get(&start.key).is_some_and(|subject| subject.prepared.is_pushed()) {
                // A retry that was asked for while it still ran by itself.
                self.schedule.skip(&start.key);
                continue;
            }
            match self.gate(&start).or_else(|| self.let_in(&start, now)) {
                None => return Some(start),
                Some(gate) => self.hold_back(&start, gate),
            }
        }
    }

    /// What a run is given.
    pub(crate) fn job(&self, start: &Start) -> Option<Arc<Job>> {
        let subject = self.subjects.get(&start.key)?;
        Some(Arc::new(Job {
            assignment: subject.prepared.assignment.clone(),
            scheduled: start.due,
            attempt: 1 + subject.standing.soft.map_or(0, |soft| soft.count),
            previous: subject.previous,
            memory: subject.memory.clone(),
            timeout: subject.prepared.check.timeout,
        }))
    }

    /// A popped run does not take place: its plugin is on its way.
    pub(crate) fn skip(&mut self, key: &Key) {
        self.schedule.skip(key);
        self.abandon(key);
        self.persist_counts(key);
    }

    /// A run came to its end. False: its check was removed meanwhile, and only its slot is of interest.
    pub(crate) fn finished(&mut self, start: &Start, generation: u64, outcome: Outcome) -> bool {
        // The run's own end: what the loop is late by must not look like an overlap.
        self.schedule.finished(&start.key, outcome.ended);
        let known = self.subjects.get(&start.key).is_some_and(|subject| subject.generation == generation);
        if known {
            self.conclude(start, outcome);
        }
        known
    }

    pub(crate) fn run_now(&mut self, key: &Key, now: Timestamp) -> Result<(), NotNow> {
        let subject = self.subjects.get(key).ok_or(NotNow::Unknown)?;
        if matches!(subject.prepared.check.timing, Timing::Ttl(_)) {
            return Err(NotNow::Pushed);
        }
        if let Some(why) = self.quarantined(subject.prepared.plugin()) {
            return Err(NotNow::Quarantined(why));
        }
        self.schedule.run_now(key, now).map_err(|_| NotNow::Busy)
    }

    /// What time alone brings about: silence that has lasted too long, silences that end.
    pub(crate) fn pass_time(&mut self, now: Timestamp) {
        let silent = self.subjects.iter().filter(|(_, subject)| subject.silent_since(now).is_some());
        let mut keys: Vec<Key> = silent.map(|(key, _)| key.clone()).collect();
        keys.sort();
        keys.iter().for_each(|key| self.settle(key, now));
        for id in self.silences.expire(now) {
            self.entries.push(Entry::Unsilenced { id });
        }
    }

    /// Nobody was here for a while, up to now: the process or the machine slept, or the clock was set forward.
    pub(crate) fn absent(&mut self, away: Away, now: Timestamp) {
        for subject in self.subjects.values_mut() {
            // Nobody could tell us anything meanwhile.
            let pushed = matches!(subject.prepared.check.timing, Timing::Ttl(_));
            let later = if pushed { away.all() } else { away.set };
            subject.silent_at = subject.silent_at.map(|at| at + later);
        }
        for key in self.schedule.absent(now) {
            self.persist_counts(&key);
        }
    }

    /// The clock was set back to now: checks go on at once, under stamps that go on from where they were.
    pub(crate) fn set_back(&mut self, by: Duration, now: Timestamp) {
        self.schedule.set_back(now, by);
        self.plugins.values_mut().for_each(|watched| watched.supervision.set_back());
        for subject in self.subjects.values_mut() {
            if let Some(at) = subject.silent_at {
                subject.silent_at = Some(at - by);
            }
        }
        // What is settled went back with the clock.
        let mut keys: Vec<Key> = self.subjects.keys().cloned().collect();
        keys.sort();
        keys.iter().for_each(|key| self.persist_counts(key));
    }

    pub(super) fn persist_counts(&mut self, key: &Key) {
        if let Some((counts, last_tick)) = self.schedule.settled(key) {
            self.entries.push(Entry::Counted { key: key.clone(), counts, last_tick });
        }
    }

    pub(super) fn settled(&self, key: &Key) -> (Counts, Timestamp) {
        self.schedule.settled(key).unwrap_or((Counts::default(), Timestamp(0)))
    }
}

/// When something was last run, or held back on purpose, in an earlier life; `held`: its plugin was. None: never.
fn last_looked_after(past: &roundsman_store::Subject, held: bool, now: Timestamp) -> Option<Timestamp> {
    let at = match past.standing?.state {
        State::Skipped => past.last_tick,
        State::Unknown if held => past.last_tick,
        // A stamp that lies ahead is from before the clock was set back.
        _ => past.high_water.min(now),
    };
    Some(at).filter(|at| at.0 > 0)
}
