//! Supervision of plugins: which runs are let in, what their ends say of the plugin, and what follows for its checks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use roundsman_model::hash;
use roundsman_model::key::Key;
use roundsman_model::name::PluginName;
use roundsman_model::record::Origin;
use roundsman_model::state::State;
use roundsman_model::supervision::{Conduct, Phase, Said, Supervision};
use roundsman_model::time::{Timestamp, nanos};
use roundsman_schedule::schedule::Start;
use roundsman_store::Entry;

use crate::engine::command::NotReleased;
use crate::engine::core::Core;
use crate::outcome::Outcome;
use crate::subject::{Gate, GateKind};

/// What was held back runs again within so long of a release: soon enough for who looks on, and no herd. Where the next
/// tick comes first, that one serves.
const SOON: Duration = Duration::from_secs(10);

/// One version of a plugin.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) supervision: Supervision,
    /// Tells runs that began since the file changed or was released from those before.
    pub(super) life: u64,
    /// Its file was seen by this process: when it goes, that is noticed.
    present: bool,
    /// Why its checks are held back, in words. None: they are not.
    why: Option<Arc<str>>,
}

/// Plugin files that there are, with the digest of the version in use.
pub(crate) type Seen = BTreeMap<PluginName, Option<Arc<str>>>;

impl Watched {
    pub(super) fn new(plugin: &PluginName, conduct: Conduct, life: u64, present: bool) -> Self {
        let why = conduct.words(plugin).map(Arc::from);
        Self { supervision: Supervision::new(conduct), life, present, why }
    }

    pub(super) fn conduct(&self) -> &Conduct {
        self.supervision.conduct()
    }

    fn is_quarantined(&self) -> bool {
        self.conduct().phase == Phase::Quarantined
    }
}

impl Core {
    /// Which plugins there are by now. `complete`: what an earlier life knew and is not among them is gone, too.
    pub(crate) fn take_plugins(&mut self, seen: &Seen, complete: bool, now: Timestamp) {
        let is_gone = |name: &PluginName, watched: &Watched| !seen.contains_key(name) && (complete || watched.present);
        let gone = self.plugins.iter().filter(|(name, watched)| is_gone(name, watched));
        let mut gone: Vec<PluginName> = gone.map(|(name, _)| name.clone()).collect();
        gone.sort();
        for plugin in gone {
            if self.plugins.remove(&plugin).is_some_and(|watched| !watched.conduct().is_spotless()) {
                self.entries.push(Entry::Supervised { plugin, conduct: None });
            }
        }
        for (plugin, digest) in seen {
            let known = self.plugins.get_mut(plugin);
            match (known, digest) {
                (Some(watched), digest) if digest.as_ref().is_none_or(|digest| *digest == watched.conduct().digest) => {
                    watched.present = true;
                }
                (_, Some(digest)) => self.begin_anew(plugin, digest.clone(), now),
                (_, None) => {}
            }
        }
    }

    /// An operator lets a plugin run again, with a clean sheet.
    pub(crate) fn release(&mut self, plugin: &PluginName, now: Timestamp) -> Result<(), NotReleased> {
        let conduct = self.plugins.get(plugin).ok_or(NotReleased::Unknown)?.conduct();
        if conduct.is_running() {
            return Err(NotReleased::Running);
        }
        self.begin_anew(plugin, conduct.digest.clone(), now);
        Ok(())
    }

    fn begin_anew(&mut self, plugin: &PluginName, digest: Arc<str>, now: Timestamp) {
        self.lives += 1;
        let watched = Watched::new(plugin, Conduct::new(digest, now), self.lives, true);
        let before = self.plugins.insert(plugin.clone(), watched);
        if before.is_some_and(|before| !before.conduct().is_spotless()) {
            self.entries.push(Entry::Supervised { plugin: plugin.clone(), conduct: None });
            self.run_soon(plugin, now);
        }
    }

    /// Why a popped run is not to take place, as far as its plugin is concerned.
    pub(super) fn let_in(&mut self, start: &Start, now: Timestamp) -> Option<Gate> {
        let subject = self.subjects.get_mut(&start.key)?;
        subject.life = None;
        let watched = self.plugins.get_mut(subject.prepared.plugin())?;
        let asked_for = start.origin == Origin::RunNow;
        if watched.supervision.let_in(&start.key, asked_for, &self.rules, now) {
            subject.life = Some(watched.life);
            return None;
        }
        watched.gate()
    }

