//! What the writer knows of every subject: what decides whether a record is taken, and where its rows are.

use std::collections::HashMap;

use roundsman_model::counts::Counts;
use roundsman_model::key::Key;
use roundsman_model::name::PluginName;
use roundsman_model::record::Status;
use roundsman_model::state::Standing;
use roundsman_model::time::Timestamp;

use crate::entry::{Entry, Recorded, TagSet};
use crate::row::{Subject, SubjectState};

/// All subjects by key. A position in `slots` stays valid until the subject is removed.
#[derive(Debug, Default)]
pub(crate) struct Subjects {
    slots: Vec<Slot>,
    by_key: HashMap<Key, usize>,
    /// Positions of removed subjects, to be used again.
    free: Vec<usize>,
    /// Subjects whose row is older than what is known here.
    dirty: Vec<usize>,
    /// What `Stored` was before the transaction that is under way.
    undo: Vec<(usize, Stored)>,
}

/// One subject.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) key: Key,
    pub(crate) standing: Option<Standing>,
    pub(crate) counts: Counts,
    pub(crate) last_tick: Timestamp,
    pub(crate) high_water: Timestamp,
    pub(crate) last_status: Option<Status>,
    /// No longer configured; remembered while the history has rows of it.
    pub(crate) forgotten: bool,
    pub(crate) stored: Stored,
    /// The content of `stored.tagset`, if it was looked at already: the number of the set, and what it holds.
    pub(crate) tags: Option<(i64, PluginName, TagSet)>,
    dirty: bool,
    /// To be written with the next commit: there is no record that could tell it.
    urgent: bool,
    touched: bool,
}

/// What the file says of a subject. Changed while a transaction is made, and put back when it fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The row in `subject`; 0: none yet.
    pub(crate) row: i64,
    /// The newest row in `record`; 0: none.
    pub(crate) last_record: i64,
    pub(crate) tagset: i64,
    /// Whether that newest record was ok.
    pub(crate) last_ok: bool,
}

impl Slot {
    pub(crate) fn new(key: Key) -> Self {
        Self {
            key,
            standing: None,
            counts: Counts::default(),
            last_tick: Timestamp(0),
            high_water: Timestamp(i64::MIN),
            last_status: None,
            forgotten: false,
            stored: Stored::default(),
            tags: None,
            dirty: false,
            urgent: false,
            touched: false,
        }
    }

    pub(crate) fn state(&self) -> SubjectState {
        SubjectState {
            standing: self.standing,
            counts: self.counts,
            last_tick: self.last_tick,
            high_water: self.high_water,
            last_status: self.last_status,
        }
    }

    fn record(&mut self, recorded: &Recorded) {
        self.standing = Some(recorded.record.standing);
        self.counts = recorded.counts;
        self.last_tick = recorded.last_tick;
        self.high_water = recorded.record.time;
        self.last_status = Some(recorded.record.status);
        self.forgotten = false;
    }

    /// The high-water mark stays: should the subject come back, its series goes on.
    fn forget(&mut self) {
        self.standing = None;
        self.counts = Counts::default();
        self.last_tick = Timestamp(0);
        self.last_status = None;
        self.forgotten = true;
    }
}

impl Subjects {
    /// Takes an entry into account. False: it is a record that is not later than the one before it in its series.
    pub(crate) fn admit(&mut self, entry: &Entry) -> bool {
        let at = match self.by_key.get(entry.key()) {
            Some(at) => *at,
            None if matches!(entry, Entry::Forget { .. }) => return true,
            None => self.insert(Slot::new(entry.key().clone())),
        };
        let slot = &mut self.slots[at];
        match entry {
            Entry::Record(recorded) if recorded.record.time <= slot.high_water => return false,
            Entry::Record(recorded) => slot.record(recorded),
            Entry::Counted { counts, last_tick, .. } => {
                (slot.counts, slot.last_tick, slot.forgotten, slot.urgent) = (*counts, *last_tick, false, true);
            }
            Entry::Forget { .. } => {
                slot.forget();
                slot.urgent = true;
            }
        }
        self.mark_dirty(at);
        true
    }

    pub(crate) fn insert(&mut self, slot: Slot) -> usize {
        let key = slot.key.clone();
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.by_key.insert(key, at);
        at
    }

    pub(crate) fn find(&self, key: &Key) -> Option<usize> {
        self.by_key.get(key).copied()
    }

    pub(crate) fn get(&self, at: usize) -> &Slot {
        &self.slots[at]
    }

    /// A subject whose `stored` part the transaction is going to change.
    pub(crate) fn touch(&mut self, at: usize) -> &mut Slot {
        let slot = &mut self.slots[at];
        if !slot.touched {
            slot.touched = true;
            self.undo.push((at, slot.stored));
        }
        slot
    }

    /// For filling in what the file says while it is opened.
    pub(crate) fn restore(&mut self, at: usize) -> &mut Slot {
        &mut self.slots[at]
    }

    pub(crate) fn mark_dirty(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        if !slot.dirty {
            slot.dirty = true;
            self.dirty.push(at);
        }
    }

    /// Which subjects to write now: all that have changed for a snapshot, else those that cannot wait for one.
    pub(crate) fn to_write(&self, snapshot: bool) -> Vec<usize> {
        self.dirty.iter().copied().filter(|at| snapshot || self.slots[*at].urgent).collect()
    }

    /// The transaction was committed, and these subjects were written in it.
    pub(crate) fn committed(&mut self, written: &[usize]) {
        for (at, _) in self.undo.drain(..) {
            self.slots[at].touched = false;
        }
        for at in written {
            (self.slots[*at].dirty, self.slots[*at].urgent) = (false, false);
        }
        let slots = &self.slots;
        if !written.is_empty() {
            self.dirty.retain(|at| slots[*at].dirty);
        }
    }

    /// The transaction came to nothing.
    pub(crate) fn rolled_back(&mut self) {
        for (at, stored) in self.undo.drain(..) {
            (self.slots[at].stored, self.slots[at].touched) = (stored, false);
        }
    }

    /// Whether a forgotten subject has not come back, as far as is known here.
    pub(crate) fn is_unused(&self, key: &Key) -> bool {
        self.find(key).is_some_and(|at| self.slots[at].forgotten && !self.slots[at].dirty)
    }

    /// Drops a subject that nothing refers to any more.
    pub(crate) fn remove(&mut self, key: &Key) {
        if let Some(at) = self.by_key.remove(key) {
            self.free.push(at);
        }
    }

    /// Every subject that is configured, as far as is known.
    pub(crate) fn restored(&self) -> Vec<Subject> {
        let configured = self.by_key.values().map(|at| &self.slots[*at]).filter(|slot| !slot.forgotten);
        let mut subjects: Vec<Subject> = configured
            .map(|slot| Subject {
                key: slot.key.clone(),
                standing: slot.standing,
                counts: slot.counts,
                last_tick: slot.last_tick,
                high_water: slot.high_water,
                last_status: slot.last_status,
            })
            .collect();
        subjects.sort_by(|a, b| a.key.cmp(&b.key));
        subjects
    }
}
