//! Supervision, found out by looking back over every run of a plugin and everything that was ever said of it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use roundsman_model::hash;
use roundsman_model::key::Key;
use roundsman_model::name::PluginName;
use roundsman_model::record::{Blame, Origin};
use roundsman_model::state::State;
use roundsman_model::supervision::{Phase, Rules};
use roundsman_model::time::Timestamp;
use roundsman_schedule::schedule::Start;

use super::super::facts::Facts;
use super::super::store::Store;
use super::super::told::{Behaved, Told, Why};
use super::Model;
use crate::engine::supervise::Seen;

/// A version of a plugin, since its file changed or it was released.
#[derive(Debug)]
pub(in super::super) struct Plugin {
    pub(in super::super) life: u64,
    pub(in super::super) behaved: Behaved,
    present: bool,
    trial: Option<Key>,
    /// Ends of runs since it began to run, and whether they failed.
    runs: Vec<(Timestamp, bool)>,
}

/// Everything that was said of plugins, and when by a clock that nobody sets.
pub(super) type Sayings = Vec<(i64, PluginName, Option<Behaved>)>;

impl Plugin {
    fn new(life: u64, behaved: Behaved, present: bool) -> Self {
        Self { life, behaved, present, trial: None, runs: Vec::new() }
    }

    fn holds(&self) -> bool {
        self.behaved.phase != Phase::Running
    }
}

impl Model {
    /// What the store knows of plugins is what was said of them until then.
    pub(super) fn restart_plugins(&mut self, sayings: Sayings, store: &Store, mono: i64) {
        let mut known: BTreeMap<PluginName, Behaved> = BTreeMap::new();
        for (_, plugin, behaved) in sayings.into_iter().filter(|(said, ..)| *said <= mono) {
            match behaved {
                Some(behaved) => drop(known.insert(plugin, behaved)),
                None => drop(known.remove(&plugin)),
            }
        }
        let stored = store.conducts.iter().map(|(plugin, conduct)| (plugin.clone(), Behaved::from(conduct)));
        assert_eq!(known, stored.collect());
        for (plugin, behaved) in known {
            self.sayings.push((i64::MIN, plugin.clone(), Some(behaved.clone())));
            if behaved.phase != Phase::Running {
                self.left_held.insert(plugin.clone());
            }
            self.plugins.insert(plugin, Plugin::new(0, behaved, false));
        }
    }

    pub(in super::super) fn take_plugins(&mut self, seen: &Seen, complete: bool, now: Timestamp) {
        let mut gone: Vec<PluginName> = self.plugins.keys().filter(|name| !seen.contains_key(*name)).cloned().collect();
        gone.retain(|name| complete || self.plugins[name].present);
        gone.sort();
        for name in gone {
            let plugin = self.plugins.remove(&name).unwrap();
            if plugin.behaved.backoffs > 0 {
                self.say(&name, None);
            }
        }
        for (name, digest) in seen {
            let same = |plugin: &Plugin| digest.as_ref().is_none_or(|digest| *digest == plugin.behaved.digest);
            if let Some(plugin) = self.plugins.get_mut(name).filter(|plugin| same(plugin)) {
                plugin.present = true;
            } else if let Some(digest) = digest {
                self.clean(name, digest, now);
            }
        }
    }

    pub(in super::super) fn release(&mut self, name: &PluginName, now: Timestamp) -> bool {
        let Some(plugin) = self.plugins.get(name).filter(|plugin| plugin.holds()) else { return false };
        let digest = plugin.behaved.digest.clone();
        self.clean(name, &digest, now);
        true
    }

    fn clean(&mut self, name: &PluginName, digest: &Arc<str>, now: Timestamp) {
        self.lives += 1;
        let fresh =
            Behaved { digest: digest.clone(), phase: Phase::Running, since: now, backoffs: 0, failures: 0, runs: 0 };
        let before = self.plugins.insert(name.clone(), Plugin::new(self.lives, fresh, true));
        if before.is_some_and(|before| before.behaved.backoffs > 0) {
            self.say(name, None);
            self.soon(name, now);
        }
    }

    fn say(&mut self, name: &PluginName, behaved: Option<Behaved>) {
        self.sayings.push((self.mono, name.clone(), behaved.clone()));
        self.told.push(Told::Supervised(name.clone(), behaved));
    }

    /// Whether a run is let in; and if so, it belongs to the present life of its plugin.
    pub(super) fn let_in(&mut self, start: &Start, now: Timestamp) -> Option<Why> {
        let subject = self.subjects.get_mut(&start.key).unwrap();
        subject.life = None;
        let plugin = self.plugins.get_mut(subject.prepared.plugin())?;
        let asked_for = start.origin == Origin::RunNow;
        let may = match plugin.behaved.phase {
            Phase::Running => true,
            Phase::Quarantined => asked_for,
            Phase::BackOff { until } => {
                let over = until <= now || until.since(now) > self.rules.max_backoff;
                if plugin.trial.is_none() && (over || asked_for) {
                    plugin.trial = Some(start.key.clone());
                    true
                } else {
                    asked_for
                }
            }
        };
        subject.life = may.then_some(plugin.life);
        (!may).then_some(Why::Plugin)
    }

