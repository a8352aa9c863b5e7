//! What is due, what runs, and what waits for a slot: at most one run of a key at a time, and no tick unaccounted for.
//!
//! Every idle entry stands in a line at the instant at which it wants to start. What lies in the past waits for a slot,
//! the oldest first, so that nothing starves; who may have one is the matter of `slots`.

use std::collections::HashMap;
use std::time::Duration;

use roundsman_model::check::CatchUp;
use roundsman_model::counts::Counts;
use roundsman_model::key::Key;
use roundsman_model::record::Origin;
use roundsman_model::time::Timestamp;

use crate::entry::{End, Entry};
use crate::grid::Grid;
use crate::slots::Lanes;
pub use crate::slots::Slots;

/// When a key is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub grid: Grid,
    /// Between the appearance of the key and its first tick; what the grid has until then is not due.
    pub initial_delay: Duration,
    /// What becomes of ticks that are missed because nobody was there.
    pub catch_up: CatchUp,
    /// The plugin, by a number: no group may hold more than its share of the slots. Or `slots::NO_SHARE`.
    pub group: u32,
}

/// Where a key stood when the agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume {
    pub counts: Counts,
    /// The instant up to which `counts` knows the fate of every tick.
    pub last_tick: Timestamp,
    /// The time of its last record, on or off the grid: no later one may be stamped at or before it.
    pub last_time: Timestamp,
}

/// A run to begin. It holds a slot until `finished` or `skip` is called for its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    pub key: Key,
    pub origin: Origin,
    /// The instant at which it is to begin: that of its tick, or the present one when it is off the grid. Lag is measured
    /// from here.
    pub due: Timestamp,
    /// The identity of the record: `due`, unless the clock was set back. Later than that of every earlier start of the
    /// key, and therefore perhaps far in the future: nothing may wait for it.
    pub time: Timestamp,
    /// Distance from the tick to the one before it; off the grid, between the ticks around it. 0: there are no such ticks.
    pub interval_ns: u64,
}

/// Why something cannot be run now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    #[error("it is running already; ask again when that run has ended")]
    Running,
    #[error("it is not on the schedule: the name is wrong, or the check is disabled")]
    NotScheduled,
}

/// All keys of a node, by when they want to run.
#[derive(Debug)]
pub struct Schedule {
    entries: HashMap<Key, Entry>,
    /// Each entry that does not run, at the instant that it wants: `Entry::queued` mirrors it.
    lanes: Lanes,
}

impl Schedule {
    /// An empty one.
    pub fn new(slots: Slots) -> Self {
        Self { entries: HashMap::new(), lanes: Lanes::new(slots) }
    }

    /// Other limits; what runs beyond them may end.
    pub fn set_slots(&mut self, slots: Slots) {
        self.lanes.set_slots(slots);
    }

    /// Adds a key; for one that is there already this is `change`.
    ///
    /// With `resume`, the ticks since then count as missed, for the agent was not there, and are made up for as
    /// `catch_up` says; without it, ticks up to now are none of its own. `initial_delay` begins now in either case, and
    /// goes before a catch-up too.
    pub fn insert(&mut self, key: Key, plan: Plan, resume: Option<Resume>, now: Timestamp) {
        match self.entries.get(&key) {
            Some(entry) if !entry.removed => self.change(&key, plan, now),
            left => {
                let mut entry = Entry::new(&key, plan, resume, now);
                if let Some(left) = left {
                    entry.inherit(left);
                }
                self.lanes.join(entry.lane().group);
                self.entries.insert(key.clone(), entry);
                self.requeue(&key);
            }
        }
    }

