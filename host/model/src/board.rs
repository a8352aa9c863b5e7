//! The present state of every (check, target), here and on peers, and since when.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::counts::Counts;
use crate::key::Key;
use crate::name::PluginName;
use crate::record::{Blame, Finding, Record, Status};
use crate::silence::Silence;
use crate::state::{Standing, State};
use crate::time::Timestamp;

/// The most findings that are shown of a record: enough to see what is wrong; the history has all of them.
pub const MAX_SHOWN_FINDINGS: usize = 100;

/// Everything that is configured, by key, with what is known of it. As JSON: a list of entries.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Board {
    entries: BTreeMap<Key, Entry>,
}

/// One (check, target).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    #[serde(flatten)]
    pub key: Key,
    #[serde(flatten)]
    pub configured: Configured,
    /// What the records say. `state_at` says what to show.
    pub standing: Standing,
    /// None: no record yet.
    pub last: Option<Last>,
    pub counts: Counts,
    /// The instant from which silence is stale. None: never, for what does not run on a schedule.
    pub stale_at: Option<Timestamp>,
    /// Why it is not running: its plugin is being compiled or is broken, its configuration is outdated.
    pub note: Option<String>,
    /// Why it is not run on purpose, in words: the dependency or the maintenance. None while it is not skipped.
    pub skipped: Option<Arc<str>>,
    /// What covers it. Whoever publishes keeps it up to date.
    pub silence: Option<Arc<Silence>>,
}

/// What the operator wrote. Cheap to clone: the targets of a check share it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Configured {
    pub plugin: PluginName,
    pub labels: Arc<BTreeMap<String, String>>,
    pub owner: Option<Arc<str>>,
    pub runbook: Option<Arc<str>>,
    pub enabled: bool,
    /// Runs and is recorded, but alarms nobody.
    pub shadow: bool,
}

/// What is shown of the last record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Last {
    pub time: Timestamp,
    pub status: Status,
    pub blame: Blame,
    pub code: Option<Arc<str>>,
    pub summary: Arc<str>,
    pub latency_ns: Option<u64>,
    pub duration_ns: u64,
    pub lag_ns: u64,
    pub attempt: u32,
    /// This node's own way out was down.
    pub suspect: bool,
    /// Those that are not ok, the worst first, at most `MAX_SHOWN_FINDINGS`.
    pub findings: Vec<Finding>,
}

/// How many entries are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub ok: u64,
    pub warning: u64,
    pub critical: u64,
    pub unknown: u64,
    pub pending: u64,
    pub skipped: u64,
    pub stale: u64,
}

impl Board {
    /// Puts an entry as it is, for instance from an earlier life of the agent; returns the one that it replaces.
    pub fn insert(&mut self, entry: Entry) -> Option<Entry> {
        self.entries.insert(entry.key.clone(), entry)
    }

    /// A check appeared or changed: what is new is pending, what was there keeps what is known of it.
    pub fn configure(
        &mut self,
        key: Key,
        configured: Configured,
        now: Timestamp,
        stale_at: Option<Timestamp>,
    ) -> &mut Entry {
        let entry = self
            .entries
            .entry(key)
            .and_modify(|entry| entry.configured = configured.clone())
            .or_insert_with_key(|key| Entry::pending(key.clone(), configured, now));
        entry.stale_at = stale_at;
        entry
    }

    /// Takes an entry off; the last that was known of it.
    pub fn remove(&mut self, key: &Key) -> Option<Entry> {
        self.entries.remove(key)
    }

    /// Shows a record. False: its key is not, or no longer, on the board.
    pub fn apply(&mut self, record: &Record, counts: Counts, stale_at: Option<Timestamp>) -> bool {
        let there = self.turn(&record.key, record.standing, counts, stale_at);
        if let Some(entry) = self.entries.get_mut(&record.key) {
            entry.last = Some(Last::of(record));
        }
        there
    }

    /// Shows a change that no record brought about. False: its key is not, or no longer, on the board.
    pub fn turn(&mut self, key: &Key, standing: Standing, counts: Counts, stale_at: Option<Timestamp>) -> bool {
        let Some(entry) = self.entries.get_mut(key) else { return false };
        entry.standing = standing;
        entry.counts = counts;
        entry.stale_at = stale_at;
        if standing.state != State::Skipped {
            entry.skipped = None;
        }
        true
    }

    /// The entry of a key.
    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// The entry of a key, to change its note, its counts, its silence or why it is skipped.
    pub fn get_mut(&mut self, key: &Key) -> Option<&mut Entry> {
        self.entries.get_mut(key)
    }

    /// All entries, in the order of their keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.values()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is configured.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The state that needs somebody most. What is silenced is known already, and shadows alarm nobody: they do not
    /// count. None: nothing counts.
    pub fn worst(&self, now: Timestamp) -> Option<State> {
        let counting = self.iter().filter(|entry| !entry.is_quiet(now));
        counting.map(|entry| entry.state_at(now)).max_by_key(|state| state.severity())
    }

    /// Entries by state.
    pub fn summary(&self, now: Timestamp) -> Summary {
        let mut summary = Summary::default();
        for entry in self.iter() {
            *summary.slot(entry.state_at(now)) += 1;
        }
        summary
    }
}

impl Serialize for Board {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.iter())
    }
}

impl Entry {
    /// A new one, of which nothing is known yet.
    pub fn pending(key: Key, configured: Configured, now: Timestamp) -> Self {
        let standing = Standing::pending(now);
        Self {
            key,
            configured,
            standing,
            last: None,
            counts: Counts::default(),
            stale_at: None,
            note: None,
            skipped: None,
            silence: None,
        }
    }

    /// The state to show: nothing that was not heard of for too long is shown as it once was. What is skipped is not
    /// expected to be heard of.
    pub fn state_at(&self, now: Timestamp) -> State {
        if !self.configured.enabled || self.standing.state == State::Skipped {
            State::Skipped
        } else if self.stale_at.is_some_and(|stale_at| now > stale_at) {
            State::Stale
        } else {
            self.standing.state
        }
    }

    /// Whether nobody is to be alarmed by it: a shadow, or covered by a silence that has not ended.
    pub fn is_quiet(&self, now: Timestamp) -> bool {
        self.configured.shadow || self.silence.as_ref().is_some_and(|silence| !silence.is_over(now))
    }
}

impl Last {
    /// What is shown of a record.
    pub fn of(record: &Record) -> Self {
        let mut bad: Vec<&Finding> = record.findings.iter().filter(|finding| finding.status != Status::Ok).collect();
        bad.sort_by_key(|finding| Reverse(finding.status.severity()));
        Self {
            time: record.time,
            status: record.status,
            blame: record.blame,
            code: record.code.clone(),
            summary: record.summary.clone(),
            latency_ns: record.latency_ns,
            duration_ns: record.duration_ns,
            lag_ns: record.lag_ns,
            attempt: record.attempt,
            suspect: record.suspect,
            findings: bad.into_iter().take(MAX_SHOWN_FINDINGS).cloned().collect(),
        }
    }
}

impl Summary {
    /// The count of a state.
    pub fn get(mut self, state: State) -> u64 {
        *self.slot(state)
    }

    fn slot(&mut self, state: State) -> &mut u64 {
        match state {
            State::Ok => &mut self.ok,
            State::Warning => &mut self.warning,
            State::Critical => &mut self.critical,
            State::Unknown => &mut self.unknown,
            State::Pending => &mut self.pending,
            State::Skipped => &mut self.skipped,
            State::Stale => &mut self.stale,
        }
    }
}

#[cfg(test)]
mod tests;
