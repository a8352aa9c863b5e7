//! The plugins' directory as it is to be used: which file is which plugin, and what became of it.
//!
//! A file goes through: seen -> whole? -> digest -> machine code (cache or compiler) -> linked -> described -> fits the
//! checks that use it -> in use. Whatever fails on the way leaves the version before it in use, with the reason beside
//! it; what was in use is kept in the state directory, so that a restart changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use roundsman_model::name::PluginName;
use roundsman_plugin::cache::Cache;
use roundsman_plugin::compile::Compiler;
use roundsman_plugin::digest::Digest;
use roundsman_plugin::engine::Engine;
use roundsman_plugin::load::{LoadError, MAX_PLUGIN_FILE, Plugin};
use roundsman_web::view::{Event, PluginState};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use crate::clock::system_now;
use crate::lastgood::{LastGood, LastGoodError};
use crate::shared::{Loaded, Plugins, Shared};
use crate::watch::read::{ReadError, read_stable};

/// A file that was written to this lately and is not whole may be about to become so.
const MAY_GROW: Duration = Duration::from_secs(1);
/// Loads at once: those from the cache must not wait behind a compilation.
const LOADS: usize = 2;
/// Around the name of a copy in the state directory.
const KEPT: (&str, &str) = ("plugin-", ".wasm");

/// A check's settings for a plugin, as far as a new version of it must take them: where it is configured, and what.
pub(crate) type Bound = Vec<(String, serde_json::Value)>;

/// What became of a file.
#[derive(Debug)]
pub(crate) struct Done {
    ticket: u64,
    name: PluginName,
    path: PathBuf,
    size_bytes: u64,
    result: Result<Good, Failed>,
    /// Where the file cannot be used and nothing was in use: what was in use before a restart.
    before: Option<Arc<Plugin>>,
}

#[derive(Debug)]
struct Good {
    plugin: Arc<Plugin>,
    bytes: Vec<u8>,
    compile_ms: f64,
}

