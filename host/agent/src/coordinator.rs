//! Follows the two directories: plugins become usable, checks files become what the engine runs.
//!
//! - `examine`: what only grants, ceilings and its plugin can tell of a check

pub(crate) mod examine;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use roundsman_model::check::Check;
use roundsman_model::name::{BUILT_IN, CheckName, PUSHED, PluginName};
use roundsman_web::view::{self, PluginState};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::examine::{examine, why_barred};
use crate::adapters;
use crate::checks::catalogue::Version;
use crate::checks::files::Files;
use crate::checks::{ChecksFile, Configured};
use crate::engine::command::Command;
use crate::plugins::{Bound, Library, blocking};
use crate::prepare::Common;
use crate::problem::Problem;
use crate::shared::{Loaded, PluginSlot, Shared};
use crate::subject::Prepared;
use crate::trust::ceiling::asked;
use crate::trust::{Origin, Policy, signature};
use crate::watch::Change;

/// How long the first look at checks waits for plugins. Those with machine code in the cache take milliseconds; the
/// ticks of the others are skipped until they are compiled.
const FIRST_LOADS: Duration = Duration::from_secs(2);
/// Plugins are loaded from files of this ending.
pub(crate) const PLUGIN_ENDINGS: &[&str] = &["wasm"];
/// What is watched for their sake: their signatures, too.
pub(crate) const WATCHED_ENDINGS: &[&str] = &["wasm", "minisig"];

pub(crate) struct Coordinator {
    files: Files,
    library: Library,
    common: Common,
    policy: Arc<Policy>,
    shared: Arc<Shared>,
    configured: Arc<RwLock<adapters::Configured>>,
    commands: mpsc::Sender<Command>,
    /// The check by which the agent looks at itself: no file names it.
    built_in: Option<Arc<Check>>,
    /// In force; kept for the question whether a new version of a plugin takes their settings.
    prepared: Vec<Prepared>,
    /// What plugins say of checks that came into force before them.
    complaints: BTreeMap<CheckName, Vec<Problem>>,
    /// Of the plugins' directory itself.
    problems: Vec<Problem>,
    /// Of files in it that no plugin can be named after.
    misnamed: BTreeMap<String, Problem>,
    /// The plugins' directory could be listed once: from then on what is not there was removed on purpose.
    listed: Option<bool>,
    /// Files to look at again, for they may have been in the midst of being written.
    again: BTreeMap<PluginName, (Instant, PathBuf)>,
}

impl Coordinator {
    pub(crate) fn new(
        files: Files,
        library: Library,
        common: Common,
        shared: Arc<Shared>,
        configured: Arc<RwLock<adapters::Configured>>,
        commands: mpsc::Sender<Command>,
        built_in: Option<Arc<Check>>,
    ) -> Self {
        Self {
            files,
            policy: library.policy(),
            library,
            common,
            shared,
            configured,
            commands,
            built_in,
            prepared: Vec::new(),
            complaints: BTreeMap::new(),
            problems: Vec::new(),
            misnamed: BTreeMap::new(),
            listed: None,
            again: BTreeMap::new(),
        }
    }

    /// Runs until `stop`, or until nothing comes any more.
    pub(crate) async fn run(
        mut self,
        mut plugins: mpsc::Receiver<Change>,
        mut checks: mpsc::Receiver<Change>,
        stop: CancellationToken,
    ) {
        let work = async {
            let Some(first) = plugins.recv().await else { return };
            self.plugins_changed(&first);
            self.first_loads().await;
            let Some(first) = checks.recv().await else { return };
            self.checks_changed(&first).await;
            self.write(|configured| configured.complete = true);
            self.follow(&mut plugins, &mut checks).await;
        };
        stop.run_until_cancelled(work).await;
    }

    async fn follow(&mut self, plugins: &mut mpsc::Receiver<Change>, checks: &mut mpsc::Receiver<Change>) {
        loop {
            let again = self.again.values().map(|(at, _)| *at).min();
            tokio::select! {
                change = plugins.recv() => match change {
                    Some(change) => {
                        self.plugins_changed(&change);
                        self.refresh();
                    }
                    None => return,
                },
                change = checks.recv() => match change {
                    Some(change) => self.checks_changed(&change).await,
                    None => return,
                },
                done = self.library.next_done() => if let Some(done) = done {
                    let first = self.loaded(done).await;
                    self.reconsider(first.as_ref()).await;
                },
                () = sleep_until(again) => self.look_again(),
            }
        }
    }

