//! Where something stands, found out anew each time by looking back over what was said of it.
//!
//! Nothing is counted up: there is only the list of what happened, and rules that read it from its end.

use roundsman_model::record::Status;
use roundsman_model::state::{Change, Confirm, State};
use roundsman_model::time::Timestamp;

use super::super::told::Stand;

/// Looking back never goes further for a change of state: thresholds are at most 4 here.
const KEPT: usize = 300;
/// Flapping is about so many results of the target, however long ago they were: nothing is heard of it while its plugin is
/// left alone.
const HEARD: usize = 21;

/// What happened to a (check, target), or to a subject of its findings.
#[derive(Debug, Clone)]
pub(in super::super) struct Track {
    pub(super) steps: Vec<Step>,
}

/// One thing that happened, and where it stood afterwards.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Step {
    /// What a run said, and whether the target is to blame for it. None: it turned without a run, or it is the beginning.
    pub(super) heard: Option<(Status, bool)>,
    pub(super) state: State,
    pub(super) since: Timestamp,
    pub(super) flapping: bool,
    /// Results before this one do not count for a change of state.
    pub(super) anew: Anew,
    /// A finding that was ok and is no longer reported: what was before is forgotten.
    pub(in super::super) gone: bool,
    /// When this was found out, by a clock that nobody sets.
    pub(super) mono: i64,
}

impl Step {
    pub(super) fn first(state: State, since: Timestamp, mono: i64) -> Self {
        Self { heard: None, state, since, flapping: false, anew: Anew::After, gone: false, mono }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anew {
    No,
    /// This one does.
    From,
    /// Nor does this one.
    After,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Nowhere,
    Up,
    Down,
}

impl Track {
    pub(super) fn new(state: State, since: Timestamp) -> Self {
        Self { steps: vec![Step::first(state, since, i64::MIN)] }
    }

    /// What was found out after an instant is not known. False: nothing is left.
    pub(super) fn rewind(&mut self, mono: i64) -> bool {
        self.steps.retain(|step| step.mono <= mono);
        !self.steps.is_empty()
    }

    pub(in super::super) fn last(&self) -> &Step {
        self.steps.last().unwrap()
    }

    pub(super) fn push(&mut self, step: Step) {
        if self.steps.len() >= 2 * KEPT {
            let recent = self.steps.split_off(KEPT);
            let tells = |step: &&Step| step.gone || step.heard.is_some_and(|(_, target)| target);
            let mut old: Vec<Step> = self.steps.iter().rev().filter(tells).take(HEARD).copied().collect();
            old.reverse();
            self.steps = [old, recent].concat();
        }
        self.steps.push(step);
    }

    /// A result, and what it is called: the number of the attempt.
    pub(super) fn hear(
        &mut self,
        status: Status,
        target: bool,
        confirm: Confirm,
        at: Timestamp,
        mono: i64,
    ) -> (u32, Option<Change>) {
        let Step { state, since, .. } = *self.last();
        let way = way(state, status);
        let attempt = 1 + if way == Way::Nowhere { 0 } else { self.in_a_row(way) };
        let needed = match way {
            Way::Nowhere => 1,
            Way::Up => confirm.success,
            Way::Down => confirm.failure,
        };
        let to = State::from(status);
        let (to, anew) = if to == state {
            (state, Anew::No)
        } else if attempt >= needed {
            (to, Anew::After)
        } else if matches!(state, State::Skipped | State::Stale) {
            (State::Pending, Anew::From)
        } else {
            (state, Anew::No)
        };
        let step = Step { heard: Some((status, target)), state: to, anew, ..self.turned(to, at, mono) };
        self.push(step);
        if target {
            let flapping = self.flaps();
            self.steps.last_mut().unwrap().flapping = flapping;
        }
        (attempt, (to != state).then_some(Change { from: state, to, since, at, quiet: None }))
    }

    /// A change without a result.
    pub(super) fn turn(&mut self, to: State, at: Timestamp, mono: i64) -> Option<Change> {
        let Step { state, since, .. } = *self.last();
        if to == state {
            return None;
        }
        let step = self.turned(to, at, mono);
        self.push(step);
        Some(Change { from: state, to, since, at, quiet: None })
    }

    fn turned(&self, to: State, at: Timestamp, mono: i64) -> Step {
        let last = self.last();
        let since = if to == last.state { last.since } else { at };
        Step { heard: None, state: to, since, flapping: last.flapping, anew: Anew::After, gone: false, mono }
    }

    /// How many results at the end speak for the same change, one after the other.
    fn in_a_row(&self, which: Way) -> u32 {
        let state = self.last().state;
        let mut count = 0;
        for step in self.steps.iter().rev() {
            match step.heard {
                Some((status, _)) if step.anew != Anew::After && way(state, status) == which => count += 1,
                _ => break,
            }
            if step.anew == Anew::From {
                break;
            }
        }
        count
    }

    pub(super) fn soft(&self) -> Option<(Status, u32)> {
        let last = self.last();
        let (status, _) = last.heard.filter(|_| last.anew != Anew::After)?;
        let way = way(last.state, status);
        (way != Way::Nowhere).then(|| (status, self.in_a_row(way)))
    }

    pub(in super::super) fn stand(&self) -> Stand {
        let Step { state, since, flapping, .. } = *self.last();
        let flap_percent = f64::from(self.weight()) / 10.0;
        Stand { state, since, soft: self.soft(), flapping, flap_percent }
    }

    /// What the target was said to be, the newest first, at most the last 21 times.
    fn said(&self) -> Vec<Status> {
        let heard = self.steps.iter().rev().take_while(|step| !step.gone).filter_map(|step| step.heard);
        heard.filter(|(_, target)| *target).map(|(status, _)| status).take(21).collect()
    }

    /// For each of the last 20 results, the newest first: whether it differs from the one before it.
    pub(super) fn differences(&self) -> Vec<bool> {
        self.said().windows(2).map(|pair| pair[0] != pair[1]).collect()
    }

    /// Of 1,000: the i-th of the last 20 results weighs 0.8 + 0.02 · i percent of 20 if it differs from the one before.
    fn weight(&self) -> u32 {
        let differences = self.differences();
        differences.iter().enumerate().filter(|(_, differs)| **differs).map(|(n, _)| 40 + 19 - n as u32).sum()
    }

    /// From 30 % on, until it is below 25 %.
    fn flaps(&self) -> bool {
        if self.last().flapping { self.weight() >= 250 } else { self.weight() > 300 }
    }
}

fn way(state: State, status: Status) -> Way {
    match (state, status) {
        (State::Ok, Status::Ok)
        | (State::Unknown, Status::Unknown)
        | (State::Warning | State::Critical, Status::Warning | Status::Critical) => Way::Nowhere,
        (_, Status::Ok) => Way::Up,
        _ => Way::Down,
    }
}