    /// What a run says of its plugin. Some: it stands differently from now on.
    pub(super) fn judge(&mut self, start: &Start, facts: &Facts) -> Option<Behaved> {
        if matches!(start.origin, Origin::Pushed | Origin::Expired) {
            return None;
        }
        let subject = self.subjects.get_mut(&start.key).unwrap();
        let (life, name) = (subject.life.take()?, subject.prepared.plugin().clone());
        let rules = self.rules;
        let plugin = self.plugins.get_mut(&name).filter(|plugin| plugin.life == life)?;
        let trial = plugin.trial.as_ref() == Some(&start.key);
        if trial {
            plugin.trial = None;
        }
        let failed = match facts.blame {
            Blame::Host if facts.code == Some("denied") && facts.cut => false,
            Blame::Host => return None,
            _ if facts.code == Some("plugin") => return None,
            Blame::Plugin => facts.cut,
            Blame::Target => false,
        };
        let at = facts.ended;
        match plugin.behaved.phase {
            Phase::Quarantined => return None,
            Phase::BackOff { .. } if !trial => return None,
            Phase::BackOff { .. } if !failed => {
                (plugin.behaved.phase, plugin.behaved.since) = (Phase::Running, at);
            }
            Phase::BackOff { .. } => plugin.fall(&rules, at),
            Phase::Running => {
                let at_least = plugin.runs.last().map_or(at, |(last, _)| at.max(*last));
                plugin.runs.push((at_least, failed));
                let (failures, runs) = plugin.recent(&rules, at_least);
                if !failed || failures < rules.failures || failures * 2 < runs {
                    return None;
                }
                (plugin.behaved.failures, plugin.behaved.runs) = (failures, runs);
                plugin.fall(&rules, at);
            }
        }
        let behaved = plugin.behaved.clone();
        self.sayings.push((self.mono, name, Some(behaved.clone())));
        Some(behaved)
    }

    /// What follows from that for its checks.
    pub(super) fn follow(&mut self, name: &PluginName, phase: Phase, at: Timestamp) {
        match phase {
            Phase::Running => self.soon(name, at),
            Phase::BackOff { .. } => {}
            Phase::Quarantined => {
                for key in self.run_by(name) {
                    if self.subjects[&key].track.last().state != State::Skipped {
                        self.hold(&key, at);
                    }
                }
            }
        }
    }

    pub(super) fn hold_new(&mut self, key: &Key, now: Timestamp) {
        let subject = &self.subjects[key];
        let Some(plugin) = self.plugins.get(subject.prepared.plugin()).filter(|plugin| plugin.holds()) else { return };
        let state = subject.track.last().state;
        let quarantined = plugin.behaved.phase == Phase::Quarantined && state != State::Skipped;
        if !subject.prepared.is_pushed() && (state == State::Unknown || quarantined) {
            self.hold(key, now);
        }
    }

    fn hold(&mut self, key: &Key, at: Timestamp) {
        if !self.turn(key, State::Unknown, at, Why::Plugin) {
            self.tell_counts(key);
        }
        self.subjects.get_mut(key).unwrap().held = Some(Why::Plugin);
    }

    fn soon(&mut self, name: &PluginName, now: Timestamp) {
        for key in self.run_by(name) {
            let subject = self.subjects.get_mut(&key).unwrap();
            if subject.held == Some(Why::Plugin) {
                let spread = hash::stable(&["soon", key.check.as_str(), key.target_or_empty()]) % 10_000_000_000;
                subject.ticks.retry = Some(now + Duration::from_nanos(spread));
            }
        }
    }

    fn run_by(&self, name: &PluginName) -> Vec<Key> {
        let mut keys: Vec<Key> = self.subjects.keys().cloned().collect();
        keys.retain(|key| {
            let prepared = &self.subjects[key].prepared;
            prepared.plugin() == name && !prepared.is_pushed()
        });
        keys.sort();
        keys
    }

    pub(super) fn abandon(&mut self, key: &Key) {
        if let Some(subject) = self.subjects.get_mut(key) {
            subject.life = None;
        }
        for plugin in self.plugins.values_mut().filter(|plugin| plugin.trial.as_ref() == Some(key)) {
            plugin.trial = None;
        }
    }

    /// Nobody was here: runs that were under way count for nothing.
    pub(in super::super) fn pardon(&mut self) {
        self.subjects.values_mut().for_each(|subject| subject.life = None);
        self.plugins.values_mut().for_each(|plugin| plugin.trial = None);
    }

    pub(super) fn is_quarantined(&self, name: &PluginName) -> bool {
        self.plugins.get(name).is_some_and(|plugin| plugin.behaved.phase == Phase::Quarantined)
    }

    pub(super) fn forget_windows(&mut self) {
        self.plugins.values_mut().for_each(|plugin| plugin.runs.clear());
    }
}

impl Plugin {
    /// Failures and runs of the present twelfth of the window and the eleven before it.
    fn recent(&self, rules: &Rules, now: Timestamp) -> (u32, u32) {
        let part = |at: Timestamp| at.0 / (rules.window.as_nanos() as i64 / 12);
        let recent: Vec<bool> =
            self.runs.iter().filter(|(at, _)| part(*at) > part(now) - 12).map(|(_, failed)| *failed).collect();
        (recent.iter().filter(|failed| **failed).count() as u32, recent.len() as u32)
    }

    fn fall(&mut self, rules: &Rules, at: Timestamp) {
        self.runs.clear();
        let mut before = self.behaved.backoffs;
        if self.behaved.phase == Phase::Running {
            let mut healthy = self.behaved.since + rules.max_backoff;
            while healthy <= at && before > 0 {
                before -= 1;
                healthy = healthy + rules.max_backoff;
            }
        }
        self.behaved.since = at;
        self.behaved.backoffs = before;
        self.behaved.phase = if before >= rules.quarantine_after {
            Phase::Quarantined
        } else {
            let mut wait = rules.backoff;
            (0..before).for_each(|_| wait = (wait * 2).min(rules.max_backoff));
            self.behaved.backoffs += 1;
            Phase::BackOff { until: at + wait.min(rules.max_backoff) }
        };
    }
}

/// Plugins that were held back when the life before this one ended.
pub(super) type LeftHeld = HashSet<PluginName>;