    async fn first_loads(&mut self) {
        let until = Instant::now() + FIRST_LOADS;
        while self.library.is_busy() {
            match tokio::time::timeout_at(until, self.library.next_done()).await {
                Ok(Some(done)) => drop(self.loaded(done).await),
                Ok(None) => {}
                Err(_) => break,
            }
        }
    }

    fn plugins_changed(&mut self, change: &Change) {
        self.problems.clone_from(&change.problems);
        self.first_listing(change);
        self.signatures_changed(change);
        for seen in change.seen.iter().filter(|seen| !is_signature(&seen.name)) {
            match plugin_name(&seen.name) {
                Ok(name) => {
                    let bound = self.bound(&name);
                    self.library.seen(name, &seen.path, bound);
                }
                Err(reason) => {
                    self.misnamed.insert(seen.name.clone(), Problem::error(&*seen.path, reason));
                }
            }
        }
        for name in change.removed.iter().filter(|name| !is_signature(name)) {
            self.misnamed.remove(name);
            if let Ok(name) = plugin_name(name) {
                self.again.remove(&name);
                self.library.gone(&name);
            }
        }
    }

    /// Looks again at plugins whose signature came, changed or went.
    fn signatures_changed(&mut self, change: &Change) {
        let names = change.seen.iter().map(|seen| &seen.name).chain(&change.removed);
        let stems = names.filter_map(|name| name.strip_suffix(signature::ENDING)?.strip_suffix(".wasm"));
        for name in stems.filter_map(|stem| plugin_name(stem).ok()) {
            let is_seen = change.seen.iter().any(|seen| plugin_name(&seen.name).is_ok_and(|seen| seen == name));
            let known = self.shared.plugins.load().get(&name).map(|loaded| loaded.file.clone());
            if let Some(file) = known.filter(|_| !is_seen && self.policy.reads_signatures()) {
                let bound = self.bound(&name);
                self.library.seen(name, std::path::Path::new(&*file), bound);
            }
        }
    }

    /// What is no longer there when the directory is listed first was removed while nobody watched; while it cannot be
    /// listed, what was in use goes on.
    fn first_listing(&mut self, change: &Change) {
        let before = self.listed.replace(change.listed || self.listed == Some(true));
        if change.listed && before != Some(true) {
            let files = change.seen.iter().filter(|seen| !is_signature(&seen.name));
            let present = files.filter_map(|seen| plugin_name(&seen.name).ok());
            self.library.keep_only(&present.collect::<BTreeSet<_>>());
        } else if before.is_none() {
            self.library.restore();
        }
    }

    /// The settings that a new version refused may be gone.
    fn try_refused_plugins(&mut self) {
        let plugins = self.shared.plugins.load_full();
        for (name, loaded) in plugins.iter().filter(|(_, loaded)| loaded.plugin.is_some() && loaded.reason.is_some()) {
            let bound = self.bound(name);
            self.library.seen(name.clone(), std::path::Path::new(&*loaded.file), bound);
        }
    }

    /// Returns the plugin that is in use for the first time.
    async fn loaded(&mut self, done: crate::plugins::Done) -> Option<PluginName> {
        let brought = done.brings().map(|(name, origin)| (name.clone(), origin.clone()));
        if let Some((name, origin)) = &brought {
            // Before it can be run: nothing is ever granted that neither version may have.
            let known = self.shared.origin(name);
            self.bar(name, &[known.as_deref(), Some(origin)]).await;
        }
        let taken = self.library.take(done);
        if let Some((name, _)) = &brought {
            let origin = self.shared.origin(name);
            self.bar(name, &[origin.as_deref()]).await;
        }
        if let Some((name, path, after)) = taken.again {
            self.again.insert(name, (Instant::now() + after, path));
        }
        taken.first
    }

    /// Bars the checks of a plugin that ask for more than one of these origins may be granted, and no others.
    async fn bar(&mut self, name: &PluginName, origins: &[Option<&Origin>]) {
        let mut changed = false;
        for prepared in self.prepared.iter_mut().filter(|prepared| prepared.plugin() == name) {
            let mut reasons =
                origins.iter().flatten().map(|origin| why_barred(&self.policy, origin, prepared, &self.common));
            let barred = reasons.find_map(|reason| reason);
            changed |= prepared.barred != barred;
            prepared.barred = barred;
        }
        if changed {
            self.hand_over().await;
        }
    }

    /// Gives the engine the checks as they are now. False: there is no engine any more, which is somebody else's matter.
    async fn hand_over(&self) -> bool {
        let (taken, done) = oneshot::channel();
        let checks = self.prepared.clone();
        self.commands.send(Command::Checks { checks, taken }).await.is_ok() && done.await.is_ok()
    }

