//! What the parts of a running agent share: plugins, the board, the store, counters, and whether the engine beats.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use roundsman_model::name::{BUILT_IN, PUSHED, PluginName};
use roundsman_model::record::Blame;
use roundsman_plugin::load::Plugin;
use roundsman_store::Store;
use roundsman_web::view::PluginState;

use crate::published::Published;
use crate::stats::Stats;
use crate::trust::Origin;

/// The engine's loop beats every half second; ten times that is a standstill.
const STANDSTILL: Duration = Duration::from_secs(5);

/// A plugin file and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) state: PluginState,
    /// The version in use: the newest that could be used.
    pub(crate) plugin: Option<Arc<Plugin>>,
    /// Where the version in use comes from; there whenever a plugin is.
    pub(crate) origin: Option<Arc<Origin>>,
    /// Why the newest file is not in use.
    pub(crate) reason: Option<Arc<str>>,
    pub(crate) file: Arc<str>,
    pub(crate) size_bytes: u64,
    pub(crate) loaded: Option<roundsman_model::time::Timestamp>,
    pub(crate) compile_ms: Option<f64>,
}

/// What the engine needs to know of a plugin.
#[derive(Debug)]
pub(crate) enum PluginSlot {
    Ready(Arc<Plugin>),
    /// Part of the agent: there is no file.
    BuiltIn,
    /// Its first version is on its way: ticks until then are skipped.
    Compiling,
    Unusable {
        why: Arc<str>,
        blame: Blame,
    },
}

pub(crate) type Plugins = BTreeMap<PluginName, Loaded>;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) plugins: ArcSwap<Plugins>,
    pub(crate) published: Arc<Published>,
    pub(crate) stats: Stats,
    store: Store,
    born: Instant,
    /// Milliseconds since `born` at the engine's last beat.
    beat_ms: AtomicU64,
    /// How long the agent was not there, since somebody asked, in milliseconds.
    away_ms: AtomicU64,
}

impl Shared {
    pub(crate) fn new(published: Arc<Published>, store: Store) -> Self {
        Self {
            plugins: ArcSwap::default(),
            published,
            stats: Stats::default(),
            store,
            born: Instant::now(),
            beat_ms: AtomicU64::new(0),
            away_ms: AtomicU64::new(0),
        }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn plugin(&self, name: &PluginName) -> PluginSlot {
        if [BUILT_IN, PUSHED].contains(&name.as_str()) {
            return PluginSlot::BuiltIn;
        }
        let plugins = self.plugins.load();
        let Some(loaded) = plugins.get(name) else {
            let why = format!("there is no plugin `{name}`: put {name}.wasm into the plugins' directory");
            return PluginSlot::Unusable { why: why.into(), blame: Blame::Host };
        };
        match (&loaded.plugin, loaded.state) {
            (Some(plugin), _) => PluginSlot::Ready(plugin.clone()),
            (None, PluginState::Waiting | PluginState::Compiling) => PluginSlot::Compiling,
            (None, _) => {
                let reason = loaded.reason.as_deref().unwrap_or("no reason is known");
                let why = format!("plugin `{name}` cannot be used: {reason}");
                PluginSlot::Unusable { why: why.into(), blame: Blame::Plugin }
            }
        }
    }

    /// Where the version of a plugin that is in use comes from.
    pub(crate) fn origin(&self, name: &PluginName) -> Option<Arc<Origin>> {
        self.plugins.load().get(name)?.origin.clone()
    }

    pub(crate) fn beat(&self) {
        let ms = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat_ms.store(ms, Ordering::Relaxed);
    }

    /// The process or the machine slept, or the clock was set forward.
    pub(crate) fn was_away(&self, away: Duration) {
        let ms = u64::try_from(away.as_millis()).unwrap_or(u64::MAX);
        self.away_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// How long that was since the last time somebody asked.
    pub(crate) fn take_away(&self) -> Option<Duration> {
        let ms = self.away_ms.swap(0, Ordering::Relaxed);
        (ms > 0).then(|| Duration::from_millis(ms))
    }

    /// How long the engine's loop has stood still, if it has.
    pub(crate) fn standstill(&self) -> Option<Duration> {
        let last = Duration::from_millis(self.beat_ms.load(Ordering::Relaxed));
        Some(self.born.elapsed().saturating_sub(last)).filter(|silence| *silence > STANDSTILL)
    }
}
