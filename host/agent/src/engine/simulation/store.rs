//! A store in memory: it remembers what was committed, and says of every entry whether it may come now.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use roundsman_model::counts::Counts;
use roundsman_model::findings::Findings;
use roundsman_model::key::Key;
use roundsman_model::name::PluginName;
use roundsman_model::record::Status;
use roundsman_model::silence::Silence;
use roundsman_model::state::{Change, Standing, State};
use roundsman_model::supervision::{Conduct, Phase};
use roundsman_model::time::Timestamp;
use roundsman_plugin::job::Memory;
use roundsman_store::{Entry, Recorded, Subject};

use crate::engine::core::Past;

/// What waits for a commit so long is on disk.
pub(super) const COMMIT_NS: i64 = 200_000_000;

#[derive(Debug, Default)]
pub(super) struct Store {
    waiting: VecDeque<(i64, Entry)>,
    pub(super) kept: HashMap<Key, Kept>,
    pub(super) silences: BTreeMap<u64, Arc<Silence>>,
    pub(super) conducts: BTreeMap<PluginName, Conduct>,
    pub(super) seen: Seen,
}

/// What came, over all lives: a day in which nothing happens proves nothing.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Seen {
    pub(super) records: u64,
    pub(super) changes: u64,
    pub(super) finding_changes: u64,
    pub(super) flapping: u64,
    pub(super) lost: u64,
    pub(super) backoffs: u64,
    pub(super) quarantines: u64,
    pub(super) trials_passed: u64,
    /// Files that changed and releases, of plugins that had backed off.
    pub(super) cleared: u64,
}

/// What is remembered of a (check, target).
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) standing: Option<Standing>,
    pub(super) counts: Counts,
    pub(super) last_tick: Timestamp,
    pub(super) high_water: Timestamp,
    pub(super) last_status: Option<Status>,
    pub(super) memory: Memory,
    pub(super) findings: Findings,
    pub(super) forgotten: bool,
    changed: Option<Change>,
    newest_change: Timestamp,
    /// There was no change since it was configured.
    fresh: bool,
    findings_changed: BTreeMap<Arc<str>, Change>,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            standing: None,
            counts: Counts::default(),
            last_tick: Timestamp(0),
            high_water: Timestamp(i64::MIN),
            last_status: None,
            memory: Memory::new(),
            findings: Findings::new(),
            forgotten: false,
            changed: None,
            newest_change: Timestamp(i64::MIN),
            fresh: true,
            findings_changed: BTreeMap::new(),
        }
    }
}

impl Store {
    pub(super) fn submit(&mut self, entry: Entry, mono: i64) {
        self.commit_until(mono - COMMIT_NS);
        self.waiting.push_back((mono, entry));
    }

    pub(super) fn commit_all(&mut self) {
        self.commit_until(i64::MAX);
    }

    /// What came after an instant is lost.
    pub(super) fn kill(&mut self, mono: i64) {
        self.commit_until(mono);
        self.seen.lost += self.waiting.len() as u64;
        self.waiting.clear();
    }

    fn commit_until(&mut self, mono: i64) {
        while self.waiting.front().is_some_and(|(at, _)| *at <= mono) {
            let (_, entry) = self.waiting.pop_front().unwrap();
            self.commit(entry);
        }
    }

    fn commit(&mut self, entry: Entry) {
        match entry {
            Entry::Record(recorded) => self.record(&recorded),
            Entry::Turned(turned) => {
                let kept = self.kept.entry(turned.key.clone()).or_default();
                assert!(turned.change.at > kept.newest_change || kept.fresh, "{}: {:?}", turned.key, turned.change);
                kept.newest_change = turned.change.at;
                kept.chain(&turned.key, &turned.change);
                (kept.standing, kept.forgotten) = (Some(turned.standing), false);
                kept.count(&turned.key, turned.counts, turned.last_tick);
                self.seen.changes += 1;
            }
            Entry::Counted { key, counts, last_tick } => {
                self.kept.entry(key.clone()).or_default().count(&key, counts, last_tick);
            }
            Entry::Forget { key } => {
                let kept = self.kept.entry(key).or_default();
                let Kept { high_water, changed, newest_change, .. } = *kept;
                *kept = Kept { high_water, changed, newest_change, forgotten: true, ..Kept::default() };
            }
            Entry::Silenced(silence) => drop(self.silences.insert(silence.id, silence)),
            Entry::Unsilenced { id } => drop(self.silences.remove(&id)),
            Entry::Supervised { plugin, conduct } => self.conduct(&plugin, conduct.as_deref()),
        }
    }