    fn look_again(&mut self) {
        let now = Instant::now();
        let due: Vec<PluginName> =
            self.again.iter().filter(|(_, (at, _))| *at <= now).map(|(name, _)| name.clone()).collect();
        for name in due {
            if let Some((_, path)) = self.again.remove(&name) {
                let bound = self.bound(&name);
                self.library.seen(name, &path, bound);
            }
        }
    }

    /// The settings that a new version of a plugin must take.
    fn bound(&self, name: &PluginName) -> Vec<Bound> {
        let users = self.prepared.iter().filter(|prepared| prepared.plugin() == name);
        users
            .filter_map(|prepared| {
                let (check, target) = (prepared.check.clone(), prepared.key().target.as_ref());
                let asked = asked(&self.policy, &check, check.target(target), &self.common.node);
                Some(Bound {
                    place: format!("check `{}`", prepared.key()),
                    settings: serde_json::from_str(&prepared.assignment.settings).ok()?,
                    target: target.and_then(|name| check.targets.iter().position(|own| own.name == *name)),
                    check,
                    asked,
                })
            })
            .collect()
    }

    async fn checks_changed(&mut self, change: &Change) {
        blocking(|| self.files.take(change));
        self.settle().await;
    }

    /// A plugin changed: what was refused for its sake may be good now.
    async fn reconsider(&mut self, first: Option<&PluginName>) {
        self.review(first).await;
        if self.files.reports().iter().any(|report| report.version != Version::Current) {
            blocking(|| self.files.read_refused());
            self.settle().await;
        } else {
            self.refresh();
        }
    }

    async fn settle(&mut self) {
        for (name, file) in self.files.candidates() {
            let problems = self.examine(&file).await;
            if !problems.is_empty() {
                self.files.refuse(&name, problems);
            }
        }
        blocking(|| self.files.settle());
        self.review(None).await;
        self.put_in_force().await;
    }

    /// What only plugins and grants can tell of a file.
    async fn examine(&self, file: &ChecksFile) -> Vec<Problem> {
        let mut problems = Vec::new();
        for configured in &file.checks {
            problems.extend(examine(&self.common, &self.shared, &self.policy, configured).await);
        }
        problems
    }

    /// Asks again what there is to say of checks in force: of those with complaints, and of those whose plugin is there
    /// for the first time. They stay in force: each run says what is wrong, too.
    async fn review(&mut self, first: Option<&PluginName>) {
        let concerned = |configured: &&Arc<Configured>| {
            let check = &configured.check;
            check.enabled && (first == Some(&check.plugin) || self.complaints.contains_key(&check.name))
        };
        let concerned: Vec<Arc<Configured>> = self.files.checks().filter(concerned).cloned().collect();
        let mut complaints = BTreeMap::new();
        for configured in concerned {
            let problems = examine(&self.common, &self.shared, &self.policy, &configured).await;
            if !problems.is_empty() {
                complaints.insert(configured.check.name.clone(), problems);
            }
        }
        self.complaints = complaints;
    }

    async fn put_in_force(&mut self) {
        let own = self.built_in.iter().filter_map(|check| self.common.prepare(check).ok());
        let mut prepared: Vec<Prepared> = own.flatten().collect();
        for configured in self.files.checks().filter(|configured| configured.check.enabled) {
            match self.common.prepare(&configured.check) {
                Ok(list) => prepared.extend(list),
                Err(wrong) => {
                    let problem = configured.problem_at(&wrong.pointer, wrong.message);
                    tracing::error!(%problem, "a check that was good is not any more");
                }
            }
        }
        for prepared in &mut prepared {
            let origin = self.shared.origin(prepared.plugin());
            prepared.barred = origin.and_then(|origin| why_barred(&self.policy, &origin, prepared, &self.common));
        }
        let same = prepared.len() == self.prepared.len()
            && prepared.iter().zip(&self.prepared).all(|(new, old)| new.key() == old.key() && new.same_work(old));
        if !same {
            tracing::info!(pairs = prepared.len(), "checks in force");
            self.prepared = prepared;
            self.try_refused_plugins();
            // What is said from here on, such as that the agent is ready, is said of checks that are on the board.
            if !self.hand_over().await {
                return;
            }
            self.shared.published.say(view::Event::Checks { problem: None });
        }
        self.refresh();
    }

