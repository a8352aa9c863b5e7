//! From the outcome of a run, a pushed result or silence to records, states and changes.

use std::sync::Arc;
use std::time::Duration;

use roundsman_model::check::{Check, Timing};
use roundsman_model::findings;
use roundsman_model::key::Key;
use roundsman_model::record::{Blame, Origin, Record, Status};
use roundsman_model::state::{Change, Quiet, Standing, State};
use roundsman_model::threshold;
use roundsman_model::time::Timestamp;
use roundsman_model::units::format_duration;
use roundsman_schedule::schedule::Start;
use roundsman_store::{Entry, Recorded, Turned};

use crate::engine::command::{PushRefused, Pushed};
use crate::engine::core::Core;
use crate::outcome::Outcome;

/// The code of a result that thresholds made worse, and of one that never came.
const THRESHOLD: &str = "threshold";
const TTL: &str = "ttl";

impl Core {
    /// Makes a record of an outcome, and everything that follows from it.
    pub(super) fn conclude(&mut self, start: &Start, mut outcome: Outcome) {
        self.settle(&start.key, start.due);
        let conduct = self.supervise(start, &outcome);
        let (counts, last_tick) = self.settled(&start.key);
        let Some(subject) = self.subjects.get_mut(&start.key) else { return };
        let check = subject.prepared.check.clone();
        weigh(&check, &mut outcome);
        let (status, blame) = (outcome.status, outcome.blame);
        let network = subject.prepared.uses_network();
        self.uplink.heard(&start.key, status, blame);
        let suspect = self.uplink.suspects(&start.key, status, blame, network);
        // Later than what came before, also if that was pushed or found stale meanwhile, or had this name earlier.
        let at = subject.later(start.time);
        let attempt = subject.standing.attempt(status);
        let (standing, mut change) = subject.standing.apply(status, blame, subject.prepared.confirm(), at);
        let mut changed = if blame == Blame::Target {
            findings::apply(&mut subject.findings, &outcome.findings, subject.prepared.confirm(), at)
        } else {
            Vec::new()
        };
        subject.standing = standing;
        subject.previous = Some(status);
        subject.stamp = at;
        subject.gate = None;
        subject.silent_at = subject.prepared.silent_at(start.due);
        subject.remember(&outcome.memory);
        let (plugin, tags) = (subject.prepared.plugin().clone(), subject.prepared.tags.clone());
        let retry = check.retry_interval.filter(|_| standing.soft.is_some() && start.origin != Origin::Pushed);
        if let Some(retry) = retry {
            self.schedule.retry_at(&start.key, outcome.started + retry);
        }
        if standing.state == State::Ok && standing.soft.is_none() {
            for id in self.silences.recovered(&start.key) {
                self.entries.push(Entry::Unsilenced { id });
            }
        }
        let changes = change.iter_mut().chain(changed.iter_mut().filter_map(|finding| finding.change.as_mut()));
        hush(changes, || self.quiet(&start.key, &check, &standing, suspect, outcome.ended));
        let followed = conduct.as_ref().map(|conduct| (plugin.clone(), conduct.phase, outcome.ended));
        let record = Record {
            key: start.key.clone(),
            plugin,
            origin: start.origin,
            time: at,
            started: outcome.started,
            status,
            blame,
            code: outcome.code,
            summary: outcome.summary,
            standing,
            attempt,
            latency_ns: outcome.latency_ns,
            duration_ns: outcome.duration_ns,
            lag_ns: outcome.lag_ns,
            cpu_ns: outcome.cpu_ns,
            interval_ns: start.interval_ns,
            points: outcome.points,
            findings: outcome.findings,
            suspect,
        };
        let (memory, story) = (outcome.memory, outcome.story);
        let recorded = Recorded { record, tags, change, findings: changed, memory, counts, last_tick, story, conduct };
        self.entries.push(Entry::Record(Box::new(recorded)));
        if let Some((plugin, phase, at)) = followed {
            self.supervised(&plugin, phase, at);
        }
    }

    /// Why a change at this moment alarms nobody.
    fn quiet(&self, key: &Key, check: &Check, standing: &Standing, suspect: bool, now: Timestamp) -> Option<Quiet> {
        [
            (check.shadow, Quiet::Shadow),
            (self.silences.covering(key, now).is_some(), Quiet::Silenced),
            (suspect, Quiet::Suspect),
            (standing.flap.is_flapping(), Quiet::Flapping),
        ]
        .into_iter()
        .find_map(|(applies, quiet)| applies.then_some(quiet))
    }