    /// Gives a key another plan, without a word to its ticks if the grid is the same. Its counts stay, and so does its
    /// run, in the slot of its group of then. A delay is for beginnings: that of the new plan plays no part.
    pub fn change(&mut self, key: &Key, plan: Plan, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| !entry.removed) else { return };
        let old = entry.lane().group;
        entry.change(plan, now);
        let new = entry.lane().group;
        self.requeue(key);
        if old != new {
            self.lanes.join(new);
            self.lanes.leave(old);
        }
    }

    /// Takes a key off. A run of it keeps its slot until `finished` or `skip`, and is in none of the counts.
    pub fn remove(&mut self, key: &Key) -> Option<Counts> {
        let entry = self.entries.get_mut(key).filter(|entry| !entry.removed)?;
        let (counts, running, group) = (entry.counts(), entry.is_running(), entry.lane().group);
        entry.removed = true;
        self.requeue(key);
        self.lanes.leave(group);
        if !running {
            self.entries.remove(key);
        }
        Some(counts)
    }

    /// When `pop` has something to start: in the past, if it has now. None: nothing will start before another call.
    ///
    /// Keys whose class or group has no slot left are not considered: the end of a run may bring an earlier instant.
    pub fn next_event(&self) -> Option<Timestamp> {
        self.lanes.first().map(|(at, _)| *at)
    }

    /// Whether somebody may wait for a slot, so that every end should be told at once.
    pub fn is_tight(&self) -> bool {
        self.lanes.is_tight()
    }

    /// The next run to begin; call it until there is none. Of those that may start, it is the one that has wanted to for
    /// the longest time.
    ///
    /// Of several ticks that have passed, the newest is run and the others are missed. Ticks that pass during a run are
    /// overlapped. A run counts as begun at `now`, which may lie a little ahead: its own `next_event`.
    pub fn pop(&mut self, now: Timestamp) -> Option<Start> {
        self.lanes.advance(now);
        while let Some((_, key)) = self.lanes.first().filter(|(at, _)| *at <= now).cloned() {
            let entry = self.entries.get_mut(&key).expect("remove takes the key out of its line");
            let lane = entry.lane();
            let start = entry.start(&key, now);
            self.requeue(&key);
            if start.is_some() {
                self.lanes.take(&key, now, lane);
                return start;
            }
        }
        None
    }

    /// A run ended with a record at the instant `at` by the clock as it is now; `at` may lie before the last `pop`. Its
    /// slot is free, and its tick counts as run. None: the key has been taken off meanwhile.
    ///
    /// Whether it took longer than `slots::WAITS` says in which half of the slots the key will run next time.
    pub fn finished(&mut self, key: &Key, at: Timestamp) -> Option<Counts> {
        self.end(key, End::Ran(at))
    }

    /// A popped start is not to be run after all. Its slot is free, and its tick counts as skipped. None: as above.
    pub fn skip(&mut self, key: &Key) -> Option<Counts> {
        self.end(key, End::Skipped)
    }

    /// Runs a key off the grid at an instant, unless a tick comes first or it is started in another way. A second call
    /// takes the place of the first.
    pub fn retry_at(&mut self, key: &Key, at: Timestamp) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.retry_at(at);
            self.requeue(key);
        }
    }

    /// Runs a key off the grid as soon as a slot is free. If a tick comes before that, its run serves the request.
    pub fn run_now(&mut self, key: &Key, now: Timestamp) -> Result<(), Busy> {
        let entry = self.entries.get_mut(key).filter(|entry| !entry.removed).ok_or(Busy::NotScheduled)?;
        if entry.is_running() {
            return Err(Busy::Running);
        }
        entry.run_now(now);
        self.requeue(key);
        Ok(())
    }

    /// The agent or the machine slept until now, or the clock was set forward. Ticks that are too old to be started are
    /// missed at once, and made up for as the plan says; one that is young enough is still started, and runs in flight
    /// have overlapped what passed. Returns the keys whose counts changed, in order.
    pub fn absent(&mut self, until: Timestamp) -> Vec<Key> {
        let mut changed: Vec<Key> = Vec::new();
        for (key, entry) in &mut self.entries {
            if entry.absent(key, until) {
                changed.push(key.clone());
            }
        }
        changed.sort_unstable();
        changed.iter().for_each(|key| self.requeue(key));
        changed
    }

    /// The clock was set back by so much, to `now`, and checks go on at once: ticks after `now` lie ahead again and, where
    /// they had a fate before, are due a second time. Stamps go on from the last one, so that they still grow; what
    /// `settled` says may go back.
    ///
    /// Not for a correction that is small against the intervals, say less than a second: without a word, the schedule
    /// rests until the clock has come to where it was, and no tick comes twice.
    pub fn set_back(&mut self, now: Timestamp, by: Duration) {
        self.lanes.set_back(by);
        for entry in self.entries.values_mut() {
            entry.set_back(now, by);
        }
        let keys: Vec<Key> = self.entries.keys().cloned().collect();
        keys.iter().for_each(|key| self.requeue(key));
    }

    /// What may be persisted: the counts, and the instant up to which they know the fate of every tick.
    pub fn settled(&self, key: &Key) -> Option<(Counts, Timestamp)> {
        self.entries.get(key).filter(|entry| !entry.removed).map(|entry| (entry.counts(), entry.settled()))
    }

    /// The ticks of a key.
    pub fn grid(&self, key: &Key) -> Option<&Grid> {
        self.entries.get(key).filter(|entry| !entry.removed).map(Entry::grid)
    }

    /// How many runs hold a slot.
    pub fn in_flight(&self) -> usize {
        self.lanes.in_flight()
    }

    fn end(&mut self, key: &Key, end: End) -> Option<Counts> {
        let entry = self.entries.get_mut(key)?;
        if let Some((began, group)) = entry.slot() {
            entry.end(end);
            self.lanes.release(key, began, group);
        }
        if entry.removed {
            self.entries.remove(key);
            return None;
        }
        let counts = entry.counts();
        self.requeue(key);
        Some(counts)
    }

    /// Puts an entry where it wants to be.
    fn requeue(&mut self, key: &Key) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let wants = entry.wants().filter(|_| !entry.removed).map(|at| (at, entry.lane()));
        if wants == entry.queued {
            return;
        }
        if let Some((at, lane)) = std::mem::replace(&mut entry.queued, wants) {
            self.lanes.unqueue(at, key, lane);
        }
        if let Some((at, lane)) = wants {
            self.lanes.queue(at, key, lane);
        }
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod slot_tests;
