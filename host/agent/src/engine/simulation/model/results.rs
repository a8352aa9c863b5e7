//! What follows from the end of a run, a pushed result, or silence.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use roundsman_model::check::{Check, Timing};
use roundsman_model::key::Key;
use roundsman_model::record::{Blame, Finding, Origin, Status};
use roundsman_model::silence::Until;
use roundsman_model::state::{Confirm, Quiet, State};
use roundsman_model::time::Timestamp;
use roundsman_schedule::schedule::Start;

use super::super::facts::Facts;
use super::super::told::{FindingTold, Row, Told, Why};
use super::track::{Step, Track};
use super::{Model, Subject, covers, silent_at};

impl Model {
    /// Whether the run was one of a subject that is still there.
    pub(in super::super) fn finished(&mut self, start: &Start, generation: u64, facts: &Facts) -> bool {
        self.end_flight(&start.key, Some(facts.ended));
        let known = self.subjects.get(&start.key).is_some_and(|subject| subject.generation == generation);
        if known {
            self.conclude(start, facts);
        }
        known
    }

    /// Whether it was taken.
    pub(in super::super) fn push(&mut self, key: &Key, facts: &Facts, now: Timestamp) -> bool {
        let Some(subject) = self.subjects.get(key) else { return false };
        let Timing::Ttl(ttl) = subject.prepared.check.timing else { return false };
        self.settle(key, now);
        self.conclude(&self.told_at(key, Origin::Pushed, ttl, now), facts);
        true
    }

    fn told_at(&self, key: &Key, origin: Origin, ttl: Duration, at: Timestamp) -> Start {
        let time = at.max(Timestamp(self.subjects[key].stamp.0.saturating_add(1)));
        Start { key: key.clone(), origin, due: at, time, interval_ns: ttl.as_nanos() as u64 }
    }

    fn conclude(&mut self, start: &Start, facts: &Facts) {
        self.settle(&start.key, start.due);
        let conduct = self.judge(start, facts);
        let followed = conduct.as_ref().map(|behaved| behaved.phase);
        let (mono, key) = (self.mono, &start.key);
        let subject = self.subjects.get_mut(key).unwrap();
        let check = subject.prepared.check.clone();
        let (status, code) = weigh(&check, facts);
        let target = facts.blame == Blame::Target;
        let confirm = Confirm { success: check.success_threshold, failure: check.failure_threshold };
        let at = subject.after_all(start.time);
        let (attempt, mut change) = subject.track.hear(status, target, confirm, at, mono);
        let mut findings = Vec::new();
        if target {
            findings = hear_findings(&mut subject.findings, &facts.findings, confirm, at, mono);
        }
        subject.previous = Some(status);
        subject.stamp = at;
        subject.held = None;
        subject.silent_at = silent_at(&subject.prepared.grid, &check, start.due);
        for (name, value) in &facts.memory {
            match value {
                Some(value) => subject.memory.insert(name.clone(), value.clone()),
                None => subject.memory.remove(name),
            };
        }
        let stand = subject.track.stand();
        let may_retry = !matches!(check.timing, Timing::Ttl(_));
        if let Some(retry) = check.retry_interval.filter(|_| stand.soft.is_some() && may_retry) {
            subject.ticks.retry = Some(facts.started + retry);
        }
        let suspect = self.is_suspect(key, status, facts.blame, &check);
        if stand.state == State::Ok && stand.soft.is_none() {
            self.end_acknowledgements(key);
        }
        let quiet = self.quiet(key, suspect, facts.ended);
        for change in change.iter_mut().chain(findings.iter_mut().filter_map(|(_, _, change)| change.as_mut())) {
            change.quiet = quiet;
        }
        let ticks = &self.subjects[key].ticks;
        self.told.push(Told::Record(Box::new(Row {
            key: key.clone(),
            origin: start.origin,
            time: at,
            started: facts.started,
            status,
            blame: facts.blame,
            code,
            attempt,
            interval_ns: start.interval_ns,
            stand,
            change,
            findings,
            memory: facts.memory.clone(),
            counts: ticks.counts,
            last_tick: ticks.settled(),
            suspect,
            conduct,
        })));
        if let Some(phase) = followed {
            let plugin = check.plugin.clone();
            self.follow(&plugin, phase, facts.ended);
        }
    }

    /// Every anchor failed the last time, and this is one more failure over the network.
    fn is_suspect(&mut self, key: &Key, status: Status, blame: Blame, check: &Check) -> bool {
        let target = blame == Blame::Target;
        if self.anchors.contains(&key.check) {
            self.anchors_fail.insert(key.clone(), target && status != Status::Ok);
            return false;
        }
        let cut_off = !self.anchors_fail.is_empty() && self.anchors_fail.values().all(|fails| *fails);
        let network = key.target.is_some() || !check.allow.network.is_empty();
        cut_off && network && target && matches!(status, Status::Warning | Status::Critical)
    }

    fn end_acknowledgements(&mut self, key: &Key) {
        let named = self.silences.iter().filter(|(_, s)| s.until == Until::Recovery && covers(s, key));
        let ids: Vec<u64> = named.map(|(id, _)| *id).collect();
        self.end_silences(ids);
    }

