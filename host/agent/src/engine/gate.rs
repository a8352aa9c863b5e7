//! What keeps a tick from becoming a run on purpose: maintenance, and a dependency that is known to be down. For plugins
//! that are left alone see `supervise`.

use std::sync::Arc;

use roundsman_model::key::Key;
use roundsman_model::name::CheckName;
use roundsman_model::record::Origin;
use roundsman_model::state::State;
use roundsman_model::time::Timestamp;
use roundsman_schedule::schedule::Start;

use crate::engine::core::Core;
use crate::subject::{Gate, GateKind, Subject};

impl Core {
    /// Why a popped run is not to take place. What an operator asks for is run in any case.
    pub(super) fn gate(&self, start: &Start) -> Option<Gate> {
        if start.origin == Origin::RunNow {
            return None;
        }
        let subject = self.subjects.get(&start.key)?;
        let ends = subject.prepared.windows.iter().filter_map(|window| window.covers(start.due)).max();
        if let Some(end) = ends {
            return Some(Gate { kind: GateKind::Maintenance, why: format!("maintenance until {end}").into() });
        }
        let check = &subject.prepared.check;
        let why = check.depends_on.iter().find_map(|name| self.lacks(name, &start.key))?;
        Some(Gate { kind: GateKind::Dependency, why: format!("depends on {why}").into() })
    }

    /// Which target of a dependency is down, in words. Where it has a target of the same name, only that one counts.
    fn lacks(&self, dependency: &CheckName, key: &Key) -> Option<Arc<str>> {
        let keys = self.checks.get(dependency)?;
        let same = Key { check: dependency.clone(), target: key.target.clone() };
        if key.target.is_some() && keys.contains(&same) {
            return self.subjects.get(&same).and_then(|subject| down(&same, subject));
        }
        keys.iter().find_map(|key| self.subjects.get(key).and_then(|subject| down(key, subject)))
    }

    /// Counts a popped run as skipped, and tells why the first time.
    pub(super) fn hold_back(&mut self, start: &Start, gate: Gate) {
        self.schedule.skip(&start.key);
        self.uplink.forget(&start.key);
        if !self.excuse(&start.key, start.time, gate) {
            self.persist_counts(&start.key);
        }
        if let Some(subject) = self.subjects.get_mut(&start.key) {
            subject.silent_at = subject.prepared.silent_at(start.due);
        }
    }

    /// Nothing is expected of a key at this instant. False: that was so before.
    pub(super) fn excuse(&mut self, key: &Key, at: Timestamp, gate: Gate) -> bool {
        let turned = self.turn(key, gate.kind.state(), at, gate.why.clone());
        if let Some(subject) = self.subjects.get_mut(key) {
            // What is held back for its plugin's sake says so as long as the plugin is: who publishes knows that.
            if !turned && gate.kind != GateKind::Plugin && subject.gate.as_ref() != Some(&gate) {
                self.reasons.push((key.clone(), gate.why.clone()));
            }
            subject.gate = Some(gate);
        }
        turned
    }
}

fn down(key: &Key, subject: &Subject) -> Option<Arc<str>> {
    match (&subject.gate, subject.standing.state) {
        (Some(Gate { kind: GateKind::Dependency, why }), State::Skipped) => {
            Some(format!("{key}, which is not run: {why}").into())
        }
        (_, State::Critical) => Some(format!("{key}, which is critical").into()),
        _ => None,
    }
}
