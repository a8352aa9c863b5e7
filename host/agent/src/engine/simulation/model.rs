//! The obvious model of the engine: it says beforehand what the store will be told, and what every run is given.
//!
//! Slow on purpose: ticks are looked at one by one (`ticks`), states are read from the list of what happened (`track`),
//! who may run next is found by looking at everybody (`turns`), how plugins behave by looking back (`conduct`), and what
//! follows from a result stands in `results`.

mod conduct;
mod results;
mod ticks;
mod track;
mod turns;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use roundsman_model::check::{CatchUp, Check, Timing};
use roundsman_model::key::Key;
use roundsman_model::name::{CheckName, PluginName};
use roundsman_model::record::Status;
use roundsman_model::silence::Until;
use roundsman_model::state::State;
use roundsman_model::supervision::Rules;
use roundsman_model::time::Timestamp;
use roundsman_plugin::job::Memory;
use roundsman_schedule::grid::Grid;

use super::store::{Kept, Store};
use super::told::{Told, Why};
use crate::engine::command::{NotNow, SilenceDraft};
use crate::engine::core::Away;
use crate::subject::Prepared;
use conduct::{LeftHeld, Plugin, Sayings};
use ticks::{Counted, Flight, Ticks};
use track::Track;

const NS: Duration = Duration::from_nanos(1);

#[derive(Debug)]
pub(super) struct Model {
    slots: usize,
    anchors: Vec<CheckName>,
    pub(super) subjects: HashMap<Key, Subject>,
    keys_of: HashMap<CheckName, BTreeSet<Key>>,
    /// Runs of keys that were removed; with the time of their start, and whether the run before it took long.
    orphans: HashMap<Key, (Flight, Timestamp, bool)>,
    flying: HashSet<Key>,
    pub(super) silences: BTreeMap<u64, SilenceDraft>,
    last_silence: u64,
    /// Whether the last word of each key of an anchor was a failure.
    anchors_fail: BTreeMap<Key, bool>,
    past: HashMap<Key, Left>,
    /// What was removed, and when: a death makes it come back.
    graves: Vec<(i64, Key, Subject)>,
    /// How far the series of those that were removed have come.
    marks: HashMap<Key, Timestamp>,
    generation: u64,
    pub(super) plugins: HashMap<PluginName, Plugin>,
    rules: Rules,
    lives: u64,
    sayings: Sayings,
    left_held: LeftHeld,
    /// By a clock that nobody sets.
    pub(super) mono: i64,
    pub(super) told: Vec<Told>,
}

/// What an earlier life left of a (check, target): what the store says, and what happened to it and to its findings.
type Left = (Kept, Track, BTreeMap<Arc<str>, Track>);

#[derive(Debug)]
pub(super) struct Subject {
    prepared: Prepared,
    maintenance: Vec<(Grid, Duration)>,
    pub(super) generation: u64,
    pub(super) ticks: Ticks,
    pub(super) track: Track,
    pub(super) findings: BTreeMap<Arc<str>, Track>,
    pub(super) previous: Option<Status>,
    pub(super) memory: Memory,
    pub(super) stamp: Timestamp,
    pub(super) silent_at: Option<Timestamp>,
    /// Why it was held back the last time; none if it was not.
    pub(super) held: Option<Why>,
    /// Of its plugin, when its run was let in.
    pub(super) life: Option<u64>,
}

impl Model {
    pub(super) fn new(slots: usize, anchors: Vec<CheckName>, rules: Rules) -> Self {
        Self {
            slots,
            anchors,
            subjects: HashMap::new(),
            keys_of: HashMap::new(),
            orphans: HashMap::new(),
            flying: HashSet::new(),
            silences: BTreeMap::new(),
            last_silence: 0,
            anchors_fail: BTreeMap::new(),
            past: HashMap::new(),
            graves: Vec::new(),
            marks: HashMap::new(),
            generation: 0,
            plugins: HashMap::new(),
            rules,
            lives: 0,
            sayings: Sayings::new(),
            left_held: LeftHeld::new(),
            mono: 0,
            told: Vec::new(),
        }
    }

