//! The plugins' directory as it is to be used: which file is which plugin, and what became of it.
//!
//! A file goes through: seen -> whole? -> digest and signature -> machine code (cache or compiler) -> linked ->
//! described -> fits the checks that use it -> in use. Whatever fails on the way leaves the version before it in use,
//! with the reason beside it; what was in use is kept in the state directory, so that a restart changes nothing.
//!
//! - `work`: one load

mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use roundsman_model::name::PluginName;
use roundsman_plugin::cache::Cache;
use roundsman_plugin::compile::Compiler;
use roundsman_plugin::engine::Engine;
use roundsman_plugin::load::Plugin;
use roundsman_web::view::{Event, PluginState};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use crate::clock::system_now;
use crate::lastgood::{LastGood, LastGoodError};
use crate::shared::{Loaded, Plugins, Shared};
use crate::trust::{Beside, Origin, Policy};

pub(crate) use self::work::{Bound, Done};
use self::work::{Failed, Good, Work, blob, signature_blob};

/// Loads at once: those from the cache must not wait behind a compilation.
const LOADS: usize = 2;

/// What the end of a load asks for.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// In use for the first time: what checks set for it was not looked at yet.
    pub(crate) first: Option<PluginName>,
    /// The file to look at again, and after how long.
    pub(crate) again: Option<(PluginName, PathBuf, Duration)>,
}

/// A load under way.
#[derive(Debug)]
struct Loading {
    ticket: u64,
    task: AbortHandle,
    path: PathBuf,
    /// Changed again meanwhile.
    dirty: Option<PathBuf>,
}

/// Loads plugins and keeps what is in use in [`Shared`].
#[derive(Debug)]
pub(crate) struct Library {
    directory: PathBuf,
    engine: Engine,
    compiler: Compiler,
    cache: Cache,
    kept: LastGood,
    policy: Arc<Policy>,
    shared: Arc<Shared>,
    loads: JoinSet<Done>,
    room: Arc<Semaphore>,
    loading: BTreeMap<PluginName, Loading>,
    tickets: u64,
}

