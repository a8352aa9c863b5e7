//! What became of ticks and runs, by check, told from what the engine hands to the store.
//!
//! The engine's loop alone keeps the ledger, one tally for each (check, target); what it adds up are atomics that others
//! read. By check and not by target: who wants to know of a target asks the board, and `/metrics` stays readable.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use roundsman_model::counts::Counts;
use roundsman_model::key::Key;
use roundsman_model::name::CheckName;
use roundsman_model::record::{Blame, Record, Status};
use roundsman_store::Entry;
use roundsman_web::sample::{Family, Kind};

/// Names of `Ticks`, in its order.
const OUTCOMES: [&str; 4] = ["run", "missed", "overlap", "skipped"];
const STATUSES: [Status; 4] = [Status::Ok, Status::Warning, Status::Critical, Status::Unknown];
/// What is worth counting besides the status: it is for the operator of the agent, not for that of the target.
const TROUBLES: [&str; 5] = ["trap", "timeout", "denied", "limit", "suspect"];

/// Ticks since the start of the agent. Those of earlier lives are on the board.
#[derive(Debug, Default)]
struct Ticks([AtomicU64; OUTCOMES.len()]);

/// Counters of one check.
#[derive(Debug, Default)]
struct Check {
    ticks: Ticks,
    statuses: [AtomicU64; STATUSES.len()],
    troubles: [AtomicU64; TROUBLES.len()],
}

/// Counters of all checks: there as long as a (check, target) of theirs is. As many as there are checks, which the
/// configuration bounds.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    all: Ticks,
    by_name: Mutex<BTreeMap<CheckName, Weak<Check>>>,
}

/// Belongs to the engine's loop.
#[derive(Debug, Default)]
pub(crate) struct Ledger(HashMap<Key, Tally>);

#[derive(Debug)]
struct Tally {
    check: Arc<Check>,
    /// What is counted already.
    known: Counts,
}

impl Ledger {
    /// Takes into account what the store is told. The first that is told of a key is what was known when it came: ticks
    /// of an earlier life, and those that were missed since.
    pub(crate) fn note(&mut self, checks: &Checks, entry: &Entry) {
        match entry {
            Entry::Record(recorded) => {
                self.counted(checks, &recorded.record.key, recorded.counts).ended(&recorded.record);
            }
            Entry::Turned(turned) => {
                self.counted(checks, &turned.key, turned.counts);
            }
            Entry::Counted { key, counts, .. } => {
                self.counted(checks, key, *counts);
            }
            Entry::Forget { key } => drop(self.0.remove(key)),
            Entry::Silenced(_) | Entry::Unsilenced { .. } | Entry::Supervised { .. } => {}
        }
    }

    fn counted(&mut self, checks: &Checks, key: &Key, counts: Counts) -> &Check {
        let begin = || Tally { check: checks.check(&key.check), known: counts };
        // The key is cloned only when it is new: this is done for each run.
        if !self.0.contains_key(key) {
            self.0.insert(key.clone(), begin());
        }
        let tally = self.0.get_mut(key).expect("it was just put there");
        let before = std::mem::replace(&mut tally.known, counts);
        tally.check.ticks.add(before, counts);
        checks.all.add(before, counts);
        &tally.check
    }
}

impl Ticks {
    fn add(&self, before: Counts, after: Counts) {
        for ((counter, before), after) in self.0.iter().zip(columns(before)).zip(columns(after)) {
            let more = after.saturating_sub(before);
            if more > 0 {
                counter.fetch_add(more, Ordering::Relaxed);
            }
        }
    }

    fn now(&self) -> Counts {
        let [run, missed, overlap, skipped] = self.values();
        Counts { due: run + missed + overlap + skipped, run, missed, overlap, skipped }
    }

    fn values(&self) -> [u64; OUTCOMES.len()] {
        std::array::from_fn(|at| self.0[at].load(Ordering::Relaxed))
    }
}

fn columns(counts: Counts) -> [u64; OUTCOMES.len()] {
    [counts.run, counts.missed, counts.overlap, counts.skipped]
}

impl Check {
    fn ended(&self, record: &Record) {
        // The numbers of statuses are those of the places in `STATUSES`.
        if let Some(counter) = self.statuses.get(record.status as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let trouble = trouble(record.blame, record.code.as_deref());
        for trouble in trouble.into_iter().chain(record.suspect.then_some("suspect")) {
            if let Some(at) = TROUBLES.iter().position(|name| *name == trouble) {
                self.troubles[at].fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn trouble(blame: Blame, code: Option<&str>) -> Option<&'static str> {
    match (blame, code?) {
        (Blame::Plugin, "trap" | "stack") => Some("trap"),
        (_, "timeout") => Some("timeout"),
        (Blame::Host, "denied") => Some("denied"),
        (Blame::Plugin | Blame::Host, "cpu" | "memory" | "limit") => Some("limit"),
        _ => None,
    }
}

impl Checks {
    /// Ticks of all checks together, also of those that are gone.
    pub(crate) fn ticks(&self) -> Counts {
        self.all.now()
    }

    fn check(&self, name: &CheckName) -> Arc<Check> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(check) = by_name.get(name).and_then(Weak::upgrade) {
            return check;
        }
        // Names that went make room for those that come.
        by_name.retain(|_, check| check.strong_count() > 0);
        let check = Arc::new(Check::default());
        by_name.insert(name.clone(), Arc::downgrade(&check));
        check
    }

    fn alive(&self) -> Vec<(CheckName, Arc<Check>)> {
        let by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        by_name.iter().filter_map(|(name, check)| Some((name.clone(), check.upgrade()?))).collect()
    }

    /// For `/metrics`.
    pub(crate) fn families(&self) -> Vec<Family> {
        let alive = self.alive();
        let family = |name, help, label, words: &[&str], values: fn(&Check) -> Vec<u64>| {
            let of = |(name, check): &(CheckName, Arc<Check>)| {
                let labels = |word: &&str| vec![("check", name.to_string()), (label, (*word).to_owned())];
                let values = values(check);
                words.iter().map(labels).zip(values.into_iter().map(|value| value as f64)).collect::<Vec<_>>()
            };
            Family { name, help, kind: Kind::Counter, values: alive.iter().flat_map(of).collect() }
        };
        vec![
            family("roundsman_ticks", "What became of the ticks that were due.", "outcome", &OUTCOMES, |check| {
                check.ticks.values().to_vec()
            }),
            family(
                "roundsman_runs",
                "Runs that ended in a record, also off the schedule.",
                "result",
                &STATUSES.map(Status::as_str),
                |check| read(&check.statuses),
            ),
            family(
                "roundsman_run_troubles",
                "Runs that trapped, ran out of time or of a limit, were denied something, or are suspect for want of an uplink.",
                "trouble",
                &TROUBLES,
                |check| read(&check.troubles),
            ),
        ]
    }
}

fn read(counters: &[AtomicU64]) -> Vec<u64> {
    counters.iter().map(|counter| counter.load(Ordering::Relaxed)).collect()
}

#[cfg(test)]
mod tests;