    /// The agent died or ended: what the store knows is all that is left. Nothing that was found out after `mono` is.
    pub(super) fn restart(&mut self, store: &Store, mono: i64) {
        let mut before = std::mem::replace(self, Self::new(self.slots, self.anchors.clone(), self.rules));
        self.mono = before.mono;
        self.restart_plugins(std::mem::take(&mut before.sayings), store, mono);
        for (buried, key, subject) in before.graves.into_iter().rev() {
            if buried > mono {
                before.subjects.insert(key, subject);
            }
        }
        for (key, kept) in store.kept.iter().filter(|(_, kept)| !kept.forgotten) {
            let left = before.subjects.remove(key).map(|subject| (subject.track, subject.findings));
            // Not configured since the life before the last.
            let (mut track, mut findings) = left.unwrap_or_else(|| panic!("{key} was forgotten by the store"));
            assert!(kept.standing.is_none() || track.rewind(mono), "{key}");
            findings.retain(|_, track| track.rewind(mono));
            self.past.insert(key.clone(), (kept.clone(), track, findings));
        }
        for silence in store.silences.values() {
            let (check, target, until) = (silence.check.clone(), silence.target.clone(), silence.until);
            let (author, reason) = (silence.author.clone(), silence.reason.clone());
            self.silences.insert(silence.id, SilenceDraft { check, target, author, reason, until });
            self.last_silence = self.last_silence.max(silence.id);
        }
    }

    pub(super) fn take_checks(&mut self, checks: &[Prepared], now: Timestamp) {
        let keys: HashSet<&Key> = checks.iter().map(Prepared::key).collect();
        for prepared in checks {
            match self.subjects.get(prepared.key()) {
                Some(subject) if Arc::ptr_eq(&subject.prepared.check, &prepared.check) => {}
                Some(_) => self.change(prepared, now),
                None => self.add(prepared, now),
            }
        }
        let known = self.subjects.keys().chain(self.past.keys());
        let gone: BTreeSet<Key> = known.filter(|key| !keys.contains(key)).cloned().collect();
        gone.iter().for_each(|key| self.remove(key, now));
    }

    fn add(&mut self, prepared: &Prepared, now: Timestamp) {
        let (key, check) = (prepared.key().clone(), &prepared.check);
        let (kept, track, findings) = match self.past.remove(&key) {
            Some((kept, track, findings)) => (Some(kept), Some(track), findings),
            None => (None, None, BTreeMap::new()),
        };
        let mark = self.marks.remove(&key);
        let left = kept.as_ref().filter(|kept| kept.last_tick.0 > 0).map(|kept| Counted {
            counts: kept.counts,
            last_tick: kept.last_tick,
            last_time: kept.high_water,
        });
        self.generation += 1;
        let (grid, delay, catch_up) = plan(prepared, now);
        let mut ticks = Ticks::new(key.clone(), grid, delay, catch_up, check.plugin.to_string(), left, now);
        if let Some((flight, last_time, slow)) = self.orphans.remove(&key) {
            ticks.last_time = ticks.last_time.max(last_time);
            ticks.slow = slow;
            ticks.flight = Some(Flight { on_grid: false, settled: ticks.seen, overlap: 0, ..flight });
        }
        let begins = now + check.initial_delay;
        let known = kept.as_ref().filter(|kept| kept.standing.is_some());
        let track = track.filter(|_| known.is_some());
        let track = track.unwrap_or_else(|| Track::new(State::Pending, mark.map_or(now, |mark| mark.max(now))));
        // It was looked after when it ran, or when it was held back.
        let looked_after = known.map(|kept| match track.last().state {
            State::Skipped => kept.last_tick,
            State::Unknown if self.left_held.contains(&check.plugin) => kept.last_tick,
            _ => kept.high_water.min(now),
        });
        let looked_after = looked_after.filter(|at| at.0 > 0 && !matches!(check.timing, Timing::Ttl(_)));
        if let Some(retry) = check.retry_interval.filter(|_| track.soft().is_some()) {
            ticks.retry = Some(begins + retry);
        }
        let windows = check.maintenance.iter();
        let stamp = kept.as_ref().map(|kept| kept.high_water).or(mark).unwrap_or(Timestamp(i64::MIN));
        let subject = Subject {
            maintenance: windows.map(|m| (Grid::cron(&m.cron, &m.timezone).unwrap(), m.length)).collect(),
            silent_at: silent_at(&ticks.grid, check, looked_after.unwrap_or(begins)),
            prepared: prepared.clone(),
            generation: self.generation,
            ticks,
            track,
            findings,
            previous: kept.as_ref().and_then(|kept| kept.last_status),
            memory: kept.as_ref().map(|kept| kept.memory.clone()).unwrap_or_default(),
            stamp,
            held: None,
            life: None,
        };
        if self.anchors.contains(&key.check) {
            self.anchors_fail.entry(key.clone()).or_insert(false);
        }
        self.keys_of.entry(key.check.clone()).or_default().insert(key.clone());
        self.subjects.insert(key.clone(), subject);
        self.settle(&key, now);
        self.hold_new(&key, now);
        self.tell_counts(&key);
    }