    /// Makes what the API shows say what is so now.
    fn refresh(&mut self) {
        let reports = self.files.reports();
        let outdated: BTreeMap<_, _> = reports
            .iter()
            .filter(|report| report.version == Version::Outdated)
            .map(|report| (report.path.as_path(), report.problems.first()))
            .collect();
        let mut of_checks = Vec::new();
        let mut checks: Vec<view::Check> = self.built_in.iter().map(|check| view::Check::of(check)).collect();
        for configured in self.files.checks() {
            let problems = self.problems_of(configured);
            let outdated = outdated.get(&*configured.file);
            let problem = problems.first().or(outdated.copied().flatten());
            checks.push(view::Check {
                file: Some(format!("{}:{}", configured.file.display(), configured.line)),
                outdated: outdated.is_some(),
                problem: problem.map(ToString::to_string),
                ..view::Check::of(&configured.check)
            });
            of_checks.extend(problems);
        }
        let of_plugins = self.problems.iter().chain(self.misnamed.values()).cloned().chain(self.plugin_problems());
        let all = of_plugins.chain(self.files.problems()).chain(of_checks);
        let problems: Vec<String> = all.map(|problem| problem.to_string()).collect();
        self.tell_news(&problems);
        let shared = self.shared.clone();
        shared.published.note(|line| note(&shared, &line.configured.plugin));
        self.write(|configured| (configured.checks, configured.problems) = (checks, problems));
    }

    /// Why a check in force does not run as it should.
    fn problems_of(&self, configured: &Configured) -> Vec<Problem> {
        let check = &configured.check;
        match self.shared.plugin(&check.plugin) {
            _ if !check.enabled => Vec::new(),
            PluginSlot::Unusable { why, .. } => vec![configured.problem_at("/plugin", &*why).warning()],
            _ => self.complaints.get(&check.name).cloned().unwrap_or_default(),
        }
    }

    /// Files that cannot be used. One that may be in the midst of being written is none yet.
    fn plugin_problems(&self) -> Vec<Problem> {
        let plugins = self.shared.plugins.load();
        let told = plugins.values().filter(|loaded| matches!(loaded.state, PluginState::Ready | PluginState::Broken));
        let problem = |loaded: &Loaded| {
            let problem = Problem::error(&*loaded.file, &**loaded.reason.as_ref()?);
            Some(if loaded.plugin.is_some() { problem.hint("the version before it goes on") } else { problem })
        };
        told.filter_map(problem).collect()
    }

    /// Each problem is logged once, when it appears.
    fn tell_news(&self, problems: &[String]) {
        let known = self.configured.read().unwrap_or_else(PoisonError::into_inner);
        for problem in problems.iter().filter(|problem| !known.problems.contains(problem)) {
            tracing::warn!("{problem}");
            let event = view::Event::Checks { problem: Some(problem.as_str().into()) };
            self.shared.published.say(event);
        }
    }

    fn write(&self, change: impl FnOnce(&mut adapters::Configured)) {
        change(&mut self.configured.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Whether a file of the plugins' directory is the signature of another one.
fn is_signature(file: &str) -> bool {
    file.ends_with(signature::ENDING)
}

/// Why a check does not run as it should, for the eye.
fn note(shared: &Shared, plugin: &PluginName) -> Option<String> {
    match shared.plugin(plugin) {
        PluginSlot::BuiltIn => None,
        PluginSlot::Compiling => Some(match shared.plugins.load().get(plugin) {
            Some(Loaded { state: PluginState::Waiting, reason: Some(reason), .. }) => {
                format!("plugin `{plugin}` is not there yet: {reason}")
            }
            _ => format!("plugin `{plugin}` is being compiled"),
        }),
        PluginSlot::Unusable { why, .. } => Some(why.to_string()),
        PluginSlot::Ready(_) => {
            let plugins = shared.plugins.load();
            let loaded = plugins.get(plugin).filter(|loaded| loaded.state == PluginState::Ready)?;
            let reason = loaded.reason.as_deref()?;
            Some(format!("the newest file of plugin `{plugin}` is not in use: {reason}"))
        }
    }
}

/// The plugin of a file: its stem.
pub(crate) fn plugin_name(file: &str) -> Result<PluginName, String> {
    let stem = file.strip_suffix(".wasm").unwrap_or(file);
    if [BUILT_IN, PUSHED].contains(&stem) {
        return Err(format!("the plugin name `{stem}` is taken by the agent itself: rename the file"));
    }
    PluginName::new(stem).map_err(|error| format!("{error}: rename the file"))
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        assert_eq!(plugin_name("http.wasm").unwrap().as_str(), "http");
        assert!(plugin_name("My Plugin.wasm").unwrap_err().contains("rename the file"));
    }
}
