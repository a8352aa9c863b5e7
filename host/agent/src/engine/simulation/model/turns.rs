//! Who may run, who comes next, and what keeps it from running: found by looking at everybody.

use std::collections::HashSet;
use std::time::Duration;

use roundsman_model::check::Timing;
use roundsman_model::key::Key;
use roundsman_model::name::CheckName;
use roundsman_model::record::Origin;
use roundsman_model::state::State;
use roundsman_model::time::Timestamp;
use roundsman_schedule::schedule::Start;

use super::super::told::Why;
use super::ticks::{Begun, Flight};
use super::{Model, Subject};

/// A run that takes longer waits for something.
const WAITS: Duration = Duration::from_millis(50);

impl Model {
    pub(in super::super) fn in_flight(&self) -> usize {
        self.flying.len()
    }

    /// Somebody is asked for as of now: who has been running for too long counts among those that wait.
    pub(in super::super) fn look_at_flights(&mut self, now: Timestamp) {
        for key in &self.flying {
            let flight = match self.subjects.get_mut(key).and_then(|subject| subject.ticks.flight.as_mut()) {
                Some(flight) => flight,
                None => &mut self.orphans.get_mut(key).unwrap().0,
            };
            flight.waits |= now.since(flight.began) > WAITS;
        }
    }

    fn flights(&self) -> impl Iterator<Item = &Flight> {
        self.flying.iter().map(|key| {
            let flight = self.subjects.get(key).and_then(|subject| subject.ticks.flight.as_ref());
            flight.unwrap_or_else(|| &self.orphans[key].0)
        })
    }

    /// Whether the limits let a run of this begin: half the slots for those that wait, and no plugin more than its share.
    fn may_run(&self, subject: &Subject, share: usize) -> bool {
        let waiting = self.flights().filter(|flight| flight.waits).count();
        let of_group = self.flights().filter(|flight| flight.group == subject.ticks.group).count();
        self.flying.len() < self.slots && (!subject.ticks.slow || waiting < (self.slots / 2).max(1)) && of_group < share
    }

    fn share(&self) -> usize {
        let groups: HashSet<&str> = self.subjects.values().map(|subject| subject.ticks.group.as_str()).collect();
        (self.slots / groups.len().clamp(1, 4)).max(1)
    }

    /// Of all that may run, the one that has wanted to for the longest time.
    pub(in super::super) fn next(&self, now: Timestamp) -> Option<&Key> {
        let share = self.share();
        let wanting = self.subjects.iter().filter_map(|(key, subject)| Some((subject.ticks.wants(now)?, key, subject)));
        let may = wanting.filter(|(_, _, subject)| self.may_run(subject, share));
        may.map(|(at, key, _)| (at, key)).min().map(|(_, key)| key)
    }

    /// Whether somebody may stand in line at an instant that does not count any more.
    pub(in super::super) fn is_unclear(&self, now: Timestamp) -> bool {
        self.subjects.values().any(|subject| subject.ticks.is_late(now))
    }

    /// A key is popped. Returns what it begins with, and why it is not to be run after all.
    pub(in super::super) fn pop(&mut self, key: &Key, now: Timestamp) -> (Start, Option<Why>) {
        let share = self.slots;
        let subject = self.subjects.get(key).unwrap_or_else(|| panic!("{key} was removed, and runs"));
        assert!(subject.ticks.flight.is_none(), "{key} runs twice at once");
        assert!(self.may_run(subject, share), "{key} has no slot");
        assert!(!matches!(subject.prepared.check.timing, Timing::Ttl(_)), "{key} is pushed, and runs");
        let subject = self.subjects.get_mut(key).unwrap();
        let begun = subject.ticks.begin(now).unwrap_or_else(|| panic!("{key} is not due: {:?}", subject.ticks));
        self.flying.insert(key.clone());
        let Begun { origin, due, time, interval_ns } = begun;
        let start = Start { key: key.clone(), origin, due, time, interval_ns };
        let held = self.holds_back(&start).or_else(|| self.let_in(&start, now));
        (start, held)
    }

    /// Maintenance and dependencies, but not for whoever asked for it himself.
    pub(super) fn holds_back(&self, start: &Start) -> Option<Why> {
        if start.origin == Origin::RunNow {
            return None;
        }
        let subject = &self.subjects[&start.key];
        // Open from when it fires: so it fired after `due - length`, and not later than `due`.
        let open = subject
            .maintenance
            .iter()
            .any(|(cron, length)| cron.next_after(start.due - *length).is_some_and(|fires| fires <= start.due));
        if open {
            return Some(Why::Maintenance);
        }
        let lacks = subject.prepared.check.depends_on.iter().any(|name| self.is_down(name, &start.key));
        lacks.then_some(Why::Dependency)
    }

    fn is_down(&self, name: &CheckName, of: &Key) -> bool {
        let keys = self.keys_of.get(name).into_iter().flatten();
        let same: Vec<&Key> = keys.clone().filter(|key| key.target.is_some() && key.target == of.target).collect();
        let keys: Vec<&Key> = if same.is_empty() { keys.collect() } else { same };
        keys.into_iter().any(|key| {
            let subject = &self.subjects[key];
            let state = subject.track.last().state;
            state == State::Critical || (state == State::Skipped && subject.held == Some(Why::Dependency))
        })
    }

    /// A popped key does not run.
    pub(in super::super) fn hold_back(&mut self, start: &Start, why: Why) {
        let key = &start.key;
        self.end_flight(key, None);
        self.anchors_fail.remove(key);
        let to = if why == Why::Plugin { State::Unknown } else { State::Skipped };
        if !self.turn(key, to, start.time, why) {
            self.tell_counts(key);
        }
        let subject = self.subjects.get_mut(key).unwrap();
        subject.held = Some(why);
        subject.silent_at = super::silent_at(&subject.prepared.grid, &subject.prepared.check, start.due);
    }

    /// The slot is free.
    pub(in super::super) fn end_flight(&mut self, key: &Key, ran_until: Option<Timestamp>) {
        assert!(self.flying.remove(key), "{key} ended twice");
        match self.subjects.get_mut(key) {
            Some(subject) => subject.ticks.end(ran_until),
            None => drop(self.orphans.remove(key)),
        }
    }
}