    fn change(&mut self, prepared: &Prepared, now: Timestamp) {
        if self.subjects[prepared.key()].prepared.plugin() != prepared.plugin() {
            self.abandon(prepared.key());
        }
        let subject = self.subjects.get_mut(prepared.key()).unwrap();
        let (old, new) = (subject.prepared.check.clone(), &prepared.check);
        let (mut grid, _, catch_up) = plan(prepared, now);
        if (&old.timing, &new.timing) == (&Timing::Start, &Timing::Start) {
            grid = subject.ticks.grid.clone();
        }
        if old.timing != new.timing || subject.prepared.grid != prepared.grid || old.timeout != new.timeout {
            subject.silent_at = silent_at(&prepared.grid, new, now);
        }
        subject.ticks.change(grid, catch_up, new.plugin.to_string(), now);
        if matches!(new.timing, Timing::Ttl(_)) {
            subject.ticks.forget_wishes();
        }
        let windows = new.maintenance.iter();
        subject.maintenance = windows.map(|m| (Grid::cron(&m.cron, &m.timezone).unwrap(), m.length)).collect();
        subject.prepared = prepared.clone();
    }

    fn remove(&mut self, key: &Key, now: Timestamp) {
        self.past.remove(key);
        self.abandon(key);
        if self.subjects.contains_key(key) {
            self.turn(key, State::Skipped, now, Why::Gone);
        }
        if let Some(subject) = self.subjects.remove(key) {
            let ticks = &subject.ticks;
            if let Some(flight) = &ticks.flight {
                self.orphans.insert(key.clone(), (flight.clone(), ticks.last_time, ticks.slow));
            }
            self.marks.insert(key.clone(), subject.stamp.max(subject.track.last().since));
            self.graves.retain(|(buried, ..)| *buried > self.mono - 10 * super::store::COMMIT_NS);
            self.graves.push((self.mono, key.clone(), subject));
        }
        self.keys_of.entry(key.check.clone()).or_default().remove(key);
        self.anchors_fail.remove(key);
        self.told.push(Told::Forget(key.clone()));
    }

    pub(super) fn skip(&mut self, key: &Key) {
        self.end_flight(key, None);
        self.abandon(key);
        if self.subjects.contains_key(key) {
            self.tell_counts(key);
        }
    }

    pub(super) fn run_now(&mut self, key: &Key, now: Timestamp) -> Result<(), NotNow> {
        let subject = self.subjects.get(key).ok_or(NotNow::Unknown)?;
        if matches!(subject.prepared.check.timing, Timing::Ttl(_)) {
            return Err(NotNow::Pushed);
        }
        let plugin = subject.prepared.plugin().clone();
        if self.is_quarantined(&plugin) {
            return Err(NotNow::Quarantined("".into()));
        }
        let subject = self.subjects.get_mut(key).ok_or(NotNow::Unknown)?;
        if subject.ticks.flight.is_some() {
            return Err(NotNow::Busy);
        }
        subject.ticks.run_now.get_or_insert(now);
        Ok(())
    }