    fn quiet(&self, key: &Key, suspect: bool, now: Timestamp) -> Option<Quiet> {
        let subject = &self.subjects[key];
        let lasts = |until: Until| match until {
            Until::Instant(until) => until > now,
            Until::Recovery => true,
        };
        if subject.prepared.check.shadow {
            Some(Quiet::Shadow)
        } else if self.silences.values().any(|silence| covers(silence, key) && lasts(silence.until)) {
            Some(Quiet::Silenced)
        } else if suspect {
            Some(Quiet::Suspect)
        } else if subject.track.last().flapping {
            Some(Quiet::Flapping)
        } else {
            None
        }
    }

    /// Whether nothing was heard for too long before an instant, and what then.
    pub(super) fn settle(&mut self, key: &Key, now: Timestamp) {
        let subject = &self.subjects[key];
        if !subject.is_silent(now) {
            return;
        }
        let Subject { silent_at: Some(at), prepared, .. } = subject else { return };
        let (at, timing) = (*at, prepared.check.timing.clone());
        let Timing::Ttl(ttl) = timing else {
            self.turn(key, State::Stale, at, Why::Silence);
            return;
        };
        let start = self.told_at(key, Origin::Expired, ttl, at);
        if let Some(why) = self.holds_back(&start) {
            self.turn(key, State::Skipped, at, why);
            self.subjects.get_mut(key).unwrap().held = Some(why);
        } else {
            let facts = Facts::bare(Status::Critical, Blame::Target, Some("ttl"), at);
            self.conclude(&start, &facts);
        }
        let mut next = at;
        while next <= now {
            next = next + ttl;
        }
        self.subjects.get_mut(key).unwrap().silent_at = Some(next);
    }

    /// False: it stands so already.
    pub(super) fn turn(&mut self, key: &Key, to: State, at: Timestamp, why: Why) -> bool {
        let mono = self.mono;
        let subject = self.subjects.get_mut(key).unwrap();
        let at = subject.after_all(at);
        let Some(mut change) = subject.track.turn(to, at, mono) else { return false };
        let (stand, counts, last_tick) = (subject.track.stand(), subject.ticks.counts, subject.ticks.settled());
        change.quiet = self.quiet(key, false, at);
        self.told.push(Told::Turned { key: key.clone(), stand, change, why, counts, last_tick });
        true
    }
}

/// What the operator's rules make of a status. Thresholds are the same everywhere: warning above 10, critical above 20.
fn weigh(check: &Check, facts: &Facts) -> (Status, Option<Arc<str>>) {
    let code = facts.code.map(Arc::from);
    if facts.blame != Blame::Target {
        return (facts.status, code);
    }
    let status = match facts.status {
        Status::Ok if check.negate => Status::Critical,
        Status::Warning | Status::Critical if check.negate => Status::Ok,
        status => status,
    };
    let measured = match facts.value.filter(|_| !check.thresholds.is_empty()) {
        Some(21..) => Status::Critical,
        Some(11..) => Status::Warning,
        _ => Status::Ok,
    };
    let badness = [Status::Ok, Status::Warning, Status::Unknown, Status::Critical];
    let rank = |status: Status| badness.iter().position(|other| *other == status);
    if rank(measured) > rank(status) { (measured, Some("threshold".into())) } else { (status, code) }
}

fn hear_findings(
    tracks: &mut BTreeMap<Arc<str>, Track>,
    reported: &[Finding],
    confirm: Confirm,
    at: Timestamp,
    mono: i64,
) -> Vec<FindingTold> {
    let known = tracks.iter().filter(|(_, track)| !track.last().gone).map(|(subject, _)| subject.clone());
    let subjects: BTreeSet<Arc<str>> =
        known.chain(reported.iter().map(|finding| finding.subject.as_str().into())).collect();
    let mut told = Vec::new();
    for subject in subjects {
        let said = reported.iter().filter(|finding| *finding.subject == *subject).map(|finding| finding.status);
        let badness = [Status::Ok, Status::Warning, Status::Unknown, Status::Critical];
        let said = said.max_by_key(|status| badness.iter().position(|other| other == status));
        let track = tracks.entry(subject.clone()).or_insert_with(|| Track { steps: Vec::new() });
        let known = track.steps.last().is_some_and(|step| !step.gone);
        let before = known.then(|| all_of(track));
        if !known {
            track.push(Step::first(State::Pending, at, mono));
        }
        let (_, change) = track.hear(said.unwrap_or(Status::Ok), true, confirm, at, mono);
        if said.is_none() && track.last().state == State::Ok {
            let last = *track.last();
            track.push(Step { gone: true, mono, ..last });
            told.push((subject, None, change));
        } else if before != Some(all_of(track)) {
            told.push((subject, Some(track.stand()), change));
        }
    }
    told
}

/// Everything by which two standings can differ.
fn all_of(track: &Track) -> impl PartialEq + use<> {
    let mut differences = track.differences();
    while differences.last() == Some(&false) {
        differences.pop();
    }
    let stand = track.stand();
    let last = track.steps.iter().rev().take_while(|step| !step.gone).find_map(|step| step.heard);
    (stand.state, stand.since, stand.soft, stand.flapping, differences, last.map(|(status, _)| status))
}
