//! What the writer knows of every subject: what decides whether a record is taken, and where its rows are.

use std::collections::HashMap;

use roundsman_model::counts::Counts;
use roundsman_model::key::Key;
use roundsman_model::name::PluginName;
use roundsman_model::record::Record;
use roundsman_model::time::Timestamp;

use crate::entry::{Recorded, TagSet, Turned};
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
    /// What was, of the subjects that the transaction under way has touched.
    undo: Vec<Undo>,
}

/// One subject: where it stands after all entries that were written, and not after those that still wait. So a row of
/// `subject` never knows more than the rest of its transaction and those before it.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) key: Key,
    /// The instant of the newest record that was let in, written or not: the next one must be later.
    admitted: Timestamp,
    pub(crate) state: SubjectState,
    pub(crate) stored: Stored,
    /// The content of `stored.tagset`, if it was looked at already: the number of the set, and what it holds.
    pub(crate) tags: Option<(i64, PluginName, TagSet)>,
    dirty: bool,
    /// To be written with this transaction: there is no record that could tell it.
    pub(crate) urgent: bool,
    touched: bool,
}

/// Where the file has a subject.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The row in `subject`; 0: none yet.
    pub(crate) row: i64,
    /// The newest row in `record`; 0: none.
    pub(crate) last_record: i64,
    pub(crate) tagset: i64,
    /// No longer configured; remembered while the history has rows of it.
    pub(crate) forgotten: bool,
}

/// A subject as it was before the transaction.
#[derive(Debug)]
struct Undo {
    at: usize,
    state: SubjectState,
    stored: Stored,
    dirty: bool,
    urgent: bool,
}

impl Slot {
    pub(crate) fn new(key: Key) -> Self {
        Self::restored(key, SubjectState::default(), Stored::default())
    }

    /// As the file has it.
    pub(crate) fn restored(key: Key, state: SubjectState, stored: Stored) -> Self {
        let admitted = state.high_water;
        Self { key, admitted, state, stored, tags: None, dirty: false, urgent: false, touched: false }
    }

    pub(crate) fn record(&mut self, recorded: &Recorded) {
        let Recorded { record, counts, last_tick, .. } = recorded;
        self.follow(SubjectState {
            standing: Some(record.standing),
            counts: *counts,
            last_tick: *last_tick,
            high_water: record.time,
            last_status: Some(record.status),
            changed: None,
        });
    }

    /// What a record makes of it; of changes a record does not tell.
    pub(crate) fn follow(&mut self, state: SubjectState) {
        self.state = SubjectState { changed: self.state.changed, ..state };
        self.stored.forgotten = false;
        self.admitted = self.admitted.max(state.high_water);
    }

    pub(crate) fn turn(&mut self, turned: &Turned) {
        self.state.standing = Some(turned.standing);
        self.count(turned.counts, turned.last_tick);
    }

    pub(crate) fn count(&mut self, counts: Counts, last_tick: Timestamp) {
        (self.state.counts, self.state.last_tick) = (counts, last_tick);
        self.stored.forgotten = false;
        self.urgent = true;
    }

    /// The high-water marks stay: should the subject come back, its series go on.
    pub(crate) fn forget(&mut self) {
        let SubjectState { high_water, changed, .. } = self.state;
        self.state = SubjectState { high_water, changed, ..SubjectState::default() };
        self.stored.forgotten = true;
        self.urgent = true;
    }
}

impl Subjects {
    /// Takes a record's instant into account. False: it is not later than the one before it in its series.
    pub(crate) fn admit(&mut self, record: &Record) -> bool {
        let at = self.position(&record.key);
        let slot = &mut self.slots[at];
        if record.time <= slot.admitted {
            return false;
        }
        slot.admitted = record.time;
        true
    }

    /// Where a subject is; a new one begins.
    pub(crate) fn position(&mut self, key: &Key) -> usize {
        self.find(key).unwrap_or_else(|| self.insert(Slot::new(key.clone())))
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

    /// A subject that the transaction is going to change.
    pub(crate) fn touch(&mut self, at: usize) -> &mut Slot {
        let Slot { state, stored, dirty, urgent, touched, .. } = &mut self.slots[at];
        if !*touched {
            *touched = true;
            self.undo.push(Undo { at, state: *state, stored: *stored, dirty: *dirty, urgent: *urgent });
        }
        if !*dirty {
            *dirty = true;
            self.dirty.push(at);
        }
        &mut self.slots[at]
    }

    /// For following what the file says while it is opened.
    pub(crate) fn restore(&mut self, at: usize) -> &mut Slot {
        if !self.slots[at].dirty {
            self.slots[at].dirty = true;
            self.dirty.push(at);
        }
        &mut self.slots[at]
    }

    /// Which subjects to write now: all that have changed for a snapshot, else those that cannot wait for one.
    pub(crate) fn to_write(&self, snapshot: bool) -> Vec<usize> {
        self.dirty.iter().copied().filter(|at| snapshot || self.slots[*at].urgent).collect()
    }

    /// The transaction was committed, and these subjects were written in it.
    pub(crate) fn committed(&mut self, written: &[usize]) {
        for undo in self.undo.drain(..) {
            self.slots[undo.at].touched = false;
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
        for Undo { at, state, stored, dirty, urgent } in self.undo.drain(..) {
            let slot = &mut self.slots[at];
            (slot.state, slot.stored, slot.dirty, slot.urgent, slot.touched) = (state, stored, dirty, urgent, false);
        }
        let slots = &self.slots;
        self.dirty.retain(|at| slots[*at].dirty);
    }

    /// Whether a forgotten subject has not come back, as far as is known here.
    pub(crate) fn is_unused(&self, key: &Key) -> bool {
        let unused = |slot: &Slot| slot.stored.forgotten && !slot.dirty && slot.admitted <= slot.state.high_water;
        self.find(key).is_some_and(|at| unused(&self.slots[at]))
    }

    /// Drops a subject that nothing refers to any more.
    pub(crate) fn remove(&mut self, key: &Key) {
        if let Some(at) = self.by_key.remove(key) {
            self.free.push(at);
        }
    }

    /// Every subject that is configured, as far as is known.
    pub(crate) fn restored(&self) -> Vec<Subject> {
        let configured = self.by_key.values().map(|at| &self.slots[*at]).filter(|slot| !slot.stored.forgotten);
        let mut subjects: Vec<Subject> = configured.map(Slot::subject).collect();
        subjects.sort_by(|a, b| a.key.cmp(&b.key));
        subjects
    }
}

impl Slot {
    fn subject(&self) -> Subject {
        let SubjectState { standing, counts, last_tick, high_water, last_status, changed: _ } = self.state;
        Subject { key: self.key.clone(), standing, counts, last_tick, high_water, last_status }
    }
}