    pub(super) fn pass_time(&mut self, now: Timestamp) {
        let silent = self.subjects.iter().filter(|(_, subject)| subject.is_silent(now));
        let keys: BTreeSet<Key> = silent.map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| self.settle(key, now));
        let over = self.silences.iter().filter(|(_, s)| matches!(s.until, Until::Instant(until) if until <= now));
        let over: Vec<u64> = over.map(|(id, _)| *id).collect();
        self.end_silences(over);
    }

    pub(super) fn absent(&mut self, away: Away, now: Timestamp) {
        let mut changed = BTreeSet::new();
        for (key, subject) in &mut self.subjects {
            if matches!(subject.prepared.check.timing, Timing::Ttl(_)) {
                subject.silent_at = subject.silent_at.map(|at| at + away.slept);
            }
            // Nobody is silent because a clock is set.
            subject.silent_at = subject.silent_at.map(|at| at + away.set);
            if subject.ticks.absent(now) {
                changed.insert(key.clone());
            }
        }
        changed.iter().for_each(|key| self.tell_counts(key));
    }

    pub(super) fn set_back(&mut self, by: Duration, now: Timestamp) {
        self.forget_windows();
        for subject in self.subjects.values_mut() {
            subject.ticks.set_back(now, by);
            subject.silent_at = subject.silent_at.map(|at| at - by);
        }
        for (flight, ..) in self.orphans.values_mut() {
            flight.began = flight.began - by;
        }
        // What is settled went back with the clock.
        let keys: BTreeSet<Key> = self.subjects.keys().cloned().collect();
        keys.iter().for_each(|key| self.tell_counts(key));
    }

    /// None: it covers nothing, or nothing that could be acknowledged.
    pub(super) fn silence(&mut self, draft: &SilenceDraft, now: Timestamp) -> Option<u64> {
        let id = (now.0 / 1_000_000_000).unsigned_abs().max(self.last_silence + 1);
        let mut covered = self.subjects.iter().filter(|(key, _)| covers(draft, key)).peekable();
        covered.peek()?;
        let well = |subject: &Subject| subject.track.last().state == State::Ok && subject.track.soft().is_none();
        if draft.until == Until::Recovery && covered.all(|(_, subject)| well(subject)) {
            return None;
        }
        self.last_silence = id;
        self.silences.insert(id, draft.clone());
        self.told.push(Told::Silenced { id, until: draft.until });
        Some(id)
    }

    pub(super) fn unsilence(&mut self, id: u64) -> bool {
        let there = self.silences.contains_key(&id);
        self.end_silences(vec![id]);
        there
    }

    fn end_silences(&mut self, ids: Vec<u64>) {
        for id in ids {
            if self.silences.remove(&id).is_some() {
                self.told.push(Told::Unsilenced(id));
            }
        }
    }

    fn tell_counts(&mut self, key: &Key) {
        let ticks = &self.subjects[key].ticks;
        let (counts, last_tick) = (ticks.counts, ticks.settled());
        self.told.push(Told::Counted { key: key.clone(), counts, last_tick });
    }
}

impl Subject {
    /// After everything that is stamped already.
    fn after_all(&self, at: Timestamp) -> Timestamp {
        [at, self.stamp + NS, self.track.last().since + NS].into_iter().max().unwrap()
    }

    fn is_silent(&self, now: Timestamp) -> bool {
        let pushed = matches!(self.prepared.check.timing, Timing::Ttl(_));
        self.silent_at.is_some_and(|at| at < now) && (pushed || self.track.last().state != State::Stale)
    }
}

fn covers(draft: &SilenceDraft, key: &Key) -> bool {
    draft.check.as_deref().is_none_or(|check| check == key.check.as_str())
        && draft.target.as_deref().is_none_or(|target| target == key.target_or_empty())
}

fn plan(prepared: &Prepared, now: Timestamp) -> (Grid, Duration, CatchUp) {
    let check = &prepared.check;
    match check.timing {
        Timing::Start => (Grid::Once(now + check.initial_delay + NS), Duration::ZERO, CatchUp::Skip),
        _ => (prepared.grid.clone(), check.initial_delay, check.catch_up),
    }
}

/// By the third next tick, the timeout and five seconds; or, where results are pushed, by the end of their time.
fn silent_at(grid: &Grid, check: &Check, last: Timestamp) -> Option<Timestamp> {
    match check.timing {
        Timing::Ttl(ttl) => Some(last + ttl),
        Timing::Start => None,
        Timing::Interval(_) | Timing::Cron { .. } => {
            let third = grid.next_after(grid.next_after(grid.next_after(last)?)?)?;
            Some(third + check.timeout + Duration::from_secs(5))
        }
    }
}