    /// A result from outside: a record like any other.
    pub(crate) fn push(&mut self, pushed: Pushed, now: Timestamp) -> Result<(), PushRefused> {
        let Some(subject) = self.subjects.get(&pushed.key) else {
            let known = self.checks.contains_key(&pushed.key.check);
            return Err(if known { PushRefused::NoTarget } else { PushRefused::NoCheck });
        };
        let Timing::Ttl(ttl) = subject.prepared.check.timing else { return Err(PushRefused::NotPushed) };
        self.settle(&pushed.key, now);
        let mut outcome = Outcome::told(pushed.status, pushed.summary, now);
        outcome.latency_ns = pushed.latency_ns;
        outcome.points = pushed.points;
        outcome.findings = pushed.findings;
        let start = self.off_the_grid(pushed.key, Origin::Pushed, ttl, now);
        self.conclude(&start, outcome);
        Ok(())
    }

    /// Takes silence into account that had lasted too long before an instant.
    pub(super) fn settle(&mut self, key: &Key, now: Timestamp) {
        let Some(subject) = self.subjects.get(key) else { return };
        let Some(at) = subject.silent_since(now) else { return };
        if let Timing::Ttl(ttl) = subject.prepared.check.timing {
            return self.expire(key.clone(), ttl, at, now);
        }
        let since = subject.stamp;
        let summary = if since.0 > 0 { format!("not heard of since {since}") } else { "never heard of".to_owned() };
        self.turn(key, State::Stale, at, summary.into());
    }

    /// Nobody told us anything in time: one record, however many times over.
    fn expire(&mut self, key: Key, ttl: Duration, at: Timestamp, now: Timestamp) {
        let last = self.subjects.get(&key).map(|subject| subject.stamp).filter(|stamp| stamp.0 > 0);
        let never = || "none ever came".to_owned();
        let last = last.map_or_else(never, |stamp| format!("the record before this is of {stamp}"));
        let summary = format!("no result within {}: {last}", format_duration(ttl));
        let mut outcome = Outcome::told(Status::Critical, summary.into(), at);
        outcome.code = Some(TTL.into());
        let start = self.off_the_grid(key.clone(), Origin::Expired, ttl, at);
        match self.gate(&start) {
            None => self.conclude(&start, outcome),
            // Who should tell us is not expected to.
            Some(gate) => {
                self.excuse(&key, at, gate);
            }
        }
        if let Some(subject) = self.subjects.get_mut(&key) {
            let (ttl, late) = (roundsman_model::time::nanos(ttl).max(1), now.0.saturating_sub(at.0).max(0));
            subject.silent_at = Some(Timestamp(at.0.saturating_add((late / ttl + 1).saturating_mul(ttl))));
        }
    }

    fn off_the_grid(&self, key: Key, origin: Origin, ttl: Duration, at: Timestamp) -> Start {
        let last = self.subjects.get(&key).map_or(Timestamp(i64::MIN), |subject| subject.stamp);
        let time = at.max(Timestamp(last.0.saturating_add(1)));
        Start { key, origin, due: at, time, interval_ns: roundsman_model::time::nanos(ttl).unsigned_abs() }
    }

    /// A change that no record brings about. Does nothing where it stands so already.
    pub(super) fn turn(&mut self, key: &Key, to: State, at: Timestamp, summary: Arc<str>) -> bool {
        let (counts, last_tick) = self.settled(key);
        let Some(subject) = self.subjects.get_mut(key) else { return false };
        let at = subject.later(at);
        let Some((standing, mut change)) = subject.standing.turn(to, at) else { return false };
        subject.standing = standing;
        let check = subject.prepared.check.clone();
        let (plugin, tags) = (check.plugin.clone(), subject.prepared.tags.clone());
        change.quiet = self.quiet(key, &check, &standing, false, at);
        let key = key.clone();
        let turned = Turned { key, plugin, tags, standing, change, summary, counts, last_tick };
        self.entries.push(Entry::Turned(Box::new(turned)));
        true
    }
}

/// Says of changes why they alarm nobody; most runs change nothing, and nobody asks.
fn hush<'a>(changes: impl Iterator<Item = &'a mut Change>, quiet: impl FnOnce() -> Option<Quiet>) {
    let mut changes = changes.peekable();
    if changes.peek().is_some() {
        let quiet = quiet();
        changes.for_each(|change| change.quiet = quiet);
    }
}

/// What the operator's own rules make of what the plugin found.
fn weigh(check: &Check, outcome: &mut Outcome) {
    if outcome.blame != Blame::Target {
        return;
    }
    if check.negate {
        let (negated, word) = match outcome.status {
            Status::Ok => (Status::Critical, "ok"),
            Status::Warning => (Status::Ok, "warning"),
            Status::Critical => (Status::Ok, "critical"),
            Status::Unknown => (Status::Unknown, "unknown"),
        };
        if negated != outcome.status {
            outcome.summary = format!("{} ({word}, negated)", outcome.summary).into();
            outcome.status = negated;
        }
    }
    if let Some(verdict) = threshold::judge(&check.thresholds, &outcome.points)
        && verdict.status.severity() > outcome.status.severity()
    {
        outcome.status = verdict.status;
        outcome.code = Some(THRESHOLD.into());
        outcome.summary = format!("{}; {}", verdict.why, outcome.summary).into();
    }
}