#[derive(Debug)]
enum Failed {
    /// Looked at again shortly.
    NotWhole(String),
    /// The very bytes that are in use.
    Unchanged,
    Refused(String),
}

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
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            directory: directory.to_owned(),
            engine,
            compiler,
            cache,
            kept,
            shared,
            loads: JoinSet::new(),
            room: Arc::new(Semaphore::new(LOADS)),
            loading: BTreeMap::new(),
            tickets: 0,
        }
    }

    /// A file appeared or changed.
    pub(crate) fn seen(&mut self, name: PluginName, path: &Path, bound: Bound) {
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
        let work = Work {
            ticket: self.tickets,
            engine: self.engine.clone(),
            compiler: self.compiler.clone(),
            cache: self.cache.clone(),
            kept: self.kept.clone(),
            name: name.clone(),
            path: path.to_owned(),
            current: self.shared.plugins.load().get(&name).and_then(|loaded| loaded.plugin.clone()),
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
        self.told(blocking(|| self.kept.forget(&blob(name))));
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
        let of = |name: &String| PluginName::new(name.strip_prefix(KEPT.0)?.strip_suffix(KEPT.1)?).ok();
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
        if let Some(plugin) = before {
            tracing::warn!(plugin = %name, digest = plugin.digest().short(), "the version of before the restart goes on");
            self.change(&name, |loaded| loaded.get_or_insert_with(|| Loaded::seen(&path)).plugin = Some(plugin));
        }
        let mut again = None;
        match result {
            Ok(good) => self.put_in_use(&name, &path, size_bytes, good),
            Err(Failed::Unchanged) => self.change(&name, |loaded| {
                if let Some(loaded) = loaded {
                    (loaded.state, loaded.reason) = (PluginState::Ready, None);
                }
            }),
            Err(Failed::NotWhole(why)) => {
                self.refuse(&name, &path, size_bytes, PluginState::Waiting, why);
                again = Some((name.clone(), path, MAY_GROW));
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
        let Good { plugin, bytes, compile_ms } = good;
        tracing::info!(plugin = %name, digest = plugin.digest().short(), "plugin in use");
        self.told(blocking(|| self.kept.keep(&blob(name), &bytes)));
        self.change(name, |loaded| {
            *loaded = Some(Loaded {
                state: PluginState::Ready,
                plugin: Some(plugin),
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
    fn seen(path: &Path) -> Self {
        Self {
            state: PluginState::Waiting,
            plugin: None,
            reason: None,
            file: path.display().to_string().into(),
            size_bytes: 0,
            loaded: None,
            compile_ms: None,
        }
    }
}

fn blob(name: &PluginName) -> String {
    format!("{}{name}{}", KEPT.0, KEPT.1)
}

/// One load, apart from everything else.
struct Work {
    ticket: u64,
    engine: Engine,
    compiler: Compiler,
    cache: Cache,
    kept: LastGood,
    name: PluginName,
    path: PathBuf,
    /// In use now.
    current: Option<Arc<Plugin>>,
    bound: Bound,
}

impl Work {
    async fn carry_out(self) -> Done {
        let mut size_bytes = 0;
        let result = self.attempt(&mut size_bytes).await;
        let before = if result.is_err() && self.current.is_none() { self.before().await } else { None };
        Done { ticket: self.ticket, name: self.name, path: self.path, size_bytes, result, before }
    }

    async fn attempt(&self, size_bytes: &mut u64) -> Result<Good, Failed> {
        let (file, began) = (self.path.clone(), Instant::now());
        let read = tokio::task::spawn_blocking(move || read_stable(&file, MAX_PLUGIN_FILE)).await;
        let read = read.map_err(|died| Failed::Refused(died.to_string()))?;
        let bytes = read.map_err(|error| unreadable(error, size_bytes))?.bytes;
        *size_bytes = bytes.len() as u64;
        if self.current.as_ref().is_some_and(|current| *current.digest() == Digest::of(&bytes)) {
            return Err(Failed::Unchanged);
        }
        let plugin = self.load(&bytes).await.map_err(|error| match error {
            LoadError::Invalid(_) | LoadError::Empty | LoadError::NotWasm if is_young(&self.path) => {
                Failed::NotWhole(chain(&error))
            }
            error => Failed::Refused(chain(&error)),
        })?;
        self.accept(&plugin).await?;
        Ok(Good { plugin: Arc::new(plugin), bytes, compile_ms: began.elapsed().as_secs_f64() * 1e3 })
    }

    async fn load(&self, bytes: &[u8]) -> Result<Plugin, LoadError> {
        Plugin::load(&self.engine, &self.compiler, &self.cache, self.name.clone(), bytes).await
    }

    /// A version that replaces another must take the settings that the other one takes.
    async fn accept(&self, plugin: &Plugin) -> Result<(), Failed> {
        let Some(current) = &self.current else { return Ok(()) };
        for (place, settings) in &self.bound {
            if let Some(wrong) = plugin.validate(settings).await.first()
                && current.validate(settings).await.is_empty()
            {
                return Err(Failed::Refused(format!("it refuses the settings of {place}: {wrong}")));
            }
        }
        Ok(())
    }

    async fn before(&self) -> Option<Arc<Plugin>> {
        let (kept, blob) = (self.kept.clone(), blob(&self.name));
        let bytes = tokio::task::spawn_blocking(move || kept.load(&blob, MAX_PLUGIN_FILE)).await.ok()?;
        let complain = |error: &dyn std::error::Error| {
            tracing::warn!(plugin = %self.name, error = chain(error), "nor can the version of before the restart be used");
        };
        let bytes = bytes.inspect_err(|error| complain(error)).ok()??;
        self.load(&bytes).await.inspect_err(|error| complain(error)).ok().map(Arc::new)
    }
}

fn unreadable(error: ReadError, size_bytes: &mut u64) -> Failed {
    match error {
        ReadError::ChangedWhileRead => Failed::NotWhole("it is being written".to_owned()),
        error => {
            if let ReadError::TooBig { len, .. } = error {
                *size_bytes = len;
            }
            Failed::Refused(chain(&error))
        }
    }
}

fn is_young(path: &Path) -> bool {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age < MAY_GROW))
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