    /// What the end of a run says of its plugin. Some: this is to be remembered from now on.
    pub(super) fn supervise(&mut self, start: &Start, outcome: &Outcome) -> Option<Box<Conduct>> {
        if matches!(start.origin, Origin::Pushed | Origin::Expired) {
            return None;
        }
        let subject = self.subjects.get_mut(&start.key)?;
        let life = subject.life.take()?;
        let plugin = subject.prepared.plugin();
        let watched = self.plugins.get_mut(plugin).filter(|watched| watched.life == life)?;
        let said = Said { code: outcome.code.as_deref(), summary: &outcome.summary };
        let (verdict, at) = (outcome.verdict(), outcome.ended);
        if !watched.supervision.ended(&start.key, verdict, said, &self.rules, at) {
            return None;
        }
        watched.why = watched.conduct().words(plugin).map(Arc::from);
        Some(Box::new(watched.conduct().clone()))
    }

    /// What follows for the checks of a plugin from how it behaved: nobody looks at what a quarantined one should look
    /// at, and that is said at once. In a back-off each is unknown from the first tick on that is not kept.
    pub(super) fn supervised(&mut self, plugin: &PluginName, phase: Phase, at: Timestamp) {
        match phase {
            Phase::Running => self.run_soon(plugin, at),
            Phase::BackOff { .. } => {}
            Phase::Quarantined => {
                let Some(gate) = self.plugins.get(plugin).and_then(Watched::gate) else { return };
                for key in self.keys_of(plugin) {
                    if self.subjects.get(&key).is_some_and(|subject| subject.standing.state != State::Skipped) {
                        self.hold(&key, at, gate.clone());
                    }
                }
            }
        }
    }

    /// A key that is new here, and whose plugin is held back: what is so is said at once, where it is so by now.
    pub(super) fn supervise_new(&mut self, key: &Key, now: Timestamp) {
        let Some(subject) = self.subjects.get(key).filter(|subject| !subject.prepared.is_pushed()) else { return };
        let Some(watched) = self.plugins.get(subject.prepared.plugin()) else { return };
        let applies = match subject.standing.state {
            State::Skipped => false,
            State::Unknown => true,
            _ => watched.is_quarantined(),
        };
        if let Some(gate) = watched.gate().filter(|_| applies) {
            self.hold(key, now, gate);
        }
    }

    fn hold(&mut self, key: &Key, at: Timestamp, gate: Gate) {
        if !self.excuse(key, at, gate) {
            // Who publishes tells why.
            self.persist_counts(key);
        }
    }

    /// A run that was let in will not be heard of.
    pub(super) fn abandon(&mut self, key: &Key) {
        if let Some(subject) = self.subjects.get_mut(key) {
            subject.life = None;
        }
        self.plugins.values_mut().for_each(|watched| watched.supervision.abandon(key));
    }

    /// The process stood still: what is cut when it goes on says nothing of its plugin.
    pub(crate) fn pardon(&mut self) {
        let running = self.subjects.iter().filter(|(_, subject)| subject.life.is_some());
        let running: Vec<Key> = running.map(|(key, _)| key.clone()).collect();
        running.iter().for_each(|key| self.abandon(key));
    }

    /// What is to be said to who wants to run a check of a quarantined plugin.
    pub(super) fn quarantined(&self, plugin: &PluginName) -> Option<Arc<str>> {
        self.plugins.get(plugin).filter(|watched| watched.is_quarantined())?.why.clone()
    }

    /// Failures and runs in the window, of plugins that had any.
    pub(crate) fn watched(&self, now: Timestamp) -> BTreeMap<PluginName, (u32, u32)> {
        let counts = |watched: &Watched| watched.supervision.watched(&self.rules, now);
        let counted = self.plugins.iter().map(|(plugin, watched)| (plugin.clone(), counts(watched)));
        counted.filter(|(_, (_, runs))| *runs > 0).collect()
    }

    /// The keys of a plugin that are run, in order.
    fn keys_of(&self, plugin: &PluginName) -> Vec<Key> {
        let of_plugin = self
            .subjects
            .iter()
            .filter(|(_, subject)| subject.prepared.plugin() == plugin && !subject.prepared.is_pushed());
        let mut keys: Vec<Key> = of_plugin.map(|(key, _)| key.clone()).collect();
        keys.sort();
        keys
    }

    /// What was held back for the sake of its plugin need not wait for its tick, which may be an hour away.
    fn run_soon(&mut self, plugin: &PluginName, now: Timestamp) {
        for key in self.keys_of(plugin) {
            let gate = self.subjects.get(&key).and_then(|subject| subject.gate.as_ref());
            if gate.is_some_and(|gate| gate.kind == GateKind::Plugin) {
                self.schedule.retry_at(&key, now + spread(&key));
            }
        }
    }
}

impl Watched {
    fn gate(&self) -> Option<Gate> {
        Some(Gate { kind: GateKind::Plugin, why: self.why.clone()? })
    }
}

/// Below `SOON`, and the same for a key whenever it is.
fn spread(key: &Key) -> Duration {
    let soon_ns = nanos(SOON).unsigned_abs();
    Duration::from_nanos(hash::stable(&["soon", key.check.as_str(), key.target_or_empty()]) % soon_ns)
}