impl Library {
    pub(crate) fn new(
        directory: &Path,
        engine: Engine,
        compiler: Compiler,
        cache: Cache,
        kept: LastGood,
        policy: Arc<Policy>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            directory: directory.to_owned(),
            engine,
            compiler,
            cache,
            kept,
            policy,
            shared,
            loads: JoinSet::new(),
            room: Arc::new(Semaphore::new(LOADS)),
            loading: BTreeMap::new(),
            tickets: 0,
        }
    }

    /// By what it takes plugins.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.policy.clone()
    }

    /// A file appeared or changed.
    pub(crate) fn seen(&mut self, name: PluginName, path: &Path, bound: Vec<Bound>) {
        if let Some(loading) = self.loading.get_mut(&name) {
            loading.dirty = Some(path.to_owned());
            return;
        }
        self.change(&name, |loaded| {
            let loaded = loaded.get_or_insert_with(|| Loaded::seen(path));
            loaded.file = path.display().to_string().into();
            loaded.state = PluginState::Compiling;
        });
        self.tickets += 1;
        let current = self.shared.plugins.load().get(&name).and_then(|loaded| loaded.in_use());
        let work = Work {
            ticket: self.tickets,
            engine: self.engine.clone(),
            compiler: self.compiler.clone(),
            cache: self.cache.clone(),
            kept: self.kept.clone(),
            policy: self.policy.clone(),
            name: name.clone(),
            path: path.to_owned(),
            current,
            bound,
        };
        let room = self.room.clone();
        let task = self.loads.spawn(async move {
            let _permit = room.acquire_owned().await;
            work.carry_out().await
        });
        self.loading.insert(name, Loading { ticket: self.tickets, task, path: path.to_owned(), dirty: None });
    }

    /// A file went away, on purpose: its checks are unknown from now on.
    pub(crate) fn gone(&mut self, name: &PluginName) {
        // A load of it may have come to its end already: without its ticket it is not listened to.
        if let Some(loading) = self.loading.remove(name) {
            loading.task.abort();
        }
        self.told(blocking(|| self.kept.forget(&blob(name)).and_then(|()| self.kept.forget(&signature_blob(name)))));
        if self.shared.plugins.load().contains_key(name) {
            self.change(name, |loaded| *loaded = None);
            tracing::info!(plugin = %name, "plugin removed");
        }
    }

    /// The directory cannot be listed: what was in use before the restart goes on.
    pub(crate) fn restore(&mut self) {
        for name in self.kept() {
            let path = self.directory.join(format!("{name}.wasm"));
            self.seen(name, &path, Vec::new());
        }
    }

    /// What is in the directory, now that it can be listed: everything else is gone.
    pub(crate) fn keep_only(&mut self, present: &BTreeSet<PluginName>) {
        let mut names = self.kept();
        names.extend(self.shared.plugins.load().keys().cloned());
        names.iter().filter(|name| !present.contains(name)).for_each(|name| self.gone(name));
    }

    /// What was in use before a restart.
    fn kept(&self) -> Vec<PluginName> {
        let names = blocking(|| self.kept.names()).unwrap_or_else(|error| {
            tracing::warn!(error = chain(&error), "what was in use before the restart is not known");
            Vec::new()
        });
        let of = |name: &String| PluginName::new(name.strip_prefix(work::KEPT.0)?.strip_suffix(work::KEPT.1)?).ok();
        names.iter().filter_map(of).collect()
    }

    /// Waits for the next file to be done; never resolves while nothing is under way.
    pub(crate) async fn next_done(&mut self) -> Option<Done> {
        match self.loads.join_next().await {
            None => std::future::pending().await,
            Some(Ok(done)) => Some(done),
            Some(Err(died)) if died.is_cancelled() => None,
            Some(Err(died)) => {
                tracing::error!(error = %died, "loading a plugin died");
                let (name, loading) = self.loading.iter().find(|(_, loading)| loading.task.id() == died.id())?;
                let why = "loading it broke off inside the agent, which is a defect; the log says more".to_owned();
                Some(Done {
                    ticket: loading.ticket,
                    name: name.clone(),
                    path: loading.path.clone(),
                    size_bytes: 0,
                    result: Err(Failed::Refused(why)),
                    before: None,
                })
            }
        }
    }

    /// Whether anything is being loaded.
    pub(crate) fn is_busy(&self) -> bool {
        !self.loads.is_empty()
    }

    /// Takes what was done into use.
    pub(crate) fn take(&mut self, done: Done) -> Taken {
        let Done { ticket, name, path, size_bytes, result, before } = done;
        if self.loading.get(&name).is_none_or(|loading| loading.ticket != ticket) {
            return Taken::default();
        }
        let dirty = self.loading.remove(&name).and_then(|loading| loading.dirty);
        let had = self.in_use(&name);
        if let Some((plugin, origin)) = before {
            tracing::warn!(plugin = %name, digest = plugin.digest().short(), "the version of before the restart goes on");
            self.change(&name, |loaded| {
                let loaded = loaded.get_or_insert_with(|| Loaded::seen(&path));
                (loaded.plugin, loaded.origin) = (Some(plugin), Some(origin));
            });
        }
        let mut again = None;
        match result {
            Ok(good) => self.put_in_use(&name, &path, size_bytes, good),
            Err(Failed::Unchanged { origin, beside }) => {
                self.told(blocking(|| self.keep_signature(&name, &beside)));
                self.change(&name, |loaded| {
                    if let Some(loaded) = loaded {
                        (loaded.state, loaded.reason, loaded.origin) = (PluginState::Ready, None, Some(origin));
                    }
                });
            }
            Err(Failed::NotWhole(why, after)) => {
                self.refuse(&name, &path, size_bytes, PluginState::Waiting, why);
                again = Some((name.clone(), path, after));
            }
            Err(Failed::Refused(why)) => {
                let state = if self.in_use(&name) { PluginState::Ready } else { PluginState::Broken };
                self.refuse(&name, &path, size_bytes, state, why);
            }
        }
        let first = (!had && self.in_use(&name)).then(|| name.clone());
        Taken { first, again: dirty.map(|path| (name, path, Duration::ZERO)).or(again) }
    }

    fn in_use(&self, name: &PluginName) -> bool {
        self.shared.plugins.load().get(name).is_some_and(|loaded| loaded.plugin.is_some())
    }

    fn put_in_use(&self, name: &PluginName, path: &Path, size_bytes: u64, good: Good) {
        let Good { plugin, origin, bytes, beside, compile_ms } = good;
        let signer = origin.signer.as_ref().map(|signer| &*signer.key);
        tracing::info!(plugin = %name, digest = plugin.digest().short(), signer, "plugin in use");
        self.told(blocking(|| self.kept.keep(&blob(name), &bytes).and_then(|()| self.keep_signature(name, &beside))));
        self.change(name, |loaded| {
            *loaded = Some(Loaded {
                state: PluginState::Ready,
                plugin: Some(plugin),
                origin: Some(origin),
                reason: None,
                file: path.display().to_string().into(),
                size_bytes,
                loaded: Some(system_now()),
                compile_ms: Some(compile_ms),
            });
        });
    }

    fn refuse(&self, name: &PluginName, path: &Path, size_bytes: u64, state: PluginState, why: String) {
        self.change(name, |loaded| {
            let loaded = loaded.get_or_insert_with(|| Loaded::seen(path));
            (loaded.reason, loaded.size_bytes, loaded.state) = (Some(why.into()), size_bytes, state);
        });
    }

    /// What proves where the version that is kept comes from is kept with it.
    fn keep_signature(&self, name: &PluginName, beside: &Beside) -> Result<(), LastGoodError> {
        match beside {
            Beside::Bytes(bytes) => self.kept.keep(&signature_blob(name), bytes),
            Beside::Nothing | Beside::Unreadable(_) => self.kept.forget(&signature_blob(name)),
        }
    }

    /// What cannot be kept is missing after a restart at worst.
    fn told(&self, kept: Result<(), LastGoodError>) {
        if let Err(error) = kept {
            tracing::warn!(error = chain(&error), "the version in use is not kept for a restart");
        }
    }

    fn change(&self, name: &PluginName, change: impl FnOnce(&mut Option<Loaded>)) {
        let mut plugins = Plugins::clone(&self.shared.plugins.load());
        let before = plugins.get(name).map(|loaded| loaded.state);
        let mut loaded = plugins.remove(name);
        change(&mut loaded);
        let after = loaded.as_ref().map(|loaded| loaded.state);
        if let Some(loaded) = loaded {
            plugins.insert(name.clone(), loaded);
        }
        self.shared.plugins.store(Arc::new(plugins));
        if before != after {
            let state = after.unwrap_or(PluginState::Missing);
            self.shared.published.say(Event::Plugin { name: name.as_str().into(), state });
        }
    }
}

impl Loaded {
    fn in_use(&self) -> Option<(Arc<Plugin>, Arc<Origin>)> {
        self.plugin.clone().zip(self.origin.clone())
    }

    fn seen(path: &Path) -> Self {
        Self {
            state: PluginState::Waiting,
            plugin: None,
            origin: None,
            reason: None,
            file: path.display().to_string().into(),
            size_bytes: 0,
            loaded: None,
            compile_ms: None,
        }
    }
}

/// Waits for the disk without holding up the other tasks of the thread, where there is a thread to take them over.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// An error with all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
