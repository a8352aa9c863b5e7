//! The engine's core and its model side by side: whatever is asked of one is asked of the other, and they must agree.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use roundsman_model::key::Key;
use roundsman_model::name::{CheckName, PluginName};
use roundsman_model::supervision::Rules;
use roundsman_model::time::Timestamp;
use roundsman_schedule::schedule::Start;
use roundsman_store::Entry;

use super::facts::Facts;
use super::model::Model;
use super::random::Random;
use super::scene::ANCHORS;
use super::store::{COMMIT_NS, Store};
use super::told::{Behaved, Stand, Told, Why};
use crate::engine::command::{NotNow, Pushed, SilenceDraft};
use crate::engine::core::{Away, Core, Past};
use crate::engine::supervise::{Seen, Watched};
use crate::subject::{GateKind, Prepared};

#[derive(Debug)]
pub(super) struct World {
    pub(super) core: Core,
    pub(super) model: Model,
    pub(super) store: Store,
    slots: u32,
    rules: Rules,
    /// By a clock that nobody sets; with `offset` it is what the agent takes for the time.
    pub(super) mono: i64,
    pub(super) offset: i64,
    random: Random,
    /// The last few things that were done, for whoever has to find out what went wrong.
    trace: VecDeque<(Timestamp, &'static str, Option<Key>, Option<Timestamp>)>,
}

impl World {
    pub(super) fn new(slots: u32, rules: Rules, begin: Timestamp, seed: u64) -> Self {
        Self {
            core: Core::new(slots, anchors(), rules, Past::default()),
            model: Model::new(slots as usize, anchors(), rules),
            rules,
            store: Store::default(),
            slots,
            mono: 0,
            offset: begin.0,
            random: Random::new(seed),
            trace: VecDeque::new(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp(self.mono + self.offset)
    }

    /// Notes what is about to be done, with whom, and as of when.
    fn begin(&mut self, what: &'static str, key: Option<&Key>, at: Option<Timestamp>) {
        self.model.mono = self.mono;
        if self.trace.len() == 30 {
            self.trace.pop_front();
        }
        self.trace.push_back((self.now(), what, key.cloned(), at));
    }

    /// The store was told what it should have been told, and gets it.
    fn agree(&mut self) {
        let entries = self.core.drain();
        let mut told: Vec<Told> = entries.iter().map(Told::from).collect();
        let mut expected = std::mem::take(&mut self.model.told);
        for (told, expected) in told.iter_mut().zip(&mut expected) {
            self.even_out(told, expected);
        }
        if told != expected {
            let at = told.iter().zip(&expected).position(|(told, expected)| told != expected);
            let at = at.unwrap_or(told.len().min(expected.len()));
            let (told, expected) = (told.get(at), expected.get(at));
            panic!("told:     {told:#?}\nexpected: {expected:#?}\n{}", self.story(told.or(expected)));
        }
        let mono = self.mono;
        entries.into_iter().for_each(|entry| self.store.submit(entry, mono));
    }

    /// Instants between which there is no tick say the same: whoever looked last found nothing.
    fn even_out(&self, told: &mut Told, expected: &mut Told) {
        let (Some((key, told)), Some((of, expected))) = (told.last_tick(), expected.last_tick()) else { return };
        // Of what was removed it is forgotten.
        let same = |key: &Key| self.model.subjects.get(key).is_none_or(|s| s.ticks.none_between(*expected, *told));
        if key == of && *told > *expected && same(key) {
            *expected = *told;
        }
    }

    /// What led there, as far as it concerns one key.
    fn story(&self, told: Option<&Told>) -> String {
        let key = match told {
            Some(Told::Record(row)) => Some(&row.key),
            Some(Told::Turned { key, .. } | Told::Counted { key, .. } | Told::Forget(key)) => Some(key),
            _ => None,
        };
        let subject = key.and_then(|key| self.core.subject(key)).map(|subject| &subject.prepared.check);
        format!("at {} ({}): {subject:#?}\n{:#?}", self.now(), self.now().0, self.trace)
    }

    pub(super) fn take_checks(&mut self, checks: Vec<Prepared>) -> Vec<Key> {
        self.begin("takes checks", None, None);
        let now = self.now();
        self.model.take_checks(&checks, now);
        let gone = self.core.take_checks(checks, now);
        self.agree();
        gone
    }

    /// What is to begin, as of an instant that may lie ahead. What is not to be run is told on the way.
    pub(super) fn pop(&mut self, at: Timestamp) -> Option<Start> {
        self.begin("pops", None, Some(at));
        self.model.look_at_flights(at);
        let thorough = self.random.once_in(24) && !self.model.is_unclear(at);
        let start = self.core.pop(at);
        for key in self.core.entries.iter().filter_map(Entry::key).cloned().collect::<Vec<_>>() {
            if thorough {
                assert_eq!(self.model.next(at), Some(&key), "{}", self.turns(at, Some(&key)));
            }
            let (start, held) = self.model.pop(&key, at);
            let why: Why = held.unwrap_or_else(|| panic!("{key} is held back without a reason {}", self.story(None)));
            self.model.hold_back(&start, why);
        }
        if thorough {
            let popped = start.as_ref().map(|start| &start.key);
            assert_eq!(self.model.next(at), popped, "{}", self.turns(at, popped));
        }
        self.agree();
        let start = start?;
        let (expected, held) = self.model.pop(&start.key, at);
        assert_eq!(start, expected, "{}", self.story(None));
        assert_eq!(held, None, "{} is not held back {}", start.key, self.story(None));
        self.check_job(&start);
        Some(start)
    }

    /// Why it should have been somebody else's turn.
    fn turns(&self, at: Timestamp, popped: Option<&Key>) -> String {
        let both = [self.model.next(at), popped].into_iter().flatten();
        let both: Vec<_> = both.map(|key| (key, self.model.subjects.get(key).map(|subject| &subject.ticks))).collect();
        format!("{both:#?} {}", self.story(None))
    }

    /// A run is given what is known of its key.
    fn check_job(&self, start: &Start) {
        let job = self.core.job(start).unwrap();
        let subject = &self.model.subjects[&start.key];
        assert_eq!(job.scheduled, start.due);
        assert_eq!(job.attempt, 1 + subject.track.stand().soft.map_or(0, |(_, count)| count), "{}", start.key);
        assert_eq!((job.previous, &*job.memory), (subject.previous, &subject.memory), "{}", start.key);
    }

    pub(super) fn take_plugins(&mut self, seen: &Seen, complete: bool) {
        self.begin("takes plugins", None, None);
        let now = self.now();
        self.core.take_plugins(seen, complete, now);
        self.model.take_plugins(seen, complete, now);
        self.agree();
    }

    pub(super) fn release(&mut self, plugin: &PluginName) {
        self.begin("releases", None, None);
        let now = self.now();
        assert_eq!(self.core.release(plugin, now).is_ok(), self.model.release(plugin, now), "{plugin}");
        self.agree();
    }

    pub(super) fn skip(&mut self, key: &Key) {
        self.begin("skips", Some(key), None);
        self.core.skip(key);
        self.model.skip(key);
        self.agree();
    }

    pub(super) fn finish(&mut self, start: &Start, generation: u64, facts: &Facts) {
        self.begin("ends", Some(&start.key), Some(facts.ended));
        let known = self.core.finished(start, generation, facts.outcome());
        assert_eq!(known, self.model.finished(start, generation, facts));
        self.agree();
    }

    pub(super) fn push(&mut self, key: &Key, facts: &Facts) {
        self.begin("pushes", Some(key), None);
        let pushed = Pushed {
            key: key.clone(),
            status: facts.status,
            summary: "as thrown".into(),
            points: facts.points(),
            findings: facts.findings.clone(),
            latency_ns: None,
        };
        let now = self.now();
        let taken = self.core.push(pushed, now).is_ok();
        assert_eq!(taken, self.model.push(key, facts, now));
        self.agree();
    }

    pub(super) fn run_now(&mut self, key: &Key) -> Result<(), NotNow> {
        self.begin("runs now", Some(key), None);
        let now = self.now();
        let answer = self.core.run_now(key, now);
        // The words are not the model's.
        let plainly = match &answer {
            Err(NotNow::Quarantined(why)) if why.contains("is quarantined since ") => {
                Err(NotNow::Quarantined("".into()))
            }
            answer => answer.clone(),
        };
        assert_eq!(plainly, self.model.run_now(key, now), "{key}");
        answer
    }

    pub(super) fn silence(&mut self, draft: &SilenceDraft) {
        self.begin("silences", None, None);
        let now = self.now();
        let silence = self.core.silence(draft.clone(), now);
        assert_eq!(silence.ok().map(|silence| silence.id), self.model.silence(draft, now));
        self.agree();
    }

    pub(super) fn unsilence(&mut self, id: u64) {
        self.begin("unsilences", None, None);
        assert_eq!(self.core.unsilence(id), self.model.unsilence(id));
        self.agree();
    }

    pub(super) fn pass_time(&mut self) {
        self.begin("passes time", None, None);
        let now = self.now();
        self.core.pass_time(now);
        self.model.pass_time(now);
        self.agree();
    }

    /// Time has passed without anybody looking, and the clock says something else than it should.
    pub(super) fn come_back(&mut self, away: Away, set_back: Duration) {
        let was = self.now() - away.all() + set_back;
        self.begin("comes back", None, Some(was));
        let now = self.now();
        if away.slept > super::drive::ABSENCE {
            self.core.pardon();
            self.model.pardon();
        }
        if away.all() > super::drive::ABSENCE {
            self.core.absent(away, now);
            self.model.absent(away, now);
        }
        if set_back > super::drive::ABSENCE {
            self.core.set_back(set_back, now);
            self.model.set_back(set_back, now);
        }
        self.agree();
    }

    /// The end of this life, and the beginning of the next one, which has no checks yet.
    pub(super) fn restart(&mut self, kill: bool) {
        self.begin(if kill { "is killed" } else { "restarts" }, None, None);
        let known = if kill { self.mono - COMMIT_NS } else { self.mono };
        if kill {
            self.store.kill(known);
        } else {
            self.store.commit_all();
        }
        self.model.restart(&self.store, known);
        self.core = Core::new(self.slots, anchors(), self.rules, self.store.past());
    }

    /// Everything that is known of everybody.
    pub(super) fn compare(&self) {
        let keys: BTreeSet<&Key> = self.core.subjects.keys().collect();
        assert_eq!(keys, self.model.subjects.keys().collect());
        for (key, model) in &self.model.subjects {
            let subject = self.core.subject(key).unwrap();
            let story = || format!("{key} {}", self.story(Some(&Told::Forget(key.clone()))));
            let counts = self.core.settled(key).0;
            assert!(counts.balanced(), "{}", story());
            assert_eq!(counts, model.ticks.counts, "{}", story());
            assert_eq!(Stand::from(&subject.standing), model.track.stand(), "{}", story());
            assert_eq!((subject.previous, &*subject.memory), (model.previous, &model.memory), "{}", story());
            assert_eq!((subject.stamp, subject.silent_at), (model.stamp, model.silent_at), "{}", story());
            assert_eq!(subject.generation, model.generation, "{}", story());
            let held = subject.gate.as_ref().map(|gate| match gate.kind {
                GateKind::Dependency => Why::Dependency,
                GateKind::Maintenance => Why::Maintenance,
                GateKind::Plugin => Why::Plugin,
            });
            assert_eq!((held, subject.life), (model.held, model.life), "{}", story());
            let findings: Vec<(&Arc<str>, Stand)> =
                subject.findings.iter().map(|(subject, standing)| (subject, Stand::from(standing))).collect();
            let known = model.findings.iter().filter(|(_, track)| !track.last().gone);
            let expected: Vec<(&Arc<str>, Stand)> = known.map(|(subject, track)| (subject, track.stand())).collect();
            assert_eq!(findings, expected, "{}", story());
        }
        assert_eq!(self.core.in_flight(), self.model.in_flight());
        let behaved = |watched: &Watched| (watched.life, Behaved::from(watched.conduct()));
        let known: BTreeMap<_, _> = self.core.plugins.iter().map(|(name, known)| (name, behaved(known))).collect();
        let expected = self.model.plugins.iter().map(|(name, plugin)| (name, (plugin.life, plugin.behaved.clone())));
        assert_eq!(known, expected.collect());
        let silences: Vec<u64> = self.core.silences.iter().map(|silence| silence.id).collect();
        assert!(silences.iter().eq(self.model.silences.keys()), "{silences:?}");
    }
}

fn anchors() -> Vec<CheckName> {
    ANCHORS.map(|name| CheckName::new(name).unwrap()).to_vec()
}