    fn record(&mut self, recorded: &Recorded) {
        let Recorded { record, change, findings, memory, counts, last_tick, .. } = recorded;
        let kept = self.kept.entry(record.key.clone()).or_default();
        assert!(record.time > kept.high_water, "{}: {} after {}", record.key, record.time, kept.high_water);
        kept.high_water = record.time;
        kept.last_status = Some(record.status);
        // All that one record changes is of one instant, later than what changed before. But for what was forgotten in an
        // earlier life and came back while the clock was set back: nobody tells the core how far its changes had come.
        let before = kept.newest_change;
        for change in change.iter().chain(findings.iter().filter_map(|told| told.change.as_ref())) {
            assert!(change.at > before || kept.fresh, "{}: {change:?}, not after {before}", record.key);
            kept.newest_change = change.at;
        }
        if let Some(change) = change {
            kept.chain(&record.key, change);
        }
        (kept.standing, kept.forgotten) = (Some(record.standing), false);
        kept.count(&record.key, *counts, *last_tick);
        for told in findings {
            if let Some(change) = told.change {
                kept.chain_finding(&record.key, &told.subject, change);
                self.seen.finding_changes += 1;
            }
            match told.standing {
                Some(standing) => drop(kept.findings.insert(told.subject.clone(), standing)),
                None => {
                    kept.findings.remove(&told.subject);
                    kept.findings_changed.remove(&told.subject);
                }
            }
        }
        for (name, value) in memory {
            match value {
                Some(value) => kept.memory.insert(name.clone(), value.clone()),
                None => kept.memory.remove(name),
            };
        }
        if let Some(conduct) = &recorded.conduct {
            self.conduct(&record.plugin, Some(conduct));
        }
        self.seen.records += 1;
        self.seen.changes += u64::from(change.is_some());
        self.seen.flapping += u64::from(record.standing.flap.is_flapping());
    }

    fn conduct(&mut self, plugin: &PluginName, conduct: Option<&Conduct>) {
        let Some(conduct) = conduct else {
            assert!(self.conducts.remove(plugin).is_some(), "{plugin} had nothing to be forgotten");
            self.seen.cleared += 1;
            return;
        };
        match conduct.phase {
            Phase::Running => self.seen.trials_passed += 1,
            Phase::BackOff { .. } => self.seen.backoffs += 1,
            Phase::Quarantined => self.seen.quarantines += 1,
        }
        self.conducts.insert(plugin.clone(), conduct.clone());
    }

    /// What the next life is told.
    pub(super) fn past(&self) -> Past {
        let there = || self.kept.iter().filter(|(_, kept)| !kept.forgotten);
        let subject = |(key, kept): (&Key, &Kept)| {
            let Kept { standing, counts, last_tick, high_water, last_status, .. } = *kept;
            (key.clone(), Subject { key: key.clone(), standing, counts, last_tick, high_water, last_status })
        };
        let findings = there().filter(|(_, kept)| !kept.findings.is_empty());
        Past {
            subjects: there().map(subject).collect(),
            memories: there().map(|(key, kept)| (key.clone(), kept.memory.clone())).collect(),
            findings: findings.map(|(key, kept)| (key.clone(), kept.findings.clone())).collect(),
            silences: self.silences.values().map(|silence| Silence::clone(silence)).collect(),
            conducts: self.conducts.clone().into_iter().collect(),
        }
    }
}

impl Kept {
    /// How far its records and changes have come.
    pub(super) fn reaches(&self) -> Timestamp {
        self.high_water.max(self.newest_change)
    }

    fn count(&mut self, key: &Key, counts: Counts, last_tick: Timestamp) {
        assert!(counts.balanced(), "{key}: {counts:?}");
        let grew = [
            (counts.due, self.counts.due),
            (counts.run, self.counts.run),
            (counts.missed, self.counts.missed),
            (counts.overlap, self.counts.overlap),
            (counts.skipped, self.counts.skipped),
        ];
        assert!(grew.iter().all(|(now, before)| now >= before), "{key}: {counts:?} after {:?}", self.counts);
        (self.counts, self.last_tick, self.forgotten) = (counts, last_tick, false);
    }

    /// Every change begins where the one before it ended, later than that.
    fn chain(&mut self, key: &Key, change: &Change) {
        if let Some(last) = &self.changed {
            assert!(change.at > last.at || self.fresh, "{key}: {change:?} after {last:?}");
        }
        match &self.changed {
            Some(last) if !self.fresh => {
                assert_eq!((change.from, change.since), (last.to, last.at), "{key}: {change:?}");
            }
            _ => assert_eq!(change.from, State::Pending, "{key}: {change:?}"),
        }
        assert_ne!(change.from, change.to, "{key}");
        (self.changed, self.fresh) = (Some(*change), false);
    }

    fn chain_finding(&mut self, key: &Key, subject: &Arc<str>, change: Change) {
        match self.findings_changed.insert(subject.clone(), change) {
            Some(last) => {
                assert_eq!((change.from, change.since), (last.to, last.at), "{key} {subject}: {change:?}");
                assert!(change.at > last.at, "{key} {subject}: {change:?} after {last:?}");
            }
            None => assert_eq!(change.from, State::Pending, "{key} {subject}: {change:?}"),
        }
    }
}
